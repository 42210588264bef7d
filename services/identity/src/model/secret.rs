//! Bearer secrets: made, recognised, hashed. They never print.
//!
//! A secret reads `hafen_pat_` + 43 characters of base 62 (256 random bits) + 6 of their CRC-32, as those of the large
//! forges do: a scanner of repositories knows one by its prefix and its checksum, offline and without false alarms, and a
//! mistyped one is refused before the database is asked. At rest there is only the SHA-256: with 256 bits of entropy
//! there is nothing to guess, so a slow hash would buy nothing and cost every request.

use std::fmt;

use hafen_base::Random;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What a secret opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A person's token.
    Personal,
    /// A service account's token.
    Service,
    /// A session after a sign-in.
    Session,
    /// An access token of an OAuth client.
    Access,
    /// Traded for a foreign JWT by a workload.
    Workload,
    Refresh,
    AuthorizationCode,
    DeviceCode,
    Invitation,
    /// A ceremony under way: between two steps of a sign-in or an enrolment.
    Ceremony,
    /// A device that its owner signed in from before.
    Device,
    ClientSecret,
}

const KINDS: &[(Kind, &str)] = &[
    (Kind::Personal, "pat"),
    (Kind::Service, "sat"),
    (Kind::Session, "ses"),
    (Kind::Access, "oat"),
    (Kind::Workload, "wat"),
    (Kind::Refresh, "ort"),
    (Kind::AuthorizationCode, "oac"),
    (Kind::DeviceCode, "odc"),
    (Kind::Invitation, "inv"),
    (Kind::Ceremony, "cer"),
    (Kind::Device, "dev"),
    (Kind::ClientSecret, "ocs"),
];

impl Kind {
    fn short(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, short)| short)
    }

    /// The kinds that a request may carry as its bearer token.
    pub const fn opens_the_api(self) -> bool {
        matches!(self, Self::Personal | Self::Service | Self::Session | Self::Access | Self::Workload)
    }

    /// As the store writes it.
    pub fn column(self) -> &'static str {
        self.short()
    }

    pub fn from_column(text: &str) -> Option<Self> {
        KINDS.iter().find(|(_, short)| *short == text).map(|(kind, _)| *kind)
    }
}

/// A secret in clear, on its one way to its owner.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is kept of a secret: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Hash(String);

impl Hash {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the store gives it back.
    pub const fn stored(hex: String) -> Self {
        Self(hex)
    }

    pub fn of(text: &str) -> Self {
        Self(hex(&Sha256::digest(text.as_bytes())))
    }
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0') as char;
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256.
const BODY: usize = 43;
/// 62^6 > 2^32.
const CHECK: usize = 6;

impl Secret {
    pub fn generate(kind: Kind, random: &dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        random.fill(&mut *bytes);
        let body = Zeroizing::new(base62(&*bytes, BODY));
        let mut text = Zeroizing::new(format!("hafen_{}_{}", kind.short(), *body));
        let check = base62(&crc32(text.as_bytes()).to_be_bytes(), CHECK);
        text.push_str(&check);
        Self(text)
    }

    /// In clear: for the one answer that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> Hash {
        Hash::of(&self.0)
    }
}

/// What kind of secret a text is: prefix, length, alphabet and checksum fit. Says nothing on whether it opens anything.
pub fn recognise(text: &str) -> Option<Kind> {
    let rest = text.strip_prefix("hafen_")?;
    let (short, body) = rest.split_once('_')?;
    let kind = Kind::from_column(short)?;
    if body.len() != BODY + CHECK || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let (signed, check) = text.split_at_checked(text.len() - CHECK)?;
    (base62(&crc32(signed.as_bytes()).to_be_bytes(), CHECK) == check).then_some(kind)
}

/// A big-endian number in base 62, zero-padded to `width`.
fn base62(bytes: &[u8], width: usize) -> String {
    let mut number = Zeroizing::new(bytes.to_vec());
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in number.iter_mut() {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(0);
            rest = value % 62;
        }
        *digit = BASE62.get(rest as usize).copied().unwrap_or(b'0');
    }
    digits.into_iter().map(char::from).collect()
}

/// CRC-32 of IEEE 802.3: a checksum against typing errors and for scanners, no protection.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    use hafen_base::SeededRandom;

    use super::*;

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_secret_is_recognised_and_any_change_is_noticed() {
        let random = SeededRandom::new(7);
        for (kind, short) in KINDS {
            let secret = Secret::generate(*kind, &random);
            let text = secret.expose();
            assert!(text.starts_with(&format!("hafen_{short}_")) && text.len() == 59, "{text}");
            assert_eq!(recognise(text), Some(*kind));
            for at in 0..text.len() {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
                assert_eq!(recognise(std::str::from_utf8(&bytes).unwrap()), None, "{at}");
            }
            assert_eq!(recognise(&text[..58]), None);
            assert_eq!(recognise(&format!("{text}0")), None);
        }
        for bad in
            ["", "hafen_", "hafen_pat_", "hafen_xyz_", "hafen_pat_ü", "Bearer", &"hafen_pat_é".repeat(20)]
        {
            assert_eq!(recognise(bad), None, "{bad}");
        }
        assert_eq!(format!("{:?}", Secret::generate(Kind::Personal, &random)), "Secret(…)");
    }
}
