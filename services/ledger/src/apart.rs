//! The place apart: a folder that no backup of the database brings back to an older state.
//!
//! It holds the last checkpoint of each shard and the list of erasures. A database that is restored from a backup is older
//! than the checkpoint here, which is how the ledger notices that going on would tell two histories under one name; and the
//! persons that were erased since then are erased again from the list. Put it on another disk, or a share, if there is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hafen_base::{Error, Result};
use hafen_tlog::{Checkpoint, Note, VerifierKey};
use serde::{Deserialize, Serialize};

use crate::files;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Apart(Arc<PathBuf>);

/// One erased pseudonym. Says nothing of whom it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub shard: String,
    pub pseudonym: String,
}

impl Apart {
    pub fn open(folder: &Path) -> Result<Self> {
        files::folder(folder)?;
        Ok(Self(Arc::new(folder.to_owned())))
    }

    fn head(&self, shard: &str) -> PathBuf {
        self.0.join(format!("{shard}.checkpoint"))
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The last checkpoint that was signed for a shard.
    ///
    /// # Errors
    /// Invalid when the file is damaged or not of this key: it is never passed over.
    pub fn last(&self, shard: &str, key: &VerifierKey) -> Result<Option<(Checkpoint, Note)>> {
        let path = self.head(shard);
        let Some(text) = files::read(&path)? else { return Ok(None) };
        let damaged = |why: String| {
            Error::invalid(format!(
                "{} is damaged ({why}): bring it back from where it is mirrored, or take the checkpoint that a witness or an export holds",
                path.display()
            ))
        };
        let note = Note::parse(text.as_bytes()).map_err(|error| damaged(error.to_string()))?;
        note.verify(&[key]).map_err(|error| damaged(error.to_string()))?;
        let checkpoint: Checkpoint = note.text.parse().map_err(|_| damaged("no checkpoint".into()))?;
        Ok(Some((checkpoint, note)))
    }

    /// Puts a new checkpoint in the place of `before`, if that is still the last one; false when it is not. On disk when it
    /// returns.
    pub async fn swap(&self, shard: &str, before: Option<&Note>, note: &Note) -> Result<bool> {
        let (apart, path) = (self.clone(), self.head(shard));
        let (before, text) = (before.map(ToString::to_string), note.to_string());
        blocking(move || {
            let _lock = apart.lock()?;
            if files::read(&path)? != before {
                return Ok(false);
            }
            files::write(&path, text.as_bytes())?;
            Ok(true)
        })
        .await
    }

    /// Adds to the list of erasures. On disk when it returns.
    pub async fn erasure_add(&self, erasures: Vec<Erasure>) -> Result<()> {
        let apart = self.clone();
        blocking(move || {
            let _lock = apart.lock()?;
            for erasure in &erasures {
                let line = serde_json::to_string(erasure).map_err(Error::internal)?;
                files::append(&apart.0.join("erasures"), &line)?;
            }
            Ok(())
        })
        .await
    }

    /// All erasures ever. A line that a crash cut off was not acknowledged to anybody, and is passed over.
    pub fn erasures(&self) -> Result<Vec<Erasure>> {
        let text = files::read(&self.0.join("erasures"))?.unwrap_or_default();
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Between processes: two replicas of the service may share the folder.
    fn lock(&self) -> Result<std::fs::File> {
        let path = self.0.join("lock");
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| files::error(&path, error))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| files::error(&path, error.into()))?;
        Ok(file)
    }
}

/// File work off the threads that answer requests.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}
