//! Issuers of workload identities by discovery: over a real listener, whose keys rotate, fail, and lie.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hafen_base::Clock as _;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::world::{Answer, Person, World};

/// What the issuer answers, by path; each may be changed while it runs.
#[derive(Clone, Default)]
struct Issuer {
    url: String,
    answers: Arc<Mutex<BTreeMap<String, (u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn answer(State(issuer): State<Issuer>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    issuer.asked.lock().unwrap().push(path.clone());
    let found = issuer.answers.lock().unwrap().get(&path).cloned();
    let (status, body) = found.unwrap_or((404, String::new()));
    let status = StatusCode::from_u16(status).unwrap();
    if status.is_redirection() {
        return (status, [("location", body)]).into_response();
    }
    (status, [("content-type", "application/json")], body).into_response()
}

const DISCOVERY: &str = "/.well-known/openid-configuration";

impl Issuer {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Self { url: url.clone(), ..Self::default() };
        let router = Router::new().fallback(answer).with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer.says(DISCOVERY, 200, &json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string());
        issuer
    }

    fn says(&self, path: &str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(path.to_owned(), (status, body.to_owned()));
    }

    fn publishes(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public.clone()).collect();
        self.says("/keys", 200, &json!({ "keys": keys }).to_string());
    }

    /// How often its keys were asked for.
    fn asked(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| *path == "/keys").count()
    }
}

struct Key {
    kid: String,
    private: EncodingKey,
    public: Value,
}

impl Key {
    fn new(kid: &str) -> Self {
        let done = Command::new("openssl")
            .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .output()
            .unwrap();
        let private = EncodingKey::from_ec_pem(&done.stdout).unwrap();
        let mut public =
            serde_json::to_value(Jwk::from_encoding_key(&private, Algorithm::ES256).unwrap()).unwrap();
        public["kid"] = json!(kid);
        Self { kid: kid.into(), private, public }
    }
}

/// A job of the issuer: each token is new.
async fn trade(world: &World, issuer: &Issuer, key: &Key) -> Answer {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let now = world.clock.now().micros() / 1_000_000;
    let claims = json!({
        "iss": issuer.url, "aud": "https://hafen.example.org", "sub": "project_path:acme/shop", "jti": count.to_string(),
        "iat": now, "exp": now + 300, "project_path": "acme/shop",
    });
    let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::ES256) };
    let jwt = encode(&header, &claims, &key.private).unwrap();
    let pairs = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", jwt.as_str()),
    ];
    world.form("/oauth/token", "", &pairs).await
}

fn body(issuer: &str) -> Value {
    json!({
        "name": "shop", "issuer": issuer, "audience": "https://hafen.example.org", "claims": { "project_path": "acme/shop" },
        "role": "developer", "scope": "project/shop",
    })
}

async fn world() -> (World, Person) {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    world.post("/teams", &owner.token, json!({ "name": "web" })).await.is(201);
    world.send("PUT", "/project-owners/shop", &owner.token, Some(json!({ "team": "web" }))).await.is(200);
    (world, owner)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_and_follow_a_rotation() {
    let ((world, owner), issuer) = (world().await, Issuer::start().await);
    let (first, second, third) = (Key::new("1"), Key::new("2"), Key::new("3"));
    issuer.publishes(&[&first]);
    let made = world.post("/workload-identities", &owner.token, body(&issuer.url)).await.is(201);
    assert!(made["jwks"].is_null(), "{made}");
    trade(&world, &issuer, &first).await.is(200);
    let asked = issuer.asked();
    for _ in 0..5 {
        trade(&world, &issuer, &first).await.is(200);
    }
    assert_eq!(issuer.asked(), asked, "they are remembered");

    // A key nobody knows yet: asked once, and it is there.
    issuer.publishes(&[&first, &second]);
    world.clock.step(Duration::from_secs(31));
    trade(&world, &issuer, &second).await.is(200);
    assert_eq!(issuer.asked(), asked + 1);
    trade(&world, &issuer, &first).await.is(200);

    // Whoever makes keys up cannot make us ask as often as they like.
    for _ in 0..10 {
        let refused = trade(&world, &issuer, &third).await.is(400);
        assert_eq!(refused["error"], "invalid_grant");
    }
    assert_eq!(issuer.asked(), asked + 1, "just asked");
    world.clock.step(Duration::from_secs(31));
    let (a, b) = tokio::join!(trade(&world, &issuer, &third), trade(&world, &issuer, &third));
    assert_eq!(
        (a.status.as_u16(), b.status.as_u16(), issuer.asked()),
        (400, 400, asked + 2),
        "two at once ask once"
    );

    // A key that the issuer took back is good no more, at the latest after ten minutes.
    issuer.publishes(&[&second]);
    trade(&world, &issuer, &first).await.is(200);
    world.clock.step(Duration::from_mins(10));
    assert_eq!(trade(&world, &issuer, &first).await.is(400)["error"], "invalid_grant");
    trade(&world, &issuer, &second).await.is(200);

    // Away: as it was last seen, for an hour; then not at all, and it says so. Back: at once.
    issuer.says(DISCOVERY, 503, "");
    world.clock.step(Duration::from_mins(59));
    trade(&world, &issuer, &second).await.is(200);
    world.clock.step(Duration::from_mins(1));
    let away = trade(&world, &issuer, &second).await.is(503);
    assert_eq!(away["error"], "temporarily_unavailable");
    let document = json!({ "issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url) });
    issuer.says(DISCOVERY, 200, &document.to_string());
    world.clock.step(Duration::from_secs(31));
    trade(&world, &issuer, &second).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_lies_or_leads_elsewhere_is_not_trusted() {
    let ((world, owner), issuer) = (world().await, Issuer::start().await);
    let key = Key::new("1");
    issuer.publishes(&[&key]);
    let url = issuer.url.clone();
    let good = json!({ "keys": [key.public] }).to_string();
    issuer.says("/large", 200, &format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(2 << 20)));
    issuer.says("/none", 200, "{\"keys\":[]}");
    issuer.says("/text", 200, "no JSON");
    issuer.says("/moved", 302, &format!("{url}/keys"));
    // Another service of this machine, which the platform can reach and others cannot.
    let inner = Issuer::start().await;
    inner.says("/keys", 200, &good);
    let leads = |to: &str| json!({ "issuer": url, "jwks_uri": to }).to_string();
    for (status, document) in [
        (200, leads(&format!("{url}/large"))),
        (200, leads(&format!("{url}/none"))),
        (200, leads(&format!("{url}/text"))),
        (200, leads(&format!("{url}/moved"))),
        (200, leads(&format!("{}/keys", inner.url))),
        (200, leads("https://10.0.0.1/keys")),
        (200, leads("https://[fd00::1]/keys")),
        (200, leads("https://localhost/keys")),
        (200, leads("http://keys.example.org/keys")),
        (200, leads("file:///etc/passwd")),
        (
            200,
            json!({ "issuer": "https://gitlab.example.org", "jwks_uri": format!("{url}/keys") }).to_string(),
        ),
        (200, json!({ "issuer": url }).to_string()),
        (302, format!("{url}/elsewhere")),
        (500, String::new()),
    ] {
        issuer.says(DISCOVERY, status, &document);
        let refused = world.post("/workload-identities", &owner.token, body(&url)).await;
        assert_eq!(refused.status, 400, "{document}: {}", refused.body);
        assert_eq!(refused.body["errors"][0]["pointer"], "/issuer", "{document}: {}", refused.body);
    }
    assert_eq!(inner.asked(), 0, "nobody was sent there");
    // Nobody is asked for who may not, and nothing at addresses that are none.
    issuer.says(DISCOVERY, 200, &leads(&format!("{url}/keys")));
    let viewer = world.person(&owner, "viewer", "vera@example.org").await;
    let before = issuer.asked.lock().unwrap().len();
    assert_eq!(world.post("/workload-identities", &viewer.token, body(&url)).await.status, 403);
    assert_eq!(issuer.asked.lock().unwrap().len(), before);
    for none in [
        "gitlab",
        "http://gitlab.example.org",
        "https://u:p@gitlab.example.org",
        "https://gitlab.example.org/?x",
    ] {
        let refused = world.post("/workload-identities", &owner.token, body(none)).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["errors"][0]["pointer"]),
            (400, &json!("/issuer")),
            "{none}"
        );
    }
    // Keys that were given are the ones that count: nobody is asked.
    let mut given = body(&url);
    given["jwks"] = json!({ "keys": [key.public] });
    issuer.says(DISCOVERY, 500, "");
    world.step_up(&owner).await;
    world.post("/workload-identities", &owner.token, given).await.is(201);
    trade(&world, &issuer, &key).await.is(200);
}
