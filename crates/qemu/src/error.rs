//! What can go wrong, in words a person can act on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program or file this host lacks.
    #[error("{what} is missing; {mend}")]
    Missing { what: String, mend: String },
    /// The request cannot be carried out as stated.
    #[error("{0}")]
    Invalid(String),
    /// The machine or the file is in a state that does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// No room on the file system which holds `path`. Nothing half-made was left.
    #[error("no space left on the file system of {}", path.display())]
    NoSpace { path: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// QEMU ended or refused to start; `tail` is the end of what it printed.
    #[error("QEMU {what}: {tail}")]
    Qemu { what: String, tail: String },
    /// QEMU answered a command with an error.
    #[error("QEMU refused {command}: {message}")]
    Qmp { command: String, message: String },
    /// The agent in the guest reported an error.
    #[error("the guest could not do {verb}: {message}")]
    Agent { verb: String, message: String },
    /// A host tool failed.
    #[error("{program} failed: {message}")]
    Tool { program: String, message: String },
    #[error("{doing} did not end within {:.1} s", after.as_secs_f64())]
    Timeout { doing: String, after: Duration },
}

impl Error {
    /// Wraps an I/O error, telling a full disk from everything else.
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        if is_no_space(&source) { Self::NoSpace { path } } else { Self::Io { doing, path, source } }
    }

    /// From the words of a tool that reports a full disk only in its message.
    pub(crate) fn tool(program: &str, message: &str, path: &Path) -> Self {
        if says_no_space(message) {
            return Self::NoSpace { path: path.to_path_buf() };
        }
        Self::Tool { program: program.to_owned(), message: message.trim().to_owned() }
    }

    pub(crate) fn timeout(doing: impl Into<String>, after: Duration) -> Self {
        Self::Timeout { doing: doing.into(), after }
    }

    /// Fills in how long the whole call was allowed to take.
    pub(crate) fn within(self, patience: Duration) -> Self {
        match self {
            Self::Timeout { doing, after } if after.is_zero() => Self::Timeout { doing, after: patience },
            other => other,
        }
    }

    /// Whether the same call may succeed later without anything being changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::NoSpace { .. })
    }
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Tools print strerror(ENOSPC) or strerror(EDQUOT); the locale of their environment is C.
pub(crate) fn says_no_space(message: &str) -> bool {
    message.contains("No space left on device") || message.contains("Disk quota exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = io::Error::from_raw_os_error(28);
        assert!(matches!(Error::io("write", "/x", full), Error::NoSpace { .. }));
        let other = io::Error::from_raw_os_error(13);
        assert!(matches!(Error::io("write", "/x", other), Error::Io { .. }));
        let said = Error::tool("qemu-img", "qemu-img: /x: No space left on device", Path::new("/x"));
        assert!(matches!(said, Error::NoSpace { .. }));
    }
}
