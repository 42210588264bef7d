//! Files that are whole or absent, locks that vanish with their process, and folders that do not
//! outlive their work.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Error, Result};

/// Replaces `path` at once; a reader sees the old or the new. Blocks.
pub(crate) fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The process id keeps two writers of one file apart; what a crash leaves is swept with `.new`.
    let new = parent.join(format!(".{name}.{}.new", std::process::id()));
    let made = (|| {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(&new)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if let Err(error) = made {
        // Best effort: the first error matters more.
        let _ = fs::remove_file(&new);
        return Err(Error::io("write", path, error));
    }
    sync(parent)
}

/// Makes what is in a file, or the names in a folder, survive a power cut.
pub(crate) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| Error::io("sync", path, e))
}

/// The text of a file of at most `limit` bytes; none when it is not there.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    use io::Read;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    let mut text = Vec::new();
    file.take(limit + 1).read_to_end(&mut text).map_err(|e| Error::io("read", path, e))?;
    if text.len() as u64 > limit {
        return Err(Error::Invalid(format!("{} has more than {limit} bytes", path.display())));
    }
    Ok(Some(text))
}

pub(crate) fn make_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path).map_err(|e| Error::io("make", path, e))?;
    let found = fs::metadata(path).map_err(|e| Error::io("look at", path, e))?;
    if found.permissions().mode() & 0o7777 == 0o755 {
        return Ok(());
    }
    // Machines run as other users and read images; the umask of whoever makes the folder would keep them out.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| Error::io("open", path, e))
}

/// A lock on a file, held until dropped or until the process ends in any way.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock if nobody has it (`shared`: if nobody has it for himself).
    pub(crate) fn attempt(path: &Path, shared: bool) -> Result<Option<Self>> {
        let mut options = fs::OpenOptions::new();
        // Made by opening, never by renaming: all must have the lock on one and the same file.
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(path).map_err(|e| Error::io("open", path, e))?;
        let operation = if shared {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io("lock", path, error.into())),
        }
    }

    /// Whether the file that is locked still has this name.
    fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let id = |found: &fs::Metadata| (found.dev(), found.ino());
        matches!((self.0.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if id(&a) == id(&b))
    }

    /// Waits for the lock, asking again: a thread blocked in flock could not be cancelled.
    pub(crate) async fn wait(path: &Path, mut waiting: impl FnMut()) -> Result<Self> {
        loop {
            if let Some(lock) = Self::attempt(path, false)? {
                return Ok(lock);
            }
            waiting();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A folder for work under way. It goes when dropped, and when its process died without, with
/// the next [`sweep`].
#[derive(Debug)]
pub(crate) struct Workshop {
    path: PathBuf,
    _lock: Lock,
}

impl Workshop {
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (path, lock) = loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{}-{number}", std::process::id()));
            let lock_path = path.with_extension("lock");
            // Locked before the folder is there: a sweep in between finds nothing to remove. If it came just before the
            // lock, it removed the name of what was locked: then once more.
            if let Some(lock) = Lock::attempt(&lock_path, false)?
                && lock.is_at(&lock_path)
            {
                break (path, lock);
            }
        };
        remove_tree(&path)?;
        fs::DirBuilder::new().mode(0o755).create(&path).map_err(|e| Error::io("make", &path, e))?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Processes that were killed a moment ago may still be writing: try for a while. What
        // cannot be removed is found by the next sweep, because its lock is free then.
        if remove_tree(&self.path).is_ok() {
            let _ = fs::remove_file(self.path.with_extension("lock"));
        }
    }
}

/// Removes workshops of processes that are gone. What cannot be removed, being another user's, stays. Blocks.
pub(crate) fn sweep(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent).map_err(|e| Error::io("list", parent, e))?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != "lock") {
            continue;
        }
        if let Ok(Some(_lock)) = Lock::attempt(&path, false)
            && remove_tree(&path.with_extension("")).is_ok()
        {
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// Removes a tree, also one with files of this user's subordinate users; done when it is gone.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let mut tries = 0;
    loop {
        let error = match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => error,
        };
        tries += 1;
        if tries > 200 {
            return Err(Error::io("remove", path, error));
        }
        if error.kind() == io::ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root() {
            // Best effort: the next turn sees whether it worked.
            let _ = std::process::Command::new("unshare")
                .args(["--user", "--map-root-user", "--map-auto", "rm", "-rf", "--"])
                .arg(path)
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status();
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "in a destructor there is no clock and nothing to wait on"
        )]
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Runs blocking work on tokio's threads for it. A panic there is passed on as an error.
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
    fn a_sweep_removes_what_the_dead_left_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let alive = Workshop::new(dir.path()).unwrap();
        fs::create_dir(dir.path().join("1-0")).unwrap();
        fs::write(dir.path().join("1-0.lock"), "").unwrap();
        sweep(dir.path()).unwrap();
        assert!(alive.path().is_dir());
        assert!(!dir.path().join("1-0").exists());
        assert!(!dir.path().join("1-0.lock").exists());
        drop(alive);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn write_replaces_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"two");
        assert!(read(&path, 2).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
