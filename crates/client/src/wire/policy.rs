//! The policy: its actions and rules, and why it decides as it does.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that somebody may do, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyAction {
    /// As `machine.read`: what scopes of tokens and roles of an organisation name.
    pub name: String,
    /// The group that the rules speak of.
    pub group: String,
    /// Asks a person for the second factor again.
    pub dangerous: bool,
    /// For a person: "may …".
    pub tells: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRule {
    pub id: String,
    pub tells: String,
}

/// The policy that holds in an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// In Cedar; roles that the organisation made stand in `rules` only.
    pub text: String,
    pub rules: Vec<PolicyRule>,
}

/// A role and where it is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRole {
    pub role: String,
    /// `org-…`, `team-…` or `project/NAME`
    pub scope: String,
    /// Whether it counts at the place asked about.
    pub counts: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyWho {
    /// `person`, `service_account`, `workload` or `local_operator`
    pub kind: String,
    pub id: String,
    pub name: String,
    pub organisation: String,
    /// The token or session asked about, as `token/tok-…`; empty: none.
    pub credential: String,
    /// `active`, `suspended`, or of a token or session `revoked`, `expired`, `replaced`.
    pub standing: String,
}

/// What the caller may do at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyPermitted {
    /// `project/NAME` or `organisation/org-…`
    pub place: String,
    /// Names of actions that are permitted now.
    pub actions: Vec<String>,
    /// Names of those that are permitted once the second factor was proven again (`POST /api/v1/step-up`).
    pub step_up: Vec<String>,
}

/// Whether somebody may do something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyAnswer {
    pub allowed: bool,
    pub who: PolicyWho,
    pub action: PolicyAction,
    /// `project/NAME` or `organisation/org-…`
    pub place: String,
    /// The rules that decide; none, where no rule permits it.
    pub rules: Vec<PolicyRule>,
    /// All roles held, and which of them count there.
    pub roles: Vec<PolicyRole>,
    /// What a token is limited to; null where it is not.
    pub scopes: Option<Vec<String>>,
    /// Projects a token is limited to; null where it is not.
    pub projects: Option<Vec<String>>,
    /// It is permitted right after the second factor was proven again.
    pub step_up: bool,
}
