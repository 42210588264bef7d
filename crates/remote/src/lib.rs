//! Commands and shells on machines: the platform as a client of a machine's SSH server, over any stream that leads to it.
//!
//! # Why it is built so
//!
//! Machines have one way in, SSH with short-lived certificates, and what the platform does on them goes through it as
//! everybody else does: it works on every engine and every image, is in the log of the machine's `sshd`, and needs no agent.
//!
//! Both sides are known by certificates. The host's must be signed by the authority of hosts, name the machine, and be for
//! the key that the machine has: so an answer comes from this machine, or there is none.
//!
//! Must not know: services, HTTP, what the commands are for.

mod quote;
mod session;
mod shell;

pub use quote::{quote, words};
pub use session::{Collected, Ended, Input, Login, Session, Sink, Stream};
pub use shell::{Shell, Size, Typed};

/// The crates of keys and certificates in the version that the client uses.
pub use russh::keys::ssh_key;
