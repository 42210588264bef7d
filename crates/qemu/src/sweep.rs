//! Frees what the cache of templates no longer needs.

use std::fs;
use std::path::Path;

use crate::args::PID_FILE;
use crate::durable::{self, Lock};
use crate::process::Process;
use crate::template::{BUILD, META, Meta, RETIRED, build_uuid};
use crate::{Error, Result};

/// Begins the name of what is being removed.
const GONE: &str = ".gone-";

/// Removes templates of images that are not `left`, retired ones among them, and the ruins of
/// builds; gives the bytes freed. A template goes with its image only: disks stand on it.
pub fn gc(cache: &Path, left: impl Fn(&str) -> bool, dry_run: bool) -> Result<u64> {
    let mut freed = 0;
    let entries = match fs::read_dir(cache) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::io("list", cache, error)),
    };
    for entry in entries.flatten() {
        let (dir, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let mut lock = None;
        let needed = if let Some(key) = name.strip_prefix(BUILD) {
            lock = Lock::try_acquire(&cache.join(format!("{key}.lock")))?;
            lock.is_none()
        } else {
            !name.starts_with(GONE) && image_of(&dir).is_none_or(|image| left(&image))
        };
        if needed {
            continue;
        }
        freed += size(&dir);
        if dry_run {
            continue;
        }
        if let Some(key) = name.strip_prefix(BUILD)
            && let Some(process) = Process::find(&build_uuid(key), &dir.join(PID_FILE))
        {
            process.kill();
        }
        // At once under another name: nobody takes half of a template, and a crash leaves what
        // the next call knows.
        let gone = if name.starts_with(GONE) { dir.clone() } else { cache.join(format!("{GONE}{name}")) };
        if gone != dir {
            fs::rename(&dir, &gone).map_err(|e| Error::io("rename", &dir, e))?;
        }
        durable::remove_tree(&gone)?;
        drop(lock);
    }
    Ok(freed)
}

/// The image of a template or of what is left of a retired one; none for anything else.
fn image_of(dir: &Path) -> Option<String> {
    let read = |name| durable::read(&dir.join(name)).ok().flatten();
    let text = read(META).or_else(|| read(RETIRED))?;
    serde_json::from_slice::<Meta>(&text).ok().map(|meta| meta.image().to_owned())
}

/// What the files of a directory take on the disk.
fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .map(|file| std::os::unix::fs::MetadataExt::blocks(&file) * 512)
        .sum()
}
