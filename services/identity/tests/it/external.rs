//! Signing in through another provider: a second Hafen, over a real listener.

use std::time::Duration;

use hafen_base::SteppedClock;
use hafen_identity::Cost;
use serde_json::json;

use crate::openid::{allow, field, parameter};
use crate::world::{Answer, PASSWORD, Person, World};

/// Two platforms with one clock; people sign in to the first through the second.
struct Two {
    here: World,
    there: World,
    owner: Person,
    foreigner: Person,
    provider: String,
}

pub fn cookie(answer: &Answer, what: &str) -> String {
    let all = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let found = all
        .filter(|value| value.contains(&format!("hafen_{what}=")))
        .find(|value| !value.contains("Max-Age=0"));
    found
        .unwrap_or_else(|| panic!("no cookie {what}: {:?}", answer.headers))
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

impl Two {
    async fn new() -> Self {
        let clock = SteppedClock::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let there = World::at(hafen_db::testing::sqlite(), Cost::LOWEST, clock.clone(), &url).await;
        let router = there.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let here =
            World::at(hafen_db::testing::sqlite(), Cost::LOWEST, clock, "https://hafen.example.org").await;
        let (owner, foreigner) = (here.owner().await, there.owner().await);
        let body = json!({ "name": "here", "confidential": true, "redirect_uris": ["https://hafen.example.org/oauth/external-callback"] });
        let client = there.post("/oauth-clients", &foreigner.token, body).await.is(201);
        here.step_up(&owner).await;
        let body = json!({ "name": "There", "issuer": url, "client_id": client["client"]["id"], "client_secret": client["secret"] });
        let provider = here.post("/identity-providers", &owner.token, body).await.is(201)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        Self { here, there, owner, foreigner, provider }
    }

    /// The browser at the other platform: signs in there, allows, and is sent back.
    async fn over_there(&self, location: &str) -> url::Url {
        let path = &location[location.find("/oauth/authorize").unwrap()..];
        let page = self.there.page(path, "").await;
        let return_to = field(&page, "return_to");
        let pairs = [
            ("return_to", return_to.as_str()),
            ("organisation", "default"),
            ("login", &self.foreigner.login),
            ("password", PASSWORD),
        ];
        let second = self.there.form("/oauth/sign-in", "", &pairs).await;
        let code = self.there.code(&self.foreigner.totp);
        let ceremony = field(&second, "ceremony");
        let done = self
            .there
            .form(
                "/oauth/sign-in",
                "",
                &[("return_to", &return_to), ("ceremony", &ceremony), ("code", &code)],
            )
            .await;
        allow(&self.there, &cookie(&done, "session"), path.split_once('?').unwrap().1).await
    }

    async fn leave(&self, query: &str, cookies: &str) -> Answer {
        let request = axum::extract::Request::builder()
            .uri(format!("/oauth/external?provider={}&{query}", self.provider))
            .header("cookie", cookies)
            .header("sec-fetch-site", "same-origin");
        self.here.raw(request.body(axum::body::Body::empty()).unwrap()).await
    }

    async fn arrive(&self, back: &url::Url, cookies: &str) -> Answer {
        self.here.page(&format!("{}?{}", back.path(), back.query().unwrap()), cookies).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_linked_by_its_owner_and_then_signs_in() {
    let two = Two::new().await;
    let there = "return_to=%2Foauth%2Fdevice";
    // Nobody is linked yet, and a login of the same name links nobody.
    assert_eq!(two.owner.login, two.foreigner.login);
    let left = two.leave(there, "").await;
    assert_eq!(left.status, 303, "{}", left.body);
    let back = two.over_there(left.headers["location"].to_str().unwrap()).await;
    let answer = two.arrive(&back, &cookie(&left, "external")).await;
    assert_eq!(answer.status, 401, "the same name is not the same person: {}", answer.body);

    // The owner links: signed in, with a fresh second factor.
    let session = format!("__Host-hafen_session={}", two.owner.token);
    two.here.clock.step(Duration::from_mins(6));
    assert_eq!(two.leave(&format!("{there}&link=1"), &session).await.status, 403, "no fresh second factor");
    two.here.step_up(&two.owner).await;
    assert_eq!(two.leave(&format!("{there}&link=1"), "").await.status, 403, "nobody is signed in");
    let left = two.leave(&format!("{there}&link=1"), &session).await;
    let back = two.over_there(left.headers["location"].to_str().unwrap()).await;
    let linked = two.arrive(&back, &format!("{}; {session}", cookie(&left, "external"))).await;
    assert_eq!(linked.status, 303, "{}", linked.body);

    // The page for signing in offers it to whom it is meant for.
    for (query, count) in [("", 1), ("?organisation=default", 1), ("?organisation=nobody", 0)] {
        let offered = two.here.get(&format!("/sign-in/providers{query}"), "").await.is(200);
        let items = offered["items"].as_array().unwrap();
        assert_eq!(items.len(), count, "{query}: {offered}");
        if count == 1 {
            assert_eq!(items[0], json!({ "id": two.provider, "name": "There" }));
        }
    }
    let left = two.leave("return_to=%2Fprojects%2Fhello%3Ftab%3Dx", "").await;
    let back = two.over_there(left.headers["location"].to_str().unwrap()).await;
    let answer = two.arrive(&back, &cookie(&left, "external")).await;
    assert_eq!(
        answer.headers["location"], "/projects/hello?tab=x",
        "to the screen of the console that was wanted"
    );

    // Now it signs in; the other platform says that two factors were proven.
    let left = two.leave(there, "").await;
    let back = two.over_there(left.headers["location"].to_str().unwrap()).await;
    let journey = cookie(&left, "external");
    let answer = two.arrive(&back, &journey).await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers["location"].to_str().unwrap()),
        (303, "/oauth/device"),
        "{}",
        answer.body
    );
    let token = cookie(&answer, "session").split_once('=').unwrap().1.to_owned();
    let whoami = two.here.get("/whoami", &token).await.is(200);
    assert_eq!((&whoami["id"], &whoami["strong"]), (&json!(two.owner.id), &json!(true)));
    assert_eq!(two.arrive(&back, &journey).await.status, 401, "replayed");
    let (kinds, _) = two.here.events().await;
    for kind in
        ["identity_provider.created", "external_identity.linked", "sign_in.refused", "sign_in.succeeded"]
    {
        assert!(kinds.iter().any(|k| k == kind), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_others_and_of_other_browsers_are_refused() {
    let two = Two::new().await;
    let left = two.leave("return_to=%2Foauth%2Fdevice", "").await;
    let back = two.over_there(left.headers["location"].to_str().unwrap()).await;
    assert_eq!(two.arrive(&back, "").await.status, 401, "without the cookie of this browser");
    let other = two.leave("return_to=%2Foauth%2Fdevice", "").await;
    assert_eq!(
        two.arrive(&back, &cookie(&other, "external")).await.status,
        401,
        "the state of another journey"
    );
    let mut mixed = back.clone();
    let pairs: Vec<(String, String)> = back
        .query_pairs()
        .into_owned()
        .map(|(n, v)| if n == "iss" { (n, "https://evil.example".into()) } else { (n, v) })
        .collect();
    mixed.query_pairs_mut().clear().extend_pairs(pairs);
    assert_eq!(
        two.arrive(&mixed, &cookie(&left, "external")).await.status,
        401,
        "mixed up with another provider"
    );
    assert!(parameter(&back, "code").is_some());
    assert_eq!(
        two.leave("return_to=https%3A%2F%2Fevil.example", "").await.status,
        303,
        "but it leads back to us alone"
    );
    for issuer in ["http://login.example.org", "file:///etc/passwd", "http://10.0.0.1"] {
        let body = json!({ "name": "x", "issuer": issuer, "client_id": "a", "client_secret": "b" });
        assert_eq!(
            two.here.post("/identity-providers", &two.owner.token, body).await.status,
            400,
            "{issuer}"
        );
    }
    let tenant = two.here.tenant(&two.owner, "acme").await;
    assert_eq!(two.here.get("/identity-providers", &tenant.token).await.is(200)["items"], json!([]));
    assert_eq!(
        two.here
            .send("DELETE", &format!("/identity-providers/{}", two.provider), &tenant.token, None)
            .await
            .status,
        404
    );
}
