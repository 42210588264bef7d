//! The data plane's parts, put together once, and what happens to every request whichever way it came.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hafen_base::{Clock, Random};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::certificates::Certificates;
use crate::clients::{Clients, masked};
use crate::exchange::{self, Outcome, Sink, Source};
use crate::head::{Head, MAX_FIELDS, Peer};
use crate::pages::Page;
use crate::table::{Host, Table};
use crate::upstream::Connect;
use crate::waiting::Waiting;

/// How much, and how long, is waited for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's head; answered 431.
    pub head: usize,
    /// Fields of it, at most 128.
    pub fields: usize,
    /// Bytes of a request's body; answered 413.
    pub body: u64,
    /// The TLS handshake, each head from its first byte to its last, and the first head of a connection from the moment that it
    /// was accepted.
    pub head_time: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// Between two pieces of a request's body.
    pub body_idle: Duration,
    /// Until the other side has taken what is written.
    pub write: Duration,
    /// Until an endpoint accepts a connection.
    pub connect: Duration,
    /// Until the head of its answer.
    pub answer: Duration,
    /// Between two pieces of its answer, and of a WebSocket.
    pub answer_idle: Duration,
    /// A connection for gRPC over which nothing comes while a call waits is asked after so long whether it is there, and given up
    /// after as long again.
    pub ping: Duration,
    /// A WebSocket goes on so long after its endpoint began to drain.
    pub drain: Duration,
    /// Connections of one client address.
    pub client_connections: u32,
    /// Connections of clients altogether.
    pub connections: usize,
    /// Connections to endpoints altogether, those that wait among them.
    pub upstreams: usize,
    /// Streams of one HTTP/2 connection at a time.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 32 * 1024,
            fields: 100,
            body: 1 << 30,
            head_time: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            write: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
            answer_idle: Duration::from_secs(600),
            ping: Duration::from_secs(15),
            drain: Duration::from_secs(300),
            client_connections: 512,
            connections: 20_000,
            upstreams: 40_000,
            streams: 128,
        }
    }
}

/// A request that was answered, for a log. Addresses are masked, queries left out: both are of persons.
#[derive(Debug)]
pub struct AccessRecord<'a> {
    pub request: &'a str,
    /// The last eight bits of an IPv4 address, and all but the first 48 of an IPv6 address, are zero.
    pub client: IpAddr,
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    /// `h1` or `h2`.
    pub protocol: &'static str,
    pub tls: bool,
    pub status: u16,
    /// Bytes of the answer's body.
    pub sent: u64,
    pub took: Duration,
    pub project: &'a str,
    /// Empty when none answered.
    pub endpoint: &'a str,
}

/// Is told of every request.
pub trait AccessLog: Send + Sync + 'static {
    fn write(&self, record: &AccessRecord<'_>);
}

/// Answers what a certificate authority asks over plain HTTP.
#[async_trait]
pub trait Challenges: Send + Sync + 'static {
    /// The answer to this token for this host (RFC 8555, section 8.3); none when nobody asked for a certificate.
    async fn http01(&self, host: &str, token: &str) -> Option<String>;
}

pub struct ProxyConfig {
    pub connect: Arc<dyn Connect>,
    pub challenges: Option<Arc<dyn Challenges>>,
    pub log: Option<Arc<dyn AccessLog>>,
    pub limits: Limits,
    pub clock: Arc<dyn Clock>,
    /// Threads that serve; 0 for one for each processor.
    pub workers: usize,
    /// The port that people reach https at, for redirects; 443 is left out of them.
    pub https_port: u16,
}

/// The data plane.
pub struct Proxy {
    config: ProxyConfig,
    table: Table,
    certificates: Arc<Certificates>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) waiting: Waiting,
    life: String,
    requests: AtomicU64,
    stopping: watch::Sender<bool>,
    upstreams: Arc<Semaphore>,
    /// When room was last made among connections to endpoints.
    swept: Mutex<Option<Instant>>,
}

/// Room for a connection to an endpoint; given back when dropped.
pub(crate) type Room = OwnedSemaphorePermit;

/// Connections to endpoints that waited for longer make room when there is none.
const SPARE: Duration = Duration::from_millis(250);

impl Proxy {
    pub fn new(mut config: ProxyConfig, random: &dyn Random) -> Arc<Self> {
        if config.workers == 0 {
            config.workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        }
        config.limits.fields = config.limits.fields.min(MAX_FIELDS);
        let mut bytes = [0; 5];
        random.fill(&mut bytes);
        Arc::new(Self {
            table: Table::new(config.workers),
            certificates: Arc::default(),
            clients: Arc::default(),
            waiting: Waiting::default(),
            life: bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")),
            requests: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
            upstreams: Arc::new(Semaphore::new(config.limits.upstreams.min(Semaphore::MAX_PERMITS))),
            swept: Mutex::default(),
            config,
        })
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    pub fn clock(&self) -> &dyn Clock {
        &*self.config.clock
    }

    pub(crate) fn connect(&self) -> &Arc<dyn Connect> {
        &self.config.connect
    }

    pub(crate) fn workers(&self) -> usize {
        self.config.workers
    }

    /// Connections end after the request they are at.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Ends when connections are to end.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender is this value's own: there is no other end to it.
        let _told = stopping.wait_for(|stopping| *stopping).await.is_ok();
    }

    /// Room for one more connection to an endpoint, if there is any.
    pub(crate) fn room(&self) -> Option<Room> {
        let take = || Arc::clone(&self.upstreams).try_acquire_owned().ok();
        take().or_else(|| {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            // Looking through all of them for each request that finds none would be the greater load.
            if swept.is_none_or(|swept| swept.elapsed() > SPARE) {
                *swept = Some(Instant::now());
                self.idle_sweep(SPARE);
            }
            take()
        })
    }

    /// Closes connections to endpoints that waited for longer.
    pub(crate) fn idle_sweep(&self, longest: Duration) {
        for backend in self.table.backends() {
            for endpoint in backend.endpoints() {
                endpoint.idle_sweep(longest);
            }
        }
    }

    /// Names a request in logs and on pages: unique for good.
    pub(crate) fn request_id(&self) -> String {
        format!("e-{}-{}", self.life, self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn log(
        &self,
        peer: &Peer,
        protocol: &'static str,
        id: &str,
        said: &Said<'_>,
        began: Instant,
        outcome: &Outcome,
    ) {
        if let Some(log) = &self.config.log {
            log.write(&AccessRecord {
                request: id,
                client: masked(peer.address),
                method: said.method,
                host: said.host,
                path: said.path,
                protocol,
                tls: peer.tls.is_some(),
                status: outcome.status,
                sent: outcome.sent,
                took: began.elapsed(),
                project: said.project,
                endpoint: outcome.endpoint.as_ref().map_or("", |endpoint| &endpoint.id),
            });
        }
    }

    /// Answers a request: by an endpoint, or by a page.
    pub(crate) async fn serve<So: Source, Si: Sink>(
        &self,
        peer: &Peer,
        protocol: &'static str,
        id: &str,
        head: &Head,
        source: &mut So,
        sink: &mut Si,
    ) -> Outcome {
        let began = Instant::now();
        let host = self.table.host(&head.host);
        let outcome = match self.before(peer, head, host.as_deref()).await {
            Some(page) => {
                let page = page.for_request(id).for_method(&head.method);
                let whole = sink.page(&page).await.is_ok() && !head.framing.has_body();
                Outcome { status: page.status, sent: page.size(), endpoint: None, whole, switched: None }
            }
            None => match &host {
                Some(host) => exchange::forward(self, peer, host, head, source, sink).await,
                None => exchange::page(self, sink, head, 404, "no such host is served here").await,
            },
        };
        let project = host.as_ref().map_or("", |host| host.plan.project.as_str());
        let said = Said { method: head.method.as_str(), host: &head.host, path: head.path(), project };
        self.log(peer, protocol, id, &said, began, &outcome);
        outcome
    }

    /// What is answered before any endpoint is asked.
    pub(crate) async fn before(&self, peer: &Peer, head: &Head, host: Option<&Host>) -> Option<Page> {
        let clock = self.clock();
        if peer.tls.is_none()
            && let Some(token) = head.path().strip_prefix(CHALLENGE)
            && let Some(challenges) = &self.config.challenges
            && is_token(token)
            // The answer is looked up in a database, for whoever asks.
            && host.is_some()
            && self.clients.may(peer.address, CHALLENGE, CHALLENGES)
            && let Some(answer) = challenges.http01(&head.host, token).await
        {
            return Some(Page::text(answer, clock));
        }
        let host = host?;
        match &peer.tls {
            // One connection, one name: what was proven for another is not this one's.
            Some(name) if **name != *head.host => {
                return Some(Page::error(421, "this connection was opened for another host", clock));
            }
            None if host.plan.redirect_https => {
                let port = match self.config.https_port {
                    443 => String::new(),
                    port => format!(":{port}"),
                };
                return Some(Page::redirect(&format!("https://{}{port}{}", head.host, head.target), clock));
            }
            Some(_) | None => {}
        }
        if !self.clients.may(peer.address, &host.plan.host, host.plan.rate) {
            return Some(Page::error(
                429,
                "that was too many requests at once: try again in a moment",
                clock,
            ));
        }
        host.plan.maintenance.then(|| Page::maintenance(clock))
    }
}

/// Where an authority looks for what proves a name; asked so often a second from one address. No host has such a name.
const CHALLENGE: &str = "/.well-known/acme-challenge/";
const CHALLENGES: u32 = 20;

/// What a request said, as far as it is written down.
pub(crate) struct Said<'a> {
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    pub project: &'a str,
}

fn is_token(token: &str) -> bool {
    (1..=128).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
