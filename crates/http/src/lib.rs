//! The server kit: authentication, problem answers, checked input, ETags, idempotency keys, event streams, OpenAPI.
//!
//! A service describes its routes with `utoipa-axum`'s `OpenApiRouter`; `finish` wraps the merged router in the layers
//! that every answer passes: a request id, the bearer check, and problems rendered in one place.

mod auth;
mod calls;
mod docs;
mod extract;
mod lines;
mod paging;
mod permitted;
mod problem;
pub mod site;
mod sse;
mod tags;

pub use auth::{Access, Admitted, Asked, Gate, Peer, Shown};
pub use calls::{Call, CallLog, CallOutcome};
pub use docs::docs_page;
pub use extract::{Json, JsonBytes, Path, Query};
pub use hafen_base::Permitted;
pub use lines::{LineListener, Lines};
pub use paging::{Paging, list_of};
pub use permitted::{Permits, Roles, Sees, StillPermitted};
pub use problem::{ApiError, ApiResult, Verbatim};
pub use site::Site;
pub use sse::{EventWriter, event_stream, event_writer};
pub use tags::{IfMatch, LeaseNonce, RepeatKey, Tagged, etag};

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::request::Parts;

/// Largest request body, unless a route says otherwise.
pub const BODY_LIMIT: usize = 2 << 20;

/// What stands before an API.
#[derive(Clone)]
pub struct Edge {
    pub gate: Arc<dyn Gate>,
    /// Keeps the record of calls from outside that change something; nobody does where there is none.
    pub calls: Option<Arc<dyn CallLog>>,
    /// Paths answered to anybody.
    pub open: &'static [&'static str],
    /// Where browsers find it: sessions in cookies count. Nowhere, where there is none.
    pub site: Option<Site>,
    /// Answers anybody before all else, or leaves a request to the rest: for pages and what they are made of.
    pub front: Option<Front>,
}

/// What stands before the gate.
pub type Front = Arc<dyn Fn(&Parts) -> Option<Response> + Send + Sync>;

/// Puts the layers around a whole API: the outermost first. Without a record of calls.
pub fn finish(router: Router, access: Access, open: &'static [&'static str]) -> Router {
    finish_behind(router, Edge { gate: Arc::new(access), calls: None, open, site: None, front: None })
}

/// As `finish`, behind an edge that decides for itself.
pub fn finish_behind(router: Router, edge: Edge) -> Router {
    let front = edge.front.clone();
    let router = router
        .fallback(|| async { ApiError::from(hafen_base::Error::not_found("such path; see /api/docs")) })
        .layer(middleware::from_fn(move |request, next| auth::check(edge.clone(), request, next)));
    problems(match front {
        Some(front) => {
            router.layer(middleware::from_fn(move |request, next| ahead(front.clone(), request, next)))
        }
        None => router,
    })
}

async fn ahead(front: Front, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match front(&parts) {
        Some(answer) => answer,
        None => next.run(Request::from_parts(parts, body)).await,
    }
}

/// The layers of every answer without a check of who asks: for those who bring their own.
pub fn problems(router: Router) -> Router {
    router.layer(DefaultBodyLimit::max(BODY_LIMIT)).layer(middleware::from_fn(problem::render))
}
