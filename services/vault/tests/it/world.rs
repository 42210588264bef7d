//! A vault beside a platform that has the projects a test says it has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use hafen_base::{Actor, ActorKind, Clock as _, Random, Result, SeededRandom, SteppedClock, Timestamp};
use hafen_client::wire::Event;
use hafen_client::{ByteStream, Client, Token, Transport};
use hafen_db::testing::TestDb;
use hafen_seal::MasterKey;
use hafen_vault::{Vault, VaultConfig};
use hafen_work::Health;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

#[derive(Default)]
struct State {
    /// When each began.
    projects: BTreeMap<String, Timestamp>,
    events: Vec<Event>,
    /// Events up to here were dropped.
    dropped: i64,
}

/// The machines service, as far as a vault asks it.
#[derive(Clone, Default)]
pub struct Projects(Arc<Mutex<State>>);

impl Projects {
    pub fn begin(&self, name: &str, at: Timestamp) {
        self.0.lock().unwrap().projects.insert(name.to_owned(), at);
    }

    /// Ends, and says so.
    pub fn end(&self, name: &str, at: Timestamp) {
        let mut state = self.0.lock().unwrap();
        state.projects.remove(name).unwrap();
        let seq = state.dropped + i64::try_from(state.events.len()).unwrap() + 1;
        state.events.push(Event {
            seq,
            at,
            project: name.to_owned(),
            kind: "project.deleted".into(),
            object: format!("project/{name}"),
            message: String::new(),
            data: Value::Null,
            actor: Actor::platform(),
        });
    }

    /// Is not there, and nobody said that it ended.
    pub fn vanish(&self, name: &str) -> Timestamp {
        self.0.lock().unwrap().projects.remove(name).unwrap()
    }

    pub fn drop_events(&self) {
        let mut state = self.0.lock().unwrap();
        state.dropped += i64::try_from(state.events.len()).unwrap();
        state.events.clear();
    }
}

#[async_trait]
impl Transport for Projects {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let state = self.0.lock().unwrap();
        let path = request.uri().path();
        if path == "/api/v1/events" {
            let after =
                request.uri().query().unwrap().split('&').find_map(|part| part.strip_prefix("after="));
            let after: i64 = after.unwrap().parse().unwrap();
            let items: Vec<&Event> = state.events.iter().filter(|event| event.seq > after).collect();
            return Ok(Response::new(Body::from(json!({ "items": items, "next_page": null }).to_string())));
        }
        let name = path.strip_prefix("/api/v1/projects/").unwrap();
        let Some(born) = state.projects.get(name) else {
            let problem = json!({ "type": "about:blank", "title": "Not Found", "status": 404, "code": "not_found",
                                  "detail": format!("there is no project {name:?}"), "request_id": "" });
            return Ok(Response::builder().status(404).body(Body::from(problem.to_string())).unwrap());
        };
        let amounts = json!({ "machines": 1, "cpus": 1, "memory": 1, "disk": 1 });
        let project =
            json!({ "name": name, "quota": amounts, "usage": amounts, "generation": 1, "created_at": born });
        Ok(Response::new(Body::from(project.to_string())))
    }

    async fn stream(&self, _path: &str, _token: &Token) -> Result<ByteStream> {
        Err(hafen_base::Error::not_found("such machine"))
    }
}

pub struct World {
    pub vault: Vault,
    pub projects: Projects,
    pub clock: SteppedClock,
    pub random: Arc<SeededRandom>,
    pub key: MasterKey,
    pub db: TestDb,
}

pub fn person(id: &str) -> Actor {
    Actor { kind: ActorKind::Person, id: id.into(), name: id.into(), ..Actor::platform() }
}

impl World {
    /// With the project `hello`.
    pub async fn new(db: TestDb) -> Self {
        let random = Arc::new(SeededRandom::new(11));
        let key = MasterKey::generate(&*random);
        let clock = SteppedClock::new();
        let projects = Projects::default();
        projects.begin("hello", clock.now());
        clock.step(Duration::from_secs(60));
        let vault = open(&db, &projects, &key, &clock, &random).await.unwrap();
        Self { vault, projects, clock, random, key, db }
    }

    /// Another process on the same database.
    pub async fn again(&self, key: &MasterKey) -> Result<Vault> {
        open(&self.db, &self.projects, key, &self.clock, &self.random).await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> (u16, Value) {
        let (router, _) = self.vault.router().split_for_parts();
        let router = hafen_http::problems(router);
        let mut request = Request::builder().method(method).uri(format!("/api/v1/projects/{path}"));
        request = request.header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let answer = person("u-olga").acts(router.oneshot(request)).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.send(method, path, &[], body).await
    }

    /// Sends, expects success.
    pub async fn good(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub async fn read(&self, path: &str) -> (u16, Value) {
        self.call("POST", &format!("{path}/read"), json!({ "reason": "a test" })).await
    }

    pub async fn kinds(&self) -> Vec<String> {
        let events = self.vault.events().read(0, 1000, None).await.unwrap();
        events.into_iter().map(|event| event.kind).collect()
    }

    /// Runs what happens without a request until an event of this kind comes `times` times.
    pub async fn until(&self, kind: &str, times: usize) {
        let (stop, stopped) = watch::channel(false);
        // A process of its own each time: a service runs once.
        let vault = self.again(&self.key).await.unwrap();
        let mut bell = vault.events().subscribe();
        let running = tokio::spawn(async move { vault.run(stopped).await });
        while self.kinds().await.iter().filter(|found| *found == kind).count() < times {
            tokio::select! {
                rung = bell.changed() => rung.unwrap(),
                // The sweeps go by a clock that stands still unless somebody steps it.
                () = tokio::time::sleep(Duration::from_millis(20)) => self.clock.step(Duration::from_secs(1)),
            }
        }
        stop.send_replace(true);
        self.clock.step(Duration::from_secs(60));
        running.await.unwrap();
    }
}

async fn open(
    db: &TestDb,
    projects: &Projects,
    key: &MasterKey,
    clock: &SteppedClock,
    random: &Arc<SeededRandom>,
) -> Result<Vault> {
    Vault::open(VaultConfig {
        location: db.location.clone(),
        platform: Client::new(Arc::new(projects.clone()), Token::new("t")),
        key: key.clone(),
        clock: Arc::new(clock.clone()),
        random: Arc::clone(random) as Arc<dyn Random>,
        health: Health::default(),
    })
    .await
}
