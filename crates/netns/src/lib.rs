//! Networks of machines: one Linux network namespace each.
//!
//! A network is held by a process of its own ([`holder`]) that outlives the control plane: it owns
//! the bridge, the taps, dnsmasq, the firewall and the published ports. [`Networks`] starts holders and
//! finds them again; [`Network`] asks one. Machines get the descriptor of a tap and need no right at all;
//! whatever comes from inside of a namespace (a tap, a connection) is a descriptor handed over a
//! unix socket.
//!
//! What holds, and what makes it hold:
//!
//! - *Networks reach neither each other nor this host.* A namespace has no interface but its bridge, its
//!   taps and, with egress, pasta's. pasta maps no address to this host's loopback, and the firewall
//!   refuses every address that this host has (looked at every 2 s), link-local ones (metadata services)
//!   and multicast. What else this host can reach, such as its LAN or its containers, machines with
//!   [`Egress::Logged`] can reach too.
//! - *A machine is who it is.* A frame with another hardware or IPv4 address than its tap's is dropped
//!   before the bridge learns from it; so is whatever is neither IPv4 nor ARP, and every answer of a DHCP
//!   server but dnsmasq's. Addresses and names come from [`Network::hosts_set`] alone.
//! - *What goes out is recorded*: the first packet of each connection and each lookup that is passed
//!   on. Up to 16,384 records wait for a watcher; what had to be dropped is counted.
//! - [`Egress::Allow`] with names lets through the addresses that dnsmasq was told for a name, until the
//!   egress changes: a shared address (of a content network, say) lets through its other names too. Other
//!   names, subdomains included, are not even looked up.
//! - *A change of egress ends the connections out*; those between machines and of published ports go on.
//! - *A holder that dies takes the network of its machines along* (see [`Notice::HolderDied`] and
//!   [`Network::generation`]): nothing is left that could be half right.
//!
//! [`Status::degraded`] says which of this the kernel or the host does not grant.
//!
//! Not root: the same in a user namespace, where dnsmasq and pasta run as the caller. As root, dnsmasq runs as
//! `nobody` with three capabilities, pasta as root without any.
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
