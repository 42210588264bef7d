//! The `stacks` service: the manifest of each project, its plans, its applies.
//!
//! # Why it is built so
//!
//! A plan is a promise: *this* is what an apply does. Promises break in two ways. The plan and the apply are computed by
//! different code; or the world moves between them. So there is one pure function, `diff`, and both the plan a person reads
//! (`plan`) and the steps an apply takes (`steps`) are drawn from its result. And a plan carries the serial of the stack
//! and a fingerprint of everything in the project: an apply makes the plan anew and refuses (412) unless serial,
//! fingerprint and changes are the same. Health that flaps and machines that heal themselves are not in the fingerprint;
//! a machine that somebody stopped, deleted or changed is.
//!
//! An apply that is accepted is on disk, and nothing else about it is: there is no journal of what was done. Its runner
//! (`reconcile`) compares what is wanted with what is there, takes the steps between (`execute`), and when it is killed it
//! does the same again. Keys made of apply, address and action keep a request whose answer was lost from acting twice. The
//! list of steps that people see is a report beside it, merged across restarts (`live`), and who watches is told of each as it
//! goes on (`told`): as progress, which is no event and is kept nowhere.
//!
//! The stack remembers the addresses of what it made (`owned`), written before the first request goes out. Only those are
//! ever deleted: what somebody made by hand in the same project is left alone.
//!
//! An app names its secrets. A plan names those that are not there, before anything happens; no value comes near this service.
//!
//! This service knows the others (machines, delivery, edge, vault) only as the trait `Platform`, which the API client implements.

mod api;
mod app;
pub mod diff;
pub mod execute;
mod live;
mod manifest;
pub mod model;
pub mod plan;
pub mod platform;
mod reconcile;
mod render;
mod state;
pub mod steps;
pub mod store;
mod told;

pub use manifest::read_manifest;
pub use state::{ReadSource, Stacks, StacksConfig};
