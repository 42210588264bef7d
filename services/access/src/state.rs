//! The service's parts, put together once at start, and its runner: each second revocations are read, and whoever is on a machine
//! is asked about again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Actor, Clock, Random, Result, Timestamp};
use hafen_bastion::Revocations;
use hafen_client::Client;
use hafen_db::{Db, Location, store_error};
use hafen_sshca::SshCa;
use hafen_work::{EventLog, Health, Next, Reconciler, Runner, Wake};
use tokio::sync::{mpsc, watch};

use crate::store::{self, Forget};
use crate::watch::{WatchConfig, Watcher};
use crate::ways::Ways;

/// What the service is given.
pub struct AccessConfig {
    pub location: Location,
    /// The machines service.
    pub platform: Client,
    pub rights: Arc<dyn Rights>,
    pub ca: Arc<SshCa>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub health: Health,
    /// Where people reach the bastion, as `host:port`.
    pub bastion_address: Option<String>,
    /// None leaves machines alone.
    pub watch: Option<WatchConfig>,
    /// Sessions that ended are forgotten after this time; the ledger keeps its own.
    pub keep_sessions: Duration,
}

/// Says what somebody may do who is not asking just now.
#[async_trait]
pub trait Rights: Send + Sync + 'static {
    /// Whether they may log in to machines of this project now: by the roles they hold, while nobody revoked what they asked with.
    ///
    /// # Errors
    /// When it cannot be told now.
    async fn may_log_in(&self, actor: &Actor, project: &str) -> Result<bool>;
}

/// The service: cheap to clone.
#[derive(Clone)]
pub struct Access(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub db: Db,
    pub platform: Client,
    pub rights: Arc<dyn Rights>,
    pub ways: Ways,
    pub ca: Arc<SshCa>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub events: EventLog,
    pub health: Health,
    pub revocations: watch::Sender<Arc<Revocations>>,
    pub bastion_address: Mutex<Option<String>>,
    pub watch: Option<Watch>,
    pub keep_sessions: Duration,
}

/// The runner that checks machines, before it runs and while.
pub(crate) struct Watch {
    every: Duration,
    pub wake: Wake,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

/// Sessions that ended are listed for so many days, unless said otherwise.
pub const SESSION_DAYS: u32 = 90;
/// Rows that are forgotten in one transaction, so that nobody waits long for the writer.
const BATCH: u32 = 500;
/// Certificates are remembered for longer than a session may last after they ran out: by then nothing uses them.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

impl Access {
    /// Opens the store. Nothing runs before `run`.
    ///
    /// # Errors
    /// As the database's.
    pub async fn open(config: AccessConfig) -> Result<Self> {
        let db = Db::open(&config.location, "access", store::MIGRATIONS).await?;
        let access = Self(Arc::new(Parts {
            events: EventLog::new("access", db.clone(), Arc::clone(&config.clock)),
            db,
            platform: config.platform,
            rights: config.rights,
            ways: Ways::default(),
            ca: config.ca,
            clock: config.clock,
            random: config.random,
            health: config.health,
            revocations: watch::Sender::new(Arc::default()),
            bastion_address: Mutex::new(config.bastion_address),
            keep_sessions: config.keep_sessions,
            watch: config.watch.map(|watch| {
                let (wake, inbox) = Runner::channel();
                Watch { every: watch.every, wake, inbox: Mutex::new(Some(inbox)) }
            }),
        }));
        access.revocations_read().await?;
        Ok(access)
    }

    /// The log of what happened.
    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// Says where the bastion listens.
    pub fn set_bastion_address(&self, address: String) {
        *self.0.bastion_address.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// Reads revocations, by whichever process they were written, and checks machines, until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        // Nobody wakes it; it goes by its sweep.
        let (_wake, inbox) = Runner::channel();
        let reader = Arc::new(RevocationReader(self.clone()));
        let reads =
            Runner::new(reader, inbox, Arc::clone(&self.0.clock), self.0.health.clone()).run(stop.clone());
        let (_wake, inbox) = Runner::channel();
        let keeper = Arc::new(Housekeeping(self.clone()));
        let keeps =
            Runner::new(keeper, inbox, Arc::clone(&self.0.clock), self.0.health.clone()).run(stop.clone());
        tokio::join!(reads, keeps, self.watch(stop));
    }

    async fn watch(&self, stop: watch::Receiver<bool>) {
        let Some(watch) = &self.0.watch else { return };
        // Once only: a second runner would ask everything twice.
        let Some(inbox) = watch.inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let watcher = Arc::new(Watcher { access: self.clone(), every: watch.every });
        Runner::new(watcher, inbox, Arc::clone(&self.0.clock), self.0.health.clone()).run(stop).await;
    }

    pub(crate) async fn revocations_read(&self) -> Result<()> {
        let serials = store::revoked(&self.0.db).await?.into_iter().collect();
        let read = Revocations { serials, ..Revocations::default() };
        self.0.revocations.send_if_modified(|known| {
            let other = **known != read;
            if other {
                *known = Arc::new(read);
            }
            other
        });
        Ok(())
    }
}

impl Parts {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

struct RevocationReader(Access);

#[async_trait]
impl Reconciler for RevocationReader {
    fn name(&self) -> &'static str {
        "access"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        self.0.revocations_read().await?;
        self.0.0.ways.close_lost(&*self.0.0.rights).await;
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// What is kept for a while only.
struct Housekeeping(Access);

#[async_trait]
impl Reconciler for Housekeeping {
    fn name(&self) -> &'static str {
        "access housekeeping"
    }

    /// The whole work is done in the sweep: there is nothing of it that could wait or fail alone.
    async fn pending(&self) -> Result<Vec<String>> {
        self.0.forget_old().await?;
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

impl Access {
    /// Forgets what nothing needs any more, a batch at a time: certificates 30 days after they ran out, sessions when they
    /// were kept for long enough after their end. What is open stays.
    ///
    /// # Errors
    /// As the database's.
    pub async fn forget_old(&self) -> Result<()> {
        let before = Timestamp::from_micros(
            self.0.now().micros() - i64::try_from(REMEMBERED.as_micros()).unwrap_or(i64::MAX),
        );
        self.forget_batches(Forget::Certificates, before).await?;
        let kept = i64::try_from(self.0.keep_sessions.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(self.0.now().micros().saturating_sub(kept));
        self.forget_batches(Forget::Sessions, before).await
    }

    async fn forget_batches(&self, what: Forget, before: Timestamp) -> Result<()> {
        loop {
            let mut tx = self.0.db.write().await?;
            let gone = store::forget(&mut tx, what, before, BATCH).await?;
            tx.commit().await.map_err(store_error)?;
            if gone < u64::from(BATCH) {
                return Ok(());
            }
        }
    }
}
