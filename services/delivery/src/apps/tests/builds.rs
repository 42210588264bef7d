//! Builds, and the secrets that they name.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::ErrorKind;
use serde_json::{Value, json};

use super::super::model::BuildRow;
use super::super::statements::Statement;
use super::world::{C1, C2, Secrets, World, somebody, spec, worlds};
use crate::pushed::{Push, Pushed as _, RefUpdate};

/// Builds with these commands, and what more is said of the build.
fn built(run: &[&str], more: &Value) -> hafen_client::wire::AppSpec {
    let mut build = json!({
        "image": "builder", "run": run,
        "env": { "MODE": "release", "NPM_TOKEN": { "secret": "npm-token" } },
    });
    for (name, value) in more.as_object().unwrap() {
        build[name] = value.clone();
    }
    spec(&json!({ "build": build, "on": "web-1", "replicas": 1 }))
}

async fn whole(world: &World, app: &str) {
    world.steps(app, 2).await;
    world.build().await;
    world.steps(app, 12).await;
}

fn log(world: &World, row: &BuildRow) -> String {
    std::fs::read_to_string(world.apps.log_path(row)).unwrap()
}

/// Every file below that holds it, artefacts and caches as they are before they are packed.
fn holds(folder: &Path, canary: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holds(&path, canary));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let bytes = zstd::stream::decode_all(&bytes[..]).unwrap_or(bytes);
        if bytes.windows(canary.len()).any(|part| part == canary.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn a_build_gets_the_secrets_that_it_names_and_nothing_tells_them() {
    for world in worlds().await {
        world.put("shop", &built(&["make", "echo $NPM_TOKEN"], &json!({}))).await.unwrap();
        whole(&world, "shop").await;
        assert_eq!(world.states("shop").await, ["succeeded"], "{:?}", world.builds("shop").await);
        let row = world.builds("shop").await.remove(0);
        let canary = Secrets::value("npm-token", 1);
        let said = log(&world, &row);
        assert!(said.contains("$ echo $NPM_TOKEN\nsimulated\n***\nbuilt "), "{said}");
        assert_eq!(holds(world.folder.path(), &canary), Vec::<String>::new());
        assert_eq!(
            *world.vault.readings.lock().unwrap(),
            [format!("npm-token 1: build b1 of app shop at commit {C1}")]
        );
        assert_eq!(row.wire().secrets, [("npm-token".to_owned(), 1)].into());
        for event in world.events("build.queued").await.iter().chain(&world.events("build.succeeded").await) {
            assert!(!format!("{} {}", event.message, event.data).contains(&canary), "{event:?}");
        }
        // What it was built of: names and versions.
        let app = world.app("shop").await.unwrap();
        let told = world.apps.statements(&app).read(1, Statement::Provenance).await.unwrap();
        let told: Value = serde_json::from_slice(&told).unwrap();
        let told = STANDARD.decode(told["payload"].as_str().unwrap()).unwrap();
        assert!(!String::from_utf8_lossy(&told).contains(&canary));
        let told: Value = serde_json::from_slice(&told).unwrap();
        let definition = &told["predicate"]["buildDefinition"];
        assert_eq!(
            definition["externalParameters"]["env"],
            json!({ "MODE": "release", "NPM_TOKEN": { "secret": "npm-token" } })
        );
        assert_eq!(definition["internalParameters"]["secrets"], json!({ "npm-token": 1 }));
    }
}

#[tokio::test]
async fn another_version_of_a_secret_makes_another_build() {
    for world in worlds().await {
        world.put("shop", &built(&["make"], &json!({}))).await.unwrap();
        whole(&world, "shop").await;
        world.deploy("shop", C1).await;
        whole(&world, "shop").await;
        assert_eq!(world.builds("shop").await.len(), 1);
        world.vault.versions.lock().unwrap().insert("npm-token".into(), 2);
        world.deploy("shop", C1).await;
        whole(&world, "shop").await;
        let builds = world.builds("shop").await;
        let versions: Vec<i64> = builds.iter().map(|row| row.secrets["npm-token"]).collect();
        assert_eq!(versions, [1, 2]);
        // Another value of a variable does as well.
        let debug = json!({ "env": { "MODE": "debug", "NPM_TOKEN": { "secret": "npm-token" } } });
        world.put("shop", &built(&["make"], &debug)).await.unwrap();
        whole(&world, "shop").await;
        assert_eq!(world.builds("shop").await.len(), 3);
        assert_eq!(world.states("shop").await, ["succeeded"; 4]);
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_fails_it_before_a_machine_is_made() {
    for world in worlds().await {
        let missing = |world: &World| world.vault.missing.lock().unwrap().insert("npm-token".into());
        missing(&world);
        world.put("shop", &built(&["make"], &json!({}))).await.unwrap();
        whole(&world, "shop").await;
        assert_eq!(world.states("shop").await, ["failed"]);
        let reason = world.deployment("shop", 1).await.reason;
        assert!(reason.contains("hafen secret set npm-token"), "{reason}");
        assert!(world.builds("shop").await.is_empty());
        // It goes away while the build waits.
        world.vault.missing.lock().unwrap().clear();
        world.deploy("shop", C1).await;
        world.steps("shop", 2).await;
        missing(&world);
        world.build().await;
        world.steps("shop", 2).await;
        let row = world.builds("shop").await.remove(0);
        assert_eq!(row.state.as_str(), "failed");
        assert!(row.reason.contains("hafen secret set npm-token"), "{}", row.reason);
        assert_eq!(world.states("shop").await, ["failed", "failed"]);
        assert!(world.place.built_in.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_is_kept_of_a_build_holds_no_secret() {
    for world in worlds().await {
        let canary = Secrets::value("npm-token", 1);
        world.put("shop", &built(&["leave $NPM_TOKEN"], &json!({}))).await.unwrap();
        whole(&world, "shop").await;
        let row = world.builds("shop").await.remove(0);
        assert_eq!(row.state.as_str(), "failed");
        let told = "its output holds the value of the secret \"npm-token\"";
        assert!(row.reason.contains(told) && !row.reason.contains(&canary), "{}", row.reason);
        assert_eq!(world.states("shop").await, ["failed"]);
        // A cache is thrown away, and the build goes on.
        world.put("shop", &built(&["leave $NPM_TOKEN"], &json!({ "cache": ["target"] }))).await.unwrap();
        whole(&world, "shop").await;
        let row = world.builds("shop").await.pop().unwrap();
        assert_eq!(row.state.as_str(), "succeeded", "{}", row.reason);
        let said = log(&world, &row);
        assert!(said.contains("its cache is not kept: it holds the value"), "{said}");
        assert!(!world.folder.path().join("apps/caches/hello/shop/cache.tar.zst").exists());
        assert_eq!(holds(world.folder.path(), &canary), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_preview_is_built_without_secrets_and_says_so() {
    for world in worlds().await {
        let mut wanted = built(&["echo $NPM_TOKEN"], &json!({}));
        wanted.preview = Some(serde_json::from_value(json!({ "branches": ["feature/*"] })).unwrap());
        world.put("shop", &wanted).await.unwrap();
        whole(&world, "shop").await;
        world.vault.readings.lock().unwrap().clear();
        let update = RefUpdate { reference: "refs/heads/feature/x".into(), old: None, new: Some(C2.into()) };
        let push = Push {
            id: "p1".into(),
            project: "hello".into(),
            repository: "shop".into(),
            updates: vec![update],
            actor: somebody("developer"),
        };
        world.apps.pushed(&push).await.unwrap();
        let made = world.app("shop-feature-x").await.unwrap();
        assert_eq!(made.spec.build.unwrap().env.keys().collect::<Vec<_>>(), ["MODE"]);
        whole(&world, "shop-feature-x").await;
        assert_eq!(world.states("shop-feature-x").await, ["succeeded"]);
        let said = log(&world, &world.builds("shop-feature-x").await[0]);
        assert!(said.contains("a preview gets no secrets: it is built without NPM_TOKEN\n"), "{said}");
        assert!(world.vault.readings.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_secret_that_a_build_names_anew_needs_the_right_to_read_it() {
    for world in worlds().await {
        let put = async |role: &str, run: &str| {
            let wanted = built(&[run], &json!({}));
            somebody(role).acts(world.apps.app_put("hello", "shop", &wanted, &|_| Ok(()))).await
        };
        let refused = put("developer", "env").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
        assert!(refused.to_string().contains("\"npm-token\""), "{refused}");
        put("maintainer", "make").await.unwrap();
        put("developer", "make all").await.unwrap();
    }
}
