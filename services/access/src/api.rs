//! The HTTP API of access: handlers of a few lines, and their description.

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_base::{Error, PageLimit, Permitted};
use hafen_client::wire::{
    AccessGrant, AccessGrantCreate, AccessSession, Event, IntegrityAccept, List, MachineIntegrity,
    OwnCertificate, Problem, Revocation, RevocationCreate,
};
use hafen_http::{ApiResult, Json, Paging, Path, Query, Sees, list_of};
use hafen_work::EventFilter;
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{Access, app};

impl Access {
    /// The routes, to be merged with those of the other services.
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(access_grant_create))
            .routes(routes!(access_revoke))
            .routes(routes!(access_session_list))
            .routes(routes!(own_session_list))
            .routes(routes!(own_certificate_list))
            .routes(routes!(own_certificate_revoke))
            .routes(routes!(access_event_list))
            .routes(routes!(access_alert_list))
            .routes(routes!(access_revocation_list))
            .routes(routes!(integrity_get))
            .routes(routes!(integrity_check))
            .routes(routes!(integrity_accept))
            .with_state(self.clone())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    Oldest,
    Newest,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    /// Only events after this position.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// `newest` first, read on with `before`; `oldest` unless given.
    #[param(inline)]
    order: Option<Order>,
    /// With `order=newest`: only events before this position.
    #[param(minimum = 1)]
    before: Option<i64>,
    /// 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct OwnSessionQuery {
    /// Token of the page, as `next_page` gave it.
    page: Option<String>,
    /// 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only those that are open now.
    open: Option<bool>,
}

/// Get in: two short-lived SSH certificates for one key.
///
/// For the machines of the projects in which the caller's roles permit it (`machine.ssh`); that is asked again at every connection,
/// and while it lasts. One opens the bastion and only carries connections; the other opens machines and only gives a terminal. Neither forwards
/// anything. Ask again before they run out; sessions that are open stay open.
#[utoipa::path(post, path = "/api/v1/access/grants", tag = "access", operation_id = "access_grant_create",
    request_body = AccessGrantCreate, responses(
    (status = 201, description = "The certificates", body = AccessGrant),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn access_grant_create(
    State(access): State<Access>,
    Sees(permitted): Sees,
    Json(body): Json<AccessGrantCreate>,
) -> ApiResult<impl IntoResponse> {
    Ok((StatusCode::CREATED, Json(access.grant_create(&permitted, &body).await?)))
}

/// Revoke certificates: one, a person's, or all. Sessions through the bastion that began with them end within 5 seconds.
#[utoipa::path(post, path = "/api/v1/access/revocations", tag = "access", operation_id = "access_revoke",
    request_body = RevocationCreate, responses(
    (status = 200, description = "Done", body = Revocation),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn access_revoke(
    State(access): State<Access>,
    Json(body): Json<RevocationCreate>,
) -> ApiResult<Json<Revocation>> {
    Ok(Json(access.revoke(&body).await?))
}

/// List sessions through the bastion to machines of projects one may audit, newest first.
#[utoipa::path(get, path = "/api/v1/access/sessions", tag = "access", operation_id = "access_session_list",
    params(Paging), responses(
    (status = 200, description = "A page of sessions", body = List<AccessSession>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn access_session_list(
    State(access): State<Access>,
    Sees(permitted): Sees,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<AccessSession>>> {
    let (below, limit) = paging.read()?;
    let rows = access.session_list(&permitted, &below, limit.get() + 1).await?;
    Ok(Json(list_of(limit.page(rows, |session| session.id.clone()))))
}

/// List one's own sessions on machines, newest first.
#[utoipa::path(get, path = "/api/v1/me/ssh-sessions", tag = "access", operation_id = "own_ssh_session_list",
    params(OwnSessionQuery), responses(
    (status = 200, description = "A page of sessions", body = List<AccessSession>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn own_session_list(
    State(access): State<Access>,
    Query(OwnSessionQuery { page, limit, open }): Query<OwnSessionQuery>,
) -> ApiResult<Json<List<AccessSession>>> {
    let (below, limit) = Paging::new(page, limit).read()?;
    let rows = access.own_sessions(&below, open.unwrap_or(false), limit.get() + 1).await?;
    Ok(Json(list_of(limit.page(rows, |session| session.id.clone()))))
}

/// List one's own SSH certificates, the last to run out first. Those that ran out are forgotten after 30 days.
#[utoipa::path(get, path = "/api/v1/me/ssh-certificates", tag = "access", operation_id = "own_ssh_certificate_list",
    params(Paging), responses(
    (status = 200, description = "A page of certificates", body = List<OwnCertificate>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn own_certificate_list(
    State(access): State<Access>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<OwnCertificate>>> {
    let (below, limit) = paging.read()?;
    let rows = access.own_certificates(&below, limit.get() + 1).await?;
    Ok(Json(list_of(limit.page(rows, app::certificate_key))))
}

/// Revoke a certificate of one's own: its key is lost, or somebody else has it. Sessions that began with it end within 5 seconds.
#[utoipa::path(delete, path = "/api/v1/me/ssh-certificates/{serial}", tag = "access", operation_id = "own_ssh_certificate_revoke",
    params(("serial" = String, Path, description = "Decimal")), responses(
    (status = 204, description = "It is good no more"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn own_certificate_revoke(
    State(access): State<Access>,
    Path(serial): Path<String>,
) -> ApiResult<StatusCode> {
    access.own_certificate_revoke(&serial).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Events of projects one may see, and of one's organisation where one may see that; of kinds that begin so.
async fn events(
    access: &Access,
    query: &EventQuery,
    permitted: Permitted,
    kind: Option<&'static str>,
) -> ApiResult<Vec<Event>> {
    let limit = PageLimit::new(query.limit)?;
    let after = query.after.unwrap_or(0);
    if after < 0 {
        return Err(Error::invalid_field("/after", "a position is 0 (from the beginning) or more").into());
    }
    let filter = EventFilter { project: None, kind, object: None, permitted };
    if query.order == Some(Order::Newest) {
        if query.after.is_some() {
            return Err(Error::invalid_field("/after", "the newest first are read on with `before`").into());
        }
        let before = query.before.unwrap_or(i64::MAX);
        if before < 1 {
            return Err(Error::invalid_field("/before", "a position is 1 or more").into());
        }
        return Ok(access.events().read_back(before, limit.get(), &filter).await?);
    }
    if query.before.is_some() {
        return Err(Error::invalid_field("/before", "the oldest first are read on with `after`").into());
    }
    Ok(access.events().read_permitted(after, limit.get(), &filter).await?)
}

/// What was issued, opened, closed, refused and revoked, in order. Read on with `after`; or the newest first, with `before`.
#[utoipa::path(get, path = "/api/v1/access/events", tag = "access", operation_id = "access_event_list",
    params(EventQuery), responses(
    (status = 200, description = "Events", body = List<Event>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn access_event_list(
    State(access): State<Access>,
    Sees(permitted): Sees,
    Query(query): Query<EventQuery>,
) -> ApiResult<Json<List<Event>>> {
    Ok(Json(List { items: events(&access, &query, permitted, None).await?, next_page: None }))
}

/// Alerts among the events after a position: what was refused, and who came from where or with what for the first time.
/// Read on after the position of the last one.
#[utoipa::path(get, path = "/api/v1/access/alerts", tag = "access", operation_id = "access_alert_list",
    params(EventQuery), responses(
    (status = 200, description = "Alerts", body = List<Event>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn access_alert_list(
    State(access): State<Access>,
    Sees(permitted): Sees,
    Query(query): Query<EventQuery>,
) -> ApiResult<Json<List<Event>>> {
    let items = events(&access, &query, permitted, Some("alert.")).await?;
    Ok(Json(List { items, next_page: None }))
}

/// The key revocation list of the users' authority, for `RevokedKeys` of an sshd that is reached without the bastion.
#[utoipa::path(get, path = "/api/v1/access/revocation-list", tag = "access", operation_id = "access_revocation_list",
    responses(
    (status = 200, description = "An OpenSSH KRL", content_type = "application/octet-stream", body = Vec<u8>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn access_revocation_list(State(access): State<Access>) -> ApiResult<impl IntoResponse> {
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], access.revocation_list().await?))
}

/// What is known of a machine's ways in: `sshd`'s configuration in force, and the files that decide who gets in and who
/// becomes root, against what the platform set up and what was the case before.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/integrity", tag = "access",
    operation_id = "integrity_get", params(("project" = String, Path), ("machine" = String, Path, description = "Name or id")),
    responses(
    (status = 200, description = "What is known", body = MachineIntegrity),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn integrity_get(
    State(access): State<Access>,
    Path((project, machine)): Path<(String, String)>,
) -> ApiResult<Json<MachineIntegrity>> {
    Ok(Json(access.integrity(&project, &machine).await?))
}

/// Check a machine's ways in now. It is done when `tried_at` is another.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/integrity/check", tag = "access",
    operation_id = "integrity_check", params(("project" = String, Path), ("machine" = String, Path, description = "Name or id")),
    responses(
    (status = 202, description = "What was known until now", body = MachineIntegrity),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn integrity_check(
    State(access): State<Access>,
    Path((project, machine)): Path<(String, String)>,
) -> ApiResult<impl IntoResponse> {
    Ok((StatusCode::ACCEPTED, Json(access.integrity_check(&project, &machine).await?)))
}

/// Accept a machine's ways in as they are: what its last report says is what later ones are compared with.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/integrity/accept", tag = "access",
    operation_id = "integrity_accept", params(("project" = String, Path), ("machine" = String, Path, description = "Name or id")),
    request_body = IntegrityAccept, responses(
    (status = 200, description = "Accepted", body = MachineIntegrity),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn integrity_accept(
    State(access): State<Access>,
    Path((project, machine)): Path<(String, String)>,
    Json(body): Json<IntegrityAccept>,
) -> ApiResult<Json<MachineIntegrity>> {
    Ok(Json(access.integrity_accept(&project, &machine, &body).await?))
}
