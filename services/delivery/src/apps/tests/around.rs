//! Whose an app is, and who sees what of it.

use std::process::Command;
use std::time::Duration;

use axum::body::Body;
use hafen_base::{ErrorKind, Permitted};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::world::{World, somebody, spec, worlds};

async fn text(world: &World, path: &str) -> String {
    let (router, _) = world.apps.router().split_for_parts();
    let request = Request::get(path).extension(Permitted::Everything).body(Body::empty()).unwrap();
    let answer = hafen_http::problems(router).oneshot(request).await.unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn another_project_of_that_name_has_nothing_of_it() {
    for world in worlds().await {
        for app in ["shop", "old"] {
            world.put(app, &spec(&json!({}))).await.unwrap();
            world.steps(app, 12).await;
        }
        let logs = world.folder.path().join("apps/caches/hello/shop");
        std::fs::create_dir_all(&logs).unwrap();
        world.refound();
        let list: Value = serde_json::from_str(&text(&world, "/api/v1/projects/hello/apps").await).unwrap();
        assert_eq!(list["items"], json!([]));
        for name in ["shop", "old"] {
            let error = world.apps.app_view("hello", name).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            let error = world.apps.scale("hello", name, 1, None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            let error = world.apps.restart("hello", name, None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
        // The new one makes an app of the same name: it begins with nothing.
        let deleted = world.balancer.deleted.lock().unwrap().len();
        world.put("shop", &spec(&json!({ "run": "./another" }))).await.unwrap();
        let app = world.app("shop").await.unwrap();
        assert_eq!((app.generation, app.releases, app.live), (1, 0, None));
        assert!(!logs.exists(), "caches of builds of the first");
        assert!(world.processes("shop").await.is_empty());
        world.steps("shop", 15).await;
        assert_eq!(world.states("shop").await, ["succeeded"]);
        // What is left of the first goes by itself, and touches nothing of the second.
        world.steps("old", 2).await;
        assert_eq!(world.app("old").await, None);
        assert_eq!(world.balancer.deleted.lock().unwrap().len(), deleted);
    }
}

#[tokio::test]
async fn what_a_process_says_is_not_for_everybody() {
    for world in worlds().await {
        let broken = spec(&json!({ "run": "./broken", "on": "web-1", "replicas": 1 }));
        world.put("shop", &broken).await.unwrap();
        world.steps("shop", 3).await;
        world.clock.step(Duration::from_secs(180));
        world.steps("shop", 3).await;
        let row = world.deployment("shop", 1).await;
        assert!(row.reason.contains("answered") && !row.reason.contains("is simulated"), "{}", row.reason);
        for event in world.events("deployment.failed").await {
            let text = format!("{} {}", event.message, event.data);
            assert!(text.contains("answered") && !text.contains("is simulated"), "{text}");
        }
        // The gate gives that to those who may read logs.
        let log = "/api/v1/projects/hello/apps/shop/deployments/d1/log";
        assert!(text(&world, log).await.contains("is simulated"));
        let shown = text(&world, "/api/v1/projects/hello/apps/shop/deployments/d1").await;
        assert!(!shown.contains("is simulated"), "{shown}");
        // Neither does a migration.
        world.put("shop", &spec(&json!({ "migrate": "./fail", "on": "web-1" }))).await.unwrap();
        world.steps("shop", 4).await;
        assert_eq!(world.states("shop").await, ["failed", "failed"]);
        let said = "the simulated migration fails";
        let events = world.events("app.migration_failed").await;
        assert_eq!(events.len(), 1);
        assert!(!format!("{} {}", events[0].message, events[0].data).contains(said), "{events:?}");
        assert!(text(&world, &log.replace("d1", "d2")).await.contains(said));
        for path in ["apps/shop/deployments/d2", "apps/shop/deployments", "apps/shop", "apps"] {
            let shown = text(&world, &format!("/api/v1/projects/hello/{path}")).await;
            assert!(!shown.contains(said) && !shown.contains("is simulated"), "{shown}");
        }
    }
}

/// The script that machines run, with a systemd that does not answer.
#[test]
fn a_systemd_that_does_not_answer_fails_no_migration() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let bin = path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let calls = path("calls");
    let write = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let file = folder.path().join("bin").join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("systemctl", &format!("#!/bin/sh\necho \"$@\" >> '{calls}'\ncase $1 in show) exit 1 ;; esac\n"));
    write("journalctl", "#!/bin/sh\n");
    write("sleep", "#!/bin/sh\n");
    let script = include_str!("../../../guest/app.sh")
        .replace("export PATH=", &format!("export PATH={bin}:"))
        .replace("root=/var/lib/hafen/apps", &format!("root={}", path("apps")))
        .replace("secrets=/run/hafen-apps", &format!("secrets={}", path("secrets")))
        .replace("units=/etc/systemd/system", &format!("units={}", path("units")));
    std::fs::create_dir_all(path("apps/shop/migrations")).unwrap();
    std::fs::create_dir_all(path("units")).unwrap();
    // It was begun before.
    std::fs::write(path("apps/shop/migrations/3.begun"), "").unwrap();
    let output = Command::new("sh").args(["-c", &script, "app", "migrate", "shop", "3"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "running\n", "{output:?}");
    let calls = std::fs::read_to_string(calls).unwrap();
    assert!(!calls.contains("stop"), "it was ended: {calls}");
}

#[tokio::test]
async fn a_secret_that_is_named_anew_needs_the_right_to_read_it() {
    for world in worlds().await {
        let with =
            |run: &str, secret: &str| spec(&json!({ "run": run, "env": { "X": { "secret": secret } } }));
        let put = async |role: &str, wanted| {
            somebody(role).acts(world.apps.app_put("hello", "shop", &wanted, &|_| Ok(()))).await
        };
        let refused = put("developer", with("env", "db")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
        assert!(refused.to_string().contains("\"db\""), "{refused}");
        put("maintainer", with("./shop", "db")).await.unwrap();
        put("developer", with("./shop 2", "db")).await.unwrap();
        let refused = put("developer", with("./shop 2", "other")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
    }
}
