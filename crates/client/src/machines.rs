//! Calls of the `machines` service.

use std::time::Duration;

use hafen_base::Result;

use crate::wire::{
    Event, Image, ImageCreate, ImageGc, ImageGcReport, List, Machine, MachineCreate, MachineCreated,
    MachinePatch, MachinePut, MachineResize, Network, NetworkCreate, NetworkPatch, Operation, Project,
    ProjectPut, Publication, PublicationPut, SerialLog, Snapshot, SnapshotCreate, SshCertificate,
    SshCertificateCreate, Status,
};
use crate::{ByteStream, Client, Conditions};

impl Client {
    pub async fn status(&self) -> Result<Status> {
        self.get("/api/v1/status").await
    }

    pub async fn project_put(&self, project: &str, body: &ProjectPut) -> Result<Project> {
        self.put(&format!("/api/v1/projects/{project}"), body, &Conditions::default()).await
    }

    pub async fn project_get(&self, project: &str) -> Result<Project> {
        self.get(&format!("/api/v1/projects/{project}")).await
    }

    pub async fn project_list(&self) -> Result<Vec<Project>> {
        self.list_all("/api/v1/projects").await
    }

    pub async fn project_delete(&self, project: &str) -> Result<()> {
        self.delete(&format!("/api/v1/projects/{project}"), &Conditions::default()).await
    }

    pub async fn network_list(&self, project: &str) -> Result<Vec<Network>> {
        self.list_all(&format!("/api/v1/projects/{project}/networks")).await
    }

    pub async fn network_get(&self, project: &str, network: &str) -> Result<Network> {
        self.get(&format!("/api/v1/projects/{project}/networks/{network}")).await
    }

    pub async fn network_create(
        &self,
        project: &str,
        body: &NetworkCreate,
        with: &Conditions,
    ) -> Result<Network> {
        self.post(&format!("/api/v1/projects/{project}/networks"), body, with).await
    }

    pub async fn network_patch(&self, project: &str, network: &str, body: &NetworkPatch) -> Result<Network> {
        self.patch(&format!("/api/v1/projects/{project}/networks/{network}"), body, &Conditions::default())
            .await
    }

    pub async fn network_delete(&self, project: &str, network: &str) -> Result<Network> {
        self.delete(&format!("/api/v1/projects/{project}/networks/{network}"), &Conditions::default()).await
    }

    pub async fn publication_list(&self, project: &str) -> Result<Vec<Publication>> {
        self.list_all(&format!("/api/v1/projects/{project}/publications")).await
    }

    pub async fn publication_put(
        &self,
        project: &str,
        name: &str,
        body: &PublicationPut,
    ) -> Result<Publication> {
        self.put(&format!("/api/v1/projects/{project}/publications/{name}"), body, &Conditions::default())
            .await
    }

    pub async fn publication_delete(&self, project: &str, name: &str) -> Result<Publication> {
        self.delete(&format!("/api/v1/projects/{project}/publications/{name}"), &Conditions::default()).await
    }

    pub async fn image_list(&self, project: &str) -> Result<Vec<Image>> {
        self.list_all(&format!("/api/v1/projects/{project}/images")).await
    }

    pub async fn image_get(&self, project: &str, image: &str) -> Result<Image> {
        self.get(&format!("/api/v1/projects/{project}/images/{image}")).await
    }

    /// Creates the image, or gives it a new source when one of that name exists.
    pub async fn image_create(&self, project: &str, body: &ImageCreate, with: &Conditions) -> Result<Image> {
        self.post(&format!("/api/v1/projects/{project}/images"), body, with).await
    }

    pub async fn image_delete(&self, project: &str, image: &str) -> Result<Image> {
        self.delete(&format!("/api/v1/projects/{project}/images/{image}"), &Conditions::default()).await
    }

    /// Rebuilds from the lock and compares; the operation fails when a bit differs.
    pub async fn image_verify(&self, project: &str, image: &str, with: &Conditions) -> Result<Operation> {
        self.post(&format!("/api/v1/projects/{project}/images/{image}/verify"), &serde_json::json!({}), with)
            .await
    }

    pub async fn image_gc(&self, body: &ImageGc) -> Result<ImageGcReport> {
        self.post("/api/v1/images/gc", body, &Conditions::default()).await
    }

    pub async fn machine_list(&self, project: &str) -> Result<Vec<Machine>> {
        self.list_all(&format!("/api/v1/projects/{project}/machines")).await
    }

    pub async fn machine_get(&self, project: &str, machine: &str) -> Result<Machine> {
        self.get(&format!("/api/v1/projects/{project}/machines/{machine}")).await
    }

    pub async fn machine_create(
        &self,
        project: &str,
        body: &MachineCreate,
        with: &Conditions,
    ) -> Result<MachineCreated> {
        self.post(&format!("/api/v1/projects/{project}/machines"), body, with).await
    }

    pub async fn machine_put(
        &self,
        project: &str,
        machine: &str,
        body: &MachinePut,
        with: &Conditions,
    ) -> Result<Machine> {
        self.put(&format!("/api/v1/projects/{project}/machines/{machine}"), body, with).await
    }

    pub async fn machine_patch(
        &self,
        project: &str,
        machine: &str,
        body: &MachinePatch,
        with: &Conditions,
    ) -> Result<Machine> {
        self.patch(&format!("/api/v1/projects/{project}/machines/{machine}"), body, with).await
    }

    /// `action`: `start`, `stop`, `restart`, `rebuild`.
    pub async fn machine_action(
        &self,
        project: &str,
        machine: &str,
        action: &str,
        with: &Conditions,
    ) -> Result<Machine> {
        let path = format!("/api/v1/projects/{project}/machines/{machine}/{action}");
        self.post(&path, &serde_json::json!({}), with).await
    }

    pub async fn machine_resize(
        &self,
        project: &str,
        machine: &str,
        body: &MachineResize,
        with: &Conditions,
    ) -> Result<Machine> {
        self.post(&format!("/api/v1/projects/{project}/machines/{machine}/resize"), body, with).await
    }

    pub async fn machine_delete(&self, project: &str, machine: &str, with: &Conditions) -> Result<Machine> {
        self.delete(&format!("/api/v1/projects/{project}/machines/{machine}"), with).await
    }

    /// Waits until the machine is `started`, `stopped`, `healthy`, `destroyed` or `settled`. Returns early with a conflict
    /// when it failed, with a timeout after `timeout` (at most 60 s a call).
    pub async fn machine_wait(
        &self,
        project: &str,
        machine: &str,
        wanted: &str,
        timeout: Duration,
    ) -> Result<Machine> {
        let timeout = timeout.as_secs().clamp(1, 60);
        self.get(&format!(
            "/api/v1/projects/{project}/machines/{machine}/wait?for={wanted}&timeout={timeout}"
        ))
        .await
    }

    pub async fn machine_serial(&self, project: &str, machine: &str, lines: u32) -> Result<SerialLog> {
        self.get(&format!("/api/v1/projects/{project}/machines/{machine}/serial?lines={lines}")).await
    }

    /// A connection to a TCP port of the machine, from inside its network.
    pub async fn machine_dial(&self, project: &str, machine: &str, port: u16) -> Result<ByteStream> {
        self.stream(&format!("/api/v1/projects/{project}/machines/{machine}/dial?port={port}")).await
    }

    /// The machine's serial console.
    pub async fn machine_console(&self, project: &str, machine: &str) -> Result<ByteStream> {
        self.stream(&format!("/api/v1/projects/{project}/machines/{machine}/console")).await
    }

    pub async fn snapshot_list(&self, project: &str, machine: &str) -> Result<Vec<Snapshot>> {
        self.list_all(&format!("/api/v1/projects/{project}/machines/{machine}/snapshots")).await
    }

    pub async fn snapshot_create(
        &self,
        project: &str,
        machine: &str,
        body: &SnapshotCreate,
        with: &Conditions,
    ) -> Result<Operation> {
        self.post(&format!("/api/v1/projects/{project}/machines/{machine}/snapshots"), body, with).await
    }

    pub async fn snapshot_restore(
        &self,
        project: &str,
        machine: &str,
        snapshot: &str,
        with: &Conditions,
    ) -> Result<Operation> {
        let path = format!("/api/v1/projects/{project}/machines/{machine}/snapshots/{snapshot}/restore");
        self.post(&path, &serde_json::json!({}), with).await
    }

    pub async fn ssh_certificate(
        &self,
        project: &str,
        body: &SshCertificateCreate,
    ) -> Result<SshCertificate> {
        self.post(&format!("/api/v1/projects/{project}/ssh-certificates"), body, &Conditions::default()).await
    }

    pub async fn operation_list(&self) -> Result<Vec<Operation>> {
        self.list_all("/api/v1/operations").await
    }

    pub async fn operation_get(&self, operation: &str) -> Result<Operation> {
        self.get(&format!("/api/v1/operations/{operation}")).await
    }

    /// Waits until the operation ended; a timeout after `timeout` (at most 60 s a call).
    pub async fn operation_wait(&self, operation: &str, timeout: Duration) -> Result<Operation> {
        let timeout = timeout.as_secs().clamp(1, 60);
        self.get(&format!("/api/v1/operations/{operation}/wait?timeout={timeout}")).await
    }

    pub async fn operation_cancel(&self, operation: &str) -> Result<Operation> {
        let path = format!("/api/v1/operations/{operation}/cancel");
        self.post(&path, &serde_json::json!({}), &Conditions::default()).await
    }

    /// Events after position `after`, oldest first.
    pub async fn event_list(&self, after: i64, limit: u32) -> Result<List<Event>> {
        self.get(&format!("/api/v1/events?after={after}&limit={limit}")).await
    }
}
