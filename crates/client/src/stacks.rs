//! Calls of the `stacks` service.

use hafen_base::Result;

use crate::wire::{Apply, ApplyCreate, Drift, Plan, PlanCreate, Stack};
use crate::{Client, Conditions};

impl Client {
    /// Plans a manifest. Nothing changes. A wrong manifest is an invalid error whose fields hold the diagnostics.
    pub async fn plan_create(&self, project: &str, body: &PlanCreate) -> Result<Plan> {
        self.post(&format!("/api/v1/projects/{project}/plans"), body, &Conditions::default()).await
    }

    /// Starts to apply a plan; stale when wanted state or reality moved since it was made.
    pub async fn apply_create(&self, project: &str, body: &ApplyCreate, with: &Conditions) -> Result<Apply> {
        self.post(&format!("/api/v1/projects/{project}/applies"), body, with).await
    }

    pub async fn apply_get(&self, project: &str, apply: &str) -> Result<Apply> {
        self.get(&format!("/api/v1/projects/{project}/applies/{apply}")).await
    }

    pub async fn apply_cancel(&self, project: &str, apply: &str) -> Result<Apply> {
        let path = format!("/api/v1/projects/{project}/applies/{apply}/cancel");
        self.post(&path, &serde_json::json!({}), &Conditions::default()).await
    }

    pub async fn stack_get(&self, project: &str) -> Result<Stack> {
        self.get(&format!("/api/v1/projects/{project}/stack")).await
    }

    pub async fn drift_get(&self, project: &str) -> Result<Drift> {
        self.get(&format!("/api/v1/projects/{project}/drift")).await
    }
}
