//! The bastion: an SSH server that does one thing, to carry connections to machines (`ssh -J`).
//!
//! # Why it is built so
//!
//! A jump host that people log in to is where break-ins begin: an agent is forwarded to it, keys lie on it, from it the
//! whole network can be reached. This one has no shell, no files, no agent and no address of its own in any network. It
//! sees only ciphertext, as the client speaks to the machine *through* it. What it can do is decide who reaches what, end
//! it at once, and write down that it happened.
//!
//! The protocol is `russh`'s. What `russh` does not check of a certificate is checked here (`certificate`): the authority,
//! the kind, names, critical options, addresses. Whom a certificate belongs to, what that person may reach and how it is
//! dialled is not known here: a [`Gate`] says so. The name that the client asks for is given to the gate as it stands; it
//! is never resolved here, so that a name that resolves to something else reaches nothing.
//!
//! Beside machines, git repositories are reached here (`git`), by the same certificates, and by keys that open one repository
//! each: a session channel runs git's two commands, which somebody else carries out.
//!
//! Must not know: services, HTTP, machines.

pub mod certificate;
mod connection;
mod gate;
mod git;
mod offer;
mod relay;
mod server;
mod wire;

pub use certificate::{CertificateFacts, Client, Rules};
pub use gate::{EndReason, Gate, Person, Reached, Refusal, Revocations, SessionRecord, Target};
pub use git::{Git, GitCaller, GitOutput};
pub use server::{Bastion, BastionConfig, Limits};

/// The crates of keys and certificates in the version that the server uses.
pub use russh::keys::ssh_key;
