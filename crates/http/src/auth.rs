//! Who asks: the holder of the token, or the local operator at the platform's socket. Nobody else is answered, but at the
//! paths named open.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::IncomingStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{Actor, ActorKind, Error, ErrorKind, Permitted, Result};
use http::{Extensions, HeaderMap, Method, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, UnixListener};

use crate::problem::RequestId;
use crate::{ApiError, Call, CallOutcome, Edge};

/// In its own words why somebody does something: goes into the record of what happened.
const REASON: &str = "hafen-reason";
const MAX_REASON: usize = 500;

/// Where a request came from. One without came from within this process.
#[derive(Debug, Clone, Copy)]
pub enum Peer {
    Tcp(SocketAddr),
    /// The user at the other end of the platform's socket, as the kernel says.
    Socket {
        uid: Option<u32>,
    },
}

impl Peer {
    /// Its IP address; none for somebody on this host's socket.
    #[must_use]
    pub fn address(self) -> Option<String> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical().to_string()),
            Self::Socket { .. } => None,
        }
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self::Tcp(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::Socket { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// Who may ask. Holds only the token's hash, so that a stray `{:?}` or core dump shows no secret.
#[derive(Clone)]
pub struct Access {
    token: Option<Arc<[u8; 32]>>,
    operator: Option<u32>,
}

impl Access {
    /// Whoever presents this token, and requests from within this process that present it.
    pub fn token(token: &str) -> Self {
        Self { token: Some(Arc::new(Sha256::digest(token.as_bytes()).into())), operator: None }
    }

    /// No token opens.
    pub fn nobody() -> Self {
        Self { token: None, operator: None }
    }

    /// And this user, without a token, at the platform's socket; root as well, who can become any user.
    #[must_use]
    pub fn and_operator(mut self, uid: u32) -> Self {
        self.operator = Some(uid);
        self
    }

    /// Whether this is the token, in constant time.
    pub fn fits(&self, presented: &str) -> bool {
        let Some(token) = &self.token else { return false };
        // Both sides are hashes of equal length.
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        presented.ct_eq(&**token).into()
    }

    /// Who asks, by the token or at the socket; nobody, where neither is good. A token that is presented decides, wherever
    /// it comes from.
    pub fn who(&self, bearer: Option<&str>, peer: Option<Peer>) -> Option<Actor> {
        match bearer {
            Some(bearer) if !self.fits(bearer) => None,
            Some(_) => Some(match peer {
                // One service calls another for whoever it acts for.
                None => Actor::current(),
                Some(peer) => Actor {
                    kind: ActorKind::LocalOperator,
                    id: "operator".into(),
                    name: "holder of the platform's token".into(),
                    credential: "token/platform".into(),
                    address: peer.address(),
                    ..Actor::platform()
                },
            }),
            None => match (peer, self.operator) {
                (Some(Peer::Socket { uid: Some(uid) }), Some(operator)) if uid == operator || uid == 0 => {
                    Some(Actor {
                        kind: ActorKind::LocalOperator,
                        id: format!("uid-{uid}"),
                        name: format!("user {uid} of this host"),
                        credential: "socket".into(),
                        ..Actor::platform()
                    })
                }
                _ => None,
            },
        }
    }
}

/// By what a request says who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    Nothing,
    /// Of `Authorization: Bearer …`, or where git asks, of `Basic …`.
    Bearer(&'a str),
    /// The session that one of the platform's own pages has in a cookie.
    Cookie(&'a str),
}

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Bearer(_) => "Bearer(…)",
            Self::Cookie(_) => "Cookie(…)",
        })
    }
}

/// What a request shows before it is let in.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a Method,
    /// The route, as `/api/v1/projects/{project}/machines`; none where there is no such path.
    pub route: Option<&'a str>,
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
    pub shown: Shown<'a>,
    pub peer: Option<Peer>,
}

/// Who was let in.
#[derive(Debug)]
pub struct Admitted {
    pub actor: Actor,
    /// For the handlers of services that know the caller more closely.
    pub extensions: Extensions,
}

/// Decides who may ask what.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Lets a request in, or says why not.
    ///
    /// # Errors
    /// Unauthenticated, forbidden, or not found where the caller may not even know of it.
    async fn admit(&self, asked: Asked<'_>) -> Result<Admitted>;
}

#[async_trait]
impl Gate for Access {
    async fn admit(&self, asked: Asked<'_>) -> Result<Admitted> {
        let bearer = match asked.shown {
            Shown::Nothing => None,
            Shown::Bearer(bearer) => Some(bearer),
            // It knows no sessions.
            Shown::Cookie(_) => return Err(unauthenticated()),
        };
        let actor = self.who(bearer, asked.peer).ok_or_else(unauthenticated)?;
        // Who has the platform's token answers for it, and services see whatever they were asked about.
        let mut extensions = Extensions::new();
        extensions.insert(Permitted::Everything);
        Ok(Admitted { actor, extensions })
    }
}

/// Paths at which `git` asks, which knows no bearer tokens: it shows the token as a password, with any user's name.
pub(crate) fn is_git(path: &str) -> bool {
    path.starts_with("/git/")
}

/// The token of `Authorization: Bearer …`, or as a password of `Basic …` where that is `basic`. A header that is there and is
/// not that is refused: it must not pass for none.
fn bearer(headers: &HeaderMap, basic: bool) -> Result<Option<Cow<'_, str>>> {
    let mut presented = headers.get_all(header::AUTHORIZATION).iter();
    match (presented.next(), presented.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text =
                value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(unauthenticated)?;
            match text {
                (scheme, token) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim().into())),
                (scheme, text) if basic && scheme.eq_ignore_ascii_case("basic") => {
                    password(text.trim()).map(|token| Some(token.into())).ok_or_else(unauthenticated)
                }
                _ => Err(unauthenticated()),
            }
        }
        (Some(_), Some(_)) => Err(unauthenticated()),
    }
}

/// The password of RFC 7617.
fn password(text: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// The reason that is given, if it is one to keep.
fn reason(headers: &HeaderMap) -> Result<String> {
    let Some(value) = headers.get(REASON) else { return Ok(String::new()) };
    let text = std::str::from_utf8(value.as_bytes()).map(str::trim).unwrap_or_default();
    if text.is_empty() || text.len() > MAX_REASON || text.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "the header {REASON} holds 1 to {MAX_REASON} bytes of UTF-8 text"
        )));
    }
    Ok(text.to_owned())
}

pub(crate) async fn check(edge: Edge, request: Request, next: Next) -> Response {
    // Apart, because a body must not be shared across threads, and the gate may wait.
    let (mut parts, body) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| *peer);
    let request_id = match (peer, parts.extensions.get::<RequestId>()) {
        (Some(_), Some(RequestId(id))) => id.clone(),
        _ => String::new(),
    };
    let route = parts.extensions.get::<MatchedPath>().cloned();
    let open = |path: &str| edge.open.contains(&path);
    if open(parts.uri.path()) || route.as_ref().is_some_and(|route| open(route.as_str())) {
        let anybody = Actor { address: peer.and_then(Peer::address), request_id, ..Actor::platform() };
        return anybody.acts(next.run(Request::from_parts(parts, body))).await;
    }
    let git = is_git(parts.uri.path());
    let admitted = async {
        let bearer = bearer(&parts.headers, git)?;
        let shown = match &bearer {
            Some(bearer) => Shown::Bearer(bearer),
            // Browsers come over TCP, and git has no pages.
            None => match &edge.site {
                Some(site) if !git && matches!(peer, Some(Peer::Tcp(_))) => {
                    site.session(&parts.method, &parts.headers).map_or(Shown::Nothing, Shown::Cookie)
                }
                _ => Shown::Nothing,
            },
        };
        let asked = Asked {
            method: &parts.method,
            route: route.as_ref().map(MatchedPath::as_str),
            path: parts.uri.path(),
            query: parts.uri.query(),
            shown,
            peer,
        };
        let mut admitted = edge.gate.admit(asked).await?;
        let reason = reason(&parts.headers)?;
        if !reason.is_empty() {
            admitted.actor.reason = reason;
        }
        if peer.is_some() {
            admitted.actor.request_id = request_id;
        }
        Ok(admitted)
    };
    let Admitted { actor, extensions } = match admitted.await {
        Ok(admitted) => admitted,
        Err(error) => return refused(error, git),
    };
    parts.extensions.extend(extensions);
    let request = Request::from_parts(parts, body);
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(calls) = edge.calls.filter(|_| changes && peer.is_some()) else {
        return actor.acts(next.run(request)).await;
    };
    let call = Call {
        id: actor.request_id.clone(),
        actor: actor.clone(),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
    };
    // What cannot be written down is not done.
    if let Err(error) = calls.opened(&call).await {
        return ApiError::from(error).into_response();
    }
    let response = actor.acts(next.run(request)).await;
    if let Err(error) = calls.completed(&call.id, CallOutcome::Answered(response.status().as_u16())).await {
        tracing::error!(request_id = call.id, "a call was made whose end could not be recorded: {error}");
    }
    response
}

fn unauthenticated() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "send a token as `Authorization: Bearer …`, or sign in; on the platform's host its owner needs none",
    )
}

fn refused(error: Error, git: bool) -> Response {
    let unknown = error.kind() == ErrorKind::Unauthenticated;
    let mut answer = ApiError::from(error).into_response();
    if unknown {
        let way = if git { "Basic realm=\"hafen\", charset=\"UTF-8\"" } else { "Bearer realm=\"hafen\"" };
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static(way));
    }
    answer
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_owner_at_the_socket_needs_no_token() {
        let access = Access::token("secret").and_operator(1000);
        let tcp = Peer::Tcp("192.0.2.7:1".parse().unwrap());
        let socket = |uid| Peer::Socket { uid };
        let headers = |text: &str| {
            let mut headers = HeaderMap::new();
            if !text.is_empty() {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap());
            }
            headers
        };
        let ask = |access: &Access, headers: &HeaderMap, peer| {
            access.who(bearer(headers, false).ok()?.as_deref(), peer).map(|actor| actor.credential)
        };
        let who = |text: &str, peer| ask(&access, &headers(text), peer);
        for (authorization, peer, expected) in [
            ("", Some(socket(Some(1000))), Some("socket")),
            ("", Some(socket(Some(0))), Some("socket")),
            ("", Some(socket(Some(1001))), None),
            ("", Some(socket(None)), None),
            ("", Some(tcp), None),
            ("", None, None),
            ("Bearer secret", Some(tcp), Some("token/platform")),
            ("bearer  secret", Some(socket(Some(1001))), Some("token/platform")),
            ("Bearer wrong", Some(socket(Some(1000))), None),
            ("Basic secret", Some(tcp), None),
            ("Bearer", Some(tcp), None),
            ("Bearer secret", None, Some("")),
        ] {
            assert_eq!(who(authorization, peer).as_deref(), expected, "{authorization:?} {peer:?}");
        }
        let mut twice = headers("Bearer secret");
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
        assert!(ask(&access, &twice, Some(socket(Some(1000)))).is_none());
        let strict = Access::token("secret");
        assert!(ask(&strict, &HeaderMap::new(), Some(socket(Some(0)))).is_none(), "no operator was named");
    }

    #[test]
    fn git_shows_its_token_as_a_password() {
        let shown = |text: &str, basic| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap());
            bearer(&headers, basic).ok().flatten().map(Cow::into_owned)
        };
        let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (text, basic, expected) in [
            (encoded("x:secret"), true, Some("secret")),
            (encoded(":se:cret"), true, Some("se:cret")),
            (encoded("x:"), true, Some("")),
            (encoded("secret"), true, None),
            (encoded("x:secret"), false, None),
            ("Basic ???".into(), true, None),
            ("Basic".into(), true, None),
            ("Bearer secret".into(), true, Some("secret")),
            ("Digest x".into(), true, None),
        ] {
            assert_eq!(shown(&text, basic).as_deref(), expected, "{text} {basic}");
        }
        assert!(is_git("/git/a/b.git/info/refs") && !is_git("/api/v1/git/") && !is_git("/gitx/"));
    }

    #[test]
    fn a_reason_is_short_text() {
        let given = |bytes: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REASON, HeaderValue::from_bytes(bytes).unwrap());
            reason(&headers)
        };
        assert_eq!(given("Störung 4711".as_bytes()).unwrap(), "Störung 4711");
        assert_eq!(reason(&HeaderMap::new()).unwrap(), "");
        for bad in [&b" "[..], &[0xff], &[b'x'; 501], b"a\tb"] {
            assert!(given(bad).is_err(), "{bad:?}");
        }
    }
}
