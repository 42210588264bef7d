//! Repositories and deploy keys, by the API, on both databases.

use serde_json::{Value, json};

use crate::world::World;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDNWm0RBRFMWQhvi8GPHNt85A/n/kjb0bnBL/6lzbjaq";
const AT: &str = "/api/v1/projects/hello/repositories";

#[tokio::test]
async fn repositories_are_made_changed_and_deleted() {
    for (_, database) in hafen_db::testing::both() {
        let world = World::with(database).await;
        let made = world.make("repositories", json!({ "name": "shop" })).await;
        assert_eq!(made["path"], "/git/hello/shop.git");
        assert_eq!(
            made["protected"],
            json!([{ "pattern": "main", "push": "developer", "force": false, "delete": false }])
        );
        for (body, status) in [
            (json!({ "name": "shop" }), 409),
            (json!({ "name": "Shop" }), 400),
            (json!({ "name": "a/b" }), 400),
            (json!({ "name": "x", "default_branch": "-x" }), 400),
            (json!({ "name": "x", "default_branch": "a..b" }), 400),
            (json!({ "name": "x", "size_limit": 1 }), 400),
            (json!({ "name": "x", "description": "a\nb" }), 400),
            (json!({ "name": "x", "protected": [{ "pattern": "a b", "push": "developer" }] }), 400),
            (json!({ "name": "x", "protected": [{ "pattern": "a", "push": "king" }] }), 400),
            (json!({ "name": "x", "colour": "red" }), 400),
        ] {
            assert_eq!(world.call("POST", AT, body.clone()).await.0, status, "{body}");
        }
        // The same request twice makes one.
        let body = json!({ "name": "twice" }).to_string().into_bytes();
        let key = [("idempotency-key", "k1")];
        let first = world.call_with("POST", AT, &key, body.clone()).await;
        assert_eq!(world.call_with("POST", AT, &key, body).await, first);
        assert_eq!(first.0, 201);

        let put = json!({ "default_branch": "trunk", "protected": [{ "pattern": "release/*", "push": "nobody" }],
                          "size_limit": 2 << 20 });
        let bytes = put.to_string().into_bytes();
        let (status, changed) =
            world.call_with("PUT", &format!("{AT}/shop"), &[("if-match", "\"g1\"")], bytes.clone()).await;
        assert_eq!(
            (status, &changed["generation"], &changed["default_branch"]),
            (200, &json!(2), &json!("trunk"))
        );
        let (status, _) =
            world.call_with("PUT", &format!("{AT}/shop"), &[("if-match", "\"g1\"")], bytes.clone()).await;
        assert_eq!(status, 412);
        assert_eq!(world.call_with("PUT", &format!("{AT}/none"), &[], bytes).await.0, 404);
        let (_, list) = world.call("GET", &format!("{AT}?limit=1"), Value::Null).await;
        assert_eq!(list["items"][0]["name"], "shop");
        let next = list["next_page"].as_str().unwrap();
        let (_, list) = world.call("GET", &format!("{AT}?limit=1&page={next}"), Value::Null).await;
        assert_eq!((&list["items"][0]["name"], &list["next_page"]), (&json!("twice"), &Value::Null));
        let (_, by_id) =
            world.call("GET", &format!("{AT}/{}", made["id"].as_str().unwrap()), Value::Null).await;
        assert_eq!(by_id, changed);

        let folder =
            world.folder.path().join(format!("delivery/repositories/{}.git", made["id"].as_str().unwrap()));
        assert_eq!(std::fs::read_to_string(folder.join("HEAD")).unwrap(), "ref: refs/heads/trunk\n");
        assert_eq!(world.call("DELETE", &format!("{AT}/shop"), Value::Null).await.0, 204);
        assert_eq!(world.call("GET", &format!("{AT}/shop"), Value::Null).await.0, 404);
        world.until("its folder goes", async || (!folder.exists()).then_some(())).await;
        for kind in ["repository.created", "repository.changed", "repository.deleted"] {
            assert!(!world.events(kind).await.is_empty(), "{kind}");
        }
        assert_eq!(world.call("GET", "/api/v1/projects/other/repositories", Value::Null).await.0, 404);
    }
}

#[tokio::test]
async fn deploy_keys_are_let_in_and_out() {
    for (_, database) in hafen_db::testing::both() {
        let world = World::with(database).await;
        world.make("repositories", json!({ "name": "shop" })).await;
        let at = format!("{AT}/shop/deploy-keys");
        let made = world
            .make(
                "repositories/shop/deploy-keys",
                json!({ "name": "ci", "public_key": format!("{KEY} me@here") }),
            )
            .await;
        assert_eq!((&made["public_key"], &made["access"]), (&json!(KEY), &json!("read")));
        assert!(made["created_by"].as_str().unwrap().contains("maintainer"));
        for (body, status) in [
            (json!({ "name": "other", "public_key": KEY }), 409),
            (json!({ "name": "other", "public_key": "ssh-rsa AAAA" }), 400),
            (json!({ "name": "Ci", "public_key": KEY }), 400),
            (json!({ "name": "other", "public_key": KEY, "access": "admin" }), 400),
        ] {
            assert_eq!(world.call("POST", &at, body.clone()).await.0, status, "{body}");
        }
        let (_, list) = world.call("GET", &at, Value::Null).await;
        assert_eq!(list["items"], json!([made]));
        // Another repository may know it, too.
        world.make("repositories", json!({ "name": "more" })).await;
        let body = json!({ "name": "ci", "public_key": KEY, "access": "write" });
        world.make("repositories/more/deploy-keys", body).await;
        assert_eq!(world.call("DELETE", &format!("{at}/ci"), Value::Null).await.0, 204);
        assert_eq!(world.call("DELETE", &format!("{at}/ci"), Value::Null).await.0, 404);
        let events = world.events("repository.key_removed").await;
        assert_eq!(events.len(), 1);
    }
}

#[tokio::test]
async fn another_project_of_the_same_name_finds_nothing_of_the_first() {
    let world = World::new().await;
    let first = world.make("repositories", json!({ "name": "shop" })).await;
    world.projects.0.lock().unwrap().insert("hello".into(), "2026-02-02T00:00:00Z");
    assert_eq!(world.call("GET", &format!("{AT}/shop"), Value::Null).await.0, 404);
    assert_eq!(world.call("GET", AT, Value::Null).await.1["items"], json!([]));
    let remote = world.remote("developer", "shop");
    let said = world.bad(world.folder.path(), &["clone", &remote, "x"]).await;
    assert!(said.contains("not found"), "{said}");
    let second = world.make("repositories", json!({ "name": "shop" })).await;
    assert_ne!(first["id"], second["id"]);
    // And what nobody made anew goes in time.
    world.make("repositories", json!({ "name": "old" })).await;
    world.projects.0.lock().unwrap().remove("hello");
    let count = async || world.events("repository.deleted").await.len();
    world
        .until("the orphans are deleted", async || {
            world.clock.step(std::time::Duration::from_secs(3600));
            (count().await == 2).then_some(())
        })
        .await;
}
