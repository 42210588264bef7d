//! Artefacts: what a build leaves, as one file under the name of its content.
//!
//! # Why it is built so
//!
//! Two builds of one commit with one image shall have the same digest, and whoever has a digest shall get these bytes or
//! none. So an archive from outside is not kept as it came: it is read entry by entry, checked, and written anew with
//! sorted names, fixed times, owners and modes (`pack`). What its names say is never used as a path on this host: contents
//! go through one spool file.
//!
//! Beside it stand who made it of what (`provenance`: SLSA v1 in an in-toto statement, signed in a DSSE envelope) and what is
//! in it by its lock files (`sbom`: CycloneDX).
//!
//! Must not know: services, machines, git.

pub mod entries;
mod pack;
pub mod provenance;
pub mod sbom;
mod store;

pub use pack::{Limits, Packed, SPOOL_SLACK, pack};
pub use store::Store;
