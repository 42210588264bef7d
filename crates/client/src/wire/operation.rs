//! Operations: what takes over a second is answered at once with one of these.

use hafen_base::{OperationId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How an operation stands. The numbers of Incus' API, which never change; the text is cosmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl OperationStatus {
    /// The numeric code: 103 running, 200 success, 400 failure, 401 cancelled.
    pub const fn code(self) -> u16 {
        match self {
            Self::Running => 103,
            Self::Succeeded => 200,
            Self::Failed => 400,
            Self::Cancelled => 401,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    #[schema(value_type = String)]
    pub id: OperationId,
    pub project: String,
    /// `machine.create`, `image.build`, `stack.apply`, …
    pub kind: String,
    /// The objects it works on, as `machine/web-1`.
    pub resources: Vec<String>,
    pub status: OperationStatus,
    /// 103 running, 200 success, 400 failure, 401 cancelled.
    pub status_code: u16,
    pub may_cancel: bool,
    /// What it does just now.
    pub progress: String,
    /// 0 to 100; null when nobody can tell.
    pub percent: Option<u8>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// Something that changed, of whichever service: for who shows how things are and reads anew what it concerns. The events of a
/// service, with all they hold, are read by their own endpoints and in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlatformChange {
    /// `machines`, `stacks`, `delivery`, `vault`, `edge`, `access`, `identity`
    pub service: String,
    /// Its position among those of its service; 0 for progress, which is kept nowhere.
    pub seq: i64,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Empty where it is of no project.
    pub project: String,
    /// As `machine.started`.
    pub kind: String,
    /// As `machine/web-1`.
    pub object: String,
    pub message: String,
    /// Who did it, by name.
    pub actor: String,
}
