//! Hafen as an OpenID provider: every flow, and what must not work.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hafen_base::Clock as _;
use hafen_identity::Presented;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{Answer, PASSWORD, Person, World};

const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more-than-that";
const CALLBACK: &str = "http://127.0.0.1:53111/callback";

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

/// The query of an authorization request; `change` replaces or, with an empty text, leaves out.
fn query(change: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let mut pairs = vec![
        ("client_id", "hafen-cli"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid profile email offline_access api unknown"),
        ("state", "s t&ate"),
        ("nonce", "n-1"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in change {
        pairs.retain(|(n, _)| n != name);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The value of a hidden field of a page.
pub fn field(answer: &Answer, name: &str) -> String {
    let html = answer.body.as_str().unwrap();
    let from =
        html.find(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no field {name}: {html}"));
    let rest = &html[from + name.len() + 15..];
    rest[..rest.find('"').unwrap()].replace("&amp;", "&").replace("&#39;", "'").replace("&quot;", "\"")
}

/// Signs in through the pages; gives the session's cookie.
async fn browser(world: &World, person: &Person, organisation: &str) -> String {
    let page = world.page(&format!("/oauth/authorize?{}", query(&[])), "").await;
    assert!(page.body.as_str().unwrap().contains("Anmelden"), "German for a German browser");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    let return_to = field(&page, "return_to");
    let pairs = [
        ("return_to", return_to.as_str()),
        ("organisation", organisation),
        ("login", &person.login),
        ("password", PASSWORD),
    ];
    let second = world.form("/oauth/sign-in", "", &pairs).await;
    let ceremony = field(&second, "ceremony");
    let wrong = [("return_to", return_to.as_str()), ("ceremony", &ceremony), ("code", "000000")];
    assert!(world.form("/oauth/sign-in", "", &wrong).await.body.as_str().unwrap().contains("role=\"alert\""));
    let code = world.code(&person.totp);
    let done = world
        .form("/oauth/sign-in", "", &[("return_to", &return_to), ("ceremony", &ceremony), ("code", &code)])
        .await;
    assert_eq!(done.status, 303, "{}", done.body);
    assert_eq!(done.headers["location"], return_to);
    let cookie = done
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().unwrap())
        .find(|c| c.contains("session"))
        .unwrap();
    assert!(
        cookie.starts_with("__Host-hafen_session=")
            && cookie.contains("; Secure")
            && cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    cookie.split(';').next().unwrap().to_owned()
}

/// Allows the client; gives where the browser is sent.
pub async fn allow(world: &World, cookie: &str, query: &str) -> url::Url {
    let page = world.page(&format!("/oauth/authorize?{query}"), cookie).await;
    let pairs =
        [("form", field(&page, "form")), ("query", field(&page, "query")), ("answer", "allow".to_owned())];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let sent = world.form("/oauth/authorize", cookie, &pairs).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    url::Url::parse(sent.headers["location"].to_str().unwrap()).unwrap()
}

pub fn parameter(url: &url::Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
}

async fn code(world: &World, cookie: &str) -> String {
    parameter(&allow(world, cookie, &query(&[])).await, "code").unwrap()
}

async fn redeem(world: &World, code: &str, change: &[(&str, &str)]) -> Answer {
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("client_id", "hafen-cli"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    for (name, value) in change {
        pairs.retain(|(n, _)| n != name);
        pairs.push((name, value));
    }
    world.form("/oauth/token", "", &pairs).await
}

fn error(answer: &Answer) -> String {
    format!("{} {}", answer.status.as_u16(), answer.body["error"].as_str().unwrap_or(""))
}

async fn userinfo(world: &World, token: &str) -> Answer {
    let request = axum::extract::Request::builder()
        .uri("/oauth/userinfo")
        .header("authorization", format!("Bearer {token}"));
    world.raw(request.body(axum::body::Body::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_flow_from_sign_in_to_refresh() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let cookie = browser(&world, &owner, "default").await;
        let sent = allow(&world, &cookie, &query(&[])).await;
        assert_eq!(parameter(&sent, "state").as_deref(), Some("s t&ate"), "{name}");
        assert_eq!(parameter(&sent, "iss").as_deref(), Some("https://hafen.example.org"), "{name}: RFC 9207");
        let answer = redeem(&world, &parameter(&sent, "code").unwrap(), &[]).await;
        assert_eq!(answer.headers["cache-control"], "no-store", "{name}");
        let tokens = answer.is(200);
        assert_eq!(
            tokens["scope"], "api email offline_access openid profile",
            "{name}: unknown scopes are left out"
        );

        let keys: JwkSet = serde_json::from_value(world.page("/oauth/jwks", "").await.is(200)).unwrap();
        let id_token = tokens["id_token"].as_str().unwrap();
        let header = jsonwebtoken::decode_header(id_token).unwrap();
        let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.set_audience(&["hafen-cli"]);
        validation.set_issuer(&["https://hafen.example.org"]);
        let claims = jsonwebtoken::decode::<Value>(id_token, &key, &validation).unwrap().claims;
        assert_eq!((&claims["sub"], &claims["nonce"]), (&json!(owner.id), &json!("n-1")), "{name}");
        assert_eq!(claims["amr"], json!(["pwd", "otp", "mfa"]), "{name}");

        let access = tokens["access_token"].as_str().unwrap();
        let info = userinfo(&world, access).await.is(200);
        assert_eq!((&info["sub"], &info["email"]), (&json!(owner.id), &json!(owner.login)), "{name}");
        let caller = world.identity.authenticate(Presented::Bearer(access)).await.unwrap();
        assert!(
            caller.platform && caller.strong && caller.scopes.is_none(),
            "{name}: the scope api is all one may"
        );

        let refresh = |token: String| {
            let world = &world;
            async move {
                world
                    .form(
                        "/oauth/token",
                        "",
                        &[
                            ("grant_type", "refresh_token"),
                            ("client_id", "hafen-cli"),
                            ("refresh_token", &token),
                        ],
                    )
                    .await
            }
        };
        let first = tokens["refresh_token"].as_str().unwrap().to_owned();
        let next = refresh(first.clone()).await.is(200);
        let second = next["refresh_token"].as_str().unwrap().to_owned();
        assert_ne!(first, second, "{name}: it rotates");
        // The session of the client is one of the list, and the reuse of a refresh token ends it.
        let sessions = world.get("/sessions", &owner.token).await.is(200);
        assert!(
            sessions["items"].as_array().unwrap().iter().any(|session| session["client"] == "hafen"),
            "{name}"
        );
        assert_eq!(error(&refresh(first).await), "400 invalid_grant", "{name}: reuse");
        assert_eq!(error(&refresh(second).await), "400 invalid_grant", "{name}: the whole line ended");
        for token in [access, next["access_token"].as_str().unwrap()] {
            assert_eq!(world.get("/whoami", token).await.status, 401, "{name}");
        }
        let (kinds, text) = world.events().await;
        assert!(kinds.contains(&"session.stolen".into()) && !text.contains(access), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once_for_who_asked_for_it() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let cookie = browser(&world, &owner, "default").await;
        for (change, expected) in [
            (("code_verifier", "another-verifier-of-forty-three-characters-or-more"), "400 invalid_grant"),
            (("code_verifier", ""), "400 invalid_request"),
            (("redirect_uri", "http://127.0.0.1:53112/callback"), "400 invalid_grant"),
            (("client_id", "nobody"), "401 invalid_client"),
            (("client_secret", "x"), "401 invalid_client"),
            (("code", "nonsense"), "400 invalid_grant"),
            (("grant_type", "password"), "400 unsupported_grant_type"),
            (("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), "400 invalid_request"),
        ] {
            let code = code(&world, &cookie).await;
            assert_eq!(error(&redeem(&world, &code, &[change]).await), expected, "{name}: {change:?}");
        }
        let late = code(&world, &cookie).await;
        world.clock.step(Duration::from_mins(1));
        assert_eq!(error(&redeem(&world, &late, &[]).await), "400 invalid_grant", "{name}: late");
        let once = code(&world, &cookie).await;
        let tokens = redeem(&world, &once, &[]).await.is(200);
        assert_eq!(error(&redeem(&world, &once, &[]).await), "400 invalid_grant", "{name}: twice");
        assert_eq!(
            world.get("/whoami", tokens["access_token"].as_str().unwrap()).await.status,
            401,
            "{name}: and what came of it ended"
        );
        // A name that comes twice, and what is no form.
        let twice = world
            .form(
                "/oauth/token",
                "",
                &[("grant_type", "authorization_code"), ("grant_type", "refresh_token")],
            )
            .await;
        assert_eq!(error(&twice), "400 invalid_request", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_authorization_requests_go_to_the_person_or_back_to_the_client() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    let cookie = browser(&world, &owner, "default").await;
    for change in [
        ("client_id", "nobody"),
        ("client_id", ""),
        ("redirect_uri", "https://evil.example/cb"),
        ("redirect_uri", ""),
        ("redirect_uri", "http://127.0.0.1:1@evil.example/callback"),
    ] {
        let answer = world.page(&format!("/oauth/authorize?{}", query(&[change])), &cookie).await;
        assert_eq!(answer.status, 400, "{change:?}");
        assert!(answer.headers.get("location").is_none(), "{change:?}: nothing goes there");
    }
    for (change, expected) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("request", "x.y.z"), "request_not_supported"),
        (("prompt", "none"), "interaction_required"),
        (("max_age", "x"), "invalid_request"),
    ] {
        let answer = world.page(&format!("/oauth/authorize?{}", query(&[change])), &cookie).await;
        assert_eq!(answer.status, 303, "{change:?}: {}", answer.body);
        let sent = url::Url::parse(answer.headers["location"].to_str().unwrap()).unwrap();
        assert_eq!(parameter(&sent, "error").as_deref(), Some(expected), "{change:?}");
        assert_eq!(parameter(&sent, "state").as_deref(), Some("s t&ate"), "{change:?}");
    }
    let again = world.page(&format!("/oauth/authorize?{}", query(&[("prompt", "login")])), &cookie).await;
    assert!(again.status == 200, "a fresh sign-in counts");
    world.clock.step(Duration::from_mins(2));
    let again = world.page(&format!("/oauth/authorize?{}", query(&[("prompt", "login")])), &cookie).await;
    assert!(again.body.as_str().unwrap().contains("password"), "an old one does not");
    let markup =
        world.page(&format!("/oauth/authorize?{}", query(&[("state", "\"><script>")])), &cookie).await;
    assert!(!markup.body.as_str().unwrap().contains("<script>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_from_elsewhere_do_nothing() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    let cookie = browser(&world, &owner, "default").await;
    let page = world.page(&format!("/oauth/authorize?{}", query(&[])), &cookie).await;
    let (form, text) = (field(&page, "form"), field(&page, "query"));
    let send = |site: &'static str, form: &str, cookie: &str| {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("form", form), ("query", text.as_str()), ("answer", "allow")])
            .finish();
        let request = axum::extract::Request::builder()
            .method("POST")
            .uri("/oauth/authorize")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", cookie)
            .header("sec-fetch-site", site);
        world.raw(request.body(axum::body::Body::from(body)).unwrap())
    };
    assert_eq!(send("cross-site", &form, &cookie).await.status, 403);
    assert_eq!(send("same-site", &form, &cookie).await.status, 403);
    assert_eq!(send("same-origin", "wrong", &cookie).await.status, 403);
    assert_eq!(send("same-origin", &form, "").await.status, 403);
    assert_eq!(send("same-origin", &form, &cookie).await.status, 303);
    for away in
        ["https://evil.example/", "//evil.example/", "/oauth/authorize@evil.example", "/\\evil.example", ""]
    {
        let answer =
            world.form("/oauth/sign-in", "", &[("return_to", away), ("login", "x"), ("password", "y")]).await;
        assert_eq!(answer.status, 403, "{away}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_connected_by_its_code() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let cookie = browser(&world, &owner, "default").await;
        let begin = || async {
            world
                .form(
                    "/oauth/device-authorization",
                    "",
                    &[("client_id", "hafen-cli"), ("scope", "openid api offline_access")],
                )
                .await
                .is(200)
        };
        let poll = |device: Value| {
            let world = &world;
            async move {
                let grant = "urn:ietf:params:oauth:grant-type:device_code";
                world
                    .form(
                        "/oauth/token",
                        "",
                        &[
                            ("grant_type", grant),
                            ("client_id", "hafen-cli"),
                            ("device_code", device["device_code"].as_str().unwrap()),
                        ],
                    )
                    .await
            }
        };
        let answer = |device: Value, word: &'static str| {
            let (world, cookie) = (&world, cookie.clone());
            async move {
                let page = world
                    .page(
                        &format!(
                            "/oauth/device?user_code={}",
                            device["user_code"].as_str().unwrap().to_lowercase()
                        ),
                        &cookie,
                    )
                    .await;
                let pairs = [
                    ("form", field(&page, "form")),
                    ("user_code", field(&page, "user_code")),
                    ("answer", word.to_owned()),
                ];
                let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (*n, v.as_str())).collect();
                world.form("/oauth/device", &cookie, &pairs).await
            }
        };
        let device = begin().await;
        assert_eq!(error(&poll(device.clone()).await), "400 authorization_pending", "{name}");
        assert_eq!(error(&poll(device.clone()).await), "400 slow_down", "{name}");
        assert_eq!(answer(device.clone(), "allow").await.status, 200, "{name}");
        let tokens = poll(device.clone()).await.is(200);
        assert_eq!(
            world.get("/whoami", tokens["access_token"].as_str().unwrap()).await.is(200)["id"],
            owner.id.as_str(),
            "{name}"
        );
        assert_eq!(error(&poll(device.clone()).await), "400 invalid_grant", "{name}: once");
        let denied = begin().await;
        answer(denied.clone(), "deny").await;
        assert_eq!(error(&poll(denied).await), "400 access_denied", "{name}");
        let late = begin().await;
        world.clock.step(Duration::from_mins(10));
        assert_eq!(error(&poll(late).await), "400 expired_token", "{name}");
        // A device code is no authorization code.
        let device = begin().await;
        answer(device.clone(), "allow").await;
        assert_eq!(
            error(&redeem(&world, device["device_code"].as_str().unwrap(), &[]).await),
            "400 invalid_grant",
            "{name}"
        );
        assert_eq!(world.page("/oauth/device?user_code=BBBBBBBB", &cookie).await.status, 404, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_a_tenants_own_and_confidential_ones_introspect_and_revoke() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let bravo = world.tenant(&owner, "bravo").await;
        for bad in
            ["http://app.example/cb", "https://a.example/#x", "https://*.example/cb", "javascript:alert(1)"]
        {
            let body = json!({ "name": "x", "redirect_uris": [bad] });
            assert_eq!(world.post("/oauth-clients", &owner.token, body).await.status, 400, "{name}: {bad}");
        }
        let body =
            json!({ "name": "Wiki", "confidential": true, "redirect_uris": ["https://wiki.example/cb"] });
        let made = world.post("/oauth-clients", &owner.token, body).await.is(201);
        let (id, secret) = (made["client"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
        assert_eq!(world.get("/oauth-clients", &bravo.token).await.is(200)["items"], json!([]), "{name}");
        assert_eq!(
            world.send("DELETE", &format!("/oauth-clients/{id}"), &bravo.token, None).await.status,
            404,
            "{name}"
        );

        let of_client =
            [("client_id", id), ("redirect_uri", "https://wiki.example/cb"), ("scope", "openid profile")];
        let cookie = browser(&world, &owner, "default").await;
        let sent = allow(&world, &cookie, &query(&of_client)).await;
        let code = parameter(&sent, "code").unwrap();
        let change = |secret: &'static str| [("client_id", "x"), ("client_secret", secret)];
        assert_eq!(error(&redeem(&world, &code, &change("wrong")).await), "401 invalid_client", "{name}");
        let good =
            [("client_id", id), ("client_secret", secret), ("redirect_uri", "https://wiki.example/cb")];
        let tokens = redeem(&world, &code, &good).await.is(200);
        let access = tokens["access_token"].as_str().unwrap();
        assert!(tokens.get("refresh_token").is_none(), "{name}: not asked for");
        let caller = world.identity.authenticate(Presented::Bearer(access)).await.unwrap();
        assert_eq!(
            (caller.scopes.as_deref(), caller.platform),
            (Some(&[][..]), false),
            "{name}: without the scope api it may nothing"
        );

        let introspect = || async {
            world
                .form(
                    "/oauth/introspect",
                    "",
                    &[("client_id", id), ("client_secret", secret), ("token", access)],
                )
                .await
        };
        assert_eq!(introspect().await.is(200)["active"], true, "{name}");
        assert_eq!(
            error(
                &world.form("/oauth/introspect", "", &[("client_id", "hafen-cli"), ("token", access)]).await
            ),
            "401 invalid_client",
            "{name}"
        );
        // Another's revocation does nothing; one's own does, at once.
        assert_eq!(
            world.form("/oauth/revoke", "", &[("client_id", "hafen-cli"), ("token", access)]).await.status,
            200,
            "{name}"
        );
        assert_eq!(userinfo(&world, access).await.status, 200, "{name}");
        assert_eq!(
            world
                .form("/oauth/revoke", "", &[("client_id", id), ("client_secret", secret), ("token", access)])
                .await
                .status,
            200,
            "{name}"
        );
        assert_eq!(introspect().await.is(200), json!({ "active": false }), "{name}");
        assert_eq!(userinfo(&world, access).await.status, 401, "{name}");

        // A person of another tenant is refused by the client, not let in.
        let theirs = browser(&world, &bravo, "bravo").await;
        let refused = allow(&world, &theirs, &query(&of_client)).await;
        assert_eq!(parameter(&refused, "error").as_deref(), Some("access_denied"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_with_overlap() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let kids = || async {
            let keys = world.page("/oauth/jwks", "").await.is(200);
            keys["keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key["kid"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let first = kids().await;
        assert_eq!(first.len(), 1, "{name}");
        world.clock.step(Duration::from_hours(29 * 24 + 1));
        world.run_until(async || kids().await.len() == 2).await;
        let both = kids().await;
        assert_eq!(both[0], first[0], "{name}: the next is shown before it signs");
        world.clock.step(Duration::from_hours(3 * 24));
        world.run_until(async || kids().await.len() == 1).await;
        assert_eq!(kids().await, both[1..], "{name}: the old one is shown until nothing it signed is good");
        let text = world.events().await.1;
        assert!(text.contains("signing_key.created"), "{name}");
        let _now = world.clock.now();
    }
}
