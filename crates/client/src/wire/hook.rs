//! Hooks: other systems that say when something is to be deployed.

use hafen_base::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// GitLab: push, tag and pipeline events, by secret token or signature.
    Gitlab,
    /// GitHub: push events with `X-Hub-Signature-256`.
    Github,
    /// Forgejo or Gitea: push events with `X-Forgejo-Signature` or `X-Gitea-Signature`.
    Forgejo,
    /// Jenkins' Notification plugin: builds that were a success.
    Jenkins,
}

impl HookKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gitlab => "gitlab",
            Self::Github => "github",
            Self::Forgejo => "forgejo",
            Self::Jenkins => "jenkins",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "gitlab", "kind": "gitlab", "app": "shop", "branch": "main" }))]
pub struct HookCreate {
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
    pub kind: HookKind,
    /// The application that is deployed.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub app: String,
    /// Only what was pushed to this branch counts; any branch when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[A-Za-z0-9_][A-Za-z0-9_-]*(\\.[A-Za-z0-9_-]+)*(/[A-Za-z0-9_][A-Za-z0-9_-]*(\\.[A-Za-z0-9_-]+)*)*$"
    )]
    pub branch: Option<String>,
    /// GitLab: deploy when a pipeline of the branch was a success, not at its push.
    #[serde(default)]
    pub pipeline: bool,
    /// Jenkins: the job's name, as the notification has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub job: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hook {
    pub id: String,
    pub project: String,
    pub name: String,
    pub kind: HookKind,
    pub app: String,
    pub branch: Option<String>,
    pub pipeline: bool,
    pub job: Option<String>,
    /// Where to call, below the platform's URL.
    pub path: String,
    /// Id of who made it.
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last called by who knows its secret.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub called_at: Option<Timestamp>,
}

/// A new hook with its secret, which is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct HookCreated {
    pub hook: Hook,
    /// GitLab's "secret token" or signing key, GitHub's and Forgejo's "secret", Jenkins' part of the URL.
    pub secret: String,
}

impl std::fmt::Debug for HookCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookCreated").field("hook", &self.hook).finish_non_exhaustive()
    }
}

/// Why a call of a hook asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookIgnored {
    /// The other system tries the hook.
    Ping,
    /// An event that the hook is not for.
    OtherEvent,
    /// A branch that the hook is not for.
    OtherBranch,
    /// A tag, or another reference.
    NoBranch,
    BranchDeleted,
    /// A pipeline of a tag or a merge request.
    OtherPipeline,
    /// A job that the hook is not for.
    OtherJob,
    /// A build or a pipeline that is not at its end.
    Unfinished,
    /// A build or a pipeline that was no success.
    Failed,
    /// Of a newer build something was deployed before.
    OlderBuild,
    /// It names no branch or build by a name that is taken here.
    Unnamed,
}

impl HookIgnored {
    pub const ALL: [Self; 11] = [
        Self::Ping,
        Self::OtherEvent,
        Self::OtherBranch,
        Self::NoBranch,
        Self::BranchDeleted,
        Self::OtherPipeline,
        Self::OtherJob,
        Self::Unfinished,
        Self::Failed,
        Self::OlderBuild,
        Self::Unnamed,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::OtherEvent => "other_event",
            Self::OtherBranch => "other_branch",
            Self::NoBranch => "no_branch",
            Self::BranchDeleted => "branch_deleted",
            Self::OtherPipeline => "other_pipeline",
            Self::OtherJob => "other_job",
            Self::Unfinished => "unfinished",
            Self::Failed => "failed",
            Self::OlderBuild => "older_build",
            Self::Unnamed => "unnamed",
        }
    }
}

/// A call of a hook by who knows its secret. Those that were acted on are known for a year; of the others the last 50 are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookDelivery {
    pub id: String,
    /// `accepted`: something is to be deployed; `ignored`: it is nothing to act on.
    pub outcome: String,
    /// Why it was ignored.
    pub ignored: Option<HookIgnored>,
    /// What an ignored one was of, in the words of who called: a branch, an event, a build.
    pub about: Option<String>,
    /// For a person: what is deployed, or why nothing is.
    pub detail: String,
    /// When it came first.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}
