//! The wire types of `/api/v1`: what travels between a service and its callers.
//!
//! They live here, below both, because services never import one another and the client must not import a service.
//! They hold no rules: a service validates what it receives; this is only the shape.

pub mod access;
pub mod apps;
pub mod common;
pub mod edge;
pub mod hook;
pub mod identity;
pub mod image;
pub mod ledger;
pub mod machine;
pub mod network;
pub mod oauth;
pub mod operation;
pub mod policy;
pub mod project;
pub mod repository;
pub mod secrets;
pub mod sign_in;
pub mod stack;

pub use access::*;
pub use apps::*;
pub use common::*;
pub use edge::*;
pub use hook::*;
pub use identity::*;
pub use image::*;
pub use ledger::*;
pub use machine::*;
pub use network::*;
pub use oauth::*;
pub use operation::*;
pub use policy::*;
pub use project::*;
pub use repository::*;
pub use secrets::*;
pub use sign_in::*;
pub use stack::*;
