//! Reading an export: a folder, or the tar as it came.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use hafen_base::{Error, Result};
use hafen_tlog::{Files, Header, TAR_BLOCK, tar_padding, tar_read_header};

/// The files of an export.
#[derive(Debug)]
pub enum ExportFiles {
    /// Unpacked, with the paths below it.
    Folder(PathBuf, std::collections::BTreeSet<String>),
    /// Where each file begins in the archive, and its size.
    Tar(std::fs::File, BTreeMap<String, (u64, u64)>),
}

impl ExportFiles {
    /// # Errors
    /// Not found when there is nothing; invalid when it is no archive of ours, or a damaged one, with the place.
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |error: std::io::Error| {
            let kind = if error.kind() == std::io::ErrorKind::NotFound {
                hafen_base::ErrorKind::NotFound
            } else {
                hafen_base::ErrorKind::Unavailable
            };
            Error::new(kind, format!("{} cannot be read: {error}", path.display()))
        };
        if path.is_dir() {
            let mut paths = std::collections::BTreeSet::new();
            walk(path, path, &mut paths).map_err(unreadable)?;
            return Ok(Self::Folder(path.to_owned(), paths));
        }
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let index = index(&file, length)
            .map_err(|(at, why)| Error::invalid(format!("{}: byte {at}: {why}", path.display())))?;
        Ok(Self::Tar(file, index))
    }
}

fn walk(root: &Path, folder: &Path, paths: &mut std::collections::BTreeSet<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, paths)?;
        } else if let Ok(below) = path.strip_prefix(root) {
            paths.insert(below.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

type Index = BTreeMap<String, (u64, u64)>;

/// Finds all files, and that nothing else is in the archive.
fn index(file: &std::fs::File, length: u64) -> std::result::Result<Index, (u64, String)> {
    let block = TAR_BLOCK as u64;
    let read = |at: u64, buffer: &mut [u8]| {
        file.read_exact_at(buffer, at).map_err(|_| (at, "the archive breaks off".to_owned()))
    };
    let mut index = Index::new();
    let mut at = 0;
    loop {
        let mut header = [0; TAR_BLOCK];
        read(at, &mut header)?;
        match tar_read_header(&header).map_err(|error| (at, error.to_string()))? {
            Header::File { path, size } => {
                let start = at + block;
                let mut padding = [0; TAR_BLOCK];
                let padding = padding.get_mut(..tar_padding(size)).unwrap_or_default();
                read(start.saturating_add(size), padding)?;
                if padding.iter().any(|byte| *byte != 0) {
                    return Err((start + size, "what follows a file is not empty".into()));
                }
                let next = start + size + padding.len() as u64;
                if index.insert(path.clone(), (start, size)).is_some() {
                    return Err((at, format!("{path} is in it twice")));
                }
                at = next;
            }
            Header::End => {
                let mut second = [1; TAR_BLOCK];
                read(at + block, &mut second)?;
                return if second.iter().all(|byte| *byte == 0) && length == at + 2 * block {
                    Ok(index)
                } else {
                    Err((at + block, "something follows the end of the archive".into()))
                };
            }
        }
    }
}

impl Files for ExportFiles {
    fn paths(&self) -> Vec<String> {
        match self {
            Self::Folder(_, paths) => paths.iter().cloned().collect(),
            Self::Tar(_, index) => index.keys().cloned().collect(),
        }
    }

    fn read(&self, path: &str) -> std::result::Result<Option<Vec<u8>>, String> {
        match self {
            Self::Folder(root, paths) => {
                // Only what was found below the folder, whatever a manifest names.
                if !paths.contains(path) {
                    return Ok(None);
                }
                std::fs::read(root.join(path))
                    .map(Some)
                    .map_err(|error| format!("it cannot be read: {error}"))
            }
            Self::Tar(file, index) => {
                let Some((start, size)) = index.get(path) else { return Ok(None) };
                let mut bytes = vec![0; usize::try_from(*size).map_err(|_| "it is too large")?];
                file.read_exact_at(&mut bytes, *start)
                    .map_err(|error| format!("it cannot be read: {error}"))?;
                Ok(Some(bytes))
            }
        }
    }
}
