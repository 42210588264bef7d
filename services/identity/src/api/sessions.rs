//! Sessions, step-up, and how one signs in.

use axum::extract::State;
use hafen_base::{PageLimit, PageToken, Timestamp};
use hafen_client::wire::{
    List, Passkey, PasskeyAnswer, PasskeyOptions, PasswordChange, Problem, RecoveryCodes, Session, StepUp,
    TotpBegun, TotpConfirm, Whoami,
};
use hafen_http::{ApiResult, Json, Path, Query};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asks, list};
use crate::{Identity, Origin};

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

/// Until when the second factor counts as proven again.
#[derive(Serialize, ToSchema)]
struct SteppedUp {
    #[schema(value_type = String, format = DateTime)]
    step_up_until: Timestamp,
}

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(whoami))
        .routes(routes!(session_list))
        .routes(routes!(session_delete))
        .routes(routes!(session_delete_others))
        .routes(routes!(step_up))
        .routes(routes!(password_change))
        .routes(routes!(totp_begin))
        .routes(routes!(totp_confirm))
        .routes(routes!(recovery_codes_create))
        .routes(routes!(passkey_list, passkey_register))
        .routes(routes!(passkey_register_options))
        .routes(routes!(passkey_delete))
}

/// Show who asks, as the platform sees it.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "identity", operation_id = "whoami",
    responses(
        (status = 200, description = "Who asks", body = Whoami),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn whoami(State(identity): State<Identity>, Asks(caller): Asks) -> ApiResult<Json<Whoami>> {
    Ok(Json(identity.whoami(&caller).await?))
}

/// List open sessions.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "identity", operation_id = "session_list",
    params(SubjectQuery),
    responses(
        (status = 200, description = "A page", body = List<Session>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn session_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<SubjectQuery>,
) -> ApiResult<Json<List<Session>>> {
    let after = PageToken::decode(query.page.as_deref())?;
    let limit = PageLimit::new(query.limit)?;
    Ok(Json(list(identity.session_list(&caller, query.subject.as_deref(), &after, limit).await?)))
}

/// End a session, and what hangs on it. Of one's own the browser's cookie goes, too.
#[utoipa::path(delete, path = "/api/v1/sessions/{session}", tag = "identity", operation_id = "session_delete",
    params(("session" = String, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn session_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> ApiResult<(StatusCode, HeaderMap)> {
    identity.session_delete(&caller, &key).await?;
    let own = caller.actor.credential.strip_prefix("session/") == Some(key.as_str());
    let cookies = if own { identity.clear_cookie(&headers) } else { HeaderMap::new() };
    Ok((StatusCode::NO_CONTENT, cookies))
}

/// End all of one's sessions but this one.
#[utoipa::path(post, path = "/api/v1/sessions/end-others", tag = "identity", operation_id = "session_delete_others",
    responses(
        (status = 204, description = "Ended"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn session_delete_others(
    State(identity): State<Identity>,
    Asks(caller): Asks,
) -> ApiResult<StatusCode> {
    identity.session_delete_others(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Prove a second factor again, for what is dangerous. Holds for five minutes.
///
/// With a session, or an access token of the command line (`hafen-cli`).
#[utoipa::path(post, path = "/api/v1/step-up", tag = "identity", operation_id = "step_up",
    request_body = StepUp,
    responses(
        (status = 200, description = "Proven", body = SteppedUp),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn step_up(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    origin: Origin,
    Json(body): Json<StepUp>,
) -> ApiResult<Json<SteppedUp>> {
    let step_up_until = identity.step_up(&caller, body, &origin).await?;
    Ok(Json(SteppedUp { step_up_until }))
}

/// Change one's password; ends all other sessions. Takes a fresh second factor.
#[utoipa::path(post, path = "/api/v1/me/password", tag = "identity", operation_id = "password_change",
    request_body = PasswordChange,
    responses(
        (status = 204, description = "Changed"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn password_change(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    origin: Origin,
    Json(body): Json<PasswordChange>,
) -> ApiResult<StatusCode> {
    identity.password_change(&caller, body, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin new one-time codes: gives the secret. Takes a fresh second factor.
#[utoipa::path(post, path = "/api/v1/me/totp", tag = "identity", operation_id = "totp_begin",
    responses(
        (status = 200, description = "Begun", body = TotpBegun),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn totp_begin(State(identity): State<Identity>, Asks(caller): Asks) -> ApiResult<Json<TotpBegun>> {
    Ok(Json(identity.totp_begin(&caller).await?))
}

/// Confirm new one-time codes with one of them; the old secret no longer counts.
#[utoipa::path(post, path = "/api/v1/me/totp/confirm", tag = "identity", operation_id = "totp_confirm",
    request_body = TotpConfirm,
    responses(
        (status = 204, description = "Changed"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn totp_confirm(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Json(body): Json<TotpConfirm>,
) -> ApiResult<StatusCode> {
    identity.totp_confirm(&caller, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make new recovery codes; the old ones no longer count. Takes a fresh second factor.
#[utoipa::path(post, path = "/api/v1/me/recovery-codes", tag = "identity", operation_id = "recovery_codes_create",
    responses(
        (status = 200, description = "Made", body = RecoveryCodes),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn recovery_codes_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
) -> ApiResult<Json<RecoveryCodes>> {
    Ok(Json(identity.recovery_codes_create(&caller).await?))
}

/// List one's passkeys.
#[utoipa::path(get, path = "/api/v1/me/passkeys", tag = "identity", operation_id = "passkey_list",
    responses(
        (status = 200, description = "All of them", body = List<Passkey>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn passkey_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
) -> ApiResult<Json<List<Passkey>>> {
    Ok(Json(List { items: identity.passkey_list(&caller).await?, next_page: None }))
}

/// Options for a new passkey. Takes a fresh second factor.
#[utoipa::path(post, path = "/api/v1/me/passkeys/options", tag = "identity", operation_id = "passkey_register_options",
    responses(
        (status = 200, description = "Options", body = PasskeyOptions),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn passkey_register_options(
    State(identity): State<Identity>,
    Asks(caller): Asks,
) -> ApiResult<Json<PasskeyOptions>> {
    Ok(Json(identity.passkey_register_options(&caller).await?))
}

/// Keep a new passkey.
#[utoipa::path(post, path = "/api/v1/me/passkeys", tag = "identity", operation_id = "passkey_register",
    request_body = PasskeyAnswer,
    responses(
        (status = 200, description = "Kept", body = Passkey),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn passkey_register(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Json(body): Json<PasskeyAnswer>,
) -> ApiResult<Json<Passkey>> {
    Ok(Json(identity.passkey_register(&caller, body).await?))
}

/// Remove a passkey; never the only way to sign in. Takes a fresh second factor.
#[utoipa::path(delete, path = "/api/v1/me/passkeys/{passkey}", tag = "identity", operation_id = "passkey_delete",
    params(("passkey" = String, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn passkey_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
) -> ApiResult<StatusCode> {
    identity.passkey_delete(&caller, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
