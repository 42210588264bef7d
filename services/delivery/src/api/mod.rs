//! Routes of the service, one file per resource; handlers of a few lines.

mod app;

use utoipa_axum::router::OpenApiRouter;

use crate::Delivery;

impl Delivery {
    /// The routes, to be merged with those of the other services.
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new().with_state(self.clone())
    }
}
