//! Secrets: rule → store → event, in one transaction. No value leaves this file but in the answer to a reading.

use hafen_base::{Actor, Error, ErrorKind, Page, PageLimit, Result, Timestamp, check_label};
use hafen_client::Secret;
use hafen_client::wire::{
    SecretCreate, SecretInfo, SecretRead, SecretValue, SecretVersion, SecretVersionCreate,
};
use hafen_db::{Tx, store_error};
use hafen_seal::MasterKey;
use hafen_work::{Begun, NewEvent, Once, OnceTx};
use serde_json::{Value, json};

use crate::Vault;
use crate::model::{MAX_SECRETS, MAX_VERSIONS, TOLD, check_reason, encoded, key_name, value_name, value_of};
use crate::store::{self, KeyRow, NewVersion};

fn no_secret(project: &str, name: &str) -> Error {
    Error::not_found(format!("secret {name:?} in project {project:?}"))
}

/// With the states of its versions said.
fn whole(mut secret: SecretInfo, versions: Vec<SecretVersion>) -> SecretInfo {
    secret.versions = versions;
    for version in &mut secret.versions {
        if version.version == secret.current {
            "current".clone_into(&mut version.state);
        }
    }
    secret
}

impl Vault {
    async fn event(
        &self,
        tx: &mut Tx,
        project: &str,
        kind: &'static str,
        name: &str,
        message: String,
        data: Value,
    ) -> Result<()> {
        let event =
            NewEvent { project: project.to_owned(), kind, object: format!("secret/{name}"), message, data };
        self.0.events.append(tx, event).await.map(drop)
    }

    /// When this life of the project began.
    async fn born(&self, project: &str) -> Result<Timestamp> {
        check_label("project", project).map_err(|_| Error::not_found(format!("project {project:?}")))?;
        Ok(self.0.platform.project_get(project).await?.created_at)
    }

    /// Whether what the store holds is of this life of the project.
    async fn is_alive<'c>(db: impl store::Reads<'c>, project: &str, born: Timestamp) -> Result<bool> {
        Ok(store::key_find(db, project).await?.is_some_and(|row| row.born == born))
    }

    fn open_key(&self, row: &KeyRow) -> Result<MasterKey> {
        self.0.master().open_key(&key_name(&row.project, row.born), &row.sealed).map_err(|error| {
            // Nothing the caller could mend, and nothing that is theirs to know.
            tracing::error!(project = row.project, "the key of a project does not open: {error}");
            Error::internal(error)
        })
    }

    /// The key of this life of the project, made if need be. What is left of a former life is destroyed first.
    async fn key(&self, tx: &mut Tx, project: &str, born: Timestamp) -> Result<MasterKey> {
        match store::key_find(&mut **tx, project).await? {
            Some(row) if row.born == born => return self.open_key(&row),
            // A request that was overtaken by the end of its project, and by the next project of that name.
            Some(row) if row.born > born => return Err(Error::not_found(format!("project {project:?}"))),
            Some(_) => self.project_end(tx, project).await?,
            None => {}
        }
        let key = MasterKey::generate(&*self.0.random);
        let sealed = self.0.master().seal_key(&key_name(project, born), &key, &*self.0.random)?;
        store::key_put(tx, &KeyRow { project: project.to_owned(), born, sealed }).await?;
        Ok(key)
    }

    /// The secrets of a project go with it, and its key.
    pub(crate) async fn project_end(&self, tx: &mut Tx, project: &str) -> Result<()> {
        let secrets = store::project_forget(tx, project).await?;
        let object = format!("project/{project}");
        store::trace_insert(tx, project, &object, "the secrets of the project, and its key").await?;
        let message =
            format!("project {project} has ended: its {secrets} secrets are destroyed, and its key");
        let data = json!({ "secrets": secrets });
        let event =
            NewEvent { project: project.to_owned(), kind: "vault.project_ended", object, message, data };
        self.0.events.append(tx, event).await.map(drop)
    }

    async fn view(&self, tx: &mut Tx, secret: SecretInfo) -> Result<SecretInfo> {
        let versions = store::version_list(&mut **tx, &secret.project, &secret.name).await?;
        Ok(whole(secret, versions))
    }

    pub(crate) async fn secret_create(
        &self,
        project: &str,
        body: &SecretCreate,
        repeat: Option<&Once>,
    ) -> Result<SecretInfo> {
        check_label("secret", &body.name).map_err(|message| Error::invalid_field("/name", message))?;
        let value = value_of(body.value.expose(), body.encoding)?;
        let born = self.born(project).await?;
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(secret) => return Ok(secret),
            Begun::New(once) => once,
        };
        let tx = &mut once.tx;
        let key = self.key(tx, project, born).await?;
        let name = body.name.as_str();
        if store::secret_find(&mut **tx, project, name).await?.is_some() {
            return Err(Error::conflict(format!(
                "there is a secret {name:?} in project {project} already: give it a new version instead"
            )));
        }
        if store::secret_count(tx, project).await? >= MAX_SECRETS {
            return Err(Error::new(
                ErrorKind::Quota,
                format!(
                    "project {project} has {MAX_SECRETS} secrets, which is the most: delete what nothing needs"
                ),
            ));
        }
        let now = self.0.now();
        let secret = SecretInfo {
            project: project.to_owned(),
            name: name.to_owned(),
            current: 1,
            versions: Vec::new(),
            created_at: now,
            created_by: Actor::current().id,
            last_read: None,
            generation: 1,
        };
        store::secret_insert(tx, &secret).await?;
        self.version_insert(tx, &key, &secret, &value).await?;
        let message = format!("secret {name} was made");
        self.event(tx, project, "secret.created", name, message, json!({ "version": 1 })).await?;
        let secret = self.view(tx, secret).await?;
        once.finish(&secret, &*self.0.clock).await?;
        self.0.events.ring();
        Ok(secret)
    }

    /// Writes the current version.
    async fn version_insert(
        &self,
        tx: &mut Tx,
        key: &MasterKey,
        secret: &SecretInfo,
        value: &[u8],
    ) -> Result<()> {
        let sealed_as = value_name(&secret.name, secret.created_at, secret.current);
        let sealed = key.seal(&sealed_as, value, &*self.0.random)?;
        let new = NewVersion {
            version: secret.current,
            value: &sealed,
            created_at: self.0.now(),
            created_by: &Actor::current().id,
        };
        store::version_insert(tx, &secret.project, &secret.name, &new).await
    }

    pub(crate) async fn secret_list(
        &self,
        project: &str,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<SecretInfo>> {
        let born = self.born(project).await?;
        if !Self::is_alive(self.0.db.reader(), project, born).await? {
            return Ok(Page { items: Vec::new(), next_page: None });
        }
        let rows = store::secret_list(self.0.db.reader(), project, after, i64::from(limit.get()) + 1).await?;
        Ok(limit.page(rows, |secret| secret.name.clone()))
    }

    /// A secret of this life of the project.
    async fn found(&self, tx: &mut Tx, project: &str, name: &str, born: Timestamp) -> Result<SecretInfo> {
        if !Self::is_alive(&mut **tx, project, born).await? {
            return Err(no_secret(project, name));
        }
        store::secret_find(&mut **tx, project, name).await?.ok_or_else(|| no_secret(project, name))
    }

    pub(crate) async fn secret_view(&self, project: &str, name: &str) -> Result<SecretInfo> {
        let born = self.born(project).await?;
        let db = self.0.db.reader();
        if !Self::is_alive(db, project, born).await? {
            return Err(no_secret(project, name));
        }
        let secret = store::secret_find(db, project, name).await?.ok_or_else(|| no_secret(project, name))?;
        Ok(whole(secret, store::version_list(db, project, name).await?))
    }

    pub(crate) async fn version_create(
        &self,
        project: &str,
        name: &str,
        body: &SecretVersionCreate,
        repeat: Option<&Once>,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<SecretInfo> {
        let value = value_of(body.value.expose(), body.encoding)?;
        let born = self.born(project).await?;
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(secret) => return Ok(secret),
            Begun::New(once) => once,
        };
        let tx = &mut once.tx;
        let mut secret = self.found(tx, project, name, born).await?;
        check(secret.generation)?;
        let versions = store::version_list(&mut **tx, project, name).await?;
        let alive = versions.iter().filter(|version| version.destroyed_at.is_none()).count();
        if i64::try_from(alive).unwrap_or(i64::MAX) >= MAX_VERSIONS {
            return Err(Error::new(
                ErrorKind::Quota,
                format!(
                    "secret {name:?} has {alive} versions with a value, which is the most: destroy old ones first"
                ),
            ));
        }
        let key = self.key(tx, project, born).await?;
        secret.current = versions.first().map_or(0, |newest| newest.version) + 1;
        secret.generation += 1;
        store::secret_change(tx, &secret).await?;
        self.version_insert(tx, &key, &secret, &value).await?;
        let message = format!("secret {name} has a new version, {}", secret.current);
        let data = json!({ "version": secret.current });
        self.event(tx, project, "secret.version_created", name, message, data).await?;
        let secret = self.view(tx, secret).await?;
        once.finish(&secret, &*self.0.clock).await?;
        self.0.events.ring();
        Ok(secret)
    }

    /// Gives a value out. That it was is on disk before.
    pub(crate) async fn secret_read(
        &self,
        project: &str,
        name: &str,
        body: &SecretRead,
    ) -> Result<SecretValue> {
        let reason = check_reason(&body.reason)?.to_owned();
        let born = self.born(project).await?;
        let mut tx = self.0.db.write().await?;
        let secret = self.found(&mut tx, project, name, born).await?;
        let version = body.version.unwrap_or(secret.current);
        let sealed = store::version_value(&mut tx, project, name, version)
            .await?
            .ok_or_else(|| Error::not_found(format!("version {version} of secret {name:?}")))?;
        if sealed.is_empty() {
            return Err(Error::conflict(format!("version {version} of secret {name:?} is destroyed")));
        }
        let row = store::key_find(&mut *tx, project).await?.ok_or_else(|| no_secret(project, name))?;
        let sealed_as = value_name(name, secret.created_at, version);
        // Not the caller's fault, whatever it is: the file was changed, or brought back from elsewhere.
        let opened = self.open_key(&row)?.open(&sealed_as, &sealed).map_err(Error::internal)?;
        store::version_was_read(&mut tx, (project, name, version), self.0.now()).await?;
        let message = format!("version {version} of secret {name} was read: {reason}");
        let actor = Actor { reason, ..Actor::current() };
        let data = json!({ "version": version });
        actor.acts(self.event(&mut tx, project, "secret.read", name, message, data)).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        let (value, encoding) = encoded(opened.expose());
        Ok(SecretValue { version, value: Secret::new(value), encoding })
    }

    pub(crate) async fn version_destroy(
        &self,
        project: &str,
        name: &str,
        version: i64,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<SecretInfo> {
        let born = self.born(project).await?;
        let mut tx = self.0.db.write().await?;
        let mut secret = self.found(&mut tx, project, name, born).await?;
        check(secret.generation)?;
        let sealed = store::version_value(&mut tx, project, name, version)
            .await?
            .ok_or_else(|| Error::not_found(format!("version {version} of secret {name:?}")))?;
        if version == secret.current {
            return Err(Error::conflict(format!(
                "version {version} is the current one of secret {name:?}: set a new one first, or delete the secret"
            )));
        }
        if sealed.is_empty() {
            return self.view(&mut tx, secret).await;
        }
        let by = Actor::current().id;
        store::version_destroy(&mut tx, (project, name, version), self.0.now(), &by, TOLD).await?;
        secret.generation += 1;
        store::secret_change(&mut tx, &secret).await?;
        let what = format!("version {version} of secret {name}");
        store::trace_insert(&mut tx, project, &format!("secret/{name}"), &what).await?;
        let message = format!("{what} is destroyed");
        let data = json!({ "version": version });
        self.event(&mut tx, project, "secret.version_destroyed", name, message, data).await?;
        let secret = self.view(&mut tx, secret).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        self.0.traces.wake("traces");
        Ok(secret)
    }

    pub(crate) async fn secret_delete(
        &self,
        project: &str,
        name: &str,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<()> {
        let born = self.born(project).await?;
        let mut tx = self.0.db.write().await?;
        let secret = self.found(&mut tx, project, name, born).await?;
        check(secret.generation)?;
        store::secret_delete(&mut tx, project, name).await?;
        let what = format!("every version of secret {name}");
        store::trace_insert(&mut tx, project, &format!("secret/{name}"), &what).await?;
        let message = format!("secret {name} is deleted, with every version");
        self.event(&mut tx, project, "secret.deleted", name, message, Value::Null).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        self.0.traces.wake("traces");
        Ok(())
    }
}
