//! Clients that speak HTTP/2.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue, Request, Response, Version, header};
use tokio::select;

use crate::answer::{self, Answer};
use crate::exchange::{Outcome, Sink, Source};
use crate::grpc;
use crate::head::{Framing, Head, Peer, Reject, Writer, goes_on};
use crate::pages::Page;
use crate::proxy::{Proxy, Said};
use crate::target;
use crate::timer::Timer;
use crate::wire::{Broken, Stream};

const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How often a silent connection is looked at.
const LOOK: Duration = Duration::from_secs(15);
/// A connection whose room is needed has so long to take its leave.
const SHORTLY: Duration = Duration::from_secs(1);
/// Streams that a client opened and gave up: more than these, and more than it let end, is no browser (CVE-2023-44487).
const RESETS: u32 = 100;
/// What is sent at once where there is room for it.
const AHEAD: usize = 16 * 1024;

/// What the streams of a connection count together.
#[derive(Default)]
struct Counts {
    active: AtomicU32,
    ended: AtomicU32,
    given_up: AtomicU32,
}

/// Serves a connection to its end.
pub async fn serve<S: Stream + 'static>(proxy: Arc<Proxy>, peer: Peer, stream: S) {
    let limits = proxy.limits().clone();
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_send_buffer_size(128 * 1024)
        .max_concurrent_reset_streams(20)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(Some(100));
    let handshake = tokio::time::timeout(limits.head_time, builder.handshake::<_, Bytes>(stream));
    let Ok(Ok(mut connection)) = handshake.await else { return };
    let peer = Arc::new(peer);
    let counts = Arc::new(Counts::default());
    let mut ping = connection.ping_pong();
    let mut look = tokio::time::interval(LOOK.min(limits.idle));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look.reset();
    let (mut last, mut asked, mut patience) = (Instant::now(), false, limits.head_time);
    // As long as nothing is under way others may need the room.
    let mut place = Some(proxy.waiting.enter());
    let mut leaving: Option<Leaving> = None;
    let stopped = proxy.stopped();
    tokio::pin!(stopped);
    loop {
        let pong = async {
            match &mut ping {
                Some(ping) if asked => poll_fn(|cx| ping.poll_pong(cx)).await.is_ok(),
                _ => pending().await,
            }
        };
        let needed = async {
            match &place {
                Some(place) => place.needed().await,
                None => pending().await,
            }
        };
        let until = leaving.as_ref().map_or_else(Instant::now, |leaving| leaving.until);
        select! {
            biased;
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => {
                    (last, patience, place) = (Instant::now(), limits.idle, None);
                    let given_up = counts.given_up.load(Ordering::Relaxed);
                    let too_many = counts.active.load(Ordering::Relaxed) >= limits.streams.saturating_mul(2)
                        || (given_up > RESETS && given_up > counts.ended.load(Ordering::Relaxed));
                    if too_many {
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        continue;
                    }
                    counts.active.fetch_add(1, Ordering::Relaxed);
                    let one = one(Arc::clone(&proxy), Arc::clone(&peer), Arc::clone(&counts), request, respond);
                    tokio::spawn(one);
                }
                Some(Err(_)) | None => return,
            },
            good = pong => {
                asked = false;
                if !good {
                    return;
                }
            }
            () = needed => {
                place = None;
                connection.abrupt_shutdown(Reason::NO_ERROR);
                leaving = Some(Leaving { until: Instant::now() + SHORTLY, quiet: true });
            }
            () = &mut stopped, if leaving.is_none() => {
                connection.graceful_shutdown();
                leaving = Some(Leaving { until: Instant::now() + limits.write, quiet: false });
            }
            () = tokio::time::sleep_until(until.into()), if leaving.is_some() => {
                // What was answered lies here for a client that makes no room for it, and would for ever.
                let quiet = counts.active.load(Ordering::Relaxed) == 0;
                if quiet && leaving.is_some_and(|leaving| leaving.quiet) {
                    return;
                }
                leaving = Some(Leaving { until: Instant::now() + limits.write, quiet });
            }
            _ = look.tick() => {
                // A client that does not even answer a ping is gone.
                if asked {
                    return;
                }
                let active = counts.active.load(Ordering::Relaxed);
                if active > 0 {
                    last = Instant::now();
                } else if leaving.is_none() {
                    place.get_or_insert_with(|| proxy.waiting.enter());
                    if last.elapsed() > patience {
                        connection.graceful_shutdown();
                        leaving = Some(Leaving { until: Instant::now() + limits.write, quiet: true });
                    }
                }
                asked = ping.as_mut().is_some_and(|ping| ping.send_ping(h2::Ping::opaque()).is_ok());
            }
        }
    }
}

/// A connection that was told to end.
#[derive(Clone, Copy)]
struct Leaving {
    /// When it is looked at next.
    until: Instant,
    /// Nothing was under way when it was looked at last: it ends if there still is not.
    quiet: bool,
}

/// One request.
async fn one(
    proxy: Arc<Proxy>,
    peer: Arc<Peer>,
    counts: Arc<Counts>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let id = proxy.request_id();
    let (parts, body) = request.into_parts();
    let mut sink = Answers { proxy: &proxy, id: &id, state: State::Waits(respond), timer: Timer::default() };
    let most = proxy.limits().fields;
    let gave_up = match read(&parts, body.is_end_stream(), most, &peer, &id) {
        Ok(head) if is_grpc(&parts) => {
            let State::Waits(respond) = sink.state else { return };
            grpc::serve(&proxy, &peer, &id, &head, parts, body, respond).await == 499
        }
        Ok(head) => {
            let mut source = Client {
                body,
                chunk: Bytes::new(),
                limit: proxy.limits().body_idle,
                timer: Timer::default(),
            };
            let outcome = proxy.serve(&peer, "h2", &id, &head, &mut source, &mut sink).await;
            if !outcome.whole {
                sink.abandon(outcome.status);
            }
            outcome.status == 499
        }
        Err(reject) => {
            let page = Page::error(reject.status, reject.why, proxy.clock()).for_request(&id);
            let _gone = sink.page(&page).await;
            let outcome = Outcome {
                status: reject.status,
                sent: page.size(),
                endpoint: None,
                whole: false,
                switched: None,
            };
            proxy.log(
                &peer,
                "h2",
                &id,
                &Said { method: "", host: "", path: "", project: "" },
                Instant::now(),
                &outcome,
            );
            false
        }
    };
    counts.active.fetch_sub(1, Ordering::Relaxed);
    let count = if gave_up { &counts.given_up } else { &counts.ended };
    count.fetch_add(1, Ordering::Relaxed);
}

fn is_grpc(parts: &http::request::Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| {
        kind.starts_with(b"application/grpc") && !kind.starts_with(b"application/grpc-web")
    })
}

const fn bad(why: &'static str) -> Reject {
    Reject { status: 400, why }
}

/// The head as it goes on. What HTTP/2 forbids on its own (fields of a connection, upper case, pseudo fields twice) never comes
/// this far.
fn read(
    parts: &http::request::Parts,
    ended: bool,
    most: usize,
    peer: &Peer,
    id: &str,
) -> Result<Head, Reject> {
    // A cookie may come in many pieces, and is one field.
    let crumbs = parts.headers.get_all(header::COOKIE).iter().count();
    if parts.headers.len() - crumbs + crumbs.min(1) > most {
        return Err(Reject { status: 431, why: "the request has too many header fields" });
    }
    let named = parts.uri.authority().map(http::uri::Authority::as_str);
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts
        .next()
        .map(|host| host.to_str().map_err(|_| bad("the host holds what it cannot")))
        .transpose()?;
    if hosts.next().is_some() {
        return Err(bad("there is more than one host field"));
    }
    let authority = match (named, host) {
        (Some(named), Some(host)) if !named.eq_ignore_ascii_case(host) => {
            return Err(bad("the host field names another host than :authority"));
        }
        (Some(named), _) => named,
        (None, Some(host)) => host,
        (None, None) => return Err(bad("the request names no host")),
    };
    let host = target::host(authority).ok_or(bad(":authority is no host"))?;
    if parts.method == http::Method::CONNECT || parts.method == http::Method::TRACE {
        return Err(Reject { status: 405, why: "this method is not answered here" });
    }
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let (elsewhere, path) = target::split(path, &parts.method).map_err(bad)?;
    if elsewhere.is_some() {
        return Err(bad(":path is no path"));
    }
    let mut lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next().map(|value| {
        let text = value
            .to_str()
            .ok()
            .filter(|text| (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()));
        text.and_then(|text| text.parse::<u64>().ok()).ok_or(bad("the content-length is no number"))
    });
    if lengths.next().is_some() {
        return Err(bad("there is more than one content-length"));
    }
    let framing = match (length.transpose()?, ended) {
        (Some(0) | None, true) => Framing::None,
        (Some(_), true) => return Err(bad("the body is shorter than its content-length")),
        (Some(length), false) => Framing::Length(length),
        (None, false) => Framing::Chunked,
    };
    if parts
        .headers
        .get(header::EXPECT)
        .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Reject { status: 417, why: "only 100-continue can be expected" });
    }
    let mut writer = Writer::begin(BytesMut::new(), parts.method.as_str(), path, authority);
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in &parts.headers {
        if name == header::COOKIE {
            // Split for compression, and one field again for those who know it so (RFC 9113, section 8.2.3).
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
        } else if goes_on(name.as_str(), false) {
            writer.field(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !cookies.is_empty() {
        writer.field(b"cookie", &cookies);
    }
    writer.framing(framing, &parts.method);
    let forward = writer.end(peer, authority, id);
    Ok(Head {
        method: parts.method.clone(),
        host: host.into(),
        authority: authority.into(),
        target: path.into(),
        framing,
        keep_alive: true,
        http10: false,
        upgrade: false,
        expect: false,
        forward,
    })
}

/// The client's body.
struct Client {
    body: RecvStream,
    chunk: Bytes,
    limit: Duration,
    timer: Timer,
}

impl Source for Client {
    async fn fill(&mut self) -> Result<bool, Broken> {
        loop {
            match self.timer.run(self.limit, self.body.data()).await {
                None => return Err(Broken::Slow),
                Some(None) => return Ok(false),
                Some(Some(Err(_))) => return Err(Broken::Closed),
                Some(Some(Ok(chunk))) if chunk.is_empty() => {}
                Some(Some(Ok(chunk))) => {
                    self.chunk = chunk;
                    return Ok(true);
                }
            }
        }
    }

    fn chunk(&self) -> &[u8] {
        &self.chunk
    }

    fn consume(&mut self) {
        let _over = self.body.flow_control().release_capacity(self.chunk.len());
        self.chunk = Bytes::new();
    }

    async fn gone(&mut self) {
        pending::<()>().await;
    }
}

enum State {
    Waits(SendResponse<Bytes>),
    Sends(SendStream<Bytes>),
    Over,
}

/// An answer over HTTP/2.
struct Answers<'a> {
    proxy: &'a Proxy,
    id: &'a str,
    state: State,
    timer: Timer,
}

impl Answers<'_> {
    fn begin(&mut self, response: Response<()>, end: bool) -> Result<(), Broken> {
        let State::Waits(respond) = &mut self.state else { return Err(Broken::Closed) };
        let stream = respond.send_response(response, end).map_err(|_| Broken::Closed)?;
        self.state = if end { State::Over } else { State::Sends(stream) };
        Ok(())
    }

    /// Tells the client that the stream did not end as it should.
    fn abandon(&mut self, status: u16) {
        let reason = if status == 499 { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        match &mut self.state {
            State::Waits(respond) => respond.send_reset(reason),
            State::Sends(stream) => stream.send_reset(reason),
            State::Over => {}
        }
    }
}

impl Sink for Answers<'_> {
    fn is_begun(&self) -> bool {
        !matches!(self.state, State::Waits(_))
    }

    async fn proceed(&mut self) -> Result<(), Broken> {
        Ok(())
    }

    fn head(&mut self, answer: &Answer<'_>, end: bool) -> Result<(), Broken> {
        let mut response = Response::new(());
        *response.version_mut() = Version::HTTP_2;
        *response.status_mut() =
            http::StatusCode::from_u16(answer.status).map_err(|_| Broken::Bad("the answer has no status"))?;
        let fields = response.headers_mut();
        for (name, value) in answer.onward() {
            let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
            else {
                return Err(Broken::Bad("the answer holds a field that is none"));
            };
            fields.append(name, value);
        }
        if let answer::Length::Known(length) = answer.length {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if !answer.has_date {
            insert(fields, header::DATE, &answer::date(self.proxy.clock()));
        }
        if answer.hsts > 0 {
            insert(fields, header::STRICT_TRANSPORT_SECURITY, &format!("max-age={}", answer.hsts));
        }
        self.begin(response, end)
    }

    async fn data(&mut self, bytes: &[u8], end: bool) -> Result<(), Broken> {
        let State::Sends(stream) = &mut self.state else { return Err(Broken::Closed) };
        if end && bytes.len() <= AHEAD {
            stream.reserve_capacity(bytes.len());
            // Where the client has made no room it is waited for below, with a limit.
            if stream.capacity() >= bytes.len() {
                stream.send_data(Bytes::copy_from_slice(bytes), true).map_err(|_| Broken::Closed)?;
                self.state = State::Over;
                return Ok(());
            }
        }
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let room = poll_fn(|cx| stream.poll_capacity(cx));
            match self.timer.run(self.proxy.limits().write, room).await {
                None => return Err(Broken::Slow),
                Some(None | Some(Err(_))) => return Err(Broken::Closed),
                Some(Some(Ok(room))) => {
                    let piece = rest.split_to(room.min(rest.len()));
                    let last = end && rest.is_empty();
                    stream.send_data(piece, last).map_err(|_| Broken::Closed)?;
                }
            }
        }
        if end {
            self.state = State::Over;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Broken> {
        if let State::Sends(stream) = &mut self.state {
            stream.send_data(Bytes::new(), true).map_err(|_| Broken::Closed)?;
        }
        self.state = State::Over;
        Ok(())
    }

    async fn gone(&mut self) {
        poll_fn(|cx| match &mut self.state {
            State::Waits(respond) => respond.poll_reset(cx).map(drop),
            State::Sends(stream) => stream.poll_reset(cx).map(drop),
            State::Over => std::task::Poll::Pending,
        })
        .await;
    }

    async fn page(&mut self, page: &Page) -> Result<(), Broken> {
        let page = page.clone().for_request(self.id);
        let mut response = Response::new(());
        *response.version_mut() = Version::HTTP_2;
        *response.status_mut() =
            http::StatusCode::from_u16(page.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
        let fields = response.headers_mut();
        for (name, value) in &page.fields {
            insert(fields, HeaderName::from_static(name), value);
        }
        insert(fields, header::DATE, &page.date);
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(page.body.len()));
        let end = page.head_only || page.body.is_empty();
        self.begin(response, end)?;
        if end { Ok(()) } else { self.data(&page.body, true).await }
    }
}

fn insert(fields: &mut http::HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        fields.insert(name, value);
    }
}
