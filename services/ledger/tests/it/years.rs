//! A year is a log of its own, and goes as a whole.

use std::time::Duration;

use hafen_db::testing;

use crate::support::{House, Moved, Options, Running, person, until};

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn years_follow_one_another_and_expire_by_the_rule() {
    for (backend, database) in testing::both() {
        let house = House::new(database).await;
        let clock = Moved::default();
        let options = || Options { clock: clock.clone(), keep_years: 1, ..Options::default() };
        let start = async || {
            Running::with(&house.database.location, house.folder.path(), house.feeds(), options()).await
        };
        let running = start().await;
        house.things.happens(person("u-1", "Ada"), "machine.created", "machine/a", "first year").await;
        running.signed(1).await;
        let first = running.shards().await[0].name.clone();

        clock.step(YEAR);
        house.things.happens(person("u-1", "Ada"), "machine.created", "machine/b", "second year").await;
        until("a second shard", async || running.shards().await.len() == 2).await;
        running.signed(1).await;
        let all = running.entries("actor=u-1").await;
        assert_eq!(all.len(), 2, "{backend}");
        assert_ne!(all[0].actor, all[1].actor, "{backend}: a pseudonym is of one shard");
        assert_eq!((all[1].position, running.shards().await[0].state.as_str()), (0, "closed"), "{backend}");
        assert_eq!(running.verify(&format!("shard={first}")).await.checkpoint.size, 1);
        assert_eq!(running.verify("").await.checkpoint.size, 1);
        running.stop().await;

        // The end of the first year is now more than one year past.
        clock.step(YEAR);
        let running = start().await;
        until("the first shard is gone", async || running.shards().await[0].state == "expired").await;
        let all = running.entries("").await;
        assert!(all.iter().all(|entry| entry.shard != first), "{backend}");
        assert_eq!(all.last().unwrap().kind, "ledger.expire");
        assert_eq!(running.get(&format!("/api/v1/ledger/export?shard={first}")).await.0, 404);
        running.stop().await;
    }
}
