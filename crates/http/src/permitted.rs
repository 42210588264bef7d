//! What a caller may see, from the gate to the handlers of what spans projects.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use hafen_base::{Clock, Error, ErrorKind, Permitted, Result};
use http::request::Parts;

use crate::ApiError;

/// The roles that count for the caller at the project of a request, as the gate found them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles(pub Vec<String>);

/// Between two looks whether what lasts may go on.
const LOOK: Duration = Duration::from_secs(2);
/// Kinds of errors that say that it may not.
const ENDS: [ErrorKind; 3] = [ErrorKind::Unauthenticated, ErrorKind::Forbidden, ErrorKind::NotFound];

/// Says again what a caller may see, for answers that last.
#[async_trait]
pub trait Permits: Send + Sync + 'static {
    /// `used` where the caller did something since: then the credential is in use. An answer that only goes on keeps no session
    /// from ending for want of use.
    ///
    /// # Errors
    /// When the caller's right is over.
    async fn permitted(&self, used: bool) -> Result<Permitted>;

    /// What the caller may see by another action than the endpoint's; nothing where that is not permitted.
    ///
    /// # Errors
    /// When the caller's right is over.
    async fn permitted_by(&self, action: &'static str) -> Result<Permitted>;
}

/// Asks a gate anew; always the same where no gate said otherwise.
#[derive(Clone)]
pub struct StillPermitted(Option<Arc<dyn Permits>>);

impl StillPermitted {
    pub fn new(permits: Arc<dyn Permits>) -> Self {
        Self(Some(permits))
    }

    /// For who answers for the platform by its own token.
    pub const fn always() -> Self {
        Self(None)
    }

    /// What may be seen now; none: as before.
    ///
    /// # Errors
    /// When the caller's right is over.
    pub async fn now(&self) -> Result<Option<Permitted>> {
        self.ask(false).await
    }

    /// The same, of somebody who did something since this was asked last.
    ///
    /// # Errors
    /// As above.
    pub async fn used(&self) -> Result<Option<Permitted>> {
        self.ask(true).await
    }

    /// Returns when the caller's right is over, and not before. `used` is set by who carries something for the caller, and says
    /// that the caller did something. What cannot be told just now is told the next time.
    pub async fn over(&self, clock: &dyn Clock, used: &AtomicBool) -> Error {
        loop {
            clock.sleep(LOOK).await;
            match self.ask(used.swap(false, Ordering::Relaxed)).await {
                Ok(Some(_)) => {}
                Ok(None) => std::future::pending().await,
                Err(error) if ENDS.contains(&error.kind()) => return error,
                Err(error) => {
                    tracing::warn!(cause = %error.cause_chain(), "whether a stream may go on cannot be told: {error}");
                }
            }
        }
    }

    async fn ask(&self, used: bool) -> Result<Option<Permitted>> {
        match &self.0 {
            Some(permits) => permits.permitted(used).await.map(Some),
            None => Ok(None),
        }
    }

    /// What may be seen now by another action than the endpoint's.
    ///
    /// # Errors
    /// When the caller's right is over.
    pub async fn by(&self, action: &'static str) -> Result<Permitted> {
        match &self.0 {
            Some(permits) => permits.permitted_by(action).await,
            None => Ok(Permitted::Everything),
        }
    }
}

/// An endpoint that the gate does not know to span projects shows nothing: better an error than what is not one's own.
#[derive(Clone, Debug)]
pub struct Sees(pub Permitted);

impl<S: Send + Sync> FromRequestParts<S> for Sees {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let permitted = parts.extensions.get::<Permitted>().cloned();
        permitted.map(Self).ok_or_else(|| {
            Error::new(ErrorKind::Forbidden, "nobody said what you may see here, so that nothing is shown")
                .into()
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for StillPermitted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::always))
    }
}
