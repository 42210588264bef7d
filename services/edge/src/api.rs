//! The HTTP API of the edge: handlers of a few lines, and their description.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_base::Permitted;
use hafen_client::wire::{
    Backend, BackendPut, Certificate, CertificateRenew, EdgeAuthority, List, Problem, Route, RoutePut,
};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, Paging, Path, Query, RepeatKey, Tagged, list_of};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Edge;

impl Edge {
    /// The routes, to be merged with those of the other services.
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(route_list))
            .routes(routes!(route_get, route_put, route_delete))
            .routes(routes!(backend_list))
            .routes(routes!(backend_get, backend_put, backend_delete))
            .routes(routes!(certificate_list))
            .routes(routes!(certificate_get, certificate_renew))
            .routes(routes!(authority_get))
            .with_state(self.clone())
    }
}

fn put_answer<T: serde::Serialize>(generation: i64, body: T, new: bool) -> Response {
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    (status, Tagged(generation, Json(body))).into_response()
}

/// Lists the routes of a project by host.
#[utoipa::path(get, path = "/api/v1/projects/{project}/routes", tag = "edge", operation_id = "route_list",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of routes", body = List<Route>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn route_list(
    State(edge): State<Edge>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Route>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(edge.route_list(&project, &after, limit).await?)))
}

/// Shows what a host leads to.
#[utoipa::path(get, path = "/api/v1/projects/{project}/routes/{host}", tag = "edge", operation_id = "route_get",
    params(("project" = String, Path), ("host" = String, Path)), responses(
    (status = 200, description = "The route", body = Route, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn route_get(
    State(edge): State<Edge>,
    Path((project, host)): Path<(String, String)>,
) -> ApiResult<Tagged<Json<Route>>> {
    let route = edge.route_get(&project, &host).await?;
    Ok(Tagged(route.generation, Json(route)))
}

/// Says what a host leads to. It is so when the answer comes; no connection is dropped. Its certificate is asked for.
#[utoipa::path(put, path = "/api/v1/projects/{project}/routes/{host}", tag = "edge", operation_id = "route_put",
    params(("project" = String, Path), ("host" = String, Path, description = "Name in lower case, or *.NAME", max_length = 253,
        pattern = "^(\\*\\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")),
    request_body = RoutePut, responses(
    (status = 200, description = "It was there; changed", body = Route, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = 201, description = "Created", body = Route, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn route_put(
    State(edge): State<Edge>,
    Path((project, host)): Path<(String, String)>,
    reach: Option<Extension<Permitted>>,
    if_match: IfMatch,
    Json(body): Json<RoutePut>,
) -> ApiResult<Response> {
    let sees = reach.map_or_else(Permitted::nothing, |Extension(permitted)| permitted);
    let check = |generation| if_match.check(generation);
    let (route, new) = edge.route_put(&project, &host, body, &sees, check).await?;
    Ok(put_answer(route.generation, route, new))
}

/// Takes a host back; its key is forgotten.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/routes/{host}", tag = "edge", operation_id = "route_delete",
    params(("project" = String, Path), ("host" = String, Path),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")), responses(
    (status = 204, description = "It leads nowhere any more"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn route_delete(
    State(edge): State<Edge>,
    Path((project, host)): Path<(String, String)>,
    if_match: IfMatch,
) -> ApiResult<StatusCode> {
    edge.route_delete(&project, &host, |generation| if_match.check(generation)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the backends of a project by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/backends", tag = "edge", operation_id = "backend_list",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of backends", body = List<Backend>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn backend_list(
    State(edge): State<Edge>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Backend>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(edge.backend_list(&project, &after, limit).await?)))
}

/// Shows a backend, and what the edge that answers knows of its endpoints.
#[utoipa::path(get, path = "/api/v1/projects/{project}/backends/{backend}", tag = "edge", operation_id = "backend_get",
    params(("project" = String, Path), ("backend" = String, Path)), responses(
    (status = 200, description = "The backend", body = Backend, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn backend_get(
    State(edge): State<Edge>,
    Path((project, backend)): Path<(String, String)>,
) -> ApiResult<Tagged<Json<Backend>>> {
    let backend = edge.backend_get(&project, &backend).await?;
    Ok(Tagged(backend.generation, Json(backend)))
}

/// Says what answers under a name. It is so when the answer comes; who is left out, or drains, gets no new requests and keeps
/// those it has.
#[utoipa::path(put, path = "/api/v1/projects/{project}/backends/{backend}", tag = "edge", operation_id = "backend_put",
    params(("project" = String, Path), ("backend" = String, Path, description = "Name",
        pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")),
    request_body = BackendPut, responses(
    (status = 200, description = "It was there; changed", body = Backend, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = 201, description = "Created", body = Backend, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn backend_put(
    State(edge): State<Edge>,
    Path((project, backend)): Path<(String, String)>,
    reach: Option<Extension<Permitted>>,
    if_match: IfMatch,
    Json(body): Json<BackendPut>,
) -> ApiResult<Response> {
    // The gate says it of those who answer for the platform, and of nobody else.
    let addresses = matches!(reach, Some(Extension(Permitted::Everything)));
    let check = |generation| if_match.check(generation);
    let (backend, new) = edge.backend_put(&project, &backend, body, addresses, check).await?;
    Ok(put_answer(backend.generation, backend, new))
}

/// Takes a backend back. Requests under way go on.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/backends/{backend}", tag = "edge", operation_id = "backend_delete",
    params(("project" = String, Path), ("backend" = String, Path),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")), responses(
    (status = 204, description = "It is gone"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn backend_delete(
    State(edge): State<Edge>,
    Path((project, backend)): Path<(String, String)>,
    if_match: IfMatch,
) -> ApiResult<StatusCode> {
    edge.backend_delete(&project, &backend, |generation| if_match.check(generation)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the certificates of a project's hosts.
#[utoipa::path(get, path = "/api/v1/projects/{project}/certificates", tag = "edge", operation_id = "certificate_list",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of certificates", body = List<Certificate>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn certificate_list(
    State(edge): State<Edge>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Certificate>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(edge.certificate_list(&project, &after, limit).await?)))
}

/// Shows how the certificate of a host is.
#[utoipa::path(get, path = "/api/v1/projects/{project}/certificates/{host}", tag = "edge", operation_id = "certificate_get",
    params(("project" = String, Path), ("host" = String, Path)), responses(
    (status = 200, description = "The certificate", body = Certificate),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn certificate_get(
    State(edge): State<Edge>,
    Path((project, host)): Path<(String, String)>,
) -> ApiResult<Json<Certificate>> {
    Ok(Json(edge.certificate_get(&project, &host).await?))
}

/// Asks for a new certificate now. It is there when `fingerprint` is another; the old one is shown meanwhile.
#[utoipa::path(post, path = "/api/v1/projects/{project}/certificates/{host}", tag = "edge", operation_id = "certificate_renew",
    params(("project" = String, Path), ("host" = String, Path),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = CertificateRenew, responses(
    (status = 202, description = "As it was until now", body = Certificate),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn certificate_renew(
    State(edge): State<Edge>,
    Path((project, host)): Path<(String, String)>,
    repeat: RepeatKey,
    JsonBytes(_body, bytes): JsonBytes<CertificateRenew>,
) -> ApiResult<(StatusCode, Json<Certificate>)> {
    let certificate = edge.certificate_renew(&project, &host, repeat.once(&bytes)?.as_ref()).await?;
    Ok((StatusCode::ACCEPTED, Json(certificate)))
}

/// The root of certificates for internal names, for who shall trust them.
#[utoipa::path(get, path = "/api/v1/edge/authority", tag = "edge", operation_id = "edge_authority", responses(
    (status = 200, description = "The root certificate", body = EdgeAuthority),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn authority_get(State(edge): State<Edge>) -> ApiResult<Json<EdgeAuthority>> {
    let certificate = edge.authority().to_owned();
    let fingerprint = crate::certificate::facts(&certificate)?.fingerprint;
    Ok(Json(EdgeAuthority { certificate, fingerprint }))
}
