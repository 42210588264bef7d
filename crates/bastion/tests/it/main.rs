//! The bastion against clients and servers that this project did not write: OpenSSH, asyncssh, paramiko, ssh-audit. A
//! machine is a real `sshd` on loopback with the lines that machines of the platform have.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

mod clients;
mod fuzz;
mod limits;
mod python;
mod refusals;
mod rig;
mod tools;
