//! Stock git against this crate: what it serves, what it refuses, what is left when something dies.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod pushes;
mod rig;
