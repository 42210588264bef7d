//! Transactions that share a commit: each is whole or not there, whatever becomes of its neighbours.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hafen_base::{ErrorKind, Result};
use hafen_db::{Db, Migration, Tx, sqlx, store_error, testing};
use sqlx::{Executor as _, Row as _};

const SCHEMA: &[Migration] = &[Migration {
    name: "20261124_pair",
    sql: "CREATE TABLE pair (id BIGINT NOT NULL, half BIGINT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (id, half));\n\
          CREATE TABLE counter (n BIGINT NOT NULL);\nINSERT INTO counter (n) VALUES (0);\n",
}];

async fn half(tx: &mut Tx, id: i64, half: i64, text: &str) -> Result<()> {
    sqlx::query("INSERT INTO pair (id, half, text) VALUES ($1, $2, $3)")
        .bind(id)
        .bind(half)
        .bind(text)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("UPDATE counter SET n = n + 1").execute(&mut **tx).await.map_err(store_error)?;
    Ok(())
}

/// Two rows and two counts, in one transaction.
async fn both_halves(db: &Db, id: i64, text: &str) -> Result<()> {
    let mut tx = db.write().await?;
    half(&mut tx, id, 1, text).await?;
    tokio::task::yield_now().await;
    half(&mut tx, id, 2, text).await?;
    tx.commit().await.map_err(store_error)
}

/// Ids whose halves are there; fails when only one is, or when the counter knows of others.
async fn whole(db: &Db) -> Vec<i64> {
    let rows = sqlx::query("SELECT id, COUNT(*) AS halves FROM pair GROUP BY id ORDER BY id")
        .fetch_all(db.reader())
        .await
        .unwrap();
    for row in &rows {
        assert_eq!(row.get::<i64, _>("halves"), 2, "half a transaction is there");
    }
    let count = sqlx::query("SELECT n FROM counter").fetch_one(db.reader()).await.unwrap();
    assert_eq!(count.get::<i64, _>("n"), 2 * i64::try_from(rows.len()).unwrap());
    rows.iter().map(|row| row.get("id")).collect()
}

async fn sees(db: &Db, id: i64) -> bool {
    let row =
        sqlx::query("SELECT COUNT(*) AS halves FROM pair WHERE id = $1").bind(id).fetch_one(db.reader());
    row.await.unwrap().get::<i64, _>("halves") == 2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_answered_reads_its_own_write_and_nothing_is_lost() {
    let test = testing::sqlite();
    let db = Db::open(&test.location, "pairs", SCHEMA).await.unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|worker| {
            let db = db.clone();
            tokio::spawn(async move {
                for round in 0..25 {
                    let id = worker * 100 + round;
                    both_halves(&db, id, "x").await.unwrap();
                    assert!(sees(&db, id).await, "{id} was answered and is not there");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(whole(&db).await.len(), 16 * 25);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_dropped_the_refused_and_the_cut_off_leave_nothing_and_harm_nobody() {
    let test = testing::sqlite();
    let db = Db::open(&test.location, "pairs", SCHEMA).await.unwrap();
    let good = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for worker in 0..24_i64 {
        let (db, good) = (db.clone(), Arc::clone(&good));
        tasks.push(tokio::spawn(async move {
            for round in 0..20_i64 {
                let id = worker * 1000 + round;
                match worker % 4 {
                    0 | 1 => {
                        both_halves(&db, id, "x").await.unwrap();
                        good.fetch_add(1, Ordering::Relaxed);
                        assert!(sees(&db, id).await);
                    }
                    // Dropped in the middle.
                    2 => {
                        let mut tx = db.write().await.unwrap();
                        half(&mut tx, id, 1, "x").await.unwrap();
                    }
                    // Refused by the database, then dropped.
                    _ => {
                        let mut tx = db.write().await.unwrap();
                        half(&mut tx, id, 1, "x").await.unwrap();
                        half(&mut tx, id, 1, "x").await.unwrap_err();
                    }
                }
            }
        }));
    }
    // Cut off anywhere: while they wait, begin, write or commit.
    for cut in 0..200_i64 {
        let other = db.clone();
        let task = tokio::spawn(async move { both_halves(&other, 1_000_000 + cut, "x").await });
        for _ in 0..cut % 23 {
            tokio::task::yield_now().await;
        }
        task.abort();
        let _cut_off = task.await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    both_halves(&db, 5_000_000, "x").await.unwrap();
    let there = whole(&db).await;
    let sound = there.iter().filter(|id| **id < 1_000_000).count();
    assert_eq!(u64::try_from(sound).unwrap(), good.load(Ordering::Relaxed));
    assert!(there.contains(&5_000_000));
}

/// A part that goes away gives the file's write lock back: another process (here another pool) can write at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_transaction_gives_the_write_lock_back() {
    let test = testing::sqlite();
    let db = Db::open(&test.location, "pairs", SCHEMA).await.unwrap();
    let other = Db::open(&test.location, "pairs", SCHEMA).await.unwrap();
    let mut tx = db.write().await.unwrap();
    half(&mut tx, 1, 1, "x").await.unwrap();
    drop(tx);
    both_halves(&other, 2, "x").await.unwrap();
    assert_eq!(whole(&db).await, [2]);
}

/// A full disk, as a file that may not grow: who was answered well is there, who was refused is not, and it works again
/// once there is room. SQLite then ends a whole transaction by itself, and those that shared it are told to try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_fails_those_it_must() {
    let test = testing::sqlite();
    let db = Db::open(&test.location, "pairs", SCHEMA).await.unwrap();
    let limit = async |pages: u32| {
        let mut tx = db.write().await.unwrap();
        let sql = format!("PRAGMA max_page_count = {pages}");
        (&mut *tx).execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        tx.commit().await.unwrap();
    };
    limit(60).await;
    let text = "x".repeat(3000);
    let mut tasks = Vec::new();
    for id in 0..100_i64 {
        let (db, text) = (db.clone(), text.clone());
        tasks.push(tokio::spawn(async move {
            let mut outcome = both_halves(&db, id, &text).await;
            if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable) {
                outcome = both_halves(&db, id, &text).await;
            }
            match outcome {
                Ok(()) => Some(id),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}: {}", error.cause_chain());
                    None
                }
            }
        }));
    }
    let mut good = Vec::new();
    for task in tasks {
        good.extend(task.await.unwrap());
    }
    assert!(!good.is_empty() && good.len() < 60, "{} fitted", good.len());
    assert_eq!(whole(&db).await, good);
    let alone = both_halves(&db, 1000, &text).await.unwrap_err();
    assert_eq!(alone.kind(), ErrorKind::NoSpace, "{alone}");
    limit(1_000_000).await;
    both_halves(&db, 1000, &text).await.unwrap();
    assert!(sees(&db, 1000).await);
}
