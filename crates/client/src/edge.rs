//! Calls of the `edge` service.

use hafen_base::Result;

use crate::wire::{Backend, BackendPut, Certificate, CertificateRenew, EdgeAuthority, Route, RoutePut};
use crate::{Client, Conditions};

/// A host as a segment of a path: a star is the only character of one that is not plain.
fn segment(host: &str) -> String {
    host.replace('*', "%2A")
}

impl Client {
    pub async fn route_list(&self, project: &str) -> Result<Vec<Route>> {
        self.list_all(&format!("/api/v1/projects/{project}/routes")).await
    }

    pub async fn route_get(&self, project: &str, host: &str) -> Result<Route> {
        self.get(&format!("/api/v1/projects/{project}/routes/{}", segment(host))).await
    }

    pub async fn route_put(
        &self,
        project: &str,
        host: &str,
        body: &RoutePut,
        with: &Conditions,
    ) -> Result<Route> {
        self.put(&format!("/api/v1/projects/{project}/routes/{}", segment(host)), body, with).await
    }

    pub async fn route_delete(&self, project: &str, host: &str, with: &Conditions) -> Result<()> {
        self.delete(&format!("/api/v1/projects/{project}/routes/{}", segment(host)), with).await
    }

    pub async fn backend_list(&self, project: &str) -> Result<Vec<Backend>> {
        self.list_all(&format!("/api/v1/projects/{project}/backends")).await
    }

    pub async fn backend_get(&self, project: &str, backend: &str) -> Result<Backend> {
        self.get(&format!("/api/v1/projects/{project}/backends/{backend}")).await
    }

    pub async fn backend_put(
        &self,
        project: &str,
        backend: &str,
        body: &BackendPut,
        with: &Conditions,
    ) -> Result<Backend> {
        self.put(&format!("/api/v1/projects/{project}/backends/{backend}"), body, with).await
    }

    pub async fn backend_delete(&self, project: &str, backend: &str, with: &Conditions) -> Result<()> {
        self.delete(&format!("/api/v1/projects/{project}/backends/{backend}"), with).await
    }

    pub async fn certificate_list(&self, project: &str) -> Result<Vec<Certificate>> {
        self.list_all(&format!("/api/v1/projects/{project}/certificates")).await
    }

    pub async fn certificate_get(&self, project: &str, host: &str) -> Result<Certificate> {
        self.get(&format!("/api/v1/projects/{project}/certificates/{}", segment(host))).await
    }

    /// Asks for a new certificate now; done when its fingerprint is another.
    pub async fn certificate_renew(
        &self,
        project: &str,
        host: &str,
        with: &Conditions,
    ) -> Result<Certificate> {
        let path = format!("/api/v1/projects/{project}/certificates/{}", segment(host));
        self.post(&path, &CertificateRenew {}, with).await
    }

    /// The root of certificates for internal names.
    pub async fn edge_authority(&self) -> Result<EdgeAuthority> {
        self.get("/api/v1/edge/authority").await
    }
}
