//! A data plane on free ports, and endpoints that do as they are told.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hafen_base::{SystemClock, SystemRandom};
use hafen_proxy::{
    AccessLog, AccessRecord, BoxStream, Challenges, Connect, EndpointPlan, HealthPlan, HostPlan, Limits,
    Listeners, Place, Proxy, ProxyConfig, certificates,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;

pub const HOST: &str = "shop.localhost";

struct Nowhere;

#[async_trait]
impl Connect for Nowhere {
    async fn connect(&self, _project: &str, _machine: &str, _port: u16) -> io::Result<BoxStream> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[derive(Default)]
pub struct Records(pub Mutex<Vec<String>>);

impl AccessLog for Records {
    fn write(&self, record: &AccessRecord<'_>) {
        let line = format!(
            "{} {} {} {} {} {} {}",
            record.client,
            record.protocol,
            record.method,
            record.host,
            record.path,
            record.status,
            record.endpoint
        );
        self.0.lock().unwrap().push(line);
    }
}

pub struct Rig {
    pub proxy: Arc<Proxy>,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub records: Arc<Records>,
    pub root: tempfile::NamedTempFile,
    stop: watch::Sender<bool>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

pub fn limits() -> Limits {
    Limits {
        head_time: Duration::from_millis(600),
        body_idle: Duration::from_millis(600),
        answer: Duration::from_secs(2),
        connect: Duration::from_millis(500),
        ..Limits::default()
    }
}

pub fn plan(backends: &[(&str, &[(&str, u32)])]) -> HostPlan {
    HostPlan {
        host: HOST.into(),
        project: "p".into(),
        paths: backends
            .iter()
            .map(|(path, targets)| {
                (
                    (*path).to_owned(),
                    targets.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect(),
                )
            })
            .collect(),
        maintenance: false,
        redirect_https: false,
        hsts: 0,
        max_body: 0,
        rate: 0,
    }
}

pub fn endpoint(id: &str, at: SocketAddr, draining: bool) -> EndpointPlan {
    EndpointPlan { id: id.into(), place: Place::Address(at), draining }
}

pub fn checked(path: &str) -> HealthPlan {
    HealthPlan {
        path: path.into(),
        interval: Duration::from_millis(50),
        healthy_after: 1,
        unhealthy_after: 2,
        timeout: Duration::from_millis(500),
    }
}

impl Rig {
    /// Everything leads to these endpoints.
    pub async fn new(endpoints: &[SocketAddr]) -> Self {
        let rig = Self::with(limits()).await;
        rig.proxy.table().hosts_set(vec![plan(&[("/", &[("web", 1)])])]);
        rig.endpoints(endpoints);
        rig
    }

    pub fn endpoints(&self, endpoints: &[SocketAddr]) {
        let plans: Vec<_> = endpoints
            .iter()
            .enumerate()
            .map(|(number, at)| endpoint(&format!("e{number}"), *at, false))
            .collect();
        self.proxy.table().backend("p", "web").set(&plans, None);
    }

    pub async fn with(limits: Limits) -> Self {
        Self::challenged(limits, None).await
    }

    pub async fn challenged(limits: Limits, challenges: Option<Arc<dyn Challenges>>) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let https = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (http_at, https_at) = (http.local_addr().unwrap(), https.local_addr().unwrap());
        let records = Arc::new(Records::default());
        let config = ProxyConfig {
            connect: Arc::new(Nowhere),
            challenges,
            log: Some(Arc::clone(&records) as Arc<dyn AccessLog>),
            limits,
            clock: Arc::new(SystemClock),
            workers: 2,
            https_port: https_at.port(),
        };
        let proxy = Proxy::new(config, &SystemRandom);
        let key = rcgen::KeyPair::generate().unwrap();
        let params =
            rcgen::CertificateParams::new(vec![HOST.to_owned(), "other.localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let shown = certificates::read(&certificate, &key.serialize_pem()).unwrap();
        proxy.certificates().set(vec![(HOST.into(), shown.clone()), ("other.localhost".into(), shown)]);
        let root = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(root.path(), certificate).unwrap();
        let (stop, stopped) = watch::channel(false);
        let listeners = Listeners { http: Some(http), https: Some(https) };
        tokio::spawn(hafen_proxy::serve(Arc::clone(&proxy), listeners, stopped));
        Self { proxy, http: http_at, https: https_at, records, root, stop }
    }

    /// Sends bytes as they are, and reads until the other side ends it or is silent for long.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let _closed = stream.write_all(bytes).await;
        read_all(&mut stream).await
    }

    /// curl, for this host, over the scheme.
    pub async fn curl(&self, scheme: &str, path: &str, arguments: &[&str]) -> (String, Output) {
        let at = if scheme == "https" { self.https } else { self.http };
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--cacert"])
            .arg(self.root.path())
            .args(["--resolve", &format!("{HOST}:{}:127.0.0.1", at.port())])
            .args(arguments)
            .arg(format!("{scheme}://{HOST}:{}{path}", at.port()))
            .output()
            .await
            .expect("curl is installed");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output)
    }

    pub fn in_flight(&self) -> i64 {
        self.proxy.table().backend("p", "web").seen().iter().map(|seen| seen.in_flight).sum()
    }
}

pub async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let _silent = tokio::time::timeout(Duration::from_secs(10), read).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for what becomes true soon.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An endpoint that reads a request (its head, and what of the body came with it or is counted by Content-Length) and answers
/// by a rule of its own, over and over.
pub struct Upstream {
    pub at: SocketAddr,
    pub requests: Arc<Mutex<Vec<String>>>,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What it does with a request: bytes to answer with; the connection goes on unless they are empty or say close.
pub type Rule = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

pub fn answers(text: &'static str) -> Rule {
    Arc::new(move |_| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n{text}", text.len())
            .into_bytes()
    })
}

/// Answers with the request that it got.
pub fn echoes() -> Rule {
    Arc::new(|request| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{request}", request.len()).into_bytes()
    })
}

impl Upstream {
    pub async fn new(rule: Rule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let task = tokio::spawn({
            let (requests, connections) = (Arc::clone(&requests), Arc::clone(&connections));
            async move {
                let mut tasks = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (rule, requests) = (Arc::clone(&rule), Arc::clone(&requests));
                    tasks.spawn(serve(stream, rule, requests));
                }
            }
        });
        Self { at, requests, connections, task }
    }

    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

async fn serve(mut stream: TcpStream, rule: Rule, requests: Arc<Mutex<Vec<String>>>) {
    let mut buffer = Vec::new();
    loop {
        let request = loop {
            if let Some(size) = whole(&buffer) {
                break buffer.drain(..size).collect::<Vec<u8>>();
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let request = String::from_utf8_lossy(&request).into_owned();
        requests.lock().unwrap().push(request.clone());
        let answer = rule(&request);
        if answer.is_empty() || stream.write_all(&answer).await.is_err() {
            return;
        }
        if String::from_utf8_lossy(&answer).to_lowercase().contains("connection: close") {
            return;
        }
    }
}

fn whole(buffer: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(buffer);
    let head = text.find("\r\n\r\n")? + 4;
    let lower = text[..head].to_lowercase();
    if lower.contains("transfer-encoding: chunked") {
        let end = text[head..].find("0\r\n\r\n")?;
        return Some(head + end + 5);
    }
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    (buffer.len() >= head + length).then_some(head + length)
}

/// A port where nothing listens.
pub async fn nothing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}
