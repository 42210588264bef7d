//! Tokens of people and service accounts.

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_base::{PageLimit, PageToken};
use hafen_client::wire::{AccessToken, List, Problem, TokenCreate, TokenCreated, TokenRotate};
use hafen_http::{ApiResult, Json, Path, Query};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asks, list};
use crate::Identity;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SubjectQuery {
    /// Token of the page, as `next_page` gave it.
    page: Option<String>,
    /// 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Of whom, by id, login or name; one's own unless given.
    subject: Option<String>,
}

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(token_create, token_list))
        .routes(routes!(token_get, token_delete))
        .routes(routes!(token_rotate))
}

/// Make a token. The answer holds its secret, once; takes a session.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "identity", operation_id = "token_create",
    request_body = TokenCreate,
    responses(
        (status = 201, description = "Made", body = TokenCreated),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn token_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Json(body): Json<TokenCreate>,
) -> ApiResult<impl IntoResponse> {
    Ok((StatusCode::CREATED, Json(identity.token_create(&caller, body).await?)))
}

/// List tokens, without their secrets.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "identity", operation_id = "token_list",
    params(SubjectQuery),
    responses(
        (status = 200, description = "A page", body = List<AccessToken>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn token_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<SubjectQuery>,
) -> ApiResult<Json<List<AccessToken>>> {
    let after = PageToken::decode(query.page.as_deref())?;
    let limit = PageLimit::new(query.limit)?;
    Ok(Json(list(identity.token_list(&caller, query.subject.as_deref(), &after, limit).await?)))
}

/// Show a token, without its secret.
#[utoipa::path(get, path = "/api/v1/tokens/{token}", tag = "identity", operation_id = "token_get",
    params(("token" = String, Path)),
    responses(
        (status = 200, description = "Found", body = AccessToken),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn token_get(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
) -> ApiResult<Json<AccessToken>> {
    Ok(Json(identity.token_get(&caller, &key).await?))
}

/// Revoke a token, at once.
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", tag = "identity", operation_id = "token_delete",
    params(("token" = String, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn token_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
) -> ApiResult<StatusCode> {
    identity.token_delete(&caller, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace a token. The answer holds the new secret, once.
///
/// The old one reads `rotating` until it was seen to fail after its end: presented and refused, or tried by the platform.
#[utoipa::path(post, path = "/api/v1/tokens/{token}/rotate", tag = "identity", operation_id = "token_rotate",
    params(("token" = String, Path)), request_body = TokenRotate,
    responses(
        (status = 201, description = "Replaced", body = TokenCreated),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn token_rotate(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Json(body): Json<TokenRotate>,
) -> ApiResult<impl IntoResponse> {
    Ok((StatusCode::CREATED, Json(identity.token_rotate(&caller, &key, body).await?)))
}
