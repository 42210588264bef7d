//! The typed client of `/api/v1`, used by the command line and by services that call one another.
//!
//! One request type, two ways to carry it: over the network (`HttpTransport`), or straight into another service's
//! router in the same process (`RouterTransport`). The callee cannot tell them apart, so a service can move to
//! another process without a change of code.

mod access;
mod apps;
mod duplex;
mod edge;
mod identity;
mod ledger;
mod machines;
pub mod oauth;
mod policy;
mod repository;
mod secret;
mod secrets;
mod stacks;
mod stream;
mod transport;
pub mod wire;

use std::sync::Arc;

use bytes::Bytes;
use hafen_base::{Error, ErrorKind, Result};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use duplex::Duplex;
pub use secret::Secret;
pub use stream::ByteStream;
pub use transport::{Body as TransportBody, HttpTransport, RouterTransport, SocketTransport, Transport};

use wire::Problem;

/// Largest answer read into memory: a page of 1000 machines is about 1.5 MB; plans of 10,000 machines are larger.
const MAX_ANSWER: usize = 256 << 20;

/// A bearer token that does not print.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    pub fn new(token: &str) -> Self {
        Self(token.trim().into())
    }

    /// The token in clear, for the one header that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> serde::Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self::new(&text))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a mutation may carry besides its body.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    pub idempotency_key: Option<String>,
    pub if_match: Option<String>,
    pub lease_nonce: Option<String>,
}

impl Conditions {
    /// A POST that may be repeated safely under this key.
    pub fn key(key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(key.into()), ..Self::default() }
    }
}

/// A client of the API.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    token: Token,
}

impl Client {
    pub fn new(transport: Arc<dyn Transport>, token: Token) -> Self {
        Self { transport, token }
    }

    /// Sends one request and reads the whole answer. A problem answer becomes an `Error` of its kind.
    pub async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        conditions: &Conditions,
    ) -> Result<T> {
        let bytes = self.call_bytes(method, path, body, conditions).await?;
        // An empty answer (204) reads as JSON null, so that `()` fits.
        let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(text).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                format!("the answer of {path} is not what this client knows: {error}"),
            )
            .with_code("unknown_answer")
        })
    }

    async fn call_bytes<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        conditions: &Conditions,
    ) -> Result<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()));
        if let Some(key) = &conditions.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(tag) = &conditions.if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        if let Some(nonce) = &conditions.lease_nonce {
            request = request.header("hafen-lease-nonce", nonce);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(body).map_err(Error::internal)?)
            }
            None => Bytes::new(),
        };
        let request =
            request.body(Full::new(body)).map_err(|e| Error::invalid(format!("bad request: {e}")))?;
        let answer = self.transport.send(request).await?;
        let status = answer.status();
        let bytes = http_body_util::Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| Error::unavailable(format!("the answer of {path} broke off")).with_cause(e))?
            .to_bytes();
        if status.is_success() { Ok(bytes) } else { Err(problem(status, &bytes)) }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call::<(), T>(Method::GET, path, None, &Conditions::default()).await
    }

    /// Reads an answer that is plain text.
    pub async fn text(&self, path: &str) -> Result<String> {
        let bytes = self.call_bytes::<()>(Method::GET, path, None, &Conditions::default()).await?;
        String::from_utf8(bytes.to_vec()).map_err(Error::internal)
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str, conditions: &Conditions) -> Result<T> {
        self.call::<(), T>(Method::DELETE, path, None, conditions).await
    }

    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        conditions: &Conditions,
    ) -> Result<T> {
        self.call(Method::POST, path, Some(body), conditions).await
    }

    pub async fn put<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        conditions: &Conditions,
    ) -> Result<T> {
        self.call(Method::PUT, path, Some(body), conditions).await
    }

    pub async fn patch<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        conditions: &Conditions,
    ) -> Result<T> {
        self.call(Method::PATCH, path, Some(body), conditions).await
    }

    /// Reads every page of a list. `path` may already carry a query.
    pub async fn list_all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = token.as_ref().map(|token| format!("&page={token}")).unwrap_or_default();
            let list: wire::List<T> = self.get(&format!("{path}{separator}limit=1000{page}")).await?;
            items.extend(list.items);
            match list.next_page {
                Some(next) => token = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// Opens a two-way byte stream (a WebSocket of binary frames) at `path`.
    pub async fn stream(&self, path: &str) -> Result<ByteStream> {
        self.transport.stream(path, &self.token).await
    }

    /// Opens an answer whose body is read piece by piece, as server-sent events are.
    pub async fn follow(&self, path: &str) -> Result<transport::Body> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .header(header::ACCEPT, "text/event-stream")
            .body(Full::new(Bytes::new()))
            .map_err(|e| Error::invalid(format!("bad request: {e}")))?;
        let answer = self.transport.send(request).await?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        let status = answer.status();
        let bytes = http_body_util::Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        Err(problem(status, &bytes.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
    }
}

fn problem(status: StatusCode, bytes: &[u8]) -> Error {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => {
            let detail = if problem.status == 500 {
                format!("{} (request {}; see the platform's log)", problem.detail, problem.request_id)
            } else {
                problem.detail
            };
            Error::new(ErrorKind::from_status(problem.status), detail)
                .with_code(problem.code)
                .with_fields(problem.errors)
        }
        Err(_) => {
            Error::new(ErrorKind::from_status(status.as_u16()), format!("the platform answered {status}"))
        }
    }
}
