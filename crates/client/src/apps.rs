//! Calls about apps, of the `delivery` service.

use hafen_base::Result;

use crate::wire::{
    App, AppExec, AppExecuted, AppRollback, AppScale, AppSpec, Build, Deployment, DeploymentCreate, Release,
};
use crate::{Client, Conditions};

impl Client {
    pub async fn app_list(&self, project: &str) -> Result<Vec<App>> {
        self.list_all(&format!("/api/v1/projects/{project}/apps")).await
    }

    pub async fn app_get(&self, project: &str, app: &str) -> Result<App> {
        self.get(&format!("/api/v1/projects/{project}/apps/{app}")).await
    }

    /// Makes an app, or changes what is wanted of it.
    pub async fn app_put(&self, project: &str, app: &str, body: &AppSpec, with: &Conditions) -> Result<App> {
        self.put(&format!("/api/v1/projects/{project}/apps/{app}"), body, with).await
    }

    /// Its processes end; the answer is the app as it goes.
    pub async fn app_delete(&self, project: &str, app: &str, with: &Conditions) -> Result<App> {
        self.delete(&format!("/api/v1/projects/{project}/apps/{app}"), with).await
    }

    /// Newest first.
    pub async fn build_list(&self, project: &str, app: &str) -> Result<Vec<Build>> {
        self.list_all(&format!("/api/v1/projects/{project}/apps/{app}/builds")).await
    }

    pub async fn build_get(&self, project: &str, app: &str, build: &str) -> Result<Build> {
        self.get(&format!("/api/v1/projects/{project}/apps/{app}/builds/{build}")).await
    }

    /// What a build has printed until now.
    pub async fn build_log(&self, project: &str, app: &str, build: &str) -> Result<String> {
        self.text(&format!("/api/v1/projects/{project}/apps/{app}/builds/{build}/log")).await
    }

    /// Newest first.
    pub async fn release_list(&self, project: &str, app: &str) -> Result<Vec<Release>> {
        self.list_all(&format!("/api/v1/projects/{project}/apps/{app}/releases")).await
    }

    /// Newest first.
    pub async fn deployment_list(&self, project: &str, app: &str) -> Result<Vec<Deployment>> {
        self.list_all(&format!("/api/v1/projects/{project}/apps/{app}/deployments")).await
    }

    pub async fn deployment_create(
        &self,
        project: &str,
        app: &str,
        body: &DeploymentCreate,
        with: &Conditions,
    ) -> Result<Deployment> {
        self.post(&format!("/api/v1/projects/{project}/apps/{app}/deployments"), body, with).await
    }

    pub async fn deployment_get(&self, project: &str, app: &str, deployment: &str) -> Result<Deployment> {
        self.get(&format!("/api/v1/projects/{project}/apps/{app}/deployments/{deployment}")).await
    }

    /// What was said last by what a deployment failed of.
    pub async fn deployment_log(&self, project: &str, app: &str, deployment: &str) -> Result<String> {
        self.text(&format!("/api/v1/projects/{project}/apps/{app}/deployments/{deployment}/log")).await
    }

    pub async fn deployment_cancel(
        &self,
        project: &str,
        app: &str,
        deployment: &str,
        with: &Conditions,
    ) -> Result<Deployment> {
        let path = format!("/api/v1/projects/{project}/apps/{app}/deployments/{deployment}/cancel");
        self.post(&path, &serde_json::json!({}), with).await
    }

    /// Goes back to a kept release, without a build.
    pub async fn app_rollback(
        &self,
        project: &str,
        app: &str,
        body: &AppRollback,
        with: &Conditions,
    ) -> Result<Deployment> {
        self.post(&format!("/api/v1/projects/{project}/apps/{app}/rollback"), body, with).await
    }

    pub async fn app_scale(
        &self,
        project: &str,
        app: &str,
        body: &AppScale,
        with: &Conditions,
    ) -> Result<App> {
        self.post(&format!("/api/v1/projects/{project}/apps/{app}/scale"), body, with).await
    }

    pub async fn app_restart(&self, project: &str, app: &str, with: &Conditions) -> Result<Deployment> {
        self.post(&format!("/api/v1/projects/{project}/apps/{app}/restart"), &serde_json::json!({}), with)
            .await
    }

    /// Runs a command where a process of the app is.
    pub async fn app_exec(&self, project: &str, app: &str, body: &AppExec) -> Result<AppExecuted> {
        self.post(&format!("/api/v1/projects/{project}/apps/{app}/exec"), body, &Conditions::default()).await
    }

    /// What its processes say, as it comes; `query` as `lines=100&follow=true`.
    pub async fn app_logs(&self, project: &str, app: &str, query: &str) -> Result<crate::TransportBody> {
        self.follow(&format!("/api/v1/projects/{project}/apps/{app}/logs?{query}")).await
    }

    /// What a build prints until it is over, as it comes.
    pub async fn build_log_follow(
        &self,
        project: &str,
        app: &str,
        build: &str,
    ) -> Result<crate::TransportBody> {
        self.follow(&format!("/api/v1/projects/{project}/apps/{app}/builds/{build}/log?follow=true")).await
    }
}
