//! Cosignatures (C2SP `tlog-cosignature`, v1): a witness' word that it saw this checkpoint at this time, consistent with
//! all it saw before.

use ed25519_dalek::{Signer as _, SigningKey};

use crate::note::COSIGNATURE;
use crate::{Note, NoteError, NoteSignature, VerifierKey};

/// What a witness signs: the header, the time in Unix seconds, the checkpoint's text.
fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Splits `u64 time ‖ signature` into what was signed and the signature over it.
pub(crate) fn signed<'s>(text: &str, bytes: &'s [u8]) -> Option<(String, &'s [u8])> {
    let (time, signature) = bytes.split_first_chunk::<8>()?;
    Some((message(u64::from_be_bytes(*time), text), signature))
}

/// A cosignature that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    pub witness: String,
    /// Unix seconds.
    pub time: u64,
    pub line: NoteSignature,
}

impl Cosigned {
    /// The cosignatures of this note by known witnesses.
    ///
    /// # Errors
    /// When one by a known witness does not fit.
    pub fn of(note: &Note, witnesses: &[VerifierKey]) -> Result<Vec<Self>, NoteError> {
        let mut found = Vec::new();
        for line in &note.signatures {
            let known = witnesses
                .iter()
                .find(|key| key.is_witness() && key.id() == line.id && key.name() == line.name);
            let Some(key) = known else { continue };
            let time = line.signature.first_chunk::<8>().map(|time| u64::from_be_bytes(*time));
            match time {
                Some(time) if key.fits(&note.text, &line.signature) => {
                    found.push(Self { witness: key.name().to_owned(), time, line: line.clone() });
                }
                _ => return Err(NoteError::Signature(key.name().to_owned())),
            }
        }
        Ok(found)
    }
}

/// The key of a witness. Does not print.
pub struct CosignatureSigner {
    verifier: VerifierKey,
    key: SigningKey,
}

impl std::fmt::Debug for CosignatureSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CosignatureSigner({})", self.verifier.name())
    }
}

impl CosignatureSigner {
    /// # Errors
    /// When the name may not stand in a note.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let key = SigningKey::from_bytes(seed);
        Ok(Self { verifier: VerifierKey::new(name, COSIGNATURE, key.verifying_key())?, key })
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Cosigns a checkpoint's text at `time` in Unix seconds.
    pub fn cosign(&self, text: &str, time: u64) -> NoteSignature {
        let signature = self.key.sign(message(time, text).as_bytes());
        let bytes = time.to_be_bytes().into_iter().chain(signature.to_bytes()).collect();
        NoteSignature { name: self.verifier.name().to_owned(), id: self.verifier.id(), signature: bytes }
    }
}
