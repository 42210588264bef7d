//! Clients that speak HTTP/1.1.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::select;

use crate::answer::{self, Answer, Length, field};
use crate::backend::InFlight;
use crate::exchange::{self, Outcome, Sink, Source};
use crate::head::{self, Peer, Reject};
use crate::pages::Page;
use crate::proxy::{Proxy, Said};
use crate::tunnel::{Quiet, pump};
use crate::upstream::Upstream;
use crate::wire::{Body, Broken, Input, Output, Stream};

/// After a refusal what the client still sends is read for so long, and so much of it, so that it reads the refusal.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_MOST: usize = 1 << 20;
/// Most requests follow at once; who has waited for so long stands in line with all others that wait.
const SHORTLY: Duration = Duration::from_millis(100);
/// Empty lines before a request.
const EMPTY_LINES: u32 = 8;

/// Serves a connection to its end.
pub async fn serve<S: Stream>(proxy: Arc<Proxy>, peer: Peer, stream: S) {
    let (read, write) = tokio::io::split(stream);
    let mut connection = Connection {
        input: Input::new(read, BytesMut::new()),
        output: Output::new(write),
        spare: BytesMut::new(),
        first_until: Some(Instant::now() + proxy.limits().head_time),
    };
    loop {
        match connection.request(&proxy, &peer).await {
            After::Next => {}
            After::Close => return connection.output.close(proxy.limits().write.min(LINGER)).await,
            After::Linger => return connection.linger(&proxy).await,
            After::Break => return,
        }
    }
}

/// What becomes of a connection after a request.
enum After {
    /// There may be another.
    Next,
    /// It is ended as is said before an end, so that nobody takes it for one that was cut off.
    Close,
    /// The same; but the client may still send, and would not read the answer if nobody took it.
    Linger,
    /// It is cut off: what was answered was not whole.
    Break,
}

struct Connection<S> {
    input: Input<ReadHalf<S>>,
    output: Output<WriteHalf<S>>,
    spare: BytesMut,
    /// Until when the first head is whole.
    first_until: Option<Instant>,
}

enum Began {
    /// A head of so many bytes is whole.
    Head(usize),
    Refused(Reject),
    Ended,
}

impl<S: Stream> Connection<S> {
    /// One request.
    async fn request(&mut self, proxy: &Proxy, peer: &Peer) -> After {
        let size = match self.head(proxy).await {
            Began::Head(size) => size,
            Began::Refused(reject) => return self.refuse(proxy, peer, reject).await,
            Began::Ended => return After::Close,
        };
        let id = proxy.request_id();
        let raw = self.input.buffer.get(..size).unwrap_or_default();
        let forward = exchange::buffer(&mut self.spare);
        let parsed = head::parse(raw, proxy.limits().fields, peer, &id, forward);
        self.input.buffer.advance(size);
        let mut head = match parsed {
            Ok(head) => head,
            Err(reject) => return self.refuse(proxy, peer, reject).await,
        };
        let heard = AtomicBool::new(!head.framing.has_body());
        let mut source = Client {
            heard: &heard,
            body: head.framing.body(),
            input: &mut self.input,
            there: 0,
            limit: proxy.limits().body_idle,
        };
        let mut sink = Answers {
            output: &mut self.output,
            proxy,
            id: &id,
            http10: head.http10,
            keep_alive: head.keep_alive && !proxy.is_stopping(),
            unread: head.framing.has_body(),
            heard: &heard,
            chunked: false,
            begun: false,
            clean: false,
        };
        let outcome = proxy.serve(peer, "h1", &id, &head, &mut source, &mut sink).await;
        let (over, keep, clean) = (source.body.is_over(), sink.keep_alive, sink.clean);
        self.spare = std::mem::take(&mut head.forward);
        if let Some((upstream, begun)) = outcome.switched {
            self.tunnel(proxy, upstream, begun).await;
            return After::Break;
        }
        match (clean, over && outcome.whole) {
            (_, true) if keep => After::Next,
            (true, true) if self.input.buffer.is_empty() => After::Close,
            (true, _) => After::Linger,
            (false, _) => After::Break,
        }
    }

    /// Reads until a head is whole.
    async fn head(&mut self, proxy: &Proxy) -> Began {
        let limits = proxy.limits();
        let (mut searched, mut empty) = (0, 0);
        let first_until = self.first_until.take();
        let until = first_until.unwrap_or_else(|| Instant::now() + limits.idle);
        let mut whole_until = first_until;
        loop {
            // Empty lines before a request are read over (RFC 9112, section 2.2), a few of them.
            if searched == 0 && self.input.buffer.starts_with(b"\r\n") {
                empty += 1;
                if empty > EMPTY_LINES {
                    return Began::Refused(Reject { status: 400, why: "there is no end of empty lines" });
                }
                self.input.buffer.advance(2);
                continue;
            }
            if let Some(size) = head::end(&self.input.buffer, searched) {
                if size > limits.head {
                    return Began::Refused(Reject {
                        status: 431,
                        why: "the head of the request is too large",
                    });
                }
                return Began::Head(size);
            }
            // It would wait for an end that does not come.
            if head::has_bare_end(&self.input.buffer) {
                return Began::Refused(Reject { status: 400, why: "a line of the head ends with LF alone" });
            }
            searched = self.input.buffer.len();
            if searched > limits.head {
                return Began::Refused(Reject { status: 431, why: "the head of the request is too large" });
            }
            if searched == 0 {
                if !self.comes(proxy, until).await {
                    return Began::Ended;
                }
                continue;
            }
            // The whole head in its time, not each byte of it.
            let until = *whole_until.get_or_insert_with(|| Instant::now() + limits.head_time);
            match self.input.fill(until.saturating_duration_since(Instant::now())).await {
                Ok(0) => return Began::Ended,
                Ok(_) => {}
                Err(Broken::Slow) => {
                    return Began::Refused(Reject { status: 408, why: "the request came too slowly" });
                }
                Err(_) => return Began::Ended,
            }
        }
    }

    /// Waits for the first byte of a request; false when none comes, or the connection is to end meanwhile.
    async fn comes(&mut self, proxy: &Proxy, until: Instant) -> bool {
        if proxy.is_stopping() {
            return false;
        }
        let left = || until.saturating_duration_since(Instant::now());
        match self.input.fill(left().min(SHORTLY)).await {
            Ok(count) => return count > 0,
            Err(Broken::Slow) => {}
            Err(_) => return false,
        }
        let place = proxy.waiting.enter();
        select! {
            biased;
            filled = self.input.fill(left()) => matches!(filled, Ok(1..)),
            () = place.needed() => false,
            () = proxy.stopped() => false,
        }
    }

    /// Answers what is no request; the connection ends, as nobody knows where the next would begin.
    async fn refuse(&mut self, proxy: &Proxy, peer: &Peer, reject: Reject) -> After {
        let id = proxy.request_id();
        let heard = AtomicBool::new(true);
        let page = Page::error(reject.status, reject.why, proxy.clock()).for_request(&id);
        let mut sink = Answers {
            output: &mut self.output,
            proxy,
            id: &id,
            http10: false,
            keep_alive: false,
            unread: false,
            heard: &heard,
            chunked: false,
            begun: false,
            clean: false,
        };
        let sent = sink.page(&page).await.is_ok();
        let outcome = Outcome {
            status: reject.status,
            sent: page.size(),
            endpoint: None,
            whole: false,
            switched: None,
        };
        let said = Said { method: "", host: "", path: "", project: "" };
        proxy.log(peer, "h1", &id, &said, Instant::now(), &outcome);
        if sent { After::Linger } else { After::Break }
    }

    async fn linger(&mut self, proxy: &Proxy) {
        self.output.close(proxy.limits().write.min(LINGER)).await;
        let began = Instant::now();
        let mut read = self.input.buffer.len();
        while read < LINGER_MOST {
            self.input.buffer.clear();
            let left = LINGER.saturating_sub(began.elapsed());
            match self.input.fill(left).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read += count,
            }
        }
    }

    /// Carries bytes both ways until one side ends it, nothing came for long, or its endpoint drained for long enough.
    async fn tunnel(&mut self, proxy: &Proxy, mut upstream: Upstream, begun: InFlight) {
        let limits = proxy.limits();
        let endpoint = &begun.0;
        let drained = async {
            let rings = endpoint.drains.notified();
            tokio::pin!(rings);
            rings.as_mut().enable();
            if !endpoint.is_draining() {
                rings.await;
            }
            tokio::time::sleep(limits.drain).await;
        };
        let quiet = Quiet::new(limits.answer_idle);
        let out = pump(&mut self.input, &mut upstream.output, &quiet, limits.write);
        let back = pump(&mut upstream.input, &mut self.output, &quiet, limits.write);
        tokio::pin!(out, back);
        let first = select! {
            ended = &mut out => ended.is_ok().then_some(true),
            ended = &mut back => ended.is_ok().then_some(false),
            () = drained => None,
        };
        // One side has said all it had to say: the other may end what it was about to.
        let _late = match first {
            Some(true) => tokio::time::timeout(LINGER, back).await.is_ok(),
            Some(false) => tokio::time::timeout(LINGER, out).await.is_ok(),
            None => false,
        };
    }
}

/// The client's body.
struct Client<'a, R> {
    /// Its end was read.
    heard: &'a AtomicBool,
    body: Body,
    input: &'a mut Input<R>,
    there: usize,
    limit: Duration,
}

impl<R: AsyncRead + Unpin + Send> Source for Client<'_, R> {
    async fn fill(&mut self) -> Result<bool, Broken> {
        if let Some(count) = self.body.next(self.input, self.limit).await? {
            self.there = count;
            return Ok(true);
        }
        self.heard.store(true, Ordering::Relaxed);
        Ok(false)
    }

    fn chunk(&self) -> &[u8] {
        self.input.buffer.get(..self.there).unwrap_or_default()
    }

    fn consume(&mut self) {
        self.body.took(self.input, self.there);
        self.there = 0;
    }

    async fn gone(&mut self) {
        // What is there is the next request; as long as it waits, nothing is read after it.
        if self.input.buffer.is_empty()
            && let Ok(1..) = self.input.fill(Duration::from_secs(24 * 3600)).await
        {
            pending::<()>().await;
        }
        if !self.input.buffer.is_empty() {
            pending::<()>().await;
        }
    }
}

/// Answers over HTTP/1.1.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Answers<'a, W> {
    output: &'a mut Output<W>,
    proxy: &'a Proxy,
    id: &'a str,
    http10: bool,
    keep_alive: bool,
    /// The request has a body, which nobody reads when the answer is ours.
    unread: bool,
    /// The request was read to its end.
    heard: &'a AtomicBool,
    chunked: bool,
    begun: bool,
    /// An answer was written to its end.
    clean: bool,
}

impl<W: AsyncWrite + Unpin> Answers<'_, W> {
    fn status(&mut self, status: u16) {
        let out = &mut self.output.buffer;
        out.reserve(512);
        let text = match status {
            200 => "HTTP/1.1 200 OK\r\n".into(),
            status => std::borrow::Cow::from(format!("HTTP/1.1 {status} {}\r\n", answer::reason(status))),
        };
        out.extend_from_slice(text.as_bytes());
        self.begun = true;
    }

    fn connection(&mut self) {
        let out = &mut self.output.buffer;
        match (self.keep_alive, self.http10) {
            (false, _) => field(out, b"connection", b"close"),
            (true, true) => field(out, b"connection", b"keep-alive"),
            (true, false) => {}
        }
    }
}

impl<W: AsyncWrite + Unpin + Send> Sink for Answers<'_, W> {
    fn is_begun(&self) -> bool {
        self.begun
    }

    async fn proceed(&mut self) -> Result<(), Broken> {
        self.output.buffer.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.flush().await
    }

    fn head(&mut self, answer: &Answer<'_>, end: bool) -> Result<(), Broken> {
        // Answered before all was heard: nobody knows whether the rest comes, and where a next request would begin.
        self.keep_alive &= self.heard.load(Ordering::Relaxed);
        self.clean |= end;
        self.status(answer.status);
        for (name, value) in answer.onward() {
            field(&mut self.output.buffer, name.as_bytes(), value);
        }
        if !answer.has_date && answer.status >= 200 {
            let date = answer::date(self.proxy.clock());
            field(&mut self.output.buffer, b"date", date.as_bytes());
        }
        if answer.hsts > 0 {
            let value = format!("max-age={}", answer.hsts);
            field(&mut self.output.buffer, b"strict-transport-security", value.as_bytes());
        }
        if answer.status == 101 {
            field(&mut self.output.buffer, b"connection", b"upgrade");
            field(&mut self.output.buffer, b"upgrade", b"websocket");
        } else {
            match answer.length {
                Length::Known(length) => {
                    field(&mut self.output.buffer, b"content-length", length.to_string().as_bytes());
                }
                Length::Unknown if end => {}
                Length::Unknown if self.http10 => self.keep_alive = false,
                Length::Unknown => {
                    self.chunked = true;
                    field(&mut self.output.buffer, b"transfer-encoding", b"chunked");
                }
                Length::None => {}
            }
            self.connection();
        }
        self.output.buffer.extend_from_slice(b"\r\n");
        Ok(())
    }

    async fn data(&mut self, bytes: &[u8], end: bool) -> Result<(), Broken> {
        self.clean |= end;
        let limit = self.proxy.limits().write;
        if !self.chunked {
            return self.output.write(bytes, limit).await;
        }
        let size = format!("{:x}\r\n", bytes.len());
        self.output.write(size.as_bytes(), limit).await?;
        self.output.write(bytes, limit).await?;
        self.output.write(b"\r\n", limit).await
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        self.output.flush(self.proxy.limits().write).await
    }

    async fn finish(&mut self) -> Result<(), Broken> {
        self.clean = true;
        if self.chunked {
            self.output.buffer.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(())
    }

    async fn gone(&mut self) {
        pending::<()>().await;
    }

    async fn page(&mut self, page: &Page) -> Result<(), Broken> {
        let page = page.clone().for_request(self.id);
        // Something of an answer that came to nothing may lie there.
        self.output.buffer.clear();
        self.keep_alive &=
            !self.unread && (page.status < 400 || matches!(page.status, 404 | 429 | 502..=504));
        self.status(page.status);
        let out = &mut self.output.buffer;
        for (name, value) in &page.fields {
            field(out, name.as_bytes(), value.as_bytes());
        }
        field(out, b"date", page.date.as_bytes());
        field(out, b"content-length", page.body.len().to_string().as_bytes());
        self.connection();
        let out = &mut self.output.buffer;
        out.extend_from_slice(b"\r\n");
        if !page.head_only {
            out.extend_from_slice(&page.body);
        }
        self.clean = true;
        self.flush().await
    }
}
