//! The data plane of the edge: takes requests over HTTP/1.1 and HTTP/2, with TLS or without, and has them answered by endpoints.
//!
//! # Why it is built so
//!
//! *What is understood is written anew.* A request over HTTP/1.1 is read by `head` and `chunked`, strictly, and the endpoint gets a
//! head and a framing that this crate wrote: nobody can smuggle a second request past a difference between two readers. Nothing
//! that a client says of itself (`X-Forwarded-For`, `Forwarded`, `X-Request-Id`) goes on.
//!
//! *Nothing is gathered.* A body goes on piece by piece as the other side takes it, in both directions at a time (`exchange`); a
//! direction that stands still runs into its limit (`timer`, `wire`).
//!
//! *Changes are swaps.* Hosts and certificates are tables that are replaced whole (`table`, `certificates`); endpoints are
//! told to drain (`backend`). No connection notices.
//!
//! *A request is sent twice only where that is safe*: nothing of it was sent (no connection), or its method does the same when done
//! twice, it had no body, and nothing of an answer came.
//!
//! *One thread, one request.* See `server`. HTTP/1.1 is spoken by this crate itself, on both sides: decision 0020.
//!
//! Must not know: services, databases, machines (it is handed connections to them: `Connect`), where certificates come from.

mod answer;
mod backend;
pub mod certificates;
mod chance;
mod chunked;
mod clients;
mod endpoint;
mod ends;
mod exchange;
mod grpc;
mod head;
mod health;
mod http1;
mod http2;
mod pages;
mod proxy;
mod server;
mod table;
mod target;
mod timer;
mod tunnel;
mod upstream;
mod waiting;
mod wire;

pub use backend::{Backend, EndpointPlan, EndpointSeen, HealthPlan, Place};
pub use certificates::{Certificates, Shown};
pub use proxy::{AccessLog, AccessRecord, Challenges, Limits, Proxy, ProxyConfig};
pub use server::{Listeners, serve};
pub use table::{HostPlan, Table};
pub use upstream::Connect;
pub use wire::{BoxStream, Stream};
