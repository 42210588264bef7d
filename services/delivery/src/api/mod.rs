//! Routes of the service, one file per resource; handlers of a few lines.

mod app;
mod deploy_key;
mod git;
mod gunzip;
mod hook;
mod repository;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Delivery;

/// Routes that are answered without a credential of the API: hooks bring their own.
pub const OPEN: &[&str] = &["/hooks/{hook}"];

impl Delivery {
    /// The routes, to be merged with those of the other services.
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(repository::repository_list, repository::repository_create))
            .routes(routes!(
                repository::repository_get,
                repository::repository_put,
                repository::repository_delete
            ))
            .routes(routes!(repository::commit_list))
            .routes(routes!(repository::reference_list))
            .routes(routes!(deploy_key::deploy_key_list, deploy_key::deploy_key_create))
            .routes(routes!(deploy_key::deploy_key_delete))
            .routes(routes!(hook::hook_list, hook::hook_create))
            .routes(routes!(hook::hook_get, hook::hook_delete))
            .routes(routes!(hook::hook_delivery_list))
            .merge(hook::open_routes())
            .merge(git::routes())
            .with_state(self.clone())
    }
}
