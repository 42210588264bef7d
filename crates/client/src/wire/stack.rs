//! Stacks: a manifest, its plans and its applies. The plan is shaped like OpenTofu's JSON.

use std::collections::BTreeMap;

use hafen_base::{OperationId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A manifest as its author wrote it, with the files it names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StackSource {
    /// Text of `hafen.toml`.
    pub manifest: String,
    /// File name for error messages.
    #[serde(default = "default_file")]
    pub file: String,
    /// Contents of the files named by `source`, by that name; base 64.
    #[serde(default)]
    pub sources: BTreeMap<String, String>,
    /// Image locks by image name (`hafen.lock`).
    #[serde(default)]
    pub locks: BTreeMap<String, String>,
}

fn default_file() -> String {
    "hafen.toml".into()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "manifest": "project = \"hello\"\n[network.backend]\negress = \"none\"\n", "file": "hafen.toml",
}))]
pub struct PlanCreate {
    #[serde(flatten)]
    pub source: StackSource,
    /// Plan the end of everything.
    #[serde(default)]
    pub destroy: bool,
}

/// What is done to a resource: an array, so that a scan for `delete` finds every deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanAction {
    NoOp,
    Create,
    Read,
    Update,
    Delete,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    pub actions: Vec<PlanAction>,
    pub before: Value,
    pub after: Value,
    pub after_unknown: Value,
    pub before_sensitive: Value,
    pub after_sensitive: Value,
    /// Paths that force a replacement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replace_paths: Vec<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceChange {
    /// `machine.web-1`, `network.backend`, `image.web`, `publication.web-80`
    pub address: String,
    /// `machine`, `network`, `image`, `publication`, `project`
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub change: Change,
    /// Why, when it is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanCounts {
    pub create: u64,
    /// Changed in place.
    pub update: u64,
    /// Destroyed and made anew, rolling.
    pub replace: u64,
    pub delete: u64,
    pub unchanged: u64,
}

impl PlanCounts {
    /// Whether anything would change.
    pub const fn any(&self) -> bool {
        self.create + self.update + self.replace + self.delete > 0
    }
}

/// A plan. Ignore unknown fields of a minor version, refuse an unknown major.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    pub format_version: String,
    pub project: String,
    pub destroy: bool,
    /// The stack's serial this plan was made at; apply refuses when it moved.
    pub serial: i64,
    /// Fingerprint of reality as it was planned against; apply refuses when reality moved.
    pub reality: String,
    pub resource_changes: Vec<ResourceChange>,
    /// Where reality left what the last apply made.
    pub resource_drift: Vec<ResourceChange>,
    pub counts: PlanCounts,
    /// What keeps the plan from being applied, as a quota too small.
    #[serde(default)]
    pub problems: Vec<String>,
    /// What to know, without stopping it.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What it was made from; an apply of the plan applies exactly this.
    pub source: StackSource,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyCreate {
    pub plan: Plan,
}

/// One step of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplyStep {
    pub address: String,
    pub action: String,
    /// `pending`, `running`, `done`, `failed`, `skipped`
    pub status: String,
    /// Progress or the reason of a failure, with the last lines of the serial log.
    #[serde(default)]
    pub message: String,
    /// Milliseconds it took; null until it ended.
    pub took_ms: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Apply {
    #[schema(value_type = String)]
    pub id: OperationId,
    pub project: String,
    /// `running`, `succeeded`, `failed`, `cancelled`
    pub status: String,
    pub steps: Vec<ApplyStep>,
    pub error: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A project's stack: the manifest last applied.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Stack {
    pub project: String,
    pub serial: i64,
    pub source: StackSource,
    #[schema(value_type = Option<String>)]
    pub apply: Option<OperationId>,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// Where reality differs from what was applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Drift {
    pub project: String,
    pub serial: i64,
    pub resource_drift: Vec<ResourceChange>,
}
