//! Signing in through a provider that this project did not write: npm's `oidc-provider`, started by the test. Code and PKCE to
//! the end; and each way in which its answer can be wrong.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use hafen_base::{Clock as _, SteppedClock, SystemClock};
use hafen_identity::Cost;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::external::cookie;
use crate::openid::{field, parameter};
use crate::world::{Answer, Person, World};

const CLIENT: &str = "hafen";
const SECRET: &str = "the secret of hafen at this provider, for one test";

struct Provider {
    issuer: String,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Provider {
    async fn start() -> Self {
        let scripts = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts"));
        let work = std::env::var_os("CARGO_TARGET_TMPDIR")
            .map_or_else(|| std::env::temp_dir().join("hafen-oidc-provider"), PathBuf::from);
        let given = json!({
            "client_id": CLIENT, "client_secret": SECRET, "redirect_uri": "https://hafen.example.org/oauth/external-callback",
        });
        let mut child = Command::new(scripts.join("oidc-provider"))
            .arg(work)
            .arg(given.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut provider = Self { issuer: String::new(), input, output, _child: child };
        let issuer = provider.line().await["issuer"].as_str().unwrap().to_owned();
        Self { issuer, ..provider }
    }

    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_mins(3), self.output.next_line()).await;
        let line = line.expect("within three minutes").unwrap().expect("the provider ended");
        serde_json::from_str(&line).unwrap()
    }

    /// Somebody follows a link there, signs in, and is sent back.
    async fn sign_in(&mut self, go: &str, account: &str, lie: &str) -> url::Url {
        let line = json!({ "go": go, "account": account, "lie": lie });
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let back = self.line().await;
        back["back"].as_str().unwrap_or_else(|| panic!("{back}")).parse().unwrap()
    }
}

struct Here {
    world: World,
    owner: Person,
    provider: String,
}

impl Here {
    async fn new(issuer: &str, secret: &str) -> Self {
        // The provider goes by the machine's clock.
        let clock = SteppedClock::new();
        clock.step(SystemClock.now().since(clock.now()));
        let database = hafen_db::testing::sqlite();
        let world = World::at(database, Cost::LOWEST, clock, "https://hafen.example.org").await;
        let owner = world.owner().await;
        let body =
            json!({ "name": "Independent", "issuer": issuer, "client_id": CLIENT, "client_secret": secret });
        let made = world.post("/identity-providers", &owner.token, body).await.is(201);
        let provider = made["id"].as_str().unwrap().to_owned();
        Self { world, owner, provider }
    }

    /// Leaves for the provider: where to, and the cookie of this journey.
    async fn leave(&self, more: &str, cookies: &str) -> (String, String) {
        let request = axum::extract::Request::builder()
            .uri(format!("/oauth/external?provider={}&return_to=%2Foauth%2Fdevice{more}", self.provider))
            .header("cookie", cookies)
            .header("sec-fetch-site", "same-origin");
        let left = self.world.raw(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(left.status, 303, "{}", left.body);
        (left.headers["location"].to_str().unwrap().to_owned(), cookie(&left, "external"))
    }

    async fn arrive(&self, back: &url::Url, cookies: &str) -> Answer {
        self.world.page(&format!("{}?{}", back.path(), back.query().unwrap()), cookies).await
    }

    /// A whole journey of somebody who signs in.
    async fn journey(&self, provider: &mut Provider, account: &str, lie: &str) -> Answer {
        let (go, journey) = self.leave("", "").await;
        let back = provider.sign_in(&go, account, lie).await;
        self.arrive(&back, &journey).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_through_an_independent_provider() {
    let mut provider = Provider::start().await;
    let here = Here::new(&provider.issuer, SECRET).await;
    let stranger = here.journey(&mut provider, "anna", "").await;
    assert_eq!(stranger.status, 401, "nobody is linked: {}", stranger.body);

    // The owner links her account there.
    let session = format!("__Host-hafen_session={}", here.owner.token);
    let (go, journey) = here.leave("&link=1", &session).await;
    let sent: url::Url = go.parse().unwrap();
    assert_eq!(parameter(&sent, "code_challenge_method").as_deref(), Some("S256"));
    let back = provider.sign_in(&go, "anna", "").await;
    assert_eq!(parameter(&back, "iss").as_deref(), Some(provider.issuer.as_str()), "RFC 9207");
    let linked = here.arrive(&back, &format!("{journey}; {session}")).await;
    assert_eq!(linked.status, 303, "{}", linked.body);

    // Now she signs in there; a second factor was not proven there, so hers here is asked for.
    let page = here.journey(&mut provider, "anna", "").await;
    assert_eq!(page.status, 200, "{}", page.body);
    let ceremony = field(&page, "ceremony");
    let code = here.world.code(&here.owner.totp);
    let pairs = [("return_to", "/oauth/device"), ("ceremony", ceremony.as_str()), ("code", code.as_str())];
    let done = here.world.form("/oauth/sign-in", "", &pairs).await;
    assert_eq!(done.status, 303, "{}", done.body);
    let token = cookie(&done, "session").split_once('=').unwrap().1.to_owned();
    let whoami = here.world.get("/whoami", &token).await.is(200);
    assert_eq!((&whoami["id"], &whoami["strong"]), (&json!(here.owner.id), &json!(true)));
    // Another account there is another person, whoever she is here.
    assert_eq!(here.journey(&mut provider, "bert", "").await.status, 401);

    // A code is good once, and only with the verifier and the cookie that belong to it.
    let (go, journey) = here.leave("", "").await;
    let back = provider.sign_in(&go, "anna", "").await;
    assert_eq!(here.arrive(&back, "").await.status, 401, "without the cookie");
    assert_eq!(here.arrive(&back, &journey).await.status, 200);
    assert_eq!(here.arrive(&back, &journey).await.status, 401, "a second time");
    let (_, other) = here.leave("", "").await;
    assert_eq!(here.arrive(&back, &other).await.status, 401, "another journey");
    // Somebody's code put into one's own journey: the provider wants the verifier of the journey it gave it to.
    let (go, _) = here.leave("", "").await;
    let theirs = provider.sign_in(&go, "anna", "").await;
    let (go, own) = here.leave("", "").await;
    let mine = provider.sign_in(&go, "bert", "").await;
    let pairs: Vec<(String, String)> = mine
        .query_pairs()
        .into_owned()
        .map(
            |(name, value)| {
                if name == "code" { (name, parameter(&theirs, "code").unwrap()) } else { (name, value) }
            },
        )
        .collect();
    let mut mixed = mine.clone();
    mixed.query_pairs_mut().clear().extend_pairs(pairs);
    let refused = here.arrive(&mixed, &own).await;
    assert!(refused.status.is_client_error() || refused.status == 503, "{}", refused.body);
    assert!(
        refused
            .headers
            .get_all("set-cookie")
            .iter()
            .all(|one| !one.to_str().unwrap().contains("_session=hafen"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_that_is_wrong_in_one_point_signs_nobody_in() {
    let mut provider = Provider::start().await;
    let here = Here::new(&provider.issuer, SECRET).await;
    let session = format!("__Host-hafen_session={}", here.owner.token);
    let (go, journey) = here.leave("&link=1", &session).await;
    let back = provider.sign_in(&go, "anna", "").await;
    assert_eq!(here.arrive(&back, &format!("{journey}; {session}")).await.status, 303);

    for (lie, why) in [
        ("issuer", "another issuer"),
        ("audience", "another audience"),
        ("nonce", "belongs to another sign-in"),
        ("no nonce", "belongs to another sign-in"),
        ("party", "given to another client"),
        ("expired", "has expired"),
        ("future", "not valid yet"),
        ("no subject", "iss, aud, exp and sub are needed"),
        ("signature", "the signature is wrong"),
        ("key", "not one of this issuer"),
        ("none", "the algorithm does not belong to this key"),
        ("hmac", "the algorithm does not belong to this key"),
    ] {
        let refused = here.journey(&mut provider, "anna", lie).await;
        assert_eq!(refused.status, 401, "{lie}: {}", refused.body);
        assert!(refused.body.as_str().unwrap().contains(why), "{lie}: {}", refused.body);
        // And the right one still works.
        let right = here.journey(&mut provider, "anna", "").await;
        assert_eq!(right.status, 200, "after {lie}: {}", right.body);
    }
    let (kinds, _) = here.world.events().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "sign_in.refused").count(), 12);

    // A client that cannot prove who it is gets nothing.
    let wrong = Here::new(&provider.issuer, "another secret").await;
    let refused = wrong.journey(&mut provider, "anna", "").await;
    assert_eq!(refused.status, 503, "{}", refused.body);
}
