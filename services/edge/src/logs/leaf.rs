//! Entries of a data tile (C2SP static-ct-api, `TileLeaf`): what certificates they are of.

use hafen_base::{Error, Result};
use hafen_tlog::{Hash, leaf_hash};
use x509_parser::certificate::TbsCertificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::certificate::hex;

/// A certificate in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// In hex, as in the certificate.
    pub serial: String,
    pub issuer: String,
    /// DNS names that it is for.
    pub names: Vec<String>,
    /// Of the leaf in the log's tree.
    pub hash: Hash,
}

fn broken() -> Error {
    Error::unavailable("a tile of the log cannot be read")
}

/// Takes bytes off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(broken)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// Bytes with their length before them.
    fn counted(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let count = self.number(bytes)?;
        self.take(count)
    }
}

/// Reads a whole tile. A certificate that cannot be understood is of no name: it is passed over, so that one of them cannot keep
/// the rest from being seen.
///
/// # Errors
/// Unavailable when it is no tile.
pub fn read(tile: &[u8]) -> Result<Vec<Entry>> {
    let mut reader = Reader(tile);
    let mut entries = Vec::new();
    while !reader.0.is_empty() {
        let begins = reader.0;
        reader.take(8)?; // Time.
        let tbs = match reader.number(2)? {
            0 => {
                let certificate = reader.counted(3)?;
                entry_of_certificate(certificate)
            }
            1 => {
                reader.take(32)?; // Hash of the issuer's key.
                let tbs = reader.counted(3)?;
                entry_of_tbs(tbs)
            }
            _ => return Err(broken()),
        };
        let is_precertificate = tbs.1;
        reader.counted(2)?; // Extensions.
        // MerkleTreeLeaf (RFC 6962, section 3.4): version 1, of an entry with its time.
        let entry = begins.get(..begins.len() - reader.0.len()).unwrap_or_default();
        let hash = leaf_hash(&[&[0, 0], entry].concat());
        if is_precertificate {
            reader.counted(3)?; // The precertificate itself.
        }
        reader.counted(2)?; // Fingerprints of the chain.
        entries.push(Entry { hash, ..tbs.0 });
    }
    Ok(entries)
}

fn nobody() -> Entry {
    Entry { serial: String::new(), issuer: String::new(), names: Vec::new(), hash: Hash([0; 32]) }
}

fn entry_of_certificate(der: &[u8]) -> (Entry, bool) {
    let parsed = x509_parser::parse_x509_certificate(der);
    (parsed.map_or_else(|_| nobody(), |(_, certificate)| entry(&certificate.tbs_certificate)), false)
}

fn entry_of_tbs(der: &[u8]) -> (Entry, bool) {
    let parsed = TbsCertificate::from_der(der);
    (parsed.map_or_else(|_| nobody(), |(_, tbs)| entry(&tbs)), true)
}

fn entry(tbs: &TbsCertificate<'_>) -> Entry {
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = tbs.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push((*name).to_owned());
            }
        }
    }
    let issuer: String = tbs.issuer.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
    Entry { serial: hex(tbs.raw_serial()), issuer, names, ..nobody() }
}
