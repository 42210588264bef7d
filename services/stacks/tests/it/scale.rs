//! Size: nothing grows faster than the number of machines. The limits are far above what a release build takes, and far
//! below what anything quadratic would.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hafen_client::wire::StackSource;
use hafen_stacks::diff::diff;
use hafen_stacks::model::Reality;
use hafen_stacks::plan::{Request, plan};
use hafen_stacks::steps;

use crate::manifest::hello;
use crate::service::Service;

#[test]
fn a_plan_of_ten_thousand_machines() {
    let wanted = hello(10_000).wanted();
    let (owned, reality) = (BTreeSet::new(), Reality::default());
    let request = Request {
        wanted: &wanted,
        before: None,
        applied: None,
        owned: &owned,
        reality: &reality,
        destroy: false,
        serial: 0,
    };
    let begun = Instant::now();
    let made = plan(request, StackSource::default());
    let bytes = serde_json::to_vec(&made).unwrap().len();
    let planned = begun.elapsed();
    assert_eq!(made.counts.create, 10_004);
    let begun = Instant::now();
    let diff = diff(request.input());
    let steps = steps::build(request.input(), &diff, &owned);
    let ordered = begun.elapsed();
    assert_eq!(steps.iter().filter(|step| step.is_shown()).count(), 10_004);
    println!("plan of 10,000: {planned:?}, {bytes} bytes; steps: {ordered:?}");
    assert!(planned < Duration::from_secs(5) && ordered < Duration::from_secs(5), "{planned:?} {ordered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_of_a_thousand_machines() {
    let service =
        Service::open(std::sync::Arc::new(hafen_db::testing::sqlite()), crate::fake::Fake::new(), 1).await;
    let begun = Instant::now();
    service.apply_well(&hello(1000)).await;
    let took = begun.elapsed();
    let told = service.stacks.progress().last();
    println!("apply of 1,000: {took:?}, told in {told}");
    // Few by name, many together.
    assert!(told < 500, "{told}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let begun = Instant::now();
    service.assert_reached(&hello(1000)).await;
    println!("plan over 1,000: {:?}", begun.elapsed());
}
