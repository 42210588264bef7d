//! Copies of others' repositories on this disk: one for each project, URL and token, so that none has what another may see.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hafen_base::{Error, Result};
use hafen_client::wire::AppSource;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;

pub(super) struct Copies {
    /// Where they lie.
    folder: PathBuf,
    /// A copy is fetched into, read and removed by one at a time; by the name of its folder.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Copies {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, turns: Mutex::default() }
    }

    /// The folder of one, when nobody else uses it, until it is let go of.
    pub async fn turn(&self, project: &str, source: &AppSource) -> (PathBuf, OwnedMutexGuard<()>) {
        let name = name(project, source);
        let turn = self.lock(&name).lock_owned().await;
        (self.folder.join(name), turn)
    }

    fn lock(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(name.to_owned()).or_default())
    }

    /// Removes one; by one rename, so that nobody finds half of it.
    pub async fn remove(&self, folder: &Path) -> Result<()> {
        let (folder, copies) = (folder.to_owned(), self.folder.clone());
        let work = move || -> std::io::Result<()> {
            let gone = tempfile::Builder::new().prefix("gone-").tempdir_in(copies)?.keep();
            match std::fs::rename(&folder, &gone) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // What a process that is being ended still writes there goes with the next housekeeping.
            let _later = std::fs::remove_dir_all(gone);
            Ok(())
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)?.map_err(|error| {
            Error::unavailable("a copy of a repository cannot be removed; the platform's log says why")
                .with_cause(error)
        })
    }

    /// Removes all but those of these sources.
    pub async fn keep(&self, used: &[(String, AppSource)]) -> Result<()> {
        let used: BTreeSet<String> = used.iter().map(|(project, source)| name(project, source)).collect();
        let Ok(mut entries) = tokio::fs::read_dir(&self.folder).await else { return Ok(()) };
        while let Some(entry) = entries.next_entry().await.map_err(Error::internal)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            // One that is in use just now is looked at again the next time.
            if !used.contains(&name)
                && let Ok(_turn) = self.lock(&name).try_lock_owned()
            {
                self.remove(&entry.path()).await?;
            }
        }
        Ok(())
    }
}

/// One per project, so that none learns from another what there is; and per token, so that an app without it has nothing of what
/// another fetched with it.
fn name(project: &str, source: &AppSource) -> String {
    let mut told = format!("{project}\n{}", source.git.as_deref().unwrap_or_default());
    if let Some(token) = &source.token {
        told.push('\n');
        told.push_str(&token.secret);
    }
    let name = Sha256::digest(told);
    let name = name.iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("{name}.git")
}

/// Bytes that a folder takes on the disk. One that is being changed is measured as far as it is there.
pub(super) async fn size(folder: PathBuf) -> u64 {
    tokio::task::spawn_blocking(move || folder_size(&folder)).await.unwrap_or(0)
}

fn folder_size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let meta = entry.metadata().ok()?;
        // A file of a few bytes, as each reference is, takes a block; one that was just written may have none yet.
        let own = meta.blocks().saturating_mul(512).max(meta.len());
        Some(if meta.is_dir() { own.saturating_add(folder_size(&entry.path())) } else { own })
    });
    sizes.fold(0, u64::saturating_add)
}
