//! The platform as an OAuth 2 server, for a client without a secret: device flow (RFC 8628), refresh, revocation.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use hafen_base::{Error, ErrorKind, Result};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Token, Transport};

/// Largest answer that is read; the largest there is has about 500 bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Code of the error that means: sign in again.
pub const SIGN_IN_OVER: &str = "sign_in_over";

/// A client that everybody could claim to be, as a command line is.
pub struct PublicClient {
    transport: Arc<dyn Transport>,
    id: &'static str,
}

/// What the device shows, and asks with.
#[derive(Deserialize)]
pub struct DeviceAuthorization {
    pub device_code: Token,
    pub user_code: String,
    pub verification_uri: String,
    #[serde(default)]
    pub verification_uri_complete: Option<String>,
    /// Seconds.
    pub expires_in: u64,
    #[serde(default = "five")]
    pub interval: u64,
}

/// RFC 8628, section 3.2.
fn five() -> u64 {
    5
}

#[derive(Deserialize)]
pub struct Tokens {
    pub access_token: Token,
    #[serde(default)]
    pub refresh_token: Option<Token>,
    /// Seconds.
    pub expires_in: u64,
}

/// What came of asking for a device code.
pub enum Polled {
    Granted(Tokens),
    Pending,
    /// Ask five seconds more seldom.
    SlowDown,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl PublicClient {
    pub fn new(transport: Arc<dyn Transport>, id: &'static str) -> Self {
        Self { transport, id }
    }

    pub async fn device_begin(&self, scope: &str) -> Result<DeviceAuthorization> {
        self.form("/oauth/device-authorization", &[("scope", scope)])
            .await?
            .map_err(|refusal| refused(&refusal))
    }

    /// # Errors
    /// Forbidden when the person said no, conflict when nobody answered in time.
    pub async fn device_poll(&self, code: &Token) -> Result<Polled> {
        let form =
            [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", code.expose())];
        match self.form("/oauth/token", &form).await? {
            Ok(tokens) => Ok(Polled::Granted(tokens)),
            Err(refusal) => match refusal.error.as_str() {
                "authorization_pending" => Ok(Polled::Pending),
                "slow_down" => Ok(Polled::SlowDown),
                _ => Err(refused(&refusal)),
            },
        }
    }

    /// Trades a refresh token for the next: the old one must never be sent again.
    ///
    /// # Errors
    /// Unauthenticated with the code `SIGN_IN_OVER` when the session has ended.
    pub async fn refresh(&self, token: &Token) -> Result<Tokens> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.expose())];
        self.form("/oauth/token", &form).await?.map_err(|refusal| refused(&refusal))
    }

    /// Ends a refresh token's session and everything that hangs on it.
    pub async fn revoke(&self, token: &Token) -> Result<()> {
        self.form("/oauth/revoke", &[("token", token.expose())]).await?.map_err(|refusal| refused(&refusal))
    }

    async fn form<T: DeserializeOwned>(
        &self,
        path: &str,
        pairs: &[(&str, &str)],
    ) -> Result<std::result::Result<T, Refusal>> {
        let mut body = format!("client_id={}", self.id);
        for (name, value) in pairs {
            // Writing to a String cannot fail.
            let _written = write!(body, "&{name}={}", escaped(value));
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(Error::internal)?;
        let answer = self.transport.send(request).await?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| Error::unavailable(format!("the answer of {path} broke off")).with_cause(error))?
            .to_bytes();
        let unknown =
            || Error::unavailable(format!("{path} answered {status}: is this the address of a Hafen?"));
        if status.is_success() {
            // Nothing (of a revocation) reads as JSON null, so that `()` fits.
            let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
            return serde_json::from_slice(text).map(Ok).map_err(|_| unknown());
        }
        serde_json::from_slice(&bytes).map(Err).map_err(|_| unknown())
    }
}

fn refused(refusal: &Refusal) -> Error {
    let why: String = refusal.error_description.chars().filter(|c| !c.is_control()).take(300).collect();
    match refusal.error.as_str() {
        "access_denied" => Error::new(ErrorKind::Forbidden, "the sign-in was denied in the browser"),
        "expired_token" => Error::conflict("nobody answered in the browser in time: run `hafen login` again"),
        "invalid_grant" => Error::new(ErrorKind::Unauthenticated, why).with_code(SIGN_IN_OVER),
        "temporarily_unavailable" => Error::unavailable(format!("the platform says: {why}")),
        code => {
            let code: String = code.chars().filter(char::is_ascii_graphic).take(60).collect();
            Error::unavailable(format!("the platform refused ({code}): {why}"))
        }
    }
}

/// As a value of a form.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_place() {
        assert_eq!(escaped("a b&c=d\n%ü"), "a%20b%26c%3Dd%0A%25%C3%BC");
        assert_eq!(escaped("hafen_ort_Az09-."), "hafen_ort_Az09-.");
    }
}
