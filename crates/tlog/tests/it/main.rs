//! The tree, proofs, notes and exports, against the definitions, other people's code, and every kind of damage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a panic is a failed test"
)]

mod export;
mod notes;
mod oracles;
mod proofs;
mod python;
