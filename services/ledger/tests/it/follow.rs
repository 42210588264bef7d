//! Events come in once each, in order, whoever follows and however often it is cut off.

use hafen_base::Actor;
use hafen_db::testing;

use crate::support::{House, Running, Things, person, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_written_down_signed_and_proven() {
    for (backend, database) in testing::both() {
        let house = House::new(database).await;
        let running = house.start().await;
        let ada = person("u-1", "Ada Lovelace");
        house.things.happens(ada, "machine.created", "machine/web-1", "Ada made web-1").await;
        house.things.happens(Actor::platform(), "machine.failed", "machine/web-1", "no room").await;
        house.things.many(600).await;
        running.signed(602).await;

        let all = running.entries("limit=1000").await;
        assert_eq!(all.len(), 602, "{backend}");
        assert!(
            all.iter().zip(0..).all(|(entry, at)| entry.position == at && entry.seq == at + 1),
            "{backend}"
        );
        let first = &all[0];
        assert_eq!(first.who.as_ref().unwrap().name, "Ada Lovelace");
        assert_eq!(first.what.as_ref().unwrap().message, "Ada made web-1");
        assert_eq!((first.kind.as_str(), first.outcome.as_str()), ("machine.created", "done"));
        assert!(!first.record.contains("Ada") && !first.record.contains("192.0.2.7"), "{}", first.record);
        assert_eq!((all[1].outcome.as_str(), all[1].who.as_ref()), ("failed", None));

        let verified = running.verify("personal=true").await;
        assert_eq!(
            (verified.checkpoint.size, verified.personal, verified.manifest),
            (602, 3, true),
            "{backend}"
        );
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_followers_write_nothing_twice() {
    for (backend, database) in testing::both() {
        let house = House::new(database).await;
        let others = Things::open(&house.database.location, "others").await;
        let mut feeds = house.feeds();
        feeds.push(std::sync::Arc::new(others.events.clone()));
        // Two replicas over one database and one place apart.
        let location = &house.database.location;
        let one = Running::new(location, house.folder.path(), feeds.clone()).await;
        let two = Running::new(location, house.folder.path(), feeds.clone()).await;
        for round in 0..20 {
            house.things.many(17).await;
            others.many(round).await;
        }
        let expected = 20 * 17 + 190;
        one.signed(expected).await;
        let all = one.entries("limit=1000").await;
        assert_eq!(i64::try_from(all.len()).unwrap(), expected, "{backend}");
        for (service, count) in [("things", 340), ("others", 190)] {
            let seqs: Vec<i64> = all.iter().filter(|e| e.service == service).map(|e| e.seq).collect();
            assert_eq!(seqs, (1..=count).collect::<Vec<_>>(), "{backend} {service}");
        }
        assert_eq!(two.verify("").await.checkpoint.size, u64::try_from(expected).unwrap());
        one.stop().await;
        two.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_that_are_cut_off_anywhere_lose_nothing() {
    let house = House::new(testing::sqlite()).await;
    let mut expected = 0;
    for round in 0..30_u32 {
        let running = house.start().await;
        house.things.many(40).await;
        expected += 40;
        for _ in 0..round * 3 {
            tokio::task::yield_now().await;
        }
        running.kill().await;
    }
    let running = house.start().await;
    running.signed(expected).await;
    let all = running.entries("limit=1000").await;
    assert!(all.iter().zip(1..).all(|(entry, seq)| entry.seq == seq), "none lost, none twice, in order");
    assert_eq!(i64::try_from(all.len()).unwrap(), expected);
    assert_eq!(running.verify("").await.checkpoint.size, 1200);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_dropped_before_they_were_read_are_known_to_be_missing() {
    let house = House::new(testing::sqlite()).await;
    house.things.many(10).await;
    let mut tx = house.things.db.write().await.unwrap();
    hafen_db::sqlx::query("DELETE FROM event WHERE seq <= 4").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let running = house.start().await;
    running.signed(7).await;
    let all = running.entries("").await;
    assert_eq!(all[0].kind, "ledger.gap");
    assert_eq!(all[0].what.as_ref().unwrap().data, serde_json::json!({"from": 1, "to": 4}));
    assert_eq!(all[1].seq, 5);
    until("nothing more comes", async || running.entries("").await.len() == 7).await;
}
