//! The machines service as its callers meet it: real router, real store, simulated engine and clock.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod api;
mod app;
mod lifecycle;
mod semantics;
mod storm;
