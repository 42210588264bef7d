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
use hafen_work::{EventLog, Health, Next, Reconciler, Runner};
use tokio::sync::watch;

use crate::store;
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
}

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

    /// Reads revocations, by whichever process they were written, until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        // Nobody wakes it; it goes by its sweep.
        let (_wake, inbox) = Runner::channel();
        let reader = Arc::new(RevocationReader(self.clone()));
        Runner::new(reader, inbox, Arc::clone(&self.0.clock), self.0.health.clone()).run(stop).await;
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

impl Access {
    /// Forgets what nothing needs any more.
    ///
    /// # Errors
    /// As the database's.
    pub async fn forget_old(&self) -> Result<()> {
        let before = Timestamp::from_micros(
            self.0.now().micros() - i64::try_from(REMEMBERED.as_micros()).unwrap_or(i64::MAX),
        );
        let mut tx = self.0.db.write().await?;
        store::certificates_forget(&mut tx, before).await?;
        tx.commit().await.map_err(store_error)
    }
}
