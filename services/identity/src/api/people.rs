//! People and invitations.

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_base::{PageLimit, PageToken};
use hafen_client::wire::{
    Invitation, InvitationAccept, InvitationAccepted, InvitationBegin, InvitationBegun, InvitationCreate,
    InvitationCreated, List, PasskeyOptions, Person, PersonPatch, Problem,
};
use hafen_http::{ApiResult, IfMatch, Json, Path, Query, Tagged};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asks, ListQuery, OfQuery, list};
use crate::cookies::HandingQuery;
use crate::{Identity, Origin};

/// Asks for the options of a passkey, while an invitation is being accepted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationPasskey {
    #[schema(min_length = 1, max_length = 100)]
    ceremony: String,
    /// Shown by the authenticator.
    #[schema(min_length = 1, max_length = 200)]
    login: String,
    #[schema(min_length = 1, max_length = 200)]
    name: String,
}

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(person_list))
        .routes(routes!(person_get, person_update))
        .routes(routes!(person_reset))
        .routes(routes!(invitation_create, invitation_list))
        .routes(routes!(invitation_begin))
        .routes(routes!(invitation_passkey))
        .routes(routes!(invitation_accept))
        .routes(routes!(invitation_delete))
}

/// List the people.
#[utoipa::path(get, path = "/api/v1/people", tag = "identity", operation_id = "person_list",
    params(ListQuery),
    responses(
        (status = 200, description = "A page", body = List<Person>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn person_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<Person>>> {
    let after = PageToken::decode(query.page.as_deref())?;
    let limit = PageLimit::new(query.limit)?;
    Ok(Json(list(identity.person_list(&caller, query.organisation.as_deref(), &after, limit).await?)))
}

/// Show a person, by id or login.
#[utoipa::path(get, path = "/api/v1/people/{person}", tag = "identity", operation_id = "person_get",
    params(("person" = String, Path), OfQuery),
    responses(
        (status = 200, description = "Found", body = Person, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn person_get(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<impl IntoResponse> {
    let found = identity.person_get(&caller, query.organisation.as_deref(), &key).await?;
    Ok(Tagged(found.generation, Json(found)))
}

/// Rename, suspend or reinstate a person. The tokens and sessions of a suspended one stop at once.
#[utoipa::path(patch, path = "/api/v1/people/{person}", tag = "identity", operation_id = "person_update",
    params(("person" = String, Path), OfQuery, ("if-match" = Option<String>, Header)), request_body = PersonPatch,
    responses(
        (status = 200, description = "Changed", body = Person, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn person_update(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
    fits: IfMatch,
    Json(body): Json<PersonPatch>,
) -> ApiResult<impl IntoResponse> {
    let changed = identity
        .person_update(&caller, (query.organisation.as_deref(), &key), body, |generation| {
            fits.check(generation)
        })
        .await?;
    Ok(Tagged(changed.generation, Json(changed)))
}

/// Forget how a person signs in and end all it has open; gives an invitation to set itself up anew.
///
/// Takes a fresh second factor (`step_up_required`).
#[utoipa::path(post, path = "/api/v1/people/{person}/reset", tag = "identity", operation_id = "person_reset",
    params(("person" = String, Path), OfQuery),
    responses(
        (status = 200, description = "Reset", body = InvitationCreated),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn person_reset(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<Json<InvitationCreated>> {
    Ok(Json(identity.person_reset(&caller, query.organisation.as_deref(), &key).await?))
}

/// Invite somebody. The answer holds the invitation's secret, once.
///
/// To invite an owner or maintainer of the organisation takes a fresh second factor (`step_up_required`).
#[utoipa::path(post, path = "/api/v1/invitations", tag = "identity", operation_id = "invitation_create",
    params(OfQuery), request_body = InvitationCreate,
    responses(
        (status = 201, description = "Made", body = InvitationCreated),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn invitation_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
    Json(body): Json<InvitationCreate>,
) -> ApiResult<impl IntoResponse> {
    Ok((
        StatusCode::CREATED,
        Json(identity.invitation_create(&caller, query.organisation.as_deref(), body).await?),
    ))
}

/// List the invitations.
#[utoipa::path(get, path = "/api/v1/invitations", tag = "identity", operation_id = "invitation_list",
    params(ListQuery),
    responses(
        (status = 200, description = "A page", body = List<Invitation>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn invitation_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<Invitation>>> {
    let after = PageToken::decode(query.page.as_deref())?;
    let limit = PageLimit::new(query.limit)?;
    Ok(Json(list(identity.invitation_list(&caller, query.organisation.as_deref(), &after, limit).await?)))
}

/// Begin to accept an invitation: gives the secret for an authenticator app. Nothing is used up yet.
#[utoipa::path(post, path = "/api/v1/invitations/begin", tag = "identity", operation_id = "invitation_begin",
    request_body = InvitationBegin,
    responses(
        (status = 200, description = "Begun", body = InvitationBegun),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn invitation_begin(
    State(identity): State<Identity>,
    Json(body): Json<InvitationBegin>,
) -> ApiResult<Json<InvitationBegun>> {
    Ok(Json(identity.invitation_begin(body).await?))
}

/// Options for a passkey in place of password and one-time codes.
#[utoipa::path(post, path = "/api/v1/invitations/passkey", tag = "identity", operation_id = "invitation_passkey",
    request_body = InvitationPasskey,
    responses(
        (status = 200, description = "Options", body = PasskeyOptions),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn invitation_passkey(
    State(identity): State<Identity>,
    Json(body): Json<InvitationPasskey>,
) -> ApiResult<Json<PasskeyOptions>> {
    Ok(Json(identity.invitation_passkey(&body.ceremony, &body.login, &body.name).await?))
}

/// Accept an invitation: sets name and factors, signs in. Uses the invitation up.
#[utoipa::path(post, path = "/api/v1/invitations/accept", tag = "identity", operation_id = "invitation_accept",
    params(HandingQuery), request_body = InvitationAccept,
    responses(
        (status = 201, description = "Accepted", body = InvitationAccepted),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn invitation_accept(
    State(identity): State<Identity>,
    origin: Origin,
    Query(query): Query<HandingQuery>,
    headers: HeaderMap,
    Json(body): Json<InvitationAccept>,
) -> ApiResult<impl IntoResponse> {
    let cookie = identity.wants_cookie(query, &headers)?;
    let mut accepted = identity.invitation_accept(body, &origin).await?;
    let cookies = identity.hand_over(cookie, Some(&mut accepted.session));
    Ok((StatusCode::CREATED, cookies, Json(accepted)))
}

/// Withdraw an invitation.
#[utoipa::path(delete, path = "/api/v1/invitations/{invitation}", tag = "identity", operation_id = "invitation_delete",
    params(("invitation" = String, Path), OfQuery),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn invitation_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<StatusCode> {
    identity.invitation_delete(&caller, query.organisation.as_deref(), &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
