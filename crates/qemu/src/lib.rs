//! Drives QEMU: one virtual machine is one directory and one process.
//!
//! # What it is for
//! Finding out what this host can do ([`probe`]), starting machines ([`Vm`]), talking to QEMU
//! ([`qmp`]) and to the agent inside a guest ([`agent`]), and making new machines in about a
//! second by resuming copies of one that was booted once ([`template`]).
//!
//! # What it must not know
//! Projects, manifests, HTTP, databases, who may do what. Networks come in as a file descriptor
//! of a tap; time, entropy and keys come in with an [`Identity`].
//!
//! # Why a directory
//! The control plane may be killed at any moment while machines go on. All that is needed to
//! find a machine again lies in its directory: the description (`machine.json`), the disk, the
//! process id and the sockets. [`Vm::open`] reads it and [`Vm::status`] asks the kernel; nothing
//! lives only in memory, so that adopting after a crash and looking at one's own machine are the
//! same code. QEMU's working directory is the machine's directory and its sockets have relative
//! names, because socket paths are limited to 107 bytes and homes can be deep.
//!
//! # Whom it does not trust
//! A guest, and a QEMU that a guest broke into. QEMU has no rights, few resources ([`cgroup`]),
//! and a user of its own when the caller is root; the machine's directory stays the caller's, so
//! that QEMU can add to it and not replace what is read from it. What it says is bounded in
//! length and time, and tools that read a disk it wrote have its rights, not ours.
//!
//! # Why templates
//! Under emulation a Debian boot takes tens of seconds, most of it the same for every machine.
//! So each image is booted once per size into a quiet state (`guest/hafen-template.target`),
//! its memory is a file and its devices a small stream. A clone maps that file copy-on-write,
//! loads the stream and is told who it is before its network comes up. What must never be
//! shared between clones — keys, machine id, boot id, random state — is listed and set in
//! `guest/agent.pl`, and the tests compare two clones.

pub mod agent;
mod args;
mod capture;
pub mod cgroup;
mod disk;
pub mod durable;
mod error;
pub mod guest;
mod launch;
pub mod probe;
mod process;
pub mod qmp;
mod seed;
mod snapshot;
mod spec;
mod start;
mod sweep;
pub mod template;
mod version;
mod vm;

pub use agent::{Facts, Identity, Secret};
pub use args::{CommandSpec, TAP_FD};
pub use disk::Format;
pub use error::{Error, Result};
pub use launch::{Launch, User};
pub use probe::{Accelerator, Kind};
pub use seed::{Seed, write_seed};
pub use snapshot::Snapshot;
pub use spec::{Boot, Net, Spec};
pub use template::Template;
pub use version::{Qemu, Version};
pub use vm::{Host, Status, Vm};
