//! Who asks: the holder of the token, or the local operator at the platform's socket. Nobody else is answered, but at the
//! paths named open.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::IncomingStream;
use hafen_base::{Actor, ActorKind, Error, ErrorKind, Result};
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, UnixListener};

use crate::ApiError;
use crate::problem::RequestId;

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
    token: Arc<[u8; 32]>,
    operator: Option<u32>,
}

impl Access {
    /// Whoever presents this token, and requests from within this process that present it.
    pub fn token(token: &str) -> Self {
        Self { token: Arc::new(Sha256::digest(token.as_bytes()).into()), operator: None }
    }

    /// And this user, without a token, at the platform's socket; root as well, who can become any user.
    #[must_use]
    pub fn and_operator(mut self, uid: u32) -> Self {
        self.operator = Some(uid);
        self
    }

    fn fits(&self, presented: &str) -> bool {
        // Both sides are hashes of equal length, compared in constant time.
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        presented.ct_eq(&*self.token).into()
    }

    /// Who asks; nobody, where what is presented is not good. A token that is presented decides, wherever it comes from.
    fn who(&self, headers: &HeaderMap, peer: Option<Peer>) -> Option<Actor> {
        let mut presented = headers.get_all(header::AUTHORIZATION).iter();
        match (presented.next(), presented.next()) {
            (Some(value), None) => {
                let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
                if !scheme.eq_ignore_ascii_case("bearer") || !self.fits(rest.trim()) {
                    return None;
                }
                Some(match peer {
                    // One service calls another for whoever it acts for.
                    None => Actor::current(),
                    Some(peer) => Actor {
                        kind: ActorKind::LocalOperator,
                        id: "operator".into(),
                        name: "holder of the platform's token".into(),
                        credential: "token/platform".into(),
                        address: match peer {
                            Peer::Tcp(address) => Some(address.ip().to_canonical().to_string()),
                            Peer::Socket { .. } => None,
                        },
                        ..Actor::platform()
                    },
                })
            }
            (None, _) => match (peer, self.operator) {
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
            _ => None,
        }
    }
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

pub(crate) async fn check(access: Access, open: &[&str], request: Request, next: Next) -> Response {
    if open.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| *peer);
    let Some(mut actor) = access.who(request.headers(), peer) else { return refused() };
    match reason(request.headers()) {
        Ok(reason) if reason.is_empty() => {}
        Ok(reason) => actor.reason = reason,
        Err(error) => return ApiError::from(error).into_response(),
    }
    if let (Some(_), Some(RequestId(id))) = (peer, request.extensions().get::<RequestId>()) {
        actor.request_id.clone_from(id);
    }
    actor.acts(next.run(request)).await
}

fn refused() -> Response {
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
        let who = |text: &str, peer| access.who(&headers(text), peer).map(|actor| actor.credential);
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
        assert!(access.who(&twice, Some(socket(Some(1000)))).is_none());
        let strict = Access::token("secret");
        assert!(strict.who(&HeaderMap::new(), Some(socket(Some(0)))).is_none(), "no operator was named");
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
