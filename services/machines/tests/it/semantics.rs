//! What the API promises about waits, leases, instances and requests that come at the same time.

use std::time::Duration;

use axum::body::Body;
use hafen_base::ErrorKind;
use hafen_client::Conditions;
use hafen_client::wire::{
    Lease, List, Machine, MachineCreated, MachineInstance, MachinePatch, MachineState, NetworkCreate,
    Operation, OperationStatus, ProjectPut, SnapshotCreate,
};
use hafen_machines::engine::sim::Faults;
use http::{Request, StatusCode, header};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::app::{App, Ground, TOKEN, image, machine};

fn plain() -> Conditions {
    Conditions::default()
}

fn leased(nonce: &str) -> Conditions {
    Conditions { lease_nonce: Some(nonce.to_owned()), ..Conditions::default() }
}

/// Status, `Location`, `ETag` and body of one request.
async fn answer(app: &App, method: &str, path: &str, body: &str) -> (StatusCode, String, String, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let answer = app.router.clone().oneshot(request).await.unwrap();
    let text = |name| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let (status, location, etag) = (answer.status(), text(header::LOCATION), text(header::ETAG));
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, location, etag, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_answers_at_once_and_actions_name_their_operation() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let body = serde_json::to_string(&machine("a")).unwrap();
    let (status, location, etag, text) = answer(&app, "POST", "/api/v1/projects/p/machines", &body).await;
    assert_eq!((status, location.as_str()), (StatusCode::CREATED, "/api/v1/projects/p/machines/a"));
    let created: Machine = serde_json::from_str(&text).unwrap();
    assert_eq!((created.state, etag), (MachineState::Creating, "\"g1\"".to_owned()));
    // A read sees the write before it.
    assert_eq!(app.client.machine_get("p", "a").await.unwrap().id, created.id);
    app.wait("p", "a", "started").await.unwrap();

    let (status, location, _, text) = answer(&app, "POST", "/api/v1/projects/p/machines/a/stop", "{}").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let stopping: Machine = serde_json::from_str(&text).unwrap();
    assert_eq!(location, format!("/api/v1/operations/{}", stopping.operation.unwrap()));
    let ended: Operation = app.client.get(&format!("{location}/wait?timeout=60")).await.unwrap();
    assert_eq!((ended.status, ended.status_code), (OperationStatus::Succeeded, 200));
    assert_eq!(ended.resources, ["machine/a"]);
    let refused = app.client.operation_cancel(&ended.id.to_string()).await.unwrap();
    assert_eq!(refused.status, OperationStatus::Succeeded, "an ended operation stays as it ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_at_its_timeout_with_what_is_there_instead() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "a").await;
    let (status, _, _, text) =
        answer(&app, "GET", "/api/v1/projects/p/machines/a/wait?for=stopped&timeout=1", "").await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{text}");
    assert!(text.contains("is started") && text.contains("not stopped"), "{text}");
    let settled = app.wait("p", "a", "settled").await.unwrap();
    assert_eq!(settled.state, MachineState::Started);
    for wrong in ["for=flying", "for=started&timeout=0", "for=started&timeout=61", "timeout=1"] {
        let path = format!("/api/v1/projects/p/machines/a/wait?{wrong}");
        assert_eq!(answer(&app, "GET", &path, "").await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_covers_every_mutation_from_the_creation_to_its_end() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let mut body = machine("a");
    body.lease_ttl = Some(600);
    let created: MachineCreated = app.client.machine_create("p", &body, &plain()).await.unwrap();
    let lease = created.lease.unwrap();
    app.wait("p", "a", "started").await.unwrap();
    let at = "/api/v1/projects/p/machines/a";
    for (method, path, body) in [
        ("POST", format!("{at}/stop"), "{}".to_owned()),
        ("POST", format!("{at}/start"), "{}".to_owned()),
        ("POST", format!("{at}/restart"), "{}".to_owned()),
        ("POST", format!("{at}/rebuild"), "{}".to_owned()),
        ("POST", format!("{at}/resize"), "{\"cpus\":2}".to_owned()),
        ("POST", format!("{at}/snapshots"), "{\"name\":\"s\"}".to_owned()),
        ("POST", format!("{at}/lease"), "{\"ttl\":5}".to_owned()),
        ("DELETE", format!("{at}/lease"), String::new()),
        ("PATCH", at.to_owned(), "{\"cordoned\":true}".to_owned()),
        ("PUT", at.to_owned(), format!("{{\"spec\":{}}}", serde_json::to_string(&body.spec).unwrap())),
        ("DELETE", at.to_owned(), String::new()),
    ] {
        let (status, _, _, text) = answer(&app, method, &path, &body).await;
        assert!(status == StatusCode::CONFLICT && text.contains("\"leased\""), "{method} {path}: {text}");
    }
    let snapshot = SnapshotCreate { name: "s".into() };
    let operation = app.client.snapshot_create("p", "a", &snapshot, &leased(&lease.nonce)).await.unwrap();
    app.client.operation_wait(&operation.id.to_string(), Duration::from_secs(60)).await.unwrap();
    for (method, path) in [("POST", "snapshots/s/restore"), ("DELETE", "snapshots/s")] {
        let (status, _, _, text) = answer(&app, method, &format!("{at}/{path}"), "").await;
        assert!(status == StatusCode::CONFLICT && text.contains("\"leased\""), "{method} {path}: {text}");
    }
    // Its holder renews it; reads need none.
    let renewed: Lease = app
        .client
        .post(&format!("{at}/lease"), &serde_json::json!({ "ttl": 3600 }), &leased(&lease.nonce))
        .await
        .unwrap();
    assert!(renewed.nonce == lease.nonce && renewed.expires_at > lease.expires_at);
    app.client.machine_get("p", "a").await.unwrap();
    // Given back, the nonce is worth nothing, and others may act.
    app.client.delete::<()>(&format!("{at}/lease"), &leased(&lease.nonce)).await.unwrap();
    let late = app.client.machine_action("p", "a", "stop", &leased(&lease.nonce)).await.unwrap_err();
    assert_eq!((late.kind(), late.code()), (ErrorKind::Conflict, "lease_ended"));
    app.client.machine_action("p", "a", "stop", &plain()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_instances_read_replaced_on_both_databases() {
    for (backend, database) in hafen_db::testing::both() {
        let ground = Ground::new(database, Default::default());
        let app = App::start(&ground).await;
        app.prepare("p").await;
        let first = app.machine("p", "a").await;
        let path = "/api/v1/projects/p/machines/a/instances";
        let only: List<MachineInstance> = app.client.get(path).await.unwrap();
        assert_eq!(only.items.len(), 1, "{backend}");
        assert_eq!((only.items[0].instance_id, only.items[0].state.as_str()), (first.instance_id, "current"));
        let grow = hafen_client::wire::MachineResize { cpus: Some(3), ..Default::default() };
        app.client.machine_resize("p", "a", &grow, &plain()).await.unwrap();
        let second = app.wait("p", "a", "started").await.unwrap();
        app.client.machine_action("p", "a", "rebuild", &plain()).await.unwrap();
        let third = app.wait("p", "a", "started").await.unwrap();
        let all: List<MachineInstance> = app.client.get(path).await.unwrap();
        let seen: Vec<_> =
            all.items.iter().map(|one| (one.instance_id, one.state.as_str(), one.spec.cpus)).collect();
        let expected = [
            (third.instance_id, "current", 3),
            (second.instance_id, "replaced", 3),
            (first.instance_id, "replaced", 1),
        ];
        assert_eq!(seen, expected, "{backend}");
        assert!(all.items[1].replaced_at >= all.items[2].replaced_at && all.items[2].replaced_at.is_some());
        // Restart and metadata are no new configuration.
        app.client.machine_action("p", "a", "restart", &plain()).await.unwrap();
        app.wait("p", "a", "started").await.unwrap();
        assert_eq!(app.client.get::<List<MachineInstance>>(path).await.unwrap().items.len(), 3, "{backend}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn launch_and_registration_can_be_left_for_later() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let mut body = machine("a");
    (body.skip_launch, body.skip_registration, body.group) = (true, true, Some("web".into()));
    app.client.machine_create("p", &body, &plain()).await.unwrap();
    let made = app.wait("p", "a", "settled").await.unwrap();
    assert_eq!((made.state, made.cordoned), (MachineState::Stopped, true));
    let port =
        hafen_client::wire::PublicationPut { host: "127.0.0.1:18081".into(), group: "web".into(), port: 80 };
    app.client.publication_put("p", "web-80", &port).await.unwrap();
    app.client.machine_action("p", "a", "start", &plain()).await.unwrap();
    assert!(app.wait("p", "a", "healthy").await.unwrap().cordoned);
    let backends = async || {
        let path = "/api/v1/projects/p/publications/web-80";
        let seen: hafen_client::wire::Publication = app.client.get(path).await.unwrap();
        (seen.state == "ready").then_some(seen.backends)
    };
    assert_eq!(app.until("the port is published", backends).await, Vec::<String>::new());
    let patch = MachinePatch { cordoned: Some(false), ..MachinePatch::default() };
    app.client.machine_patch("p", "a", &patch, &plain()).await.unwrap();
    app.until("traffic comes", async || backends().await.filter(|seen| seen.len() == 1)).await;
}

/// The same request many times at once acts once, and every caller gets the one answer.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_at_the_same_time_act_once_on_both_databases() {
    for (backend, database) in hafen_db::testing::both() {
        let ground = Ground::new(database, Default::default());
        let app = App::start(&ground).await;
        app.prepare("p").await;
        let mut tasks = JoinSet::new();
        for index in 0..16 {
            let client = app.client.clone();
            // One of them is another request under the same key.
            let name = if index == 7 { "b" } else { "a" };
            tasks.spawn(async move {
                (name, client.machine_create("p", &machine(name), &Conditions::key("same")).await)
            });
        }
        let (mut ids, mut refused) = (Vec::new(), Vec::new());
        while let Some(outcome) = tasks.join_next().await {
            match outcome.unwrap() {
                (name, Ok(created)) => ids.push((name, created.machine.id)),
                (name, Err(error)) => refused.push((name, error.code().to_owned())),
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{backend}: {ids:?} {refused:?}");
        assert!(
            refused.iter().all(|(name, code)| *name != ids[0].0 && code == "idempotency_key_reused"),
            "{refused:?}"
        );
        assert_eq!(app.client.machine_list("p").await.unwrap().len(), 1, "{backend}");
    }
}

/// What reads before it writes must not be overtaken: names, subnets, and "nothing is in it any more".
#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_never_break_a_rule_on_both_databases() {
    for (backend, database) in hafen_db::testing::both() {
        let ground = Ground::new(database, Default::default());
        let app = App::start(&ground).await;
        let mut tasks = JoinSet::new();
        for index in 0..24 {
            let client = app.client.clone();
            tasks.spawn(async move {
                client.project_put("p", &ProjectPut::default()).await?;
                client.image_create("p", &image("web"), &Conditions::default()).await?;
                let name = format!("n{}", index % 8);
                let network = NetworkCreate { name, egress: Default::default(), subnet: None };
                client.network_create("p", &network, &Conditions::default()).await.map(drop)
            });
        }
        let mut taken = 0;
        while let Some(outcome) = tasks.join_next().await {
            match outcome.unwrap() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => taken += 1,
                Err(error) => panic!("{backend}: {error:?}"),
            }
        }
        assert_eq!(taken, 16, "{backend}: each of eight names is made once");
        let networks = app.client.network_list("p").await.unwrap();
        let subnets: std::collections::BTreeSet<_> = networks.iter().map(|one| one.subnet.clone()).collect();
        assert_eq!((networks.len(), subnets.len()), (8, 8), "{backend}: no subnet twice");

        // A machine moves in while its network is destroyed: one of the two is refused.
        let mut tasks = JoinSet::new();
        for index in 0..8 {
            let (mover, breaker) = (app.client.clone(), app.client.clone());
            let network = format!("n{index}");
            let mut body = machine(&format!("m{index}"));
            body.spec.network.clone_from(&network);
            tasks.spawn(async move {
                let unkeyed = Conditions::default();
                let (moved, broken) = tokio::join!(
                    mover.machine_create("p", &body, &unkeyed),
                    breaker.network_delete("p", &network),
                );
                (moved.is_ok(), broken.is_ok())
            });
        }
        while let Some(outcome) = tasks.join_next().await {
            let (moved, broken) = outcome.unwrap();
            assert!(moved != broken, "{backend}: moved in {moved}, destroyed {broken}");
        }
    }
}

/// The limits that docs/reference/limits.md publishes.
#[tokio::test(flavor = "multi_thread")]
async fn no_transient_state_lasts_longer_than_published() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    for (action, state, minutes) in [
        ("start", "starting", 5),
        ("stop", "stopping", 5),
        ("restart", "starting", 5),
        ("rebuild", "updating", 10),
        ("delete", "destroying", 5),
    ] {
        app.machine("p", action).await;
        if action == "start" {
            app.client.machine_action("p", action, "stop", &plain()).await.unwrap();
            app.wait("p", action, "stopped").await.unwrap();
        }
        ground.world.set_faults(Faults { fails: 1.0, ..Faults::default() });
        let began = crate::app::now(&ground);
        let asked = match action {
            "delete" => app.client.machine_delete("p", action, &plain()).await.unwrap(),
            _ => app.client.machine_action("p", action, action, &plain()).await.unwrap(),
        };
        assert_eq!(asked.state.as_str(), state);
        let failed = app
            .until(&format!("{action} is given up"), async || {
                ground.clock.step(Duration::from_secs(5));
                let now = app.client.machine_get("p", action).await.unwrap();
                assert!(
                    now.state.as_str() == state || now.state == MachineState::Failed,
                    "{action}: {now:?}"
                );
                (now.state == MachineState::Failed).then_some(now)
            })
            .await;
        assert!(
            failed.reason.starts_with(&format!("{state} for more than {minutes} minutes")),
            "{}",
            failed.reason
        );
        // Who waits is told at once, not at the timeout.
        let wanted = if action == "stop" { "stopped" } else { "destroyed" };
        assert_eq!(app.wait("p", action, wanted).await.unwrap_err().code(), "machine_failed", "{action}");
        let took = failed.updated_at.since(began);
        // The clock of these tests runs ahead in jumps.
        assert!(took.as_secs() >= minutes * 60 && took.as_secs() < minutes * 60 + 180, "{action}: {took:?}");
        let operation = app.client.operation_get(&asked.operation.unwrap().to_string()).await.unwrap();
        assert_eq!(operation.status, OperationStatus::Failed, "{action}");
        let events = app.client.event_list(0, 1000).await.unwrap().items;
        let object = format!("machine/{action}");
        assert!(events.iter().any(|one| one.kind == "machine.failed" && one.object == object), "{action}");

        // Reality is well again, and somebody asks once more.
        ground.world.set_faults(Faults::default());
        match action {
            "delete" => {
                let _gone = app.client.machine_delete("p", action, &plain()).await;
                app.until("it is gone", async || {
                    app.client
                        .machine_get("p", action)
                        .await
                        .is_err_and(|e| e.kind() == ErrorKind::NotFound)
                        .then_some(())
                })
                .await;
            }
            "stop" => {
                app.client.machine_action("p", action, "stop", &plain()).await.unwrap();
                app.wait("p", action, "stopped").await.unwrap();
            }
            _ => {
                app.client.machine_action("p", action, "start", &plain()).await.unwrap();
                app.wait("p", action, "started").await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_long_ago_is_forgotten_and_nothing_else_on_both_databases() {
    for (backend, database) in hafen_db::testing::both() {
        let ground = Ground::new(database, Faults::default());
        let app = App::start(&ground).await;
        app.prepare("p").await;
        let key = Conditions::key("k");
        let created = app.client.machine_create("p", &machine("a"), &key).await.unwrap().machine;
        app.wait("p", "a", "started").await.unwrap();
        let operation = created.operation.unwrap().to_string();
        ground.clock.step(Duration::from_secs(20 * 3600));
        // A day has not passed: the key still stands for that machine.
        let other = app.client.machine_create("p", &machine("b"), &key).await.unwrap_err();
        assert_eq!(other.code(), "idempotency_key_reused", "{backend}");
        ground.clock.step(Duration::from_secs(9 * 3600));
        app.until("the key is free", async || app.client.machine_create("p", &machine("b"), &key).await.ok())
            .await;
        assert_eq!(app.client.operation_get(&operation).await.unwrap().status, OperationStatus::Succeeded);
        ground.clock.step(Duration::from_secs(30 * 24 * 3600));
        app.until("the operation is forgotten", async || app.client.operation_get(&operation).await.err())
            .await;
        let still = app.wait("p", "a", "started").await.unwrap();
        assert_eq!((still.id, still.restarts), (created.id, 0), "{backend}");
    }
}

/// A reader that was away for so long that events are gone must learn of it: it would else believe it saw everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_whose_events_are_gone_is_refused() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "a").await;
    let db =
        hafen_db::Db::open(&ground.location, "machines", hafen_machines::store::MIGRATIONS).await.unwrap();
    let mut tx = db.write().await.unwrap();
    hafen_db::sqlx::query("DELETE FROM event WHERE seq <= 4").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    for (after, status) in [(0, 200), (1, 412), (3, 412), (4, 200), (5, 200), (i64::MAX, 200)] {
        let (got, _, _, text) = answer(&app, "GET", &format!("/api/v1/events?after={after}"), "").await;
        assert_eq!(got.as_u16(), status, "{after}: {text}");
        assert_eq!(text.contains("events_dropped"), status == 412, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_not_put_back_under_a_machine_that_changes() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "a").await;
    let wait = async |operation: Operation| {
        app.client.operation_wait(&operation.id.to_string(), Duration::from_secs(60)).await.unwrap()
    };
    for name in ["s", "t"] {
        let body = SnapshotCreate { name: name.into() };
        wait(app.client.snapshot_create("p", "a", &body, &plain()).await.unwrap()).await;
    }
    app.client.machine_action("p", "a", "stop", &plain()).await.unwrap();
    app.wait("p", "a", "stopped").await.unwrap();
    ground.world.set_faults(Faults { latency_ms: 3_600_000, ..Faults::default() });
    let restore = app.client.snapshot_restore("p", "a", "s", &plain()).await.unwrap();
    for action in ["start", "restart", "rebuild"] {
        let error = app.client.machine_action("p", "a", action, &plain()).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "restoring"), "{action}");
    }
    let second = app.client.snapshot_restore("p", "a", "t", &plain()).await.unwrap_err();
    assert_eq!(second.code(), "restoring");
    ground.world.set_faults(Faults::default());
    ground.clock.step(Duration::from_secs(7200));
    assert_eq!(wait(restore).await.status, OperationStatus::Succeeded);
    app.client.machine_action("p", "a", "start", &plain()).await.unwrap();
    app.wait("p", "a", "started").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_cancelled_is_and_what_may_not_says_so() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "a").await;
    ground.world.set_faults(Faults { latency_ms: 3_600_000, ..Faults::default() });
    let building = app.client.image_create("p", &image("slow"), &plain()).await.unwrap();
    let build = app.client.operation_get(&building.operation.unwrap().to_string()).await.unwrap();
    assert!(build.may_cancel && build.status == OperationStatus::Running);
    app.client.operation_cancel(&build.id.to_string()).await.unwrap();
    let ended = app.client.operation_wait(&build.id.to_string(), Duration::from_secs(60)).await.unwrap();
    assert_eq!((ended.status, ended.status_code), (OperationStatus::Cancelled, 401));
    assert_eq!(app.client.image_get("p", "slow").await.unwrap().state, "failed");

    let stopping = app.client.machine_action("p", "a", "stop", &plain()).await.unwrap();
    let stop = app.client.operation_get(&stopping.operation.unwrap().to_string()).await.unwrap();
    assert!(!stop.may_cancel);
    let refused = app.client.operation_cancel(&stop.id.to_string()).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.message().contains("opposite"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_whole_however_they_are_written() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "a").await;
    let path = "/api/v1/projects/p/machines/a/lease";
    assert_eq!(answer(&app, "POST", path, "{\"ttl\": 5.0}").await.0, StatusCode::CREATED);
    for wrong in [
        "{\"ttl\": 5.5}",
        "{\"ttl\": 1e300}",
        "{\"ttl\": \"5\"}",
        "{\"ttl\": 5.0, \"x\": 1}",
        "{\"ttl\": 5} 6",
    ] {
        let (status, _, _, text) = answer(&app, "POST", path, wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {text}");
    }
}
