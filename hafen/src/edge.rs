//! The edge, inside `hafen serve`: its listeners, the way to machines, and the record of requests.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::Args;
use hafen_base::{Clock, Error, Result, SystemClock, SystemRandom};
use hafen_edge::{AcmeConfig, HttpChallenges, WatchedLog};
use hafen_machines::Machines;
use hafen_proxy::{AccessLog, AccessRecord, BoxStream, Connect, Limits, Listeners, Proxy, ProxyConfig};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::descriptors;

#[derive(Debug, Args)]
pub struct EdgeArgs {
    /// Answer requests for hosts over http at this address (and lead to https); port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", env = "HAFEN_EDGE_HTTP")]
    pub edge_http: Option<SocketAddr>,
    /// Answer requests for hosts over https at this address; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", env = "HAFEN_EDGE_HTTPS")]
    pub edge_https: Option<SocketAddr>,
    /// The port that people reach https at, where something before it leads on; the one it listens at unless given.
    #[arg(long, value_name = "PORT", env = "HAFEN_EDGE_HTTPS_PORT")]
    pub edge_https_port: Option<u16>,
    /// Threads of the edge; one for each processor unless given.
    #[arg(long, default_value = "0", hide_default_value = true, env = "HAFEN_EDGE_THREADS", value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub edge_threads: u16,
    /// Write a line of JSON for each request to this file; addresses are masked, queries left out.
    #[arg(long, value_name = "FILE", env = "HAFEN_EDGE_LOG")]
    pub edge_log: Option<PathBuf>,
    /// Directory URL of the authority that certificates for public names are asked of, as
    /// `https://acme-v02.api.letsencrypt.org/directory`. Without it every host gets one of the platform's own authority.
    #[arg(long, value_name = "URL", env = "HAFEN_ACME")]
    pub acme: Option<String>,
    /// A mail address that the authority may write to.
    #[arg(long, value_name = "MAIL", env = "HAFEN_ACME_CONTACT", requires = "acme")]
    pub acme_contact: Option<String>,
    /// PEM file of the roots that the authority itself is known by; those of this machine unless given.
    #[arg(long, value_name = "FILE", env = "HAFEN_ACME_ROOTS", requires = "acme")]
    pub acme_roots: Option<PathBuf>,
    /// Program that sets a TXT record (`PROGRAM add NAME VALUE`) and takes it back (`PROGRAM remove NAME VALUE`): names are
    /// proven by DNS then, which hosts with a star need.
    #[arg(long, value_name = "PROGRAM", env = "HAFEN_ACME_DNS_HOOK", requires = "acme")]
    pub acme_dns_hook: Option<PathBuf>,
    /// Prove names at the https port (TLS-ALPN-01) and not at the http one.
    #[arg(long, env = "HAFEN_ACME_TLS", requires = "acme")]
    pub acme_tls: bool,
    /// Certificate-transparency log to watch for certificates of own hosts that nobody here asked for: URL of its tiles, and
    /// its public key in base 64, by which what it says is checked; may be repeated.
    #[arg(long = "ct-log", value_name = "URL[=KEY]")]
    pub ct_logs: Vec<WatchedLog>,
    /// Seconds after which an unknown certificate is told of.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u32).range(0..=86400))]
    pub ct_grace: u32,
}

impl EdgeArgs {
    pub fn acme(&self) -> Result<Option<AcmeConfig>> {
        let Some(directory) = &self.acme else { return Ok(None) };
        if !directory.starts_with("https://") {
            return Err(Error::invalid(format!(
                "{directory:?} is no https URL: name the authority's directory"
            )));
        }
        Ok(Some(AcmeConfig {
            directory: directory.clone(),
            contact: self.acme_contact.clone(),
            roots: self.acme_roots.clone(),
            dns_hook: self.acme_dns_hook.clone(),
            tls_alpn: self.acme_tls,
        }))
    }
}

/// Reaches ports of machines through their networks.
struct MachineConnect(Machines);

#[async_trait]
impl Connect for MachineConnect {
    async fn connect(&self, project: &str, machine: &str, port: u16) -> io::Result<BoxStream> {
        let stream = self.0.machine_dial(project, machine, port).await;
        stream.map(|stream| Box::new(stream) as BoxStream).map_err(io::Error::other)
    }
}

/// The data plane, with its listeners bound.
pub struct Edge {
    pub proxy: Arc<Proxy>,
    pub challenges: Arc<HttpChallenges>,
    listeners: Mutex<Option<Listeners>>,
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
}

async fn bind(address: Option<SocketAddr>) -> Result<(Option<TcpListener>, Option<SocketAddr>)> {
    let Some(address) = address else { return Ok((None, None)) };
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let help = if error.kind() == io::ErrorKind::PermissionDenied {
            "; a port below 1024 needs CAP_NET_BIND_SERVICE"
        } else {
            ""
        };
        Error::unavailable(format!("the edge cannot listen at {address}: {error}{help}"))
    })?;
    let bound = listener.local_addr().map_err(Error::internal)?;
    Ok((Some(listener), Some(bound)))
}

impl Edge {
    /// Binds the listeners; nothing is answered before `run`.
    pub async fn open(args: &EdgeArgs, machines: &Machines) -> Result<Self> {
        let (http, http_address) = bind(args.edge_http).await?;
        let (https, https_address) = bind(args.edge_https).await?;
        let challenges = Arc::new(HttpChallenges::default());
        let log = args.edge_log.as_deref().map(FileLog::open).transpose()?;
        let connections = descriptors::edge_connections();
        let defaults = Limits::default();
        let limits = Limits {
            connections,
            upstreams: connections * 2,
            // Nobody has all of them where there are few.
            client_connections: defaults
                .client_connections
                .min(u32::try_from(connections / 2).unwrap_or(u32::MAX)),
            ..defaults
        };
        let config = ProxyConfig {
            connect: Arc::new(MachineConnect(machines.clone())),
            challenges: Some(Arc::clone(&challenges) as Arc<dyn hafen_proxy::Challenges>),
            log: log.map(|log| Arc::new(log) as Arc<dyn AccessLog>),
            limits,
            clock: Arc::new(SystemClock),
            workers: args.edge_threads.into(),
            https_port: args.edge_https_port.or(https_address.map(|address| address.port())).unwrap_or(443),
        };
        Ok(Self {
            proxy: Proxy::new(config, &SystemRandom),
            challenges,
            listeners: Mutex::new(Some(Listeners { http, https })),
            http: http_address,
            https: https_address,
        })
    }

    /// Whether it answers requests in this process.
    pub const fn listens(&self) -> bool {
        self.http.is_some() || self.https.is_some()
    }

    /// Answers requests until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listeners) = listeners.filter(|both| both.http.is_some() || both.https.is_some()) else {
            return;
        };
        if let Err(error) = hafen_proxy::serve(Arc::clone(&self.proxy), listeners, stop).await {
            tracing::error!("the edge ended: {error}");
        }
    }
}

/// A line of JSON for each request.
///
/// Whoever rotates logs renames the file: that is noticed within a second, and the next line begins a new one at its place.
struct FileLog {
    path: PathBuf,
    open: Mutex<LogFile>,
}

struct LogFile {
    file: File,
    /// Device and number of the file.
    id: (u64, u64),
    looked: Instant,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let facts = file.metadata()?;
        Ok(Self { file, id: (facts.dev(), facts.ino()), looked: Instant::now() })
    }

    fn is_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|facts| (facts.dev(), facts.ino()) == self.id)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    at: hafen_base::Timestamp,
    request: &'a str,
    client: std::net::IpAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    protocol: &'a str,
    tls: bool,
    status: u16,
    sent: u64,
    took_ms: f64,
    project: &'a str,
    endpoint: &'a str,
}

impl FileLog {
    fn open(path: &Path) -> Result<Self> {
        let file = LogFile::open(path)
            .map_err(|error| Error::unavailable(format!("{} cannot be written: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), open: Mutex::new(file) })
    }
}

/// How often it is looked whether the log is where it was.
const LOOK: Duration = Duration::from_secs(1);

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl AccessLog for FileLog {
    fn write(&self, record: &AccessRecord<'_>) {
        let line = Line {
            at: SystemClock.now(),
            request: record.request,
            client: record.client,
            method: record.method,
            host: record.host,
            path: record.path,
            protocol: record.protocol,
            tls: record.tls,
            status: record.status,
            sent: record.sent,
            took_ms: milliseconds(record.took),
            project: record.project,
            endpoint: record.endpoint,
        };
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        text.push(b'\n');
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.looked.elapsed() >= LOOK {
            open.looked = Instant::now();
            if !open.is_at(&self.path) {
                match LogFile::open(&self.path) {
                    Ok(new) => *open = new,
                    Err(error) => tracing::error!("{} cannot be opened anew: {error}", self.path.display()),
                }
            }
        }
        // In one write, so that lines of several threads and processes stay whole.
        if let Err(error) = open.file.write_all(&text) {
            tracing::error!("a request is not logged: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_renamed_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let log = FileLog::open(&path).unwrap();
        let write = || {
            log.write(&AccessRecord {
                request: "e-1",
                client: [192, 0, 2, 0].into(),
                method: "GET",
                host: "shop.example.org",
                path: "/",
                protocol: "h1",
                tls: true,
                status: 200,
                sent: 1,
                took: Duration::ZERO,
                project: "shop",
                endpoint: "a",
            });
        };
        write();
        std::fs::rename(&path, &old).unwrap();
        let began = Instant::now();
        while !path.exists() {
            write();
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        let new = std::fs::read_to_string(&path).unwrap();
        assert!(new.starts_with('{') && new.ends_with("}\n"), "{new}");
    }
}
