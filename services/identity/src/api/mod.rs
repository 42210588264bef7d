//! The HTTP API of identity: handlers of a few lines, and their description. One file per group of resources.

mod clients;
mod memberships;
mod organisations;
mod people;
mod service_accounts;
mod sessions;
mod sign_in;
mod teams;
mod tokens;

use axum::extract::{ConnectInfo, FromRequestParts};
use hafen_base::{Actor, Error, ErrorKind, Page};
use hafen_client::wire::List;
use hafen_http::{ApiError, Peer};
use http::header;
use http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;

use crate::model::caller::Caller;
use crate::{Identity, Origin};

/// Paths that are answered without a credential of the API: signing in, accepting an invitation, and the OpenID provider, whose
/// clients bring their own.
pub const OPEN: &[&str] = &[
    "/api/v1/sign-in/password",
    "/api/v1/sign-in/second-factor",
    "/api/v1/sign-in/passkey/options",
    "/api/v1/sign-in/passkey",
    "/api/v1/sign-in/providers",
    "/api/v1/invitations/begin",
    "/api/v1/invitations/passkey",
    "/api/v1/invitations/accept",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/oauth/jwks",
    "/oauth/authorize",
    "/oauth/sign-in",
    "/oauth/device",
    "/oauth/device-authorization",
    "/oauth/external",
    "/oauth/external-callback",
    "/oauth/token",
    "/oauth/userinfo",
    "/oauth/revoke",
    "/oauth/introspect",
];

impl Identity {
    /// The routes, to be merged with those of the other services. Whoever serves them checks credentials and puts the
    /// `Caller` into the request's extensions; without it every route but those of `OPEN` answers 401.
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .merge(organisations::routes())
            .merge(clients::routes())
            .merge(crate::oidc::routes())
            .merge(teams::routes())
            .merge(people::routes())
            .merge(service_accounts::routes())
            .merge(memberships::routes())
            .merge(tokens::routes())
            .merge(sessions::routes())
            .merge(sign_in::routes())
            .with_state(self.clone())
    }
}

/// Who asks.
pub struct Asks(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for Asks {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.map(Self).ok_or_else(|| {
            Error::new(ErrorKind::Unauthenticated, "sign in, or send a token as `Authorization: Bearer …`")
                .into()
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let acting = Actor::current().address.and_then(|address| address.parse().ok());
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().and_then(|ConnectInfo(peer)| peer.address());
        let peer = peer.and_then(|address| address.parse().ok());
        let client =
            parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
        Ok(Self { address: acting.or(peer), client: client.to_owned() })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Token of the page, as `next_page` gave it.
    pub page: Option<String>,
    /// 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Id or name of another organisation; for owners of the platform.
    pub organisation: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct OfQuery {
    /// Id or name of another organisation; for owners of the platform.
    pub organisation: Option<String>,
}

fn list<T>(page: Page<T>) -> List<T> {
    List { items: page.items, next_page: page.next_page }
}
