//! The service's parts, put together once at start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hafen_base::{Clock, OperationId, Random, Result, Timestamp};
use hafen_client::wire::StackSource;
use hafen_db::{Db, Location};
use hafen_work::{EventLog, Health, Progress, Runner, Wake};
use tokio::sync::{mpsc, watch};

use crate::live::Live;
use crate::model::Wanted;
use crate::platform::Platform;
use crate::{reconcile, store};

/// Reads a manifest into what it asks for; its errors point at lines.
pub type ReadSource = Arc<dyn Fn(&StackSource) -> Result<Wanted> + Send + Sync>;

/// What the service is given.
pub struct StacksConfig {
    pub location: Location,
    /// The machines service; a `hafen_client::Client` is one.
    pub platform: Arc<dyn Platform>,
    /// `Arc::new(read_manifest)`, but for tests.
    pub read: ReadSource,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub health: Health,
}

/// The service: cheap to clone, shared by handlers and the reconciler.
#[derive(Clone)]
pub struct Stacks(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub db: Db,
    pub platform: Arc<dyn Platform>,
    pub read: ReadSource,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub events: EventLog,
    pub progress: Progress,
    health: Health,
    pub wake: Wake,
    live: Mutex<HashMap<OperationId, Arc<Live>>>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

impl Stacks {
    /// Opens the store. Nothing runs before `run`.
    ///
    /// # Errors
    /// As the database's.
    pub async fn open(config: StacksConfig) -> Result<Self> {
        let db = Db::open(&config.location, "stacks", store::MIGRATIONS).await?;
        let (wake, inbox) = Runner::channel();
        Ok(Self(Arc::new(Parts {
            events: EventLog::new("stacks", db.clone(), Arc::clone(&config.clock)),
            progress: Progress::new(Arc::clone(&config.clock)),
            db,
            platform: config.platform,
            read: config.read,
            clock: config.clock,
            random: config.random,
            health: config.health,
            wake,
            live: Mutex::default(),
            inbox: Mutex::new(Some(inbox)),
        })))
    }

    /// The log of what happened.
    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// The steps of applies as they go on: between the events of their begin and end.
    pub fn progress(&self) -> &Progress {
        &self.0.progress
    }

    /// Runs applies until `stop` turns true. Those under way stop where they are; the next start goes on with them.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let Some(inbox) = self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            tracing::error!("the stacks service runs already");
            return;
        };
        let reconciler = Arc::new(reconcile::Applies { stacks: self.clone(), stop: stop.clone() });
        let applies = Runner::new(reconciler, inbox, Arc::clone(&self.0.clock), self.0.health.clone());
        // Nobody wakes it; it goes by its sweep.
        let (_wake, inbox) = Runner::channel();
        let housekeeping = Arc::new(reconcile::Housekeeping(self.clone()));
        let housekeeping = Runner::new(housekeeping, inbox, Arc::clone(&self.0.clock), self.0.health.clone());
        tokio::join!(applies.run(stop.clone()), housekeeping.run(stop));
    }
}

impl Parts {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn live(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn live_of(&self, id: OperationId) -> Option<Arc<Live>> {
        self.live().get(&id).cloned()
    }

    pub fn set_live(&self, id: OperationId, live: Arc<Live>) {
        self.live().insert(id, live);
    }

    pub fn forget_live(&self, id: OperationId) {
        self.live().remove(&id);
    }
}
