//! The manifest of an export: every other file and its hash, signed by the log's key.
//!
//! The tree covers entries and tiles. The manifest covers what it does not: cosignatures of witnesses whose keys the reader
//! may not have, and which files belong to the export at all.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The first line. Never the origin of a log (those hold no space), so a manifest cannot pass for a checkpoint.
const HEADER: &str = "hafen ledger export v1";

/// A text that is no manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the manifest of an export")]
pub struct ManifestError;

/// Path → SHA-256 in hex. Printed as `sha256sum` prints them, after a line that says what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<String, String>);

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
        text
    })
}

impl Manifest {
    pub fn add(&mut self, path: &str, content: &[u8]) {
        self.0.insert(path.to_owned(), hex(&Sha256::digest(content)));
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether this file is in it with this content; none when it is not in it at all.
    pub fn fits(&self, path: &str, content: &[u8]) -> Option<bool> {
        self.0.get(path).map(|hash| *hash == hex(&Sha256::digest(content)))
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        self.0.iter().try_for_each(|(path, hash)| writeln!(f, "{hash}  {path}"))
    }
}

impl FromStr for Manifest {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, ManifestError> {
        let rest = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n')).ok_or(ManifestError)?;
        let mut manifest = Self::default();
        for line in rest.lines() {
            let (hash, path) = line.split_once("  ").ok_or(ManifestError)?;
            manifest.0.insert(path.to_owned(), hash.to_owned());
        }
        if manifest.to_string() == text { Ok(manifest) } else { Err(ManifestError) }
    }
}
