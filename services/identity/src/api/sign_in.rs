//! Signing in. These routes are answered without a credential.

use axum::extract::State;
use hafen_client::wire::{
    List, PasskeyAnswer, PasskeyOptions, Problem, SignInPassword, SignInProvider, SignInSecondFactor,
    SignInStep,
};
use hafen_http::{ApiResult, Json, Query};
use http::HeaderMap;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::cookies::HandingQuery;
use crate::{Identity, Origin};

/// A step as it goes out: with the session in its cookies, where that was asked for.
type Step = (HeaderMap, Json<SignInStep>);

fn step(identity: &Identity, cookie: bool, mut step: SignInStep) -> Step {
    (identity.hand_over(cookie, step.session.as_mut()), Json(step))
}

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(sign_in_password))
        .routes(routes!(sign_in_second_factor))
        .routes(routes!(sign_in_passkey_options))
        .routes(routes!(sign_in_passkey))
        .routes(routes!(sign_in_providers))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ProvidersQuery {
    /// Name of the organisation; `default` unless given.
    #[param(max_length = 200)]
    organisation: Option<String>,
}

/// List the external providers that people of an organisation may sign in through: at `/oauth/external?provider=ID`.
///
/// Of an organisation that there is not the list is empty, as of one that has none.
#[utoipa::path(get, path = "/api/v1/sign-in/providers", tag = "identity", operation_id = "sign_in_providers",
    params(ProvidersQuery), responses(
        (status = 200, description = "Providers", body = List<SignInProvider>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn sign_in_providers(
    State(identity): State<Identity>,
    Query(query): Query<ProvidersQuery>,
) -> ApiResult<Json<List<SignInProvider>>> {
    let items = identity.sign_in_providers(query.organisation.as_deref()).await?;
    Ok(Json(List { items, next_page: None }))
}

/// Sign in by password: the first step.
///
/// A 429 says how long to wait; who wrong passwords of others do not slow down sends `device`.
#[utoipa::path(post, path = "/api/v1/sign-in/password", tag = "identity", operation_id = "sign_in_password",
    params(HandingQuery), request_body = SignInPassword,
    responses(
        (status = 200, description = "The next step, or the session", body = SignInStep),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn sign_in_password(
    State(identity): State<Identity>,
    origin: Origin,
    Query(query): Query<HandingQuery>,
    headers: HeaderMap,
    Json(mut body): Json<SignInPassword>,
) -> ApiResult<Step> {
    let cookie = identity.wants_cookie(query, &headers)?;
    if cookie {
        body.device = body.device.or_else(|| identity.device(&headers));
    }
    Ok(step(&identity, cookie, identity.sign_in_password(body, &origin).await?))
}

/// Sign in: the second step.
#[utoipa::path(post, path = "/api/v1/sign-in/second-factor", tag = "identity", operation_id = "sign_in_second_factor",
    params(HandingQuery), request_body = SignInSecondFactor,
    responses(
        (status = 200, description = "The session", body = SignInStep),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn sign_in_second_factor(
    State(identity): State<Identity>,
    origin: Origin,
    Query(query): Query<HandingQuery>,
    headers: HeaderMap,
    Json(body): Json<SignInSecondFactor>,
) -> ApiResult<Step> {
    let cookie = identity.wants_cookie(query, &headers)?;
    Ok(step(&identity, cookie, identity.sign_in_second_factor(body, &origin).await?))
}

/// Options for a sign-in by passkey, or for a step-up.
#[utoipa::path(post, path = "/api/v1/sign-in/passkey/options", tag = "identity", operation_id = "sign_in_passkey_options",
    responses(
        (status = 200, description = "Options", body = PasskeyOptions),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn sign_in_passkey_options(State(identity): State<Identity>) -> ApiResult<Json<PasskeyOptions>> {
    Ok(Json(identity.passkey_options().await?))
}

/// Sign in by passkey.
#[utoipa::path(post, path = "/api/v1/sign-in/passkey", tag = "identity", operation_id = "sign_in_passkey",
    params(HandingQuery), request_body = PasskeyAnswer,
    responses(
        (status = 200, description = "The session", body = SignInStep),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn sign_in_passkey(
    State(identity): State<Identity>,
    origin: Origin,
    Query(query): Query<HandingQuery>,
    headers: HeaderMap,
    Json(body): Json<PasskeyAnswer>,
) -> ApiResult<Step> {
    let cookie = identity.wants_cookie(query, &headers)?;
    Ok(step(&identity, cookie, identity.sign_in_passkey(body, &origin).await?))
}
