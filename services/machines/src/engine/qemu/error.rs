//! From the drivers' errors to the platform's: the message is for a person, the kind says whether to try again.

use std::path::Path;

use hafen_base::{Error, ErrorKind};

/// No room is told apart; anything else may have been mended by the next try.
pub fn file(doing: &str, path: &Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let kind = match error.kind() {
        StorageFull | QuotaExceeded => ErrorKind::NoSpace,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {doing} {}: {error}", path.display())).with_cause(error)
}

#[expect(clippy::needless_pass_by_value, reason = "used as map_err(from_qemu)")]
pub fn from_qemu(error: hafen_qemu::Error) -> Error {
    use hafen_qemu::Error as Qemu;
    let kind = match &error {
        Qemu::Invalid(_) => ErrorKind::Invalid,
        Qemu::Conflict(_) => ErrorKind::Conflict,
        Qemu::NoSpace { .. } => ErrorKind::NoSpace,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "used as map_err(from_netns)")]
pub fn from_netns(error: hafen_netns::Error) -> Error {
    use hafen_netns::Error as Netns;
    let kind = match &error {
        Netns::Invalid { .. } | Netns::TooMany { .. } => ErrorKind::Invalid,
        Netns::PortTaken { .. } => ErrorKind::Conflict,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "used as map_err(from_images)")]
pub fn from_images(error: hafen_images::Error) -> Error {
    use hafen_images::Error as Images;
    let kind = match &error {
        Images::Invalid(_) | Images::Unsolvable(_) | Images::Refused(_) | Images::Gone { .. } => {
            ErrorKind::Invalid
        }
        Images::NotFound(_) => ErrorKind::NotFound,
        Images::NoSpace { .. } => ErrorKind::NoSpace,
        Images::Corrupt { .. } | Images::Differs { .. } => ErrorKind::Conflict,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string())
}
