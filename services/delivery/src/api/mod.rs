//! Routes of the service, one file per resource; handlers of a few lines.

mod app;
mod deploy_key;
mod git;
mod gunzip;
mod hook;
mod repository;

use hafen_base::{PageLimit, PageToken, Result};
use hafen_client::wire::List;
use serde::Deserialize;
use utoipa::IntoParams;
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

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// Token of the page, as `next_page` gave it.
    page: Option<String>,
    /// 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

impl Paging {
    fn read(&self) -> Result<(String, PageLimit)> {
        Ok((PageToken::decode(self.page.as_deref())?, PageLimit::new(self.limit)?))
    }
}

fn list<T>(page: hafen_base::Page<T>) -> List<T> {
    List { items: page.items, next_page: page.next_page }
}
