//! The request of C2SP `tlog-witness`: an old size, a proof from it, and the new checkpoint.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::decimal;
use crate::{Hash, Note};

/// At most so many hashes of a consistency proof.
pub const PROOF_LINES: usize = 63;

/// The body of `add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    pub old: u64,
    pub proof: Vec<Hash>,
    pub checkpoint: Note,
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for AddCheckpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (head, note) = text.split_once("\n\n").ok_or("no empty line stands before the checkpoint")?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(decimal)
            .ok_or("the first line is `old SIZE`")?;
        let lines: Vec<&str> = lines.collect();
        if lines.len() > PROOF_LINES {
            return Err(format!("a proof has at most {PROOF_LINES} lines"));
        }
        let proof = lines
            .into_iter()
            .map(str::parse)
            .collect::<Result<Vec<Hash>, _>>()
            .map_err(|e| format!("proof: {e}"))?;
        Ok(Self { old, proof, checkpoint: Note::parse(note.as_bytes()).map_err(|e| e.to_string())? })
    }
}
