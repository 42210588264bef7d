//! The key that signs checkpoints, behind two functions so that a vault can take its place: nothing else sees the seed.
//!
//! A platform's seed lies sealed under the key of its home. A witness runs elsewhere and has no such home: its seed is a file
//! for its owner only.

use std::path::Path;

use hafen_base::{Error, Random, Result};
use hafen_seal::MasterKey;
use hafen_tlog::{CosignatureSigner, Signer, VerifierKey};

use crate::files;
use crate::model::{hex, unhex};

/// Signs for every shard with one seed; the shards' names make their keys' hashes differ.
pub struct Keys {
    seed: [u8; 32],
    origin: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.origin)
    }
}

/// Under which a seed is sealed: what was sealed as anything else does not open as a seed.
const SEALED_AS: &str = "ledger";

/// Reads the sealed seed, or makes it.
fn sealed_seed(path: &Path, key: &MasterKey, random: &dyn Random) -> Result<[u8; 32]> {
    if let Some(text) = files::read(path)? {
        let seed = key.open(SEALED_AS, &text).map_err(|error| unusable(path, &error.to_string()))?;
        return seed.expose().try_into().map_err(|_| unusable(path, "it does not hold 32 bytes"));
    }
    let mut seed = [0; 32];
    random.fill(&mut seed);
    files::write(path, key.seal(SEALED_AS, &seed, random)?.as_bytes())?;
    Ok(seed)
}

/// Reads a witness's seed, or makes it: 32 bytes in hex.
fn plain_seed(path: &Path, random: &dyn Random) -> Result<[u8; 32]> {
    if let Some(text) = files::read(path)? {
        return unhex(text.trim())
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| unusable(path, "it does not hold 64 hex digits"));
    }
    let mut seed = [0; 32];
    random.fill(&mut seed);
    files::write(path, format!("{}\n", hex(&seed)).as_bytes())?;
    Ok(seed)
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::invalid(format!(
        "{} cannot be used as the signing key ({why}): bring it back from a backup, with the key that it is sealed under; \
         with another key nobody can tell this log from a forgery",
        path.display()
    ))
}

impl Keys {
    /// Reads `key`, sealed under `master`, and `origin` in `folder`, or makes them. An origin that was once used stays: with another one the log would
    /// be another log.
    ///
    /// # Errors
    /// Invalid when a file is damaged; unavailable when it cannot be read.
    pub fn open(folder: &Path, origin: &str, master: &MasterKey, random: &dyn Random) -> Result<Self> {
        files::folder(folder)?;
        let seed = sealed_seed(&folder.join("key"), master, random)?;
        let path = folder.join("origin");
        let origin = if let Some(text) = files::read(&path)? {
            text.trim().to_owned()
        } else {
            let mut id = [0; 8];
            random.fill(&mut id);
            let origin =
                if origin.is_empty() { format!("hafen-{}/ledger", hex(&id)) } else { origin.to_owned() };
            hafen_tlog::check_name(&origin).map_err(|error| Error::invalid(error.to_string()))?;
            files::write(&path, format!("{origin}\n").as_bytes())?;
            origin
        };
        let keys = Self { seed, origin };
        keys.signer("0000")?;
        Ok(keys)
    }

    /// The name of a shard in checkpoints, which is also that of its key.
    pub fn origin(&self, shard: &str) -> String {
        format!("{}/{shard}", self.origin)
    }

    pub fn signer(&self, shard: &str) -> Result<Signer> {
        Signer::new(&self.origin(shard), &self.seed).map_err(|error| Error::invalid(error.to_string()))
    }

    pub fn verifier(&self, shard: &str) -> Result<VerifierKey> {
        Ok(self.signer(shard)?.verifier().clone())
    }
}

/// The key of a witness of this name, made at the first start.
///
/// # Errors
/// As `Keys::open`.
pub fn witness(folder: &Path, name: &str, random: &dyn Random) -> Result<CosignatureSigner> {
    files::folder(folder)?;
    let seed = plain_seed(&folder.join("key"), random)?;
    CosignatureSigner::new(name, &seed).map_err(|error| Error::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use hafen_base::SystemRandom;

    use super::*;

    #[test]
    fn the_seed_opens_under_its_own_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let master = MasterKey::generate(&SystemRandom);
        let keys = Keys::open(folder.path(), "", &master, &SystemRandom).unwrap();
        let again = Keys::open(folder.path(), "", &master, &SystemRandom).unwrap();
        assert_eq!(keys.verifier("2026").unwrap().to_string(), again.verifier("2026").unwrap().to_string());
        let lying = std::fs::read_to_string(folder.path().join("key")).unwrap();
        assert!(!lying.contains(&hex(&keys.seed)), "{lying}");
        let other = MasterKey::generate(&SystemRandom);
        let refused = Keys::open(folder.path(), "", &other, &SystemRandom).unwrap_err().to_string();
        assert!(refused.contains("bring it back from a backup"), "{refused}");
    }
}
