//! The `identity` service: who somebody is, how that is proven, and what they hold.
//!
//! # Why it is built so
//!
//! **One table of bearer credentials.** A session, a person's token, a service account's token and a client's access token
//! differ in how they come about and end; to the rest of the platform each is a text that opens something for somebody. So
//! they are rows of one table with one check (`check`), one way to end them, and one proof that they ended. All are opaque
//! and kept as hashes: a signed token that nobody looks up could not be revoked at once, which is asked for here.
//!
//! **The check is a look into memory.** It stands before every request of the platform. An entry is good for a second, and
//! only while nothing was revoked, suspended or given since (`check::Cache`, a generation that every such change raises in
//! its own process before it is answered; the second bounds what another replica may not have heard).
//!
//! **Nobody is locked out.** See `model::throttle`: attempts are slowed, by keys that an attacker does not share with the
//! victim, and counted before they are looked at. Unknown accounts take the same road as known ones, hash included.
//!
//! **Tenants are apart in the queries**, not in the handlers: what a caller names is looked up within its organisation, so
//! the rows of another are not there (404), and a forgotten check shows nothing.
//!
//! **What is decided where.** Which role may call which endpoint is the policy's, in front of this service. Here stay the
//! rules a policy on endpoints cannot see: nobody gives a role above their own, the last owner stays, changing how one signs
//! in takes a session and a fresh second factor.

mod api;
mod app;
mod check;
mod cookies;
mod fetch;
mod issuers;
pub mod model;
mod oidc;
mod public;
mod reconcile;
mod standing;
mod state;
pub mod store;

pub use api::OPEN;
pub use app::Origin;
pub use fetch::{Fetch, Network};
pub use model::caller::{Caller, Held, Presented};
pub use model::password::Cost;
pub use model::role::{Owner, Scope};
pub use standing::{Found, Holdings};
pub use state::{Identity, IdentityConfig};
