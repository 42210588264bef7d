//! An inclusion proof as a file (C2SP `tlog-proof`): index, path and checkpoint, enough to check a record offline.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::decimal;
use crate::{Checkpoint, Hash, Note, VerifierKey, leaf_hash, verify_inclusion};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^63 leaves has paths of 63 hashes.
const MOST_HASHES: usize = 63;

/// The proof of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// The record itself, so that the file says what it proves. It is what the proof is checked for, so it needs no trust.
    pub record: Vec<u8>,
    pub index: u64,
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: Note,
}

impl fmt::Display for ProofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}\nextra {}\nindex {}", STANDARD.encode(&self.record), self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for ProofFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (head, note) = text.split_once("\n\n").ok_or("no empty line stands before the checkpoint")?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(format!("it does not begin with {HEADER}"));
        }
        let extra =
            lines.next().and_then(|line| line.strip_prefix("extra ")).ok_or("the line `extra` is missing")?;
        let record = STANDARD.decode(extra).map_err(|_| "`extra` is not base64")?;
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(decimal)
            .ok_or("the line `index` is missing, or no number")?;
        let path =
            lines.map(str::parse).collect::<Result<Vec<Hash>, _>>().map_err(|error| error.to_string())?;
        if path.len() > MOST_HASHES {
            return Err(format!("a path has at most {MOST_HASHES} hashes"));
        }
        let checkpoint = Note::parse(note.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self { record, index, path, checkpoint })
    }
}

impl ProofFile {
    /// Checks it with the log's key; gives the checkpoint it holds for.
    ///
    /// # Errors
    /// Says in words what does not hold.
    pub fn verify(&self, key: &VerifierKey) -> Result<Checkpoint, String> {
        self.checkpoint.verify(&[key]).map_err(|error| format!("the checkpoint: {error}"))?;
        let checkpoint: Checkpoint =
            self.checkpoint.text.parse().map_err(|error| format!("the checkpoint: {error}"))?;
        if checkpoint.origin != key.name() {
            return Err(format!("the checkpoint is of {:?}, the key of {:?}", checkpoint.origin, key.name()));
        }
        let leaf = leaf_hash(&self.record);
        verify_inclusion(&leaf, self.index, checkpoint.size, &checkpoint.root, &self.path)
            .map_err(|error| format!("entry {}: {error}", self.index))?;
        Ok(checkpoint)
    }
}
