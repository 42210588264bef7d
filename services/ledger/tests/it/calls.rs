//! Calls are on disk before they are made, and every one of them ends.

use hafen_base::ErrorKind;
use hafen_db::testing;
use hafen_http::{Call, CallLog as _, CallOutcome};

use crate::support::{House, person};

fn call(id: &str) -> Call {
    Call {
        id: id.into(),
        actor: person("u-1", "Ada"),
        method: "POST".into(),
        path: "/api/v1/projects/hello/machines/web-1/restart".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_entry_in_the_order_of_its_end() {
    for (backend, database) in testing::both() {
        let house = House::new(database).await;
        let running = house.start().await;
        for id in ["r-1", "r-2", "r-3"] {
            running.ledger.opened(&call(id)).await.unwrap();
        }
        let twice = running.ledger.opened(&call("r-1")).await.unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::Conflict, "{backend}");
        running.ledger.completed("r-2", CallOutcome::Answered(201)).await.unwrap();
        running.ledger.completed("r-1", CallOutcome::Answered(404)).await.unwrap();
        running.ledger.completed("r-3", CallOutcome::Answered(500)).await.unwrap();
        // A second word about the same call changes nothing.
        running.ledger.completed("r-3", CallOutcome::Answered(200)).await.unwrap();
        let all = running.entries("").await;
        let told: Vec<_> = all.iter().map(|entry| entry.outcome.as_str()).collect();
        assert_eq!(told, ["done 201", "refused 404", "failed 500"], "{backend}");
        assert_eq!(
            (all[0].kind.as_str(), all[0].object.as_str(), all[0].project.as_str()),
            ("call.post", "machine/web-1", "hello")
        );
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_an_earlier_life_ends_as_unknown() {
    let house = House::new(testing::sqlite()).await;
    let running = house.start().await;
    running.ledger.opened(&call("r-1")).await.unwrap();
    running.kill().await;
    let running = house.start().await;
    running.signed(1).await;
    let all = running.entries("").await;
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].outcome.as_str(), all[0].service.as_str()), ("unknown", "calls"));
    assert_eq!(all[0].who.as_ref().unwrap().name, "Ada");
}
