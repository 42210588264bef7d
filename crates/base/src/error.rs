//! One error type for the whole control plane.
//!
//! The *message* is for the caller: it says what is wrong and, where a person can mend it, how. The *cause* is for
//! the log only; it never leaves the process (a 500 says nothing of its cause).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Shorthand used across the workspace.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure a caller can tell apart; each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// 400: the request itself is wrong.
    Invalid,
    /// 401
    Unauthenticated,
    /// 403
    Forbidden,
    /// 404: absent, or hidden from this caller.
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408: a wait ran into its timeout.
    Timeout,
    /// 409: the state of the object does not allow it.
    Conflict,
    /// 412: `If-Match` or a saved plan no longer fits.
    Stale,
    /// 413
    TooLarge,
    /// 415
    UnsupportedMediaType,
    /// 422: well formed, and refused by a quota.
    Quota,
    /// 429: too often; the message says how long to wait.
    TooMany,
    /// 500
    Internal,
    /// 503: try again.
    Unavailable,
    /// 507: no room on the disk; nothing was lost.
    NoSpace,
}

impl ErrorKind {
    /// The HTTP status of this kind.
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::Conflict => 409,
            Self::Stale => 412,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Quota => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::NoSpace => 507,
        }
    }

    /// The kind an HTTP status stands for; what is not listed is `Internal`.
    pub const fn from_status(status: u16) -> Self {
        match status {
            400 => Self::Invalid,
            401 => Self::Unauthenticated,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::Timeout,
            409 => Self::Conflict,
            412 => Self::Stale,
            413 => Self::TooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::Quota,
            429 => Self::TooMany,
            503 => Self::Unavailable,
            507 => Self::NoSpace,
            _ => Self::Internal,
        }
    }

    /// The default machine-readable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Timeout => "timeout",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Quota => "quota_exceeded",
            Self::TooMany => "too_many_requests",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::NoSpace => "no_space",
        }
    }
}

/// One thing that is wrong in the input: a JSON pointer into the body, or the manifest's line and column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct FieldProblem {
    /// JSON pointer (RFC 6901) into the request body; empty when a line is given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// File name as the caller gave it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// 1-based line; 0 when not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub line: u32,
    /// 1-based column in characters; 0 when not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub column: u32,
    /// The diagnostic as a terminal shows it, with the offending text underlined.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rendered: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// An error with a public message apart from its private cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    code: Cow<'static, str>,
    message: String,
    fields: Vec<FieldProblem>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            code: kind.code().into(),
            message: message.into(),
            fields: Vec::new(),
            cause: None,
        }))
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// A wrong value at `pointer` (RFC 6901) of the request body.
    pub fn invalid_field(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let (pointer, message) = (pointer.into(), message.into());
        let public = if pointer.is_empty() { message.clone() } else { format!("{pointer}: {message}") };
        Self::invalid(public).with_fields(vec![FieldProblem { pointer, message, ..FieldProblem::default() }])
    }

    /// `what` as in `machine "web-1"`.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("there is no {what}"))
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A failure that is ours. The cause goes to the log, never to the caller.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Internal, "internal error").with_cause(cause)
    }

    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// A more precise machine-readable code than the kind's.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = code.into();
        self
    }

    #[must_use]
    pub fn with_fields(mut self, fields: Vec<FieldProblem>) -> Self {
        self.0.fields = fields;
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The public message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn fields(&self) -> &[FieldProblem] {
        &self.0.fields
    }

    /// The private cause with its sources, for the log only.
    pub fn cause_chain(&self) -> String {
        let mut text = String::new();
        let mut next: Option<&(dyn std::error::Error + 'static)> = match &self.0.cause {
            Some(cause) => Some(&**cause),
            None => None,
        };
        while let Some(error) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)?;
        let cause = self.cause_chain();
        if cause.is_empty() { Ok(()) } else { write!(f, " ({cause})") }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            Some(cause) => Some(&**cause),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_stays_out_of_the_message() {
        let error = Error::internal(std::io::Error::other("password=hunter2"));
        assert_eq!(error.to_string(), "internal error");
        assert!(error.cause_chain().contains("hunter2"));
    }

    #[test]
    fn kinds_and_statuses_agree() {
        for status in [400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 429, 500, 503, 507] {
            assert_eq!(ErrorKind::from_status(status).status(), status);
        }
    }
}
