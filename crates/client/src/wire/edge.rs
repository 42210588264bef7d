//! The edge: which host leads to which backend, and the certificates of hosts.

use std::collections::BTreeMap;

use hafen_base::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A year: what browsers are told to come by https for, unless said otherwise.
pub const HSTS: u32 = 31_536_000;

const fn yes() -> bool {
    true
}

const fn hsts() -> u32 {
    HSTS
}

const fn weight() -> u32 {
    100
}

const fn once() -> u32 {
    1
}

const fn thrice() -> u32 {
    3
}

const fn interval() -> u32 {
    2000
}

const fn patience() -> u32 {
    1000
}

/// Where requests go that a path leads on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTarget {
    /// Name of a backend of the project: an app's, or a cluster's.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub backend: String,
    /// Its share, relative to the other targets of the path; 0 takes nothing.
    #[serde(default = "weight")]
    #[schema(minimum = 0, maximum = 10000, default = 100)]
    pub weight: u32,
}

/// What a host leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "paths": { "/": [{ "backend": "legacy", "weight": 80 }, { "backend": "shop", "weight": 20 }] } }))]
pub struct RoutePut {
    /// From a path to its targets. The longest prefix wins, at the borders of segments: `/api` takes `/api` and `/api/x`, not
    /// `/apix`. At most 100 paths of at most 16 targets.
    pub paths: BTreeMap<String, Vec<RouteTarget>>,
    /// Answers 503 with a page that says so to everything.
    #[serde(default)]
    pub maintenance: bool,
    /// Answers http with the way to https.
    #[serde(default = "yes")]
    pub redirect_https: bool,
    /// Seconds for which browsers are told to come by https only; 0 tells them nothing.
    #[serde(default = "hsts")]
    #[schema(minimum = 0, maximum = 63_072_000, default = 31_536_000)]
    pub hsts: u32,
    /// Largest body of a request in bytes; 0 for no limit.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_099_511_627_776_i64)]
    pub max_body: i64,
    /// Requests a second from one client address; 0 for no limit.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub rate: u32,
}

/// A host, what it leads to, and how its certificate is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    pub project: String,
    pub host: String,
    pub paths: BTreeMap<String, Vec<RouteTarget>>,
    pub maintenance: bool,
    pub redirect_https: bool,
    pub hsts: u32,
    pub max_body: i64,
    pub rate: u32,
    /// As in its certificate: `pending`, `ready` or `failed`.
    pub certificate: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
}

/// How it is found out whether an endpoint takes requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendHealth {
    /// Asked for with GET; 200 to 399 is healthy.
    #[schema(min_length = 1, max_length = 1024, pattern = "^/[!-~]*$")]
    pub path: String,
    #[serde(default = "interval")]
    #[schema(minimum = 100, maximum = 3_600_000, default = 2000)]
    pub interval_ms: u32,
    /// Good answers in a row after which it is healthy.
    #[serde(default = "once")]
    #[schema(minimum = 1, maximum = 100, default = 1)]
    pub healthy_after: u32,
    /// Bad ones in a row after which it is not.
    #[serde(default = "thrice")]
    #[schema(minimum = 1, maximum = 100, default = 3)]
    pub unhealthy_after: u32,
    #[serde(default = "patience")]
    #[schema(minimum = 10, maximum = 60_000, default = 1000)]
    pub timeout_ms: u32,
}

/// Whether an endpoint takes new requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    #[default]
    Active,
    /// No new ones; those under way go on.
    Draining,
}

/// A process that answers requests: a port of a machine, or an address of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointPut {
    /// Tells it from the others of the backend; the same id with another place is another endpoint.
    #[schema(min_length = 1, max_length = 128, pattern = "^[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$")]
    pub id: String,
    /// Name of a machine of the project; `port` goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub machine: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<u16>,
    /// `127.0.0.1:1234` instead of a machine; only who answers for the platform may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64, pattern = "^[0-9a-fA-F.:\\[\\]]+$")]
    pub address: Option<String>,
    #[serde(default)]
    pub state: EndpointState,
}

/// What answers under a backend's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "health": { "path": "/healthz" }, "endpoints": [{ "id": "web-1-r3-0", "machine": "web-1", "port": 8080 }] }))]
pub struct BackendPut {
    /// Without it an endpoint counts as healthy until requests to it fail.
    #[serde(default)]
    pub health: Option<BackendHealth>,
    #[schema(max_items = 256)]
    pub endpoints: Vec<EndpointPut>,
    /// A number of the writer's that never goes back: a write with a lower one than the last is refused with 412.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub generation: Option<i64>,
}

/// An endpoint, and what the edge that answers knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendEndpoint {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    pub state: EndpointState,
    /// By its checks; without checks always.
    pub healthy: bool,
    /// Left out for a while, because requests to it failed in a row.
    pub ejected: bool,
    /// Requests under way, open WebSockets among them.
    pub in_flight: i64,
    /// Requests so far.
    pub requests: i64,
    /// Why the last check was bad, or the last request failed; empty when it was good.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    pub project: String,
    pub name: String,
    pub health: Option<BackendHealth>,
    pub endpoints: Vec<BackendEndpoint>,
    /// The writer's number, as it was last written.
    pub writer_generation: i64,
    pub generation: i64,
}

/// The certificate of a host. Its key is shown to nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    pub project: String,
    pub host: String,
    /// `acme` for one that browsers trust; `internal` for one of the platform's own authority.
    pub issuer: String,
    /// `pending`, `ready` or `failed`: tried, and tried again at `next_try`. A certificate that is there is used meanwhile.
    pub state: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// SHA-256 of the certificate, in hex; null while there is none.
    pub fingerprint: Option<String>,
    /// Serial number, in hex.
    pub serial: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<Timestamp>,
    /// When it is renewed, or tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try: Option<Timestamp>,
    /// Tries since the last that succeeded.
    pub attempts: i64,
}

/// The platform's own authority, for browsers and clients that shall trust internal names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EdgeAuthority {
    /// The root certificate, in PEM.
    pub certificate: String,
    /// SHA-256 of it, in hex.
    pub fingerprint: String,
}

/// Asks for a certificate now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateRenew {}
