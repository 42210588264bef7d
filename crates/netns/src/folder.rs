//! The folder of a network: what of it is on disk, and its locks.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The wanted [`crate::Config`]. A folder without it is no network.
pub(crate) const CONFIG: &str = "config.json";
/// The [`crate::HostEntry`] list.
pub(crate) const HOSTS: &str = "hosts.json";
/// The control socket.
pub(crate) const SOCKET: &str = "control.sock";
/// Locked as long as a holder lives. A lock dies with its process, a pid file does not.
pub(crate) const ALIVE: &str = "holder.lock";
/// Who holds: pid, start time, generation. For people; the lock is what counts.
pub(crate) const HOLDER: &str = "holder.json";
/// Locked while somebody starts, replaces or removes a holder.
pub(crate) const START: &str = "start.lock";
/// What the holder and its programs wrote on standard error, since its start.
pub(crate) const LOG: &str = "holder.log";
/// The directory that dnsmasq reads.
pub(crate) const NAMES: &str = "names";

const MAX_FILE: u64 = 4 << 20;

/// Makes a directory that only its owner may enter, whatever the umask says.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => Ok(()),
        Err(error) => Err(Error::io("create", path, error)),
    }
}

/// Replaces a file at once: a reader sees the old or the new, also after a power cut.
pub(crate) fn write(path: &Path, mode: u32, contents: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    (|| {
        remove_file(&new)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        // The umask of whoever started us must not decide whether dnsmasq can read its files.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    })()
    .map_err(|error: io::Error| Error::io("write", path, error))
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|e| Error::io("write", path, e))?;
    write(path, 0o600, &text)
}

/// Nothing, if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_slice(&text).map(Some).map_err(|e| Error::io("understand", path, e))
}

/// Removes a file; one that is gone already is fine.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An exclusive lock, held until dropped or until the process ends in any way.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Blocks until the lock is ours.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        let file = open(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|e| Error::io("lock", path, e))?;
        Ok(Self(file))
    }

    /// Whether this is still the file that others would lock.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let same = |a: &fs::Metadata, b: &fs::Metadata| a.ino() == b.ino() && a.dev() == b.dev();
        matches!((self.0.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if same(&a, &b))
    }

    /// Nothing, if somebody else has it.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io("lock", path, error)),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|e| Error::io("open", path, e))
}

/// A directory held open, to reach a socket in it: addresses of sockets are limited to 107 bytes,
/// paths of networks are not.
pub(crate) struct SocketDir(OwnedFd);

impl SocketDir {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| Error::io("open", folder, e))?;
        Ok(Self(fd))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }
}
