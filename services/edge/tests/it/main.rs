//! The service through its router, its store on both databases, and its certificates from a real authority.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod acme;
mod api;
mod leases;
mod logs;
mod pebble;
mod renewal;
mod shared;
mod support;
