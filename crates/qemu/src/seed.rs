//! A cloud-init seed for foreign images: a FAT volume labelled `CIDATA` with `meta-data`,
//! `user-data` and `network-config` (cloud-init's NoCloud data source).

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::{Error, Result, disk, durable};

/// Large enough for the largest user data (1 MiB) and small enough to write at once.
const SIZE: u64 = 4 << 20;
const MAX_FILE: usize = 1 << 20;

/// What a seed holds. Empty parts are left out, but for `meta`, without which cloud-init sees no seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seed<'a> {
    pub meta: &'a str,
    pub user: &'a str,
    /// Like `user`, from whoever runs the machine; `user` wins.
    pub vendor: &'a str,
    pub network: &'a str,
}

/// Writes the seed.
pub fn write_seed(path: &Path, seed: Seed<'_>) -> Result<()> {
    let parts = [
        ("meta-data", seed.meta),
        ("user-data", seed.user),
        ("vendor-data", seed.vendor),
        ("network-config", seed.network),
    ];
    for (name, text) in parts {
        if text.len() > MAX_FILE {
            return Err(Error::Invalid(format!("{name} is {} bytes; at most {MAX_FILE} fit", text.len())));
        }
    }
    let new = disk::beside(path);
    durable::remove_file(&new).map_err(|e| Error::io("remove", &new, e))?;
    let made = build(&new, &parts).map_err(|e| Error::io("write", path, e));
    disk::finish(&new, path, made)
}

fn build(path: &Path, parts: &[(&str, &str)]) -> std::io::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.set_len(SIZE)?;
    let options = fatfs::FormatVolumeOptions::new().volume_label(*b"CIDATA     ");
    fatfs::format_volume(&file, options)?;
    {
        let volume = fatfs::FileSystem::new(&file, fatfs::FsOptions::new())?;
        let root = volume.root_dir();
        for (name, text) in parts {
            if !text.is_empty() || *name == "meta-data" {
                let mut entry = root.create_file(name)?;
                entry.truncate()?;
                entry.write_all(text.as_bytes())?;
                entry.flush()?;
            }
        }
        drop(root);
        volume.unmount()?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_seed_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.img");
        let seed = Seed { meta: "instance-id: m-1\n", user: "#cloud-config\n", ..Seed::default() };
        write_seed(&path, seed).unwrap();
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        let volume = fatfs::FileSystem::new(file, fatfs::FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label().trim(), "CIDATA");
        let mut text = String::new();
        volume.root_dir().open_file("user-data").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "#cloud-config\n");
        assert!(volume.root_dir().open_file("network-config").is_err());
    }

    #[test]
    fn too_much_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.img");
        let much = "x".repeat(MAX_FILE + 1);
        assert!(write_seed(&path, Seed { user: &much, ..Seed::default() }).is_err());
        assert!(!path.exists());
    }
}
