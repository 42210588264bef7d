//! Real machines under this host's QEMU. Nothing here is skipped: a host that cannot run a
//! machine fails these tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bounds;
mod clones;
mod crash;
mod firmware;
mod life;
mod support;
