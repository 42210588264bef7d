//! Routes of the service, one file per resource; handlers of a few lines that hand over to `app`.
//!
//! Every answer stands in the OpenAPI document, errors as `default`: they are all the same problem document.

mod event;
mod image;
mod machine;
mod network;
mod operation;
mod project;
mod publication;
mod snapshot;
mod ssh;
mod stream;

use std::time::Duration;

use hafen_base::{Error, PageLimit, PageToken, Result};
use hafen_client::wire::List;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Machines;

/// All routes, with their part of the OpenAPI document.
pub fn router(machines: Machines) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(project::list))
        .routes(routes!(project::get, project::put, project::delete))
        .routes(routes!(network::list, network::create))
        .routes(routes!(network::get, network::patch, network::delete))
        .routes(routes!(image::list, image::create))
        .routes(routes!(image::get, image::delete))
        .routes(routes!(image::verify))
        .routes(routes!(image::gc))
        .routes(routes!(machine::list, machine::create))
        .routes(routes!(machine::get, machine::put, machine::patch, machine::delete))
        .routes(routes!(machine::start))
        .routes(routes!(machine::stop))
        .routes(routes!(machine::restart))
        .routes(routes!(machine::rebuild))
        .routes(routes!(machine::resize))
        .routes(routes!(machine::instances))
        .routes(routes!(machine::wait))
        .routes(routes!(machine::lease_take, machine::lease_release))
        .routes(routes!(machine::serial))
        .routes(routes!(stream::dial))
        .routes(routes!(stream::console))
        .routes(routes!(snapshot::list, snapshot::create))
        .routes(routes!(snapshot::delete))
        .routes(routes!(snapshot::restore))
        .routes(routes!(publication::list))
        .routes(routes!(publication::get, publication::put, publication::delete))
        .routes(routes!(ssh::create))
        .routes(routes!(operation::list))
        .routes(routes!(operation::get))
        .routes(routes!(operation::wait))
        .routes(routes!(operation::cancel))
        .routes(routes!(event::list))
        .with_state(machines)
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// Items a page.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_page` of the page before.
    page: Option<String>,
}

impl Paging {
    pub(crate) fn read(&self) -> Result<(String, PageLimit)> {
        Ok((PageToken::decode(self.page.as_deref())?, PageLimit::new(self.limit)?))
    }
}

pub(crate) fn list_of<T>(page: hafen_base::Page<T>) -> List<T> {
    List { items: page.items, next_page: page.next_page }
}

/// A wait lasts 1 to 60 seconds.
pub(crate) fn wait_time(seconds: Option<u64>) -> Result<Duration> {
    match seconds.unwrap_or(60) {
        seconds @ 1..=60 => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::invalid_field("/timeout", "a wait lasts 1 to 60 seconds; wait again for longer")),
    }
}
