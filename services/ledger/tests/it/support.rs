//! A ledger over a service whose events are real, and whose time can be moved.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Actor, ActorKind, Clock, SystemClock, SystemRandom, Timestamp};
use hafen_client::wire::{LedgerEntry, List};
use hafen_db::testing::TestDb;
use hafen_db::{Db, Location};
use hafen_ledger::witness::WitnessConfig;
use hafen_ledger::{ExportFiles, Ledger, LedgerConfig, PersonalCheck};
use hafen_seal::MasterKey;
use hafen_tlog::{Verified, VerifierKey, verify_export};
use hafen_work::{EventLog, Feed, Health, NewEvent};
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

/// The real clock, moved.
#[derive(Clone, Default)]
pub struct Moved(Arc<AtomicI64>);

impl Moved {
    pub fn step(&self, duration: Duration) {
        self.0.fetch_add(i64::try_from(duration.as_micros()).unwrap(), Ordering::SeqCst);
    }

    pub fn back(&self, duration: Duration) {
        self.0.fetch_sub(i64::try_from(duration.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().micros() + self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

/// A service with an event log.
#[derive(Clone)]
pub struct Things {
    pub db: Db,
    pub events: EventLog,
}

impl Things {
    pub async fn open(location: &Location, service: &'static str) -> Self {
        let migrations = [hafen_work::MIGRATION, hafen_work::ACTOR_MIGRATION];
        let db = Db::open(location, service, &migrations).await.unwrap();
        Self { events: EventLog::new(service, db.clone(), Arc::new(SystemClock)), db }
    }

    pub async fn happens(&self, actor: Actor, kind: &'static str, object: &str, message: &str) {
        let event = NewEvent {
            project: "hello".into(),
            kind,
            object: object.into(),
            message: message.into(),
            data: serde_json::json!({}),
        };
        let work = async {
            let mut tx = self.db.write().await.unwrap();
            self.events.append(&mut tx, event).await.unwrap();
            tx.commit().await.unwrap();
            self.events.ring();
        };
        actor.acts(work).await;
    }

    pub async fn many(&self, count: usize) {
        let event = |n: usize| NewEvent {
            project: "hello".into(),
            kind: "machine.started",
            object: format!("machine/m-{n}"),
            message: String::new(),
            data: serde_json::Value::Null,
        };
        let mut tx = self.db.write().await.unwrap();
        self.events.append_many(&mut tx, (0..count).map(event).collect()).await.unwrap();
        tx.commit().await.unwrap();
        self.events.ring();
    }
}

pub fn person(id: &str, name: &str) -> Actor {
    Actor {
        kind: ActorKind::Person,
        id: id.into(),
        name: name.into(),
        organisation: "o-1".into(),
        credential: format!("session/{id}"),
        address: Some("192.0.2.7".into()),
        request_id: "r-1".into(),
        reason: String::new(),
    }
}

/// A ledger that runs until this is dropped.
pub struct Running {
    pub ledger: Ledger,
    pub health: Health,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

pub struct Options {
    pub witnesses: Vec<WitnessConfig>,
    pub clock: Moved,
    pub keep_years: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { witnesses: Vec::new(), clock: Moved::default(), keep_years: 3 }
    }
}

pub fn config(
    location: &Location,
    folder: &Path,
    feeds: Vec<Arc<dyn Feed>>,
    options: Options,
) -> LedgerConfig {
    LedgerConfig {
        location: location.clone(),
        folder: folder.join("keys"),
        key: MasterKey::find(None, &folder.join("master"), &SystemRandom).unwrap(),
        apart: folder.join("apart"),
        origin: "test.example/ledger".into(),
        clock: Arc::new(options.clock),
        random: Arc::new(SystemRandom),
        health: Health::default(),
        feeds,
        witnesses: options.witnesses,
        keep_years: options.keep_years,
    }
}

impl Running {
    pub async fn new(location: &Location, folder: &Path, feeds: Vec<Arc<dyn Feed>>) -> Self {
        Self::with(location, folder, feeds, Options::default()).await
    }

    pub async fn with(
        location: &Location,
        folder: &Path,
        feeds: Vec<Arc<dyn Feed>>,
        options: Options,
    ) -> Self {
        let config = config(location, folder, feeds, options);
        let health = config.health.clone();
        let ledger = Ledger::open(config).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.run(stopped).await }
        });
        Self { ledger, health, stop, task: Some(task) }
    }

    /// `SIGKILL`, as far as a task can have it.
    pub async fn kill(mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _aborted = task.await;
    }

    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.task.take().unwrap().await.unwrap();
    }

    pub async fn get(&self, path: &str) -> (http::StatusCode, http::HeaderMap, Vec<u8>) {
        self.request("GET", path, "").await
    }

    pub async fn request(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> (http::StatusCode, http::HeaderMap, Vec<u8>) {
        let (router, _) = self.ledger.router().split_for_parts();
        let router = hafen_http::finish(router, hafen_http::Access::token("t"), &[]);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", "Bearer t")
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_owned()))
            .unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    pub async fn json(&self, path: &str) -> serde_json::Value {
        let (status, _, body) = self.get(path).await;
        assert!(status.is_success(), "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    pub async fn entries(&self, query: &str) -> Vec<LedgerEntry> {
        let mut all = Vec::new();
        let mut page = String::new();
        loop {
            let path = format!("/api/v1/ledger/entries?{query}{page}");
            let list: List<LedgerEntry> = serde_json::from_value(self.json(&path).await).unwrap();
            all.extend(list.items);
            let Some(next) = list.next_page else { return all };
            page = format!("&page={next}");
        }
    }

    pub async fn shards(&self) -> Vec<hafen_client::wire::LedgerShard> {
        let list: List<_> = serde_json::from_value(self.json("/api/v1/ledger/shards").await).unwrap();
        list.items
    }

    /// Waits until `count` entries are written down and signed in the newest shard.
    pub async fn signed(&self, count: i64) {
        until("the checkpoint", async || {
            let shards = self.shards().await;
            shards.last().is_some_and(|shard| shard.size >= count && shard.signed == shard.size)
        })
        .await;
    }

    /// Downloads an export; gives the file and the key.
    pub async fn export(&self, query: &str) -> (tempfile::NamedTempFile, VerifierKey) {
        let (status, _, bytes) = self.get(&format!("/api/v1/ledger/export?{query}")).await;
        assert!(status.is_success(), "{}", String::from_utf8_lossy(&bytes));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let shards = self.shards().await;
        let wanted = query.split('&').find_map(|part| part.strip_prefix("shard="));
        let shard = shards.iter().rev().find(|shard| wanted.is_none_or(|name| name == shard.name)).unwrap();
        (file, shard.key.parse().unwrap())
    }

    /// Exports and verifies.
    pub async fn verify(&self, query: &str) -> Verified {
        let (file, key) = self.export(query).await;
        verify_export(&ExportFiles::open(file.path()).unwrap(), &key, Some(&PersonalCheck)).unwrap()
    }
}

/// Waits until `check` holds.
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !check().await {
        assert!(tokio::time::Instant::now() < deadline, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A folder, a database, a service that is followed.
pub struct House {
    pub folder: tempfile::TempDir,
    pub database: TestDb,
    pub things: Things,
}

impl House {
    pub async fn new(database: TestDb) -> Self {
        let things = Things::open(&database.location, "things").await;
        Self { folder: tempfile::tempdir().unwrap(), database, things }
    }

    pub fn feeds(&self) -> Vec<Arc<dyn Feed>> {
        vec![Arc::new(self.things.events.clone())]
    }

    pub async fn start(&self) -> Running {
        Running::new(&self.database.location, self.folder.path(), self.feeds()).await
    }
}

/// A backup of the ledger's SQLite file, whole whoever writes meanwhile.
pub async fn backup(location: &Location) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(location, "ledger", hafen_ledger::MIGRATIONS).await.unwrap();
    let sql = format!("VACUUM INTO '{}'", folder.path().join("ledger.db").display());
    hafen_db::sqlx::query(hafen_db::sqlx::AssertSqlSafe(sql)).execute(db.reader()).await.unwrap();
    db.close().await;
    folder
}

/// Puts a backup in the place of the state: new files, as connections of before may still hold the old ones.
pub fn restore(location: &Location, backup: &Path) {
    let Location::Sqlite(state) = location else { panic!("SQLite") };
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _absent = std::fs::remove_file(state.join(name));
    }
    std::fs::copy(backup.join("ledger.db"), state.join("ledger.db")).unwrap();
}
