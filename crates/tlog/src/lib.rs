//! Transparency logs, without any I/O: a tree that only grows, proofs about it, and signed words about its state.
//!
//! Everything here follows a published text, so that anybody's tools can check our log and ours check theirs: trees and
//! proofs RFC 6962 and RFC 9162; tiles, checkpoints, notes, cosignatures and proof files the pages of C2SP (`tlog-tiles`,
//! `tlog-checkpoint`, `signed-note`, `tlog-cosignature`, `tlog-witness`, `tlog-proof`). Nothing here knows what an entry
//! means, where tiles lie, or what time it is.
//!
//! The crates `tlog_tiles` and `signed_note` do much of this on an older generation of the cryptography crates, which would
//! then be in the binary twice; they are the oracles of the tests instead, beside `ct-merkle` and `pymerkle` (decision 0013).

mod archive;
mod checkpoint;
mod cosignature;
mod export;
mod hash;
mod manifest;
mod note;
mod proof;
mod proof_file;
mod tile;
mod tree;
mod witness;

pub use archive::{ArchiveError, Header, TAR_BLOCK, TAR_END, tar_header, tar_padding, tar_read_header};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::{CosignatureSigner, Cosigned};
pub use export::{Commitments, Fault, Files, Verified, verify_export};
pub use hash::{Hash, HashError, empty_root, leaf_hash, node_hash};
pub use manifest::{Manifest, ManifestError};
pub use note::{Note, NoteError, NoteSignature, Signer, VerifierKey, check_name};
pub use proof::{ProofError, verify_consistency, verify_inclusion};
pub use proof_file::ProofFile;
pub use tile::{ENTRY_LIMIT, Tile, TileError, WIDTH, bundle_push, bundle_read, tile_node};
pub use tree::{Nodes, consistency_proof, inclusion_proof, root, root_of_leaves};
pub use witness::{AddCheckpoint, PROOF_LINES};
