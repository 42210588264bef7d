//! Secrets that must be read again (one-time code secrets, signing keys) are encrypted at rest: AES-256-GCM under a key in a
//! file beside the database, so that a copy of the database alone opens nothing. The place a secret belongs to is
//! authenticated with it: a row's secret moved to another row does not open.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hafen_base::{Error, Random, Result};
use zeroize::Zeroizing;

const FILE: &str = "identity.key";
const NONCE: usize = 12;

pub struct Seal(Aes256Gcm);

impl Seal {
    /// Reads the key file of `folder`, or makes it.
    ///
    /// # Errors
    /// Unavailable when the file cannot be read or written, or is not a key.
    pub fn open(folder: &Path, random: &dyn Random) -> Result<Self> {
        let path = folder.join(FILE);
        let failed =
            |error: std::io::Error| Error::unavailable(format!("{} cannot be used: {error}", path.display()));
        let mut key = Zeroizing::new(Vec::new());
        match std::fs::File::open(&path) {
            Ok(mut file) => {
                file.read_to_end(&mut key).map_err(failed)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                key.resize(32, 0);
                random.fill(&mut key);
                // Under another name first: a crash leaves no half key.
                let fresh = folder.join(format!(".{FILE}.new"));
                let _stale = std::fs::remove_file(&fresh);
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&fresh)
                    .map_err(failed)?;
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed)?;
                std::fs::rename(&fresh, &path).map_err(failed)?;
                std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        let cipher = Aes256Gcm::new_from_slice(&key).map_err(|_| {
            Error::unavailable(format!("{} is not a key of 32 bytes: put the right one back", path.display()))
        })?;
        Ok(Self(cipher))
    }

    /// # Errors
    /// Internal only.
    pub fn seal(&self, place: &str, secret: &[u8], random: &dyn Random) -> Result<String> {
        let mut nonce = [0_u8; NONCE];
        random.fill(&mut nonce);
        let payload = Payload { msg: secret, aad: place.as_bytes() };
        let sealed =
            self.0.encrypt(&Nonce::from(nonce), payload).map_err(|_| Error::internal("sealing failed"))?;
        Ok(STANDARD_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// # Errors
    /// Internal when it was sealed elsewhere, for another place, or changed.
    pub fn open_sealed(&self, place: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>> {
        let broken = || {
            Error::internal(format!(
                "what is sealed for {place} does not open: is identity.key the right one?"
            ))
        };
        let bytes = STANDARD_NO_PAD.decode(sealed).map_err(|_| broken())?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE>().ok_or_else(broken)?;
        let payload = Payload { msg: text, aad: place.as_bytes() };
        self.0.decrypt(&Nonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| broken())
    }
}

#[cfg(test)]
mod tests {
    use hafen_base::SystemRandom;

    use super::*;

    #[test]
    fn it_opens_again_and_only_at_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = Seal::open(folder.path(), &SystemRandom)
            .unwrap()
            .seal("totp/u-1", b"secret", &SystemRandom)
            .unwrap();
        assert!(!sealed.contains("secret"));
        let seal = Seal::open(folder.path(), &SystemRandom).unwrap();
        assert_eq!(**seal.open_sealed("totp/u-1", &sealed).unwrap(), *b"secret");
        assert!(seal.open_sealed("totp/u-2", &sealed).is_err());
        assert!(seal.open_sealed("totp/u-1", &sealed[1..]).is_err());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(folder.path().join(FILE)).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join(FILE), "short").unwrap();
        assert!(Seal::open(folder.path(), &SystemRandom).is_err());
    }
}
