//! The data plane through its sockets, with real clients and endpoints that misbehave.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod balance;
mod clients;
mod frames;
mod grpc;
mod http2;
mod limits;
mod smuggling;
mod support;
mod upgrades;
