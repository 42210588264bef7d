//! The service's parts, put together once at start.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hafen_base::{Clock, Error, Random, Result, Timestamp};
use hafen_db::{Db, Location};
use hafen_seal::MasterKey;
use hafen_work::{Feed, Health, Reconciler, Runner, Wake};
use tokio::sync::{mpsc, watch};

use crate::apart::Apart;
use crate::keys::Keys;
use crate::witness::WitnessConfig;
use crate::{erase, follow, housekeeping, sign, store, witness};

/// What the service is given.
pub struct LedgerConfig {
    pub location: Location,
    /// Holds the signing key and the log's name.
    pub folder: PathBuf,
    /// Seals the signing key.
    pub key: MasterKey,
    /// The place apart: last checkpoints and erasures. Outside of what a backup of the database restores.
    pub apart: PathBuf,
    /// The log's name at its first start, as `example.org/ledger`; a random one when empty. Stays from then on.
    pub origin: String,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub health: Health,
    /// The services that are followed.
    pub feeds: Vec<Arc<dyn Feed>>,
    pub witnesses: Vec<WitnessConfig>,
    /// A shard is removed when so many years have passed since the end of its own.
    pub keep_years: u32,
}

/// The service: cheap to clone, shared by handlers and reconcilers.
#[derive(Clone)]
pub struct Ledger(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub db: Db,
    pub keys: Keys,
    pub apart: Apart,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub health: Health,
    pub feeds: Vec<Arc<dyn Feed>>,
    pub witnesses: Vec<WitnessConfig>,
    pub keep_years: u32,
    /// Of this process: tells its calls from those of an earlier one.
    pub life: String,
    /// Why nothing is written or signed; empty while all is well.
    refusal: Mutex<String>,
    pub wake_sign: Wake,
    pub wake_witness: Wake,
    inboxes: Mutex<Option<Inboxes>>,
}

struct Inboxes {
    sign: mpsc::UnboundedReceiver<String>,
    witness: mpsc::UnboundedReceiver<String>,
}

/// The name under which the health of the whole ledger stands.
const HEALTH: &str = "ledger";

impl Ledger {
    /// Opens the store and compares it with the place apart. Nothing runs before `run`.
    ///
    /// A database that does not continue the last checkpoint opens all the same: it can be read, and says what to do.
    ///
    /// # Errors
    /// As the database's; invalid when key or checkpoint files are damaged.
    pub async fn open(config: LedgerConfig) -> Result<Self> {
        let db = Db::open(&config.location, "ledger", store::MIGRATIONS).await?;
        let keys = Keys::open(&config.folder, &config.origin, &config.key, &*config.random)?;
        let apart = Apart::open(&config.apart)?;
        let mut life = [0; 16];
        config.random.fill(&mut life);
        let (wake_sign, sign) = Runner::channel();
        let (wake_witness, witness) = Runner::channel();
        let ledger = Self(Arc::new(Parts {
            db,
            keys,
            apart,
            clock: config.clock,
            random: config.random,
            health: config.health,
            feeds: config.feeds,
            witnesses: config.witnesses,
            keep_years: config.keep_years,
            life: crate::model::hex(&life),
            refusal: Mutex::default(),
            wake_sign,
            wake_witness,
            inboxes: Mutex::new(Some(Inboxes { sign, witness })),
        }));
        // From the first row on: pages that are reorganised must leave no copies behind either.
        let mut tx = ledger.0.db.write().await?;
        erase::overwrite_deleted(&mut tx, ledger.0.db.backend()).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        ledger.0.health.ok(HEALTH);
        ledger.check_all().await?;
        ledger.erasures_replay().await?;
        Ok(ledger)
    }

    /// Runs everything until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let Some(inboxes) = self.0.inboxes.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            tracing::error!("the ledger runs already");
            return;
        };
        let runner = |reconciler: Arc<dyn Reconciler>, inbox| {
            Runner::new(reconciler, inbox, Arc::clone(&self.0.clock), self.0.health.clone()).run(stop.clone())
        };
        let (wake, inbox) = Runner::channel();
        // Nobody wakes these; they go by their sweeps.
        let ((_wake, idle), (_other, idle_too)) = (Runner::channel(), Runner::channel());
        let bells =
            self.0.feeds.iter().map(|feed| follow::ring(Arc::clone(feed), wake.clone(), stop.clone()));
        tokio::join!(
            futures::future::join_all(bells),
            runner(Arc::new(follow::Follow(self.clone())), inbox),
            runner(Arc::new(sign::Sign(self.clone())), inboxes.sign),
            runner(Arc::new(witness::Submit(self.clone())), inboxes.witness),
            runner(Arc::new(erase::Erase(self.clone())), idle_too),
            runner(Arc::new(housekeeping::Housekeeping(self.clone())), idle),
        );
    }
}

impl Parts {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }

    /// From now on nothing is written or signed, and everybody is told why.
    pub fn refuse(&self, why: &str) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if *refusal != why {
            tracing::error!("the ledger stands still: {why}");
        }
        why.clone_into(&mut refusal);
        self.health.paused(HEALTH, why.to_owned());
    }

    pub fn accept(&self) {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.health.ok(HEALTH);
    }

    /// # Errors
    /// Unavailable, with what to do, while nothing may be written.
    pub fn check_accepting(&self) -> Result<()> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if refusal.is_empty() {
            Ok(())
        } else {
            Err(Error::unavailable(format!("the ledger stands still: {refusal}")).with_code("ledger_refuses"))
        }
    }
}
