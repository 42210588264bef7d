//! What is destroyed is nowhere any more; and a project takes its secrets along.

use std::time::Duration;

use hafen_base::Clock as _;
use hafen_db::Location;
use serde_json::{Value, json};

use crate::world::World;

/// What lies under this folder, as far as it holds this text.
fn holds(folder: &std::path::Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

async fn sealed(world: &World, sql: &'static str) -> Vec<String> {
    let raw = hafen_db::Db::open(&world.db.location, "vault", hafen_vault::store::MIGRATIONS).await.unwrap();
    let rows = hafen_db::sqlx::query(sql).fetch_all(raw.reader()).await.unwrap();
    let values = rows.iter().map(|row| hafen_db::sqlx::Row::get::<String, _>(row, 0)).collect();
    raw.close().await;
    values
}

/// The middle of what was sealed: neither a name nor a format.
fn part(sealed: &str) -> String {
    let value: Value = serde_json::from_str(sealed).unwrap();
    value["secret"].as_str().unwrap().chars().skip(10).take(60).collect()
}

/// Pieces of all of it.
fn parts(sealed: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(sealed).unwrap();
    let letters: Vec<char> = value["secret"].as_str().unwrap().chars().collect();
    let piece = |at: usize| letters.iter().skip(at).take(24).collect();
    (0..letters.len() - 24).step_by(1 + letters.len() / 50).map(piece).collect()
}

#[tokio::test]
async fn a_destroyed_version_is_nowhere() {
    for (which, db) in hafen_db::testing::both() {
        let world = World::new(db).await;
        // One that fits into a page, and one that does not.
        for (name, value) in [("small", "first".to_owned()), ("large", "first ".repeat(5000))] {
            world.good("POST", "hello/secrets", json!({ "name": name, "value": value })).await;
            world.good("POST", &format!("hello/secrets/{name}/versions"), json!({ "value": "second" })).await;
        }
        let before = sealed(&world, "SELECT value FROM version WHERE version = 1").await;
        assert_eq!(before.len(), 2);
        if let Location::Sqlite(folder) = &world.db.location {
            assert!(before.iter().all(|value| !holds(folder, &part(value)).is_empty()), "the search finds");
        }
        for name in ["small", "large"] {
            let path = format!("hello/secrets/{name}/versions");
            let (status, told) = world.call("DELETE", &format!("{path}/2"), Value::Null).await;
            assert_eq!((status, told["detail"].as_str().unwrap().contains("current")), (409, true), "{told}");
            assert_eq!(world.call("DELETE", &format!("{path}/9"), Value::Null).await.0, 404);
            let gone = world.good("DELETE", &format!("{path}/1"), Value::Null).await;
            let version = &gone["versions"][1];
            assert_eq!(
                (&version["state"], &version["destroyed_by"]),
                (&json!("destroyed"), &json!("u-olga"))
            );
            // Once more changes nothing.
            assert_eq!(world.good("DELETE", &format!("{path}/1"), Value::Null).await, gone);
            let (status, told) = world
                .call("POST", &format!("hello/secrets/{name}/read"), json!({ "version": 1, "reason": "x" }))
                .await;
            assert_eq!((status, told["detail"].as_str().unwrap().contains("destroyed")), (409, true));
        }
        world.until("secret.erased", 2).await;
        assert_eq!(world.kinds().await.iter().filter(|kind| *kind == "secret.version_destroyed").count(), 2);
        assert_eq!(sealed(&world, "SELECT value FROM version WHERE version = 1").await, ["", ""], "{which}");
        if let Location::Sqlite(folder) = &world.db.location {
            for part in before.iter().flat_map(|value| parts(value)) {
                assert_eq!(holds(folder, &part), Vec::<String>::new(), "{which}");
            }
        }
        let tables = table_files(&world).await;
        for part in before.iter().flat_map(|value| parts(value)) {
            assert!(!tables.iter().any(|bytes| contains(bytes, &part)), "{which}: a table holds it");
        }
        assert_eq!(world.read("hello/secrets/small").await.1["value"], "second");
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The files of PostgreSQL's tables of versions; none of SQLite.
async fn table_files(world: &World) -> Vec<Vec<u8>> {
    let Location::Postgres(_) = &world.db.location else { return Vec::new() };
    let mut paths = sealed(world, "SELECT pg_relation_filepath('version')").await;
    paths.extend(
        sealed(
            world,
            "SELECT pg_relation_filepath(reltoastrelid) FROM pg_class WHERE oid = 'vault.version'::regclass",
        )
        .await,
    );
    let data = &sealed(world, "SELECT setting FROM pg_settings WHERE name = 'data_directory'").await[0];
    // The server writes its pages now and then; what is not there yet would not be found.
    let raw = hafen_db::Db::open(&world.db.location, "vault", hafen_vault::store::MIGRATIONS).await.unwrap();
    hafen_db::sqlx::query("CHECKPOINT").execute(raw.reader()).await.unwrap();
    raw.close().await;
    paths.iter().map(|path| std::fs::read(format!("{data}/{path}")).unwrap()).collect()
}

#[tokio::test]
async fn a_project_takes_its_secrets_along() {
    for (which, db) in hafen_db::testing::both() {
        let world = World::new(db).await;
        world.projects.begin("other", world.clock.now());
        world.clock.step(Duration::from_secs(1));
        for project in ["hello", "other"] {
            world.good("POST", &format!("{project}/secrets"), json!({ "name": "a", "value": "first" })).await;
        }
        let key = sealed(&world, "SELECT sealed FROM project_key WHERE project = 'hello'").await;
        world.clock.step(Duration::from_secs(1));
        world.projects.end("hello", world.clock.now());
        assert_eq!(world.read("hello/secrets/a").await.0, 404, "{which}");

        // Somebody else takes the name before the vault has heard of anything: nothing of before is theirs.
        world.clock.step(Duration::from_secs(1));
        world.projects.begin("hello", world.clock.now());
        let list = world.good("GET", "hello/secrets", Value::Null).await;
        assert_eq!(list["items"], json!([]));
        assert_eq!(world.read("hello/secrets/a").await.0, 404);
        assert_eq!(world.call("GET", "hello/secrets/a", Value::Null).await.0, 404);
        assert_eq!(world.call("POST", "hello/secrets/a/versions", json!({ "value": "x" })).await.0, 404);
        assert_eq!(world.call("DELETE", "hello/secrets/a", Value::Null).await.0, 404);
        world.clock.step(Duration::from_secs(1));
        world.good("POST", "hello/secrets", json!({ "name": "a", "value": "theirs" })).await;
        assert_eq!(world.read("hello/secrets/a").await.1["value"], "theirs");

        // The end that was told is that of the life before.
        world.until("secret.erased", 1).await;
        assert_eq!(world.read("hello/secrets/a").await.1["value"], "theirs", "{which}");
        assert_eq!(world.read("other/secrets/a").await.1["value"], "first");
        assert_eq!(world.kinds().await.iter().filter(|kind| *kind == "vault.project_ended").count(), 1);
        if let Location::Sqlite(folder) = &world.db.location {
            assert_eq!(holds(folder, &part(&key[0])), Vec::<String>::new(), "the key of the old life");
        }

        // Of one that nobody uses again.
        world.clock.step(Duration::from_secs(1));
        world.projects.end("other", world.clock.now());
        world.until("vault.project_ended", 2).await;
        assert_eq!(sealed(&world, "SELECT name FROM secret ORDER BY project").await, ["a"]);
    }
}

#[tokio::test]
async fn a_platform_that_lost_a_project_costs_no_secret() {
    let world = World::new(hafen_db::testing::sqlite()).await;
    let born = world.clock.now();
    world.projects.begin("next", born);
    for project in ["hello", "next"] {
        world.good("POST", &format!("{project}/secrets"), json!({ "name": "a", "value": "kept" })).await;
    }
    // As when its database came back from a backup of before `hello`; and some events went unread.
    let hello = world.projects.vanish("hello");
    world.projects.end("next", born);
    world.projects.drop_events();
    world.projects.begin("next", born);
    world.projects.end("next", born);
    world.until("vault.project_ended", 1).await;
    assert_eq!(world.read("hello/secrets/a").await.0, 404);
    world.projects.begin("hello", hello);
    assert_eq!(world.read("hello/secrets/a").await.1["value"], "kept");
}
