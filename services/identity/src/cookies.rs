//! Sessions as cookies: the browser holds them, and no script can read them.

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::SessionCreated;
use hafen_http::Site;
use hafen_http::site::{DEVICE, SESSION};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::Identity;

/// A year: a device is known for longer than a session lasts.
const KNOWN: u32 = 31_536_000;

/// How a session is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Handing {
    Cookie,
}

#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HandingQuery {
    /// `cookie`: the session comes as a cookie that scripts cannot read, and `token` and `device` are empty. For pages of the
    /// platform itself: a request from another page is refused.
    #[param(inline)]
    session: Option<Handing>,
}

impl Identity {
    /// Where browsers find the platform.
    pub fn site(&self) -> &Site {
        &self.0.site
    }

    /// Whether the session shall be a cookie.
    ///
    /// # Errors
    /// Forbidden where a page of somebody else asks for that.
    pub(crate) fn wants_cookie(&self, query: HandingQuery, headers: &HeaderMap) -> Result<bool> {
        if query.session != Some(Handing::Cookie) {
            return Ok(false);
        }
        if self.0.site.is_own(headers) {
            return Ok(true);
        }
        Err(Error::new(
            ErrorKind::Forbidden,
            "a session becomes a cookie only for pages of this platform: open it at its public address",
        )
        .with_code("foreign_page"))
    }

    /// The device that a browser has a cookie of.
    pub(crate) fn device(&self, headers: &HeaderMap) -> Option<String> {
        self.0.site.cookie(headers, DEVICE).map(str::to_owned)
    }

    /// Gives a session out: the cookies of it, and then nothing in the body that opens anything.
    pub(crate) fn hand_over(&self, cookie: bool, session: Option<&mut SessionCreated>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(session) = session.filter(|_| cookie) {
            self.set_cookies(&mut headers, session);
            session.token.clear();
            session.device.clear();
        }
        headers
    }

    pub(crate) fn set_cookies(&self, headers: &mut HeaderMap, session: &SessionCreated) {
        for (name, value, age) in [(SESSION, &session.token, None), (DEVICE, &session.device, Some(KNOWN))] {
            if let Ok(value) = HeaderValue::from_str(&self.0.site.set_cookie(name, value, age)) {
                headers.append(header::SET_COOKIE, value);
            }
        }
    }

    /// Takes the session's cookie away, where there is one.
    pub(crate) fn clear_cookie(&self, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.0.site.cookie(asked, SESSION).is_some()
            && let Ok(value) = HeaderValue::from_str(&self.0.site.set_cookie(SESSION, "", Some(0)))
        {
            headers.append(header::SET_COOKIE, value);
        }
        headers
    }
}
