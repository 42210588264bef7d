//! The event log of a service: written in the transaction of the change (an outbox), read in one order.
//!
//! The position comes from a counter row that the transaction locks, so positions are given out in commit order and
//! without gaps, on both databases: a reader that saw position 7 can never later meet a 6.

use std::sync::Arc;

use async_trait::async_trait;
use hafen_base::{Actor, Clock, Error, Permitted, Result};
use hafen_client::wire::Event;
use hafen_db::{Columns, Db, Own, Tx, Visible, sqlx, store_error};
use serde_json::Value;
use sqlx::Row as _;
use tokio::sync::watch;

/// An event about to be written.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub project: String,
    /// As `machine.started`.
    pub kind: &'static str,
    /// As `machine/web-1`.
    pub object: String,
    /// For a person.
    pub message: String,
    pub data: Value,
}

/// What happened in one service, for whoever follows it: in order, without gaps, and with who did it.
#[async_trait]
pub trait Feed: Send + Sync + 'static {
    /// Name of the service; stays.
    fn service(&self) -> &'static str;

    /// Events after position `after`, oldest first.
    async fn read(&self, after: i64, limit: u32) -> Result<Vec<Event>>;

    /// Rings whenever there may be more.
    fn subscribe(&self) -> watch::Receiver<()>;
}

#[async_trait]
impl Feed for EventLog {
    fn service(&self) -> &'static str {
        self.service
    }

    async fn read(&self, after: i64, limit: u32) -> Result<Vec<Event>> {
        Self::read(self, after, limit, None).await
    }

    fn subscribe(&self) -> watch::Receiver<()> {
        Self::subscribe(self)
    }
}

/// Which events are wanted; all that is given must hold.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// Only of this project.
    pub project: Option<String>,
    /// Only of kinds that begin so, as `alert.`.
    pub kind: Option<&'static str>,
    /// Only of this object, as `machine/web-1`.
    pub object: Option<String>,
    /// Only what the reader may see.
    pub permitted: Permitted,
}

/// Whose an event is. One of no project is its actor's organisation's.
const COLUMNS: Columns = Columns { project: "project", at: Some("at"), organisation: Own::Actor("actor") };

/// Events are kept for this many; older ones are dropped.
const KEPT: i64 = 200_000;

/// The log, and a bell that rings when it grew.
#[derive(Clone)]
pub struct EventLog {
    service: &'static str,
    db: Db,
    clock: Arc<dyn Clock>,
    bell: Arc<watch::Sender<()>>,
}

impl EventLog {
    pub fn new(service: &'static str, db: Db, clock: Arc<dyn Clock>) -> Self {
        Self { service, db, clock, bell: Arc::new(watch::Sender::new(())) }
    }

    /// Writes an event in the caller's transaction. Call `ring` after the commit.
    ///
    /// # Errors
    /// As the database's.
    pub async fn append(&self, tx: &mut Tx, event: NewEvent) -> Result<i64> {
        self.append_many(tx, vec![event]).await
    }

    /// Writes several events; gives the last position.
    ///
    /// # Errors
    /// As the database's.
    pub async fn append_many(&self, tx: &mut Tx, events: Vec<NewEvent>) -> Result<i64> {
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        let row = sqlx::query("UPDATE event_counter SET seq = seq + $1 WHERE id = 1 RETURNING seq")
            .bind(count)
            .fetch_one(&mut **tx)
            .await
            .map_err(store_error)?;
        let last: i64 = row.try_get("seq").map_err(store_error)?;
        let at = self.clock.now().micros();
        let actor = serde_json::to_string(&Actor::current()).map_err(Error::internal)?;
        for (seq, event) in (last - count + 1..).zip(events) {
            sqlx::query(
                "INSERT INTO event (seq, at, project, kind, object, message, data, actor) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
                .bind(seq)
                .bind(at)
                .bind(event.project)
                .bind(event.kind)
                .bind(event.object)
                .bind(event.message)
                .bind(event.data.to_string())
                .bind(&actor)
                .execute(&mut **tx)
                .await
                .map_err(store_error)?;
            if seq % 1000 == 0 {
                sqlx::query("DELETE FROM event WHERE seq <= $1")
                    .bind(seq - KEPT)
                    .execute(&mut **tx)
                    .await
                    .map_err(store_error)?;
            }
        }
        Ok(last)
    }

    /// Tells readers and waiters that something was committed.
    pub fn ring(&self) {
        self.bell.send_replace(());
    }

    /// Wakes at every `ring`. Subscribe first, then read, then wait: nothing is missed.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// How many wait for the bell just now.
    pub fn readers(&self) -> usize {
        self.bell.receiver_count()
    }

    /// Position of the oldest event that is still kept; 0 when there is none.
    ///
    /// # Errors
    /// As the database's.
    pub async fn oldest(&self) -> Result<i64> {
        let row = sqlx::query("SELECT COALESCE(MIN(seq), 0) AS seq FROM event")
            .fetch_one(self.db.reader())
            .await
            .map_err(store_error)?;
        row.try_get("seq").map_err(store_error)
    }

    /// Events after position `after`, oldest first.
    ///
    /// # Errors
    /// As the database's.
    pub async fn read(&self, after: i64, limit: u32, project: Option<&str>) -> Result<Vec<Event>> {
        let project = project.map(ToOwned::to_owned);
        self.read_permitted(
            after,
            limit,
            &EventFilter { project, kind: None, object: None, permitted: Permitted::Everything },
        )
        .await
    }

    /// As `read`, of what the filter lets through.
    ///
    /// # Errors
    /// As the database's.
    pub async fn read_permitted(&self, after: i64, limit: u32, filter: &EventFilter) -> Result<Vec<Event>> {
        self.select(after, i64::MAX, "", limit, filter).await
    }

    /// The newest events that the filter lets through, newest first.
    ///
    /// # Errors
    /// As the database's.
    pub async fn latest(&self, limit: u32, filter: &EventFilter) -> Result<Vec<Event>> {
        self.read_back(i64::MAX, limit, filter).await
    }

    /// The newest of those before position `before`, newest first.
    ///
    /// # Errors
    /// As the database's.
    pub async fn read_back(&self, before: i64, limit: u32, filter: &EventFilter) -> Result<Vec<Event>> {
        self.select(0, before, "DESC", limit, filter).await
    }

    async fn select(
        &self,
        after: i64,
        before: i64,
        order: &'static str,
        limit: u32,
        filter: &EventFilter,
    ) -> Result<Vec<Event>> {
        let visible = Visible::new(&filter.permitted, COLUMNS, 8);
        let kind = filter.kind.unwrap_or("");
        let sql = format!(
            "SELECT seq, at, project, kind, object, message, data, actor FROM event WHERE seq > $1 AND seq < $7 \
             AND ($2 = '' OR project = $2) AND ($3 = '' OR substr(kind, 1, CAST($4 AS INTEGER)) = $3) \
             AND ($6 = '' OR object = $6) AND {} ORDER BY seq {order} LIMIT $5",
            visible.condition()
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(after)
            .bind(filter.project.clone().unwrap_or_default())
            .bind(kind)
            .bind(i64::try_from(kind.len()).unwrap_or(0))
            .bind(i64::from(limit))
            .bind(filter.object.clone().unwrap_or_default())
            .bind(before);
        let rows = visible.bind(query).fetch_all(self.db.reader()).await.map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok(Event {
                    seq: row.try_get("seq").map_err(store_error)?,
                    at: hafen_base::Timestamp::from_micros(row.try_get("at").map_err(store_error)?),
                    project: row.try_get("project").map_err(store_error)?,
                    kind: row.try_get("kind").map_err(store_error)?,
                    object: row.try_get("object").map_err(store_error)?,
                    message: row.try_get("message").map_err(store_error)?,
                    data: serde_json::from_str(row.try_get::<&str, _>("data").map_err(store_error)?)
                        .unwrap_or(Value::Null),
                    // Written before there were actors: nobody knows any more.
                    actor: serde_json::from_str(row.try_get::<&str, _>("actor").map_err(store_error)?)
                        .unwrap_or_else(|_| Actor::platform()),
                })
            })
            .collect()
    }

    /// The last position given out.
    ///
    /// # Errors
    /// As the database's.
    pub async fn last(&self) -> Result<i64> {
        let row = sqlx::query("SELECT seq FROM event_counter WHERE id = 1")
            .fetch_one(self.db.reader())
            .await
            .map_err(store_error)?;
        row.try_get("seq").map_err(store_error)
    }
}
