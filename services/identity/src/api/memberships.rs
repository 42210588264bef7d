//! Who holds which role where, and the roles of an organisation.

use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use hafen_base::{PageLimit, PageToken};
use hafen_client::wire::{CustomRole, CustomRolePut, List, Membership, MembershipCreate, Problem};
use hafen_http::{ApiResult, Json, JsonBytes, Path, Query, RepeatKey, Tagged};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asks, OfQuery, list};
use crate::Identity;
use crate::model::caller::Held;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MembershipQuery {
    /// Token of the page, as `next_page` gave it.
    page: Option<String>,
    /// 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Id or name of another organisation; for owners of the platform.
    organisation: Option<String>,
    /// Only what this person or service account holds.
    subject: Option<String>,
    /// Only what is held here.
    scope: Option<String>,
}

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(membership_create, membership_list))
        .routes(routes!(membership_delete))
        .routes(routes!(role_list))
        .routes(routes!(role_put, role_delete))
}

/// Give a role; an earlier one of this subject at this scope is replaced.
///
/// Nobody gives a role above their own; the last owner stays.
#[utoipa::path(post, path = "/api/v1/memberships", tag = "identity", operation_id = "membership_create",
    params(OfQuery, ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 200, description = "Repeats act once")), request_body = MembershipCreate,
    responses(
        (status = 201, description = "Made", body = Membership),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn membership_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<MembershipCreate>,
) -> ApiResult<impl IntoResponse> {
    let once = repeat.once(&bytes)?;
    let made =
        identity.membership_create(&caller, query.organisation.as_deref(), body, once.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// List who holds which role where.
#[utoipa::path(get, path = "/api/v1/memberships", tag = "identity", operation_id = "membership_list",
    params(MembershipQuery),
    responses(
        (status = 200, description = "A page", body = List<Membership>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn membership_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<MembershipQuery>,
) -> ApiResult<Json<List<Membership>>> {
    let after = PageToken::decode(query.page.as_deref())?;
    let limit = PageLimit::new(query.limit)?;
    let narrow = (query.subject.as_deref().unwrap_or(""), query.scope.as_deref().unwrap_or(""));
    Ok(Json(list(
        identity.membership_list(&caller, query.organisation.as_deref(), narrow, &after, limit).await?,
    )))
}

/// Take a role.
#[utoipa::path(delete, path = "/api/v1/memberships/{membership}", tag = "identity", operation_id = "membership_delete",
    params(("membership" = String, Path), OfQuery),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn membership_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<StatusCode> {
    identity.membership_delete(&caller, query.organisation.as_deref(), &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the roles of the organisation, beside those built in.
#[utoipa::path(get, path = "/api/v1/roles", tag = "identity", operation_id = "role_list",
    params(OfQuery),
    responses(
        (status = 200, description = "All of them", body = List<CustomRole>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn role_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
) -> ApiResult<Json<List<CustomRole>>> {
    let items = identity.role_list(&caller, query.organisation.as_deref()).await?;
    Ok(Json(List { items, next_page: None }))
}

/// Make or change a role of the organisation. For owners.
///
/// Its permissions are actions of the policy (`machine.read`), all of a kind (`machine.*`) or a group (`read`). It grants nothing that
/// its maker does not hold.
#[utoipa::path(put, path = "/api/v1/roles/{role}", tag = "identity", operation_id = "role_put",
    params(("role" = String, Path), OfQuery), request_body = CustomRolePut,
    responses(
        (status = 200, description = "Made or changed", body = CustomRole, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn role_put(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
    held: Option<Extension<Held>>,
    Json(body): Json<CustomRolePut>,
) -> ApiResult<impl IntoResponse> {
    let held = held.map(|Extension(held)| held);
    let role = identity.role_put(&caller, query.organisation.as_deref(), &key, body, held.as_ref()).await?;
    Ok(Tagged(role.generation, Json(role)))
}

/// Delete a role of the organisation that nobody holds.
#[utoipa::path(delete, path = "/api/v1/roles/{role}", tag = "identity", operation_id = "role_delete",
    params(("role" = String, Path), OfQuery),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn role_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<StatusCode> {
    identity.role_delete(&caller, query.organisation.as_deref(), &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
