//! Files that are whole or absent, whatever happens in between: write, sync, rename, sync the
//! directory. Also locks that vanish with their process.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Replaces `path` by `contents` at once; a reader sees the old or the new.
pub fn write(path: &Path, mode: u32, contents: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let made = (|| -> io::Result<()> {
        remove_file(&new)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if let Err(error) = made {
        // Best effort: the original error matters more.
        let _ = fs::remove_file(&new);
        return Err(Error::io("write", path, error));
    }
    sync_parent(path)
}

/// Makes a rename or creation in the directory of `path` survive a power cut.
pub fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|e| Error::io("sync", parent, e))
}

/// Removes a file; one that is gone already is fine.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a tree; one that is gone already is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// The text of a file, or nothing if it does not exist. Refuses more than 1 MiB.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    use std::io::Read;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let mut text = Vec::new();
    file.take(1 << 20).read_to_end(&mut text).map_err(|e| Error::io("read", path, e))?;
    Ok(Some(text))
}

/// Opens a file that another user may have put there: never follows a link, never waits for a
/// pipe, refuses what is no file.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    open_plain_as(path, fs::OpenOptions::new().read(true))
}

pub(crate) fn open_plain_as(path: &Path, options: &mut fs::OpenOptions) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no ordinary file"))
}

/// An exclusive lock on a file, held until dropped or until the process ends in any way.
pub(crate) struct Lock(#[expect(dead_code, reason = "held open: closing it unlocks")] File);

impl Lock {
    /// Waits for the lock on a thread that may block.
    pub(crate) async fn acquire(path: &Path) -> Result<Self> {
        let path = path.to_path_buf();
        blocking(move || {
            let file = open_lock(&path)?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
                .map_err(|e| Error::io("lock", &path, e.into()))?;
            Ok(Self(file))
        })
        .await
    }
}

impl Lock {
    /// The lock if nobody has it.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let file = open_lock(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io("lock", path, error.into())),
        }
    }
}

fn open_lock(path: &Path) -> Result<File> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io("open", path, e))
}

/// Runs blocking work on tokio's pool for it. A panic there is passed on as an error.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Tool { program: "worker thread".into(), message: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_replaces_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, 0o600, b"one").unwrap();
        write(&path, 0o600, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_lock_excludes_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let first = Lock::acquire(&path).await.unwrap();
        let second = tokio::spawn(async move { Lock::acquire(&path).await.map(drop) });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
    }
}
