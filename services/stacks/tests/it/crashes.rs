//! `SIGKILL` at every call: whatever was under way, the next start reaches what was wanted.

use crate::fake::Faults;
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

/// Applies `second` over `hello(3)`, and dies at the n-th call of the apply. False when it came to its end before.
async fn dies_at(call: u64, acts: bool) -> bool {
    let service = Service::new().await;
    service.apply_well(&hello(3)).await;
    let plan = service.plan(&second()).await;
    service.fake.watch_group("web");
    let apply = service.begin(plan).await.unwrap();
    {
        // The calls of the request that accepted it are over: from here on only the apply itself calls.
        let mut world = service.fake.world();
        let now = world.calls;
        // Slow enough that what was begun before the death is still under way when the next life first looks.
        world.slow = 5;
        world.faults = Faults { die_at: Some((now + call, acts)), ..Faults::default() };
    }
    let died = tokio::select! {
        () = service.fake.died() => true,
        ended = service.end(&apply) => {
            assert_eq!(ended.status, "succeeded");
            false
        }
    };
    let service = service.killed().await;
    let ended = service.end(&apply).await;
    assert_eq!(ended.status, "succeeded", "died at call {call}, acting {acts}: {ended:#?}");
    assert!(ended.steps.iter().all(|step| step.status == "done"), "{ended:#?}");
    service.assert_reached(&second()).await;
    let fewest = service.fake.world().fewest["web"];
    assert!(fewest >= 2, "died at call {call}: {fewest} healthy at some time");
    died
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_call_before_or_after_it_acted() {
    for acts in [false, true] {
        // Between two changes there are some looks, which are all alike: a stride that has nothing in common with their
        // number meets all of them sooner or later, and the first steps are met one by one.
        let mut call = 1;
        while dies_at(call, acts).await {
            call += if call < 16 { 1 } else { 7 };
        }
        assert!(call > 60, "the apply makes only {call} calls: what was tested?");
    }
}

#[tokio::test]
async fn killed_again_and_again() {
    let mut service = Service::new().await;
    let plan = service.plan(&second()).await;
    let apply = service.begin(plan).await.unwrap();
    let mut deaths = 0;
    loop {
        {
            let mut world = service.fake.world();
            let now = world.calls;
            world.faults = Faults { die_at: Some((now + 9, deaths % 2 == 0)), ..Faults::default() };
        }
        let died = tokio::select! {
            () = service.fake.died() => true,
            _ = service.end(&apply) => false,
        };
        if !died {
            break;
        }
        deaths += 1;
        service = service.killed().await;
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
