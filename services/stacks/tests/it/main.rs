//! Tests of the service: pure tables, and the whole service against a platform that forgets, fails and dies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a panic is a failed test"
)]

mod api;
mod applies;
mod crashes;
mod delivery;
mod drift;
mod fake;
mod fake_delivery;
mod manifest;
mod plans;
mod rolling;
mod scale;
mod service;
