//! Networks, and ports of clusters published on the host.

use hafen_base::{NetworkId, PublicationId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What may leave a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    /// Nothing. The default.
    #[default]
    None,
    /// Everything; each destination is recorded.
    Logged,
    /// Only these `host:port`; each destination, and each refused attempt, is recorded.
    Allow(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "backend", "egress": { "allow": ["mirror.example.org:443"] } }))]
pub struct NetworkCreate {
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
    #[serde(default)]
    pub egress: Egress,
    /// IPv4 network as `10.40.0.0/24`; chosen by the platform when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
}

/// Changes a network in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkPatch {
    pub egress: Egress,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Network {
    #[schema(value_type = String)]
    pub id: NetworkId,
    pub project: String,
    pub name: String,
    pub egress: Egress,
    pub subnet: String,
    /// `creating`, `ready`, `destroying`, `failed`.
    pub state: String,
    /// Why, when it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
    /// The generation that reality was last brought to.
    pub observed_generation: i64,
}

/// Publishes a port of a cluster on the host, spread over its healthy machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "host": "127.0.0.1:8081", "group": "web", "port": 80 }))]
pub struct PublicationPut {
    /// `127.0.0.1:8081`
    pub host: String,
    /// Every machine whose `group` is this takes part once it is healthy.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub group: String,
    /// The port inside the machines.
    #[schema(minimum = 1, maximum = 65535)]
    pub port: u16,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Publication {
    #[schema(value_type = String)]
    pub id: PublicationId,
    pub project: String,
    pub name: String,
    pub host: String,
    pub group: String,
    #[schema(minimum = 1, maximum = 65535)]
    pub port: u16,
    /// `creating`, `ready`, `destroying`, `failed`.
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// `ip:port` of the machines that take part now.
    pub backends: Vec<String>,
    pub generation: i64,
}
