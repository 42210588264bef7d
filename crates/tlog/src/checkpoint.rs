//! The body of a checkpoint (C2SP `tlog-checkpoint`): which log, how many leaves, which root.

use std::fmt;
use std::str::FromStr;

use crate::Hash;

/// A tree head. Printed as the text that is signed: `origin\nsize\nroot\n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name; equal to the name of its key.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

/// A text that is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint: three lines of origin, size and base64 root are expected")]
pub struct CheckpointError;

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root)
    }
}

/// A decimal number as C2SP writes them: no sign, no leading zeroes.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Extension lines, which C2SP allows and advises against, are kept out: this log never writes one, and a verifier that
    /// passes over words it does not know would say more than it checked.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError);
        };
        if origin.is_empty() {
            return Err(CheckpointError);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: decimal(size).ok_or(CheckpointError)?,
            root: root.parse().map_err(|_| CheckpointError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::empty_root;

    #[test]
    fn a_checkpoint_reads_back_and_nothing_else_does() {
        let checkpoint = Checkpoint { origin: "example.org/log".into(), size: 0, root: empty_root() };
        let text = checkpoint.to_string();
        assert_eq!(text, "example.org/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
        assert_eq!(text.parse(), Ok(checkpoint));
        let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        for bad in [
            String::new(),
            format!("o\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("o\n01\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("o\n18446744073709551616\n{root}\n"),
            format!("o\n1\n{root}\nmore\n"),
            format!("o\n1\n{}\n", root.trim_end_matches('=')),
            format!("o\n1\n{root} \n"),
            // The last character holds bits beyond the 32 bytes.
            format!("o\n1\n{}V=\n", &root[..42]),
        ] {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad:?}");
        }
    }
}
