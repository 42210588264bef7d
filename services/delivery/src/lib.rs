//! The `delivery` service: from a push to what runs.
//!
//! It knows machines, secrets and routes only through the API client.

mod api;
pub mod apps;
mod pushed;
mod state;
pub mod store;

pub use pushed::{Push, Pushed, RefUpdate, Requested, Unheard};
pub use state::{Delivery, DeliveryConfig, Rights};
