//! Apps and routes: what a plan says, in which order an apply goes, what is drift, and that a death at any moment costs nothing.

use hafen_client::wire::{AppEnv, AppSpec, BackendPut, Plan, PlanAction, RoutePut, SecretReference};
use serde_json::json;

use crate::fake::{BROKEN, Death, Faults};
use crate::manifest::{Manifest, group, hello};
use crate::service::{Service, lines};

fn app(on: &str) -> AppSpec {
    serde_json::from_value(json!({
        "source": { "repository": "shop" }, "build": { "image": "web", "run": ["make"] }, "on": on, "run": "./shop",
    }))
    .unwrap()
}

fn route(paths: &serde_json::Value) -> RoutePut {
    serde_json::from_value(json!({ "paths": paths })).unwrap()
}

fn backend(machines: &[&str]) -> BackendPut {
    let endpoints: Vec<_> =
        machines.iter().map(|name| json!({ "id": name, "machine": name, "port": 80 })).collect();
    serde_json::from_value(json!({ "endpoints": endpoints })).unwrap()
}

const HOST: &str = "shop.example.org";

/// A monolith of two machines, an app beside it that takes one path, and an app that takes another.
fn shop() -> Manifest {
    let mut manifest = hello(2);
    manifest.groups.insert("legacy".into(), group(2));
    manifest.backends.insert("legacy".into(), backend(&["legacy-1", "legacy-2"]));
    manifest.apps.insert("shop".into(), app("web"));
    manifest.apps.insert("docs".into(), app("web"));
    let paths = json!({ "/": [{ "backend": "legacy" }], "/docs": [{ "backend": "docs" }],
                        "/api": [{ "backend": "shop", "weight": 20 }, { "backend": "legacy", "weight": 80 }] });
    manifest.routes.insert(HOST.into(), route(&paths));
    manifest
}

fn summary(plan: &Plan) -> Vec<String> {
    let name = |action: &PlanAction| serde_json::to_value(action).unwrap().as_str().unwrap().to_owned();
    plan.resource_changes
        .iter()
        .map(|change| {
            let actions: Vec<String> = change.change.actions.iter().map(name).collect();
            format!("{} {}", actions.join("+"), change.address)
        })
        .collect()
}

fn at(service: &Service, what: &str) -> usize {
    let world = service.fake.world();
    world.log.iter().position(|line| line == what).unwrap_or_else(|| panic!("{what}: {:?}", world.log))
}

#[tokio::test]
async fn they_come_after_what_they_need_and_go_before_it() {
    let service = Service::new().await;
    let plan = service.plan(&shop()).await;
    let last = &summary(&plan)[summary(&plan).len() - 4..];
    assert_eq!(
        last,
        ["create app.docs", "create app.shop", "create backend.legacy", "create route.shop.example.org"]
    );
    service.apply_well(&shop()).await;
    for (first, then) in [
        ("machine.create web-2", "app.put shop"),
        ("image.make web", "app.put docs"),
        ("machine.create legacy-2", "backend.put legacy"),
        ("app.put shop", "route.put shop.example.org"),
        ("app.put docs", "route.put shop.example.org"),
        ("backend.put legacy", "route.put shop.example.org"),
    ] {
        assert!(at(&service, first) < at(&service, then), "{first} before {then}");
    }
    service.assert_reached(&shop()).await;

    service.fake.world().log.clear();
    let apply = service.begin(service.plan_destroy().await).await.unwrap();
    assert_eq!(service.end(&apply).await.status, "succeeded");
    for (first, then) in [
        ("route.delete shop.example.org", "app.delete shop"),
        ("route.delete shop.example.org", "backend.delete legacy"),
        ("app.delete shop", "machine.delete web-1"),
        ("app.delete docs", "machine.delete web-2"),
        ("backend.delete legacy", "machine.delete legacy-1"),
        ("app.delete docs", "image.delete web"),
    ] {
        assert!(at(&service, first) < at(&service, then), "{first} before {then}");
    }
    assert!(service.fake.world().project.is_none());
}

type Case = (&'static str, fn(&mut Manifest), &'static [&'static str]);

/// A change of an applied `shop`, and what becomes of it.
const CASES: &[Case] = &[
    ("nothing", |_| {}, &[]),
    ("scale", |m| m.apps.get_mut("shop").unwrap().replicas = 4, &["update app.shop"]),
    (
        "a variable",
        |m| drop(m.apps.get_mut("shop").unwrap().env.insert("LOG".into(), AppEnv::Text("debug".into()))),
        &["update app.shop"],
    ),
    ("another cluster", |m| m.apps.get_mut("shop").unwrap().on = "legacy".into(), &["update app.shop"]),
    (
        "maintenance",
        |m| m.routes.get_mut(HOST).unwrap().maintenance = true,
        &["update route.shop.example.org"],
    ),
    (
        "another host",
        |m| {
            let route = m.routes.remove(HOST).unwrap();
            m.routes.insert("new.example.org".into(), route);
        },
        &["create route.new.example.org", "delete route.shop.example.org"],
    ),
    (
        "the monolith shrinks",
        |m| {
            m.group("legacy").count = Some(1);
            m.backends.insert("legacy".into(), backend(&["legacy-1"]));
        },
        &["delete machine.legacy-2", "update backend.legacy"],
    ),
    (
        "the monolith is gone",
        |m| {
            m.groups.remove("legacy");
            m.backends.remove("legacy");
            m.routes.insert(
                HOST.into(),
                route(&json!({ "/": [{ "backend": "shop" }], "/docs": [{ "backend": "docs" }] })),
            );
        },
        &[
            "delete machine.legacy-1",
            "delete machine.legacy-2",
            "delete backend.legacy",
            "update route.shop.example.org",
        ],
    ),
    (
        "an app less",
        |m| {
            m.apps.remove("docs");
            m.routes.get_mut(HOST).unwrap().paths.remove("/docs");
        },
        &["delete app.docs", "update route.shop.example.org"],
    ),
];

#[tokio::test]
async fn each_change_is_planned_and_applied() {
    for (name, change, expected) in CASES {
        let service = Service::new().await;
        service.apply_well(&shop()).await;
        let mut next = shop();
        change(&mut next);
        let plan = service.plan(&next).await;
        assert_eq!(summary(&plan), *expected, "{name}");
        service.fake.world().log.clear();
        service.apply_well(&next).await;
        service.assert_reached(&next).await;
    }
}

#[tokio::test]
async fn nobody_is_led_to_what_goes() {
    let service = Service::new().await;
    service.apply_well(&shop()).await;
    for (name, first, then) in [
        ("the monolith shrinks", "backend.put legacy", "machine.delete legacy-2"),
        ("the monolith is gone", "route.put shop.example.org", "backend.delete legacy"),
        ("an app less", "route.put shop.example.org", "app.delete docs"),
    ] {
        let (_, change, _) = CASES.iter().find(|case| case.0 == name).unwrap();
        let mut next = shop();
        change(&mut next);
        service.fake.world().log.clear();
        service.apply_well(&next).await;
        assert!(at(&service, first) < at(&service, then), "{name}");
        service.apply_well(&shop()).await;
    }
    // An app leaves a cluster before that ends.
    let mut next = shop();
    next.apps.get_mut("shop").unwrap().on = "legacy".into();
    next.apps.get_mut("docs").unwrap().on = "legacy".into();
    next.groups.remove("web");
    next.publications.clear();
    service.fake.world().log.clear();
    service.apply_well(&next).await;
    assert!(at(&service, "app.put docs") < at(&service, "machine.delete web-1"));
    service.assert_reached(&next).await;
}

#[tokio::test]
async fn secrets_that_are_missing_are_named_before_anything_happens() {
    let service = Service::new().await;
    let mut manifest = shop();
    let secret = |name: &str| AppEnv::Secret(SecretReference { secret: name.into() });
    for app in manifest.apps.values_mut() {
        app.env.insert("DB".into(), secret("db-password"));
    }
    let shop = manifest.apps.get_mut("shop").unwrap();
    shop.env.insert("KEY".into(), secret("key"));
    // What a build asks for is missed as well.
    let build = json!({ "image": "web", "env": { "MODE": "release", "TOKEN": { "secret": "npm-token" } } });
    shop.build = Some(serde_json::from_value(build).unwrap());
    let plan = service.plan(&manifest).await;
    assert_eq!(
        plan.problems,
        [
            "app.docs, app.shop: there is no secret \"db-password\" in the project: set it with `hafen secret set db-password`, then plan again",
            "app.shop: there is no secret \"key\" in the project: set it with `hafen secret set key`, then plan again",
            "app.shop: there is no secret \"npm-token\" in the project: set it with `hafen secret set npm-token`, then plan again",
        ]
    );
    let refused = service.begin(plan).await.unwrap_err();
    assert_eq!(refused.code(), "plan_has_problems");
    assert!(service.fake.world().log.is_empty(), "nothing has happened");

    service.apply_well(&hello(1)).await;
    service.fake.world().delivery.secrets.extend(["db-password", "key", "npm-token"].map(String::from));
    service.apply_well(&manifest).await;
    service.assert_reached(&manifest).await;
    // Its end is that of the secrets.
    let plan = service.plan_destroy().await;
    assert!(
        plan.warnings.iter().any(|warning| warning.contains("3 secrets are destroyed with it")),
        "{plan:#?}"
    );
}

#[tokio::test]
async fn a_failed_deployment_fails_the_apply_with_the_probes_answer() {
    let service = Service::new().await;
    let mut manifest = shop();
    manifest.apps.get_mut("shop").unwrap().run = Some(BROKEN.into());
    let apply = service.apply(&manifest).await;
    assert_eq!(apply.status, "failed");
    let lines = lines(&apply);
    assert!(lines.contains(&"create app.shop: failed".to_owned()), "{lines:?}");
    assert!(lines.contains(&"create route.shop.example.org: skipped".to_owned()), "{lines:?}");
    assert!(lines.contains(&"create app.docs: done".to_owned()), "{lines:?}");
    assert!(apply.error.contains("GET /healthz answers 500"), "{}", apply.error);
    service.apply_well(&shop()).await;
    service.assert_reached(&shop()).await;
}

#[tokio::test]
async fn what_somebody_changed_by_hand_is_drift_and_what_somebody_made_stays() {
    let service = Service::new().await;
    service.apply_well(&shop()).await;
    {
        let mut world = service.fake.world();
        let scaled = world.delivery.apps.get_mut("shop").unwrap();
        scaled.spec.replicas = 9;
        scaled.generation += 1;
        world.delivery.routes.get_mut(HOST).unwrap().maintenance = true;
        world.delivery.app_put("hello", "mine", &app("web"), 1).unwrap();
    }
    let drift = service.stacks.drift_view("hello").await.unwrap();
    let found: Vec<&str> = drift.resource_drift.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(found, ["app.shop", "route.shop.example.org"]);
    assert_eq!(drift.resource_drift[0].change.after["replicas"], 9);
    let plan = service.plan(&shop()).await;
    assert_eq!(summary(&plan), ["update app.shop", "update route.shop.example.org"]);
    service.apply_well(&shop()).await;

    // The app made by hand runs on machines that are to go.
    let plan = service.plan_destroy().await;
    assert!(plan.problems.iter().any(|problem| problem.contains("app \"mine\"")), "{:?}", plan.problems);
    service.fake.world().delivery.app_delete("mine").unwrap();
    let apply = service.begin(service.plan_destroy().await).await.unwrap();
    assert_eq!(service.end(&apply).await.status, "succeeded");
}

#[tokio::test]
async fn a_plan_is_refused_when_an_app_or_route_moved_since() {
    for change in [
        |world: &mut crate::fake::World| world.delivery.apps.get_mut("shop").unwrap().generation += 1,
        |world: &mut crate::fake::World| world.delivery.routes.get_mut(HOST).unwrap().generation += 1,
        |world: &mut crate::fake::World| world.delivery.backends.get_mut("legacy").unwrap().generation += 1,
    ] {
        let service = Service::new().await;
        service.apply_well(&shop()).await;
        let mut next = shop();
        next.group("web").count = Some(3);
        let plan = service.plan(&next).await;
        change(&mut service.fake.world());
        assert_eq!(service.begin(plan).await.unwrap_err().kind(), hafen_base::ErrorKind::Stale);
    }
    // The processes of an app come and go without that.
    let service = Service::new().await;
    service.apply_well(&shop()).await;
    let mut next = shop();
    next.group("web").count = Some(3);
    let plan = service.plan(&next).await;
    service.fake.world().delivery.backends.get_mut("shop").unwrap().generation += 7;
    assert!(service.begin(plan).await.is_ok());
}

/// Applies over `hello(2)` and dies at one entry of the log; gives the log when nothing dies.
async fn dies_at(die: Option<(String, Death)>) -> Vec<String> {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    let plan = service.plan(&shop()).await;
    {
        let mut world = service.fake.world();
        world.log.clear();
        world.faults = Faults { die: die.clone(), ..Faults::default() };
    }
    let apply = service.begin(plan).await.unwrap();
    if die.is_some() {
        service.fake.died().await;
    } else {
        service.end(&apply).await;
    }
    let service = service.killed().await;
    let ended = service.end(&apply).await;
    assert_eq!(ended.status, "succeeded", "died at {die:?}: {ended:#?}");
    service.assert_reached(&shop()).await;
    let world = service.fake.world();
    world.log.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_change_costs_nothing() {
    let log = dies_at(None).await;
    assert!(log.iter().any(|entry| entry == "route.put shop.example.org"), "{log:?}");
    for (at, entry) in log.iter().enumerate() {
        for death in [Death::Before, Death::After, Death::Later(1)] {
            // After the last change there may be no call to die at.
            if at + 1 < log.len() || death != Death::Later(1) {
                dies_at(Some((entry.clone(), death))).await;
            }
        }
    }
}
