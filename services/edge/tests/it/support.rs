//! An edge over a machines service with two projects, with or without a data plane.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use hafen_base::{Clock, Error, Permitted, Random, Result, SystemClock, SystemRandom};
use hafen_client::{ByteStream, Client, Token, Transport};
use hafen_db::Location;
use hafen_edge::{AcmeConfig, Edge, EdgeConfig, HttpChallenges, WatchedLog};
use hafen_proxy::{BoxStream, Connect, Limits, Listeners, Proxy, ProxyConfig};
use hafen_seal::MasterKey;
use hafen_work::Health;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt as _;

/// A machines service with the projects `hello` and `other`, until it is told otherwise.
pub struct Inventory {
    /// When they were founded.
    projects: Mutex<BTreeMap<String, &'static str>>,
    /// Where a project comes with a host, just when the projects were listed.
    late: Mutex<Option<Edge>>,
}

impl Default for Inventory {
    fn default() -> Self {
        let projects = ["hello", "other"].map(|name| (name.to_owned(), "2026-01-01T00:00:00Z"));
        Self { projects: Mutex::new(projects.into()), late: Mutex::default() }
    }
}

impl Inventory {
    pub fn founded(&self, project: &str, at: &'static str) {
        self.projects.lock().unwrap().insert(project.into(), at);
    }

    pub fn late(&self, edge: &Edge) {
        *self.late.lock().unwrap() = Some(edge.clone());
    }

    pub fn ended(&self, project: &str) {
        self.projects.lock().unwrap().remove(project);
    }
}

struct Inside(Arc<Inventory>);

#[async_trait]
impl Transport for Inside {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let amounts = json!({ "machines": 1, "cpus": 1, "memory": 1, "disk": 1 });
        let path = request.uri().path();
        let late = if path == "/api/v1/projects" { self.0.late.lock().unwrap().take() } else { None };
        let projects = self.0.projects.lock().unwrap().clone();
        let project = |name: &str| json!({ "name": name, "quota": amounts, "usage": amounts, "generation": 1, "created_at": projects[name] });
        let answer = match path.strip_prefix("/api/v1/projects") {
            Some("") => {
                let all: Vec<Value> = projects.keys().map(|name| project(name)).collect();
                json!({ "items": all, "next_page": null })
            }
            Some(rest) if projects.contains_key(rest.trim_start_matches('/')) => {
                project(rest.trim_start_matches('/'))
            }
            _ => {
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = StatusCode::NOT_FOUND;
                return Ok(answer);
            }
        };
        if let Some(edge) = late {
            self.0.founded("late", "2026-03-03T00:00:00Z");
            let body = serde_json::from_value(json!({ "paths": { "/": [{ "backend": "web" }] } })).unwrap();
            edge.route_put("late", "late.example.org", body, &Permitted::nothing(), |_| Ok(()))
                .await
                .unwrap();
        }
        Ok(Response::new(Body::from(answer.to_string())))
    }

    async fn stream(&self, _path: &str, _token: &Token) -> Result<ByteStream> {
        Err(Error::not_found("such machine"))
    }
}

struct Nowhere;

#[async_trait]
impl Connect for Nowhere {
    async fn connect(&self, _project: &str, _machine: &str, _port: u16) -> std::io::Result<BoxStream> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

pub struct Service {
    pub edge: Edge,
    pub proxy: Arc<Proxy>,
    pub https: SocketAddr,
    pub inventory: Arc<Inventory>,
    pub health: Health,
    stop: watch::Sender<bool>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

pub struct Options {
    pub location: Location,
    pub clock: Arc<dyn Clock>,
    pub key: MasterKey,
    pub acme: Option<AcmeConfig>,
    pub logs: Vec<WatchedLog>,
    /// Runs reconcilers and listeners.
    pub runs: bool,
}

impl Options {
    pub fn new(location: &Location) -> Self {
        Self {
            location: location.clone(),
            clock: Arc::new(SystemClock),
            key: key(),
            acme: None,
            logs: Vec::new(),
            runs: true,
        }
    }

    pub async fn open(self) -> Service {
        self.open_at([0, 0]).await
    }

    /// At these ports, for who is told them beforehand.
    pub async fn open_at(self, ports: [u16; 2]) -> Service {
        let [http, https] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (http, https) = (TcpListener::bind(http).await.unwrap(), TcpListener::bind(https).await.unwrap());
        let https_at = https.local_addr().unwrap();
        let challenges = Arc::new(HttpChallenges::default());
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let config = ProxyConfig {
            connect: Arc::new(Nowhere),
            challenges: Some(Arc::clone(&challenges) as Arc<dyn hafen_proxy::Challenges>),
            log: None,
            limits: Limits::default(),
            clock: Arc::clone(&self.clock),
            workers: 1,
            https_port: https_at.port(),
        };
        let proxy = Proxy::new(config, &*random);
        let (inventory, health) = (Arc::<Inventory>::default(), Health::default());
        let edge = Edge::open(EdgeConfig {
            location: self.location,
            platform: Client::new(Arc::new(Inside(Arc::clone(&inventory))), Token::new("t")),
            clock: self.clock,
            random,
            health: health.clone(),
            key: self.key,
            acme: self.acme,
            logs: self.logs,
            logs_grace: Duration::ZERO,
            proxy: Some(Arc::clone(&proxy)),
            challenges,
        })
        .await
        .unwrap();
        let (stop, stopped) = watch::channel(false);
        if self.runs {
            let running = edge.clone();
            let until = stopped.clone();
            tokio::spawn(async move { running.run(until).await });
            let listeners = Listeners { http: Some(http), https: Some(https) };
            tokio::spawn(hafen_proxy::serve(Arc::clone(&proxy), listeners, stopped));
        }
        Service { edge, proxy, https: https_at, inventory, health, stop }
    }
}

/// The same in every process of one platform.
pub fn key() -> MasterKey {
    MasterKey::generate(&hafen_base::SeededRandom::new(7))
}

impl Service {
    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, body) = self.ask(Some(Permitted::Everything), method, path, &[], body).await;
        (status, body)
    }

    /// With fields; `permitted` as the gate would say.
    pub async fn ask(
        &self,
        permitted: Option<Permitted>,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Value,
    ) -> (u16, String, Value) {
        let (router, _) = self.edge.router().split_for_parts();
        let router = hafen_http::problems(router);
        let mut request = Request::builder().method(method).uri(format!("/api/v1/projects/{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = request.header("content-type", "application/json").body(Body::from(text)).unwrap();
        if let Some(permitted) = permitted {
            request.extensions_mut().insert(permitted);
        }
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let etag =
            answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, etag, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub async fn certificate(&self, host: &str) -> Value {
        let (status, body) = self.call("GET", &format!("hello/certificates/{host}"), Value::Null).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Waits until the certificate of a host is there.
    pub async fn ready(&self, host: &str, seconds: u64) -> Value {
        let began = Instant::now();
        loop {
            let now = self.certificate(host).await;
            if now["state"] == "ready" {
                return now;
            }
            assert!(began.elapsed() < Duration::from_secs(seconds), "{now}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.edge.events().read(0, 1000, None).await.unwrap();
        events
            .into_iter()
            .filter(|event| event.kind.starts_with(kind))
            .map(|event| serde_json::to_value(event).unwrap())
            .collect()
    }

    pub async fn route(&self, host: &str) {
        let body = json!({ "paths": { "/": [{ "backend": "web" }] } });
        let (status, answer) = self.call("PUT", &format!("hello/routes/{host}"), body).await;
        assert_eq!(status, 201, "{answer}");
    }
}
