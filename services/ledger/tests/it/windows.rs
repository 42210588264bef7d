//! A window of time that is over lists the same for ever, whatever comes after and however clocks go.

use std::time::Duration;

use hafen_db::testing;
use hafen_http::{Call, CallLog as _, CallOutcome};
use proptest::prelude::*;

use crate::support::{House, Moved, Options, Running, person};

#[derive(Debug, Clone)]
enum Step {
    Open(u8),
    Complete(u8),
    Event,
    Forward(u16),
    Back(u16),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..8).prop_map(Step::Open),
        (0_u8..8).prop_map(Step::Complete),
        Just(Step::Event),
        (0_u16..2000).prop_map(Step::Forward),
        (0_u16..2000).prop_map(Step::Back),
        Just(Step::Look),
    ]
}

async fn walk(steps: Vec<Step>) {
    let house = House::new(testing::sqlite()).await;
    let clock = Moved::default();
    let options = Options { clock: clock.clone(), ..Options::default() };
    let running = Running::with(&house.database.location, house.folder.path(), house.feeds(), options).await;
    let mut seen: Vec<(String, Vec<String>)> = Vec::new();
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Open(id) => {
                let call = Call {
                    id: format!("r-{id}"),
                    actor: person("u-1", "Ada"),
                    method: "PUT".into(),
                    path: format!("/api/v1/projects/hello/machines/m-{n}"),
                };
                // It may be open already.
                let _open = running.ledger.opened(&call).await;
            }
            Step::Complete(id) => {
                running.ledger.completed(&format!("r-{id}"), CallOutcome::Answered(200)).await.unwrap();
            }
            Step::Event => {
                house.things.happens(person("u-2", "Bob"), "machine.started", "machine/x", "").await;
            }
            Step::Forward(millis) => clock.step(Duration::from_millis(u64::from(millis))),
            Step::Back(millis) => clock.back(Duration::from_millis(u64::from(millis))),
            Step::Look => {
                use hafen_base::Clock as _;
                let now = clock.now();
                let text = serde_json::to_string(&now).unwrap();
                let query = format!("limit=1000&until={}", text.trim_matches('"'));
                let listed = running.entries(&query).await.into_iter().map(|entry| entry.record).collect();
                seen.push((query, listed));
            }
        }
    }
    for (query, before) in seen {
        let after: Vec<String> =
            running.entries(&query).await.into_iter().map(|entry| entry.record).collect();
        assert_eq!(after, before, "{query}");
    }
    running.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn windows_that_are_over_never_change(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(walk(steps));
    }
}
