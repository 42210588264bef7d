//! Headers that condition a mutation: ETag and If-Match, Idempotency-Key, Hafen-Lease-Nonce.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use hafen_base::{Error, ErrorKind};
use hafen_work::Once;
use http::request::Parts;
use http::{HeaderValue, header};

use crate::ApiError;

/// The strong ETag of generation `generation`.
pub fn etag(generation: i64) -> String {
    format!("\"g{generation}\"")
}

/// An answer with the ETag of what it shows.
pub struct Tagged<R>(pub i64, pub R);

impl<R: IntoResponse> IntoResponse for Tagged<R> {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        if let Ok(value) = HeaderValue::from_str(&etag(self.0)) {
            response.headers_mut().insert(header::ETAG, value);
        }
        response
    }
}

/// `If-Match`, if sent.
#[derive(Debug, Clone, Default)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    /// # Errors
    /// Stale when the object is at another generation than the caller saw.
    pub fn check(&self, generation: i64) -> hafen_base::Result<()> {
        match &self.0 {
            None => Ok(()),
            Some(tags) if tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag(generation)) => {
                Ok(())
            }
            Some(_) => Err(Error::new(
                ErrorKind::Stale,
                format!(
                    "the object changed since you read it (it is now {}): read it again",
                    etag(generation)
                ),
            )),
        }
    }
}

fn text(parts: &Parts, name: &str) -> Result<Option<String>, ApiError> {
    match parts.headers.get(name) {
        None => Ok(None),
        Some(value) => match value.to_str() {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => {
                Err(Error::invalid(format!("the header {name} holds more than printable ASCII")).into())
            }
        },
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        text(parts, "if-match").map(Self)
    }
}

/// `Idempotency-Key`, if sent, with the scope it counts in.
#[derive(Debug, Clone)]
pub struct RepeatKey {
    key: Option<String>,
    scope: String,
}

impl RepeatKey {
    /// # Errors
    /// Invalid when the key is not 1 to 255 printable ASCII characters.
    pub fn once(&self, body: &[u8]) -> hafen_base::Result<Option<Once>> {
        self.key.as_ref().map(|key| Once::new(key, &self.scope, body)).transpose()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RepeatKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let key = text(parts, "idempotency-key")?;
        Ok(Self { key, scope: format!("{} {}", parts.method, parts.uri.path()) })
    }
}

/// `Hafen-Lease-Nonce`, if sent.
#[derive(Debug, Clone, Default)]
pub struct LeaseNonce(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for LeaseNonce {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        text(parts, "hafen-lease-nonce").map(Self)
    }
}
