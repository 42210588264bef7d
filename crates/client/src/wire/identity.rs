//! Organisations, teams, people, service accounts, roles.

use hafen_base::{InvitationId, MembershipId, OrganisationId, ServiceAccountId, TeamId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A tenant: nothing of it is visible to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Organisation {
    #[schema(value_type = String)]
    pub id: OrganisationId,
    /// An RFC 1123 label; unique on the platform.
    pub name: String,
    /// As people write it.
    pub title: String,
    pub policy: SignInPolicy,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
}

/// How people of an organisation sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInPolicy {
    /// A password alone is not enough. Only an owner may switch it off; passwords must then have 15 characters.
    pub second_factor: bool,
    /// Hours until a session ends however busy it is.
    #[schema(minimum = 1, maximum = 720)]
    pub session_hours: i64,
    /// Minutes until an idle session ends.
    #[schema(minimum = 5, maximum = 10_080)]
    pub idle_minutes: i64,
}

impl Default for SignInPolicy {
    fn default() -> Self {
        Self { second_factor: true, session_hours: 24, idle_minutes: 60 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganisationCreate {
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub name: String,
    /// The name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub title: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganisationPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<SignInPolicy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Team {
    #[schema(value_type = String)]
    pub id: TeamId,
    #[schema(value_type = String)]
    pub organisation: OrganisationId,
    /// An RFC 1123 label; unique in the organisation.
    pub name: String,
    pub title: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamCreate {
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub title: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub title: Option<String>,
}

/// Who owns a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectOwner {
    pub project: String,
    #[schema(value_type = String)]
    pub organisation: OrganisationId,
    #[schema(value_type = String)]
    pub team: TeamId,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
}

/// Gives a project to a team. Every project has one, for its whole life.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectOwnerPut {
    /// Id or name.
    #[schema(min_length = 1, max_length = 63)]
    pub team: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Person {
    #[schema(value_type = String)]
    pub id: UserId,
    #[schema(value_type = String)]
    pub organisation: OrganisationId,
    /// What one signs in with; unique in the organisation.
    pub login: String,
    pub name: String,
    /// `active` or `suspended`.
    pub status: String,
    /// `password`, `totp`, `passkey`, `recovery_codes`, `external`
    pub factors: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// `active` or `suspended`; a suspended person's sessions and tokens stop at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(active|suspended)$")]
    pub status: Option<String>,
}

/// A robot that a team owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceAccount {
    #[schema(value_type = String)]
    pub id: ServiceAccountId,
    #[schema(value_type = String)]
    pub organisation: OrganisationId,
    #[schema(value_type = String)]
    pub team: TeamId,
    pub name: String,
    pub description: String,
    /// `active` or `suspended`.
    pub status: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccountCreate {
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub name: String,
    /// The team that owns it: id or name.
    #[schema(min_length = 1, max_length = 63)]
    pub team: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub description: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccountPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(active|suspended)$")]
    pub status: Option<String>,
}

/// A role that a person or service account holds somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    #[schema(value_type = String)]
    pub id: MembershipId,
    /// `u-…` or `sa-…`
    pub subject: String,
    /// `org-…`, `team-…` or `project/NAME`
    pub scope: String,
    /// `owner`, `maintainer`, `operator`, `developer`, `auditor`, `viewer`, or a role of the organisation.
    pub role: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Gives a role; an earlier one of this subject at this scope is replaced.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MembershipCreate {
    #[schema(min_length = 1, max_length = 64)]
    pub subject: String,
    #[schema(min_length = 1, max_length = 80)]
    pub scope: String,
    #[schema(min_length = 1, max_length = 63)]
    pub role: String,
}

/// A role of one organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CustomRole {
    pub name: String,
    pub title: String,
    /// In the words of the policy.
    pub permissions: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomRolePut {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub title: Option<String>,
    #[schema(max_items = 200)]
    pub permissions: Vec<String>,
}

/// An invitation, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    #[schema(value_type = String)]
    pub id: InvitationId,
    #[schema(value_type = String)]
    pub organisation: OrganisationId,
    /// The login the invited person gets; empty when it may choose.
    pub login: String,
    pub scope: String,
    pub role: String,
    /// `open`, `accepted`, `withdrawn`, `expired`
    pub status: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationCreate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub login: Option<String>,
    #[schema(min_length = 1, max_length = 80)]
    pub scope: String,
    #[schema(min_length = 1, max_length = 63)]
    pub role: String,
    /// 72 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 720)]
    pub hours: Option<i64>,
}

/// The only answer that holds the invitation's secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InvitationCreated {
    pub invitation: Invitation,
    /// To be handed to the invited person.
    pub token: String,
}
