//! Git repositories on this host's disk, served by real `git` processes.
//!
//! # Why it is built so
//!
//! `git` itself speaks the protocol, checks and stores what comes in, and moves references: nobody knows its formats better,
//! and what a stock client can do it can do here. This crate starts it in a scrubbed environment (`process`), carries bytes to
//! and from it (`exchange`), and decides about pushes (`gate`).
//!
//! A push is decided where git lets one decide: its `pre-receive` hook runs when all objects have come in, in a quarantine
//! that nobody else sees, and before any reference moves. The hook is ours alone (`core.hooksPath`), a few lines of `sh` that
//! ask this process through two pipes: nothing that lies in a repository is ever run. When this process dies the pipes
//! are at their end, the hook refuses, and git throws the quarantine away.
//!
//! What a push may not hold is `secrets`: pure, and fed with the new objects only.
//!
//! This crate knows neither people nor projects: it is told which folder, and a `Gate` decides.

mod exchange;
mod gate;
mod inspect;
mod process;
mod repository;
pub mod secrets;

pub use exchange::{Begun, Ended, Exchange, Piece, Rpc, Service};
pub use gate::{Gate, Proposed, Verdict};
pub use inspect::{Inspection, Limits as InspectionLimits};
pub use process::{Git, Limits, Process};
pub use repository::{Commit, Reference, Repository, check_branch, check_reference};

use serde::{Deserialize, Serialize};

/// A reference that is another now, or shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefUpdate {
    /// As `refs/heads/main`.
    pub reference: String,
    /// Commit (or tag object) of before, in hexadecimal; none for a new reference.
    pub old: Option<String>,
    /// Of now; none for one that is gone.
    pub new: Option<String>,
}

/// An object's name in hexadecimal; none for the name of nothing (all zeros).
pub(crate) fn object(text: &str) -> Option<String> {
    let name = matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (name && text.bytes().any(|byte| byte != b'0')).then(|| text.to_owned())
}
