//! Tests of the service through its router, on both databases, with a stepped clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a panic is a failed test"
)]

mod authlib;
mod external;
mod issuers;
mod oidc_provider;
mod openid;
mod organisations;
mod passkeys;
mod sessions;
mod sign_in;
mod throttle;
mod tokens;
mod workload;
mod world;
