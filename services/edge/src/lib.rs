//! The `edge` service: which host leads to which backend, the certificates of hosts, and the tables of the data plane.
//!
//! # Why it is built so
//!
//! Requests are carried by `hafen_proxy`, which knows nothing but its tables. This service keeps what the tables say: a row for each
//! host, backend and certificate. A change is committed, then the tables of this process are brought to it before the answer
//! goes out (`sync`); other processes that share the database read it within a second. There is no message that could be lost.
//!
//! A host's certificate is a wish in a row that a reconciler fulfils (`certificate`): from an authority that speaks ACME, or from the
//! platform's own for names that no public one issues for. Keys are sealed. What was issued is written down, so that a certificate
//! in a transparency log that nobody here asked for is noticed (`logs`).
//!
//! A host is of one project: who has it first, until they give it back. An endpoint is a port of a machine of the same project; an
//! address of the platform's own host can be named only by who answers for the platform, or else every project could reach what
//! listens there for the platform alone.
//!
//! This service knows machines and projects only through the API client.

mod api;
mod app;
pub mod certificate;
mod logs;
pub mod model;
mod state;
pub mod store;
mod sync;
mod tidy;

pub use logs::{LogKey, WatchedLog};
pub use state::{AcmeConfig, Edge, EdgeConfig, HttpChallenges};
