//! Hafen as an OpenID provider (OpenID Connect Core 1.0) and OAuth 2.1 authorization server: the authorization code flow with
//! PKCE (RFC 7636, S256 only), the device flow (RFC 8628), refresh tokens with rotation, revocation (RFC 7009), introspection
//! (RFC 7662), native clients on loopback (RFC 8252).
//!
//! What a client gets hangs on a session of its own, listed and ended like every other: its access tokens name it as their
//! parent, and its refresh tokens are one line of it. A refresh token or code that comes a second time was stolen from
//! somebody, nobody knows from whom: the session ends, and with it everything that hangs on it.

mod authorize;
mod device;
mod exchange;
mod external;
mod info;
mod keys;
mod pages;
mod redirect;
mod token;

pub use redirect::may_be_registered;

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hafen_base::{Error, ErrorKind, Result};
use hafen_http::Verbatim;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use utoipa_axum::router::OpenApiRouter;

use crate::Identity;
use crate::model::secret::Hash;
use crate::store::openid::{self, ClientRow};

/// The command line, known to every installation: public, on loopback or as a device.
pub const CLI: &str = "hafen-cli";

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .route("/.well-known/openid-configuration", get(info::discovery))
        .route("/.well-known/oauth-authorization-server", get(info::discovery))
        .route("/oauth/jwks", get(info::jwks))
        .route("/oauth/authorize", get(authorize::show).post(authorize::answer))
        .route("/oauth/sign-in", post(authorize::sign_in))
        .route("/oauth/device", get(device::show).post(device::answer))
        .route("/oauth/device-authorization", post(device::begin))
        .route("/oauth/external", get(external::leave))
        .route("/oauth/external-callback", get(external::arrive))
        .route("/oauth/token", post(token::token))
        .route("/oauth/userinfo", get(info::userinfo).post(info::userinfo))
        .route("/oauth/revoke", post(info::revoke))
        .route("/oauth/introspect", post(info::introspect))
}

/// An answer of RFC 6749, section 5.2.
pub struct OauthError {
    status: StatusCode,
    code: &'static str,
    description: String,
}

pub type OauthResult<T> = std::result::Result<T, OauthError>;

impl OauthError {
    pub fn new(code: &'static str, description: impl Into<String>) -> Self {
        let status =
            if code == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        Self { status, code, description: description.into() }
    }
}

impl From<Error> for OauthError {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::NoSpace => {
                tracing::error!(cause = %error.cause_chain(), "oauth: {error}");
                Self {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    code: "temporarily_unavailable",
                    description: "try again".into(),
                }
            }
            _ => Self::new("invalid_request", error.message()),
        }
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.code, "error_description": self.description });
        let mut answer =
            (self.status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response();
        if self.code == "invalid_client" {
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"hafen\""));
        }
        answer.extensions_mut().insert(Verbatim);
        answer
    }
}

/// A form or query. No name may come twice (RFC 6749, section 3.2).
#[derive(Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    pub fn read(bytes: &[u8]) -> OauthResult<Self> {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(bytes).into_owned().take(64).collect();
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        let clean = pairs.iter().all(|(_, value)| !value.contains('\0'));
        if names.len() != count || !clean {
            return Err(OauthError::new("invalid_request", "a parameter comes twice, or holds NUL"));
        }
        Ok(Self(pairs))
    }

    pub fn body(headers: &HeaderMap, bytes: &Bytes) -> OauthResult<Self> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if kind.split(';').next().map(str::trim) != Some("application/x-www-form-urlencoded")
            || bytes.len() > 64 << 10
        {
            return Err(OauthError::new(
                "invalid_request",
                "send a form: Content-Type: application/x-www-form-urlencoded",
            ));
        }
        Self::read(bytes)
    }

    /// Empty counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub fn need(&self, name: &str) -> OauthResult<&str> {
        self.get(name).ok_or_else(|| OauthError::new("invalid_request", format!("{name} is missing")))
    }
}

impl Identity {
    pub(crate) fn issuer(&self) -> String {
        self.0.public_url.as_str().trim_end_matches('/').to_owned()
    }

    pub(crate) async fn oauth_client(&self, id: &str) -> Result<Option<ClientRow>> {
        if id == CLI {
            return Ok(Some(ClientRow {
                shown: hafen_client::wire::OauthClient {
                    id: CLI.into(),
                    organisation: self.0.default,
                    name: "hafen".into(),
                    confidential: false,
                    redirect_uris: vec!["http://127.0.0.1/callback".into(), "http://[::1]/callback".into()],
                    created_at: hafen_base::Timestamp::default(),
                },
                secret: String::new(),
            }));
        }
        openid::client_find(self.0.db.reader(), id).await
    }

    /// The client of a request: by HTTP Basic or in the form; a public one by its name alone.
    async fn client_of(&self, headers: &HeaderMap, form: &Form) -> OauthResult<ClientRow> {
        let wrong = || OauthError::new("invalid_client", "this client is unknown, or its secret is wrong");
        let (id, secret) = match headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
            Some(value) => {
                use base64::Engine as _;
                let encoded = value.strip_prefix("Basic ").ok_or_else(wrong)?;
                let bytes =
                    base64::engine::general_purpose::STANDARD.decode(encoded.trim()).map_err(|_| wrong())?;
                let text = String::from_utf8(bytes).map_err(|_| wrong())?;
                let (id, secret) = text.split_once(':').ok_or_else(wrong)?;
                // Both are form-encoded within (RFC 6749, section 2.3.1).
                let plain = |text: &str| {
                    url::form_urlencoded::parse(format!("x={text}").as_bytes())
                        .next()
                        .map(|(_, value)| value.into_owned())
                };
                (plain(id).ok_or_else(wrong)?, plain(secret))
            }
            None => (
                form.get("client_id").ok_or_else(wrong)?.to_owned(),
                form.get("client_secret").map(str::to_owned),
            ),
        };
        let client = self.oauth_client(&id).await?.ok_or_else(wrong)?;
        let fits = if client.shown.confidential {
            let presented = Hash::of(&secret.unwrap_or_default());
            presented.as_str().as_bytes().ct_eq(client.secret.as_bytes()).into()
        } else {
            secret.is_none_or(|secret| secret.is_empty())
        };
        if fits { Ok(client) } else { Err(wrong()) }
    }
}

/// Scopes that are known; others are left out (RFC 6749, section 3.3).
const SCOPES: &[&str] = &["openid", "profile", "email", "offline_access", "api"];

fn known_scopes(text: &str) -> String {
    let mut scopes: Vec<&str> = text.split(' ').filter(|scope| SCOPES.contains(scope)).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.join(" ")
}

fn has_scope(scopes: &str, scope: &str) -> bool {
    scopes.split(' ').any(|one| one == scope)
}
