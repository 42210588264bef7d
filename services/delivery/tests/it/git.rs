//! Stock git over HTTP: what is pushed, by whom, and what is told of it.

use hafen_delivery::store;
use serde_json::{Value, json};

use crate::world::{World, somebody};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_told_once() {
    let world = World::new().await;
    world.make("repositories", json!({ "name": "shop" })).await;
    let one = world.clone("developer", "shop", "one").await;
    world.commit(&one, "a.txt", "a\n").await;
    world.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main", "HEAD:refs/heads/topic"]).await;
    // When the client has its answer, it is told.
    let events = world.events("repository.pushed").await;
    assert_eq!(events.len(), 1);
    let (event, commit) = (&events[0], world.good(&one, &["rev-parse", "HEAD"]).await);
    assert_eq!(event.actor.id, "developer");
    assert_eq!(event.project, "hello");
    assert_eq!(event.object, "repository/shop");
    assert_eq!(
        event.data["updates"][0],
        json!({ "reference": "refs/heads/main", "old": null, "new": commit })
    );
    assert!(event.message.starts_with("the developer pushed to shop: main ("), "{}", event.message);
    {
        let heard = world.heard.pushes.lock().unwrap();
        assert_eq!(heard.len(), 1);
        assert_eq!((heard[0].repository.as_str(), heard[0].updates.len()), ("shop", 2));
        assert_eq!(heard[0].actor.id, "developer");
        assert_eq!(event.data["push"], heard[0].id);
    }
    // What moves nothing is nothing.
    world.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]).await;
    world.good(&one, &["push", "-q", "origin", ":refs/heads/topic"]).await;
    let events = world.events("repository.pushed").await;
    assert_eq!(events.len(), 2);
    assert_eq!(
        events[1].data["updates"],
        json!([{ "reference": "refs/heads/topic", "old": commit, "new": null }])
    );
    let (_, shown) = world.call("GET", "/api/v1/projects/hello/repositories/shop", Value::Null).await;
    assert!(shown["size"].as_i64().unwrap() > 0 && shown["pushed_at"].is_string(), "{shown}");
    let (_, commits) =
        world.call("GET", "/api/v1/projects/hello/repositories/shop/commits", Value::Null).await;
    assert_eq!(
        (&commits["items"][0]["id"], &commits["items"][0]["subject"]),
        (&json!(commit), &json!("write a.txt"))
    );
    let (_, refs) =
        world.call("GET", "/api/v1/projects/hello/repositories/shop/references", Value::Null).await;
    assert_eq!(refs["items"], json!([{ "name": "refs/heads/main", "target": commit }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_are_protected_and_secrets_refused() {
    let world = World::new().await;
    let protected = json!([
        { "pattern": "main", "push": "developer" },
        { "pattern": "release/*", "push": "maintainer", "delete": true },
    ]);
    world
        .make("repositories", json!({ "name": "shop", "protected": protected, "object_limit": 300_000 }))
        .await;
    let one = world.clone("developer", "shop", "one").await;
    world.commit(&one, "a.txt", "a\n").await;
    let base = world.good(&one, &["rev-parse", "HEAD"]).await;
    world.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]).await;
    world.commit(&one, "b.txt", "b\n").await;
    world.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]).await;
    let maintainer = world.remote("maintainer", "shop");
    for (arguments, words) in [
        (vec!["push", "--force", "origin", &format!("{base}:refs/heads/main")], "git pull --rebase"),
        (vec!["push", "origin", ":refs/heads/main"], "is the default branch"),
        (vec!["push", "origin", "HEAD:refs/heads/release/1"], "maintainers push to it"),
        (vec!["push", "origin", "HEAD:refs/strange/x"], "only branches, tags and notes"),
        // One that is refused refuses all.
        (
            vec!["push", "origin", "HEAD:refs/heads/fine", "HEAD:refs/heads/release/1"],
            "maintainers push to it",
        ),
    ] {
        let said = world.bad(&one, &arguments).await;
        assert!(said.contains("remote: Hafen refuses this push to shop:"), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    world.good(&one, &["push", "-q", &maintainer, "HEAD:refs/heads/release/1"]).await;
    world.good(&one, &["push", "-q", &maintainer, ":refs/heads/release/1"]).await;

    let token = ["gl", "pat-aB3dE5gH7jK9mN1pQ2rS"].concat();
    world.commit(&one, "deploy.yml", &format!("stage: x\ntoken: {token}\n")).await;
    let said = world.bad(&one, &["push", "origin", "HEAD:refs/heads/main"]).await;
    for line in ["remote:   deploy.yml:2: a token of GitLab", "git commit --amend", "hafen:allow-secret"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    world.commit(&one, "deploy.yml", "stage: x\n").await;
    world.good(&one, &["reset", "-q", "--soft", "HEAD~2"]).await;
    world.good(&one, &["commit", "-q", "-m", "deploy"]).await;
    world.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]).await;

    world.commit(&one, "large file", &"0123456789abcdef".repeat(20_000)).await;
    let said = world.bad(&one, &["push", "origin", "HEAD:refs/heads/main"]).await;
    assert!(said.contains("large file has 312.5 KiB, and the limit for one file is 292.9 KiB"), "{said}");
    // What was refused is known, and does not stand in the way.
    assert_eq!(world.events("repository.push_refused").await.len(), 7);
    assert_eq!(world.events("repository.pushed").await.len(), 5);
    let (_, refs) =
        world.call("GET", "/api/v1/projects/hello/repositories/shop/references", Value::Null).await;
    assert_eq!(refs["items"].as_array().unwrap().len(), 1, "{refs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_death_left_untold_is_told_at_the_next_start() {
    for (_, database) in hafen_db::testing::both() {
        let world = World::with(database).await;
        let made = world.make("repositories", json!({ "name": "shop" })).await;
        let id = made["id"].as_str().unwrap().to_owned();
        let one = world.clone("developer", "shop", "one").await;
        world.commit(&one, "a.txt", "a\n").await;
        world.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]).await;
        let main = world.good(&one, &["rev-parse", "HEAD"]).await;
        world.commit(&one, "b.txt", "b\n").await;
        let next = world.good(&one, &["rev-parse", "HEAD"]).await;
        // As it is when the process dies after git moved the reference, and before it was told: the intent is written down,
        // the disk has the new state. One more intent came to nothing.
        let bare = world.folder.path().join(format!("delivery/repositories/{id}.git"));
        let update = |reference: &str, old: Option<&str>, new: &str| hafen_delivery::RefUpdate {
            reference: reference.into(),
            old: old.map(str::to_owned),
            new: Some(new.into()),
        };
        let intent = |id: &str, updates| store::push::PushRow {
            id: id.into(),
            repository: made["id"].as_str().unwrap().into(),
            actor: somebody("maintainer"),
            updates,
            notes: Vec::new(),
            state: store::push::OPEN.into(),
        };
        *world.heard.deaf.lock().unwrap() = true;
        world.good(&one, &["push", "-q", bare.to_str().unwrap(), "HEAD:refs/heads/main"]).await;
        let db = hafen_db::Db::open(&world.database.location, "delivery", store::MIGRATIONS).await.unwrap();
        let mut tx = db.write().await.unwrap();
        let now = hafen_base::Timestamp::from_micros(1);
        let moved = intent("push-1", vec![update("refs/heads/main", Some(&main), &next)]);
        store::push::insert(&mut tx, &moved, now).await.unwrap();
        let nothing = intent("push-2", vec![update("refs/heads/never", None, &next)]);
        store::push::insert(&mut tx, &nothing, now).await.unwrap();
        tx.commit().await.unwrap();
        drop(db);

        let again = world.again().await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let running = tokio::spawn({
            let again = again.clone();
            async move { again.run(stopped).await }
        });
        let told = world
            .until("it is told", async || {
                let events = world.events("repository.pushed").await;
                (events.len() == 2).then_some(events)
            })
            .await;
        assert_eq!(told[1].actor.id, "maintainer");
        assert_eq!(
            told[1].data["updates"],
            json!([{ "reference": "refs/heads/main", "old": main, "new": next }])
        );
        // Who listens hears of it when it can, and then no more.
        assert_eq!(world.heard.pushes.lock().unwrap().len(), 1);
        *world.heard.deaf.lock().unwrap() = false;
        world
            .until("it is heard", async || (world.heard.pushes.lock().unwrap().len() >= 2).then_some(()))
            .await;
        assert_eq!(world.heard.pushes.lock().unwrap()[1].id, told[1].data["push"]);
        for _ in 0..3 {
            world.clock.step(std::time::Duration::from_secs(60));
            tokio::task::yield_now().await;
        }
        assert_eq!(world.events("repository.pushed").await.len(), 2);
        assert_eq!(world.heard.pushes.lock().unwrap().len(), 2);
        stop.send_replace(true);
        running.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_are_compressed_and_large_ones_come_in_pieces() {
    let world = World::new().await;
    world.make("repositories", json!({ "name": "shop" })).await;
    let one = world.clone("developer", "shop", "one").await;
    // So much history that git compresses its requests.
    let mut stream = String::new();
    for number in 0..600 {
        use std::fmt::Write as _;
        writeln!(
            stream,
            "commit refs/heads/main\ncommitter A <a@example.org> {} +0000\ndata 2\nx{}",
            number + 1,
            number % 10
        )
        .unwrap();
        writeln!(stream, "M 100644 inline f{number}\ndata {}\n{number}", number.to_string().len()).unwrap();
    }
    let import = world.folder.path().join("import");
    std::fs::write(&import, stream).unwrap();
    let shell = format!("git -C {} fast-import --quiet < {}", one.display(), import.display());
    let done = std::process::Command::new("sh").args(["-c", &shell]).status().unwrap();
    assert!(done.success());
    world.good(&one, &["push", "-q", "origin", "main"]).await;
    let two = world.clone("viewer", "shop", "two").await;
    world.commit(&one, "more", &"x".repeat(5_000_000)).await;
    world.good(&one, &["reset", "-q", "--hard"]).await;
    // A clone that has other commits asks in several rounds; with a small buffer git sends pieces of unknown length.
    for number in 0..300 {
        world.good(&two, &["commit", "-q", "--allow-empty", "-m", &number.to_string()]).await;
    }
    world.good(&one, &["-c", "http.postBuffer=4096", "push", "-q", "origin", "HEAD:refs/heads/main"]).await;
    for version in ["0", "2"] {
        let option = format!("protocol.version={version}");
        world.good(&two, &["-c", &option, "-c", "http.postBuffer=65536", "fetch", "-q", "origin"]).await;
        world.good(&two, &["update-ref", "-d", "refs/remotes/origin/main"]).await;
    }
    let said = world.bad(&two, &["push", "origin", "HEAD:refs/heads/x", "--dry-run", "--no-such"]).await;
    assert!(said.contains("usage") || said.contains("unknown option"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_git_is_told_so() {
    let world = World::new().await;
    world.make("repositories", json!({ "name": "shop" })).await;
    let said = world.bad(world.folder.path(), &["clone", &world.remote("developer", "none"), "x"]).await;
    assert!(said.contains("not found"), "{said}");
    let kind = ("content-type", "application/x-git-upload-pack-request");
    for (method, path, headers, status) in [
        ("GET", "/git/hello/shop.git/info/refs", vec![], 403),
        ("GET", "/git/hello/shop.git/info/refs?service=git-upload-archive", vec![], 403),
        ("GET", "/git/hello/shop.git/HEAD", vec![], 404),
        ("GET", "/git/hello/shop.git/objects/info/packs", vec![], 404),
        ("POST", "/git/hello/shop.git/git-upload-pack", vec![("content-type", "text/plain")], 415),
        ("POST", "/git/hello/shop.git/git-upload-pack", vec![kind, ("content-encoding", "br")], 415),
        ("POST", "/git/hello/none.git/git-upload-pack", vec![kind], 404),
        ("GET", "/git/nobody/shop.git/info/refs?service=git-upload-pack", vec![], 404),
    ] {
        let (router, _) = world.delivery.router().split_for_parts();
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::from("0000")).unwrap();
        let answer = tower::ServiceExt::oneshot(hafen_http::problems(router), request).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path} {headers:?}");
        let text = answer.headers()["content-type"].to_str().unwrap();
        assert!(text.starts_with("text/plain"), "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_in_a_project_that_is_gone_is_not_told_to_the_next() {
    let world = World::new().await;
    world.make("repositories", json!({ "name": "shop" })).await;
    let one = world.clone("developer", "shop", "one").await;
    world.commit(&one, "a.txt", "a\n").await;
    *world.heard.deaf.lock().unwrap() = true;
    world.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]).await;
    let db = hafen_db::Db::open(&world.database.location, "delivery", store::MIGRATIONS).await.unwrap();
    assert_eq!(store::push::repositories(db.reader()).await.unwrap().len(), 1, "it is to be told");
    world.projects.0.lock().unwrap().insert("hello".into(), "2026-02-02T00:00:00Z");
    *world.heard.deaf.lock().unwrap() = false;
    world
        .until("its turn is over", async || {
            store::push::repositories(db.reader()).await.unwrap().is_empty().then_some(())
        })
        .await;
    assert!(world.heard.pushes.lock().unwrap().is_empty());
}
