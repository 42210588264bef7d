//! What a name may be. One rule everywhere: an RFC 1123 label, because names become host names.

/// Checks a name of a project, machine, image, network or snapshot.
///
/// # Errors
/// Says what a name must look like.
pub fn check_label(what: &str, name: &str) -> Result<(), String> {
    let bytes = name.as_bytes();
    let good = (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-');
    if good {
        Ok(())
    } else {
        Err(format!(
            "a {what} name has 1 to 63 characters of a-z, 0-9 and '-', and neither starts nor ends with '-'"
        ))
    }
}

/// Checks a metadata key: 1 to 63 of `a-z A-Z 0-9 . _ - /`.
///
/// # Errors
/// Says what a key must look like.
pub fn check_metadata_key(key: &str) -> Result<(), String> {
    let good = (1..=63).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'));
    if good {
        Ok(())
    } else {
        Err("a metadata key has 1 to 63 characters of a-z, A-Z, 0-9, '.', '_', '-', '/'".into())
    }
}

/// Checks a metadata value: at most 1024 bytes, no control characters.
///
/// # Errors
/// Says what a value must look like.
pub fn check_metadata_value(value: &str) -> Result<(), String> {
    if value.len() <= 1024 && !value.chars().any(char::is_control) {
        Ok(())
    } else {
        Err("a metadata value has at most 1024 bytes and no control characters".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "web-1", "0x", &"a".repeat(63)] {
            assert!(check_label("machine", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "Web", "a.b", "a/b", "ü", "a\0", &"a".repeat(64)] {
            assert!(check_label("machine", bad).is_err(), "{bad}");
        }
    }
}
