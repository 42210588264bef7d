//! The server kit: authentication, problem answers, checked input, ETags, idempotency keys, event streams, OpenAPI.
//!
//! A service describes its routes with `utoipa-axum`'s `OpenApiRouter`; `finish` wraps the merged router in the layers
//! that every answer passes: a request id, the bearer check, and problems rendered in one place.

mod auth;
mod calls;
mod docs;
mod extract;
mod problem;
mod sse;
mod tags;

pub use auth::{Access, Peer};
pub use calls::{Call, CallLog, CallOutcome};
pub use docs::docs_page;
pub use extract::{Json, JsonBytes, Path, Query};
pub use problem::{ApiError, ApiResult};
pub use sse::event_stream;
pub use tags::{IfMatch, LeaseNonce, RepeatKey, Tagged, etag};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;

/// Largest request body, unless a route says otherwise.
pub const BODY_LIMIT: usize = 2 << 20;

/// Puts the layers around a whole API: the outermost first. `open` are the paths answered without a token.
pub fn finish(router: Router, access: Access, open: &'static [&'static str]) -> Router {
    router
        .fallback(|| async { ApiError::from(hafen_base::Error::not_found("such path; see /api/docs")) })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(move |request, next| auth::check(access.clone(), open, request, next)))
        .layer(middleware::from_fn(problem::render))
}
