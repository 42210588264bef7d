//! Real builds with mmdebstrap, real processes, real full disks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod build;
mod support;
