//! gRPC: HTTP/2 on both sides, with trailers, both directions at a time.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};
use tokio::select;

use crate::backend::{Endpoint, InFlight};
use crate::exchange::Outcome;
use crate::head::{Head, Peer, goes_on};
use crate::proxy::{Proxy, Said};
use crate::timer::Timer;
use crate::upstream;

/// What a status of ours is to a gRPC client (`grpc.github.io/grpc/core/md_doc_statuscodes.html`).
const fn code(status: u16) -> &'static str {
    match status {
        404 => "12",
        429 => "8",
        504 => "4",
        421 | 308 => "13",
        _ => "14",
    }
}

/// One call; gives the status for the log.
pub async fn serve(
    proxy: &Proxy,
    peer: &Peer,
    id: &str,
    head: &Head,
    parts: http::request::Parts,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
) -> u16 {
    let began = Instant::now();
    let host = proxy.table().host(&head.host);
    let mut outcome = Outcome { status: 200, sent: 0, endpoint: None, whole: false, switched: None };
    let refused = match (&host, proxy.before(peer, head, host.as_deref()).await) {
        (_, Some(page)) => Some((page.status, "refused by the edge")),
        (None, None) => Some((404, "no such host is served here")),
        (Some(host), None) => match host.backend(head.path()) {
            None => Some((404, "nothing is served at this path")),
            Some(backend) => match reach(proxy, peer, backend).await {
                Err(refused) => Some(refused),
                Ok((begun, sender)) => {
                    outcome.endpoint = Some(Arc::clone(&begun.0));
                    match call(proxy, peer, id, head, parts, body, &mut respond, sender).await {
                        Ok(sent) => {
                            begun.0.succeeded();
                            outcome.sent = sent;
                            None
                        }
                        Err(Ended::Client) => {
                            outcome.status = 499;
                            None
                        }
                        Err(Ended::Upstream(why)) => {
                            begun.0.failed(&why);
                            Some((502, "what runs here did not answer"))
                        }
                    }
                }
            },
        },
    };
    if let Some((status, why)) = refused {
        outcome.status = status;
        let mut response = Response::new(());
        *response.version_mut() = Version::HTTP_2;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        fields.insert("grpc-status", HeaderValue::from_static(code(status)));
        if let Ok(message) = HeaderValue::from_str(&format!("{why} (request {id})")) {
            fields.insert("grpc-message", message);
        }
        let _gone = respond.send_response(response, true);
    }
    let project = host.as_ref().map_or("", |host| host.plan.project.as_str());
    let said = Said { method: head.method.as_str(), host: &head.host, path: head.path(), project };
    proxy.log(peer, "h2", id, &said, began, &outcome);
    outcome.status
}

/// A connection of HTTP/2 to an endpoint of the backend.
async fn reach(
    proxy: &Proxy,
    peer: &Peer,
    backend: &crate::backend::Backend,
) -> Result<(InFlight, SendRequest<Bytes>), (u16, &'static str)> {
    let mut tried = Vec::new();
    while tried.len() < 3 {
        let Some(begun) = backend.choose(&tried) else { break };
        match connection(proxy, peer, &begun.0).await {
            Ok(sender) => return Ok((begun, sender)),
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                return Err((503, "more is under way than there is room for: try again in a moment"));
            }
            Err(error) => {
                begun.0.failed(&error.to_string());
                tried.push(Arc::clone(&begun.0));
            }
        }
    }
    Err(if tried.is_empty() {
        (503, "nothing that could answer is running just now")
    } else {
        (502, "nothing that runs took the call")
    })
}

async fn connection(proxy: &Proxy, peer: &Peer, endpoint: &Arc<Endpoint>) -> io::Result<SendRequest<Bytes>> {
    let slot = endpoint.h2.get(peer.worker).ok_or(io::ErrorKind::NotFound)?;
    let known = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(known) = known
        && let Ok(ready) = known.ready().await
    {
        return Ok(ready);
    }
    let limit = proxy.limits().connect;
    let room = proxy.room().ok_or(io::ErrorKind::QuotaExceeded)?;
    let stream = upstream::connect(endpoint, proxy.connect(), limit).await?;
    let handshake = h2::client::Builder::new()
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .enable_push(false)
        .handshake::<_, Bytes>(stream);
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let (sender, driver) =
        tokio::time::timeout(limit, handshake).await.map_err(slow)?.map_err(io::Error::other)?;
    // Ends when the last that sends over it is dropped, and nothing is under way.
    tokio::spawn(async move {
        let _room = room;
        if let Err(error) = driver.await {
            tracing::debug!("a connection to an endpoint ended: {error}");
        }
    });
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
    sender.ready().await.map_err(io::Error::other)
}

enum Ended {
    Client,
    Upstream(String),
}

#[expect(clippy::too_many_arguments, reason = "both sides of a call")]
async fn call(
    proxy: &Proxy,
    peer: &Peer,
    id: &str,
    head: &Head,
    parts: http::request::Parts,
    body: RecvStream,
    respond: &mut SendResponse<Bytes>,
    mut sender: SendRequest<Bytes>,
) -> Result<u64, Ended> {
    let limits = proxy.limits();
    let away = |error: &dyn std::fmt::Display| Ended::Upstream(error.to_string());
    let ended = body.is_end_stream();
    let request = request(peer, id, head, parts).ok_or_else(|| away(&"the request cannot be written"))?;
    let (answer, out) = sender.send_request(request, ended).map_err(|error| away(&error))?;
    let up = copy(body, out, limits.answer_idle, limits.write, ended);
    let down = async {
        let mut answer = answer;
        let response = select! {
            response = &mut answer => response.map_err(|error| away(&error))?,
            _reset = poll_fn(|cx| respond.poll_reset(cx)) => return Err(Ended::Client),
        };
        let (parts, body) = response.into_parts();
        let mut response = Response::new(());
        *response.status_mut() = parts.status;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = parts.headers;
        let ended = body.is_end_stream();
        let back = respond.send_response(response, ended).map_err(|_| Ended::Client)?;
        match copy(body, back, limits.answer_idle, limits.write, ended).await {
            Ok(sent) => Ok(sent),
            Err(Copying::To) => Err(Ended::Client),
            // The stream to the client is reset by now: there is no other answer to give.
            Err(Copying::From(_)) => Ok(0),
        }
    };
    tokio::pin!(up, down);
    let mut uploaded = false;
    loop {
        select! {
            biased;
            sent = &mut down => return sent,
            copied = &mut up, if !uploaded => {
                uploaded = true;
                if let Err(Copying::From(true)) = copied {
                    return Err(Ended::Client);
                }
            }
        }
    }
}

fn request(peer: &Peer, id: &str, head: &Head, parts: http::request::Parts) -> Option<Request<()>> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(&*head.authority)
        .path_and_query(&*head.target)
        .build()
        .ok()?;
    let mut fields = HeaderMap::new();
    for (name, value) in &parts.headers {
        if goes_on(name.as_str(), false)
            || name == header::TE
            || name == header::CONTENT_LENGTH
            || name.as_str().starts_with("grpc-")
        {
            fields.append(name, value.clone());
        }
    }
    let proto = if peer.tls.is_some() { "https" } else { "http" };
    let own = [
        ("x-forwarded-for", peer.text.to_string()),
        ("x-forwarded-proto", proto.to_owned()),
        ("x-forwarded-host", head.authority.to_string()),
        ("x-request-id", id.to_owned()),
    ];
    for (name, value) in own {
        fields.insert(name, HeaderValue::from_str(&value).ok()?);
    }
    let mut request = Request::new(());
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = fields;
    Some(request)
}

/// Which side a copy broke at.
enum Copying {
    /// `true` when it was reset, not only slow.
    From(bool),
    To,
}

/// Carries a body and its trailers; a reset of one side becomes one of the other.
async fn copy(
    mut from: RecvStream,
    mut to: SendStream<Bytes>,
    idle: Duration,
    limit: Duration,
    ended: bool,
) -> Result<u64, Copying> {
    if ended {
        return Ok(0);
    }
    let (mut timer, mut total) = (Timer::default(), 0_u64);
    loop {
        let next = select! {
            next = timer.run(idle, from.data()) => next,
            _reset = poll_fn(|cx| to.poll_reset(cx)) => return Err(Copying::To),
        };
        let mut chunk = match next {
            None => {
                to.send_reset(Reason::CANCEL);
                return Err(Copying::From(false));
            }
            Some(Some(Err(error))) => {
                to.send_reset(error.reason().unwrap_or(Reason::CANCEL));
                return Err(Copying::From(true));
            }
            Some(Some(Ok(chunk))) => chunk,
            Some(None) => break,
        };
        let size = chunk.len();
        while !chunk.is_empty() {
            to.reserve_capacity(chunk.len());
            match timer.run(limit, poll_fn(|cx| to.poll_capacity(cx))).await {
                Some(Some(Ok(room))) => {
                    let piece = chunk.split_to(room.min(chunk.len()));
                    to.send_data(piece, false).map_err(|_| Copying::To)?;
                }
                _ => return Err(Copying::To),
            }
        }
        total += size as u64;
        let _over = from.flow_control().release_capacity(size);
    }
    match from.trailers().await {
        Ok(Some(trailers)) => to.send_trailers(trailers).map_err(|_| Copying::To)?,
        Ok(None) => to.send_data(Bytes::new(), true).map_err(|_| Copying::To)?,
        Err(error) => {
            to.send_reset(error.reason().unwrap_or(Reason::CANCEL));
            return Err(Copying::From(true));
        }
    }
    Ok(total)
}
