//! Processes, ports, the balancer, migrations.

use std::time::Duration;

use hafen_base::ErrorKind;
use serde_json::json;

use super::super::hands::{At, Hands as _};
use super::super::plan::{Key, Phase};
use super::super::unit::{Secrets, Unit};
use super::world::{C1, C2, C3, World, spec, worlds};
use crate::store::{app as store, process as places};

fn serving(rows: &[super::super::model::ProcessRow]) -> usize {
    rows.iter().filter(|row| row.phase() == Phase::Serving).count()
}

async fn live(world: &World, app: &str, more: serde_json::Value) {
    world.put(app, &spec(&more)).await.unwrap();
    world.steps(app, 12).await;
    assert_eq!(world.states(app).await, ["succeeded"], "{:?}", world.deployment(app, 1).await);
}

#[tokio::test]
async fn no_port_of_a_machine_is_given_twice() {
    for world in worlds().await {
        for app in ["a", "b"] {
            world.put(app, &spec(&json!({ "on": "web-1", "replicas": 1 }))).await.unwrap();
        }
        // Seen before the other had anything there.
        let b = world.app("b").await.unwrap();
        let view = world.apps.view(&b).await.unwrap().unwrap();
        live(&world, "a", json!({ "on": "web-1", "replicas": 1 })).await;
        let place = (Key { set: 1, index: 0 }, "web-1".to_owned(), 8080);
        let _refused = world.apps.place(&b, &view, 1, place).await;
        let ports = places::ports(&world.apps.0.delivery.0.db, "hello").await.unwrap();
        assert_eq!(ports, [("a".to_owned(), "web-1".to_owned(), 8080)]);
        world.steps("b", 12).await;
        let mut ports: Vec<u16> = places::ports(&world.apps.0.delivery.0.db, "hello")
            .await
            .unwrap()
            .into_iter()
            .map(|(.., port)| port)
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, [8080, 8081]);
    }
}

#[tokio::test]
async fn one_for_which_another_answers_does_not_serve() {
    for world in worlds().await {
        // Nobody knows of it, and it holds the port.
        let foreign = spec(&json!({}));
        let unit =
            Unit { app: "aaa", id: "d1-0", release: 1, artifact: "x", port: Some(8080), spec: &foreign };
        let at = At { project: "hello", machine: "web-1" };
        let archive = unit.archive(&Secrets::new()).unwrap();
        world.hands.start(at, "aaa", "d1-0", archive).await.unwrap();
        world.put("b", &spec(&json!({ "on": "web-1", "replicas": 1, "run": "./ends" }))).await.unwrap();
        world.steps("b", 12).await;
        assert_eq!(world.states("b").await, ["failed"]);
        assert!(world.deployment("b", 1).await.reason.contains("ends again and again"));
        assert!(world.balancer.endpoints.lock().unwrap().get("b").is_none_or(Vec::is_empty));
    }
}

#[tokio::test]
async fn what_the_balancer_did_not_hear_is_told_again() {
    for world in worlds().await {
        *world.balancer.broken.lock().unwrap() = true;
        world.put("shop", &spec(&json!({}))).await.unwrap();
        world.steps("shop", 12).await;
        assert_eq!(serving(&world.processes("shop").await), 2);
        *world.balancer.broken.lock().unwrap() = false;
        world.steps("shop", 5).await;
        assert_eq!(world.balancer.endpoints.lock().unwrap()["shop"].len(), 2);
        assert_eq!(world.states("shop").await, ["succeeded"]);
        // It began anew, and knows nothing.
        world.balancer.endpoints.lock().unwrap().clear();
        world.steps("shop", 3).await;
        assert_eq!(world.balancer.endpoints.lock().unwrap()["shop"].len(), 2);
    }
}

#[tokio::test]
async fn none_ends_before_the_balancer_knows_that_it_drains() {
    for world in worlds().await {
        live(&world, "shop", json!({})).await;
        *world.balancer.broken.lock().unwrap() = true;
        world.apps.scale("hello", "shop", 1, None).await.unwrap();
        world.steps("shop", 60).await;
        assert_eq!(world.processes("shop").await.len(), 2, "requests go to it still");
        // Machines are healed without it.
        world.boots("web-1", Some("b"));
        world.steps("shop", 8).await;
        let rows = world.processes("shop").await;
        assert!(rows.iter().all(|row| row.machine == "web-2" || row.boot == "b"), "{rows:?}");
        *world.balancer.broken.lock().unwrap() = false;
        world.steps("shop", 5).await;
        assert_eq!(world.processes("shop").await.len(), 1);
        assert_eq!(world.balancer.endpoints.lock().unwrap()["shop"].len(), 1);
    }
}

#[tokio::test]
async fn what_serves_is_healed_while_a_source_is_away() {
    for world in worlds().await {
        live(&world, "shop", json!({})).await;
        *world.commits.broken.lock().unwrap() = true;
        world.deploy("shop", C2).await;
        world.boots("web-1", Some("b"));
        world.steps("shop", 12).await;
        let rows = world.processes("shop").await;
        assert_eq!(serving(&rows), 2);
        assert!(rows.iter().any(|row| row.machine == "web-1" && row.boot == "b"), "{rows:?}");
        let waiting = world.deployment("shop", 2).await;
        assert!(!waiting.state.is_over() && waiting.reason.contains("cannot be reached"), "{waiting:?}");
        // Not for ever.
        world.clock.step(Duration::from_secs(16 * 60));
        world.steps("shop", 2).await;
        assert_eq!(world.states("shop").await, ["succeeded", "failed"]);
        assert!(world.deployment("shop", 2).await.reason.contains("cannot be reached"));
        *world.commits.broken.lock().unwrap() = false;
        world.deploy("shop", C2).await;
        world.steps("shop", 20).await;
        assert_eq!(world.states("shop").await[2], "succeeded");
    }
}

#[tokio::test]
async fn what_serves_is_healed_while_a_fetch_hangs() {
    for world in worlds().await {
        live(&world, "shop", json!({})).await;
        *world.commits.hangs.lock().unwrap() = true;
        world.deploy("shop", C2).await;
        world.boots("web-1", Some("b"));
        world.steps("shop", 8).await;
        let rows = world.processes("shop").await;
        assert!(rows.iter().any(|row| row.boot == "b") && serving(&rows) == 2, "{rows:?}");
    }
}

#[tokio::test]
async fn migrations_of_an_app_wait_for_each_other() {
    for world in worlds().await {
        world.put("shop", &spec(&json!({ "migrate": "./slow", "on": "web-1" }))).await.unwrap();
        world.steps("shop", 3).await;
        world.deploy("shop", C2).await;
        let mut met = 0;
        for _ in 0..30 {
            world.steps("shop", 1).await;
            let migrations = &world.disk("web-1")["apps"]["shop"]["migrations"];
            if !migrations["2"].is_null() && met == 0 {
                met = migrations["1"].as_i64().unwrap();
            }
        }
        assert_eq!(met, 5, "the second began before the first was done");
        assert_eq!(world.states("shop").await, ["superseded", "succeeded"]);
        // One that has none of its own waits as well.
        world.put("shop", &spec(&json!({ "migrate": "./slow x", "on": "web-1" }))).await.unwrap();
        world.steps("shop", 2).await;
        world.put("shop", &spec(&json!({ "on": "web-1" }))).await.unwrap();
        world.steps("shop", 2).await;
        assert!(world.processes("shop").await.iter().all(|row| row.set == 2), "it began on half a schema");
        world.steps("shop", 20).await;
        assert_eq!(world.states("shop").await[3], "succeeded");
    }
}

#[tokio::test]
async fn a_migration_that_failed_is_tried_anew_by_the_next_deployment() {
    for world in worlds().await {
        world.put("shop", &spec(&json!({ "migrate": "./fail", "on": "web-1" }))).await.unwrap();
        world.steps("shop", 5).await;
        world.deploy("shop", C1).await;
        world.steps("shop", 5).await;
        assert_eq!(world.states("shop").await, ["failed", "failed"]);
        assert_eq!(world.deployment("shop", 2).await.release, Some(2));
        let migrations = world.disk("web-1")["apps"]["shop"]["migrations"].clone();
        assert_eq!(migrations, json!({ "1": 1, "2": 1 }));
    }
}

#[tokio::test]
async fn a_release_of_no_processes_migrates_before_its_first() {
    for world in worlds().await {
        world
            .put("shop", &spec(&json!({ "migrate": "./slow", "on": "web-1", "replicas": 0 })))
            .await
            .unwrap();
        world.steps("shop", 4).await;
        assert_eq!(world.states("shop").await, ["succeeded"]);
        world.apps.scale("hello", "shop", 1, None).await.unwrap();
        world.steps("shop", 3).await;
        assert!(world.processes("shop").await.is_empty(), "it runs on the old schema");
        world.steps("shop", 12).await;
        assert_eq!(serving(&world.processes("shop").await), 1);
        assert_eq!(world.disk("web-1")["apps"]["shop"]["migrations"], json!({ "1": 5 }));
    }
}

#[tokio::test]
async fn a_change_of_configuration_keeps_the_newer_commit() {
    for world in worlds().await {
        live(&world, "shop", json!({})).await;
        world.deploy("shop", C2).await;
        let refused = world.apps.restart("hello", "shop", None).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        world.put("shop", &spec(&json!({ "env": { "A": "b" } }))).await.unwrap();
        let made = world.deployment("shop", 3).await;
        assert_eq!((made.kind.as_str(), made.commit.as_deref()), ("configure", Some(C2)));
        world.steps("shop", 20).await;
        assert_eq!(world.states("shop").await, ["succeeded", "superseded", "succeeded"]);
    }
}

#[tokio::test]
async fn the_release_that_is_live_keeps_its_artefact() {
    for world in worlds().await {
        world.put("shop", &spec(&json!({ "replicas": 0 }))).await.unwrap();
        world.steps("shop", 3).await;
        for number in 0..11 {
            world.deploy("shop", &format!("{number:040}")).await;
            world.steps("shop", 3).await;
        }
        world.deploy("shop", C1).await;
        world.steps("shop", 3).await;
        let app = world.app("shop").await.unwrap();
        assert_eq!(app.live.unwrap().release, 1);
        let release = store::release(&world.apps.0.delivery.0.db, "hello", "shop", 1).await.unwrap().unwrap();
        assert!(release.kept);
        // And one that is on its way.
        let _ = C3;
    }
}

#[tokio::test]
async fn one_whose_start_was_not_written_down_is_ended() {
    for world in worlds().await {
        world.put("shop", &spec(&json!({ "on": "web-1", "replicas": 1 }))).await.unwrap();
        world.steps("shop", 1).await;
        let rows = world.processes("shop").await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].phase(), Phase::Placed);
        let wanted = spec(&json!({}));
        let unit =
            Unit { app: "shop", id: "d1-0", release: 1, artifact: "x", port: Some(8080), spec: &wanted };
        let at = At { project: "hello", machine: "web-1" };
        world.hands.start(at, "shop", "d1-0", unit.archive(&Secrets::new()).unwrap()).await.unwrap();
        world.apps.deployment_cancel("hello", "shop", 1, None).await.unwrap();
        world.steps("shop", 3).await;
        assert!(world.processes("shop").await.is_empty());
        assert!(world.runs("web-1", "shop").is_empty(), "{}", world.disk("web-1"));
    }
}
