//! What makes a certificate good for the bastion. Pure: certificate, client and time in, facts or a reason out.
//!
//! `russh` has checked that the client holds the key and that the certificate's signature fits the authority named *in*
//! it. Everything else stands here (PROTOCOL.certkeys of OpenSSH, draft-ietf-sshm-cert).

use std::fmt;
use std::net::IpAddr;

use hafen_base::Timestamp;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, Certificate, HashAlg};

/// Whose certificates are taken.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Public keys of the authorities of users. Ed25519.
    pub authorities: Vec<KeyData>,
}

/// The client as it presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// IPv4 addresses are never written as IPv6 ones.
    pub address: IpAddr,
    /// Its line of identification, as `SSH-2.0-OpenSSH_9.2p1`; printable ASCII.
    pub version: String,
}

/// What a good certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    pub serial: u64,
    pub key_id: String,
    /// The user name asked for; one of the principals.
    pub user: String,
    pub principals: Vec<String>,
    /// SHA-256 of the certified key, as OpenSSH prints it.
    pub fingerprint: String,
    /// Seconds since 1970; good before this moment.
    pub valid_before: u64,
}

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    UnknownAuthority,
    KeyType,
    NotForUsers,
    NoPrincipals,
    WrongPrincipal,
    NotYetValid,
    Expired,
    CriticalOption(String),
    SourceAddress,
    NoForwarding,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAuthority => f.write_str("signed by an authority that is not trusted here"),
            Self::KeyType => f.write_str("only ssh-ed25519 keys are taken"),
            Self::NotForUsers => f.write_str("not a user's certificate"),
            Self::NoPrincipals => f.write_str("it names no principal"),
            Self::WrongPrincipal => f.write_str("the user name is none of its principals"),
            Self::NotYetValid => f.write_str("not yet valid"),
            Self::Expired => f.write_str("expired"),
            Self::CriticalOption(name) => {
                write!(f, "critical option {name:?} is unknown or cannot be kept here")
            }
            Self::SourceAddress => f.write_str("not for connections from this address"),
            Self::NoForwarding => f.write_str("it has no permit-port-forwarding"),
        }
    }
}

impl Rules {
    /// Checks a certificate whose signature and key `russh` has verified.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn check(
        &self,
        certificate: &Certificate,
        user: &str,
        client: &Client,
        now: Timestamp,
    ) -> Result<CertificateFacts, Fault> {
        // The authority first: of what anybody may have written, nothing is worth a word.
        if !self.authorities.contains(certificate.signature_key())
            || certificate.signature().algorithm() != Algorithm::Ed25519
        {
            return Err(Fault::UnknownAuthority);
        }
        // Of security keys (`sk-…`) the server does not show whether the token was touched, so that it could not be
        // demanded: they are refused rather than taken for less than they promise.
        if !matches!(certificate.public_key(), KeyData::Ed25519(_)) {
            return Err(Fault::KeyType);
        }
        if certificate.cert_type() != CertType::User {
            return Err(Fault::NotForUsers);
        }
        let principals = certificate.valid_principals();
        // Without principals a certificate would be good for everybody (CVE-2024-7594).
        if principals.is_empty() {
            return Err(Fault::NoPrincipals);
        }
        if user.is_empty() || !principals.iter().any(|principal| principal == user) {
            return Err(Fault::WrongPrincipal);
        }
        let seconds = now.millis() / 1000;
        if seconds < certificate.valid_after() {
            return Err(Fault::NotYetValid);
        }
        // Good *before* this second; russh lets equality pass.
        if seconds >= certificate.valid_before() {
            return Err(Fault::Expired);
        }
        for (name, value) in certificate.critical_options().iter() {
            match name.as_str() {
                "source-address" if source_address_fits(value, client.address) => {}
                "source-address" => return Err(Fault::SourceAddress),
                _ => return Err(Fault::CriticalOption(name.clone())),
            }
        }
        if !certificate.extensions().contains_key("permit-port-forwarding") {
            return Err(Fault::NoForwarding);
        }
        Ok(CertificateFacts {
            serial: certificate.serial(),
            key_id: certificate.key_id().to_owned(),
            user: user.to_owned(),
            principals: principals.to_vec(),
            fingerprint: certificate.public_key().fingerprint(HashAlg::Sha256).to_string(),
            valid_before: certificate.valid_before(),
        })
    }
}

/// Whether an address is in a list of addresses and CIDR ranges, separated by commas. A list with an entry that cannot be
/// read fits nothing, as with OpenSSH.
fn source_address_fits(list: &str, address: IpAddr) -> bool {
    let mut fits = false;
    for entry in list.split(',') {
        match range_holds(entry, address.to_canonical()) {
            Some(holds) => fits |= holds,
            None => return false,
        }
    }
    fits
}

fn range_holds(entry: &str, address: IpAddr) -> Option<bool> {
    let (base, length) = match entry.split_once('/') {
        Some((base, length)) => (base, Some(length.parse::<u32>().ok()?)),
        None => (entry, None),
    };
    let base: IpAddr = base.parse().ok()?;
    let (base, address, width, same_family) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (u128::from(base.to_bits()), u128::from(address.to_bits()), 32, true)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits(), address.to_bits(), 128, true),
        (IpAddr::V4(base), IpAddr::V6(_)) => (u128::from(base.to_bits()), 0, 32, false),
        (IpAddr::V6(base), IpAddr::V4(_)) => (base.to_bits(), 0, 128, false),
    };
    let length = length.unwrap_or(width);
    if length > width {
        return None;
    }
    let host_bits = width - length;
    // A range whose base lies inside it is a slip of whoever wrote it; OpenSSH refuses it, too.
    if host_bits > 0 && host_bits < 128 && base & ((1 << host_bits) - 1) != 0 {
        return None;
    }
    let shift = |value: u128| value.checked_shr(host_bits).unwrap_or(0);
    Some(same_family && shift(base) == shift(address))
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;
    use russh::keys::ssh_key::private::Ed25519Keypair;

    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    struct Wish {
        authority: u8,
        kind: CertType,
        principals: &'static [&'static str],
        after: u64,
        before: u64,
        critical: &'static [(&'static str, &'static str)],
        extensions: &'static [&'static str],
    }

    const GOOD: Wish = Wish {
        authority: 1,
        kind: CertType::User,
        principals: &["alice", "role-web"],
        after: NOW - 60,
        before: NOW + 600,
        critical: &[("source-address", "192.0.2.0/24,2001:db8::/32")],
        extensions: &["permit-port-forwarding"],
    };

    fn certificate(wish: &Wish) -> Certificate {
        let subject = key(9);
        let mut builder = Builder::new(vec![7; 32], subject.public_key(), wish.after, wish.before).unwrap();
        builder.serial(5).unwrap();
        builder.key_id("alice@hello").unwrap();
        builder.cert_type(wish.kind).unwrap();
        for principal in wish.principals {
            builder.valid_principal(*principal).unwrap();
        }
        if wish.principals.is_empty() {
            builder.all_principals_valid().unwrap();
        }
        for (name, value) in wish.critical {
            builder.critical_option(*name, *value).unwrap();
        }
        for name in wish.extensions {
            builder.extension(*name, "").unwrap();
        }
        builder.sign(&key(wish.authority)).unwrap()
    }

    fn check(wish: &Wish, user: &str, address: &str) -> Result<CertificateFacts, Fault> {
        let rules = Rules { authorities: vec![key(1).public_key().key_data().clone()] };
        let client = Client { address: address.parse().unwrap(), version: "SSH-2.0-x".into() };
        let now = Timestamp::from_micros(i64::try_from(NOW).unwrap() * 1_000_000);
        rules.check(&certificate(wish), user, &client, now)
    }

    #[test]
    fn one_rule_after_the_other() {
        let facts = check(&GOOD, "alice", "192.0.2.7").unwrap();
        assert_eq!((facts.serial, facts.key_id.as_str()), (5, "alice@hello"));
        assert!(facts.fingerprint.starts_with("SHA256:"));
        assert!(check(&GOOD, "role-web", "2001:db8::1").is_ok());
        assert!(check(&GOOD, "alice", "::ffff:192.0.2.7").is_ok(), "an IPv4 client on an IPv6 socket");

        let unknown = Fault::CriticalOption("shiny@example.org".into());
        let verify = Fault::CriticalOption("verify-required".into());
        let force = Fault::CriticalOption("force-command".into());
        for (wish, fault) in [
            (Wish { authority: 2, ..GOOD }, Fault::UnknownAuthority),
            // Even what is wrong besides is not looked at.
            (Wish { authority: 2, principals: &[], ..GOOD }, Fault::UnknownAuthority),
            (Wish { kind: CertType::Host, ..GOOD }, Fault::NotForUsers),
            (Wish { principals: &[], ..GOOD }, Fault::NoPrincipals),
            (Wish { principals: &["bob"], ..GOOD }, Fault::WrongPrincipal),
            (Wish { principals: &["*"], ..GOOD }, Fault::WrongPrincipal),
            (Wish { after: NOW + 1, ..GOOD }, Fault::NotYetValid),
            (Wish { before: NOW, ..GOOD }, Fault::Expired),
            (Wish { before: NOW - 1, ..GOOD }, Fault::Expired),
            (Wish { critical: &[("shiny@example.org", "")], ..GOOD }, unknown),
            (Wish { critical: &[("verify-required", "")], ..GOOD }, verify),
            (Wish { critical: &[("force-command", "id")], ..GOOD }, force),
            (Wish { critical: &[("source-address", "198.51.100.0/24")], ..GOOD }, Fault::SourceAddress),
            (Wish { critical: &[("source-address", "")], ..GOOD }, Fault::SourceAddress),
            (Wish { extensions: &["permit-pty", "permit-agent-forwarding"], ..GOOD }, Fault::NoForwarding),
            (Wish { extensions: &[], ..GOOD }, Fault::NoForwarding),
        ] {
            assert_eq!(check(&wish, "alice", "192.0.2.7"), Err(fault));
        }
        // From this second on, and up to the last one before.
        assert!(check(&Wish { after: NOW, before: NOW + 1, ..GOOD }, "alice", "192.0.2.7").is_ok());
        // An unknown extension is no reason.
        let wish = Wish { extensions: &["permit-port-forwarding", "shiny@example.org"], ..GOOD };
        assert!(check(&wish, "alice", "192.0.2.7").is_ok());
        assert_eq!(check(&GOOD, "", "192.0.2.7"), Err(Fault::WrongPrincipal));
        assert_eq!(check(&GOOD, "alice", "203.0.113.1"), Err(Fault::SourceAddress));
    }

    #[test]
    fn addresses_and_ranges() {
        for (list, address, fits) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.0/31,198.51.100.7", "198.51.100.7", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("2001:db8::1/128", "2001:db8::1", true),
            // Unreadable entries close the whole list.
            ("192.0.2.1,*", "192.0.2.1", false),
            ("192.0.2.1,!192.0.2.2", "192.0.2.1", false),
            ("192.0.2.1/33", "192.0.2.1", false),
            ("192.0.2.1/24", "192.0.2.1", false),
            ("192.0.2.1/", "192.0.2.1", false),
            ("localhost", "127.0.0.1", false),
        ] {
            assert_eq!(source_address_fits(list, address.parse().unwrap()), fits, "{list} {address}");
        }
    }
}
