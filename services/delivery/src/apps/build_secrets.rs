//! The secrets that a build names: which versions, their values for as long as it runs, and whether they lie in what it leaves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::{AppBuild, AppEnv};
use zeroize::Zeroizing;

use super::Apps;
use super::mask::Values;
use super::model::BuildRow;
use super::unit::Secrets;

/// The secrets of one build together: more is no environment of a process, and what is looked for in its log.
const MOST: usize = 256 << 10;

/// The values of a build's secrets, by the name of the secret.
pub(crate) struct Opened(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Apps {
    /// The versions that the secrets of a build are at.
    ///
    /// # Errors
    /// Conflict, with all that are missing.
    pub(crate) async fn build_versions(
        &self,
        project: &str,
        app: &str,
        build: &AppBuild,
    ) -> Result<BTreeMap<String, i64>> {
        let (mut versions, mut missing) = (BTreeMap::new(), Vec::new());
        for secret in build.secrets() {
            match self.0.vault.version(project, secret).await {
                Ok(version) => {
                    versions.insert(secret.to_owned(), version);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => missing.push(secret),
                Err(error) => return Err(error),
            }
        }
        if missing.is_empty() {
            return Ok(versions);
        }
        let told: Vec<String> = missing
            .iter()
            .map(|one| format!("there is no secret {one:?}: `hafen secret set {one}`"))
            .collect();
        Err(Error::conflict(format!(
            "the build of {app} names what the project does not have: {}",
            told.join("; ")
        )))
    }

    /// The values of those that a build gets; each reading stands in the ledger.
    ///
    /// # Errors
    /// Conflict when one is not there any more; too large; as the vault.
    pub(crate) async fn build_secrets(&self, row: &BuildRow) -> Result<Opened> {
        let reason = format!("build {} of app {} at commit {}", row.id(), row.app, row.commit);
        let mut opened = BTreeMap::new();
        for (secret, version) in &row.secrets {
            let value = match self.0.vault.read(&row.project, secret, Some(*version), &reason).await {
                Ok(value) => value,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
                    self.build_versions(&row.project, &row.app, &row.build).await?;
                    return Err(Error::conflict(format!(
                        "{error}; it was the current one when the build was asked for: deploy again"
                    )));
                }
                Err(error) => return Err(error),
            };
            opened.insert(secret.clone(), value);
        }
        let size: usize = opened.values().map(|value| value.len()).sum();
        if size > MOST {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the secrets of the build have {size} bytes together, which is more than {MOST}: name those alone that it \
                     needs"
                ),
            ));
        }
        Ok(Opened(opened))
    }
}

impl Opened {
    fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.0.values().map(|value| value.as_slice())
    }

    /// By the variables that hold them.
    pub fn variables(&self, env: &BTreeMap<String, AppEnv>) -> Secrets {
        let value =
            |(name, value): (&String, &AppEnv)| Some((name.clone(), self.0.get(value.secret()?)?.clone()));
        env.iter().filter_map(value).collect()
    }

    pub fn for_log(&self) -> Values {
        Values::for_log(self.values())
    }

    /// The name of one whose value lies in a file, which is read from its beginning and is at its beginning again.
    ///
    /// # Errors
    /// Internal.
    pub fn found_in(&self, file: &mut File) -> Result<Option<&str>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
        let found = Values::whole(self.values()).search(&mut *file)?;
        file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
        Ok(found.and_then(|at| self.0.keys().nth(at)).map(String::as_str))
    }
}
