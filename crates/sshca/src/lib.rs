//! The built-in SSH certificate authorities: one for users, one for hosts (never the same key, so that a host
//! certificate can never pass for a user's).
//!
//! Kit, because two services sign: `machines` the keys of hosts as it makes them, `access` the keys of people. The keys
//! lie sealed (`hafen_seal`). Facts: draft-ietf-sshm-cert and `PROTOCOL.certkeys` of OpenSSH. Must not know: services.

use std::path::Path;
use std::time::Duration;

use hafen_base::{Error, Random, Result, Timestamp};
use hafen_seal::{MasterKey, write_private};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey, PublicKey};

/// The crate of keys, in the version that the SSH server uses, too.
pub use ssh_key;

/// The user that people log in as on machines.
pub const LOGIN_USER: &str = "hafen";
/// The user of machines that tells what changed in their ways in, and its principal: a name that no project's has.
pub const CHECK_USER: &str = "hafen-check";
/// All that this user's certificates run. Stands in the machine's file of principals, too; sshd wants both to be the same.
pub const CHECK_COMMAND: &str = "sudo -n /usr/lib/hafen/report";
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

/// Where a user's certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Connections through the bastion (`permit-port-forwarding`), nothing else.
    Bastion,
    /// A shell on a machine (`permit-pty`), no forwarding of any kind.
    Machine,
    /// The report of a machine's ways in ([`CHECK_COMMAND`]), and no other command.
    Check,
}

/// What a user's certificate shall say.
#[derive(Debug, Clone, Copy)]
pub struct UserWish<'a> {
    pub place: Place,
    /// At least one; no wildcards.
    pub principals: &'a [String],
    pub key_id: &'a str,
    /// Addresses and CIDR ranges it is good from, separated by commas.
    pub source_address: Option<&'a str>,
    pub ttl: Duration,
}

/// A signed certificate.
#[derive(Debug, Clone)]
pub struct Signed {
    /// OpenSSH certificate line.
    pub certificate: String,
    pub serial: u64,
    pub until: Timestamp,
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
    /// Reads the keys from `folder`, or makes them; they lie sealed under `key`. Keys that lie there in the open, as an
    /// earlier version left them, are sealed.
    ///
    /// # Errors
    /// Unavailable when a key file cannot be read or written, with its path; invalid when it is sealed under another key.
    pub fn open(folder: &Path, key: &MasterKey, random: &dyn Random) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| file_error(folder, error))?;
        Ok(Self {
            user: sealed_key(folder, "user_ca", key, random)?,
            host: sealed_key(folder, "host_ca", key, random)?,
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

    /// Signs a user's public key.
    ///
    /// # Errors
    /// Invalid when it is not an Ed25519 public key.
    pub fn sign_user(
        &self,
        public_key: &str,
        wish: &UserWish<'_>,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Signed> {
        let wrong =
            || Error::invalid_field("/public_key", "expected an OpenSSH public key line: ssh-ed25519 AAAA…");
        let key = PublicKey::from_openssh(public_key.trim()).map_err(|_| wrong())?;
        if key.key_data().ed25519().is_none() {
            return Err(wrong());
        }
        // Never without principals: such a certificate would be good for every name (CVE-2024-7594).
        if wish.principals.is_empty() || wish.principals.iter().any(|one| one.is_empty() || one.contains('*'))
        {
            return Err(Error::internal("a user's certificate names whom it is good for"));
        }
        let until = now.plus(wish.ttl);
        let mut builder = self.builder(&key, now, until, random)?;
        let serial = serial(random);
        builder.serial(serial).map_err(key_error)?;
        builder.key_id(wish.key_id).map_err(key_error)?;
        builder.cert_type(CertType::User).map_err(key_error)?;
        for principal in wish.principals {
            builder.valid_principal(principal.as_str()).map_err(key_error)?;
        }
        if let Some(source) = wish.source_address {
            builder.critical_option("source-address", source).map_err(key_error)?;
        }
        let extension = match wish.place {
            Place::Bastion => Some("permit-port-forwarding"),
            Place::Machine => Some("permit-pty"),
            Place::Check => None,
        };
        if let Some(extension) = extension {
            builder.extension(extension, "").map_err(key_error)?;
        }
        if wish.place == Place::Check {
            builder.critical_option("force-command", CHECK_COMMAND).map_err(key_error)?;
        }
        let certificate = builder.sign(&self.user).map_err(key_error)?;
        Ok(Signed { certificate: certificate.to_openssh().map_err(key_error)?, serial, until })
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

/// Reads a private key that lies sealed under its name in `folder`, or makes it. One that lies there in the open is sealed.
///
/// # Errors
/// As for [`SshCa::open`].
pub fn sealed_key(folder: &Path, name: &str, master: &MasterKey, random: &dyn Random) -> Result<PrivateKey> {
    let path = folder.join(name);
    let seal = |key: &PrivateKey| -> Result<()> {
        let text = key.to_openssh(LineEnding::LF).map_err(key_error)?;
        let sealed = master.seal(name, text.as_bytes(), random)?;
        write_private(&path, sealed.as_bytes()).map_err(|error| file_error(&path, error))
    };
    match std::fs::read_to_string(&path) {
        Ok(text) if text.starts_with("-----BEGIN") => {
            let key = PrivateKey::from_openssh(text).map_err(|error| not_a_key(&path, error))?;
            seal(&key)?;
            Ok(key)
        }
        Ok(text) => PrivateKey::from_openssh(master.open(name, &text)?.expose_text()?)
            .map_err(|error| not_a_key(&path, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = new_key(random);
            seal(&key)?;
            Ok(key)
        }
        Err(error) => Err(file_error(&path, error)),
    }
}

fn not_a_key(path: &Path, error: ssh_key::Error) -> Error {
    Error::unavailable(format!("{} is not an OpenSSH private key: restore it from a backup", path.display()))
        .with_cause(error)
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
        let principals = ["project-x".to_owned()];
        let wish = UserWish {
            place: Place::Machine,
            principals: &principals,
            key_id: "alice",
            source_address: Some("10.0.0.1"),
            ttl: Duration::from_secs(300),
        };
        let signed = ca.sign_user(&user, &wish, now, &random).unwrap();
        let certificate = Certificate::from_openssh(&signed.certificate).unwrap();
        assert_eq!(certificate.valid_principals(), principals);
        let extensions =
            |certificate: &Certificate| certificate.extensions().keys().cloned().collect::<Vec<_>>();
        assert_eq!(extensions(&certificate), ["permit-pty"]);
        assert_eq!(certificate.critical_options().get("source-address").unwrap(), "10.0.0.1");
        assert_eq!(signed.until.since(now), Duration::from_secs(300));
        let bastion = UserWish { place: Place::Bastion, source_address: None, ..wish };
        let signed = ca.sign_user(&user, &bastion, now, &random).unwrap();
        let certificate = Certificate::from_openssh(&signed.certificate).unwrap();
        assert_eq!(extensions(&certificate), ["permit-port-forwarding"]);
        assert!(certificate.critical_options().is_empty());
        let check = UserWish { place: Place::Check, source_address: None, ..wish };
        let signed = ca.sign_user(&user, &check, now, &random).unwrap();
        let certificate = Certificate::from_openssh(&signed.certificate).unwrap();
        assert!(certificate.extensions().is_empty());
        assert_eq!(certificate.critical_options().get("force-command").unwrap(), CHECK_COMMAND);
        // As it stands on machines.
        let there = include_str!("../../qemu/guest/principals-check");
        assert_eq!(there, format!("restrict,command=\"{CHECK_COMMAND}\" {CHECK_USER}\n"));
        for principals in [vec![], vec![String::new()], vec!["*".to_owned()]] {
            assert!(
                ca.sign_user(&user, &UserWish { principals: &principals, ..wish }, now, &random).is_err()
            );
        }
        let host = HostKey::generate(&random).unwrap();
        let signed = ca.sign_host(&host.public_key, &["web-1.hello.internal".into()], now, &random).unwrap();
        let certificate = Certificate::from_openssh(&signed).unwrap();
        assert_eq!(certificate.cert_type(), CertType::Host);
        assert!(!format!("{host:?}").contains("PRIVATE"));
        assert!(ca.sign_host(&host.public_key, &[], now, &random).is_err());
        for bad in ["", "ssh-ed25519", "ssh-rsa AAAA", "x"] {
            assert!(ca.sign_user(bad, &wish, now, &random).is_err());
        }
    }

    #[test]
    fn keys_lie_sealed_and_stay_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(8);
        let master = MasterKey::generate(&random);
        // As an earlier version left it.
        let plain = new_key(&random);
        std::fs::write(folder.path().join("user_ca"), plain.to_openssh(LineEnding::LF).unwrap()).unwrap();
        let first = SshCa::open(folder.path(), &master, &random).unwrap();
        assert_eq!(first.user_public().unwrap(), plain.public_key().to_openssh().unwrap());
        for name in ["user_ca", "host_ca"] {
            assert!(!std::fs::read_to_string(folder.path().join(name)).unwrap().contains("PRIVATE"));
        }
        let again = SshCa::open(folder.path(), &master, &random).unwrap();
        assert_eq!(again.host_public().unwrap(), first.host_public().unwrap());
        assert_eq!(again.user_public().unwrap(), first.user_public().unwrap());
        assert!(SshCa::open(folder.path(), &MasterKey::generate(&random), &random).is_err());
    }
}
