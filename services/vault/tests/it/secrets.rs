//! Secrets go in, and come out with a reason only.

use std::time::Duration;

use hafen_seal::MasterKey;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_secret_lives_and_each_reading_is_told() {
    for (which, db) in hafen_db::testing::both() {
        let world = World::new(db).await;
        let made =
            world.good("POST", "hello/secrets", json!({ "name": "db-password", "value": "hunter2" })).await;
        assert_eq!(
            (&made["current"], &made["versions"][0]["state"]),
            (&json!(1), &json!("current")),
            "{which}"
        );
        assert_eq!((&made["created_by"], &made["last_read"]), (&json!("u-olga"), &Value::Null));
        assert!(!made.to_string().contains("hunter2"));

        let again = json!({ "name": "db-password", "value": "other" });
        let (status, told) = world.call("POST", "hello/secrets", again).await;
        assert_eq!((status, told["detail"].as_str().unwrap().contains("new version")), (409, true), "{told}");

        world.clock.step(Duration::from_secs(1));
        let path = "hello/secrets/db-password";
        let next = json!({ "value": "aAA=", "encoding": "base64" });
        let changed = world.good("POST", &format!("{path}/versions"), next).await;
        let states: Vec<_> = changed["versions"].as_array().unwrap().iter().map(|v| &v["state"]).collect();
        assert_eq!(states, ["current", "previous"]);

        // Neither without a reason, nor with an empty one, nor of what is not there.
        for body in [json!({}), json!({ "reason": " " }), json!({ "reason": "x", "version": 0 })] {
            let (status, told) = world.call("POST", &format!("{path}/read"), body.clone()).await;
            assert!(status == 400 || status == 404, "{body}: {status} {told}");
        }
        assert_eq!(world.read("hello/secrets/other").await.0, 404);
        assert_eq!(world.read("other/secrets/db-password").await.0, 404);
        let (_, read) = world.read(path).await;
        assert_eq!(read, json!({ "version": 2, "value": "aAA=", "encoding": "base64" }), "{which}");
        let old = json!({ "version": 1, "reason": "comparing" });
        let read = world.good("POST", &format!("{path}/read"), old).await;
        assert_eq!(read, json!({ "version": 1, "value": "hunter2", "encoding": "text" }));

        let shown = world.good("GET", path, Value::Null).await;
        assert_eq!(shown["last_read"], shown["versions"][1]["last_read"]);
        assert!(shown["last_read"].is_string());
        let list = world.good("GET", "hello/secrets?limit=1", Value::Null).await;
        assert_eq!(list["items"][0]["name"], "db-password");
        assert!(list["next_page"].is_null());

        let events = world.vault.events().read(0, 100, None).await.unwrap();
        let reads: Vec<_> = events.iter().filter(|event| event.kind == "secret.read").collect();
        assert_eq!(reads.len(), 2);
        assert_eq!((reads[1].actor.id.as_str(), reads[1].actor.reason.as_str()), ("u-olga", "comparing"));
        assert_eq!(
            (reads[1].data["version"].as_i64(), reads[1].object.as_str()),
            (Some(1), "secret/db-password")
        );
        let all = serde_json::to_string(&events).unwrap();
        assert!(!all.contains("hunter2") && !all.contains("aAA="), "{all}");

        world.good("DELETE", path, Value::Null).await;
        assert_eq!(world.read(path).await.0, 404);
        assert_eq!(world.call("DELETE", path, Value::Null).await.0, 404);
        // The name is free, and the new one is another secret.
        world.good("POST", "hello/secrets", json!({ "name": "db-password", "value": "third" })).await;
        assert_eq!(world.read(path).await.1["value"], "third");
    }
}

#[tokio::test]
async fn repeats_act_once_and_keep_no_trace_of_the_value() {
    for (which, db) in hafen_db::testing::both() {
        let world = World::new(db).await;
        let key = [("idempotency-key", "one")];
        let body = json!({ "name": "pin", "value": "4711" });
        let (_, first) = world.send("POST", "hello/secrets", &key, body.clone()).await;
        let (status, second) = world.send("POST", "hello/secrets", &key, body).await;
        assert_eq!((status, &first), (201, &second), "{which}");
        let other = json!({ "name": "pin", "value": "4712" });
        let (status, told) = world.send("POST", "hello/secrets", &key, other).await;
        assert_eq!((status, told["code"].as_str()), (409, Some("idempotency_key_reused")));
        // Of four digits every hash could be tried; what is kept is none of them.
        let db =
            hafen_db::Db::open(&world.db.location, "vault", hafen_vault::store::MIGRATIONS).await.unwrap();
        let rows = hafen_db::sqlx::query("SELECT fingerprint, answer FROM once")
            .fetch_all(db.reader())
            .await
            .unwrap();
        assert_eq!(rows.len(), 1);
        let field = |name: &str| hafen_db::sqlx::Row::get::<String, _>(&rows[0], name);
        let plain = hash(&format!(
            "POST /api/v1/projects/hello/secrets\0{}",
            json!({ "name": "pin", "value": "4711" })
        ));
        assert_ne!(field("fingerprint"), plain);
        assert!(!field("answer").contains("4711"));
        db.close().await;
    }
}

/// By a program that this project did not write.
fn hash(text: &str) -> String {
    use std::io::Write as _;
    let mut child = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_wrong_is_refused_without_repeating_the_value() {
    let world = World::new(hafen_db::testing::sqlite()).await;
    let large = "x".repeat(hafen_vault::MAX_VALUE + 1);
    for (body, status) in [
        (json!({ "name": "Not-A-Label", "value": "canary" }), 400),
        (json!({ "name": "a" }), 400),
        (json!({ "name": "a", "value": "" }), 400),
        (json!({ "name": "a", "value": 748_291_103 }), 400),
        (json!({ "name": "a", "value": ["canary"] }), 400),
        (json!({ "name": "a", "value": { "canary": 1 } }), 400),
        (json!({ "name": "a", "value": "canary!", "encoding": "base64" }), 400),
        (json!({ "name": "a", "value": "canary\u{0}" }), 400),
        (json!({ "name": "a", "value": large }), 413),
        (json!({ "name": "a", "value": "x", "more": 1 }), 400),
    ] {
        let (found, told) = world.call("POST", "hello/secrets", body).await;
        assert_eq!(found, status, "{told}");
        let told = told.to_string();
        assert!(!told.contains("canary") && !told.contains("748291103"), "{told}");
    }
    assert_eq!(world.call("GET", "nothing/secrets", Value::Null).await.0, 404);
    // Of one generation only.
    world.good("POST", "hello/secrets", json!({ "name": "a", "value": "1" })).await;
    let stale = [("if-match", "\"g7\"")];
    let (status, _) = world.send("POST", "hello/secrets/a/versions", &stale, json!({ "value": "2" })).await;
    assert_eq!(status, 412);
    assert_eq!(world.send("DELETE", "hello/secrets/a", &stale, Value::Null).await.0, 412);
    // As many versions as there may be.
    for _ in 1..hafen_vault::MAX_VERSIONS {
        world.good("POST", "hello/secrets/a/versions", json!({ "value": "n" })).await;
    }
    let (status, told) = world.call("POST", "hello/secrets/a/versions", json!({ "value": "n" })).await;
    assert_eq!(
        (status, told["detail"].as_str().unwrap().contains("destroy old ones")),
        (422, true),
        "{told}"
    );
    world.good("DELETE", "hello/secrets/a/versions/3", Value::Null).await;
    world.good("POST", "hello/secrets/a/versions", json!({ "value": "n" })).await;
}

#[tokio::test]
async fn another_master_key_moves_the_projects_keys_and_no_secret() {
    for (which, db) in hafen_db::testing::both() {
        let world = World::new(db).await;
        world.projects.begin("other", hafen_base::Timestamp::from_micros(7));
        for project in ["hello", "other"] {
            world.good("POST", &format!("{project}/secrets"), json!({ "name": "a", "value": project })).await;
        }
        let raw =
            hafen_db::Db::open(&world.db.location, "vault", hafen_vault::store::MIGRATIONS).await.unwrap();
        let values = async || {
            let rows = hafen_db::sqlx::query("SELECT value FROM version ORDER BY project")
                .fetch_all(raw.reader())
                .await
                .unwrap();
            rows.iter().map(|row| hafen_db::sqlx::Row::get::<String, _>(row, "value")).collect::<Vec<_>>()
        };
        let before = values().await;
        let next = MasterKey::generate(&*world.random);
        // Two projects, and the service's own.
        assert_eq!(world.vault.rewrap(&next).await.unwrap(), 3, "{which}");
        assert_eq!(values().await, before, "no secret was touched");
        assert_eq!(world.read("hello/secrets/a").await.1["value"], "hello", "the vault goes on");
        assert!(world.again(&world.key).await.is_err(), "the former key opens nothing");
        let vault = world.again(&next).await.unwrap();
        let world = World { vault, ..world };
        assert_eq!(world.read("other/secrets/a").await.1["value"], "other");
        raw.close().await;
    }
}

#[tokio::test]
async fn a_sealed_value_opens_in_its_own_place_only() {
    let world = World::new(hafen_db::testing::sqlite()).await;
    for name in ["a", "b"] {
        world.good("POST", "hello/secrets", json!({ "name": name, "value": name })).await;
    }
    let raw = hafen_db::Db::open(&world.db.location, "vault", hafen_vault::store::MIGRATIONS).await.unwrap();
    let mut tx = raw.write().await.unwrap();
    // Whoever can write to the database cannot have `b` read for `a`.
    hafen_db::sqlx::query(
        "UPDATE version SET value = (SELECT value FROM version WHERE name = 'b') WHERE name = 'a'",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.read("hello/secrets/a").await.0, 500);
    assert_eq!(world.read("hello/secrets/b").await.1["value"], "b");
    assert!(!world.kinds().await.contains(&"secret.read".to_owned()) || world.kinds().await.len() == 3);
}
