//! The service through its router, on both databases.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod destroyed;
mod secrets;
mod world;
