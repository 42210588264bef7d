//! The built-in SSH certificate authorities: one for users, one for hosts (never the same key, so that a host
//! certificate can never pass for a user's).
//!
//! They move to the `access` service with the bastion. Facts: draft-ietf-sshm-cert and `PROTOCOL.certkeys` of OpenSSH.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use hafen_base::{Error, Random, Result, Timestamp};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey, PublicKey};

/// The user that people log in as on machines.
pub const LOGIN_USER: &str = "hafen";
/// The principal of user certificates for a project's machines, which list it in their `AuthorizedPrincipalsFile`: a
/// certificate for one project opens no machine of another.
pub fn principal(project: &str) -> String {
    format!("project-{project}")
}

/// Clocks differ a little: certificates are valid from this long ago.
const SKEW: Duration = Duration::from_secs(60);
/// Host certificates are renewed at every start of a machine.
const HOST_VALID: Duration = Duration::from_secs(397 * 24 * 3600);

/// Both authorities.
pub struct SshCa {
    user: PrivateKey,
    host: PrivateKey,
}

/// An SSH host key: made once per disk, because a machine that is itself keeps its key.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct HostKey {
    /// OpenSSH private key text. Secret.
    pub private_key: String,
    /// OpenSSH public key line.
    pub public_key: String,
    /// SHA-256 fingerprint of the key, as OpenSSH prints it.
    pub fingerprint: String,
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostKey").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl HostKey {
    /// A new key. It is not signed: see [`SshCa::sign_host`].
    ///
    /// # Errors
    /// Internal.
    pub fn generate(random: &dyn Random) -> Result<Self> {
        let key = new_key(random);
        Ok(Self {
            private_key: key.to_openssh(LineEnding::LF).map_err(key_error)?.to_string(),
            public_key: key.public_key().to_openssh().map_err(key_error)?,
            fingerprint: key.public_key().fingerprint(ssh_key::HashAlg::Sha256).to_string(),
        })
    }
}

fn key_error(error: ssh_key::Error) -> Error {
    Error::internal(error)
}

impl SshCa {
    /// Reads the keys from `folder`, or makes them (mode 0600).
    ///
    /// # Errors
    /// Unavailable when a key file cannot be read or written, with its path.
    pub fn open(folder: &Path, random: &dyn Random) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| file_error(folder, error))?;
        Ok(Self {
            user: open_key(&folder.join("user_ca"), random)?,
            host: open_key(&folder.join("host_ca"), random)?,
        })
    }

    /// Keys that live only in memory.
    pub fn in_memory(random: &dyn Random) -> Self {
        Self { user: new_key(random), host: new_key(random) }
    }

    /// The user authority's public key line.
    ///
    /// # Errors
    /// Internal.
    pub fn user_public(&self) -> Result<String> {
        self.user.public_key().to_openssh().map_err(key_error)
    }

    /// The host authority's public key line.
    ///
    /// # Errors
    /// Internal.
    pub fn host_public(&self) -> Result<String> {
        self.host.public_key().to_openssh().map_err(key_error)
    }

    /// Signs a user's public key. Only `permit-pty`: no forwarding of any kind.
    ///
    /// # Errors
    /// Invalid when it is not an Ed25519 public key.
    pub fn sign_user(
        &self,
        public_key: &str,
        principal: &str,
        key_id: &str,
        ttl: Duration,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<(String, u64, Timestamp)> {
        let wrong =
            || Error::invalid_field("/public_key", "expected an OpenSSH public key line: ssh-ed25519 AAAA…");
        let key = PublicKey::from_openssh(public_key.trim()).map_err(|_| wrong())?;
        if key.key_data().ed25519().is_none() {
            return Err(wrong());
        }
        let until = now.plus(ttl);
        let mut builder = self.builder(&key, now, until, random)?;
        let serial = serial(random);
        builder.serial(serial).map_err(key_error)?;
        builder.key_id(key_id).map_err(key_error)?;
        builder.cert_type(CertType::User).map_err(key_error)?;
        builder.valid_principal(principal).map_err(key_error)?;
        builder.extension("permit-pty", "").map_err(key_error)?;
        let certificate = builder.sign(&self.user).map_err(key_error)?;
        Ok((certificate.to_openssh().map_err(key_error)?, serial, until))
    }

    /// Signs a host's public key for these names.
    ///
    /// # Errors
    /// Invalid when it is no public key.
    pub fn sign_host(
        &self,
        public_key: &str,
        names: &[String],
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<String> {
        let key = PublicKey::from_openssh(public_key.trim())
            .map_err(|_| Error::invalid("not an OpenSSH public key"))?;
        let mut builder = self.builder(&key, now, now.plus(HOST_VALID), random)?;
        builder.serial(serial(random)).map_err(key_error)?;
        builder.cert_type(CertType::Host).map_err(key_error)?;
        let first =
            names.first().ok_or_else(|| Error::invalid("a host certificate names at least one host"))?;
        builder.key_id(first.as_str()).map_err(key_error)?;
        // Never without principals: such a certificate would be good for every host (CVE-2024-7594).
        for name in names {
            builder.valid_principal(name.as_str()).map_err(key_error)?;
        }
        builder.sign(&self.host).map_err(key_error)?.to_openssh().map_err(key_error)
    }

    #[expect(clippy::unused_self, reason = "reads as a step of signing")]
    fn builder(
        &self,
        key: &PublicKey,
        now: Timestamp,
        until: Timestamp,
        random: &dyn Random,
    ) -> Result<Builder> {
        let mut nonce = vec![0_u8; 32];
        random.fill(&mut nonce);
        let seconds = |time: Timestamp| time.millis() / 1000;
        let from = seconds(now).saturating_sub(SKEW.as_secs());
        Builder::new(nonce, key.key_data().clone(), from, seconds(until)).map_err(key_error)
    }
}

fn serial(random: &dyn Random) -> u64 {
    let mut bytes = [0_u8; 8];
    random.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn new_key(random: &dyn Random) -> PrivateKey {
    let mut seed = [0_u8; 32];
    random.fill(&mut seed);
    PrivateKey::from(Ed25519Keypair::from_seed(&seed))
}

fn file_error(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("the key file {} cannot be used: {error}", path.display())).with_cause(error)
}

fn open_key(path: &Path, random: &dyn Random) -> Result<PrivateKey> {
    match std::fs::read_to_string(path) {
        Ok(text) => PrivateKey::from_openssh(text).map_err(|error| {
            Error::unavailable(format!(
                "{} is not an OpenSSH private key: restore it from a backup",
                path.display()
            ))
            .with_cause(error)
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = new_key(random);
            let text = key.to_openssh(LineEnding::LF).map_err(key_error)?;
            let fresh = path.with_extension("new");
            let write = || -> std::io::Result<()> {
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&fresh)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&fresh, path)
            };
            write().map_err(|error| file_error(path, error))?;
            Ok(key)
        }
        Err(error) => Err(file_error(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use hafen_base::SeededRandom;
    use ssh_key::Certificate;

    use super::*;

    #[test]
    fn certificates_carry_names_and_no_forwarding() {
        let random = SeededRandom::new(7);
        let ca = SshCa::in_memory(&random);
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let user = new_key(&random).public_key().to_openssh().unwrap();
        let (text, _, until) =
            ca.sign_user(&user, "project-x", "alice", Duration::from_secs(300), now, &random).unwrap();
        let certificate = Certificate::from_openssh(&text).unwrap();
        assert_eq!(certificate.valid_principals(), ["project-x".to_owned()]);
        assert_eq!(certificate.extensions().keys().map(String::as_str).collect::<Vec<_>>(), ["permit-pty"]);
        assert_eq!(until.since(now), Duration::from_secs(300));
        let host = HostKey::generate(&random).unwrap();
        let signed = ca.sign_host(&host.public_key, &["web-1.hello.internal".into()], now, &random).unwrap();
        let certificate = Certificate::from_openssh(&signed).unwrap();
        assert_eq!(certificate.cert_type(), CertType::Host);
        assert!(!format!("{host:?}").contains("PRIVATE"));
        assert!(ca.sign_host(&host.public_key, &[], now, &random).is_err());
        for bad in ["", "ssh-ed25519", "ssh-rsa AAAA", "x"] {
            assert!(ca.sign_user(bad, "p", "x", Duration::from_secs(1), now, &random).is_err());
        }
    }
}
