//! Calls of the `delivery` service on repositories and hooks.

use hafen_base::Result;

use crate::wire::{
    DeployKey, DeployKeyCreate, GitCommit, GitReference, Hook, HookCreate, HookCreated, HookDelivery, List,
    Repository, RepositoryCreate, RepositoryPut,
};
use crate::{Client, Conditions};

fn at(project: &str) -> String {
    format!("/api/v1/projects/{project}/repositories")
}

impl Client {
    pub async fn repository_list(&self, project: &str) -> Result<Vec<Repository>> {
        self.list_all(&at(project)).await
    }

    pub async fn repository_create(
        &self,
        project: &str,
        body: &RepositoryCreate,
        with: &Conditions,
    ) -> Result<Repository> {
        self.post(&at(project), body, with).await
    }

    pub async fn repository_get(&self, project: &str, repository: &str) -> Result<Repository> {
        self.get(&format!("{}/{repository}", at(project))).await
    }

    pub async fn repository_put(
        &self,
        project: &str,
        repository: &str,
        body: &RepositoryPut,
        with: &Conditions,
    ) -> Result<Repository> {
        self.put(&format!("{}/{repository}", at(project)), body, with).await
    }

    /// With all that was pushed to it.
    pub async fn repository_delete(&self, project: &str, repository: &str, with: &Conditions) -> Result<()> {
        self.delete(&format!("{}/{repository}", at(project)), with).await
    }

    pub async fn reference_list(&self, project: &str, repository: &str) -> Result<Vec<GitReference>> {
        self.list_all(&format!("{}/{repository}/references", at(project))).await
    }

    /// The newest commits of a branch, a tag or a commit; the default branch's where none is named. `reference` stands in the
    /// query as it is.
    pub async fn commit_list(
        &self,
        project: &str,
        repository: &str,
        reference: Option<&str>,
        limit: u32,
    ) -> Result<List<GitCommit>> {
        let reference = reference.map(|name| format!("&ref={name}")).unwrap_or_default();
        self.get(&format!("{}/{repository}/commits?limit={limit}{reference}", at(project))).await
    }

    pub async fn deploy_key_list(&self, project: &str, repository: &str) -> Result<Vec<DeployKey>> {
        self.list_all(&format!("{}/{repository}/deploy-keys", at(project))).await
    }

    pub async fn deploy_key_create(
        &self,
        project: &str,
        repository: &str,
        body: &DeployKeyCreate,
        with: &Conditions,
    ) -> Result<DeployKey> {
        self.post(&format!("{}/{repository}/deploy-keys", at(project)), body, with).await
    }

    pub async fn deploy_key_delete(&self, project: &str, repository: &str, key: &str) -> Result<()> {
        let path = format!("{}/{repository}/deploy-keys/{key}", at(project));
        self.delete(&path, &Conditions::default()).await
    }

    pub async fn hook_list(&self, project: &str) -> Result<Vec<Hook>> {
        self.list_all(&format!("/api/v1/projects/{project}/hooks")).await
    }

    pub async fn hook_create(
        &self,
        project: &str,
        body: &HookCreate,
        with: &Conditions,
    ) -> Result<HookCreated> {
        self.post(&format!("/api/v1/projects/{project}/hooks"), body, with).await
    }

    pub async fn hook_get(&self, project: &str, hook: &str) -> Result<Hook> {
        self.get(&format!("/api/v1/projects/{project}/hooks/{hook}")).await
    }

    pub async fn hook_delete(&self, project: &str, hook: &str) -> Result<()> {
        self.delete(&format!("/api/v1/projects/{project}/hooks/{hook}"), &Conditions::default()).await
    }

    /// What it was called with lately, newest first.
    pub async fn hook_delivery_list(&self, project: &str, hook: &str) -> Result<Vec<HookDelivery>> {
        self.list_all(&format!("/api/v1/projects/{project}/hooks/{hook}/deliveries")).await
    }
}
