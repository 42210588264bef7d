//! What this service needs of the others (machines, delivery, edge, vault): their API, as a trait, so that an apply can be tested against a platform
//! that forgets, fails and dies at will. `hafen_client::Client` is the real one.

use async_trait::async_trait;
use futures::future::{try_join, try_join4};
use hafen_base::{ErrorKind, Result};
use hafen_client::wire::{
    App, AppSpec, BUILD_KEY, BUILD_NETWORK, Backend, BackendPut, Image, ImageCreate, Machine, MachineCreate,
    MachinePatch, MachinePut, Network, NetworkCreate, NetworkPatch, Operation, Project, ProjectPut,
    Publication, PublicationPut, Route, RoutePut,
};
use hafen_client::{Client, Conditions};

use crate::model::Reality;

/// The platform, as seen from here. `key` makes a request act once, however often it is sent.
#[async_trait]
pub trait Platform: Send + Sync + 'static {
    /// None when there is no such project.
    async fn project(&self, project: &str) -> Result<Option<Project>>;
    async fn project_put(&self, project: &str, body: &ProjectPut) -> Result<Project>;
    async fn project_delete(&self, project: &str) -> Result<()>;

    async fn networks(&self, project: &str) -> Result<Vec<Network>>;
    async fn network_create(&self, project: &str, body: &NetworkCreate, key: &str) -> Result<Network>;
    async fn network_patch(&self, project: &str, network: &str, body: &NetworkPatch) -> Result<Network>;
    async fn network_delete(&self, project: &str, network: &str) -> Result<()>;

    async fn images(&self, project: &str) -> Result<Vec<Image>>;
    async fn image(&self, project: &str, image: &str) -> Result<Option<Image>>;
    /// Creates it, or gives it another source.
    async fn image_make(&self, project: &str, body: &ImageCreate, key: &str) -> Result<Image>;
    async fn image_delete(&self, project: &str, image: &str) -> Result<()>;
    async fn operation(&self, operation: &str) -> Result<Operation>;

    async fn machines(&self, project: &str) -> Result<Vec<Machine>>;
    async fn machine(&self, project: &str, machine: &str) -> Result<Option<Machine>>;
    async fn machine_create(&self, project: &str, body: &MachineCreate, key: &str) -> Result<Machine>;
    async fn machine_put(&self, project: &str, machine: &str, body: &MachinePut) -> Result<Machine>;
    async fn machine_patch(&self, project: &str, machine: &str, body: &MachinePatch) -> Result<Machine>;
    async fn machine_start(&self, project: &str, machine: &str) -> Result<Machine>;
    async fn machine_delete(&self, project: &str, machine: &str) -> Result<()>;
    /// The last lines of its serial console.
    async fn serial(&self, project: &str, machine: &str, lines: u32) -> Result<Vec<String>>;

    async fn publications(&self, project: &str) -> Result<Vec<Publication>>;
    async fn publication_put(&self, project: &str, name: &str, body: &PublicationPut) -> Result<Publication>;
    async fn publication_delete(&self, project: &str, name: &str) -> Result<()>;

    /// Names of the project's secrets.
    async fn secrets(&self, project: &str) -> Result<Vec<String>>;

    async fn apps(&self, project: &str) -> Result<Vec<App>>;
    async fn app_put(&self, project: &str, name: &str, body: &AppSpec) -> Result<App>;
    async fn app_delete(&self, project: &str, name: &str) -> Result<()>;

    async fn backends(&self, project: &str) -> Result<Vec<Backend>>;
    async fn backend_put(&self, project: &str, name: &str, body: &BackendPut) -> Result<Backend>;
    async fn backend_delete(&self, project: &str, name: &str) -> Result<()>;

    async fn routes(&self, project: &str) -> Result<Vec<Route>>;
    async fn route_put(&self, project: &str, host: &str, body: &RoutePut) -> Result<Route>;
    async fn route_delete(&self, project: &str, host: &str) -> Result<()>;
}

/// Reads everything there is of a project.
///
/// # Errors
/// As the platform's.
pub async fn read(platform: &dyn Platform, project: &str) -> Result<Reality> {
    let Some(found) = platform.project(project).await? else { return Ok(Reality::default()) };
    let below = try_join4(
        platform.networks(project),
        platform.images(project),
        platform.machines(project),
        platform.publications(project),
    );
    let above = try_join4(
        platform.apps(project),
        platform.backends(project),
        platform.routes(project),
        platform.secrets(project),
    );
    let ((networks, images, machines, publications), (apps, backends, routes, secrets)) =
        try_join(below, above).await?;
    let secrets = secrets.into_iter().collect();
    // What a build needs is there for the time of the build, and nobody's wish.
    let networks = networks.into_iter().filter(|network| network.name != BUILD_NETWORK).collect();
    let machines = machines.into_iter().filter(|machine| !machine.metadata.contains_key(BUILD_KEY)).collect();
    Ok(Reality {
        project: Some(found),
        networks,
        images,
        machines,
        publications,
        apps,
        backends,
        routes,
        secrets,
    })
}

/// What is not there is no failure here.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A platform that runs without the service in question has nothing of its kind.
fn listed<T>(result: Result<Vec<T>>) -> Result<Vec<T>> {
    Ok(found(result)?.unwrap_or_default())
}

#[async_trait]
impl Platform for Client {
    async fn project(&self, project: &str) -> Result<Option<Project>> {
        found(self.project_get(project).await)
    }

    async fn project_put(&self, project: &str, body: &ProjectPut) -> Result<Project> {
        Self::project_put(self, project, body).await
    }

    async fn project_delete(&self, project: &str) -> Result<()> {
        found(Self::project_delete(self, project).await).map(drop)
    }

    async fn networks(&self, project: &str) -> Result<Vec<Network>> {
        self.network_list(project).await
    }

    async fn network_create(&self, project: &str, body: &NetworkCreate, key: &str) -> Result<Network> {
        Self::network_create(self, project, body, &Conditions::key(key)).await
    }

    async fn network_patch(&self, project: &str, network: &str, body: &NetworkPatch) -> Result<Network> {
        Self::network_patch(self, project, network, body).await
    }

    async fn network_delete(&self, project: &str, network: &str) -> Result<()> {
        found(Self::network_delete(self, project, network).await).map(drop)
    }

    async fn images(&self, project: &str) -> Result<Vec<Image>> {
        self.image_list(project).await
    }

    async fn image(&self, project: &str, image: &str) -> Result<Option<Image>> {
        found(self.image_get(project, image).await)
    }

    async fn image_make(&self, project: &str, body: &ImageCreate, key: &str) -> Result<Image> {
        self.image_create(project, body, &Conditions::key(key)).await
    }

    async fn image_delete(&self, project: &str, image: &str) -> Result<()> {
        found(Self::image_delete(self, project, image).await).map(drop)
    }

    async fn operation(&self, operation: &str) -> Result<Operation> {
        self.operation_get(operation).await
    }

    async fn machines(&self, project: &str) -> Result<Vec<Machine>> {
        self.machine_list(project).await
    }

    async fn machine(&self, project: &str, machine: &str) -> Result<Option<Machine>> {
        found(self.machine_get(project, machine).await)
    }

    async fn machine_create(&self, project: &str, body: &MachineCreate, key: &str) -> Result<Machine> {
        Self::machine_create(self, project, body, &Conditions::key(key)).await.map(|created| created.machine)
    }

    async fn machine_put(&self, project: &str, machine: &str, body: &MachinePut) -> Result<Machine> {
        Self::machine_put(self, project, machine, body, &Conditions::default()).await
    }

    async fn machine_patch(&self, project: &str, machine: &str, body: &MachinePatch) -> Result<Machine> {
        Self::machine_patch(self, project, machine, body, &Conditions::default()).await
    }

    async fn machine_start(&self, project: &str, machine: &str) -> Result<Machine> {
        // No key: to start a started machine does nothing.
        self.machine_action(project, machine, "start", &Conditions::default()).await
    }

    async fn machine_delete(&self, project: &str, machine: &str) -> Result<()> {
        found(Self::machine_delete(self, project, machine, &Conditions::default()).await).map(drop)
    }

    async fn serial(&self, project: &str, machine: &str, lines: u32) -> Result<Vec<String>> {
        self.machine_serial(project, machine, lines).await.map(|log| log.lines)
    }

    async fn publications(&self, project: &str) -> Result<Vec<Publication>> {
        self.publication_list(project).await
    }

    async fn publication_put(&self, project: &str, name: &str, body: &PublicationPut) -> Result<Publication> {
        Self::publication_put(self, project, name, body).await
    }

    async fn publication_delete(&self, project: &str, name: &str) -> Result<()> {
        found(Self::publication_delete(self, project, name).await).map(drop)
    }

    async fn secrets(&self, project: &str) -> Result<Vec<String>> {
        let secrets = listed(self.secret_list(project).await)?;
        Ok(secrets.into_iter().map(|secret| secret.name).collect())
    }

    async fn apps(&self, project: &str) -> Result<Vec<App>> {
        listed(self.app_list(project).await)
    }

    async fn app_put(&self, project: &str, name: &str, body: &AppSpec) -> Result<App> {
        Self::app_put(self, project, name, body, &Conditions::default()).await
    }

    async fn app_delete(&self, project: &str, name: &str) -> Result<()> {
        found(Self::app_delete(self, project, name, &Conditions::default()).await).map(drop)
    }

    async fn backends(&self, project: &str) -> Result<Vec<Backend>> {
        listed(self.backend_list(project).await)
    }

    async fn backend_put(&self, project: &str, name: &str, body: &BackendPut) -> Result<Backend> {
        Self::backend_put(self, project, name, body, &Conditions::default()).await
    }

    async fn backend_delete(&self, project: &str, name: &str) -> Result<()> {
        found(Self::backend_delete(self, project, name, &Conditions::default()).await).map(drop)
    }

    async fn routes(&self, project: &str) -> Result<Vec<Route>> {
        listed(self.route_list(project).await)
    }

    async fn route_put(&self, project: &str, host: &str, body: &RoutePut) -> Result<Route> {
        Self::route_put(self, project, host, body, &Conditions::default()).await
    }

    async fn route_delete(&self, project: &str, host: &str) -> Result<()> {
        found(Self::route_delete(self, project, host, &Conditions::default()).await).map(drop)
    }
}
