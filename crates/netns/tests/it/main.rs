//! Real namespaces, real packets, no virtual machines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod basic;
mod egress;
mod isolation;
mod life;
mod outside;
mod ports;
mod support;
mod user;
