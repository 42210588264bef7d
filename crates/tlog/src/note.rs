//! Signed notes (C2SP `signed-note`): a text, an empty line, and lines of signatures.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::cosignature;

/// Ed25519 over the text itself.
const ED25519: u8 = 0x01;
/// A timestamped cosignature of a checkpoint.
pub(crate) const COSIGNATURE: u8 = 0x04;

/// More signatures than any honest note has; each costs a verifier time.
const MOST_SIGNATURES: usize = 100;
/// More text than a note of ours ever has (the manifest of an export of a million entries has some 800 KB).
const MOST_BYTES: usize = 64 << 20;

/// Why a note is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    #[error("{0:?} is not a name: 1 to 255 bytes without spaces, control characters and '+'")]
    Name(String),
    #[error("not a verifier key: name+hash+base64 is expected ({0})")]
    Key(&'static str),
    #[error("the signature of {0} does not fit the text")]
    Signature(String),
    #[error("no signature by a known key")]
    Unsigned,
}

/// # Errors
/// When `name` may not stand in a signature line.
pub fn check_name(name: &str) -> Result<(), NoteError> {
    let good = (1..=255).contains(&name.len())
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+');
    if good { Ok(()) } else { Err(NoteError::Name(name.to_owned())) }
}

/// `SHA-256(name ‖ 0x0A ‖ type ‖ public key)`, its first four bytes.
fn key_id(name: &str, kind: u8, key: &[u8]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([0x0a, kind]).chain_update(key).finalize();
    let mut id = [0; 4];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    id
}

/// What it takes to check a signature; printed as `name+hex(key id)+base64(type ‖ key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    kind: u8,
    key: VerifyingKey,
}

impl VerifierKey {
    pub(crate) fn new(name: &str, kind: u8, key: VerifyingKey) -> Result<Self, NoteError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), id: key_id(name, kind, key.as_bytes()), kind, key })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether it checks cosignatures, not signatures.
    pub fn is_witness(&self) -> bool {
        self.kind == COSIGNATURE
    }

    /// Whether `signature`, without its key id, is of this key over `text`.
    pub(crate) fn fits(&self, text: &str, signature: &[u8]) -> bool {
        let signed = match self.kind {
            COSIGNATURE => cosignature::signed(text, signature),
            _ => Some((text.to_owned(), signature)),
        };
        let Some((message, signature)) = signed else { return false };
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        // Strict: no signature has a second form that also passes.
        self.key.verify_strict(message.as_bytes(), &signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id), STANDARD.encode(bytes))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        // Base64 may hold a '+', a name may not.
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("it has three parts"));
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key("its last part is base64"))?;
        let Some((&kind @ (ED25519 | COSIGNATURE), key)) = bytes.split_first() else {
            return Err(NoteError::Key("only Ed25519 is known"));
        };
        let key: [u8; 32] = key.try_into().map_err(|_| NoteError::Key("the key has 32 bytes"))?;
        let key =
            VerifyingKey::from_bytes(&key).map_err(|_| NoteError::Key("the key is no point of the curve"))?;
        let key = Self::new(name, kind, key)?;
        if format!("{:08x}", u32::from_be_bytes(key.id)) == id {
            Ok(key)
        } else {
            Err(NoteError::Key("its hash is of another key"))
        }
    }
}

/// Signs notes. Does not print its key.
pub struct Signer {
    verifier: VerifierKey,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier.name)
    }
}

impl Signer {
    /// The signer of this name with the key made from `seed`.
    ///
    /// # Errors
    /// When the name may not stand in a note.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let key = SigningKey::from_bytes(seed);
        Ok(Self { verifier: VerifierKey::new(name, ED25519, key.verifying_key())?, key })
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text that ends in a newline.
    ///
    /// # Errors
    /// When it may not stand in a note.
    pub fn sign(&self, text: &str) -> Result<Note, NoteError> {
        check_text(text)?;
        let signature = self.key.sign(text.as_bytes()).to_bytes().to_vec();
        let signature = NoteSignature { name: self.verifier.name.clone(), id: self.verifier.id, signature };
        Ok(Note { text: text.to_owned(), signatures: vec![signature] })
    }
}

/// One line of a note: `— name base64(key id ‖ signature)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    pub name: String,
    pub id: [u8; 4],
    pub signature: Vec<u8>,
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.id.iter().chain(&self.signature).copied().collect();
        writeln!(f, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for NoteSignature {
    type Err = NoteError;

    /// Takes a line without its newline.
    fn from_str(line: &str) -> Result<Self, NoteError> {
        let bad = NoteError::Malformed("a signature line is `— name base64`");
        let (name, text) =
            line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or_else(|| bad.clone())?;
        check_name(name)?;
        let bytes = STANDARD.decode(text).map_err(|_| bad.clone())?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or_else(|| bad.clone())?;
        if signature.is_empty() {
            return Err(bad);
        }
        Ok(Self { name: name.to_owned(), id: *id, signature: signature.to_vec() })
    }
}

/// A text and its signatures, none of them checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub text: String,
    pub signatures: Vec<NoteSignature>,
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.len() > MOST_BYTES {
        return Err(NoteError::Malformed("it is too long"));
    }
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("its text does not end in a newline"));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(NoteError::Malformed("it holds a control character"));
    }
    Ok(())
}

impl Note {
    /// # Errors
    /// When these bytes are no note; says nothing of who signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("it is not UTF-8"))?;
        check_text(whole)?;
        // The last empty line: the text may hold others.
        let at =
            whole.rfind("\n\n").ok_or(NoteError::Malformed("no empty line stands before the signatures"))?;
        let (text, rest) = whole.split_at(at + 1);
        let lines = rest.trim_start_matches('\n').strip_suffix('\n').unwrap_or("");
        if lines.is_empty() {
            return Err(NoteError::Malformed("it has no signature"));
        }
        let signatures: Vec<NoteSignature> = lines.split('\n').map(str::parse).collect::<Result<_, _>>()?;
        if signatures.len() > MOST_SIGNATURES {
            return Err(NoteError::Malformed("it has more than 100 signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Which of these keys signed it. Signatures of unknown keys are passed over.
    ///
    /// # Errors
    /// When a signature by a known key does not fit, or none is by a known key.
    pub fn verify<'k>(&self, keys: &[&'k VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut found: Vec<&VerifierKey> = Vec::new();
        for line in &self.signatures {
            let known = keys.iter().copied().find(|key| key.id == line.id && key.name == line.name);
            let Some(key) = known else { continue };
            if !key.fits(&self.text, &line.signature) {
                return Err(NoteError::Signature(key.name.clone()));
            }
            if !found.contains(&key) {
                found.push(key);
            }
        }
        if found.is_empty() { Err(NoteError::Unsigned) } else { Ok(found) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| write!(f, "{line}"))
    }
}
