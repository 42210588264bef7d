//! Hooks, made and called.

use hafen_delivery::store;
use serde_json::{Value, json};

use crate::world::World;

const AT: &str = "/api/v1/projects/hello/hooks";
const COMMIT: &str = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7";

async fn call(
    world: &World,
    hook: &Value,
    headers: &[(&str, &str)],
    query: &str,
    body: &Value,
) -> (u16, Value) {
    let path = format!("{}{query}", hook["hook"]["path"].as_str().unwrap());
    world.call_with("POST", &path, headers, body.to_string().into_bytes()).await
}

fn push(branch: &str, message: &str) -> Value {
    json!({ "object_kind": "push", "ref": format!("refs/heads/{branch}"), "after": COMMIT, "message": message })
}

fn build(number: i64, phase: &str, status: &str) -> Value {
    json!({ "name": "shop", "url": "job/shop/", "build": { "number": number, "phase": phase, "status": status,
            "full_url": "http://jenkins/job/shop/1/", "scm": { "branch": "origin/main", "commit": COMMIT } } })
}

#[tokio::test]
async fn a_hook_acts_once_for_who_knows_its_secret() {
    for (_, database) in hafen_db::testing::both() {
        let world = World::with(database).await;
        let body = json!({ "name": "gitlab", "kind": "gitlab", "app": "shop", "branch": "main" });
        let hook = world.make("hooks", body.clone()).await;
        let secret = hook["secret"].as_str().unwrap().to_owned();
        assert!(secret.starts_with("whsec_"));
        assert_eq!(world.call("POST", AT, body).await.0, 409);
        // Shown once, and at rest only sealed.
        let (_, list) = world.call("GET", AT, Value::Null).await;
        assert_eq!(list["items"], json!([hook["hook"]]));
        assert!(!list.to_string().contains(&secret));
        if let hafen_db::Location::Sqlite(folder) = &world.database.location {
            let files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
            assert!(!files.is_empty());
            for file in files {
                let bytes = std::fs::read(file.path()).unwrap();
                assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
            }
        }

        let token = ("x-gitlab-token", secret.as_str());
        let key = |name| ("idempotency-key", name);
        let main = push("main", "first");
        assert_eq!(call(&world, &hook, &[("x-gitlab-token", "x")], "", &main).await.0, 401);
        assert_eq!(call(&world, &hook, &[], "", &main).await.0, 401);
        let nowhere = json!({ "hook": { "path": "/hooks/hook-none" } });
        assert_eq!(call(&world, &nowhere, &[token], "", &main).await.0, 401);
        assert_eq!(call(&world, &hook, &[token], "", &push("topic", "x")).await.1["outcome"], "ignored");
        let (status, told) = call(&world, &hook, &[token, key("a")], "", &main).await;
        assert_eq!((status, &told["outcome"]), (202, &json!("accepted")), "{told}");
        let (status, told) = call(&world, &hook, &[token, key("a")], "", &main).await;
        assert_eq!((status, &told["outcome"]), (200, &json!("repeated")));
        assert_eq!(call(&world, &hook, &[token, key("b")], "", &main).await.0, 202);
        world
            .until("both are heard", async || (world.heard.requests.lock().unwrap().len() == 2).then_some(()))
            .await;
        {
            let heard = world.heard.requests.lock().unwrap();
            assert_eq!((heard[0].app.as_str(), heard[0].reference.as_deref()), ("shop", Some("main")));
            assert_eq!(heard[0].commit.as_deref(), Some(COMMIT));
            assert_eq!(heard[0].actor.id, hook["hook"]["id"]);
            assert_ne!(heard[0].id, heard[1].id);
        }
        let events = world.events("hook.called").await;
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].actor.name, "hook gitlab");
        let shown = deliveries(&world, "gitlab").await;
        let count = |outcome: &str| shown.iter().filter(|it| it["outcome"] == outcome).count();
        assert_eq!((count("accepted"), count("ignored"), shown.len()), (2, 1, 3));
        assert_eq!(world.call("DELETE", &format!("{AT}/gitlab"), Value::Null).await.0, 204);
        assert_eq!(call(&world, &hook, &[token], "", &main).await.0, 401);
    }
}

#[tokio::test]
async fn who_made_it_is_told_by_id_alone() {
    for (_, database) in hafen_db::testing::both() {
        let world = World::with(database).await;
        let hook = world.make("hooks", json!({ "name": "gitlab", "kind": "gitlab", "app": "shop" })).await;
        assert_eq!(hook["hook"]["created_by"], "maintainer");
        // As an earlier version wrote it.
        let db = hafen_db::Db::open(&world.database.location, "delivery", store::MIGRATIONS).await.unwrap();
        let mut tx = db.write().await.unwrap();
        let sql = "UPDATE hook SET created_by = 'Olga (harbour) (u-1)'";
        store::sqlx::query(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let (_, hook) = world.call("GET", &format!("{AT}/gitlab"), Value::Null).await;
        assert_eq!(hook["created_by"], "u-1");
    }
}

async fn deliveries(world: &World, hook: &str) -> Vec<Value> {
    let (status, list) = world.call("GET", &format!("{AT}/{hook}/deliveries?limit=1000"), Value::Null).await;
    assert_eq!((status, &list["next_page"]), (200, &Value::Null));
    list["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_call_that_asks_for_nothing_is_seen_with_why() {
    for (_, database) in hafen_db::testing::both() {
        let world = World::with(database).await;
        let body = json!({ "name": "gitlab", "kind": "gitlab", "app": "shop", "branch": "main" });
        let hook = world.make("hooks", body).await;
        let token = ("x-gitlab-token", hook["secret"].as_str().unwrap());
        let key = |name| ("idempotency-key", name);
        let topic = push("topic", "x");
        // Of who does not know the secret nothing is kept, nor of what cannot be read.
        assert_eq!(call(&world, &hook, &[("x-gitlab-token", "x"), key("a")], "", &topic).await.0, 401);
        let signed =
            [("webhook-id", "a"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA"), token];
        assert_eq!(call(&world, &hook, &signed, "", &topic).await.0, 401);
        assert_eq!(
            call(&world, &hook, &[token, key("a")], "", &json!({ "object_kind": "push" })).await.0,
            400
        );
        assert_eq!(deliveries(&world, "gitlab").await, Vec::<Value>::new());
        let (_, unheard) = world.call("GET", &format!("{AT}/gitlab"), Value::Null).await;
        assert_eq!(unheard["called_at"], Value::Null);

        for _ in 0..3 {
            let (status, told) = call(&world, &hook, &[token, key("a")], "", &topic).await;
            assert_eq!((status, &told["outcome"]), (200, &json!("ignored")));
            world.clock.step(std::time::Duration::from_secs(1));
        }
        let list = deliveries(&world, "gitlab").await;
        assert_eq!(list.len(), 1, "{list:?}");
        assert_eq!(
            (&list[0]["outcome"], &list[0]["ignored"], &list[0]["about"], &list[0]["detail"]),
            (
                &json!("ignored"),
                &json!("other_branch"),
                &json!("topic"),
                &json!(r#"branch "topic" is not the one this hook is for"#)
            )
        );
        assert_eq!(list[0]["at"], hook["hook"]["created_at"]);
        // What asked for nothing keeps nothing of the same name from acting.
        assert_eq!(call(&world, &hook, &[token, key("a")], "", &push("main", "x")).await.0, 202);
        assert_eq!(deliveries(&world, "gitlab").await.len(), 2);
        assert_eq!(world.events("hook.called").await.len(), 1);
    }
}

#[tokio::test]
async fn a_noisy_sender_does_not_make_the_database_grow() {
    for (_, database) in hafen_db::testing::both() {
        let world = World::with(database).await;
        let mut hooks = Vec::new();
        for name in ["noisy", "calm"] {
            let body = json!({ "name": name, "kind": "gitlab", "app": "shop", "branch": "main" });
            hooks.push(world.make("hooks", body).await);
        }
        let told = async |hook: &Value, branch: &str, key: &str| {
            world.clock.step(std::time::Duration::from_millis(5));
            let headers = [("x-gitlab-token", hook["secret"].as_str().unwrap()), ("idempotency-key", key)];
            call(&world, hook, &headers, "", &push(branch, key)).await.1["outcome"].clone()
        };
        assert_eq!(told(&hooks[0], "main", "first").await, "accepted");
        assert_eq!(told(&hooks[1], "topic", "kept").await, "ignored");
        for number in 0..120 {
            assert_eq!(told(&hooks[0], &format!("topic-{number}"), &format!("k{number}")).await, "ignored");
        }
        // One that is told again comes in place of none.
        assert_eq!(told(&hooks[0], "topic-119", "k119").await, "ignored");
        let list = deliveries(&world, "noisy").await;
        let about: Vec<_> = list.iter().filter_map(|it| it["about"].as_str()).collect();
        let expected: Vec<_> = (70..120).rev().map(|number| format!("topic-{number}")).collect();
        assert_eq!(about, expected);
        assert_eq!((list.len(), &list[50]["outcome"]), (51, &json!("accepted")));
        assert_eq!(told(&hooks[0], "main", "first").await, "repeated");
        assert_eq!(deliveries(&world, "calm").await.len(), 1);
    }
}

#[tokio::test]
async fn what_nobody_took_is_told_again() {
    let world = World::new().await;
    let hook = world.make("hooks", json!({ "name": "gitlab", "kind": "gitlab", "app": "shop" })).await;
    *world.heard.deaf.lock().unwrap() = true;
    let token = ("x-gitlab-token", hook["secret"].as_str().unwrap());
    assert_eq!(call(&world, &hook, &[token], "", &push("any", "x")).await.0, 202);
    for _ in 0..5 {
        world.clock.step(std::time::Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    assert!(world.heard.requests.lock().unwrap().is_empty());
    *world.heard.deaf.lock().unwrap() = false;
    world
        .until("it is heard", async || (!world.heard.requests.lock().unwrap().is_empty()).then_some(()))
        .await;
}

#[tokio::test]
async fn what_was_asked_for_in_a_project_that_is_gone_is_not_deployed_in_the_next() {
    let world = World::new().await;
    let hook = world.make("hooks", json!({ "name": "gitlab", "kind": "gitlab", "app": "shop" })).await;
    *world.heard.deaf.lock().unwrap() = true;
    let token = ("x-gitlab-token", hook["secret"].as_str().unwrap());
    assert_eq!(call(&world, &hook, &[token], "", &push("main", "first")).await.0, 202);
    world.projects.0.lock().unwrap().insert("hello".into(), "2026-02-02T00:00:00Z");
    *world.heard.deaf.lock().unwrap() = false;
    // One of the new project comes after it, and is heard.
    let hook = world.make("hooks", json!({ "name": "gitlab", "kind": "gitlab", "app": "other" })).await;
    let token = ("x-gitlab-token", hook["secret"].as_str().unwrap());
    assert_eq!(call(&world, &hook, &[token], "", &push("main", "second")).await.0, 202);
    let heard = |app: &str| world.heard.requests.lock().unwrap().iter().any(|one| one.app == app);
    world.until("it is heard", async || heard("other").then_some(())).await;
    let db = hafen_db::Db::open(&world.database.location, "delivery", store::MIGRATIONS).await.unwrap();
    world
        .until("all had their turn", async || {
            store::hook::request_list(db.reader()).await.unwrap().is_empty().then_some(())
        })
        .await;
    assert!(!heard("shop"));
}

#[tokio::test]
async fn a_build_of_jenkins_deploys_at_its_end_and_never_after_a_newer_one() {
    for (_, database) in hafen_db::testing::both() {
        let world = World::with(database).await;
        let body =
            json!({ "name": "jenkins", "kind": "jenkins", "app": "shop", "branch": "main", "job": "shop" });
        let hook = world.make("hooks", body).await;
        let query = format!("?token={}", hook["secret"].as_str().unwrap());
        for (notification, expected) in [
            (build(7, "STARTED", "SUCCESS"), "ignored"),
            (build(7, "COMPLETED", "SUCCESS"), "accepted"),
            (build(7, "FINALIZED", "SUCCESS"), "repeated"),
            (build(9, "COMPLETED", "FAILURE"), "ignored"),
            (build(10, "FINALIZED", "SUCCESS"), "accepted"),
            (build(10, "COMPLETED", "SUCCESS"), "repeated"),
            // Late, or sent again by somebody who listened.
            (build(8, "COMPLETED", "SUCCESS"), "ignored"),
            (build(7, "COMPLETED", "SUCCESS"), "ignored"),
        ] {
            let (_, told) = call(&world, &hook, &[], &query, &notification).await;
            assert_eq!(told["outcome"], expected, "{notification} {told}");
        }
        assert_eq!(call(&world, &hook, &[], "?token=x", &build(11, "COMPLETED", "SUCCESS")).await.0, 401);
        assert_eq!(call(&world, &hook, &[], &query, &json!({})).await.0, 400);
        let list = deliveries(&world, "jenkins").await;
        let count = |word: &str| {
            list.iter().filter(|it| it["ignored"].as_str().unwrap_or("accepted") == word).count()
        };
        assert_eq!(["accepted", "unfinished", "failed", "older_build"].map(count), [2, 1, 1, 2], "{list:?}");
        world
            .until("both are heard", async || (world.heard.requests.lock().unwrap().len() == 2).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn a_hook_says_what_it_is_for() {
    let world = World::new().await;
    for (body, status) in [
        (json!({ "name": "a", "kind": "github", "app": "shop" }), 201),
        (json!({ "name": "b", "kind": "svn", "app": "shop" }), 400),
        (json!({ "name": "b", "kind": "github", "app": "Shop" }), 400),
        (json!({ "name": "b", "kind": "github", "app": "shop", "pipeline": true }), 400),
        (json!({ "name": "b", "kind": "github", "app": "shop", "job": "x" }), 400),
        (json!({ "name": "b", "kind": "jenkins", "app": "shop", "job": "" }), 400),
        (json!({ "name": "b", "kind": "gitlab", "app": "shop", "branch": "a b" }), 400),
    ] {
        assert_eq!(world.call("POST", AT, body.clone()).await.0, status, "{body}");
    }
    assert_eq!(world.call("GET", "/api/v1/projects/other/hooks", Value::Null).await.0, 404);
}
