//! Calls about the policy.

use hafen_base::Result;

use crate::Client;
use crate::wire::{List, Policy, PolicyAction, PolicyAnswer, PolicyPermitted};

impl Client {
    /// The policy that holds in the caller's organisation.
    pub async fn policy(&self) -> Result<Policy> {
        self.get("/api/v1/policy").await
    }

    /// Every action there is.
    pub async fn policy_actions(&self) -> Result<List<PolicyAction>> {
        self.get("/api/v1/policy/actions").await
    }

    /// What the caller may do in a project; without one, at the organisation and beside projects.
    pub async fn policy_permitted(&self, project: Option<&str>) -> Result<PolicyPermitted> {
        let query = project.map(|project| format!("?project={project}")).unwrap_or_default();
        self.get(&format!("/api/v1/policy/permitted{query}")).await
    }

    /// Whether somebody may do something: `query` as of the API, percent-encoded.
    pub async fn policy_explain(&self, query: &str) -> Result<PolicyAnswer> {
        self.get(&format!("/api/v1/policy/explain?{query}")).await
    }
}
