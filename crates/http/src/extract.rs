//! Checked input: JSON bodies, paths and queries whose errors point at what is wrong.

use axum::RequestExt as _;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hafen_base::{Error, ErrorKind};
use http::header;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ApiError;

/// A JSON body in, or out.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// A JSON body with its bytes, for requests that an idempotency key may repeat.
#[derive(Debug, Clone)]
pub struct JsonBytes<T>(pub T, pub Bytes);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBytes<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let kind =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = kind.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Error::new(
                ErrorKind::UnsupportedMediaType,
                "send the body as JSON, with `Content-Type: application/json`",
            )
            .into());
        }
        let bytes: Bytes =
            request.extract().await.map_err(|rejection: axum::extract::rejection::BytesRejection| {
                if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE {
                    Error::new(ErrorKind::TooLarge, "the request body is too large")
                } else {
                    Error::invalid("the request body broke off").with_cause(rejection)
                }
            })?;
        let value = parse(&bytes)?;
        Ok(Self(value, bytes))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // PostgreSQL refuses NUL in text, and nothing of ours needs one: refuse it on both, at the door. In JSON it can only
    // come as an escape; a backslash before that escape makes it harmless, and is too rare to tell apart.
    if bytes.windows(6).any(|window| window.eq_ignore_ascii_case(b"\\u0000")) {
        return Err(Error::invalid("the body holds a NUL character (\\u0000)").into());
    }
    // An array would pass for an object by the order of its fields; no body of ours is one.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Error::invalid("the body is an array; an object is expected").into());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(value) => value,
        // To JSON Schema, and to languages with one kind of number, 2.0 is the integer 2.
        Err(error) if error.inner().is_data() && error.inner().to_string().contains("floating point") => {
            let mut body: serde_json::Value = serde_json::from_slice(bytes).map_err(|_| refusal(error))?;
            whole_numbers(&mut body);
            return Ok(serde_path_to_error::deserialize(body).map_err(refusal)?);
        }
        Err(error) => return Err(refusal(error).into()),
    };
    deserializer.end().map_err(|error| Error::invalid(format!("the body is not one JSON value: {error}")))?;
    Ok(value)
}

fn refusal(error: serde_path_to_error::Error<serde_json::Error>) -> Error {
    let pointer = pointer(error.path());
    let inner = error.into_inner();
    if inner.is_data() {
        Error::invalid_field(pointer, inner.to_string())
    } else {
        Error::invalid(format!("the body is not JSON: {inner}"))
    }
}

/// Writes numbers without a fraction as integers, as far as a double holds them exactly.
fn whole_numbers(value: &mut serde_json::Value) {
    use serde_json::Value;
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64())
                && float.fract() == 0.0
                && float.abs() <= EXACT
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "whole, and within what a double holds exactly"
                )]
                let whole = float as i64;
                *value = Value::from(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |text, segment| match segment {
        Segment::Seq { index } => format!("{text}/{index}"),
        Segment::Map { key } => format!("{text}/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => text,
    })
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        JsonBytes::from_request(request, state).await.map(|JsonBytes(value, _)| Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(error) => ApiError::from(Error::internal(error)).into_response(),
        }
    }
}

/// Path parameters.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // What cannot be a name or id cannot be found.
        let axum::extract::Path(value) = axum::extract::Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::new(ErrorKind::NotFound, "there is nothing of that name"))?;
        if parts.uri.path().contains("%00") {
            return Err(Error::new(ErrorKind::NotFound, "there is nothing of that name").into());
        }
        Ok(Self(value))
    }
}

/// Query parameters.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(Error::invalid("the query holds a NUL character (%00)").into());
        }
        let axum::extract::Query(value) = axum::extract::Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Error::invalid(format!("the query is wrong: {}", rejection.body_text())))?;
        Ok(Self(value))
    }
}
