//! Errors as RFC 9457 problems, rendered once for every answer of the API.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use hafen_base::{Error, ErrorKind, Random as _, SystemRandom};
use hafen_client::wire::Problem;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// An error on its way out of a handler.
#[derive(Debug, Clone)]
pub struct ApiError(Arc<Error>);

/// What a handler gives.
pub type ApiResult<T> = Result<T, ApiError>;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

impl IntoResponse for ApiError {
    /// The body is made by `render`, which knows the request.
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Names a request in logs, answers and records.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub String);

/// Marks an error answer whose shape a protocol fixes (RFC 6749, a page for a person): it goes out as it is.
#[derive(Debug, Clone, Copy)]
pub struct Verbatim;

static REQUEST: AtomicU64 = AtomicU64::new(1);
/// Of this process: the id of a request is unique for good.
static LIFE: LazyLock<String> = LazyLock::new(|| {
    let mut bytes = [0_u8; 6];
    SystemRandom.fill(&mut bytes);
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
});

/// Gives each request an id, logs failures of ours, and turns every error answer, the framework's own included, into a
/// problem document.
pub(crate) async fn render(mut request: Request, next: Next) -> Response {
    let number = REQUEST.fetch_add(1, Ordering::Relaxed);
    let request_id = format!("r-{}-{number}", *LIFE);
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let twice = twice(request.headers());
    let doubtful = twice.is_some() || request.headers().contains_key(header::TRANSFER_ENCODING);
    // A handler that panics is a failure of ours like any other: told as a 500 and logged, not a connection that breaks off.
    let answered = AssertUnwindSafe(async {
        match twice {
            Some(error) => ApiError::from(error).into_response(),
            None => next.run(request).await,
        }
    });
    let mut response = match answered.catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            ApiError::from(Error::internal(format!("a handler panicked: {text}"))).into_response()
        }
    };
    let status = response.status();
    let verbatim = response.extensions_mut().remove::<Verbatim>().is_some();
    if !verbatim && (status.is_client_error() || status.is_server_error()) {
        let error =
            response.extensions_mut().remove::<ApiError>().map_or_else(|| Arc::new(foreign(status)), |e| e.0);
        if error.kind() == ErrorKind::Internal {
            tracing::error!(%request_id, %method, path, cause = %error.cause_chain(), "{error}");
        } else {
            tracing::debug!(%request_id, %method, path, cause = %error.cause_chain(), "{error}");
        }
        let headers = std::mem::take(response.headers_mut());
        response = if crate::auth::is_git(&path) {
            plain(&error).into_response()
        } else {
            problem(&error, &request_id).into_response()
        };
        for name in [header::WWW_AUTHENTICATE, header::ALLOW] {
            if let Some(value) = headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // The server takes the chunks for the body and drops a length beside them without a word; a proxy before us may have
    // gone by the length. What follows on this connection is then nobody's request.
    if doubtful {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Headers of which a proxy and we might each believe another one.
fn twice(headers: &HeaderMap) -> Option<Error> {
    let single = [
        header::HOST,
        header::AUTHORIZATION,
        header::ORIGIN,
        HeaderName::from_static("sec-fetch-site"),
        header::CONTENT_TYPE,
        header::IF_MATCH,
        HeaderName::from_static("idempotency-key"),
        HeaderName::from_static("hafen-lease-nonce"),
    ];
    let name = single.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some());
    name.map(|name| Error::invalid(format!("the header {name} is there twice: send it once")))
}

/// An error answer the framework made itself.
fn foreign(status: StatusCode) -> Error {
    let message = match status {
        StatusCode::METHOD_NOT_ALLOWED => "this path does not know that method; see /api/docs",
        StatusCode::PAYLOAD_TOO_LARGE => "the request body is too large",
        StatusCode::NOT_FOUND => "there is nothing at this path; see /api/docs",
        _ if status.is_client_error() => "the request is not what this path takes; see /api/docs",
        _ => "internal error",
    };
    let kind = match ErrorKind::from_status(status.as_u16()) {
        ErrorKind::Internal if status.is_client_error() => ErrorKind::Invalid,
        kind => kind,
    };
    Error::new(kind, message)
}

/// As `git` shows it to a person.
fn plain(error: &Error) -> impl IntoResponse + use<> {
    let status = StatusCode::from_u16(error.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{}\n", error.message()))
}

fn problem(error: &Error, request_id: &str) -> impl IntoResponse + use<> {
    let status = StatusCode::from_u16(error.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = Problem {
        kind: "about:blank".into(),
        title: status.canonical_reason().unwrap_or("Error").into(),
        status: status.as_u16(),
        detail: error.message().to_owned(),
        code: error.code().to_owned(),
        request_id: request_id.to_owned(),
        errors: error.fields().to_vec(),
    };
    let text = serde_json::to_string(&body).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], text)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_a_500_that_says_nothing() {
        async fn panics() -> &'static str {
            panic!("the secret cause")
        }
        let router = Router::new().route("/", get(panics)).layer(axum::middleware::from_fn(render));
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((problem.code.as_str(), problem.detail.as_str()), ("internal", "internal error"));
    }
}
