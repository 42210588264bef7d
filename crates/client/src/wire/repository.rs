//! Git repositories: who may push what, and what lies in them.

use hafen_base::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

fn default_branch() -> String {
    "main".to_owned()
}

/// Bytes a repository may have on the disk, unless said otherwise.
pub const REPOSITORY_SIZE_LIMIT: i64 = 10 << 30;
/// Bytes one object may have, unless said otherwise.
pub const REPOSITORY_OBJECT_LIMIT: i64 = 1 << 30;

const fn size_limit() -> i64 {
    REPOSITORY_SIZE_LIMIT
}

const fn object_limit() -> i64 {
    REPOSITORY_OBJECT_LIMIT
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "shop" }))]
pub struct RepositoryCreate {
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
    #[serde(default)]
    #[schema(max_length = 500, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub description: String,
    /// What a clone begins with.
    #[serde(default = "default_branch")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[A-Za-z0-9_][A-Za-z0-9_-]*(\\.[A-Za-z0-9_-]+)*(/[A-Za-z0-9_][A-Za-z0-9_-]*(\\.[A-Za-z0-9_-]+)*)*$"
    )]
    pub default_branch: String,
    /// Rules of branches, the first that fits counts; one for the default branch when absent: developers push, nobody rewrites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 100)]
    pub protected: Option<Vec<ProtectedBranch>>,
    /// Bytes on the disk; 10 GiB unless given.
    #[serde(default = "size_limit")]
    #[schema(minimum = 1_048_576, maximum = 1_099_511_627_776_i64)]
    pub size_limit: i64,
    /// Bytes of one object (a version of a file); 1 GiB unless given.
    #[serde(default = "object_limit")]
    #[schema(minimum = 1024, maximum = 1_099_511_627_776_i64)]
    pub object_limit: i64,
}

/// What a repository shall be, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryPut {
    #[serde(default)]
    #[schema(max_length = 500, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub description: String,
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[A-Za-z0-9_][A-Za-z0-9_-]*(\\.[A-Za-z0-9_-]+)*(/[A-Za-z0-9_][A-Za-z0-9_-]*(\\.[A-Za-z0-9_-]+)*)*$"
    )]
    pub default_branch: String,
    /// Rules of branches; the first that fits counts.
    #[schema(max_items = 100)]
    pub protected: Vec<ProtectedBranch>,
    #[serde(default = "size_limit")]
    #[schema(minimum = 1_048_576, maximum = 1_099_511_627_776_i64)]
    pub size_limit: i64,
    #[serde(default = "object_limit")]
    #[schema(minimum = 1024, maximum = 1_099_511_627_776_i64)]
    pub object_limit: i64,
}

/// Who may do what to branches of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "pattern": "release/*", "push": "maintainer" }))]
pub struct ProtectedBranch {
    /// A branch, or with `*` (any text within one part of the name) several.
    #[schema(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9_*.-]+(/[A-Za-z0-9_*.-]+)*$")]
    pub pattern: String,
    /// The least role that pushes to it.
    pub push: PushRole,
    /// Whether they may rewrite it (`git push --force`).
    #[serde(default)]
    pub force: bool,
    /// Whether they may delete it.
    #[serde(default)]
    pub delete: bool,
}

/// A role, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushRole {
    Nobody,
    Owner,
    Maintainer,
    Operator,
    Developer,
}

impl PushRole {
    /// As the policy names it; none for nobody.
    #[must_use]
    pub const fn role(self) -> Option<&'static str> {
        match self {
            Self::Nobody => None,
            Self::Owner => Some("owner"),
            Self::Maintainer => Some("maintainer"),
            Self::Operator => Some("operator"),
            Self::Developer => Some("developer"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repository {
    pub id: String,
    pub project: String,
    pub name: String,
    pub description: String,
    pub default_branch: String,
    pub protected: Vec<ProtectedBranch>,
    pub size_limit: i64,
    pub object_limit: i64,
    /// Bytes on the disk after the last push.
    pub size: i64,
    /// For `git clone`, below the platform's URL.
    pub path: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pushed_at: Option<Timestamp>,
    pub generation: i64,
}

/// A branch or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitReference {
    /// As `refs/heads/main`.
    pub name: String,
    /// Name of the object in hexadecimal; of an annotated tag the tag's own.
    pub target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitCommit {
    pub id: String,
    /// As the commit says; nobody checks it.
    pub author: String,
    pub author_email: String,
    #[schema(value_type = String, format = DateTime)]
    pub authored_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub committed_at: Timestamp,
    pub subject: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "builder", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDNWm0RBRFMWQhvi8GPHNt85A/n/kjb0bnBL/6lzbjaq" }))]
pub struct DeployKeyCreate {
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// OpenSSH public key line; Ed25519.
    #[schema(min_length = 1, max_length = 1000)]
    pub public_key: String,
    #[serde(default)]
    pub access: DeployKeyAccess,
}

/// What a key opens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeployKeyAccess {
    #[default]
    Read,
    /// Pushes as a developer would.
    Write,
}

/// An SSH key that opens one repository, as user `git` at the bastion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeployKey {
    pub id: String,
    pub name: String,
    pub public_key: String,
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: String,
    pub access: DeployKeyAccess,
    /// Id of who let it in.
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}
