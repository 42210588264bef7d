//! `/projects/{project}/images`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_client::wire::{Image, ImageCreate, ImageGc, ImageGcReport, List, Operation, Problem};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, Path, Query, RepeatKey, Tagged};
use http::{StatusCode, header};

use super::{Paging, list_of};
use crate::Machines;

/// Lists the images of a project by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/images", operation_id = "image_list", tag = "images",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of images", body = List<Image>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(machines): State<Machines>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Image>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(machines.image_list(&project, &after, limit).await?)))
}

/// Builds an image. One of the same name is built anew when its source or lock differs.
#[utoipa::path(post, path = "/api/v1/projects/{project}/images", operation_id = "image_create", tag = "images",
    params(("project" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = ImageCreate, responses(
    (status = 202, description = "It is being built, or is there already", body = Image, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    State(machines): State<Machines>,
    Path(project): Path<String>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<ImageCreate>,
) -> ApiResult<Response> {
    let (image, _new) = machines.image_create(&project, body, repeat.once(&bytes)?.as_ref()).await?;
    let location = match image.operation {
        Some(operation) => format!("/api/v1/operations/{operation}"),
        None => format!("/api/v1/projects/{project}/images/{}", image.name),
    };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Tagged(image.generation, Json(image)))
        .into_response())
}

/// Shows an image.
#[utoipa::path(get, path = "/api/v1/projects/{project}/images/{image}", operation_id = "image_get", tag = "images",
    params(("project" = String, Path), ("image" = String, Path, description = "Name or id")), responses(
    (status = 200, description = "The image", body = Image, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(machines): State<Machines>,
    Path((project, image)): Path<(String, String)>,
) -> ApiResult<Tagged<Json<Image>>> {
    let image = machines.image_view(&project, &image).await?;
    Ok(Tagged(image.generation, Json(image)))
}

/// Removes an image that no machine is made of.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/images/{image}", operation_id = "image_delete", tag = "images",
    params(("project" = String, Path), ("image" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")), responses(
    (status = 202, description = "It is being removed", body = Image, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(machines): State<Machines>,
    Path((project, image)): Path<(String, String)>,
    if_match: IfMatch,
) -> ApiResult<(StatusCode, Tagged<Json<Image>>)> {
    let image = machines.image_delete(&project, &image, |generation| if_match.check(generation)).await?;
    Ok((StatusCode::ACCEPTED, Tagged(image.generation, Json(image))))
}

/// Rebuilds an image from its lock and compares.
#[utoipa::path(post, path = "/api/v1/projects/{project}/images/{image}/verify", operation_id = "image_verify", tag = "images",
    params(("project" = String, Path), ("image" = String, Path, description = "Name or id"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")), responses(
    (status = 202, description = "It is being verified", body = Operation, headers(("Location" = String, description = "The operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn verify(
    State(machines): State<Machines>,
    Path((project, image)): Path<(String, String)>,
    repeat: RepeatKey,
) -> ApiResult<Response> {
    let operation = machines.image_verify(&project, &image, repeat.once(b"")?.as_ref()).await?;
    let location = format!("/api/v1/operations/{}", operation.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(operation)).into_response())
}

/// Frees what no image and no machine uses.
#[utoipa::path(post, path = "/api/v1/images/gc", operation_id = "image_gc", tag = "images", request_body = ImageGc, responses(
    (status = 200, description = "What went", body = ImageGcReport),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn gc(
    State(machines): State<Machines>,
    Json(body): Json<ImageGc>,
) -> ApiResult<Json<ImageGcReport>> {
    Ok(Json(machines.image_gc(body.dry_run).await?))
}
