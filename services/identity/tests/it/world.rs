//! The service behind the check of credentials, as the platform serves it; people who sign in.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hafen_base::{Clock as _, SteppedClock, SystemRandom};
use hafen_db::testing::TestDb;
use hafen_http::{ApiError, Peer};
use hafen_identity::model::totp::{TotpSecret, step_at};
use hafen_identity::{Cost, Held, Identity, IdentityConfig, OPEN, Presented};
use hafen_work::Health;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

pub const PASSWORD: &str = "trombone kettle window";

pub struct World {
    pub identity: Identity,
    pub clock: SteppedClock,
    pub router: Router,
    _database: TestDb,
}

pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    pub headers: http::HeaderMap,
}

impl Answer {
    /// The body, when the status is the one wanted.
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    pub fn code(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.body["code"].as_str().unwrap_or(""))
    }
}

/// A person with all it signs in with.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub organisation: String,
    pub login: String,
    pub totp: Vec<u8>,
    pub token: String,
    pub device: String,
    pub recovery_codes: Vec<String>,
}

async fn guard(identity: Identity, mut request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let text = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
    match identity.authenticate(Presented::Bearer(text.strip_prefix("Bearer ").unwrap_or(""))).await {
        Ok(caller) => {
            let actor = caller.actor.clone();
            request.extensions_mut().insert(caller);
            // What the policy says is the gate's to test; here its maker holds everything but one thing.
            let held = hafen_policy::ACTIONS.iter().map(|action| action.name);
            request.extensions_mut().insert(Held(held.filter(|name| *name != "image.gc").collect()));
            actor.acts(next.run(request)).await
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// The routes with the check of credentials before them, as the platform puts it.
pub fn served(identity: &Identity) -> Router {
    let checked = identity.clone();
    let (router, _) = identity.router().split_for_parts();
    let router =
        router.layer(axum::middleware::from_fn(move |request, next| guard(checked.clone(), request, next)));
    hafen_http::problems(router)
}

impl World {
    pub async fn open(database: TestDb) -> Self {
        Self::with_cost(database, Cost::LOWEST).await
    }

    pub async fn with_cost(database: TestDb, cost: Cost) -> Self {
        Self::at(database, cost, SteppedClock::new(), "https://hafen.example.org").await
    }

    pub async fn at(database: TestDb, cost: Cost, clock: SteppedClock, public_url: &str) -> Self {
        let identity = Identity::open(IdentityConfig {
            location: database.location.clone(),
            clock: Arc::new(clock.clone()),
            random: Arc::new(SystemRandom),
            health: Health::default(),
            key: hafen_seal::MasterKey::generate(&SystemRandom),
            public_url: public_url.into(),
            cost,
            local_operator: Some(1000),
            fetch: Arc::new(hafen_identity::Network::new().unwrap()),
            machines: None,
            loopback_issuers: true,
        })
        .await
        .unwrap();
        let router = served(&identity);
        Self { identity, clock, router, _database: database }
    }

    pub async fn send(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        self.send_from("192.0.2.1:4000", method, path, token, body).await
    }

    pub async fn send_from(
        &self,
        from: &str,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {token}"))
            .extension(ConnectInfo(Peer::Tcp(from.parse().unwrap())));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        self.raw(request.body(body).unwrap()).await
    }

    pub async fn raw(&self, request: Request) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status: parts.status, body, headers: parts.headers }
    }

    /// A form to the OpenID provider, as a browser or client sends it.
    pub async fn form(&self, path: &str, cookie: &str, pairs: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", cookie)
            .header("sec-fetch-site", "same-origin");
        self.raw(request.body(Body::from(body)).unwrap()).await
    }

    pub async fn page(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::builder()
            .uri(path)
            .header("cookie", cookie)
            .header("accept-language", "de-DE,de;q=0.9,en;q=0.5");
        self.raw(request.body(Body::empty()).unwrap()).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.send("GET", path, token, None).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send("POST", path, token, Some(body)).await
    }

    /// The code an authenticator shows now. Time moves on first: a code is good once.
    pub fn code(&self, totp: &[u8]) -> String {
        self.clock.step(Duration::from_secs(30));
        TotpSecret::from_bytes(totp.to_vec()).code(step_at(self.clock.now()))
    }

    /// Accepts an invitation with password and one-time codes.
    pub async fn accept(&self, invitation: &str, login: &str) -> Person {
        let begun = self.post("/invitations/begin", "", json!({ "token": invitation })).await.is(200);
        let totp = base32(begun["totp_secret"].as_str().unwrap());
        let body = json!({
            "ceremony": begun["ceremony"], "login": login, "name": format!("Name of {login}"), "password": PASSWORD,
            "totp": self.code(&totp),
        });
        let accepted = self.post("/invitations/accept", "", body).await.is(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Person {
            id: text(&accepted["person"]["id"]),
            organisation: text(&accepted["person"]["organisation"]),
            login: text(&accepted["person"]["login"]),
            totp,
            token: text(&accepted["session"]["token"]),
            device: text(&accepted["session"]["device"]),
            recovery_codes: accepted["recovery_codes"].as_array().unwrap().iter().map(text).collect(),
        }
    }

    /// The first owner of the platform.
    pub async fn owner(&self) -> Person {
        let invitation = self.identity.bootstrap_invitation().await.unwrap().unwrap();
        self.accept(invitation.expose(), "olga@example.org").await
    }

    /// Somebody with a role at the owner's organisation.
    pub async fn person(&self, owner: &Person, role: &str, login: &str) -> Person {
        self.step_up(owner).await;
        let body = json!({ "scope": owner.organisation, "role": role });
        let made = self.post("/invitations", &owner.token, body).await.is(201);
        self.accept(made["token"].as_str().unwrap(), login).await
    }

    /// The owner of another organisation.
    pub async fn tenant(&self, platform: &Person, name: &str) -> Person {
        let made = self.post("/organisations", &platform.token, json!({ "name": name })).await.is(201);
        let id = made["id"].as_str().unwrap();
        self.step_up(platform).await;
        let body = json!({ "scope": id, "role": "owner" });
        let invited =
            self.post(&format!("/invitations?organisation={id}"), &platform.token, body).await.is(201);
        self.accept(invited["token"].as_str().unwrap(), &format!("owner@{name}.example")).await
    }

    pub async fn step_up(&self, person: &Person) {
        let body = json!({ "totp": self.code(&person.totp) });
        self.post("/step-up", &person.token, body).await.is(200);
    }

    pub async fn sign_in(&self, person: &Person) -> Value {
        let body = json!({ "login": person.login, "password": PASSWORD });
        let step = self.post("/sign-in/password", "", body).await.is(200);
        let body = json!({ "ceremony": step["ceremony"], "totp": self.code(&person.totp) });
        self.post("/sign-in/second-factor", "", body).await.is(200)["session"].clone()
    }

    /// Runs the background work while time passes, until `done`.
    pub async fn run_until(&self, done: impl AsyncFn() -> bool) {
        let (stop, stopped) = watch::channel(false);
        let identity = self.identity.clone();
        let running = tokio::spawn(async move { identity.run(stopped).await });
        for _ in 0..2000 {
            if done().await {
                stop.send(true).unwrap();
                running.await.unwrap();
                return;
            }
            self.clock.step(Duration::from_millis(500));
            tokio::task::yield_now().await;
        }
        panic!("it never came");
    }

    /// Kinds of events, and all events as one text.
    pub async fn events(&self) -> (Vec<String>, String) {
        let events = self.identity.events().read(0, 1000, None).await.unwrap();
        let text = serde_json::to_string(&events).unwrap();
        (events.into_iter().map(|event| event.kind).collect(), text)
    }
}

pub fn base32(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut word, mut bits) = (0_u32, 0);
    for c in text.bytes() {
        let digit = if c.is_ascii_uppercase() { c - b'A' } else { c - b'2' + 26 };
        word = word << 5 | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits & 255) as u8);
        }
    }
    bytes
}
