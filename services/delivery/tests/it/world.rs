//! The service, its projects, and who asks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::middleware::{Next, from_fn_with_state};
use bytes::Bytes;
use hafen_base::{Actor, ActorKind, Error, Permitted, Result, SeededRandom, SteppedClock};
use hafen_client::{ByteStream, Client, Token, Transport};
use hafen_db::testing::TestDb;
use hafen_delivery::{Delivery, DeliveryConfig, Push, Pushed, Requested, Rights};
use hafen_http::Roles;
use hafen_seal::MasterKey;
use hafen_work::Health;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt as _;

/// A machines service that knows projects, and when they were founded.
#[derive(Default)]
pub struct Projects(pub Mutex<BTreeMap<String, &'static str>>);

#[async_trait]
impl Transport for Projects {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let name = request.uri().path().strip_prefix("/api/v1/projects/").unwrap().to_owned();
        let founded = self.0.lock().unwrap().get(&name).copied();
        let amounts = json!({ "machines": 1, "cpus": 1, "memory": 1, "disk": 1 });
        let (status, body) = match founded {
            Some(at) => (
                200,
                json!({ "name": name, "quota": amounts, "usage": amounts, "generation": 1, "created_at": at }),
            ),
            None => (
                404,
                json!({ "type": "about:blank", "title": "Not Found", "status": 404, "code": "not_found", "request_id": "r",
                        "detail": format!("there is no project {name:?}") }),
            ),
        };
        Ok(Response::builder().status(status).body(Body::from(body.to_string())).unwrap())
    }

    async fn stream(&self, _path: &str, _token: &Token) -> Result<ByteStream> {
        Err(Error::not_found("such machine"))
    }
}

/// Everybody is what they are called.
pub struct Everybody;

#[async_trait]
impl Rights for Everybody {
    async fn roles(&self, actor: &Actor, action: &str, _project: &str) -> Result<Option<Vec<String>>> {
        let roles = vec![actor.id.clone()];
        let may = action == "repository.read" || actor.id != "viewer";
        Ok(may.then_some(roles))
    }
}

/// Hears, unless it is told to fail.
#[derive(Default)]
pub struct Heard {
    pub pushes: Mutex<Vec<Push>>,
    pub requests: Mutex<Vec<Requested>>,
    pub deaf: Mutex<bool>,
}

#[async_trait]
impl Pushed for Heard {
    async fn pushed(&self, push: &Push) -> Result<()> {
        if *self.deaf.lock().unwrap() {
            return Err(Error::unavailable("not now"));
        }
        self.pushes.lock().unwrap().push(push.clone());
        Ok(())
    }

    async fn requested(&self, request: &Requested) -> Result<()> {
        if *self.deaf.lock().unwrap() {
            return Err(Error::unavailable("not now"));
        }
        self.requests.lock().unwrap().push(request.clone());
        Ok(())
    }
}

pub struct World {
    pub delivery: Delivery,
    pub projects: Arc<Projects>,
    pub heard: Arc<Heard>,
    pub clock: SteppedClock,
    pub folder: tempfile::TempDir,
    pub database: TestDb,
    url: String,
    stop: watch::Sender<bool>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn open(database: &TestDb, folder: &Path, projects: &Arc<Projects>, clock: &SteppedClock) -> Delivery {
    let random = Arc::new(SeededRandom::new(7));
    Delivery::open(DeliveryConfig {
        location: database.location.clone(),
        folder: folder.join("delivery"),
        platform: Client::new(Arc::clone(projects) as Arc<dyn Transport>, Token::new("t")),
        rights: Arc::new(Everybody),
        key: MasterKey::generate(&*random),
        clock: Arc::new(clock.clone()),
        random,
        health: Health::default(),
    })
    .await
    .unwrap()
}

pub fn somebody(role: &str) -> Actor {
    Actor { kind: ActorKind::Person, id: role.into(), name: format!("the {role}"), ..Actor::platform() }
}

/// Who asks stands in the user name of Basic, as git sends it.
async fn as_named(actor: Actor, request: AxumRequest, next: Next) -> axum::response::Response {
    use base64::Engine as _;
    let (mut parts, body) = request.into_parts();
    let named = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(|text| {
        let text = base64::engine::general_purpose::STANDARD.decode(text.strip_prefix("Basic ")?).ok()?;
        Some(String::from_utf8(text).ok()?.split_once(':')?.0.to_owned())
    });
    if named.is_none() && parts.uri.path().starts_with("/git/") {
        // Git shows what it knows only when it is asked.
        let asks = Response::builder().status(401).header("www-authenticate", "Basic realm=\"test\"");
        return asks.body(Body::empty()).unwrap();
    }
    let actor = named.map_or(actor, |role| somebody(&role));
    parts.extensions.insert(Roles(vec![actor.id.clone()]));
    parts.extensions.insert(Permitted::Everything);
    actor.acts(next.run(AxumRequest::from_parts(parts, body))).await
}

impl World {
    pub async fn new() -> Self {
        Self::with(hafen_db::testing::sqlite()).await
    }

    pub async fn with(database: TestDb) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let projects = Arc::new(Projects::default());
        projects.0.lock().unwrap().insert("hello".into(), "2026-01-01T00:00:00Z");
        let clock = SteppedClock::new();
        let delivery = open(&database, folder.path(), &projects, &clock).await;
        let heard = Arc::new(Heard::default());
        delivery.set_pushed(Arc::clone(&heard) as Arc<dyn Pushed>);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let (router, _) = delivery.router().split_for_parts();
        let router = router
            .layer(from_fn_with_state((), |_state: axum::extract::State<()>, request, next| {
                as_named(somebody("nobody"), request, next)
            }));
        let router = hafen_http::problems(router);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (stop, _) = watch::channel(false);
        let world = Self { delivery, projects, heard, clock, folder, database, url, stop };
        world.run();
        world
    }

    /// The runners of the service as it is now.
    pub fn run(&self) {
        let (delivery, stop) = (self.delivery.clone(), self.stop.subscribe());
        tokio::spawn(async move { delivery.run(stop).await });
    }

    /// The service, opened again over what is on the disk: as after a crash.
    pub async fn again(&self) -> Delivery {
        let delivery = open(&self.database, self.folder.path(), &self.projects, &self.clock).await;
        delivery.set_pushed(Arc::clone(&self.heard) as Arc<dyn Pushed>);
        delivery
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call_with(method, path, &[], body.to_string().into_bytes()).await
    }

    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (u16, Value) {
        let (router, _) = self.delivery.router().split_for_parts();
        let router = hafen_http::problems(router);
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.extension(Permitted::Everything).body(Body::from(body)).unwrap();
        let answer = somebody("maintainer").acts(router.oneshot(request)).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub async fn make(&self, path: &str, body: Value) -> Value {
        let (status, made) = self.call("POST", &format!("/api/v1/projects/hello/{path}"), body).await;
        assert_eq!(status, 201, "{made}");
        made
    }

    pub async fn events(&self, kind: &str) -> Vec<hafen_client::wire::Event> {
        let all = self.delivery.events().read(0, 1000, None).await.unwrap();
        all.into_iter().filter(|event| event.kind == kind).collect()
    }

    /// As git's clients write it, with a role's name as the user's.
    pub fn remote(&self, role: &str, repository: &str) -> String {
        format!("http://{role}:x@{}/git/hello/{repository}.git", self.url)
    }

    pub async fn git(&self, place: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new("git");
        command
            .current_dir(place)
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
            .envs([("GIT_COMMITTER_NAME", "A"), ("GIT_COMMITTER_EMAIL", "a@example.org")])
            .stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub async fn good(&self, place: &Path, arguments: &[&str]) -> String {
        let output = self.git(place, arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub async fn bad(&self, place: &Path, arguments: &[&str]) -> String {
        let output = self.git(place, arguments).await;
        assert!(!output.status.success(), "{arguments:?} went through");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub async fn clone(&self, role: &str, repository: &str, name: &str) -> PathBuf {
        self.good(self.folder.path(), &["clone", "-q", &self.remote(role, repository), name]).await;
        self.folder.path().join(name)
    }

    pub async fn commit(&self, place: &Path, file: &str, text: &str) {
        std::fs::write(place.join(file), text).unwrap();
        self.good(place, &["add", "."]).await;
        self.good(place, &["commit", "-q", "-m", &format!("write {file}")]).await;
    }

    /// Waits until `check` gives something, while the service's time goes on.
    pub async fn until<T>(&self, what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            if let Some(value) = check().await {
                return value;
            }
            assert!(tokio::time::Instant::now() < deadline, "it never came: {what}");
            self.clock.step(std::time::Duration::from_millis(500));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
