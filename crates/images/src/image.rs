//! An image in the store, and what is written down of it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::is_sha256;
use crate::{Digest, Error, Result, durable};

const MAX_META: u64 = 64 << 10;
const MAX_LOCK: u64 = 8 << 20;

/// An image that is there. The files are readable by everybody and never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub digest: Digest,
    pub kind: Kind,
    /// To be used as the backing file of machines' disks.
    pub disk: PathBuf,
    pub format: Format,
    /// Bytes that all its files take.
    pub size_on_disk: u64,
    /// Bytes that the disk has for a machine; a machine's own may be larger.
    pub virtual_size: u64,
    /// Empty for cloud images.
    pub lock: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Built here: a root file system without a boot loader.
    Built {
        kernel: PathBuf,
        initrd: Option<PathBuf>,
        /// The kernel's `root=`.
        root: String,
    },
    /// From elsewhere: boots by its firmware.
    Cloud,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Raw,
    Qcow2,
}

/// `meta.json`: the digest is the hash of this text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meta {
    pub kind: MetaKind,
    pub format: Format,
    pub virtual_size: u64,
    /// SHA-256 of the file `disk`.
    pub disk: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum MetaKind {
    Built {
        kernel: String,
        initrd: Option<String>,
        root: String,
    },
    /// With the hash it was asked for by.
    Cloud {
        source: String,
    },
}

impl Meta {
    pub(crate) fn text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::Invalid(e.to_string()))?;
        Ok(text + "\n")
    }

    pub(crate) fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(self.text()?.as_bytes()))
    }

    /// Files of the image with their SHA-256.
    pub(crate) fn parts(&self) -> Vec<(&'static str, &str)> {
        let mut parts = vec![("disk", self.disk.as_str())];
        if let MetaKind::Built { kernel, initrd, .. } = &self.kind {
            parts.push(("kernel", kernel));
            parts.extend(initrd.as_deref().map(|hash| ("initrd", hash)));
        }
        parts
    }

    fn check(&self) -> bool {
        self.parts().iter().all(|(_, hash)| is_sha256(hash))
    }
}

/// Reads the image in a folder; `None` when there is none. Blocks.
pub(crate) fn load(folder: &Path, digest: &Digest) -> Result<Option<(Meta, Image)>> {
    let damaged = |detail: String| Error::Corrupt { digest: digest.clone(), detail };
    if !folder.exists() {
        return Ok(None);
    }
    let text = durable::read(&folder.join("meta.json"), MAX_META)?;
    let text = text.ok_or_else(|| damaged("meta.json is missing".into()))?;
    if Digest::of(&text) != *digest {
        return Err(damaged("meta.json is not what was written".into()));
    }
    let meta: Meta = serde_json::from_slice(&text).map_err(|e| damaged(format!("meta.json: {e}")))?;
    if !meta.check() {
        return Err(damaged("meta.json has a hash that is none".into()));
    }
    let mut size_on_disk = 0;
    for (name, _) in meta.parts() {
        let path = folder.join(name);
        let found = std::fs::metadata(&path).map_err(|e| damaged(format!("{name}: {e}")))?;
        size_on_disk += std::os::unix::fs::MetadataExt::blocks(&found) * 512;
    }
    let (kind, lock) = match &meta.kind {
        MetaKind::Built { initrd, root, .. } => {
            let lock = durable::read(&folder.join("lock.json"), MAX_LOCK)?.unwrap_or_default();
            let kind = Kind::Built {
                kernel: folder.join("kernel"),
                initrd: initrd.as_ref().map(|_| folder.join("initrd")),
                root: root.clone(),
            };
            (kind, String::from_utf8_lossy(&lock).into_owned())
        }
        MetaKind::Cloud { .. } => (Kind::Cloud, String::new()),
    };
    let image = Image {
        digest: digest.clone(),
        kind,
        disk: folder.join("disk"),
        format: meta.format,
        size_on_disk,
        virtual_size: meta.virtual_size,
        lock,
    };
    Ok(Some((meta, image)))
}
