//! What can go wrong, in words a person can act on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Digest;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program or a setting which this host lacks.
    #[error("{what} is missing; {mend}")]
    Missing { what: String, mend: String },
    /// What was asked for cannot be: a name, a path, a lock, a URL.
    #[error("{0}")]
    Invalid(String),
    /// Packages that do not exist or do not go together; the text is apt's.
    #[error("apt finds no way to install these packages: {0}")]
    Unsolvable(String),
    #[error("image {0} is not in the store")]
    NotFound(Digest),
    /// No room. Nothing half-made was left. Sizes in bytes; `needed` is 0 where it is not known.
    #[error("{}", no_space(*needed, *free, path))]
    NoSpace { needed: u64, free: u64, path: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// A program failed; `message` is the end of what it printed.
    #[error("{program} failed: {message}")]
    Tool { program: String, message: String },
    /// The mirror does not answer, or not as a mirror does. Later it may.
    #[error("the Debian mirror cannot be used: {0}")]
    Mirror(String),
    /// Locked packages which neither the cache nor the mirror has.
    #[error(
        "{} of the locked packages can no longer be had ({}): the mirror has moved on. Name a snapshot mirror of the \
         lock's date, put the .deb files into {} under their SHA-256, or remove the lock to resolve anew",
        packages.len(), first(packages), cache.display()
    )]
    Gone { packages: Vec<String>, cache: PathBuf },
    /// What is in the store is not what was put there.
    #[error("image {digest} is damaged: {detail}")]
    Corrupt { digest: Digest, detail: String },
    /// A rebuild gave something else.
    #[error("image {digest} differs from its rebuild at {path}: {detail}")]
    Differs { digest: Digest, path: String, detail: String },
    /// A cloud image that is not what its hash says, or that is not safe to use.
    #[error("the cloud image is refused: {0}")]
    Refused(String),
    #[error("{doing} did not end within {} s", after.as_secs())]
    Timeout { doing: String, after: Duration },
}

impl Error {
    /// Wraps an I/O error, telling a full disk from everything else.
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::full(&path);
        }
        Self::Io { doing, path, source }
    }

    /// A full file system, with what is free there now.
    pub(crate) fn full(path: &Path) -> Self {
        Self::NoSpace { needed: 0, free: free_space(path).unwrap_or(0), path: path.to_path_buf() }
    }

    /// From the last words of a program, some of which report a full disk only there.
    pub(crate) fn tool(program: &str, words: &str, place: &Path) -> Self {
        if says_no_space(words) {
            return Self::full(place);
        }
        Self::Tool { program: program.to_owned(), message: words.trim().to_owned() }
    }

    /// Whether the same call may succeed later without a change of the request.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::NoSpace { .. } | Self::Mirror(_))
    }
}

/// Programs print strerror(ENOSPC) or strerror(EDQUOT), and some look before they write; they run in the locale C.
pub(crate) fn says_no_space(words: &str) -> bool {
    const SAYINGS: [&str; 4] = [
        "No space left on device",
        "Disk quota exceeded",
        "Could not allocate block in ext2",
        // apt, of its archives; the folder follows.
        "You don't have enough free space in",
    ];
    SAYINGS.iter().any(|saying| words.contains(saying))
}

/// Bytes free for this user on the file system of `path`, or of its nearest ancestor that exists.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let there = path.ancestors().find(|one| one.exists()).unwrap_or(Path::new("/"));
    let fs = rustix::fs::statvfs(there)?;
    Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
}

fn no_space(needed: u64, free: u64, path: &Path) -> String {
    let (free, path) = (free >> 20, path.display());
    if needed == 0 {
        format!("no space left on the file system of {path} ({free} MiB free)")
    } else {
        format!(
            "{} MiB are needed on the file system of {path}, {free} MiB are free",
            needed.div_ceil(1 << 20)
        )
    }
}

fn first(packages: &[String]) -> String {
    let shown = packages.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if packages.len() > 3 { format!("{shown}, …") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        assert!(matches!(Error::io("write", "/x", io::Error::from_raw_os_error(28)), Error::NoSpace { .. }));
        assert!(matches!(Error::io("write", "/x", io::Error::from_raw_os_error(13)), Error::Io { .. }));
        let words = "qemu-img: error while writing: No space left on device";
        assert!(matches!(Error::tool("qemu-img", words, Path::new("/")), Error::NoSpace { .. }));
        let words = "E: You don't have enough free space in /root/var/cache/apt/archives/.\nE: setup failed";
        assert!(matches!(Error::tool("mmdebstrap", words, Path::new("/")), Error::NoSpace { .. }));
        assert!(matches!(Error::tool("qemu-img", "bad", Path::new("/")), Error::Tool { .. }));
    }
}
