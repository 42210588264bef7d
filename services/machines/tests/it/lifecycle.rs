//! What a machine goes through.

use std::time::Duration;

use hafen_base::ErrorKind;
use hafen_client::Conditions;
use hafen_client::wire::{
    MachinePut, MachineResize, MachineState, ProjectPut, PublicationPut, SnapshotCreate,
};
use hafen_machines::engine::sim::Faults;

use crate::app::{App, Ground, health, image, machine, now, spec};

fn plain() -> Conditions {
    Conditions::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_lives_on_both_databases() {
    for (backend, database) in hafen_db::testing::both() {
        let ground = Ground::new(database, Faults::default());
        let app = App::start(&ground).await;
        app.prepare("p").await;
        let first = app.machine("p", "a").await;
        assert!(first.healthy && first.boot_id.is_some() && first.image_digest.is_some(), "{backend}");
        // Start of a started machine does nothing.
        let same = app.client.machine_action("p", "a", "start", &plain()).await.unwrap();
        assert_eq!(same.generation, first.generation, "{backend}");

        app.client.machine_action("p", "a", "stop", &plain()).await.unwrap();
        app.wait("p", "a", "stopped").await.unwrap();
        app.client.machine_action("p", "a", "start", &plain()).await.unwrap();
        let started = app.wait("p", "a", "started").await.unwrap();
        assert_ne!(started.boot_id, first.boot_id, "{backend}");
        assert_eq!((started.id, started.instance_id), (first.id, first.instance_id), "{backend}");

        app.client.machine_action("p", "a", "restart", &plain()).await.unwrap();
        let restarted = app.wait("p", "a", "started").await.unwrap();
        assert_ne!(restarted.boot_id, started.boot_id, "{backend}");

        let grow = MachineResize { memory: Some(1 << 30), ..MachineResize::default() };
        app.client.machine_resize("p", "a", &grow, &plain()).await.unwrap();
        let resized = app.wait("p", "a", "started").await.unwrap();
        assert_eq!((resized.id, resized.spec.memory), (first.id, 1 << 30), "{backend}");
        assert_ne!(resized.instance_id, first.instance_id, "{backend}");
        assert_eq!(resized.ssh_host_key, first.ssh_host_key, "{backend}: the disk is kept");
        let shrink = MachineResize { disk: Some(1 << 30), ..MachineResize::default() };
        let error = app.client.machine_resize("p", "a", &shrink, &plain()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{backend}");

        app.client.machine_action("p", "a", "rebuild", &plain()).await.unwrap();
        let rebuilt = app.wait("p", "a", "started").await.unwrap();
        assert_ne!(rebuilt.ssh_host_key, first.ssh_host_key, "{backend}: a new disk");
        assert_eq!(rebuilt.address, first.address, "{backend}");

        // The old instance reads replaced.
        let path =
            format!("/api/v1/projects/p/machines/a/wait?for=started&instance_id={}", first.instance_id);
        let error = app.client.get::<hafen_client::wire::Machine>(&path).await.unwrap_err();
        assert_eq!(error.code(), "replaced", "{backend}");

        app.client.machine_delete("p", "a", &plain()).await.unwrap();
        app.until("the machine is gone", async || {
            (app.client.machine_get("p", "a").await.is_err_and(|e| e.kind() == ErrorKind::NotFound))
                .then_some(())
        })
        .await;
        assert!(ground.world.machines(|m| m.config.id).is_empty(), "{backend}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_adopts_running_machines() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let before = app.machine("p", "a").await;
    drop(app);
    let app = App::start(&ground).await;
    let after = app.wait("p", "a", "started").await.unwrap();
    assert_eq!(before.boot_id, after.boot_id);
    assert_eq!(before.generation, after.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_dies_comes_back_and_says_so() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let before = app.machine("p", "a").await;
    let died_at = now(&ground);
    ground.world.kill(before.id);
    let after = app
        .until("another boot", async || {
            let machine = app.client.machine_get("p", "a").await.unwrap();
            (machine.state == MachineState::Started && machine.boot_id != before.boot_id).then_some(machine)
        })
        .await;
    assert_eq!(after.restarts, 1);
    assert!(after.updated_at.since(died_at).as_secs() < 10, "{:?}", after.updated_at.since(died_at));
    let events = app.client.event_list(0, 1000).await.unwrap().items;
    assert!(events.iter().any(|event| event.kind == "machine.died" && event.message.contains("restart 1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_cannot_be_made_fails_early_with_its_reason() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "good").await;
    ground.world.set_faults(Faults { fails: 1.0, ..Faults::default() });
    app.client.machine_create("p", &machine("bad"), &plain()).await.unwrap();
    let error = app
        .until("the wait ends early", async || {
            // Only the steps take it to its limit: a wait of a simulated minute would take seconds of ours each time.
            ground.clock.step(Duration::from_secs(30));
            match app.client.machine_wait("p", "bad", "started", Duration::from_secs(1)).await {
                Err(error) if error.kind() == ErrorKind::Timeout => None,
                other => Some(other.unwrap_err()),
            }
        })
        .await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "machine_failed"));
    assert!(
        error.message().contains("10 minutes") && error.message().contains("was not carried out"),
        "{error}"
    );
    // The reality got better, and somebody asks again.
    ground.world.set_faults(Faults::default());
    app.client.machine_action("p", "bad", "start", &plain()).await.unwrap();
    app.wait("p", "bad", "started").await.unwrap();
}

/// Deletes machine `a` under these faults until it is told failed, and gives the reason; then the faults end, and it must
/// go by itself.
async fn delete_under(faults: Faults) -> String {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "a").await;
    ground.world.set_faults(faults);
    app.client.machine_delete("p", "a", &plain()).await.unwrap();
    let seen = async |state: MachineState| {
        app.until("the reason is told", async || {
            ground.clock.step(Duration::from_secs(30));
            let machine = app.client.machine_get("p", "a").await.unwrap();
            (machine.state == state && !machine.reason.is_empty()).then_some(machine.reason)
        })
        .await
    };
    if faults.fails > 0.0 {
        let reason = seen(MachineState::Destroying).await;
        assert!(reason.contains("machine_delete was not carried out"), "{reason}");
    }
    let reason = seen(MachineState::Failed).await;
    ground.world.set_faults(Faults::default());
    app.until("the machine is gone", async || {
        ground.clock.step(Duration::from_secs(30));
        (app.client.machine_get("p", "a").await.is_err_and(|error| error.kind() == ErrorKind::NotFound))
            .then_some(())
    })
    .await;
    assert!(ground.world.machines(|machine| machine.config.id).is_empty());
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_cannot_be_deleted_says_why_and_goes_once_it_can() {
    let reason = delete_under(Faults { fails: 1.0, ..Faults::default() }).await;
    assert!(reason.contains("5 minutes") && reason.contains("was not carried out"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_hangs_is_given_up_and_tried_again() {
    let day = Faults { latency_ms: 24 * 3600 * 1000, ..Faults::default() };
    let reason = delete_under(day).await;
    assert!(reason.contains("5 minutes") && reason.contains("did not answer in time"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_goes_to_healthy_machines_only() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let mut ids = Vec::new();
    for name in ["web-1", "web-2"] {
        let mut body = machine(name);
        body.group = Some("web".into());
        body.health = Some(health());
        ids.push(app.client.machine_create("p", &body, &plain()).await.unwrap().machine.id);
    }
    let put = PublicationPut { host: "127.0.0.1:8081".into(), group: "web".into(), port: 80 };
    let publication = app.client.publication_put("p", "web", &put).await.unwrap();
    let backends = async |count: usize| {
        app.until("backends", async || {
            let all = ground.world.backends(publication.id).unwrap_or_default();
            (all.len() == count).then_some(all)
        })
        .await
    };
    backends(2).await;
    ground.world.set_silent(ids[0], true);
    backends(1).await;
    ground.world.set_silent(ids[0], false);
    backends(2).await;
    let cordon = hafen_client::wire::MachinePatch { cordoned: Some(true), ..Default::default() };
    app.client.machine_patch("p", "web-2", &cordon, &plain()).await.unwrap();
    backends(1).await;
    let second = app.client.publication_put("p", "other", &put).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Conflict, "a host port is published once");
    app.client.publication_delete("p", "web").await.unwrap();
    app.until("unpublished", async || ground.world.backends(publication.id).is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_spec_makes_a_new_instance_and_metadata_does_not() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let first = app.machine("p", "a").await;
    let mut put = MachinePut { spec: spec(), group: None, metadata: Default::default(), health: None };
    put.metadata.insert("team".into(), "x".into());
    let patched = app.client.machine_put("p", "a", &put, &plain()).await.unwrap();
    assert_eq!(patched.instance_id, first.instance_id);
    let settled = app.wait("p", "a", "settled").await.unwrap();
    assert_eq!(settled.boot_id, first.boot_id);
    put.spec.cpus = 2;
    let changed = app.client.machine_put("p", "a", &put, &plain()).await.unwrap();
    assert_ne!(changed.instance_id, first.instance_id);
    let settled = app.wait("p", "a", "started").await.unwrap();
    assert_ne!(settled.boot_id, first.boot_id);
    assert_eq!(settled.address, first.address);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_made_and_put_back() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "a").await;
    let wait = async |id: hafen_base::OperationId| {
        app.client.operation_wait(&id.to_string(), Duration::from_secs(60)).await.unwrap()
    };
    let operation =
        app.client.snapshot_create("p", "a", &SnapshotCreate { name: "s".into() }, &plain()).await.unwrap();
    assert_eq!(wait(operation.id).await.error, "");
    let error = app.client.snapshot_restore("p", "a", "s", &plain()).await.unwrap_err();
    assert!(error.message().contains("stop it before"), "{error}");
    app.client.machine_action("p", "a", "stop", &plain()).await.unwrap();
    app.wait("p", "a", "stopped").await.unwrap();
    let operation = app.client.snapshot_restore("p", "a", "s", &plain()).await.unwrap();
    assert_eq!(wait(operation.id).await.error, "");
    assert_eq!(app.client.snapshot_list("p", "a").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_is_not_deleted() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "a").await;
    assert_eq!(app.client.project_delete("p").await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(app.client.network_delete("p", "backend").await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(app.client.image_delete("p", "web").await.unwrap_err().kind(), ErrorKind::Conflict);
    let report = app.client.image_gc(&hafen_client::wire::ImageGc { dry_run: false }).await.unwrap();
    assert!(report.removed.is_empty());
    app.client.project_put("q", &ProjectPut::default()).await.unwrap();
    app.client.project_delete("q").await.unwrap();
    let again = app.client.image_create("p", &image("web"), &plain()).await.unwrap();
    assert_eq!(again.generation, 1, "the same source is no new build");
}
