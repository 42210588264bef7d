//! gRPC: HTTP/2 on both sides, with trailers, both directions at a time.

use std::future::{pending, poll_fn};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};
use tokio::select;

use crate::backend::{Endpoint, InFlight};
use crate::exchange::Outcome;
use crate::head::{Framing, Head, Peer, goes_on};
use crate::proxy::{Proxy, Room, Said};
use crate::timer::Timer;
use crate::upstream;
use crate::wire::BoxStream;

/// Pings of one silence after the first.
const SELDOM: Duration = Duration::from_secs(310);

/// What a status of ours is to a gRPC client (`grpc.github.io/grpc/core/md_doc_statuscodes.html`).
const fn code(status: u16) -> &'static str {
    match status {
        404 => "12",
        413 | 429 => "8",
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
                Ok((begun, line)) => {
                    outcome.endpoint = Some(Arc::clone(&begun.0));
                    let most = host.body_most(proxy.limits().body);
                    match call(proxy, peer, id, head, parts, body, &mut respond, line, most).await {
                        Ok(sent) => {
                            begun.0.succeeded();
                            outcome.sent = sent;
                            None
                        }
                        Err(Ended::Client) => {
                            outcome.status = 499;
                            None
                        }
                        Err(Ended::TooLarge) => Some((413, "the call is larger than this host takes")),
                        Err(Ended::Slow) => Some((504, "what runs here did not answer in time")),
                        // Says nothing against the endpoint: anybody can make a call to what speaks no gRPC.
                        Err(Ended::Upstream(why)) => {
                            tracing::debug!(endpoint = begun.0.id, "a call was not answered: {why}");
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
        if respond.send_response(response, true).is_err() && status == 413 {
            // It was answered in part: what is RESOURCE_EXHAUSTED where a stream is reset (gRPC over HTTP/2, "Errors").
            respond.send_reset(Reason::ENHANCE_YOUR_CALM);
        }
    }
    let project = host.as_ref().map_or("", |host| host.plan.project.as_str());
    let said = Said { method: head.method.as_str(), host: &head.host, path: head.path(), project };
    proxy.log(peer, "h2", id, &said, began, &outcome);
    outcome.status
}

/// A connection of HTTP/2 to an endpoint.
#[derive(Clone)]
pub struct Line {
    sender: SendRequest<Bytes>,
    heard: Arc<Heard>,
}

/// What is known of a connection by those that use it.
struct Heard {
    /// When something of an answer came, or a call began.
    last: Mutex<Instant>,
    /// Calls under way.
    calls: AtomicU32,
}

/// A call under way; over when dropped.
struct Call(Arc<Heard>);

impl Heard {
    fn now(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    fn begin(heard: &Arc<Heard>) -> Self {
        heard.now();
        heard.calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(heard))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why there is no connection.
enum Away {
    /// There is no room for one.
    Full,
    /// Nothing accepted it.
    Refused(io::Error),
    /// Something did, and it came to nothing.
    Other(String),
}

/// A connection to an endpoint of the backend.
async fn reach(
    proxy: &Proxy,
    peer: &Peer,
    backend: &crate::backend::Backend,
) -> Result<(InFlight, Line), (u16, &'static str)> {
    let mut tried = Vec::new();
    while tried.len() < 3 {
        let Some(begun) = backend.choose(&tried) else { break };
        match connection(proxy, peer, &begun.0).await {
            Ok(line) => return Ok((begun, line)),
            Err(Away::Full) => {
                return Err((503, "more is under way than there is room for: try again in a moment"));
            }
            Err(Away::Refused(error)) => begun.0.failed(&error.to_string()),
            Err(Away::Other(why)) => {
                tracing::debug!(endpoint = begun.0.id, "no connection for a call: {why}");
            }
        }
        tried.push(Arc::clone(&begun.0));
    }
    Err(if tried.is_empty() {
        (503, "nothing that could answer is running just now")
    } else {
        (502, "nothing that runs took the call")
    })
}

async fn connection(proxy: &Proxy, peer: &Peer, endpoint: &Arc<Endpoint>) -> Result<Line, Away> {
    let other = |error: &dyn std::fmt::Display| Away::Other(error.to_string());
    let slot = endpoint.h2.get(peer.worker).ok_or_else(|| other(&"no such worker"))?;
    let known = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(Line { sender, heard }) = known
        && let Ok(sender) = sender.ready().await
    {
        return Ok(Line { sender, heard });
    }
    let limits = proxy.limits();
    let room = proxy.room().ok_or(Away::Full)?;
    let stream = upstream::connect(endpoint, proxy.connect(), limits.connect).await.map_err(Away::Refused)?;
    let handshake = h2::client::Builder::new()
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .enable_push(false)
        .handshake::<_, Bytes>(stream);
    let handshake = tokio::time::timeout(limits.connect, handshake).await.map_err(|error| other(&error))?;
    let (sender, driver) = handshake.map_err(|error| other(&error))?;
    let heard = Arc::new(Heard { last: Mutex::new(Instant::now()), calls: AtomicU32::new(0) });
    tokio::spawn(drive(driver, Arc::clone(&heard), Arc::downgrade(endpoint), limits.ping, room));
    let line = Line { sender: sender.clone(), heard: Arc::clone(&heard) };
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    let sender = sender.ready().await.map_err(|error| other(&error))?;
    Ok(Line { sender, heard })
}

/// Carries a connection until the last that sends over it is dropped and nothing is under way, or the other side is gone.
///
/// While a call waits and nothing comes, a ping tells a silent endpoint from one that is gone. One ping for each silence, and
/// then every five minutes: what serves gRPC takes more than that for abuse and hangs up (gRFC A8, "Server Enforcement").
async fn drive(
    mut driver: h2::client::Connection<BoxStream>,
    heard: Arc<Heard>,
    endpoint: Weak<Endpoint>,
    every: Duration,
    _room: Room,
) {
    let mut ping = driver.ping_pong();
    let mut look = tokio::time::interval(every);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look.reset();
    let (mut asked, mut pinged) = (false, None::<Instant>);
    loop {
        let pong = async {
            match &mut ping {
                Some(ping) if asked => poll_fn(|cx| ping.poll_pong(cx)).await.is_ok(),
                _ => pending().await,
            }
        };
        select! {
            biased;
            ended = &mut driver => {
                if let Err(error) = ended {
                    tracing::debug!("a connection to an endpoint ended: {error}");
                }
                return;
            }
            _good = pong => asked = false,
            _ = look.tick() => {
                if asked {
                    if let Some(endpoint) = endpoint.upgrade() {
                        endpoint.failed("a connection for calls went dead");
                    }
                    return;
                }
                let last = heard.last();
                let silent = heard.calls.load(Ordering::Relaxed) > 0 && last.elapsed() >= every;
                let may = pinged.is_none_or(|pinged| last > pinged || pinged.elapsed() > SELDOM);
                if silent && may {
                    pinged = Some(Instant::now());
                    asked = ping.as_mut().is_some_and(|ping| ping.send_ping(h2::Ping::opaque()).is_ok());
                }
            }
        }
    }
}

enum Ended {
    Client,
    Upstream(String),
    Slow,
    TooLarge,
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
    line: Line,
    most: u64,
) -> Result<u64, Ended> {
    let limits = proxy.limits();
    let Line { mut sender, heard } = line;
    if matches!(head.framing, Framing::Length(length) if length > most) {
        return Err(Ended::TooLarge);
    }
    let _under_way = Call::begin(&heard);
    let away = |error: &dyn std::fmt::Display| Ended::Upstream(error.to_string());
    let ended = body.is_end_stream();
    let request = request(peer, id, head, parts).ok_or_else(|| away(&"the request cannot be written"))?;
    let (answer, out) = sender.send_request(request, ended).map_err(|error| away(&error))?;
    let copied = |_: &Bytes| {};
    let up = copy(body, out, limits.answer_idle, limits.write, most, ended, copied);
    let down = async {
        let mut answer = answer;
        // Not the time of other answers: what serves a stream may give its head with the first message.
        let response = select! {
            response = tokio::time::timeout(limits.answer_idle, &mut answer) => {
                response.map_err(|_| Ended::Slow)?.map_err(|error| away(&error))?
            }
            _reset = poll_fn(|cx| respond.poll_reset(cx)) => return Err(Ended::Client),
        };
        heard.now();
        let (parts, body) = response.into_parts();
        let mut response = Response::new(());
        *response.status_mut() = parts.status;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = parts.headers;
        let ended = body.is_end_stream();
        let back = respond.send_response(response, ended).map_err(|_| Ended::Client)?;
        let copied = |_: &Bytes| heard.now();
        match copy(body, back, limits.answer_idle, limits.write, u64::MAX, ended, copied).await {
            Ok(sent) => Ok(sent),
            Err(Copying::To | Copying::TooLarge) => Err(Ended::Client),
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
                match copied {
                    Err(Copying::From(true)) => return Err(Ended::Client),
                    Err(Copying::TooLarge) => return Err(Ended::TooLarge),
                    // The answer says what is to be said.
                    Ok(_) | Err(Copying::From(false) | Copying::To) => {}
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
    TooLarge,
}

/// Carries a body and its trailers; a reset of one side becomes one of the other.
async fn copy(
    mut from: RecvStream,
    mut to: SendStream<Bytes>,
    idle: Duration,
    limit: Duration,
    most: u64,
    ended: bool,
    heard: impl Fn(&Bytes),
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
        heard(&chunk);
        let size = chunk.len();
        total = total.saturating_add(size as u64);
        if total > most {
            to.send_reset(Reason::CANCEL);
            return Err(Copying::TooLarge);
        }
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
