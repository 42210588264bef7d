//! Rolling changes: never fewer healthy machines than before.

use crate::fake::{BROKEN, Faults};
use crate::manifest::{Manifest, group, hello};
use crate::service::{Service, lines};

async fn rolls(service: &Service, manifest: &Manifest, floor: usize) {
    service.fake.watch_group("web");
    service.apply_well(manifest).await;
    service.assert_reached(manifest).await;
    let fewest = service.fake.world().fewest["web"];
    assert!(fewest >= floor, "{fewest} healthy at some time, {floor} before");
}

#[tokio::test]
async fn a_cluster_rolls_with_one_machine_more() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    let mut new = hello(2);
    new.group("web").cpus = 2;
    service.fake.world().log.clear();
    rolls(&service, &new, 2).await;
    let log = service.fake.world().log.clone();
    assert_eq!(
        log,
        ["machine.create web-3", "machine.put web-1", "machine.put web-2", "machine.delete web-3"]
    );
}

#[tokio::test]
async fn so_does_one_without_count_and_one_that_changes_its_image() {
    let service = Service::new().await;
    let mut manifest = hello(2);
    manifest.groups.insert("web".into(), group(None));
    service.apply_well(&manifest).await;
    manifest.images.insert("web".into(), "nginx-full".into());
    service.fake.world().log.clear();
    rolls(&service, &manifest, 1).await;
    let log = service.fake.world().log.clone();
    assert_eq!(
        log,
        ["image.make web", "machine.create web-surge", "machine.put web", "machine.delete web-surge"]
    );
}

#[tokio::test]
async fn a_cluster_that_grows_at_the_same_time_needs_no_surge() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    let mut new = hello(3);
    new.group("web").cpus = 2;
    service.fake.world().log.clear();
    rolls(&service, &new, 2).await;
    let log = service.fake.world().log.clone();
    assert_eq!(log, ["machine.create web-3", "machine.put web-1", "machine.put web-2"]);
}

#[tokio::test]
async fn a_cluster_that_shrinks_at_the_same_time_keeps_what_it_needs() {
    let service = Service::new().await;
    service.apply_well(&hello(3)).await;
    let mut new = hello(2);
    new.group("web").cpus = 2;
    rolls(&service, &new, 2).await;
}

#[tokio::test]
async fn a_configuration_that_does_not_work_costs_nothing_but_the_surge() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    let mut bad = hello(2);
    bad.group("web").user_data = Some(BROKEN.into());
    let before: Vec<_> = service.fake.world().machines.values().map(|m| m.instance_id).collect();
    service.fake.watch_group("web");
    let apply = service.apply(&bad).await;
    assert_eq!(apply.status, "failed");
    assert_eq!(
        lines(&apply),
        [
            "surge machine.web-3: failed",
            "replace machine.web-1: skipped",
            "replace machine.web-2: skipped",
            "delete machine.web-3: done",
        ]
    );
    assert!(apply.error.contains("web-3 console line 20"), "{}", apply.error);
    let after: Vec<_> = service.fake.world().machines.values().map(|m| m.instance_id).collect();
    assert_eq!(after, before, "the old ones are untouched");
    assert_eq!(service.fake.world().fewest["web"], 2);
    service.apply_well(&hello(2)).await;
    service.assert_reached(&hello(2)).await;
}

#[tokio::test]
async fn what_is_down_anyway_goes_first() {
    let service = Service::new().await;
    let mut manifest = hello(2);
    service.apply_well(&manifest).await;
    service.fake.world().stop_by_hand("web-2");
    manifest.group("web").cpus = 2;
    service.fake.world().log.clear();
    rolls(&service, &manifest, 1).await;
    let log = service.fake.world().log.clone();
    assert_eq!(log, ["machine.put web-2", "machine.put web-1"]);
}

#[tokio::test]
async fn a_build_that_gives_the_same_digest_changes_no_machine() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    // Somebody asked for another build, which is still going on: its digest is not known yet.
    {
        let mut world = service.fake.world();
        let image = world.images.get_mut("web").unwrap();
        image.state = "building".into();
        image.generation += 1;
    }
    let plan = service.plan(&hello(2)).await;
    service.fake.world().log.clear();
    let apply = service.begin(plan).await;
    // Looking at it moved time on: the build may be over before the request, which is then stale, and rightly so.
    if let Ok(apply) = apply {
        assert_eq!(service.end(&apply).await.status, "succeeded");
        let world = service.fake.world();
        assert!(!world.log.iter().any(|line| line.contains("machine.create")), "{:?}", world.log);
    }
    service.assert_reached(&hello(2)).await;
}

#[tokio::test]
async fn an_older_build_is_rolled_out_of_a_cluster() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    {
        let mut world = service.fake.world();
        world.images.get_mut("web").unwrap().digest = "sha256-newer".into();
    }
    let plan = service.plan(&hello(2)).await;
    assert_eq!(plan.counts.replace, 2);
    let reason = plan.resource_changes[0].action_reason.clone().unwrap();
    assert!(reason.contains("older build of image \"web\""), "{reason}");
    rolls(&service, &hello(2), 2).await;
}

#[tokio::test]
async fn a_roll_that_loses_requests_and_answers_never_has_fewer() {
    for (lose_request, lose_answer) in [(2, 0), (0, 2), (3, 2), (2, 3)] {
        let service = Service::new().await;
        service.apply_well(&hello(3)).await;
        let mut new = hello(3);
        new.group("web").cpus = 2;
        service.fake.world().faults = Faults { lose_request, lose_answer, ..Faults::default() };
        rolls(&service, &new, 3).await;
    }
}

#[tokio::test]
async fn a_roll_that_is_cancelled_takes_its_surge_along_and_goes_on_when_applied_again() {
    let service = Service::new().await;
    service.apply_well(&hello(12)).await;
    let mut cpus = 1;
    // At whatever moment it comes: while a machine is replaced, or between two of them.
    for (call, until) in
        ["machine.create web-13", "machine.put web-3", "machine.put web-8"].iter().enumerate()
    {
        for late in 0..8 {
            cpus += 1;
            let mut new = hello(12);
            new.group("web").cpus = cpus;
            service.fake.watch_group("web");
            service.fake.world().freeze = Some(((*until).to_owned(), late));
            let apply = service.begin(service.plan(&new).await).await.unwrap();
            service.fake.froze().await;
            service.stacks.apply_cancel("hello", &apply.id.to_string()).await.unwrap();
            service.fake.thaw();
            let ended = service.end(&apply).await;
            let shown = format!("{call} {late}: {:#?}", lines(&ended));
            assert_eq!(ended.status, "cancelled", "{shown}");
            assert_eq!(lines(&ended).last().unwrap(), "delete machine.web-13: done", "{shown}");
            let over = |status: &str| ended.steps.iter().filter(|step| step.status == status).count();
            assert_eq!(over("done") + over("skipped"), ended.steps.len(), "{shown}");
            assert!(over("skipped") > 1, "{shown}");
            assert_eq!(service.fake.world().machines.len(), 12, "{shown}");
        }
    }
    let mut new = hello(12);
    new.group("web").cpus = cpus;
    rolls(&service, &new, 12).await;
}
