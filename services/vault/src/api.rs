//! The HTTP API of the vault: handlers of a few lines, and their description.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_client::wire::{
    List, Problem, SecretCreate, SecretInfo, SecretRead, SecretValue, SecretVersionCreate,
};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, Paging, Path, Query, RepeatKey, Tagged, list_of};
use http::{StatusCode, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Vault;

impl Vault {
    /// The routes, to be merged with those of the other services.
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(secret_list, secret_create))
            .routes(routes!(secret_get, secret_delete))
            .routes(routes!(secret_version_create))
            .routes(routes!(secret_version_destroy))
            .routes(routes!(secret_read))
            .with_state(self.clone())
    }
}

/// List the secrets of a project by name: which there are, not what they hold, and without their versions.
#[utoipa::path(get, path = "/api/v1/projects/{project}/secrets", tag = "secrets", operation_id = "secret_list",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of secrets", body = List<SecretInfo>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn secret_list(
    State(vault): State<Vault>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<SecretInfo>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(vault.secret_list(&project, &after, limit).await?)))
}

/// Make a secret. Its value is sealed, and given out only by a reading with a reason.
#[utoipa::path(post, path = "/api/v1/projects/{project}/secrets", tag = "secrets", operation_id = "secret_create",
    params(("project" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = SecretCreate, responses(
    (status = 201, description = "Made", body = SecretInfo, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn secret_create(
    State(vault): State<Vault>,
    Path(project): Path<String>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<SecretCreate>,
) -> ApiResult<Response> {
    let once = repeat.once(&vault.fingerprint(&bytes)?)?;
    let secret = vault.secret_create(&project, &body, once.as_ref()).await?;
    Ok(made(&project, secret))
}

fn made(project: &str, secret: SecretInfo) -> Response {
    let location = format!("/api/v1/projects/{project}/secrets/{}", secret.name);
    (StatusCode::CREATED, [(header::LOCATION, location)], Tagged(secret.generation, Json(secret)))
        .into_response()
}

/// Show a secret and its versions, without any value.
#[utoipa::path(get, path = "/api/v1/projects/{project}/secrets/{secret}", tag = "secrets", operation_id = "secret_get",
    params(("project" = String, Path), ("secret" = String, Path)), responses(
    (status = 200, description = "The secret", body = SecretInfo, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn secret_get(
    State(vault): State<Vault>,
    Path((project, secret)): Path<(String, String)>,
) -> ApiResult<Tagged<Json<SecretInfo>>> {
    let secret = vault.secret_view(&project, &secret).await?;
    Ok(Tagged(secret.generation, Json(secret)))
}

/// Delete a secret: every version is destroyed. What names it cannot be deployed any more.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/secrets/{secret}", tag = "secrets", operation_id = "secret_delete",
    params(("project" = String, Path), ("secret" = String, Path),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")), responses(
    (status = 204, description = "Deleted"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn secret_delete(
    State(vault): State<Vault>,
    Path((project, secret)): Path<(String, String)>,
    if_match: IfMatch,
) -> ApiResult<StatusCode> {
    vault.secret_delete(&project, &secret, |generation| if_match.check(generation)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a secret a new value. It is the current version from now on; the one before can still be read until it is destroyed.
#[utoipa::path(post, path = "/api/v1/projects/{project}/secrets/{secret}/versions", tag = "secrets",
    operation_id = "secret_version_create",
    params(("project" = String, Path), ("secret" = String, Path),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")),
    request_body = SecretVersionCreate, responses(
    (status = 201, description = "Made", body = SecretInfo, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn secret_version_create(
    State(vault): State<Vault>,
    Path((project, secret)): Path<(String, String)>,
    repeat: RepeatKey,
    if_match: IfMatch,
    JsonBytes(body, bytes): JsonBytes<SecretVersionCreate>,
) -> ApiResult<Response> {
    let once = repeat.once(&vault.fingerprint(&bytes)?)?;
    let check = |generation| if_match.check(generation);
    let secret = vault.version_create(&project, &secret, &body, once.as_ref(), check).await?;
    Ok(made(&project, secret))
}

/// Destroy the value of a version that is not the current one, for good.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/secrets/{secret}/versions/{version}", tag = "secrets",
    operation_id = "secret_version_destroy",
    params(("project" = String, Path), ("secret" = String, Path), ("version" = i64, Path, minimum = 1),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")), responses(
    (status = 200, description = "Its value is gone", body = SecretInfo, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn secret_version_destroy(
    State(vault): State<Vault>,
    Path((project, secret, version)): Path<(String, String, i64)>,
    if_match: IfMatch,
) -> ApiResult<Tagged<Json<SecretInfo>>> {
    let check = |generation| if_match.check(generation);
    let secret = vault.version_destroy(&project, &secret, version, check).await?;
    Ok(Tagged(secret.generation, Json(secret)))
}

/// Read a secret. The ledger says who read which version, and why.
///
/// There is no idempotency key: each reading is one, and no answer is kept.
#[utoipa::path(post, path = "/api/v1/projects/{project}/secrets/{secret}/read", tag = "secrets", operation_id = "secret_read",
    params(("project" = String, Path), ("secret" = String, Path)),
    request_body = SecretRead, responses(
    (status = 200, description = "The value", body = SecretValue),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn secret_read(
    State(vault): State<Vault>,
    Path((project, secret)): Path<(String, String)>,
    Json(body): Json<SecretRead>,
) -> ApiResult<Response> {
    let value = vault.secret_read(&project, &secret, &body).await?;
    // Neither a browser nor a proxy keeps it.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(value)).into_response())
}
