//! Secrets at rest: named texts sealed under a master key.
//!
//! Each secret is encrypted under a data key of its own (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha), and only the data
//! key under the master key. Another master key then means that small keys are wrapped anew (`rewrap`), not that every
//! secret is decrypted, and what was sealed under one name never opens under another.
//!
//! The master key comes from a file that the configuration names, else from systemd (`LoadCredentialEncrypted=hafen-key`,
//! which can bind it to the machine's TPM), else from a file that is made at the first start. This crate itself speaks to
//! no TPM. Nothing here prints a secret.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hafen_base::{Error, ErrorKind, Random, Result};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

const KEY: usize = 32;
const NONCE: usize = 24;
/// The credential's name under systemd.
pub const CREDENTIAL: &str = "hafen-key";
/// Rights that nobody may have to it. systemd gives it to the service's user by an access control list, which shows as a
/// right of the group to read.
const CREDENTIAL_CLOSED: u32 = 0o037;

/// A key that seals others.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// A secret in the open. Wiped when dropped; prints nothing.
pub struct Secret(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// # Errors
    /// Internal when it is not UTF-8.
    pub fn expose_text(&self) -> Result<&str> {
        std::str::from_utf8(&self.0).map_err(|_| Error::internal("a sealed secret is not text"))
    }
}

/// What lies on the disk.
#[derive(Serialize, Deserialize)]
struct Envelope {
    /// Always 1.
    hafen_seal: u8,
    /// The data key under the master key: nonce and ciphertext, base 64.
    key: String,
    /// The secret under the data key, likewise.
    secret: String,
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("{} cannot be used: {error}", path.display())).with_cause(error)
}

impl MasterKey {
    pub fn generate(random: &dyn Random) -> Self {
        let mut key = Zeroizing::new([0; KEY]);
        random.fill(&mut *key);
        Self(key)
    }

    /// Finds the key: `file` if named, else systemd's credential, else `fallback`, which is made when it is not there.
    ///
    /// # Errors
    /// Invalid when the file is open to others or holds no key; unavailable when it cannot be read.
    pub fn find(file: Option<&Path>, fallback: &Path, random: &dyn Random) -> Result<Self> {
        if let Some(file) = file {
            return Self::read(file);
        }
        if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            let file = PathBuf::from(folder).join(CREDENTIAL);
            if file.exists() {
                return Self::read_closed(&file, CREDENTIAL_CLOSED);
            }
        }
        if !fallback.exists() {
            let key = Self::generate(random);
            let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*key.0)));
            write_private(fallback, text.as_bytes()).map_err(|error| unreadable(fallback, error))?;
        }
        Self::read(fallback)
    }

    /// Reads a file of 32 bytes in base 64. Nobody but its owner may read it.
    ///
    /// # Errors
    /// As for `find`.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_closed(path, 0o077)
    }

    /// Reads it where none of these rights is given.
    fn read_closed(path: &Path, closed: u32) -> Result<Self> {
        let mode =
            std::fs::metadata(path).map_err(|error| unreadable(path, error))?.permissions().mode() & 0o777;
        if mode & closed != 0 {
            return Err(Error::invalid(format!(
                "{} holds a key and is open to others (mode {mode:03o}): chmod 600 {0}",
                path.display()
            )));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?);
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).unwrap_or_default());
        let key: [u8; KEY] = bytes.as_slice().try_into().map_err(|_| {
            Error::invalid(format!(
                "{} is no key: expected 32 bytes in base 64, as `openssl rand -base64 32` prints them",
                path.display()
            ))
        })?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// Seals a secret under its name, as a line of text.
    ///
    /// # Errors
    /// Internal.
    pub fn seal(&self, name: &str, secret: &[u8], random: &dyn Random) -> Result<String> {
        let data_key = Self::generate(random);
        let envelope = Envelope {
            hafen_seal: 1,
            key: encrypt(self, &format!("key {name}"), &*data_key.0, random)?,
            secret: encrypt(&data_key, &format!("secret {name}"), secret, random)?,
        };
        serde_json::to_string(&envelope).map_err(Error::internal)
    }

    /// Opens what `seal` gave for this name.
    ///
    /// # Errors
    /// Invalid when it is another's name, another key's, or not whole.
    pub fn open(&self, name: &str, sealed: &str) -> Result<Secret> {
        let envelope = read_envelope(name, sealed)?;
        let data_key = self.data_key(name, &envelope)?;
        decrypt(&data_key, name, &format!("secret {name}"), &envelope.secret).map(Secret)
    }

    /// Wraps for another master key: the secret itself is not decrypted.
    ///
    /// # Errors
    /// As for `open`.
    pub fn rewrap(&self, next: &Self, name: &str, sealed: &str, random: &dyn Random) -> Result<String> {
        let mut envelope = read_envelope(name, sealed)?;
        let data_key = self.data_key(name, &envelope)?;
        envelope.key = encrypt(next, &format!("key {name}"), &*data_key.0, random)?;
        serde_json::to_string(&envelope).map_err(Error::internal)
    }

    /// Seals another key under its name, which then seals in turn: another master key means to wrap that one anew.
    ///
    /// # Errors
    /// Internal.
    pub fn seal_key(&self, name: &str, key: &Self, random: &dyn Random) -> Result<String> {
        self.seal(name, &*key.0, random)
    }

    /// Opens what `seal_key` gave for this name.
    ///
    /// # Errors
    /// As for `open`; invalid when it is no key.
    pub fn open_key(&self, name: &str, sealed: &str) -> Result<Self> {
        let secret = self.open(name, sealed)?;
        let key = secret.expose().try_into().map_err(|_| broken(name))?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// HMAC-SHA-256 of a text: tells equal texts from others, and nothing else to whoever has not the key.
    ///
    /// # Errors
    /// Internal.
    pub fn fingerprint(&self, text: &[u8]) -> Result<[u8; 32]> {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*self.0).map_err(Error::internal)?;
        mac.update(text);
        Ok(mac.finalize().into_bytes().into())
    }

    fn data_key(&self, name: &str, envelope: &Envelope) -> Result<Self> {
        let bytes = decrypt(self, name, &format!("key {name}"), &envelope.key)?;
        let key = bytes.as_slice().try_into().map_err(|_| broken(name))?;
        Ok(Self(Zeroizing::new(key)))
    }
}

fn broken(name: &str) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("the secret {name:?} does not open: another master key sealed it, or it was changed"),
    )
}

fn read_envelope(name: &str, sealed: &str) -> Result<Envelope> {
    let envelope: Envelope = serde_json::from_str(sealed).map_err(|_| broken(name))?;
    if envelope.hafen_seal == 1 { Ok(envelope) } else { Err(broken(name)) }
}

fn encrypt(key: &MasterKey, associated: &str, bytes: &[u8], random: &dyn Random) -> Result<String> {
    let mut nonce = [0; NONCE];
    random.fill(&mut nonce);
    let payload = Payload { msg: bytes, aad: associated.as_bytes() };
    let sealed = XChaCha20Poly1305::new(&(*key.0).into())
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| Error::internal("encryption failed"))?;
    Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
}

fn decrypt(key: &MasterKey, name: &str, associated: &str, text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let bytes = STANDARD.decode(text).map_err(|_| broken(name))?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or_else(|| broken(name))?;
    let payload = Payload { msg: sealed, aad: associated.as_bytes() };
    let opened = XChaCha20Poly1305::new(&(*key.0).into())
        .decrypt(&XNonce::from(*nonce), payload)
        .map_err(|_| broken(name))?;
    Ok(Zeroizing::new(opened))
}

/// Writes a file that only its owner reads, whole or not at all.
///
/// # Errors
/// As the disk's.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use hafen_base::SeededRandom;

    use super::*;

    #[test]
    fn sealed_opens_with_its_key_and_name_only() {
        let random = SeededRandom::new(3);
        let (key, other) = (MasterKey::generate(&random), MasterKey::generate(&random));
        let sealed = key.seal("user-ca", b"the secret", &random).unwrap();
        assert!(!sealed.contains("the secret"));
        assert_eq!(key.open("user-ca", &sealed).unwrap().expose(), b"the secret");
        assert!(key.open("host-ca", &sealed).is_err());
        assert!(other.open("user-ca", &sealed).is_err());
        // Any one character changed is found, wherever it counts.
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(key.open("user-ca", &changed).is_err(), "{at}: {changed}");
        }
        let moved = key.rewrap(&other, "user-ca", &sealed, &random).unwrap();
        assert_eq!(other.open("user-ca", &moved).unwrap().expose(), b"the secret");
        assert!(key.open("user-ca", &moved).is_err());
        assert_eq!(format!("{key:?} {:?}", Secret::new("x")), "MasterKey(…) Secret(…)");
    }

    #[test]
    fn a_key_under_a_key_seals_and_is_wrapped_anew() {
        let random = SeededRandom::new(5);
        let (master, next, key) =
            (MasterKey::generate(&random), MasterKey::generate(&random), MasterKey::generate(&random));
        let sealed = master.seal_key("hello", &key, &random).unwrap();
        let value = key.seal("db", b"the secret", &random).unwrap();
        let moved = master.rewrap(&next, "hello", &sealed, &random).unwrap();
        let opened = next.open_key("hello", &moved).unwrap();
        assert_eq!(opened.open("db", &value).unwrap().expose(), b"the secret");
        assert!(next.open_key("hello", &sealed).is_err() && master.open_key("other", &sealed).is_err());
        assert!(key.open_key("db", &value).is_err(), "a text is no key");
        // RFC 4231's construction, with our own key: equal for equal, another for another.
        let print = |key: &MasterKey, text: &[u8]| key.fingerprint(text).unwrap();
        assert_eq!(print(&key, b"a"), print(&opened, b"a"));
        assert!(print(&key, b"a") != print(&key, b"b") && print(&key, b"a") != print(&next, b"a"));
    }

    #[test]
    fn a_key_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let random = SeededRandom::new(4);
        let made = MasterKey::find(None, &path, &random).unwrap();
        let sealed = made.seal("x", b"y", &random).unwrap();
        assert!(MasterKey::find(None, &path, &random).unwrap().open("x", &sealed).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = MasterKey::read(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        // As a credential systemd shows it so: what is a right of the group is that of the service's user. Others have none.
        for (mode, good) in [(0o400, true), (0o440, true), (0o444, false), (0o460, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(MasterKey::read_closed(&path, CREDENTIAL_CLOSED).is_ok(), good, "{mode:o}");
        }
        std::fs::write(&path, "short").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(MasterKey::read(&path).unwrap_err().to_string().contains("openssl rand"));
        assert!(MasterKey::read(&folder.path().join("none")).is_err());
    }
}
