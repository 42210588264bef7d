//! Commits in groups, for SQLite: transactions that wait for the writer share one sync of the disk.
//!
//! A commit with `synchronous = FULL` costs a sync, 0.2 ms on a good disk and 10 ms on a poor one, while the statements of
//! a transaction cost a tenth of that. With one commit each, a thousand machines would take two thousand syncs one after
//! the other. So a transaction of a service is a *part*: a savepoint of one transaction of the database. A part that is
//! done hands the connection to the next that waits, queues up behind those, and commits for all when its turn comes; the
//! others are told. No part is answered before the commit that holds it, so an answered request is on disk, as before. With
//! nobody waiting a part commits at once: there is no delay to tune and no task in the background.
//!
//! What one part does the next ones see before it is on disk. That is no risk: they are committed with it, or fail with it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::{Any, AnyConnection, AnyPool, Executor as _};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

/// A transaction that writes. Dropped without `commit`, it leaves nothing.
#[derive(Debug)]
pub struct Tx(Kind);

#[derive(Debug)]
enum Kind {
    Whole(sqlx::Transaction<'static, Any>),
    // In this order: the turn is given back before `leave` asks for it.
    Part { turn: OwnedMutexGuard<Turn>, leave: Leave },
}

impl From<sqlx::Transaction<'static, Any>> for Tx {
    fn from(whole: sqlx::Transaction<'static, Any>) -> Self {
        Self(Kind::Whole(whole))
    }
}

impl Deref for Tx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match &self.0 {
            Kind::Whole(whole) => whole,
            Kind::Part { turn, .. } => &turn.connection,
        }
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match &mut self.0 {
            Kind::Whole(whole) => whole,
            Kind::Part { turn, .. } => &mut turn.connection,
        }
    }
}

impl Tx {
    /// Returns once everything is on disk.
    ///
    /// # Errors
    /// As the database's; then nothing of it is there.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self.0 {
            Kind::Whole(whole) => whole.commit().await,
            Kind::Part { turn, mut leave } => {
                leave.committed = true;
                let group = Arc::clone(&leave.group);
                // A task, because the caller may go away in the middle: the parts of others hang on it.
                let commit = tokio::spawn(async move { group.commit(turn).await });
                commit.await.unwrap_or_else(|ended| Err(sqlx::Error::Io(std::io::Error::other(ended))))
            }
        }
    }
}

/// How long a part waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// Parts of one commit at most: the first must not wait for ever on those that come.
const MOST: usize = 64;

/// The writer of one SQLite file, and the queue before it.
#[derive(Debug)]
pub(crate) struct Group {
    pool: AnyPool,
    turn: Arc<Mutex<Turn>>,
    /// Parts that wait to begin. Only a hint: it decides who commits, never whether.
    waiting: AtomicUsize,
}

/// What passes from part to part.
#[derive(Debug)]
struct Turn {
    connection: AnyConnection,
    /// A transaction of the database is open.
    open: bool,
    /// A part has begun and not ended. Left so by one that was dropped, or cut off anywhere between.
    torn: bool,
    /// So many of the next parts commit alone: after a failure, so that one which does not fit on the disk takes no others
    /// along that would.
    alone: usize,
    /// Parts that are done and wait for the commit: told nothing, or why it failed.
    done: Vec<oneshot::Sender<Option<String>>>,
}

/// Undoes a part that was dropped, now and not when the next one comes: the write lock of the file must not be held by
/// nobody.
#[derive(Debug)]
struct Leave {
    group: Arc<Group>,
    committed: bool,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        let group = Arc::clone(&self.group);
        // Without a runtime the process ends, and SQLite undoes what was open.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let mut turn = group.turn.lock().await;
                group.mend(&mut turn).await;
            });
        }
    }
}

struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Group {
    /// `pool` gives connections set up to write.
    pub async fn new(pool: AnyPool) -> Result<Self, sqlx::Error> {
        let connection = pool.acquire().await?.detach();
        let turn = Turn { connection, open: false, torn: false, alone: 0, done: Vec::new() };
        Ok(Self { pool, turn: Arc::new(Mutex::new(turn)), waiting: AtomicUsize::new(0) })
    }

    pub async fn begin(self: &Arc<Self>) -> Result<Tx, sqlx::Error> {
        let mut turn = {
            let _waits = Waits::new(&self.waiting);
            let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turn).lock_owned()).await;
            turn.map_err(|_| sqlx::Error::PoolTimedOut)?
        };
        self.mend(&mut turn).await;
        let leave = Leave { group: Arc::clone(self), committed: false };
        turn.torn = true;
        // At once with the write lock, so that a read followed by a write cannot fail halfway.
        let sql = if turn.open { "SAVEPOINT part" } else { "BEGIN IMMEDIATE; SAVEPOINT part" };
        if let Err(error) = turn.connection.execute(sql).await {
            return Err(self.fail(&mut turn, error).await);
        }
        turn.open = true;
        Ok(Tx(Kind::Part { turn, leave }))
    }

    async fn commit(&self, mut turn: OwnedMutexGuard<Turn>) -> Result<(), sqlx::Error> {
        if self.waiting.load(Ordering::Relaxed) == 0 || turn.alone > 0 || turn.done.len() >= MOST {
            turn.alone = turn.alone.saturating_sub(1);
            return self.end(&mut turn, "RELEASE part; COMMIT").await;
        }
        if let Err(error) = turn.connection.execute("RELEASE part").await {
            return Err(self.fail(&mut turn, error).await);
        }
        turn.torn = false;
        let (tell, mut told) = oneshot::channel();
        turn.done.push(tell);
        drop(turn);
        // The lock is fair: it comes here once all who waited at this moment had their turn, if nobody commits before.
        let outcome = tokio::select! {
            biased;
            outcome = &mut told => outcome.ok(),
            mut turn = Arc::clone(&self.turn).lock_owned() => {
                // One that was dropped may have to be undone; which may find that everything is lost, and tell so.
                self.mend(&mut turn).await;
                let Ok(outcome) = told.try_recv() else { return self.end(&mut turn, "COMMIT").await };
                Some(outcome)
            }
        };
        match outcome {
            Some(None) => Ok(()),
            Some(Some(why)) => Err(sqlx::Error::Io(std::io::Error::other(why))),
            None => Err(sqlx::Error::Io(std::io::Error::other("the commit was cut off"))),
        }
    }

    /// Commits and tells all.
    async fn end(&self, turn: &mut Turn, sql: &'static str) -> Result<(), sqlx::Error> {
        if let Err(error) = turn.connection.execute(sql).await {
            return Err(self.fail(turn, error).await);
        }
        (turn.open, turn.torn) = (false, false);
        for tell in turn.done.drain(..) {
            // One whose task ended needs no telling.
            let _gone = tell.send(None);
        }
        Ok(())
    }

    /// Undoes a part that was dropped; keeps what others have done.
    async fn mend(&self, turn: &mut Turn) {
        if !turn.torn {
            return;
        }
        if turn.done.is_empty() {
            self.reset(turn).await;
        } else if turn.connection.execute("ROLLBACK TO part; RELEASE part").await.is_err() {
            // SQLite ends the whole transaction by itself when the disk is full or fails. The part that met it was told
            // what it was; the others are lost with it, and may try again.
            let why = "a transaction that shared this commit met a disk that is full or fails";
            self.fail(turn, sqlx::Error::Io(std::io::Error::other(why))).await;
        } else {
            turn.torn = false;
        }
    }

    /// Nothing of the group will be on disk: tells all, and starts anew.
    async fn fail(&self, turn: &mut Turn, error: sqlx::Error) -> sqlx::Error {
        let why = error.to_string();
        for tell in turn.done.drain(..) {
            let _gone = tell.send(Some(why.clone()));
        }
        self.reset(turn).await;
        turn.alone = MOST;
        error
    }

    async fn reset(&self, turn: &mut Turn) {
        let undone = turn.connection.execute("ROLLBACK").await;
        // Where SQLite has undone it already, all is well. Otherwise the connection is of no use any more and another takes
        // its place; should there be none to be had, the next part meets the error.
        if undone.is_err_and(|error| !error.to_string().contains("no transaction is active"))
            && let Ok(fresh) = self.pool.acquire().await
        {
            turn.connection = fresh.detach();
        }
        (turn.open, turn.torn) = (false, false);
    }

    /// Closes what the pool holds; the connection of the writer goes with its last user.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
