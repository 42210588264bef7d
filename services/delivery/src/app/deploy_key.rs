//! Deploy keys.

use hafen_base::{Actor, DeployKeyId, Error, Page, PageLimit, Result};
use hafen_client::wire::{DeployKey, DeployKeyAccess, DeployKeyCreate};
use hafen_db::store_error;
use hafen_sshca::ssh_key::{HashAlg, PublicKey};
use hafen_work::{Begun, Once, OnceTx};
use serde_json::json;

use super::label;
use crate::Delivery;
use crate::store;

const MOST: usize = 100;

/// An Ed25519 key without its comment, and its fingerprint.
fn read_key(text: &str) -> Result<(String, String)> {
    let refuse = || {
        Error::invalid_field(
            "/public_key",
            "the line of an Ed25519 public key, as `ssh-keygen -t ed25519` writes it into id_ed25519.pub",
        )
    };
    if text.len() > 1000 {
        return Err(refuse());
    }
    let mut key = PublicKey::from_openssh(text.trim()).map_err(|_| refuse())?;
    if key.key_data().ed25519().is_none() {
        return Err(refuse());
    }
    key.set_comment("");
    let line = key.to_openssh().map_err(|_| refuse())?;
    Ok((line.trim().to_owned(), key.fingerprint(HashAlg::Sha256).to_string()))
}

impl Delivery {
    pub(crate) async fn deploy_key_list(
        &self,
        project: &str,
        repository: &str,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<DeployKey>> {
        let row = self.repository_row(project, repository).await?;
        let most = i64::from(limit.get()) + 1;
        let list = store::deploy_key::list(self.0.db.reader(), &row.repository.id, after, most).await?;
        Ok(limit.page(list, |key: &DeployKey| key.name.clone()))
    }

    pub(crate) async fn deploy_key_create(
        &self,
        project: &str,
        repository: &str,
        body: DeployKeyCreate,
        repeat: Option<&Once>,
    ) -> Result<DeployKey> {
        label("deploy key", "/name", &body.name)?;
        let (public_key, fingerprint) = read_key(&body.public_key)?;
        let row = self.repository_row(project, repository).await?;
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(once) => once,
        };
        let tx = &mut once.tx;
        let id = &row.repository.id;
        let there = store::deploy_key::list(&mut **tx, id, "", i64::try_from(MOST).unwrap_or(0)).await?;
        if there.len() >= MOST {
            return Err(Error::conflict(format!("a repository has at most {MOST} deploy keys: delete some")));
        }
        let now = self.0.now();
        let key = DeployKey {
            id: DeployKeyId::generate(now, &*self.0.random).to_string(),
            name: body.name,
            public_key,
            fingerprint,
            access: body.access,
            created_by: Actor::current().id,
            created_at: now,
            used_at: None,
        };
        if !store::deploy_key::insert(tx, id, &key).await? {
            return Err(Error::conflict(format!(
                "repository {repository:?} has this key, or another of the name {:?}, already",
                key.name
            )));
        }
        let rights = if key.access == DeployKeyAccess::Write { "fetch and push" } else { "fetch" };
        let message = format!("deploy key {} may {rights} in repository {}", key.name, row.repository.name);
        let data = json!({ "id": key.id, "fingerprint": key.fingerprint, "access": key.access });
        let object = format!("repository/{}", row.repository.name);
        self.event(tx, project, "repository.key_added", object, message, data).await?;
        once.finish(&key, &*self.0.clock).await?;
        self.0.events.ring();
        Ok(key)
    }

    pub(crate) async fn deploy_key_delete(&self, project: &str, repository: &str, key: &str) -> Result<()> {
        let row = self.repository_row(project, repository).await?;
        let mut tx = self.0.db.write().await?;
        let gone = store::deploy_key::delete(&mut tx, &row.repository.id, key).await?;
        let gone = gone.ok_or_else(|| {
            Error::not_found(format!("deploy key {key:?} of repository {:?}", row.repository.name))
        })?;
        let message = format!("deploy key {} opens repository {} no more", gone.name, row.repository.name);
        let data = json!({ "id": gone.id, "fingerprint": gone.fingerprint });
        let object = format!("repository/{}", row.repository.name);
        self.event(&mut tx, project, "repository.key_removed", object, message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDNWm0RBRFMWQhvi8GPHNt85A/n/kjb0bnBL/6lzbjaq";
        let (line, fingerprint) = read_key(&format!("  {key} somebody@somewhere\n")).unwrap();
        assert_eq!(line, key);
        assert!(fingerprint.starts_with("SHA256:"));
        for bad in ["", "ssh-ed25519", "ssh-rsa AAAA", &format!("command=\"id\" {key}"), &"x".repeat(2000)] {
            assert!(read_key(bad).is_err(), "{bad}");
        }
    }
}
