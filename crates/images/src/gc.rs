//! Removes what nothing uses.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::durable::{self, Workshop, blocking};
use crate::lock::Lock;
use crate::store::Store;
use crate::{Digest, Error, Result};

impl Store {
    /// Removes the images which are not in `keep` and which no other home holds, and then the packages that no lock of
    /// the images left names. Gives what was removed, and the bytes that this freed; with `dry_run` what would be.
    ///
    /// The holder's own holds become exactly `keep`: it must name all that the holder uses, also what is being built
    /// for it at this moment.
    pub async fn gc(&self, keep: &[Digest], dry_run: bool) -> Result<(Vec<Digest>, u64)> {
        let work = self.work();
        let workshop = blocking(move || {
            durable::sweep(&work)?;
            Workshop::new(&work)
        })
        .await?;
        let keep: BTreeSet<Digest> = keep.iter().cloned().collect();
        let lock = self.exclusive().await?;
        let digests = self.digests().await?;
        let (mut removed, mut freed, mut left) = (Vec::new(), 0, BTreeSet::new());
        for digest in digests {
            let folder = self.folder(&digest);
            if !folder.is_dir() {
                continue;
            }
            if keep.contains(&digest) {
                if !dry_run {
                    self.hold_locked(&lock, &digest)?;
                }
                left.insert(digest);
                continue;
            }
            if !dry_run {
                self.let_go(&lock, &digest)?;
            }
            if self.is_held(&lock, &digest, false)? {
                left.insert(digest);
                continue;
            }
            freed += size(&folder)?;
            if !dry_run {
                // Gone at once; a crash leaves the rest to the next sweep.
                let aside = workshop.path().join(digest.as_str());
                fs::rename(&folder, &aside).map_err(|e| Error::io("move", &folder, e))?;
                durable::remove_tree(&self.root().join("holds").join(digest.as_str()))?;
            }
            removed.push(digest);
        }
        if !dry_run {
            self.clean_index(&left)?;
            self.clean_holds(&lock)?;
        }
        freed += self.clean_packages(&left, dry_run).await?;
        drop(lock);
        blocking(move || {
            drop(workshop);
            Ok(())
        })
        .await?;
        Ok((removed, freed))
    }

    /// Forgets what recipes became that is gone.
    fn clean_index(&self, left: &BTreeSet<Digest>) -> Result<()> {
        let index = self.root().join("index");
        for entry in fs::read_dir(&index).map_err(|e| Error::io("list", &index, e))?.flatten() {
            let path = entry.path();
            let text = durable::read(&path, 4096)?.unwrap_or_default();
            let digest = String::from_utf8_lossy(&text).trim().parse::<Digest>().ok();
            if !digest.is_some_and(|digest| left.contains(&digest)) {
                fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        Ok(())
    }

    /// Removes holds on images that never came: a crash came first.
    fn clean_holds(&self, _lock: &durable::Lock) -> Result<()> {
        let holds = self.root().join("holds");
        for entry in fs::read_dir(&holds).map_err(|e| Error::io("list", &holds, e))?.flatten() {
            if !self.root().join("images").join(entry.file_name()).exists() {
                durable::remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Not while somebody builds: what was fetched for that is in no image's lock yet.
    async fn clean_packages(&self, left: &BTreeSet<Digest>, dry_run: bool) -> Result<u64> {
        let Some(_alone) = durable::Lock::attempt(&self.lock_path("packages"), false)? else { return Ok(0) };
        let mut named = BTreeSet::new();
        for digest in left {
            // A damaged image's packages can be fetched again.
            let Ok(Some(image)) = self.get(digest).await else { continue };
            if let Ok(lock) = Lock::parse(&image.lock) {
                named.extend(lock.packages.into_iter().map(|package| format!("{}.deb", package.sha256)));
            }
        }
        let folder = self.packages();
        let mut freed = 0;
        for entry in fs::read_dir(&folder).map_err(|e| Error::io("list", &folder, e))?.flatten() {
            if named.contains(&*entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            freed += entry.metadata().map_err(|e| Error::io("look at", &path, e))?.blocks() * 512;
            if !dry_run {
                fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        Ok(freed)
    }
}

/// Bytes that the files in a folder take.
fn size(folder: &Path) -> Result<u64> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?;
    entries.flatten().try_fold(0, |sum, entry| {
        let found = entry.metadata().map_err(|e| Error::io("look at", entry.path(), e))?;
        Ok(sum + found.blocks() * 512)
    })
}
