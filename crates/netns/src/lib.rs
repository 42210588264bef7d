//! Networks of machines: one Linux network namespace each.
//!
//! A network is held by a process of its own ([`holder`]) that outlives the control plane: it owns
//! the bridge, the taps, dnsmasq, the firewall and the published ports. [`Networks`] starts holders and
//! finds them again; [`Network`] asks one. Machines get the descriptor of a tap and need no right at all;
//! whatever comes from inside of a namespace (a tap, a connection) is a descriptor handed over a
//! unix socket.
//!
//! Must not know: machines, QEMU, projects, HTTP, databases.

mod config;
mod error;
mod folder;
pub mod holder;
mod network;
mod networks;
mod ports;
mod requirements;
mod start;
mod sys;
mod watch;
mod wire;

pub use config::{
    Config, Egress, HostEntry, MAX_ALLOWED, MAX_BACKENDS, MAX_MACHINES, Mac, Publication, TapConfig,
};
pub use error::{Error, Result};
pub use network::Network;
pub use networks::Networks;
pub use requirements::{Requirement, requirements};
pub use watch::{Notice, Watch};
pub use wire::{EgressRecord, Protocol, Status};
