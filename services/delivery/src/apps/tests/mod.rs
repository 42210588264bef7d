//! The service over its stores, with machines, a balancer and sources in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod around;
mod builds;
mod previews;
mod private;
mod rollouts;
mod world;
