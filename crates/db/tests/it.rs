//! Both databases behave alike.
use hafen_db::{Db, Migration, is_unique_violation, sqlx, testing};
use sqlx::Row as _;

const SCHEMA: &[Migration] = &[Migration {
    name: "20261124_thing",
    sql: "CREATE TABLE thing (name TEXT PRIMARY KEY, size BIGINT NOT NULL, note TEXT);\n",
}];

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_agree_on_the_portable_subset() {
    for (backend, test) in testing::both() {
        let db = Db::open(&test.location, "things", SCHEMA).await.unwrap();
        // Opening again migrates nothing.
        let db = {
            db.close().await;
            Db::open(&test.location, "things", SCHEMA).await.unwrap()
        };
        let mut tx = db.write().await.unwrap();
        let insert = "INSERT INTO thing (name, size, note) VALUES ($1, $2, $3)";
        sqlx::query(insert).bind("a").bind(7_i64).bind(None::<String>).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let row = sqlx::query("SELECT size, note FROM thing WHERE name = $1 AND size >= $2")
            .bind("a")
            .bind(1_i64)
            .fetch_one(db.reader())
            .await
            .unwrap();
        assert_eq!(row.get::<i64, _>("size"), 7, "{backend}");
        assert_eq!(row.get::<Option<String>, _>("note"), None, "{backend}");
        let mut tx = db.write().await.unwrap();
        let twice = sqlx::query(insert).bind("a").bind(8_i64).bind("n").execute(&mut *tx).await.unwrap_err();
        assert!(is_unique_violation(&twice), "{backend}: {twice}");
        drop(tx);
        assert_eq!(
            sqlx::query("SELECT name FROM thing").fetch_all(db.reader()).await.unwrap().len(),
            1,
            "{backend}"
        );
    }
}
