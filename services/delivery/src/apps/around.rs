//! What this part needs of its neighbours, as traits: who sends requests to processes, where secrets and sources come from.
//! The API client is the real one of the first two.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use async_trait::async_trait;
use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::{
    AppHealth, AppSource, BackendHealth, BackendPut, EndpointPut, EndpointState, RoutePut,
};
use hafen_client::{Client, Conditions};
use zeroize::Zeroizing;

/// One process, for the balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: String,
    pub machine: String,
    pub port: u16,
    /// It gets no new requests.
    pub draining: bool,
}

/// What the balancer knows of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balanced {
    pub in_flight: u64,
    /// Whether it sends requests there.
    pub accepted: bool,
}

/// Sends requests to the processes of an app, which is a backend of the same name.
#[async_trait]
pub trait Balancer: Send + Sync + 'static {
    /// These and no others. A lower generation than the last is refused.
    async fn put(
        &self,
        project: &str,
        backend: &str,
        generation: i64,
        health: Option<&AppHealth>,
        endpoints: &[Endpoint],
    ) -> Result<()>;

    /// By id; none when there is no balancer.
    async fn look(&self, project: &str, backend: &str) -> Result<Option<BTreeMap<String, Balanced>>>;

    async fn delete(&self, project: &str, backend: &str) -> Result<()>;

    /// A host of its own for a backend.
    async fn route(&self, project: &str, host: &str, backend: &str) -> Result<()>;

    async fn route_delete(&self, project: &str, host: &str) -> Result<()>;
}

/// What is not there is no failure.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Balancer for Client {
    async fn put(
        &self,
        project: &str,
        backend: &str,
        generation: i64,
        health: Option<&AppHealth>,
        endpoints: &[Endpoint],
    ) -> Result<()> {
        let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let body = BackendPut {
            health: health.map(|health| BackendHealth {
                path: health.path.clone(),
                interval_ms: number(health.interval_ms),
                // It was asked as often as it should be before it came here.
                healthy_after: 1,
                unhealthy_after: 3,
                timeout_ms: number(health.timeout_ms).min(60_000),
            }),
            endpoints: endpoints
                .iter()
                .map(|endpoint| EndpointPut {
                    id: endpoint.id.clone(),
                    machine: Some(endpoint.machine.clone()),
                    port: Some(endpoint.port),
                    address: None,
                    state: if endpoint.draining { EndpointState::Draining } else { EndpointState::Active },
                })
                .collect(),
            generation: Some(generation),
        };
        self.backend_put(project, backend, &body, &Conditions::default()).await.map(drop)
    }

    async fn look(&self, project: &str, backend: &str) -> Result<Option<BTreeMap<String, Balanced>>> {
        let Some(seen) = found(self.backend_get(project, backend).await)? else {
            return Ok(Some(BTreeMap::new()));
        };
        let endpoints = seen.endpoints.into_iter().map(|endpoint| {
            let balanced = Balanced {
                in_flight: u64::try_from(endpoint.in_flight).unwrap_or(0),
                accepted: endpoint.healthy && !endpoint.ejected,
            };
            (endpoint.id, balanced)
        });
        Ok(Some(endpoints.collect()))
    }

    async fn delete(&self, project: &str, backend: &str) -> Result<()> {
        found(self.backend_delete(project, backend, &Conditions::default()).await).map(drop)
    }

    async fn route(&self, project: &str, host: &str, backend: &str) -> Result<()> {
        let paths = serde_json::json!({ "paths": { "/": [{ "backend": backend }] } });
        let body: RoutePut = serde_json::from_value(paths).map_err(Error::internal)?;
        self.route_put(project, host, &body, &Conditions::default()).await.map(drop)
    }

    async fn route_delete(&self, project: &str, host: &str) -> Result<()> {
        found(Self::route_delete(self, project, host, &Conditions::default()).await).map(drop)
    }
}

/// A balancer whose machines are simulated: nothing there answers, so it is not asked to ask them.
pub struct Simulated(pub Client);

#[async_trait]
impl Balancer for Simulated {
    async fn put(
        &self,
        project: &str,
        backend: &str,
        generation: i64,
        _health: Option<&AppHealth>,
        endpoints: &[Endpoint],
    ) -> Result<()> {
        Balancer::put(&self.0, project, backend, generation, None, endpoints).await
    }

    async fn look(&self, project: &str, backend: &str) -> Result<Option<BTreeMap<String, Balanced>>> {
        self.0.look(project, backend).await
    }

    async fn delete(&self, project: &str, backend: &str) -> Result<()> {
        Balancer::delete(&self.0, project, backend).await
    }

    async fn route(&self, project: &str, host: &str, backend: &str) -> Result<()> {
        self.0.route(project, host, backend).await
    }

    async fn route_delete(&self, project: &str, host: &str) -> Result<()> {
        Balancer::route_delete(&self.0, project, host).await
    }
}

/// Gives out secrets; each is written down with the reason.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// The current version unless one is named.
    ///
    /// # Errors
    /// Not found; conflict when that version is destroyed.
    async fn read(
        &self,
        project: &str,
        secret: &str,
        version: Option<i64>,
        reason: &str,
    ) -> Result<Zeroizing<Vec<u8>>>;

    /// Which version is the current one.
    ///
    /// # Errors
    /// Not found.
    async fn version(&self, project: &str, secret: &str) -> Result<i64>;
}

#[async_trait]
impl Vault for Client {
    async fn read(
        &self,
        project: &str,
        secret: &str,
        version: Option<i64>,
        reason: &str,
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.secret_read(project, secret, version, reason).await?.bytes()
    }

    async fn version(&self, project: &str, secret: &str) -> Result<i64> {
        Ok(self.secret_get(project, secret).await?.current)
    }
}

/// A source, and the app whose it is.
#[derive(Debug, Clone, Copy)]
pub struct SourceOf<'a> {
    pub project: &'a str,
    pub app: &'a str,
    pub source: &'a AppSource,
}

/// Where sources lie.
#[async_trait]
pub trait Sources: Send + Sync + 'static {
    /// The commit that a branch, a tag or (when absent) the app's own branch is at.
    ///
    /// # Errors
    /// Not found when there is none; too large when the source is beyond what is taken here; conflict when its token cannot be
    /// one, invalid when the source refuses it.
    async fn resolve(&self, of: SourceOf<'_>, reference: Option<&str>) -> Result<String>;

    /// The files of a commit, as a tar archive in a file of this folder without a name, and the commit's time in seconds.
    ///
    /// # Errors
    /// Not found when there is no such commit; too large when it, or the source, is beyond what is taken here.
    async fn archive(&self, of: SourceOf<'_>, commit: &str, spool: &Path) -> Result<(File, i64)>;

    /// Lets go of what is remembered of sources from elsewhere but these, each with its project; it would be fetched again.
    ///
    /// # Errors
    /// Unavailable.
    async fn keep(&self, used: &[(String, AppSource)]) -> Result<()>;
}
