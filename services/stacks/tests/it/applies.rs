//! Applies: order, failures, cancelling, lost requests and answers.

use std::time::Duration;

use proptest::prelude::*;

use crate::fake::{BROKEN, Fake, Faults, SICK};
use crate::manifest::{GroupForm, Manifest, group, hello};
use crate::service::{Service, lines};

#[tokio::test]
async fn everything_is_made_in_order_and_goes_in_the_reverse() {
    let service = Service::new().await;
    let mut manifest = hello(2);
    manifest.groups.insert("db".into(), group(None));
    manifest.group("web").depends_on = vec!["db".into()];
    let apply = service.apply_well(&manifest).await;
    assert!(
        apply.steps.iter().all(|step| step.status == "done" && step.took_ms.is_some()),
        "{:?}",
        lines(&apply)
    );
    let at = |service: &Service, what: &str| {
        let world = service.fake.world();
        world.log.iter().position(|line| line == what).unwrap_or_else(|| panic!("{what}: {:?}", world.log))
    };
    assert_eq!(at(&service, "project.put"), 0);
    assert!(at(&service, "image.make web") < at(&service, "machine.create db"));
    assert!(at(&service, "network.create backend") < at(&service, "machine.create db"));
    assert!(at(&service, "machine.create db") < at(&service, "machine.create web-1"));
    assert!(at(&service, "machine.create web-2") < at(&service, "publication.put web-80"));
    service.assert_reached(&manifest).await;

    service.fake.world().log.clear();
    let plan = service.plan_destroy().await;
    let apply = service.begin(plan).await.unwrap();
    assert_eq!(service.end(&apply).await.status, "succeeded");
    assert!(at(&service, "publication.delete web-80") < at(&service, "machine.delete web-1"));
    assert!(at(&service, "machine.delete web-2") < at(&service, "machine.delete db"));
    assert!(at(&service, "machine.delete db") < at(&service, "network.delete backend"));
    assert!(at(&service, "image.delete web") < at(&service, "project.delete"));
    assert!(service.fake.world().project.is_none());
    let gone = service.stacks.stack_view("hello").await.unwrap_err();
    assert_eq!(gone.kind(), hafen_base::ErrorKind::NotFound);
    // And again from nothing.
    service.apply_well(&manifest).await;
    service.assert_reached(&manifest).await;
}

#[tokio::test]
async fn a_failure_says_what_was_done_what_not_and_why_and_holds_up_no_other_branch() {
    let service = Service::new().await;
    let mut manifest = hello(2);
    manifest.groups.insert("bad".into(), GroupForm { user_data: Some(BROKEN.into()), ..group(None) });
    manifest.groups.insert("after".into(), GroupForm { depends_on: vec!["bad".into()], ..group(None) });
    let apply = service.apply(&manifest).await;
    assert_eq!(apply.status, "failed");
    assert_eq!(
        lines(&apply),
        [
            "create project.hello: done",
            "create network.backend: done",
            "create image.web: done",
            "create machine.after: skipped",
            "create machine.bad: failed",
            "create machine.web-1: done",
            "create machine.web-2: done",
            "create publication.web-80: done",
        ]
    );
    let of = |address: &str| apply.steps.iter().find(|step| step.address == address).unwrap().message.clone();
    let failed = of("machine.bad");
    assert!(failed.contains("the guest did not come up"), "{failed}");
    assert!(failed.contains("bad console line 1\n") && failed.contains("bad console line 20"), "{failed}");
    assert_eq!(of("machine.after"), "not begun, because machine.bad failed");
    assert!(apply.error.starts_with("6 steps done, 1 failed, 1 not begun; machine.bad: "), "{}", apply.error);

    // Mended: only what is missing is done.
    manifest.group("bad").user_data = None;
    let made = service.fake.world().made;
    service.apply_well(&manifest).await;
    assert_eq!(service.fake.world().made, made + 1, "only machine.after is new");
    service.assert_reached(&manifest).await;
}

#[tokio::test]
async fn who_watches_is_told_of_each_step_in_order_and_nothing_of_it_is_kept() {
    let service = Service::new().await;
    let mut manifest = hello(2);
    manifest.groups.insert("bad".into(), GroupForm { user_data: Some(BROKEN.into()), ..group(None) });
    let apply = service.apply(&manifest).await;
    let (notes, last) = service.stacks.progress().read(0).unwrap();
    assert_eq!(notes.len() as u64, last);
    let object = format!("apply/{}", apply.id);
    assert!(
        notes
            .iter()
            .all(|note| note.project == "hello" && note.object == object && note.kind == "apply.step")
    );
    assert!(notes.is_sorted_by_key(|note| note.at));
    let at = |what: &str| {
        let found = notes.iter().position(|note| note.message.starts_with(what));
        found.unwrap_or_else(|| panic!("{what}: {notes:#?}"))
    };
    for address in ["project.hello", "network.backend", "image.web", "machine.web-1", "publication.web-80"] {
        assert!(at(&format!("{address}: running")) < at(&format!("{address}: done")), "{address}");
    }
    assert!(at("image.web: done") < at("machine.web-1: running"));
    assert!(at("machine.web-2: done") < at("publication.web-80: running"));
    let failed = &notes[at("machine.bad: failed: ")].message;
    assert!(failed.contains("the guest did not come up") && !failed.contains("console line"), "{failed}");
    // What is kept is the beginning and the end.
    let kept = service.stacks.events().read(0, 100, None).await.unwrap();
    assert_eq!(
        kept.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["apply.started", "apply.failed"]
    );
    assert!(notes[notes.len() - 1].at <= kept[1].at);
}

#[tokio::test]
async fn a_failed_image_skips_its_machines_and_is_built_again_when_mended() {
    let service = Service::new().await;
    let mut manifest = hello(2);
    manifest.images.insert("web".into(), BROKEN.into());
    let apply = service.apply(&manifest).await;
    assert_eq!(apply.status, "failed");
    assert!(apply.error.contains("image.web: it failed: there is no such package"), "{}", apply.error);
    assert!(service.fake.world().machines.is_empty());
    service.apply_well(&hello(2)).await;
    service.assert_reached(&hello(2)).await;
}

#[tokio::test]
async fn a_machine_that_never_becomes_healthy_is_a_failure_with_the_probes_answer() {
    let service = Service::open(std::sync::Arc::new(hafen_db::testing::sqlite()), Fake::new(), 2000).await;
    let mut manifest = hello(1);
    manifest.group("web").user_data = Some(SICK.into());
    let apply = service.apply(&manifest).await;
    assert_eq!(apply.status, "failed");
    assert!(apply.error.contains("not healthy after 300 s: GET / answers 502"), "{}", apply.error);
}

#[tokio::test]
async fn one_apply_of_a_project_runs_at_a_time_and_can_be_cancelled() {
    let service = Service::new().await;
    let mut manifest = hello(40);
    manifest.groups.insert("later".into(), GroupForm { depends_on: vec!["web".into()], ..group(5) });
    // The network never comes: the apply runs until it is cancelled.
    service.fake.world().faults = Faults { lose_request: 1, ..Faults::default() };
    let plan = service.plan(&manifest).await;
    let apply = service.begin(plan.clone()).await.unwrap();
    let busy = service.begin(plan.clone()).await.unwrap_err();
    assert_eq!((busy.kind(), busy.code()), (hafen_base::ErrorKind::Conflict, "apply_running"));
    let follow = format!("hafen operation wait {} -p hello", apply.id);
    assert!(busy.message().contains(&follow), "{busy}");
    let other = service.plan(&manifest).await;
    assert!(other.warnings.iter().any(|warning| warning.contains("runs just now")), "{:?}", other.warnings);
    let id = apply.id.to_string();
    service.stacks.apply_cancel("hello", &id).await.unwrap();
    service.fake.revive();
    let apply = service.end(&apply).await;
    assert_eq!(apply.status, "cancelled", "{:#?}", lines(&apply));
    assert!(apply.steps.iter().any(|step| step.status == "skipped"));
    // To cancel twice is the same as once; and what is left can be applied.
    service.stacks.apply_cancel("hello", &id).await.unwrap();
    service.apply_well(&manifest).await;
    service.assert_reached(&manifest).await;
    let done =
        service.stacks.apply_list("hello", "", hafen_base::PageLimit::new(None).unwrap()).await.unwrap();
    assert_eq!(done.items.len(), 2);
    let late = service.stacks.apply_cancel("hello", &done.items[0].id.to_string()).await.unwrap_err();
    assert_eq!(late.kind(), hafen_base::ErrorKind::Conflict);
}

#[tokio::test]
async fn a_wait_that_is_too_short_says_so() {
    let service = Service::new().await;
    service.fake.world().faults = Faults { lose_request: 1, ..Faults::default() };
    let apply = service.begin(service.plan(&hello(1)).await).await.unwrap();
    let late = service
        .stacks
        .apply_wait("hello", &apply.id.to_string(), Duration::from_millis(100))
        .await
        .unwrap_err();
    assert_eq!(late.kind(), hafen_base::ErrorKind::Timeout);
    service.fake.revive();
    assert_eq!(service.end(&apply).await.status, "succeeded");
}

#[tokio::test]
async fn what_waits_for_room_is_made_once_something_went() {
    let service = Service::new().await;
    let mut manifest = hello(3);
    manifest.quota = Some(3);
    service.apply_well(&manifest).await;
    // Two go, two come, and there is never room for more than three.
    manifest.group("web").count = Some(1);
    manifest.groups.insert("db".into(), group(2));
    let plan = service.plan(&manifest).await;
    assert!(plan.problems.is_empty() && plan.warnings[0].contains("5 machines"), "{:?}", plan.warnings);
    service.apply_well(&manifest).await;
    service.assert_reached(&manifest).await;
    // Without anything that goes, it fails and says why.
    let mut small = manifest.clone();
    small.group("web").cpus = 2;
    let apply = service.apply(&small).await;
    assert_eq!(apply.status, "failed");
    assert!(apply.error.contains("quota"), "{}", apply.error);
}

#[tokio::test]
async fn the_same_request_twice_is_one_apply() {
    let service = Service::new().await;
    let plan = service.plan(&hello(1)).await;
    let once = || Some(hafen_work::Once::new("key", "POST applies", b"body").unwrap());
    let body = || hafen_client::wire::ApplyCreate { plan: plan.clone() };
    let first = service.stacks.apply_create("hello", body(), once().as_ref()).await.unwrap();
    let second = service.stacks.apply_create("hello", body(), once().as_ref()).await.unwrap();
    assert_eq!(first.id, second.id);
    assert_eq!(service.end(&first).await.status, "succeeded");
}

#[tokio::test]
async fn a_published_address_moves_to_another_cluster_without_a_gap_in_machines() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    let mut green = hello(2);
    let web = green.groups.remove("web").unwrap();
    green.groups.insert("green".into(), web);
    green.publications.get_mut("web-80").unwrap().1 = "green".into();
    service.fake.world().log.clear();
    service.apply_well(&green).await;
    service.assert_reached(&green).await;
    let world = service.fake.world();
    let at = |what: &str| world.log.iter().position(|line| line == what).unwrap();
    assert!(at("machine.create green-2") < at("publication.put web-80"));
    assert!(at("publication.put web-80") < at("machine.delete web-1"));
}

fn manifests() -> impl Strategy<Value = Manifest> {
    let form =
        (proptest::option::of(0_u32..4), 1_i64..3, any::<bool>(), 0_usize..2, 0_usize..2, any::<bool>());
    let groups = proptest::collection::vec(proptest::option::weighted(0.7, form), 3);
    (groups, any::<bool>(), 0_u8..3).prop_map(|(forms, published, version)| {
        let mut manifest = hello(0);
        manifest.groups.clear();
        manifest.publications.clear();
        manifest.networks.insert("front".into(), hafen_client::wire::Egress::None);
        manifest.images.insert("web".into(), format!("nginx-{version}"));
        manifest.images.insert("db".into(), "postgresql".into());
        let names = ["a", "b", "c"];
        for (index, form) in forms.into_iter().enumerate() {
            let Some((count, cpus, tagged, network, image, depends)) = form else { continue };
            let mut form = GroupForm { cpus, ..group(count) };
            form.network = ["backend", "front"][network].into();
            form.image = ["web", "db"][image].into();
            if tagged {
                form.metadata.insert("team".into(), "shop".into());
            }
            if depends && index > 0 && manifest.groups.contains_key(names[index - 1]) {
                form.depends_on = vec![names[index - 1].into()];
            }
            manifest.groups.insert(names[index].into(), form);
        }
        if published && let Some(name) = manifest.groups.keys().next().cloned() {
            manifest.publications.insert("p".into(), ("127.0.0.1:8081".into(), name));
        }
        manifest
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was there, whatever gets lost on the way: after an apply there is nothing left to do.
    #[test]
    fn any_manifest_after_any_other_is_reached(
        sequence in proptest::collection::vec(manifests(), 1..4),
        lose_request in 0_u64..6,
        lose_answer in 0_u64..6,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let service = Service::new().await;
            for manifest in &sequence {
                let faults = Faults {
                    lose_request: if lose_request < 2 { 0 } else { lose_request },
                    lose_answer: if lose_answer < 2 { 0 } else { lose_answer },
                    ..Faults::default()
                };
                service.fake.world().faults = faults;
                service.apply_well(manifest).await;
                service.fake.revive();
                service.assert_reached(manifest).await;
            }
        });
    }
}
