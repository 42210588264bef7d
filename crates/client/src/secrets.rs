//! Calls of the `vault` service.

use hafen_base::Result;

use crate::wire::{SecretCreate, SecretInfo, SecretRead, SecretValue, SecretVersionCreate};
use crate::{Client, Conditions};

impl Client {
    pub async fn secret_list(&self, project: &str) -> Result<Vec<SecretInfo>> {
        self.list_all(&format!("/api/v1/projects/{project}/secrets")).await
    }

    pub async fn secret_get(&self, project: &str, secret: &str) -> Result<SecretInfo> {
        self.get(&format!("/api/v1/projects/{project}/secrets/{secret}")).await
    }

    pub async fn secret_create(
        &self,
        project: &str,
        body: &SecretCreate,
        with: &Conditions,
    ) -> Result<SecretInfo> {
        self.post(&format!("/api/v1/projects/{project}/secrets"), body, with).await
    }

    /// A new version, which is the current one from now on.
    pub async fn secret_version_create(
        &self,
        project: &str,
        secret: &str,
        body: &SecretVersionCreate,
        with: &Conditions,
    ) -> Result<SecretInfo> {
        self.post(&format!("/api/v1/projects/{project}/secrets/{secret}/versions"), body, with).await
    }

    /// Destroys the value of a version that is not the current one.
    pub async fn secret_version_destroy(
        &self,
        project: &str,
        secret: &str,
        version: i64,
        with: &Conditions,
    ) -> Result<SecretInfo> {
        self.delete(&format!("/api/v1/projects/{project}/secrets/{secret}/versions/{version}"), with).await
    }

    /// Gives the value out, which the ledger says with this reason: the current version unless one is named.
    pub async fn secret_read(
        &self,
        project: &str,
        secret: &str,
        version: Option<i64>,
        reason: &str,
    ) -> Result<SecretValue> {
        let body = SecretRead { version, reason: reason.to_owned() };
        let path = format!("/api/v1/projects/{project}/secrets/{secret}/read");
        self.post(&path, &body, &Conditions::default()).await
    }

    /// Destroys every version, and the name is free again.
    pub async fn secret_delete(&self, project: &str, secret: &str, with: &Conditions) -> Result<()> {
        self.delete(&format!("/api/v1/projects/{project}/secrets/{secret}"), with).await
    }
}
