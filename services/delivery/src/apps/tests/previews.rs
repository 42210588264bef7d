//! Previews, and deletions.

use hafen_base::Actor;
use hafen_work::Reconciler as _;
use serde_json::json;

use super::super::rollout::Rollouts;
use super::world::{C1, C2, C3, World, somebody, spec, worlds};
use crate::pushed::{Push, Pushed as _, RefUpdate};

fn push(id: &str, updates: &[(&str, Option<&str>)]) -> Push {
    let update = |(branch, new): &(&str, Option<&str>)| RefUpdate {
        reference: format!("refs/heads/{branch}"),
        old: None,
        new: new.map(str::to_owned),
    };
    Push {
        id: id.into(),
        project: "hello".into(),
        repository: "shop".into(),
        updates: updates.iter().map(update).collect(),
        actor: somebody("developer"),
    }
}

const PREVIEW: &str = "shop-feature-x";

async fn shop(world: &World) {
    let wanted = spec(&json!({
        "migrate": "./migrate", "env": { "LOG": "info", "DB": { "secret": "db" } },
        "preview": { "branches": ["feature/*"] },
    }));
    world.put("shop", &wanted).await.unwrap();
    world.steps("shop", 15).await;
    assert_eq!(world.states("shop").await, ["succeeded"]);
}

#[tokio::test]
async fn a_preview_has_no_secret_and_no_migration_of_its_app() {
    for world in worlds().await {
        shop(&world).await;
        world.apps.pushed(&push("p1", &[("feature/x", Some(C2))])).await.unwrap();
        let made = world.app(PREVIEW).await.unwrap();
        assert_eq!(made.spec.migrate, None);
        assert_eq!(made.spec.env.keys().collect::<Vec<_>>(), ["LOG"]);
        world.steps(PREVIEW, 15).await;
        assert_eq!(world.states(PREVIEW).await, ["succeeded"]);
    }
}

#[tokio::test]
async fn a_push_that_is_told_again_makes_one_deployment() {
    for world in worlds().await {
        shop(&world).await;
        *world.balancer.broken.lock().unwrap() = true;
        let told = push("p1", &[("feature/x", Some(C2)), ("main", Some(C2))]);
        for _ in 0..3 {
            let _later = world.apps.pushed(&told).await;
        }
        assert_eq!(world.states(PREVIEW).await.len(), 1);
        assert_eq!(world.states("shop").await.len(), 2, "the other branch waits for the balancer");
        *world.balancer.broken.lock().unwrap() = false;
        world.clock.step(std::time::Duration::from_secs(30));
        world.steps(PREVIEW, 15).await;
        let host = format!("{PREVIEW}.hello.localhost");
        assert_eq!(world.balancer.routes.lock().unwrap().get(&host).map(String::as_str), Some(PREVIEW));
    }
}

#[tokio::test]
async fn a_preview_that_goes_holds_up_no_push_and_comes_back() {
    for world in worlds().await {
        shop(&world).await;
        world.apps.pushed(&push("p1", &[("feature/x", Some(C2))])).await.unwrap();
        world.steps(PREVIEW, 15).await;
        world.apps.pushed(&push("p2", &[("feature/x", None)])).await.unwrap();
        assert!(world.app(PREVIEW).await.unwrap().destroying);
        // It is on its way out, and another push comes.
        world.apps.pushed(&push("p3", &[("feature/x", Some(C1)), ("main", Some(C2))])).await.unwrap();
        world.apps.pushed(&push("p4", &[("feature/x", Some(C3))])).await.unwrap();
        assert_eq!(world.states("shop").await.len(), 2);
        world.steps(PREVIEW, 20).await;
        let back = world.app(PREVIEW).await.unwrap();
        assert!(!back.destroying);
        assert_eq!(world.states(PREVIEW).await, ["succeeded"]);
        assert_eq!(world.deployment(PREVIEW, 1).await.commit.as_deref(), Some(C3));
        let host = format!("{PREVIEW}.hello.localhost");
        assert!(world.balancer.routes.lock().unwrap().contains_key(&host));
        // Gone for good when the branch goes again meanwhile.
        world.apps.pushed(&push("p5", &[("feature/x", None)])).await.unwrap();
        world.apps.pushed(&push("p6", &[("feature/x", Some(C1))])).await.unwrap();
        world.apps.pushed(&push("p7", &[("feature/x", None)])).await.unwrap();
        world.steps(PREVIEW, 5).await;
        assert_eq!(world.app(PREVIEW).await, None);
        assert!(!world.balancer.routes.lock().unwrap().contains_key(&host));
    }
}

#[tokio::test]
async fn a_preview_ends_when_nothing_was_pushed_for_so_long() {
    let days = |count: u64| std::time::Duration::from_hours(24 * count);
    for world in worlds().await {
        shop(&world).await;
        world.apps.pushed(&push("p1", &[("feature/x", Some(C2))])).await.unwrap();
        world.steps(PREVIEW, 15).await;
        // Seven days unless said; each push begins them anew.
        world.clock.step(days(6));
        world.apps.pushed(&push("p2", &[("feature/x", Some(C3))])).await.unwrap();
        world.steps(PREVIEW, 15).await;
        world.clock.step(days(6));
        world.steps(PREVIEW, 5).await;
        assert!(world.app(PREVIEW).await.is_some_and(|app| !app.destroying));
        world.clock.step(days(1));
        world.steps(PREVIEW, 10).await;
        assert_eq!(world.app(PREVIEW).await, None);
        assert!(world.balancer.routes.lock().unwrap().is_empty());
        assert_eq!(world.states("shop").await, ["succeeded"], "the app itself stays");
    }
}

async fn delete(world: &World) {
    let gone = world.apps.app_delete("hello", "shop", &|_| Ok(()));
    Actor::platform().acts(gone).await.unwrap();
    world.steps("shop", 5).await;
}

#[tokio::test]
async fn a_stopped_machine_holds_up_no_deletion() {
    for world in worlds().await {
        shop(&world).await;
        assert!(!world.runs("web-2", "shop").is_empty());
        world.boots("web-2", None);
        delete(&world).await;
        assert_eq!(world.app("shop").await, None);
        assert!(world.runs("web-1", "shop").is_empty());
        // Another of that name: what lies there of the first is not its own.
        world.put("shop", &spec(&json!({ "run": "./another", "replicas": 3 }))).await.unwrap();
        world.steps("shop", 15).await;
        world.boots("web-2", Some("b"));
        world.steps("shop", 2).await;
        world.apps.scale("hello", "shop", 5, None).await.unwrap();
        world.steps("shop", 20).await;
        assert_eq!(world.states("shop").await, ["succeeded"]);
        let disk = format!("{} {:?}", world.disk("web-2"), world.processes("shop").await);
        assert!(disk.contains("./another") && !disk.contains("command='./shop'"), "{disk}");
        assert_eq!(world.disk("web-2")["apps"]["shop"]["migrations"], json!({}), "{disk}");
        // And when there is none of that name.
        world.boots("web-2", None);
        delete(&world).await;
        assert_eq!(world.app("shop").await, None);
        world.boots("web-2", Some("c"));
        for key in Rollouts(world.apps.clone()).pending().await.unwrap() {
            Rollouts(world.apps.clone()).reconcile(&key).await.unwrap();
        }
        assert_eq!(world.disk("web-2"), json!({ "apps": {} }));
        assert!(Rollouts(world.apps.clone()).pending().await.unwrap().is_empty());
    }
}
