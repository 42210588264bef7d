//! A person who is erased is unreadable; the log verifies as before.

use hafen_base::{Actor, ErrorKind};
use hafen_client::wire::LedgerErase;
use hafen_db::{Location, sqlx, testing};
use sqlx::Row as _;

use crate::support::{House, backup, person, restore, until};

const NAME: &str = "Ada-Lovelace-of-London";

async fn everything(house: &House) -> String {
    let mut found = String::new();
    match &house.database.location {
        Location::Sqlite(folder) => {
            for name in ["ledger.db", "ledger.db-wal"] {
                let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
                found.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        Location::Postgres(_) => {
            let db = hafen_db::Db::open(&house.database.location, "ledger", hafen_ledger::MIGRATIONS)
                .await
                .unwrap();
            for table in ["entry", "personal", "person", "erasure", "call"] {
                let sql = sqlx::AssertSqlSafe(format!("SELECT CAST(t.* AS TEXT) AS row FROM {table} t"));
                for row in sqlx::query(sql).fetch_all(db.reader()).await.unwrap() {
                    found.push_str(&row.get::<String, _>("row"));
                }
            }
        }
    }
    for entry in std::fs::read_dir(house.folder.path().join("apart")).unwrap() {
        found.push_str(&String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_person_is_left_but_noise() {
    for (backend, database) in testing::both() {
        let house = House::new(database).await;
        let running = house.start().await;
        let (ada, bob) = (person("u-ada-1815", NAME), person("u-bob", "Bob"));
        for n in 0..40 {
            house
                .things
                .happens(
                    ada.clone(),
                    "machine.created",
                    &format!("machine/m-{n}"),
                    &format!("{NAME} made it"),
                )
                .await;
        }
        house
            .things
            .happens(bob.clone(), "person.invited", "person/u-ada-1815", &format!("Bob invited {NAME}"))
            .await;
        house.things.happens(bob.clone(), "machine.created", "machine/b", "Bob made it").await;
        running.signed(42).await;
        assert!(everything(&house).await.contains(NAME), "{backend}");
        assert_eq!(running.entries(&format!("actor={NAME}")).await.len(), 40);
        assert_eq!(running.entries("object=person/u-ada-1815").await.len(), 1);
        let before = running.export("").await;

        let body = LedgerErase { person: "u-ada-1815".into(), reason: "Art. 17".into() };
        let erased = bob.acts(running.ledger.erase(&body)).await.unwrap();
        assert_eq!((erased.pseudonyms.len(), erased.entries), (1, 41), "{backend}");
        running.signed(43).await;
        let left = everything(&house).await;
        for clear in [NAME, "u-ada-1815"] {
            assert!(!left.contains(clear), "{backend}: {clear} is still there");
        }
        // It can be told that it happened and who asked for it, and the entries are where they were.
        let all = running.entries("limit=1000").await;
        assert_eq!(all.len(), 43);
        assert!(
            all[..40]
                .iter()
                .all(|entry| entry.who.is_none() && entry.what.is_none() && entry.actor.starts_with("p-"))
        );
        assert_eq!((all[40].who.as_ref().unwrap().name.as_str(), all[40].what.as_ref()), ("Bob", None));
        assert_eq!(all[41].what.as_ref().unwrap().message, "Bob made it");
        assert_eq!(
            (all[42].kind.as_str(), all[42].who.as_ref().unwrap().name.as_str()),
            ("ledger.erase", "Bob")
        );
        assert!(running.entries(&format!("actor={NAME}")).await.is_empty());
        let verified = running.verify("personal=true").await;
        assert_eq!(verified.checkpoint.size, 43, "{backend}");
        drop(before);

        let again = running.ledger.erase(&body).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotFound);
        // Whoever comes back under the same id is somebody new.
        let pseudonym = all[0].actor.clone();
        house.things.happens(ada, "machine.created", "machine/again", "back").await;
        running.signed(44).await;
        let back = running.entries("object=machine/again").await;
        assert_ne!(back[0].actor, pseudonym);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_reaches_a_restored_backup() {
    let house = House::new(testing::sqlite()).await;
    let location = &house.database.location;
    let running = house.start().await;
    house.things.happens(person("u-ada", NAME), "machine.created", "machine/a", "made").await;
    running.signed(1).await;
    let backup = backup(location).await;
    let body = LedgerErase { person: "u-ada".into(), reason: "Art. 17".into() };
    Actor::platform().acts(running.ledger.erase(&body)).await.unwrap();
    running.signed(2).await;
    running.stop().await;

    // The backup knows her; the next start does not any more, although it refuses to go on.
    restore(location, backup.path());
    let running = house.start().await;
    let all = running.entries("").await;
    assert_eq!((all.len(), all[0].who.as_ref()), (1, None));
    assert!(!running.health.is_ok());
    running.stop().await;
    assert!(!everything(&house).await.contains(NAME));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_written_down_and_cut_off_is_carried_out() {
    let house = House::new(testing::sqlite()).await;
    let running = house.start().await;
    house.things.happens(person("u-ada", NAME), "machine.created", "machine/a", "made").await;
    running.signed(1).await;
    running.stop().await;
    let db = hafen_db::Db::open(&house.database.location, "ledger", hafen_ledger::MIGRATIONS).await.unwrap();
    let mut tx = db.write().await.unwrap();
    let sql = "INSERT INTO erasure (shard, pseudonym, done) SELECT shard, pseudonym, 0 FROM person";
    sqlx::query(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let running = house.start().await;
    until("it is carried out", async || running.entries("").await[0].who.is_none()).await;
    let apart = house.folder.path().join("apart/erasures");
    until("it is in the list apart", async || apart.exists()).await;
    running.stop().await;
}
