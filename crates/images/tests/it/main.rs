//! Real builds with mmdebstrap, real processes and users, real full disks, a real boot. Needs root, as the platform's
//! own tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod broken;
mod build;
mod cloud;
mod gc;
mod support;
