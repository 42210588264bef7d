//! Sessions: listed, ended, idle, over; the local operator.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hafen_base::ActorKind;
use hafen_http::Peer;
use hafen_identity::Presented;
use serde_json::{Value, json};

use crate::external::cookie;
use crate::world::{PASSWORD, World};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_end_at_once() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let second = world.sign_in(&owner).await;
        let token = second["token"].as_str().unwrap();
        let items = world.get("/sessions", &owner.token).await.is(200)["items"].as_array().unwrap().clone();
        assert_eq!(items.len(), 2, "{name}");
        assert_eq!(items.iter().filter(|item| item["current"] == true).count(), 1, "{name}");
        assert_eq!(
            (&items[1]["address"], &items[1]["factors"]),
            (&json!("192.0.2.1"), &json!(["password", "totp"])),
            "{name}"
        );
        assert_eq!(world.get("/whoami", token).await.status, 200, "{name}");
        let id = second["session"]["id"].as_str().unwrap();
        world.send("DELETE", &format!("/sessions/{id}"), &owner.token, None).await.is(204);
        assert_eq!(world.get("/whoami", token).await.code(), "401 token_revoked", "{name}");
        let third = world.sign_in(&owner).await["token"].as_str().unwrap().to_owned();
        world.post("/sessions/end-others", &third, json!({})).await.is(204);
        assert_eq!(world.get("/whoami", &owner.token).await.code(), "401 token_revoked", "{name}");
        assert_eq!(
            world.get("/sessions", &third).await.is(200)["items"].as_array().unwrap().len(),
            1,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_when_idle_and_in_any_case() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    // In use it lives on, though no use was written down yet.
    for _ in 0..10 {
        world.clock.step(Duration::from_mins(50));
        world.get("/whoami", &owner.token).await.is(200);
    }
    world.clock.step(Duration::from_mins(61));
    assert_eq!(world.get("/whoami", &owner.token).await.code(), "401 session_idle");
    let token = world.sign_in(&owner).await["token"].as_str().unwrap().to_owned();
    for _ in 0..28 {
        world.clock.step(Duration::from_mins(50));
        world.get("/whoami", &token).await.is(200);
    }
    world.clock.step(Duration::from_mins(50));
    assert_eq!(world.get("/whoami", &token).await.code(), "401 token_expired");
}

/// A tab that is left open, with its stream of events, is nobody who works.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_goes_on_keeps_no_session_in_use() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    let identity = &world.identity;
    for _ in 0..5 {
        world.clock.step(Duration::from_mins(11));
        assert!(identity.still(Presented::Session(&owner.token)).await.is_ok());
    }
    world.clock.step(Duration::from_mins(6));
    let over = identity.still(Presented::Session(&owner.token)).await.unwrap_err();
    assert_eq!(over.code(), "session_idle");
    assert_eq!(world.get("/whoami", &owner.token).await.code(), "401 session_idle");
    // A cookie holds a session and nothing else.
    let token = world.sign_in(&owner).await["token"].as_str().unwrap().to_owned();
    let made = world.post("/tokens", &token, json!({ "name": "mine" })).await.is(201);
    let personal = made["secret"].as_str().unwrap();
    assert!(identity.authenticate(Presented::Bearer(personal)).await.is_ok());
    assert!(identity.authenticate(Presented::Session(personal)).await.is_err());
    assert!(identity.authenticate(Presented::Session(&token)).await.is_ok());
}

/// As the console signs in: no secret in what a script can read.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_comes_as_a_cookie_to_pages_of_the_platform() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    let sign_in = async |path: &str, site: &str, cookies: &str, body: Value| {
        let request = Request::builder()
            .method("POST")
            .uri(format!("/api/v1/sign-in/{path}?session=cookie"))
            .header("content-type", "application/json")
            .header("sec-fetch-site", site)
            .header("cookie", cookies)
            .extension(ConnectInfo(Peer::Tcp("203.0.113.5:1".parse().unwrap())));
        world.raw(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let password = json!({ "login": owner.login, "password": PASSWORD });
    assert_eq!(sign_in("password", "cross-site", "", password.clone()).await.code(), "403 foreign_page");
    assert_eq!(sign_in("password", "same-site", "", password.clone()).await.code(), "403 foreign_page");
    let step = sign_in("password", "same-origin", "", password.clone()).await.is(200);
    let body = json!({ "ceremony": step["ceremony"], "totp": world.code(&owner.totp) });
    let done = sign_in("second-factor", "same-origin", "", body).await;
    let (session, device) = (cookie(&done, "session"), cookie(&done, "device"));
    let attributes: Vec<_> =
        done.headers.get_all("set-cookie").iter().map(|one| one.to_str().unwrap()).collect();
    assert!(
        attributes.iter().all(|one| one.contains("; Path=/; HttpOnly; SameSite=Lax; Secure")),
        "{attributes:?}"
    );
    let body = done.is(200);
    assert_eq!((&body["session"]["token"], &body["session"]["device"]), (&json!(""), &json!("")));
    let token = session.split_once('=').unwrap().1;
    assert_eq!(world.get("/whoami", token).await.is(200)["login"], owner.login);

    // Others try wrong passwords from here until they are slowed down; who has the device's cookie is not.
    let wrong = json!({ "login": owner.login, "password": "not this one" });
    let mut slowed = false;
    for _ in 0..40 {
        slowed |= sign_in("password", "same-origin", "", wrong.clone()).await.status == 429;
    }
    assert!(slowed && sign_in("password", "same-origin", "", password.clone()).await.status == 429);
    sign_in("password", "same-origin", &device, password).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_weakened_only_by_an_owner_with_a_fresh_second_factor() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    let maintainer = world.person(&owner, "maintainer", "max@example.org").await;
    let policy = |second: bool, hours: i64| {
        Some(json!({ "policy": { "second_factor": second, "session_hours": hours, "idle_minutes": 60 } }))
    };
    let path = format!("/organisations/{}", owner.organisation);
    assert_eq!(
        world.send("PATCH", &path, &maintainer.token, policy(false, 24)).await.code(),
        "403 forbidden"
    );
    world.clock.step(Duration::from_mins(6));
    assert_eq!(
        world.send("PATCH", &path, &owner.token, policy(false, 24)).await.code(),
        "403 step_up_required"
    );
    assert_eq!(world.send("PATCH", &path, &owner.token, policy(true, 0)).await.code(), "400 invalid");
    world.send("PATCH", &path, &maintainer.token, policy(true, 8)).await.is(200);
    world.step_up(&owner).await;
    let changed = world.send("PATCH", &path, &owner.token, policy(false, 24)).await;
    assert_eq!(changed.is(200)["policy"]["second_factor"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_operator_is_who_owns_the_home_and_nobody_else() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let caller = world.identity.authenticate(Presented::LocalPeer { uid: 1000 }).await.unwrap();
    assert_eq!(
        (caller.actor.kind, caller.actor.id.as_str(), caller.platform),
        (ActorKind::LocalOperator, "uid-1000", true)
    );
    assert!(world.identity.authenticate(Presented::LocalPeer { uid: 1001 }).await.is_err());
    assert!(
        world.identity.authenticate(Presented::LocalPeer { uid: 0 }).await.is_err(),
        "root neither: it can become the owner"
    );
}
