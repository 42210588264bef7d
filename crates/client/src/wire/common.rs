//! Pages, problems, events, health.

use hafen_base::{Actor, FieldProblem, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// An error as RFC 9457 `application/problem+json`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the code tells.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What is wrong and, where a person can mend it, how.
    pub detail: String,
    /// Machine-readable; never changes its meaning.
    pub code: String,
    /// Stands in the log beside the cause.
    pub request_id: String,
    /// Each thing wrong with the input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// Opaque token of the next page; null on the last.
    pub next_page: Option<String>,
}

/// Something that happened, in order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Position in the one order of events; without gaps.
    pub seq: i64,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub project: String,
    /// `machine.started`, `machine.failed`, `image.ready`, `network.egress`, …
    pub kind: String,
    /// `machine/web-1`, `image/web`, `operation/op-…`
    pub object: String,
    /// For a person.
    pub message: String,
    /// What a program may need besides.
    #[serde(default)]
    pub data: Value,
    /// Who did it: by a request, or the platform itself.
    pub actor: Actor,
}

/// The health of one service.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ServiceHealth {
    pub name: String,
    /// `ok` or `paused`.
    pub status: String,
    /// Why, when it is not ok, and when it retries.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What anybody may know.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Alive {
    /// `ok`, or `degraded` when a service is paused.
    pub status: String,
}

/// The platform as a whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub url: String,
    pub version: String,
    /// `qemu` or `sim`.
    pub engine: String,
    /// The accelerator and its reason, the version of the hypervisor.
    pub engine_detail: String,
    /// `ok`, or `degraded` when a service is paused.
    pub status: String,
    pub services: Vec<ServiceHealth>,
    /// Process id of `hafen serve`.
    pub pid: u32,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
}
