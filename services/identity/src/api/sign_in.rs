//! Signing in. These routes are answered without a credential.

use axum::extract::State;
use hafen_client::wire::{
    PasskeyAnswer, PasskeyOptions, Problem, SignInPassword, SignInSecondFactor, SignInStep,
};
use hafen_http::{ApiResult, Json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{Identity, Origin};

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(sign_in_password))
        .routes(routes!(sign_in_second_factor))
        .routes(routes!(sign_in_passkey_options))
        .routes(routes!(sign_in_passkey))
}

/// Sign in by password: the first step.
///
/// A 429 says how long to wait; who wrong passwords of others do not slow down sends `device`.
#[utoipa::path(post, path = "/api/v1/sign-in/password", tag = "identity", operation_id = "sign_in_password",
    request_body = SignInPassword,
    responses(
        (status = 200, description = "The next step, or the session", body = SignInStep),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn sign_in_password(
    State(identity): State<Identity>,
    origin: Origin,
    Json(body): Json<SignInPassword>,
) -> ApiResult<Json<SignInStep>> {
    Ok(Json(identity.sign_in_password(body, &origin).await?))
}

/// Sign in: the second step.
#[utoipa::path(post, path = "/api/v1/sign-in/second-factor", tag = "identity", operation_id = "sign_in_second_factor",
    request_body = SignInSecondFactor,
    responses(
        (status = 200, description = "The session", body = SignInStep),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn sign_in_second_factor(
    State(identity): State<Identity>,
    origin: Origin,
    Json(body): Json<SignInSecondFactor>,
) -> ApiResult<Json<SignInStep>> {
    Ok(Json(identity.sign_in_second_factor(body, &origin).await?))
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
    request_body = PasskeyAnswer,
    responses(
        (status = 200, description = "The session", body = SignInStep),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn sign_in_passkey(
    State(identity): State<Identity>,
    origin: Origin,
    Json(body): Json<PasskeyAnswer>,
) -> ApiResult<Json<SignInStep>> {
    Ok(Json(identity.sign_in_passkey(body, &origin).await?))
}
