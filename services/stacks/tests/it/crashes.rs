//! `SIGKILL` at every call: whatever was under way, the next start reaches what was wanted.

use crate::fake::{Death, Faults};
use crate::manifest::{GroupForm, Manifest, group, hello};
use crate::service::Service;

fn second() -> Manifest {
    let mut manifest = hello(2);
    manifest.group("web").cpus = 2;
    manifest.groups.insert("db".into(), GroupForm { image: "db".into(), ..group(2) });
    manifest.images.insert("db".into(), "postgresql".into());
    manifest.images.insert("web".into(), "nginx-full".into());
    manifest.publications.get_mut("web-80").unwrap().0 = "127.0.0.1:9000".into();
    manifest
}

/// Applies `second` over `hello(3)` and dies at one entry of the log; gives the whole log when it comes to its end instead.
async fn dies_at(die: Option<(String, Death)>) -> Vec<String> {
    let service = Service::new().await;
    service.apply_well(&hello(3)).await;
    let plan = service.plan(&second()).await;
    service.fake.watch_group("web");
    {
        let mut world = service.fake.world();
        world.log.clear();
        // Slow enough that what was begun before the death is still under way when the next life first looks.
        world.slow = 7;
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
    assert!(ended.steps.iter().all(|step| step.status == "done"), "died at {die:?}: {ended:#?}");
    service.assert_reached(&second()).await;
    let world = service.fake.world();
    assert!(world.fewest["web"] >= 2, "died at {die:?}: {} healthy at some time", world.fewest["web"]);
    // Three and the surge; two of the other cluster. A second surge may be needed when the first one's name was lost.
    assert!(world.made <= 7, "died at {die:?}: {} machines were made", world.made);
    world.log.clone()
}

async fn killed_at_every_change(death: Death) {
    let log = dies_at(None).await;
    assert!(log.len() > 10, "{log:?}");
    for entry in log {
        dies_at(Some((entry, death))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_any_request_arrives() {
    killed_at_every_change(Death::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_any_request_acted_and_before_its_answer() {
    killed_at_every_change(Death::After).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_what_any_request_began_is_under_way() {
    killed_at_every_change(Death::Later(2)).await;
}

#[tokio::test]
async fn killed_again_and_again() {
    let mut service = Service::new().await;
    let plan = service.plan(&second()).await;
    // A life begins with ten looks, at what is of each kind: who always died before the first change would never change anything.
    let soon = |service: &Service| {
        let mut world = service.fake.world();
        let now = world.calls;
        world.faults = Faults { die_at: Some(now + 12), ..Faults::default() };
    };
    // Before it begins: on a busy host it may come far before this test is told that it began.
    soon(&service);
    let apply = service.begin(plan).await.unwrap();
    let mut deaths = 0;
    loop {
        let died = tokio::select! {
            () = service.fake.died() => true,
            _ = service.end(&apply) => false,
        };
        if !died {
            break;
        }
        deaths += 1;
        service = service.killed().await;
        soon(&service);
    }
    assert!(deaths > 2, "{deaths}");
    service.fake.revive();
    service.assert_reached(&second()).await;
    let world = service.fake.world();
    assert_eq!(world.made, 4, "no machine was made twice");
}

#[tokio::test]
async fn an_orderly_stop_leaves_the_apply_to_the_next_start() {
    let service = Service::new().await;
    service.fake.world().faults = Faults { lose_request: 1, ..Faults::default() };
    let apply = service.begin(service.plan(&hello(2)).await).await.unwrap();
    let service = service.restarted().await;
    service.fake.revive();
    assert_eq!(service.end(&apply).await.status, "succeeded");
    service.assert_reached(&hello(2)).await;
}
