//! Calls of the `access` service.

use hafen_base::Result;

use crate::wire::{
    AccessGrant, AccessGrantCreate, AccessSession, Event, IntegrityAccept, List, MachineIntegrity,
    Revocation, RevocationCreate,
};
use crate::{Client, Conditions};

impl Client {
    /// Two certificates for one key: bastion and machines.
    pub async fn access_grant_create(&self, body: &AccessGrantCreate) -> Result<AccessGrant> {
        self.post("/api/v1/access/grants", body, &Conditions::default()).await
    }

    /// Certificates that are good no more; running sessions end within seconds.
    pub async fn access_revoke(&self, body: &RevocationCreate) -> Result<Revocation> {
        self.post("/api/v1/access/revocations", body, &Conditions::default()).await
    }

    /// Sessions, newest first.
    pub async fn access_session_list(&self) -> Result<Vec<AccessSession>> {
        self.list_all("/api/v1/access/sessions").await
    }

    /// Alerts after a position, oldest first.
    pub async fn access_alert_list(&self, after: i64) -> Result<List<Event>> {
        self.get(&format!("/api/v1/access/alerts?after={after}&limit=1000")).await
    }

    /// What the service wrote down, after a position.
    pub async fn access_event_list(&self, after: i64, limit: u32) -> Result<List<Event>> {
        self.get(&format!("/api/v1/access/events?after={after}&limit={limit}")).await
    }

    /// What is known of a machine's ways in.
    pub async fn integrity_get(&self, project: &str, machine: &str) -> Result<MachineIntegrity> {
        self.get(&format!("/api/v1/projects/{project}/machines/{machine}/integrity")).await
    }

    /// Has them checked; done when `tried_at` is another.
    pub async fn integrity_check(&self, project: &str, machine: &str) -> Result<MachineIntegrity> {
        let path = format!("/api/v1/projects/{project}/machines/{machine}/integrity/check");
        self.post(&path, &(), &Conditions::default()).await
    }

    /// Takes the last report for what shall be.
    pub async fn integrity_accept(
        &self,
        project: &str,
        machine: &str,
        body: &IntegrityAccept,
    ) -> Result<MachineIntegrity> {
        let path = format!("/api/v1/projects/{project}/machines/{machine}/integrity/accept");
        self.post(&path, body, &Conditions::default()).await
    }
}
