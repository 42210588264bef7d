//! A database that was brought back from a backup cannot fork the log.

use hafen_base::ErrorKind;
use hafen_client::wire::LedgerShardCreate;
use hafen_db::testing;
use hafen_http::{Call, CallLog as _};
use hafen_ledger::Ledger;

use crate::support::{House, Options, backup, config, person, restore, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_not_signed_and_says_what_to_do() {
    let house = House::new(testing::sqlite()).await;
    let running = house.start().await;
    house.things.many(300).await;
    running.signed(300).await;
    running.stop().await;
    let backup = backup(&house.database.location).await;

    let running = house.start().await;
    house.things.many(5).await;
    running.signed(305).await;
    let before = running.get("/ledger/checkpoint").await.2;
    running.stop().await;

    restore(&house.database.location, backup.path());
    house.things.many(50).await;
    let running = house.start().await;
    let told = running.health.all().into_iter().find(|part| part.name == "ledger").unwrap();
    assert_eq!(told.status, "paused");
    assert!(told.detail.contains("backup") && told.detail.contains("hafen ledger begin"), "{}", told.detail);
    let call =
        Call { id: "r-1".into(), actor: person("u-1", "Ada"), method: "POST".into(), path: "/x".into() };
    let error = running.ledger.opened(&call).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "ledger_refuses"));
    // The one call that ends this state is let through.
    let begin = Call { id: "r-2".into(), path: "/api/v1/ledger/shards".into(), ..call };
    running.ledger.opened(&begin).await.unwrap();
    // It can be read, and nothing was added or signed.
    assert_eq!(running.entries("limit=1000").await.len(), 300);
    let apart = std::fs::read_dir(house.folder.path().join("apart")).unwrap();
    let heads: Vec<Vec<u8>> = apart
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "checkpoint"))
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert_eq!(heads, [before], "the last checkpoint stands");

    // Another shard takes up all that the feeds still hold; the log goes on under another name.
    let (status, _, body) =
        running.request("POST", "/api/v1/ledger/shards", r#"{"reason": "the disk died"}"#).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    running.ledger.completed("r-2", hafen_http::CallOutcome::Answered(201)).await.unwrap();
    running.signed(57).await;
    let shards = running.shards().await;
    assert_eq!((shards.len(), shards[0].state.as_str()), (2, "abandoned"));
    assert_eq!(shards[1].name, format!("{}-2", shards[0].name));
    let all = running.entries("limit=1000").await;
    let added: Vec<(&str, i64)> =
        all.iter().filter(|e| e.shard == shards[1].name).map(|e| (e.service.as_str(), e.seq)).collect();
    assert_eq!(added[0].0, "ledger");
    let things: Vec<i64> =
        added.iter().filter(|(service, _)| *service == "things").map(|(_, seq)| *seq).collect();
    assert_eq!(things, (301..=355).collect::<Vec<_>>());
    assert_eq!(running.verify("").await.checkpoint.size, 57);
    let again = running.ledger.begin(&LedgerShardCreate { reason: "x".into() }).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    running.stop().await;
    // And it stays so.
    let running = house.start().await;
    house.things.many(1).await;
    running.signed(58).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_changed_is_not_signed() {
    for (backend, database) in testing::both() {
        let house = House::new(database).await;
        let running = house.start().await;
        house.things.many(10).await;
        running.signed(10).await;
        // Somebody with access to the database changes what was.
        let db =
            hafen_db::Db::open(&house.database.location, "ledger", hafen_ledger::MIGRATIONS).await.unwrap();
        let mut tx = db.write().await.unwrap();
        hafen_db::sqlx::query("UPDATE entry SET record = REPLACE(record, 'm-3', 'm-4') WHERE position = 3")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        house.things.many(1).await;
        until("it stands still", async || !running.health.is_ok()).await;
        let told = running.health.all().into_iter().find(|part| part.name == "ledger").unwrap();
        assert!(told.detail.contains("are not those that were signed"), "{backend}: {}", told.detail);
        running.stop().await;
        let opened = Ledger::open(config(
            &house.database.location,
            house.folder.path(),
            house.feeds(),
            Options::default(),
        ));
        opened.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_apart_that_is_lost_or_damaged_is_not_passed_over() {
    let house = House::new(testing::sqlite()).await;
    let running = house.start().await;
    house.things.many(3).await;
    running.signed(3).await;
    let shard = running.shards().await[0].name.clone();
    running.stop().await;
    let head = house.folder.path().join("apart").join(format!("{shard}.checkpoint"));
    let good = std::fs::read(&head).unwrap();

    std::fs::write(&head, String::from_utf8(good.clone()).unwrap().replace("\n3\n", "\n2\n")).unwrap();
    let damaged = Ledger::open(config(
        &house.database.location,
        house.folder.path(),
        house.feeds(),
        Options::default(),
    ))
    .await;
    assert!(damaged.err().unwrap().message().contains("is damaged"));

    std::fs::remove_file(&head).unwrap();
    let running = house.start().await;
    let told = running.health.all().into_iter().find(|part| part.name == "ledger").unwrap();
    assert!(told.detail.contains("does not know of it"), "{}", told.detail);
    running.stop().await;

    std::fs::write(&head, good).unwrap();
    let running = house.start().await;
    house.things.many(1).await;
    running.signed(4).await;
}
