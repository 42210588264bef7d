//! Pure rules: what a value and a reason may be, and under which names they are sealed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{Error, ErrorKind, Result, Timestamp};
use hafen_client::wire::SecretEncoding;
use zeroize::Zeroizing;

/// Bytes of a value.
pub const MAX_VALUE: usize = 64 << 10;
/// Secrets of a project.
pub const MAX_SECRETS: i64 = 1000;
/// Versions of a secret that still have a value.
pub const MAX_VERSIONS: i64 = 20;
/// Destroyed versions that are still told of.
pub const TOLD: i64 = 100;

/// The bytes that are meant. An error says nothing of them.
pub fn value_of(text: &str, encoding: SecretEncoding) -> Result<Zeroizing<Vec<u8>>> {
    let bytes = match encoding {
        SecretEncoding::Text => Zeroizing::new(text.as_bytes().to_vec()),
        SecretEncoding::Base64 => Zeroizing::new(STANDARD.decode(text).map_err(|_| {
            Error::invalid_field("/value", "it is not base 64: use the alphabet with + and /, padded with =")
        })?),
    };
    match bytes.len() {
        0 => Err(Error::invalid_field("/value", "it is empty: a secret has at least one byte")),
        1..=MAX_VALUE => Ok(bytes),
        more => Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the value has {more} bytes; a secret has at most {MAX_VALUE}: keep large files elsewhere, and their key here"
            ),
        )),
    }
}

/// How bytes travel: as they are where that is possible.
pub fn encoded(bytes: &[u8]) -> (String, SecretEncoding) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => (text.to_owned(), SecretEncoding::Text),
        _ => (STANDARD.encode(bytes), SecretEncoding::Base64),
    }
}

pub fn check_reason(reason: &str) -> Result<&str> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > 500 || reason.contains('\0') {
        return Err(Error::invalid_field(
            "/reason",
            "say why the value is needed, in 1 to 500 characters: it stands in the ledger",
        ));
    }
    Ok(reason)
}

/// What the key of one life of a project is sealed under.
pub fn key_name(project: &str, born: Timestamp) -> String {
    format!("vault {project} {}", born.micros())
}

/// What a value is sealed under: another secret's, an older one's of the same name, or another version's opens not in its place.
pub fn value_name(name: &str, created: Timestamp, version: i64) -> String {
    format!("secret {name} {} {version}", created.micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bounded_and_come_out_as_they_went_in() {
        let text = |text: &str| value_of(text, SecretEncoding::Text);
        assert_eq!(*text("correct horse").unwrap(), b"correct horse");
        assert_eq!(*value_of("AP8=", SecretEncoding::Base64).unwrap(), [0, 255]);
        assert_eq!(text(&"x".repeat(MAX_VALUE)).unwrap().len(), MAX_VALUE);
        let refused = |value: &str, encoding| value_of(value, encoding).unwrap_err();
        assert_eq!(refused(&"x".repeat(MAX_VALUE + 1), SecretEncoding::Text).kind(), ErrorKind::TooLarge);
        let large = STANDARD.encode(vec![7; MAX_VALUE + 1]);
        assert_eq!(refused(&large, SecretEncoding::Base64).kind(), ErrorKind::TooLarge);
        for (value, encoding) in [
            ("", SecretEncoding::Text),
            ("", SecretEncoding::Base64),
            ("hunter2!", SecretEncoding::Base64),
            ("AP8", SecretEncoding::Base64),
        ] {
            let error = refused(value, encoding);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(value.is_empty() || !format!("{error:?}").contains(value), "{error:?}");
        }
        for bytes in [&b"plain"[..], "größer".as_bytes(), &[0, 1], &[0xff], b"nul\0"] {
            let (value, encoding) = encoded(bytes);
            assert_eq!(*value_of(&value, encoding).unwrap(), bytes);
        }
    }

    #[test]
    fn a_reason_is_words() {
        assert_eq!(check_reason(" ticket 4711 ").unwrap(), "ticket 4711");
        for bad in ["", "  \n", "a\0b", &"x".repeat(501)] {
            assert!(check_reason(bad).is_err(), "{bad:?}");
        }
    }
}
