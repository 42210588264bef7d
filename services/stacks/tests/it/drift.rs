//! Drift: where reality left what was applied.

use hafen_client::wire::{PlanAction, ResourceChange};

use crate::fake::BROKEN;
use crate::manifest::hello;
use crate::service::Service;

fn summary(drift: &[ResourceChange]) -> Vec<(String, Vec<PlanAction>)> {
    drift.iter().map(|change| (change.address.clone(), change.change.actions.clone())).collect()
}

#[tokio::test]
async fn what_somebody_did_by_hand_is_drift_apart_from_the_changes_of_a_plan() {
    let service = Service::new().await;
    service.apply_well(&hello(3)).await;
    {
        let mut world = service.fake.world();
        world.stop_by_hand("web-1");
        world.delete_by_hand("web-2");
        let machine = world.machines.get_mut("web-3").unwrap();
        machine.cordoned = true;
        machine.generation += 1;
    }
    let drift = service.stacks.drift_view("hello").await.unwrap();
    let expected = vec![
        ("machine.web-1".to_owned(), vec![PlanAction::Update]),
        ("machine.web-2".to_owned(), vec![PlanAction::Delete]),
        ("machine.web-3".to_owned(), vec![PlanAction::Update]),
    ];
    assert_eq!(summary(&drift.resource_drift), expected);
    assert_eq!(drift.resource_drift[0].change.before["state"], "started");
    assert_eq!(drift.resource_drift[0].change.after["state"], "stopped");
    assert_eq!(drift.resource_drift[2].change.after["cordoned"], true);
    // A plan shows the same drift, beside changes that have nothing to do with it.
    let plan = service.plan(&hello(4)).await;
    assert_eq!(summary(&plan.resource_drift), expected);
    assert!(plan.resource_changes.iter().any(|change| change.address == "machine.web-4"));
    service.apply_well(&hello(4)).await;
    assert_eq!(service.stacks.drift_view("hello").await.unwrap().resource_drift, vec![]);
}

#[tokio::test]
async fn what_an_unfinished_apply_changed_is_no_drift() {
    let service = Service::new().await;
    service.apply_well(&hello(2)).await;
    let mut worse = hello(1);
    worse.groups.insert("extra".into(), crate::manifest::group(None));
    worse.group("extra").user_data = Some(BROKEN.into());
    let apply = service.apply(&worse).await;
    assert_eq!(apply.status, "failed");
    let drift = service.stacks.drift_view("hello").await.unwrap();
    assert_eq!(summary(&drift.resource_drift), vec![]);
}

#[tokio::test]
async fn a_project_without_stack_has_no_drift_to_show() {
    let service = Service::new().await;
    let missing = service.stacks.drift_view("hello").await.unwrap_err();
    assert_eq!(missing.kind(), hafen_base::ErrorKind::NotFound);
}
