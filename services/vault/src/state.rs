//! The service's parts, put together once at start, and its runners.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hafen_base::{Clock, Random, Result, Timestamp};
use hafen_client::Client;
use hafen_db::{Db, Location, store_error};
use hafen_seal::MasterKey;
use hafen_work::{EventLog, Health, Reconciler, Runner, Wake};
use tokio::sync::{mpsc, watch};

use crate::model::key_name;
use crate::reconcile::{Housekeeping, Projects, Traces};
use crate::store::{self, KeyRow};

/// What the service is given.
pub struct VaultConfig {
    pub location: Location,
    /// The machines service, which knows the projects.
    pub platform: Client,
    /// Seals the keys of the projects.
    pub key: MasterKey,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub health: Health,
}

/// The service: cheap to clone.
#[derive(Clone)]
pub struct Vault(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub db: Db,
    pub platform: Client,
    master: RwLock<MasterKey>,
    /// Fingerprints of requests are made under it.
    requests: MasterKey,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub events: EventLog,
    health: Health,
    pub traces: Wake,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

impl Vault {
    /// Opens the store. Nothing runs before `run`.
    ///
    /// # Errors
    /// As the database's; invalid when another master key sealed what is in it.
    pub async fn open(config: VaultConfig) -> Result<Self> {
        let db = Db::open(&config.location, "vault", store::MIGRATIONS).await?;
        let requests = own_key(&db, &config.key, &*config.random).await?;
        let (traces, inbox) = Runner::channel();
        Ok(Self(Arc::new(Parts {
            events: EventLog::new("vault", db.clone(), Arc::clone(&config.clock)),
            db,
            platform: config.platform,
            master: RwLock::new(config.key),
            requests,
            clock: config.clock,
            random: config.random,
            health: config.health,
            traces,
            inbox: Mutex::new(Some(inbox)),
        })))
    }

    /// The log of what happened.
    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// By which a request is known again, without a trace of what it holds.
    pub(crate) fn fingerprint(&self, body: &[u8]) -> Result<[u8; 32]> {
        self.0.requests.fingerprint(body)
    }

    /// Follows the projects and removes traces, until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let Some(inbox) = self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            tracing::error!("the vault service runs already");
            return;
        };
        let runner = |reconciler: Arc<dyn Reconciler>, inbox| {
            Runner::new(reconciler, inbox, Arc::clone(&self.0.clock), self.0.health.clone())
        };
        let traces = runner(Arc::new(Traces(self.clone())), inbox);
        // Nobody wakes these; they go by their sweeps.
        let (_wake, inbox) = Runner::channel();
        let projects = runner(Arc::new(Projects(self.clone())), inbox);
        let (_wake, inbox) = Runner::channel();
        let housekeeping = runner(Arc::new(Housekeeping(self.clone())), inbox);
        tokio::join!(traces.run(stop.clone()), projects.run(stop.clone()), housekeeping.run(stop));
    }

    /// Another master key: the keys of the projects are sealed anew under it, in one transaction; no secret is touched.
    /// Gives how many there were.
    ///
    /// # Errors
    /// As the database's; then the old master key stays.
    pub async fn rewrap(&self, next: &MasterKey) -> Result<usize> {
        let before = self.0.master();
        let mut tx = self.0.db.write().await?;
        let rows = store::key_list(&mut *tx).await?;
        for row in &rows {
            let sealed =
                before.rewrap(next, &key_name(&row.project, row.born), &row.sealed, &*self.0.random)?;
            store::key_put(&mut tx, &KeyRow { sealed, ..row.clone() }).await?;
        }
        store::trace_insert(&mut tx, "", "vault", "the keys of the projects under the former master key")
            .await?;
        tx.commit().await.map_err(store_error)?;
        *self.0.master.write().unwrap_or_else(PoisonError::into_inner) = next.clone();
        self.0.traces.wake("traces");
        Ok(rows.len())
    }
}

impl Parts {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn master(&self) -> MasterKey {
        self.master.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The key of the service itself stands among those of the projects, under no name, so that it is wrapped anew with them.
async fn own_key(db: &Db, master: &MasterKey, random: &dyn Random) -> Result<MasterKey> {
    let born = Timestamp::from_micros(0);
    let mut tx = db.write().await?;
    if let Some(row) = store::key_find(&mut *tx, "").await? {
        return master.open_key(&key_name("", born), &row.sealed);
    }
    let key = MasterKey::generate(random);
    let sealed = master.seal_key(&key_name("", born), &key, random)?;
    store::key_put(&mut tx, &KeyRow { project: String::new(), born, sealed }).await?;
    tx.commit().await.map_err(store_error)?;
    Ok(key)
}
