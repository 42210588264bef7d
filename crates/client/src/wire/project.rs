//! Projects: a namespace with hard limits.

use hafen_base::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Hard limits of a project; checked at plan and, atomically, at create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub machines: i64,
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub cpus: i64,
    /// Bytes.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub memory: i64,
    /// Bytes.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub disk: i64,
}

impl Default for Quota {
    /// Roomy: a quota is there to stop an accident, not the day's work.
    fn default() -> Self {
        Self { machines: 20_000, cpus: 40_000, memory: 64 << 40, disk: 512 << 40 }
    }
}

/// What a project uses now; the same units as its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    pub machines: i64,
    pub cpus: i64,
    pub memory: i64,
    pub disk: i64,
}

/// Creates a project or changes its quota.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectPut {
    /// Left as it is when absent; roomy defaults for a new project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Project {
    pub name: String,
    pub quota: Quota,
    pub usage: Usage,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
}
