//! One process at a time works on a certificate, and what one that took too long came by is not written over another's.

use std::time::Duration;

use hafen_base::{Clock as _, SystemClock, Timestamp};
use hafen_db::{Db, testing};
use hafen_edge::certificate::store::{self, CertificateRow};

async fn update(db: &Db, row: &CertificateRow, process: &str) -> bool {
    let mut tx = db.write().await.unwrap();
    let done = store::update(&mut tx, row, process, 2).await.unwrap();
    tx.commit().await.unwrap();
    done
}

#[tokio::test]
async fn who_lost_the_lease_writes_nothing() {
    for (name, test) in testing::both() {
        let db = Db::open(&test.location, "edge", hafen_edge::store::MIGRATIONS).await.unwrap();
        let now = SystemClock.now();
        let row = CertificateRow {
            host: "shop.example.org".into(),
            project: "hello".into(),
            ..CertificateRow::default()
        };
        let mut tx = db.write().await.unwrap();
        store::wish(&mut tx, &row, 1).await.unwrap();
        tx.commit().await.unwrap();
        let lease = |process: &'static str, at: Timestamp| {
            store::lease(&db, "shop.example.org", process, at, Duration::from_secs(60))
        };
        assert!(lease("one", now).await.unwrap(), "{name}");
        assert!(!lease("two", now).await.unwrap(), "{name}");
        let later = now.plus(Duration::from_secs(61));
        assert!(lease("two", later).await.unwrap(), "{name}");
        let of = |chain: &str| CertificateRow { chain: chain.into(), state: "ready".into(), ..row.clone() };
        assert!(!update(&db, &of("late"), "one").await, "{name}");
        assert!(update(&db, &of("good"), "two").await, "{name}");
        assert!(!update(&db, &of("late"), "one").await, "{name}");
        assert_eq!(store::get(&db, "shop.example.org").await.unwrap().unwrap().chain, "good", "{name}");
        // Given back undone, it is the next one's at once.
        assert!(lease("one", later).await.unwrap(), "{name}");
        store::lease_end(&db, "shop.example.org", "one").await.unwrap();
        assert!(lease("two", later).await.unwrap(), "{name}");
    }
}
