//! The ledger over real databases: followed, killed, restored, exported, witnessed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a panic is a failed test"
)]

mod calls;
mod erase;
mod export;
mod follow;
mod http;
mod kill;
mod restore;
mod support;
mod windows;
mod witness;
mod years;
