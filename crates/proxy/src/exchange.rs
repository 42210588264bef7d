//! One request and its answer: chosen, sent, tried again where that is safe, and passed on piece by piece in both directions.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::Method;
use tokio::select;

use crate::answer::{self, Length, Parsed};
use crate::backend::{Backend, Endpoint, InFlight};
use crate::chunked::Step;
pub use crate::ends::{Sink, Source};
use crate::head::{Framing, Head, Peer};
use crate::pages::Page;
use crate::proxy::Proxy;
use crate::table::Host;
use crate::upstream::{self, Upstream};
use crate::wire::{Broken, Output};

/// How it ended.
pub struct Outcome {
    pub status: u16,
    /// Bytes of the answer's body.
    pub sent: u64,
    pub endpoint: Option<Arc<Endpoint>>,
    /// Both directions came to their ends, so that the client's connection can be used again.
    pub whole: bool,
    /// The connection is the endpoint's and the client's now.
    pub switched: Option<(Upstream, InFlight)>,
}

impl Outcome {
    const fn new(status: u16) -> Self {
        Self { status, sent: 0, endpoint: None, whole: false, switched: None }
    }
}

/// Why there is no answer of an endpoint.
enum Failed {
    /// Nothing of the answer came: `true` when it may be asked again, elsewhere or over another connection.
    Before(Broken, bool),
    /// The answer broke off: the client's is broken off, too.
    Within,
    /// The client is to blame, or gone.
    Client(Broken),
    /// There is no room for a connection to it, which is nobody's fault.
    Full,
}

/// Endpoints tried for one request.
const TRIES: usize = 3;
/// Connections that waited for longer are not used.
pub const IDLE: Duration = Duration::from_secs(30);
const IDLE_ONCE: Duration = Duration::from_secs(1);

pub async fn forward<So: Source, Si: Sink>(
    proxy: &Proxy,
    peer: &Peer,
    host: &Host,
    head: &Head,
    source: &mut So,
    sink: &mut Si,
) -> Outcome {
    let Some(backend) = host.backend(head.path()) else {
        return page(proxy, sink, head, 404, "nothing is served at this path").await;
    };
    let mut run = Run { proxy, peer, host, head, tried: Vec::new(), taken: false, reused: false };
    let mut fresh = false;
    loop {
        let Some(begun) = backend.choose(&run.tried) else {
            let (status, why) = if run.tried.is_empty() {
                (503, "nothing that could answer is running just now")
            } else {
                (502, "nothing that runs took the request")
            };
            return page(proxy, sink, head, status, why).await;
        };
        match run.attempt(begun, fresh, source, sink).await {
            Ok(outcome) => return outcome,
            Err((endpoint, Failed::Before(why, again))) => {
                // A connection that waited was closed meanwhile: that says nothing against the endpoint.
                let stale = again && run.reused && matches!(why, Broken::Closed | Broken::Io(_));
                if !stale {
                    endpoint.failed(&why.to_string());
                    run.tried.push(Arc::clone(&endpoint));
                }
                let slow = matches!(why, Broken::Slow);
                if again && run.tried.len() < TRIES {
                    fresh = stale;
                    if !stale && !run.has_others(backend) {
                        return run.bad_gateway(sink, slow, endpoint).await;
                    }
                    continue;
                }
                return run.bad_gateway(sink, slow, endpoint).await;
            }
            Err((endpoint, Failed::Within)) => {
                endpoint.failed("an answer broke off");
                return Outcome { endpoint: Some(endpoint), ..Outcome::new(502) };
            }
            Err((_, Failed::Full)) => {
                let why = "more is under way than there is room for: try again in a moment";
                return page(proxy, sink, head, 503, why).await;
            }
            Err((endpoint, Failed::Client(why))) => {
                let (status, words) = match why {
                    Broken::TooLarge => (413, "the body is larger than this host takes"),
                    Broken::Slow => (408, "the body came too slowly"),
                    Broken::Bad(why) => (400, why),
                    Broken::Closed | Broken::Io(_) => {
                        return Outcome { endpoint: Some(endpoint), ..Outcome::new(499) };
                    }
                };
                if sink.is_begun() {
                    return Outcome { endpoint: Some(endpoint), ..Outcome::new(status) };
                }
                return page(proxy, sink, head, status, words).await;
            }
        }
    }
}

/// Answers by ourselves, instead of an endpoint.
pub async fn page<Si: Sink>(proxy: &Proxy, sink: &mut Si, head: &Head, status: u16, why: &str) -> Outcome {
    if sink.is_begun() {
        return Outcome::new(status);
    }
    let page = Page::error(status, why, proxy.clock()).for_method(&head.method);
    let whole = sink.page(&page).await.is_ok() && !head.framing.has_body();
    Outcome { sent: page.size(), whole, ..Outcome::new(status) }
}

struct Run<'a> {
    proxy: &'a Proxy,
    peer: &'a Peer,
    host: &'a Host,
    head: &'a Head,
    tried: Vec<Arc<Endpoint>>,
    /// Some of the body was taken from the client: it cannot be sent again.
    taken: bool,
    /// The connection of the last attempt had waited for it.
    reused: bool,
}

impl Run<'_> {
    /// Told only where it was heard over TLS (RFC 6797, section 7.2).
    fn hsts(&self) -> u32 {
        if self.peer.tls.is_some() { self.host.plan.hsts } else { 0 }
    }

    fn has_others(&self, backend: &Backend) -> bool {
        let endpoints = backend.endpoints();
        endpoints
            .iter()
            .any(|one| !one.is_draining() && !self.tried.iter().any(|tried| Arc::ptr_eq(one, tried)))
    }

    async fn bad_gateway<Si: Sink>(&self, sink: &mut Si, slow: bool, endpoint: Arc<Endpoint>) -> Outcome {
        let (status, why) = if slow {
            (504, "what runs here did not answer in time")
        } else {
            (502, "what runs here did not answer")
        };
        let outcome = page(self.proxy, sink, self.head, status, why).await;
        Outcome { endpoint: Some(endpoint), ..outcome }
    }

    async fn attempt<So: Source, Si: Sink>(
        &mut self,
        begun: InFlight,
        fresh: bool,
        source: &mut So,
        sink: &mut Si,
    ) -> Result<Outcome, (Arc<Endpoint>, Failed)> {
        let endpoint = Arc::clone(&begun.0);
        let blame = |failed| (Arc::clone(&endpoint), failed);
        let limits = self.proxy.limits();
        // What waited for long may be closed by the other side just now; what must not be sent twice does not take the risk.
        let replays = self.head.method.is_idempotent() && !self.head.framing.has_body();
        let longest = if replays { IDLE } else { IDLE_ONCE };
        let idle = if fresh { None } else { endpoint.idle_take(self.peer.worker, longest) };
        self.reused = idle.is_some();
        let mut upstream = if let Some(upstream) = idle {
            upstream
        } else {
            let Some(room) = self.proxy.room() else { return Err(blame(Failed::Full)) };
            let connect = upstream::connect(&endpoint, self.proxy.connect(), limits.connect);
            match connect.await {
                Ok(stream) => Upstream::new(stream, room),
                // Nothing was sent: any request may go elsewhere.
                Err(error) => return Err(blame(Failed::Before(Broken::Io(error), !self.taken))),
            }
        };
        upstream.output.buffer.extend_from_slice(&self.head.forward);
        let ended = if self.head.framing.has_body() {
            if self.head.expect
                && let Err(error) = sink.proceed().await
            {
                return Err(blame(Failed::Client(error)));
            }
            self.with_body(&mut upstream, source, sink).await
        } else {
            self.without_body(&mut upstream, source, sink).await
        };
        match ended {
            Ok(Ended { status, sent, keep, whole }) => {
                if matches!(status, 502..=504) {
                    endpoint.failed(&format!("answered {status}"));
                } else {
                    endpoint.succeeded();
                }
                let mut outcome =
                    Outcome { status, sent, endpoint: Some(Arc::clone(&endpoint)), whole, switched: None };
                if status == 101 {
                    outcome.switched = Some((upstream, begun));
                } else if keep && whole {
                    endpoint.idle_put(self.peer.worker, upstream);
                }
                Ok(outcome)
            }
            Err(Failed::Before(why, _)) => {
                // It may have been heard: only what does the same when done twice is sent again.
                let lost = matches!(why, Broken::Closed | Broken::Io(_));
                let again = lost && self.head.method.is_idempotent() && !self.taken && !sink.is_begun();
                Err(blame(Failed::Before(why, again)))
            }
            Err(failed) => Err(blame(failed)),
        }
    }

    async fn without_body<So: Source, Si: Sink>(
        &self,
        upstream: &mut Upstream,
        source: &mut So,
        sink: &mut Si,
    ) -> Result<Ended, Failed> {
        let limits = self.proxy.limits();
        upstream.output.flush(limits.write).await.map_err(|why| Failed::Before(why, true))?;
        let down = self.download(upstream, sink);
        select! {
            biased;
            ended = down => ended,
            () = source.gone() => Err(Failed::Client(Broken::Closed)),
        }
    }

    /// Both directions at a time: an endpoint may answer before the body has ended.
    async fn with_body<So: Source, Si: Sink>(
        &mut self,
        upstream: &mut Upstream,
        source: &mut So,
        sink: &mut Si,
    ) -> Result<Ended, Failed> {
        self.taken = true;
        let hsts = self.hsts();
        let Self { proxy, head, host, .. } = self;
        let Upstream { input, output, .. } = upstream;
        let run = Download { proxy, hsts, head };
        let mut up = pin!(upload(proxy, host, head, output, source));
        let mut down = pin!(run.run(input, sink));
        let mut uploaded = None;
        loop {
            select! {
                biased;
                ended = &mut down => {
                    let mut ended = ended?;
                    // Answered before it heard everything: neither connection is between two requests.
                    ended.whole &= matches!(uploaded, Some(Ok(())));
                    return Ok(ended);
                }
                sent = &mut up, if uploaded.is_none() => {
                    match sent {
                        Err(Uploading::Client(why)) => return Err(Failed::Client(why)),
                        // It may have answered already, and closed its ears.
                        other => uploaded = Some(other),
                    }
                }
            }
        }
    }

    async fn download<Si: Sink>(&self, upstream: &mut Upstream, sink: &mut Si) -> Result<Ended, Failed> {
        let run = Download { proxy: self.proxy, hsts: self.hsts(), head: self.head };
        run.run(&mut upstream.input, sink).await
    }
}

struct Ended {
    status: u16,
    sent: u64,
    keep: bool,
    whole: bool,
}

enum Uploading {
    Client(Broken),
    Upstream,
}

async fn upload<So: Source, W: tokio::io::AsyncWrite + Unpin>(
    proxy: &Proxy,
    host: &Host,
    head: &Head,
    output: &mut Output<W>,
    source: &mut So,
) -> Result<(), Uploading> {
    let limits = proxy.limits();
    let most = host.body_most(limits.body);
    if matches!(head.framing, Framing::Length(length) if length > most) {
        return Err(Uploading::Client(Broken::TooLarge));
    }
    let chunked = head.framing == Framing::Chunked;
    let mut total = 0_u64;
    let away = |_| Uploading::Upstream;
    // What came with the head goes with the head; else the head does not wait for it.
    let mut first = select! {
        biased;
        filled = source.fill() => Some(filled.map_err(Uploading::Client)?),
        () = std::future::ready(()) => None,
    };
    if first.is_none() {
        output.flush(limits.write).await.map_err(away)?;
    }
    loop {
        let filled = match first.take() {
            Some(filled) => filled,
            None => source.fill().await.map_err(Uploading::Client)?,
        };
        if !filled {
            break;
        }
        let chunk = source.chunk();
        total = total.saturating_add(chunk.len() as u64);
        if total > most {
            return Err(Uploading::Client(Broken::TooLarge));
        }
        if chunked {
            let size = format!("{:x}\r\n", chunk.len());
            output.write(size.as_bytes(), limits.write).await.map_err(away)?;
            output.write(chunk, limits.write).await.map_err(away)?;
            output.write(b"\r\n", limits.write).await.map_err(away)?;
        } else {
            output.write(chunk, limits.write).await.map_err(away)?;
        }
        source.consume();
        output.flush(limits.write).await.map_err(away)?;
    }
    if chunked {
        output.write(b"0\r\n\r\n", limits.write).await.map_err(away)?;
    }
    output.flush(limits.write).await.map_err(away)
}

struct Download<'a> {
    proxy: &'a Proxy,
    hsts: u32,
    head: &'a Head,
}

impl Download<'_> {
    async fn run<R: tokio::io::AsyncRead + Unpin + Send, Si: Sink>(
        &self,
        input: &mut crate::wire::Input<R>,
        sink: &mut Si,
    ) -> Result<Ended, Failed> {
        let limits = self.proxy.limits();
        let mut parsed = self.answer(input, sink).await?;
        let client = Failed::Client;
        if parsed.status == 101 {
            sink.flush().await.map_err(client)?;
            return Ok(Ended { status: 101, sent: 0, keep: false, whole: false });
        }
        let mut sent = 0;
        let known = !matches!(parsed.length, Length::Unknown);
        if !parsed.body.is_over() {
            loop {
                let count = match parsed.body.peek(input).map_err(|_| Failed::Within)? {
                    Step::Data(count) => count,
                    Step::End => break,
                    Step::More => {
                        // What is there goes on; what is not there yet is not waited for before that.
                        sink.flush().await.map_err(client)?;
                        let more = select! {
                            biased;
                            more = parsed.body.fill(input, limits.answer_idle) => more,
                            () = sink.gone() => return Err(client(Broken::Closed)),
                        };
                        if more.map_err(|_| Failed::Within)? {
                            continue;
                        }
                        break;
                    }
                };
                let last =
                    known && matches!(parsed.body, crate::wire::Body::Length(left) if left == count as u64);
                sink.data(input.buffer.get(..count).unwrap_or_default(), last).await.map_err(client)?;
                sent += count as u64;
                parsed.body.took(input, count);
                if last {
                    break;
                }
            }
            if !known {
                sink.finish().await.map_err(client)?;
            }
        }
        sink.flush().await.map_err(client)?;
        let keep = parsed.keep_alive && input.buffer.is_empty();
        Ok(Ended { status: parsed.status, sent, keep, whole: true })
    }

    /// Reads heads up to the one that is the answer.
    async fn answer<R: tokio::io::AsyncRead + Unpin + Send, Si: Sink>(
        &self,
        input: &mut crate::wire::Input<R>,
        sink: &mut Si,
    ) -> Result<Parsed, Failed> {
        let limits = self.proxy.limits();
        let hsts = if self.head.upgrade { 0 } else { self.hsts };
        let before = |why| Failed::Before(why, true);
        let mut heads = 0;
        loop {
            if !input.buffer.is_empty() {
                let head_only = self.head.method == Method::HEAD;
                let read = answer::parse(&input.buffer, head_only, hsts, |answer| {
                    // Interim answers are ours to give, or not.
                    if answer.status < 200 && answer.status != 101 {
                        return Ok(());
                    }
                    if answer.status == 101 && !self.head.upgrade {
                        return Err(Broken::Bad("the answer switches to what nobody asked for"));
                    }
                    let end = matches!(answer.length, Length::None | Length::Known(0)) || head_only;
                    sink.head(answer, end && answer.status != 101)
                });
                if let Some((parsed, given)) = read.map_err(before)? {
                    let _head = input.buffer.split_to(parsed.size);
                    if parsed.status >= 200 || parsed.status == 101 {
                        given.map_err(|why| match why {
                            Broken::Bad(_) => before(why),
                            other => Failed::Client(other),
                        })?;
                        return Ok(parsed);
                    }
                    heads += 1;
                    if heads > 16 {
                        return Err(before(Broken::Bad("there is no end of interim answers")));
                    }
                    continue;
                }
            }
            let filled = select! {
                biased;
                filled = input.fill(limits.answer) => filled,
                () = sink.gone() => return Err(Failed::Client(Broken::Closed)),
            };
            if filled.map_err(before)? == 0 {
                return Err(before(Broken::Closed));
            }
        }
    }
}

/// An empty buffer for a head, of what a connection used before.
pub fn buffer(spare: &mut BytesMut) -> BytesMut {
    let mut buffer = std::mem::take(spare);
    buffer.clear();
    buffer
}
