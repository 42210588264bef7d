//! The bearer token. Without it nothing is answered but the paths named open.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hafen_base::{Error, ErrorKind};
use http::header;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::ApiError;

/// What a request must present. Holds only the token's hash, so that a stray `{:?}` or core dump shows no secret.
#[derive(Clone)]
pub struct BearerToken(Arc<[u8; 32]>);

impl BearerToken {
    pub fn new(token: &str) -> Self {
        Self(Arc::new(Sha256::digest(token.as_bytes()).into()))
    }

    fn fits(&self, presented: &str) -> bool {
        // Both sides are hashes of equal length, compared in constant time.
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        presented.ct_eq(&*self.0).into()
    }
}

pub(crate) async fn check(token: BearerToken, open: &[&str], request: Request, next: Next) -> Response {
    if open.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
    let presented = headers.next().and_then(|value| value.to_str().ok());
    let good = headers.next().is_none()
        && presented
            .and_then(|value| value.split_once(' '))
            .is_some_and(|(scheme, rest)| scheme.eq_ignore_ascii_case("bearer") && token.fits(rest.trim()));
    if good {
        return next.run(request).await;
    }
    let error = Error::new(
        ErrorKind::Unauthenticated,
        "send the platform's token as `Authorization: Bearer …`; it stands in the file `token` under HAFEN_HOME",
    );
    let mut answer = ApiError::from(error).into_response();
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer realm=\"hafen\""));
    answer
}
