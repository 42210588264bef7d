//! The service through its router and stock git, its store on both databases.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod git;
mod hooks;
mod repositories;
mod world;
