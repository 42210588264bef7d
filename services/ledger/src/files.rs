//! Small private files, written whole or not at all.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use hafen_base::{Error, Result};

pub fn error(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("{} cannot be used: {error}", path.display())).with_cause(error)
}

pub fn folder(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| error(path, e))
}

/// None when there is no such file.
pub fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(error(path, e)),
    }
}

/// On disk when it returns, its name included.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file =
            std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        sync_parent(path)
    };
    write().map_err(|e| error(path, e))
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Adds a line to the end, on disk when it returns. A line that was cut off by a crash is ended first, so that the new one is
/// a line of its own.
pub fn append(path: &Path, line: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let torn = std::fs::read(path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let before = if torn { "\n" } else { "" };
        file.write_all(format!("{before}{line}\n").as_bytes())?;
        file.sync_all()?;
        sync_parent(path)
    };
    write().map_err(|e| error(path, e))
}
