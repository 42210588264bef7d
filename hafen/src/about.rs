//! What the platform says of itself: its status, its health and its own document.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{Html, IntoResponse};
use hafen_base::{Clock as _, Error, Result, SystemClock, Timestamp};
use hafen_client::wire::{Alive, Problem, Status};
use hafen_http::Json;
use hafen_machines::engine::Engine;
use hafen_work::Health;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Cheap to clone.
#[derive(Clone)]
pub struct About(Arc<Parts>);

struct Parts {
    health: Health,
    url: String,
    engine: Arc<dyn Engine>,
    engine_detail: String,
    started_at: Timestamp,
    /// Known once all routes are.
    document: OnceLock<Text>,
}

struct Text {
    json: String,
    page: String,
}

impl About {
    pub async fn new(health: Health, url: String, engine: Arc<dyn Engine>) -> Self {
        let engine_detail = engine.info().await.detail;
        let started_at = SystemClock.now();
        Self(Arc::new(Parts { health, url, engine, engine_detail, started_at, document: OnceLock::new() }))
    }

    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(status))
            .routes(routes!(openapi))
            .routes(routes!(docs))
            .routes(routes!(health))
            .with_state(self.clone())
    }

    /// Gives out `document` from now on.
    ///
    /// # Errors
    /// Internal when it is not JSON.
    pub fn publish(&self, document: &OpenApi) -> Result<()> {
        let value = serde_json::to_value(document).map_err(Error::internal)?;
        let text = Text { json: value.to_string(), page: hafen_http::docs_page(&value) };
        self.0.document.set(text).map_err(|_| Error::internal("the document was published before"))
    }

    fn word(&self) -> &'static str {
        if self.0.health.is_ok() { "ok" } else { "degraded" }
    }
}

/// Show the platform: its address, its engine, the health of each service.
#[utoipa::path(get, path = "/api/v1/status", tag = "platform", operation_id = "status_get",
    responses(
        (status = 200, description = "As it is", body = Status),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn status(State(about): State<About>) -> Json<Status> {
    let parts = &about.0;
    Json(Status {
        url: parts.url.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        engine: parts.engine.name().into(),
        engine_detail: parts.engine_detail.clone(),
        status: about.word().into(),
        services: parts.health.all(),
        pid: std::process::id(),
        started_at: parts.started_at,
    })
}

/// Say whether the platform is well, and no more: for load balancers and monitors, without a token.
#[utoipa::path(get, path = "/health", tag = "platform", operation_id = "health_get",
    responses(
        (status = 200, description = "It answers", body = Alive),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn health(State(about): State<About>) -> Json<Alive> {
    Json(Alive { status: about.word().into() })
}

/// Show this document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "platform", operation_id = "document_get",
    responses(
        (status = 200, description = "OpenAPI 3.1", body = Object),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn openapi(State(about): State<About>) -> impl IntoResponse {
    let json = about.0.document.get().map(|text| text.json.clone()).unwrap_or_default();
    ([("content-type", "application/json")], json)
}

/// Show this document as a page for people.
#[utoipa::path(get, path = "/api/docs", tag = "platform", operation_id = "docs_get",
    responses(
        (status = 200, description = "A page", body = String, content_type = "text/html"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn docs(State(about): State<About>) -> Html<String> {
    Html(about.0.document.get().map(|text| text.page.clone()).unwrap_or_default())
}
