//! A key revocation list as OpenSSH reads it (`PROTOCOL.krl`): the serials of one authority.

use hafen_base::{Error, Result, Timestamp};
use hafen_sshca::ssh_key::PublicKey;

const MAGIC: &[u8] = b"SSHKRL\n\0";
const VERSION: u32 = 1;
/// `KRL_SECTION_CERTIFICATES`
const CERTIFICATES: u8 = 1;
/// `KRL_SECTION_CERT_SERIAL_LIST`
const SERIAL_LIST: u8 = 0x20;

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The list for `RevokedKeys` of sshd. It grows with each `version`.
///
/// # Errors
/// Internal when the authority is no key.
pub fn revocation_list(authority: &str, serials: &[u64], version: u64, now: Timestamp) -> Result<Vec<u8>> {
    let authority = PublicKey::from_openssh(authority).map_err(Error::internal)?;
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_be_bytes());
    for number in [version, now.millis() / 1000, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    string(&mut out, b"");
    string(&mut out, b"Hafen");
    if !serials.is_empty() {
        let mut sorted = serials.to_vec();
        sorted.sort_unstable();
        let list: Vec<u8> = sorted.iter().flat_map(|serial| serial.to_be_bytes()).collect();
        let mut section = Vec::new();
        string(&mut section, &authority.to_bytes().map_err(Error::internal)?);
        string(&mut section, b"");
        section.push(SERIAL_LIST);
        string(&mut section, &list);
        out.push(CERTIFICATES);
        string(&mut out, &section);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use hafen_base::SeededRandom;
    use hafen_sshca::{HostKey, Place, SshCa, UserWish};

    use super::*;

    /// `ssh-keygen` is the judge.
    #[test]
    fn openssh_reads_it() {
        let random = SeededRandom::new(1);
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let ca = SshCa::in_memory(&random);
        let subject = HostKey::generate(&random).unwrap().public_key;
        let principals = ["a".to_owned()];
        let wish = UserWish {
            place: Place::Machine,
            principals: &principals,
            key_id: "a",
            source_address: None,
            ttl: Duration::from_secs(60),
        };
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let mut serials = Vec::new();
        for name in ["one-cert.pub", "two-cert.pub", "good-cert.pub"] {
            let signed = ca.sign_user(&subject, &wish, now, &random).unwrap();
            std::fs::write(file(name), signed.certificate).unwrap();
            serials.push(signed.serial);
        }
        let query = |name: &str| {
            let output =
                Command::new("ssh-keygen").arg("-Q").arg("-f").arg(file("krl")).arg(file(name)).output();
            output.unwrap().status.success()
        };
        let authority = ca.user_public().unwrap();
        std::fs::write(file("krl"), revocation_list(&authority, &serials[..2], 1, now).unwrap()).unwrap();
        assert!(!query("one-cert.pub") && !query("two-cert.pub") && query("good-cert.pub"));
        std::fs::write(file("krl"), revocation_list(&authority, &[], 2, now).unwrap()).unwrap();
        assert!(query("one-cert.pub"));
    }
}
