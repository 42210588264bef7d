//! Organisations, teams, people, roles; and that tenants see nothing of each other.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_owner_comes_by_a_one_time_invitation() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let first = world.identity.bootstrap_invitation().await.unwrap().unwrap();
        let second = world.identity.bootstrap_invitation().await.unwrap().unwrap();
        let begin = |token: String| {
            let world = &world;
            async move { world.post("/invitations/begin", "", json!({ "token": token })).await.code() }
        };
        assert_eq!(
            begin(first.expose().into()).await,
            "401 invitation_over",
            "{name}: a new one ends the one before"
        );
        let owner = world.accept(second.expose(), "olga@example.org").await;
        assert_eq!(begin(second.expose().into()).await, "401 invitation_over", "{name}: it is good once");
        assert!(world.identity.bootstrap_invitation().await.unwrap().is_none(), "{name}: there is an owner");
        let whoami = world.get("/whoami", &owner.token).await.is(200);
        assert_eq!(whoami["roles"][0]["role"], "owner", "{name}");
        assert_eq!((&whoami["strong"], &whoami["kind"]), (&json!(true), &json!("person")), "{name}");
        let (kinds, text) = world.events().await;
        for kind in [
            "organisation.created",
            "invitation.created",
            "person.created",
            "invitation.accepted",
            "sign_in.succeeded",
        ] {
            assert!(kinds.iter().any(|k| k == kind), "{name}: {kind} in {kinds:?}");
        }
        for secret in [second.expose(), &owner.token, crate::world::PASSWORD, &owner.recovery_codes[0]] {
            assert!(!text.contains(secret), "{name}: a secret in an event");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_made_shown_changed_and_deleted() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let token = &owner.token;
        let team =
            world.post("/teams", token, json!({ "name": "payments", "title": "Payments" })).await.is(201);
        assert_eq!(
            world.post("/teams", token, json!({ "name": "payments" })).await.code(),
            "409 name_taken",
            "{name}"
        );
        assert_eq!(world.get("/teams/payments", token).await.is(200), team, "{name}: by name");
        let path = format!("/teams/{}", team["id"].as_str().unwrap());
        let changed = world.send("PATCH", &path, token, Some(json!({ "title": "Money" }))).await;
        assert_eq!(changed.headers["etag"], "\"g2\"", "{name}");
        assert_eq!(changed.is(200)["title"], "Money", "{name}");

        let put = |team: &str| json!({ "team": team });
        assert_eq!(
            world.send("PUT", "/project-owners/shop", token, Some(put("nobody"))).await.code(),
            "404 not_found",
            "{name}"
        );
        let owned = world.send("PUT", "/project-owners/shop", token, Some(put("payments"))).await.is(200);
        assert_eq!(owned["team"], team["id"], "{name}");
        let found = world.identity.project_owner("shop").await.unwrap();
        assert_eq!(found.team.unwrap().to_string(), team["id"], "{name}");
        let unknown = world.identity.project_owner("older").await.unwrap();
        assert_eq!(
            (unknown.organisation, unknown.team),
            (world.identity.default_organisation(), None),
            "{name}"
        );
        assert_eq!(world.send("DELETE", &path, token, None).await.code(), "409 team_owns", "{name}");

        let robot = json!({ "name": "deployer", "team": "payments", "description": "deploys" });
        let robot = world.post("/service-accounts", token, robot).await.is(201);
        let suspended = json!({ "status": "suspended" });
        let changed = world.send("PATCH", "/service-accounts/deployer", token, Some(suspended)).await.is(200);
        assert_eq!((&changed["status"], &changed["id"]), (&json!("suspended"), &robot["id"]), "{name}");
        assert_eq!(
            world.get("/service-accounts", token).await.is(200)["items"][0]["name"],
            "deployer",
            "{name}"
        );

        let role = json!({ "title": "Release captain", "permissions": ["stack.apply", "machine.*"] });
        world.send("PUT", "/roles/captain", token, Some(role.clone())).await.is(200);
        assert_eq!(
            world.send("PUT", "/roles/owner", token, Some(role)).await.code(),
            "409 name_taken",
            "{name}"
        );
        for (words, code) in [
            (&["machine.read", "machine.explode", "x"][..], "400 invalid"),
            (&["image.gc"], "403 forbidden"),
            (&["own"], "403 forbidden"),
        ] {
            let answer =
                world.send("PUT", "/roles/captain", token, Some(json!({ "permissions": words }))).await;
            assert_eq!(answer.code(), code, "{name} {words:?}");
            let told = answer.body["detail"].as_str().unwrap();
            let named = if code.starts_with("400") { "machine.explode, x;" } else { "image.gc" };
            assert!(told.contains(named), "{name}: {told}");
        }
        let give =
            |role: &str, scope: &Value| json!({ "subject": robot["id"], "scope": scope, "role": role });
        assert_eq!(
            world.post("/memberships", token, give("nonsense", &team["id"])).await.code(),
            "400 invalid",
            "{name}"
        );
        let held = world.post("/memberships", token, give("captain", &team["id"])).await.is(201);
        assert_eq!(
            world.send("DELETE", "/roles/captain", token, None).await.code(),
            "409 role_held",
            "{name}"
        );
        let narrowed = world
            .get(&format!("/memberships?subject={}", robot["id"].as_str().unwrap()), token)
            .await
            .is(200);
        assert_eq!(narrowed["items"], json!([held]), "{name}");
        world.post("/memberships", token, give("viewer", &json!("project/shop"))).await.is(201);
        world
            .send("DELETE", &format!("/memberships/{}", held["id"].as_str().unwrap()), token, None)
            .await
            .is(204);
        world.send("DELETE", "/roles/captain", token, None).await.is(204);
        world.send("DELETE", "/project-owners/shop", token, None).await.is(204);
        assert_eq!(world.get("/project-owners/shop", token).await.code(), "404 not_found", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_see_nothing_of_each_other() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let platform = world.owner().await;
        let acme = world.tenant(&platform, "acme").await;
        let bravo = world.tenant(&platform, "bravo").await;
        let a = &acme.token;
        let team = world.post("/teams", a, json!({ "name": "web" })).await.is(201)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        world.send("PUT", "/project-owners/shop", a, Some(json!({ "team": "web" }))).await.is(200);
        let robot =
            world.post("/service-accounts", a, json!({ "name": "robot", "team": "web" })).await.is(201)["id"]
                .as_str()
                .unwrap()
                .to_owned();
        world
            .send("PUT", "/roles/captain", a, Some(json!({ "permissions": ["machine.read"] })))
            .await
            .is(200);
        let held = json!({ "subject": robot, "scope": team, "role": "viewer" });
        let held = world.post("/memberships", a, held).await.is(201)["id"].as_str().unwrap().to_owned();
        let invited = world.post("/invitations", a, json!({ "scope": team, "role": "viewer" })).await.is(201);
        let invitation = invited["invitation"]["id"].as_str().unwrap();
        let token = world.post("/tokens", a, json!({ "name": "t" })).await.is(201)["token"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let session = world.get("/sessions", a).await.is(200)["items"][0]["id"].as_str().unwrap().to_owned();
        let org = &acme.organisation;
        let some = Some(json!({}));
        let table: Vec<(&str, String, Option<Value>)> = vec![
            ("GET", format!("/organisations/{org}"), None),
            ("GET", "/organisations/acme".into(), None),
            ("PATCH", "/organisations/acme".into(), some.clone()),
            ("GET", format!("/teams/{team}"), None),
            ("GET", "/teams/web".into(), None),
            ("PATCH", format!("/teams/{team}"), some.clone()),
            ("DELETE", format!("/teams/{team}"), None),
            ("GET", "/project-owners/shop".into(), None),
            ("DELETE", "/project-owners/shop".into(), None),
            ("GET", format!("/people/{}", acme.id), None),
            ("GET", format!("/people/{}", acme.login), None),
            ("PATCH", format!("/people/{}", acme.id), some.clone()),
            ("POST", format!("/people/{}/reset", acme.id), some.clone()),
            ("GET", format!("/service-accounts/{robot}"), None),
            ("PATCH", format!("/service-accounts/{robot}"), some.clone()),
            ("DELETE", format!("/memberships/{held}"), None),
            (
                "POST",
                "/memberships".into(),
                Some(json!({ "subject": bravo.id, "scope": team, "role": "viewer" })),
            ),
            (
                "POST",
                "/memberships".into(),
                Some(json!({ "subject": bravo.id, "scope": org, "role": "viewer" })),
            ),
            (
                "POST",
                "/memberships".into(),
                Some(json!({ "subject": bravo.id, "scope": "project/shop", "role": "viewer" })),
            ),
            (
                "POST",
                "/memberships".into(),
                Some(json!({ "subject": acme.id, "scope": bravo.organisation, "role": "viewer" })),
            ),
            ("POST", "/invitations".into(), Some(json!({ "scope": team, "role": "viewer" }))),
            ("DELETE", format!("/invitations/{invitation}"), None),
            ("DELETE", "/roles/captain".into(), None),
            ("GET", format!("/tokens/{token}"), None),
            ("DELETE", format!("/tokens/{token}"), None),
            ("POST", format!("/tokens/{token}/rotate"), some.clone()),
            ("GET", format!("/tokens?subject={}", acme.id), None),
            ("POST", "/tokens".into(), Some(json!({ "name": "x", "service_account": robot }))),
            ("DELETE", format!("/sessions/{session}"), None),
            ("GET", format!("/sessions?subject={}", acme.id), None),
            ("GET", "/teams?organisation=acme".into(), None),
            ("GET", format!("/people?organisation={org}"), None),
            ("GET", "/project-owners?organisation=acme".into(), None),
            ("GET", "/service-accounts?organisation=acme".into(), None),
            ("GET", "/memberships?organisation=acme".into(), None),
            ("GET", "/roles?organisation=acme".into(), None),
            ("GET", "/invitations?organisation=acme".into(), None),
            ("GET", "/organisations?organisation=acme".into(), None),
            ("POST", "/teams?organisation=acme".into(), Some(json!({ "name": "x" }))),
            ("GET", "/teams?organisation=nobody".into(), None),
        ];
        for (method, path, body) in table {
            let answer = world.send(method, &path, &bravo.token, body).await;
            assert_eq!(answer.code(), "404 not_found", "{name}: {method} {path}: {}", answer.body);
        }
        for path in ["/teams", "/project-owners", "/service-accounts", "/roles", "/tokens"] {
            assert_eq!(world.get(path, &bravo.token).await.is(200)["items"], json!([]), "{name}: {path}");
        }
        for (path, count) in [
            ("/organisations", 1),
            ("/people", 1),
            ("/memberships", 1),
            ("/sessions", 1),
            ("/invitations", 1),
        ] {
            let items = world.get(path, &bravo.token).await.is(200)["items"].clone();
            assert_eq!(items.as_array().unwrap().len(), count, "{name}: {path}");
        }
        // The same login in two tenants is two people; that a project's name is taken can be noticed, by whom cannot.
        let twin = world
            .post("/invitations", &bravo.token, json!({ "scope": bravo.organisation, "role": "viewer" }))
            .await
            .is(201);
        world.accept(twin["token"].as_str().unwrap(), &acme.login).await;
        world.post("/teams", &bravo.token, json!({ "name": "web" })).await.is(201);
        let taken =
            world.send("PUT", "/project-owners/shop", &bravo.token, Some(json!({ "team": "web" }))).await;
        assert_eq!(taken.code(), "409 name_taken", "{name}");
        assert!(!taken.body.to_string().contains("acme"), "{name}");
        // Nothing of acme was changed by all this.
        assert_eq!(world.get("/teams", a).await.is(200)["items"][0]["id"], team.as_str(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_more_than_they_have() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let maintainer = world.person(&owner, "maintainer", "max@example.org").await;
        let developer = world.person(&owner, "developer", "dora@example.org").await;
        let give = |subject: &str, role: &str| json!({ "subject": subject, "scope": owner.organisation, "role": role });
        world
            .send("PUT", "/roles/captain", &owner.token, Some(json!({ "permissions": ["machine.read"] })))
            .await
            .is(200);
        let table: Vec<(&str, &str, &str, Value, u16)> = vec![
            ("maintainer", "POST", "/memberships", give(&maintainer.id, "owner"), 403),
            ("maintainer", "POST", "/memberships", give(&developer.id, "captain"), 403),
            ("maintainer", "POST", "/memberships", give(&owner.id, "viewer"), 403),
            ("maintainer", "POST", "/memberships", give(&developer.id, "operator"), 201),
            (
                "maintainer",
                "POST",
                "/invitations",
                json!({ "scope": owner.organisation, "role": "owner" }),
                403,
            ),
            ("maintainer", "PUT", "/roles/mine", json!({ "permissions": ["machine.read"] }), 403),
            ("maintainer", "POST", "/organisations", json!({ "name": "mine" }), 403),
            ("developer", "POST", "/memberships", give(&developer.id, "maintainer"), 403),
            ("developer", "POST", "/teams", json!({ "name": "mine" }), 403),
            (
                "developer",
                "POST",
                "/invitations",
                json!({ "scope": owner.organisation, "role": "viewer" }),
                403,
            ),
            ("developer", "POST", "/service-accounts", json!({ "name": "mine", "team": "x" }), 403),
            ("developer", "GET", "/invitations", Value::Null, 403),
            ("owner", "POST", "/memberships", give(&owner.id, "viewer"), 409),
        ];
        for (who, method, path, body, expected) in table {
            let token = match who {
                "owner" => &owner.token,
                "maintainer" => &maintainer.token,
                _ => &developer.token,
            };
            let body = if body.is_null() { None } else { Some(body) };
            let answer = world.send(method, path, token, body).await;
            assert_eq!(answer.status.as_u16(), expected, "{name}: {who} {method} {path}: {}", answer.body);
        }
        // A maintainer cannot suspend or reset an owner, and the last owner cannot suspend itself.
        let suspend = Some(json!({ "status": "suspended" }));
        let path = format!("/people/{}", owner.id);
        assert_eq!(
            world.send("PATCH", &path, &maintainer.token, suspend.clone()).await.status,
            403,
            "{name}"
        );
        assert_eq!(
            world.post(&format!("{path}/reset"), &maintainer.token, json!({})).await.status,
            403,
            "{name}"
        );
        assert_eq!(
            world.send("PATCH", &path, &owner.token, suspend.clone()).await.code(),
            "409 last_owner",
            "{name}"
        );
        // Suspension stops at once.
        assert_eq!(world.get("/whoami", &developer.token).await.status, 200, "{name}");
        world.send("PATCH", &format!("/people/{}", developer.id), &maintainer.token, suspend).await.is(200);
        assert_eq!(world.get("/whoami", &developer.token).await.status, 401, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_acts_once_and_is_its_senders_own() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let platform = world.owner().await;
    let acme = world.tenant(&platform, "acme").await;
    let send = |token: String| {
        let request = axum::extract::Request::builder()
            .method("POST")
            .uri("/api/v1/teams")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("idempotency-key", "k1")
            .body(axum::body::Body::from(json!({ "name": "web" }).to_string()))
            .unwrap();
        world.raw(request)
    };
    let first = send(platform.token.clone()).await.is(201);
    assert_eq!(send(platform.token.clone()).await.is(201), first);
    assert_ne!(send(acme.token.clone()).await.is(201)["id"], first["id"], "another's key is another's");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_told_what_is_wrong() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    let long = "x".repeat(300);
    let cases = [
        ("POST", "/organisations", json!({ "name": "Not a label" }), 400),
        ("POST", "/organisations", json!({ "name": "a", "extra": 1 }), 400),
        ("POST", "/teams", json!({ "name": "" }), 400),
        ("POST", "/teams", json!({ "name": "a", "title": long }), 400),
        ("POST", "/teams", json!({ "name": "a", "title": "a\u{7}b" }), 400),
        (
            "POST",
            "/memberships",
            json!({ "subject": "x", "scope": owner.organisation, "role": "viewer" }),
            400,
        ),
        ("POST", "/memberships", json!({ "subject": owner.id, "scope": "nowhere", "role": "viewer" }), 400),
        ("POST", "/tokens", json!({ "name": "a", "days": 0 }), 400),
        ("POST", "/tokens", json!({ "name": "a", "days": 367 }), 400),
        ("POST", "/tokens", json!({ "name": "a", "scopes": [] }), 400),
        ("POST", "/tokens", json!({ "name": "a", "scopes": ["a b"] }), 400),
        ("POST", "/invitations", json!({ "scope": owner.organisation, "role": "viewer", "hours": 0 }), 400),
        (
            "POST",
            "/invitations",
            json!({ "scope": owner.organisation, "role": "viewer", "login": "a b" }),
            400,
        ),
        ("PUT", "/roles/Bad", json!({ "permissions": ["machine.read"] }), 400),
        ("GET", "/teams?limit=0", Value::Null, 400),
        ("GET", "/teams?page=%25", Value::Null, 400),
        ("GET", "/people/u-nonsense", Value::Null, 404),
        ("GET", "/people/%00", Value::Null, 404),
        ("GET", "/tokens/tok-nonsense", Value::Null, 404),
        ("DELETE", "/whoami", Value::Null, 405),
        ("POST", "/invitations/begin", json!({ "token": "nonsense" }), 401),
        ("POST", "/invitations/accept", json!({ "ceremony": "nonsense", "name": "x" }), 401),
        ("POST", "/sign-in/second-factor", json!({ "ceremony": "nonsense" }), 401),
    ];
    for (method, path, body, expected) in cases {
        let body = if body.is_null() { None } else { Some(body) };
        let answer = world.send(method, path, &owner.token, body).await;
        assert_eq!(answer.status.as_u16(), expected, "{method} {path}: {}", answer.body);
        assert!(!answer.body["detail"].as_str().unwrap().is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn every_route_is_described_and_closed() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let document = serde_json::to_value(world.identity.router().into_openapi()).unwrap();
    let mut open = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
            if hafen_identity::OPEN.contains(&path.as_str()) {
                open.push(path.clone());
                continue;
            }
            let concrete = path.trim_start_matches("/api/v1").replace(['{', '}'], "x");
            let answer = world.send(&method.to_uppercase(), &concrete, "", Some(json!({}))).await;
            assert_eq!(answer.status, 401, "{method} {path} without a credential");
        }
    }
    let api = hafen_identity::OPEN.iter().filter(|path| path.starts_with("/api/")).count();
    assert_eq!(open.len(), api, "{open:?}");
}
