//! Plans as tables: what is wanted, what is there, what is said to change.

use hafen_client::wire::{Egress, Plan, PlanAction};

use crate::manifest::{Manifest, group, hello};
use crate::service::Service;

/// Changes as `create+delete machine.web-1 (cpus)`.
fn summary(plan: &Plan) -> Vec<String> {
    let name = |action: &PlanAction| serde_json::to_value(action).unwrap().as_str().unwrap().to_owned();
    plan.resource_changes
        .iter()
        .map(|change| {
            let actions: Vec<String> = change.change.actions.iter().map(name).collect();
            let paths: Vec<String> = change.change.replace_paths.iter().map(|path| path.join(".")).collect();
            let paths = if paths.is_empty() { String::new() } else { format!(" ({})", paths.join(", ")) };
            format!("{} {}{paths}", actions.join("+"), change.address)
        })
        .collect()
}

#[tokio::test]
async fn a_first_plan_creates_everything_in_the_shape_of_opentofu() {
    let service = Service::new().await;
    let plan = service.plan(&hello(2)).await;
    assert_eq!(
        summary(&plan),
        [
            "create project.hello",
            "create network.backend",
            "create image.web",
            "create machine.web-1",
            "create machine.web-2",
            "create publication.web-80",
        ]
    );
    assert_eq!((plan.counts.create, plan.counts.unchanged), (6, 0));
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["format_version"], "1.0");
    let machine = &json["resource_changes"][3];
    assert_eq!(machine["type"], "machine");
    assert_eq!(machine["name"], "web-1");
    assert_eq!(machine["change"]["actions"], serde_json::json!(["create"]));
    assert_eq!(machine["change"]["before"], serde_json::Value::Null);
    assert_eq!(machine["change"]["after"]["memory"], 512 << 20);
    assert_eq!(machine["change"]["after_unknown"]["instance_id"], true);
}

#[tokio::test]
async fn user_data_is_never_shown_and_is_marked_sensitive() {
    let service = Service::new().await;
    let mut manifest = hello(1);
    manifest.group("web").user_data = Some("c2VjcmV0".into());
    let plan = service.plan(&manifest).await;
    let shown = serde_json::to_string(&plan.resource_changes).unwrap();
    assert!(!shown.contains("c2VjcmV0"), "{shown}");
    assert_eq!(plan.resource_changes[3].change.after_sensitive, serde_json::json!({ "user_data": true }));
}

/// A change of an applied hello(2), what becomes of it, and how many resources stay.
type Case = (&'static str, fn(&mut Manifest), &'static [&'static str], u64);

const CASES: &[Case] = &[
    ("nothing", |_| {}, &[], 6),
    ("one more", |m| m.group("web").count = Some(3), &["create machine.web-3"], 6),
    ("one less", |m| m.group("web").count = Some(1), &["delete machine.web-2"], 5),
    ("none left", |m| m.group("web").count = Some(0), &["delete machine.web-1", "delete machine.web-2"], 4),
    (
        "metadata in place",
        |m| drop(m.group("web").metadata.insert("team".into(), "shop".into())),
        &["update machine.web-1", "update machine.web-2"],
        4,
    ),
    (
        "health in place",
        |m| m.group("web").health = false,
        &["update machine.web-1", "update machine.web-2"],
        4,
    ),
    (
        "cpus replace",
        |m| m.group("web").cpus = 2,
        &["create+delete machine.web-1 (cpus)", "create+delete machine.web-2 (cpus)"],
        4,
    ),
    (
        "a new image source replaces its machines",
        |m| drop(m.images.insert("web".into(), "nginx-full".into())),
        &[
            "update image.web",
            "create+delete machine.web-1 (image_digest)",
            "create+delete machine.web-2 (image_digest)",
        ],
        3,
    ),
    (
        "an image more touches no machine",
        |m| drop(m.images.insert("db".into(), "postgresql".into())),
        &["create image.db"],
        6,
    ),
    (
        "egress in place",
        |m| drop(m.networks.insert("backend".into(), Egress::Logged)),
        &["update network.backend"],
        5,
    ),
    (
        "a published address cannot change in place",
        |m| m.publications.get_mut("web-80").unwrap().0 = "127.0.0.1:9000".into(),
        &["delete+create publication.web-80 (host)"],
        5,
    ),
    (
        "without count: another address, so other machines",
        |m| m.group("web").count = None,
        &["create machine.web", "delete machine.web-1", "delete machine.web-2"],
        4,
    ),
    (
        "another network",
        |m| {
            m.networks = [("front".to_owned(), Egress::None)].into();
            m.group("web").network = "front".into();
        },
        &[
            "create network.front",
            "delete network.backend",
            "create+delete machine.web-1 (network)",
            "create+delete machine.web-2 (network)",
        ],
        3,
    ),
    ("a quota", |m| m.quota = Some(9), &["update project.hello"], 5),
];

#[tokio::test]
async fn a_plan_holds_what_must_change_and_nothing_else() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    for (what, change, expected, unchanged) in CASES {
        let mut manifest = hello(2);
        change(&mut manifest);
        let plan = service.plan(&manifest).await;
        assert_eq!(summary(&plan), *expected, "{what}");
        assert_eq!(plan.counts.unchanged, *unchanged, "{what}");
        assert_eq!(plan.problems, Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn a_machine_stopped_or_failed_is_started_and_keeps_its_disk() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    service.fake.world().stop_by_hand("web-2");
    let plan = service.plan(&hello(2)).await;
    assert_eq!(summary(&plan), ["update machine.web-2"]);
    assert_eq!(plan.resource_changes[0].action_reason.as_deref(), Some("it is stopped"));
    let instance = service.fake.world().machines["web-2"].instance_id;
    service.apply_well(&hello(2)).await;
    assert_eq!(service.fake.world().machines["web-2"].instance_id, instance);
    service.assert_reached(&hello(2)).await;
}

#[tokio::test]
async fn the_end_of_everything_leaves_what_others_made() {
    let service = Service::new().await;
    service.apply_well(&hello(1)).await;
    assert_eq!(
        summary(&service.plan_destroy().await),
        [
            "delete project.hello",
            "delete network.backend",
            "delete image.web",
            "delete machine.web-1",
            "delete publication.web-80",
        ]
    );
    // By hand, in the stack's network: the network cannot go, and the plan says so before anything is done.
    let mut stray = service.fake.world().machines["web-1"].clone();
    stray.name = "stray".into();
    service.fake.world().machines.insert("stray".into(), stray);
    let plan = service.plan_destroy().await;
    assert!(
        !summary(&plan).iter().any(|line| line.contains("stray") || line.contains("project")),
        "{plan:?}"
    );
    assert!(
        plan.problems[0].contains("\"stray\"") && plan.problems[0].contains("network.backend"),
        "{:?}",
        plan.problems
    );
    let refused = service.begin(plan).await.unwrap_err();
    assert_eq!(refused.kind(), hafen_base::ErrorKind::Conflict);
}

#[tokio::test]
async fn a_quota_too_small_is_a_problem_of_the_plan() {
    let service = Service::new().await;
    let mut manifest = hello(2);
    manifest.quota = Some(3);
    service.apply_well(&manifest).await;
    manifest.group("web").count = Some(4);
    let plan = service.plan(&manifest).await;
    assert!(plan.problems[0].contains("4 machines are wanted, 3 are allowed"), "{:?}", plan.problems);
    assert_eq!(service.begin(plan).await.unwrap_err().kind(), hafen_base::ErrorKind::Quota);
    // To shrink is always allowed, and so is to say more room in the same manifest.
    manifest.group("web").count = Some(1);
    assert!(service.plan(&manifest).await.problems.is_empty());
    manifest.quota = Some(4);
    manifest.group("web").count = Some(4);
    assert!(service.plan(&manifest).await.problems.is_empty());
}

#[tokio::test]
async fn a_plan_is_refused_when_wanted_state_or_reality_moved_but_not_by_noise() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    let plan = service.plan(&hello(3)).await;

    // Noise: health flaps, a machine heals itself, its restarts are counted.
    {
        let mut world = service.fake.world();
        let machine = world.machines.get_mut("web-1").unwrap();
        machine.healthy = false;
        machine.reason = "GET / answers 502".into();
        machine.restarts = 3;
    }
    let again = service.plan(&hello(3)).await;
    assert_eq!(again.reality, plan.reality);

    // Each of these is somebody's doing.
    let before = service.fake.world().machines.clone();
    let moves: [fn(&mut crate::fake::World); 5] = [
        |world| world.stop_by_hand("web-1"),
        |world| world.delete_by_hand("web-1"),
        |world| world.machines.get_mut("web-1").unwrap().state = hafen_client::wire::MachineState::Failed,
        |world| world.machines.get_mut("web-1").unwrap().generation += 1,
        |world| {
            let mut more = world.machines["web-1"].clone();
            more.name = "more".into();
            world.machines.insert("more".into(), more);
        },
    ];
    for act in moves {
        act(&mut service.fake.world());
        let refused = service.begin(plan.clone()).await.unwrap_err();
        assert_eq!(refused.kind(), hafen_base::ErrorKind::Stale, "{refused}");
        let mut world = service.fake.world();
        world.machines = before.clone();
        world.project.as_mut().unwrap().usage.machines = 2;
    }

    // Wanted state moved: another apply came between.
    let apply = service.begin(plan.clone()).await.unwrap();
    service.end(&apply).await;
    assert_eq!(service.begin(plan).await.unwrap_err().kind(), hafen_base::ErrorKind::Stale);
}

#[tokio::test]
async fn a_plan_that_was_tampered_with_is_refused() {
    let service = Service::new().await;
    let mut plan = service.plan(&hello(2)).await;
    plan.source = hello(200).source();
    assert_eq!(service.begin(plan.clone()).await.unwrap_err().kind(), hafen_base::ErrorKind::Stale);
    plan.format_version = "2.0".into();
    assert_eq!(service.begin(plan).await.unwrap_err().kind(), hafen_base::ErrorKind::Invalid);
}

#[tokio::test]
async fn a_machine_made_by_hand_is_taken_over_with_a_warning() {
    let service = Service::new().await;
    service.apply_well(&hello(1)).await;
    let mut stray = service.fake.world().machines["web-1"].clone();
    stray.name = "web-2".into();
    service.fake.world().machines.insert("web-2".into(), stray);
    assert!(!service.plan(&hello(1)).await.counts.any(), "it is nobody's business");
    let plan = service.plan(&hello(2)).await;
    assert!(plan.warnings[0].contains("\"web-2\""), "{:?}", plan.warnings);
    assert!(!plan.counts.any());
}

#[tokio::test]
async fn groups_without_machines_of_their_own_do_no_harm() {
    let service = Service::new().await;
    let mut manifest = hello(0);
    manifest.groups.insert("db".into(), group(None));
    manifest.group("web").depends_on = vec!["db".into()];
    service.apply_well(&manifest).await;
    service.assert_reached(&manifest).await;
}
