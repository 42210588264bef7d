//! What a log signed, and that what it shows is a part of that: its checkpoints follow from one another, and entries are in them.

use std::collections::HashMap;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{Error, Result};
use hafen_tlog::{
    Checkpoint, Hash, Nodes, Note, Tile, consistency_proof, inclusion_proof, tile_node, verify_consistency,
    verify_inclusion,
};
use rustls::pki_types::alg_id;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::fetch::Fetch;

/// The code of errors that say that a log contradicts itself, or what it signed.
pub const UNTRUE: &str = "log_untrue";
/// Tiles of hashes in one proof: a path is as long as the tree is high.
const TILES: usize = 64;

fn untrue(why: impl Into<String>) -> Error {
    Error::unavailable(why).with_code(UNTRUE)
}

/// The public key of a log (RFC 6962: ECDSA over P-256), by which its checkpoints are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    /// SHA-256 of the key as it is published.
    id: [u8; 32],
    point: Vec<u8>,
}

impl FromStr for LogKey {
    type Err = Error;

    /// As lists of logs have it: DER in base 64.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(
                "a log's key is its ECDSA P-256 public key as base 64 of DER, as lists of logs have it",
            )
        };
        let der = STANDARD.decode(text).map_err(|_| bad())?;
        let (rest, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| bad())?;
        let point = info.subject_public_key.data.to_vec();
        if !rest.is_empty() || point.len() != 65 || point.first() != Some(&4) {
            return Err(bad());
        }
        Ok(Self { id: Sha256::digest(&der).into(), point })
    }
}

impl LogKey {
    /// Reads a checkpoint that this log signed (C2SP static-ct-api, "Checkpoints").
    ///
    /// # Errors
    /// `UNTRUE` when it did not.
    pub fn checkpoint(&self, bytes: &[u8]) -> Result<Checkpoint> {
        let note = Note::parse(bytes).map_err(|error| untrue(format!("its checkpoint is none: {error}")))?;
        let checkpoint: Checkpoint =
            note.text.parse().map_err(|error| untrue(format!("its checkpoint is none: {error}")))?;
        let mut id = Sha256::new();
        id.update(checkpoint.origin.as_bytes());
        id.update(b"\n\x05");
        id.update(self.id);
        let id = id.finalize();
        let ours = note
            .signatures
            .iter()
            .find(|line| line.name == checkpoint.origin && id.get(..4) == Some(line.id.as_slice()));
        let signature = ours.ok_or_else(|| untrue("its checkpoint is not signed by its key"))?;
        // RFC6962NoteSignature: a time, and a signature as TLS writes it: SHA-256, ECDSA, length.
        let parts = signature.signature.split_at_checked(8).and_then(|(time, rest)| {
            let (head, rest) = rest.split_at_checked(4)?;
            let length = usize::from(*head.get(2)?) << 8 | usize::from(*head.get(3)?);
            (head.get(..2)? == [4, 3] && length == rest.len()).then_some((time, rest))
        });
        let (time, der) = parts.ok_or_else(|| untrue("the signature of its checkpoint is none"))?;
        // TreeHeadSignature (RFC 6962, section 3.5): version 1, of a tree head.
        let mut signed = vec![0, 1];
        signed.extend_from_slice(time);
        signed.extend_from_slice(&checkpoint.size.to_be_bytes());
        signed.extend_from_slice(&checkpoint.root.0);
        let provider = rustls::crypto::ring::default_provider();
        let algorithm = provider.signature_verification_algorithms.all.iter().find(|algorithm| {
            algorithm.public_key_alg_id() == alg_id::ECDSA_P256
                && algorithm.signature_alg_id() == alg_id::ECDSA_SHA256
        });
        let algorithm = algorithm.ok_or_else(|| Error::internal("no ECDSA over P-256"))?;
        let good = algorithm.verify_signature(&self.point, &signed, der);
        good.map_err(|_| untrue("its checkpoint is not signed by its key"))?;
        Ok(checkpoint)
    }
}

/// A tree that a log signed, as far as it was looked at.
pub struct Tree {
    pub checkpoint: Checkpoint,
    tiles: HashMap<Tile, Vec<Hash>>,
}

/// What a proof needs that is not there yet.
pub struct Missing(Option<Tile>);

impl Nodes for Tree {
    type Error = Missing;

    fn node(&self, level: u8, index: u64) -> std::result::Result<Hash, Missing> {
        let (tile, range) = Tile::of_node(level, index, self.checkpoint.size);
        let hashes = self.tiles.get(&tile).ok_or(Missing(Some(tile)))?;
        hashes.get(range).map(tile_node).ok_or(Missing(None))
    }

    fn outside(&self) -> Missing {
        Missing(None)
    }
}

impl Tree {
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, tiles: HashMap::new() }
    }

    async fn proof(
        &mut self,
        fetch: &Fetch,
        base: &str,
        make: impl Fn(&Self) -> std::result::Result<Vec<Hash>, Missing>,
    ) -> Result<Vec<Hash>> {
        for _ in 0..TILES {
            match make(self) {
                Ok(proof) => return Ok(proof),
                Err(Missing(None)) => break,
                Err(Missing(Some(tile))) => {
                    let bytes = fetch.tile(base, &tile.to_string(), tile.width, 32 * 256).await?;
                    let length = usize::try_from(tile.width * 32).unwrap_or(usize::MAX);
                    let hashes = bytes.get(..length).and_then(|bytes| tile.hashes(bytes).ok());
                    let hashes =
                        hashes.ok_or_else(|| untrue(format!("{tile} has another length than it says")))?;
                    self.tiles.insert(tile, hashes);
                }
            }
        }
        Err(untrue("it gives no proof"))
    }

    /// That this tree begins with the one of before.
    pub async fn follows(&mut self, fetch: &Fetch, base: &str, size: u64, root: &Hash) -> Result<()> {
        let new = self.checkpoint.clone();
        let proof = self.proof(fetch, base, |tree| consistency_proof(size, new.size, tree)).await?;
        verify_consistency(size, new.size, root, &new.root, &proof).map_err(|_| {
            untrue(format!(
                "its tree of {} entries does not begin with the one of {size} that it showed before",
                new.size
            ))
        })
    }

    /// That entries are in the tree: all of a tile of them.
    pub async fn holds(&mut self, fetch: &Fetch, base: &str, index: u64, hashes: Vec<Hash>) -> Result<()> {
        let first = index * 256;
        let leaf = *hashes.first().ok_or_else(|| untrue("a tile is empty"))?;
        // The path of one of them goes by all the others of its tile, which are these and not what it says of them.
        let tile = Tile { level: Some(0), index, width: hashes.len() as u64 };
        self.tiles.insert(tile, hashes);
        let Checkpoint { size, root, .. } = self.checkpoint.clone();
        let proof = self.proof(fetch, base, |tree| inclusion_proof(first, size, tree)).await;
        self.tiles.remove(&tile);
        verify_inclusion(&leaf, first, size, &root, &proof?)
            .map_err(|_| untrue(format!("entries from {first} on are not in the tree that it signed")))
    }
}
