//! The folder in which artefacts lie, each under the name of its content.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use hafen_base::{Error, Result, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::pack::{Limits, Packed, disk, hex, pack};

const ENDING: &str = ".tar.zst";

/// Artefacts on this host.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Made if it is not there; what a crash left half written goes.
    ///
    /// # Errors
    /// Unavailable when the folder cannot be used.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(disk)?;
        for entry in fs::read_dir(folder).map_err(disk)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("new-") {
                fs::remove_file(entry.path()).map_err(disk)?;
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}{ENDING}"))
    }

    /// Keeps the content of a tar archive. On disk when this returns.
    ///
    /// # Errors
    /// As for [`pack`].
    pub fn put(&self, tar: impl Read, limits: Limits) -> Result<Packed> {
        let mut file = tempfile::Builder::new().prefix("new-").tempfile_in(&self.folder).map_err(disk)?;
        let packed = pack(tar, file.as_file_mut(), &self.folder, limits)?;
        file.as_file().sync_all().map_err(disk)?;
        file.persist(self.path(&packed.digest)).map_err(|error| disk(error.error))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(disk)?;
        Ok(packed)
    }

    /// Whether it is there.
    pub fn has(&self, digest: &str) -> bool {
        self.path(digest).is_file()
    }

    /// Bytes of its file; none when it is not there.
    pub fn size(&self, digest: &str) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|meta| meta.len())
    }

    /// Its tar archive, read from the beginning.
    ///
    /// # Errors
    /// Not found when it is not kept.
    pub fn read(&self, digest: &str) -> Result<impl Read + Send + use<>> {
        let file = self.file(digest)?;
        zstd::Decoder::new(file).map_err(disk)
    }

    /// Its compressed file.
    ///
    /// # Errors
    /// Not found when it is not kept.
    pub fn file(&self, digest: &str) -> Result<File> {
        File::open(self.path(digest)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::not_found(format!("artefact {digest}")),
            _ => disk(error),
        })
    }

    /// Whether its bytes are still those of its name.
    ///
    /// # Errors
    /// Not found; unavailable when it cannot be read.
    pub fn is_sound(&self, digest: &str) -> Result<bool> {
        let (mut file, mut hash) = (self.file(digest)?, Sha256::new());
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = file.read(&mut buffer).map_err(disk)?;
            if count == 0 {
                return Ok(hex(&hash.finalize()) == digest);
            }
            hash.update(buffer.get(..count).unwrap_or_default());
        }
    }

    /// Removes every artefact but these and those that are newer than `before`, as one that was only just written is nobody's
    /// yet; gives what went, and how many bytes are free by it.
    ///
    /// # Errors
    /// Unavailable when the folder cannot be read.
    pub fn collect(&self, keep: &BTreeSet<String>, before: Timestamp) -> Result<(Vec<String>, u64)> {
        let (mut gone, mut freed) = (Vec::new(), 0);
        for entry in fs::read_dir(&self.folder).map_err(disk)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(digest) = name.strip_suffix(ENDING) else { continue };
            let Ok(meta) = entry.metadata() else { continue };
            let written = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let is_old =
                written.is_some_and(|at| at.as_micros() < u128::try_from(before.micros()).unwrap_or(0));
            if is_old && !keep.contains(digest) {
                freed += meta.len();
                fs::remove_file(entry.path()).map_err(disk)?;
                gone.push(digest.to_owned());
            }
        }
        gone.sort();
        Ok((gone, freed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(content: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, "file", content.as_bytes()).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn kept_by_content_and_collected() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let one = store.put(&archive("one")[..], Limits::default()).unwrap();
        let again = store.put(&archive("one")[..], Limits::default()).unwrap();
        let two = store.put(&archive("two")[..], Limits::default()).unwrap();
        assert_eq!(one, again);
        assert_ne!(one.digest, two.digest);
        let mut tar = Vec::new();
        store.read(&one.digest).unwrap().read_to_end(&mut tar).unwrap();
        assert!(String::from_utf8_lossy(&tar).contains("one"));
        assert!(store.is_sound(&one.digest).unwrap());
        std::fs::write(folder.path().join(format!("{}.tar.zst", two.digest)), "other bytes").unwrap();
        assert!(!store.is_sound(&two.digest).unwrap());
        // What a crash left, and what nothing keeps.
        std::fs::write(folder.path().join("new-abc"), "half").unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(!folder.path().join("new-abc").exists());
        let keep = BTreeSet::from([one.digest.clone()]);
        assert_eq!(store.collect(&keep, Timestamp::from_micros(0)).unwrap(), (vec![], 0));
        let (gone, freed) = store.collect(&keep, Timestamp::from_micros(i64::MAX)).unwrap();
        assert_eq!((gone, freed), (vec![two.digest.clone()], 11));
        assert!(store.has(&one.digest) && !store.has(&two.digest));
        let error = store.read(&two.digest).err().unwrap();
        assert_eq!(error.kind(), hafen_base::ErrorKind::NotFound);
        // A refused archive leaves nothing.
        assert!(store.put(&b"nonsense"[..], Limits::default()).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
