//! The service's parts, put together once at start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hafen_base::{Clock, OperationId, Random, Result, Timestamp};
use hafen_db::{Db, Location};
use hafen_work::{EventLog, Health, Runner, Wake};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::ca::SshCa;
use crate::engine::{Engine, Noticed};
use crate::{reconcile, store};

/// What the service is given.
pub struct MachinesConfig {
    pub location: Location,
    pub engine: Arc<dyn Engine>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub ca: Arc<SshCa>,
    pub health: Health,
}

/// The service: cheap to clone, shared by handlers and reconcilers.
#[derive(Clone)]
pub struct Machines(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub db: Db,
    pub engine: Arc<dyn Engine>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub ca: Arc<SshCa>,
    pub events: EventLog,
    pub health: Health,
    pub wakes: Wakes,
    /// Progress of running operations: in memory, because it is worth nothing after a restart.
    pub progress: Mutex<HashMap<OperationId, (String, Option<u8>)>>,
    /// Operations whose cancellation was asked for.
    pub cancelled: Mutex<std::collections::HashSet<OperationId>>,
    pub cancel_bell: watch::Sender<()>,
    inboxes: Mutex<Option<Inboxes>>,
}

pub(crate) struct Wakes {
    pub network: Wake,
    pub image: Wake,
    pub machine: Wake,
    pub check: Wake,
    pub snapshot: Wake,
    pub publication: Wake,
}

struct Inboxes {
    network: mpsc::UnboundedReceiver<String>,
    image: mpsc::UnboundedReceiver<String>,
    machine: mpsc::UnboundedReceiver<String>,
    check: mpsc::UnboundedReceiver<String>,
    snapshot: mpsc::UnboundedReceiver<String>,
    publication: mpsc::UnboundedReceiver<String>,
    noticed: mpsc::UnboundedReceiver<Noticed>,
}

impl Machines {
    /// Opens the store. Nothing runs before `run`.
    ///
    /// # Errors
    /// As the database's.
    pub async fn open(config: MachinesConfig) -> Result<Self> {
        let db = Db::open(&config.location, "machines", store::MIGRATIONS).await?;
        let (network, network_inbox) = Runner::channel();
        let (image, image_inbox) = Runner::channel();
        let (machine, machine_inbox) = Runner::channel();
        let (check, check_inbox) = Runner::channel();
        let (snapshot, snapshot_inbox) = Runner::channel();
        let (publication, publication_inbox) = Runner::channel();
        let inboxes = Inboxes {
            network: network_inbox,
            image: image_inbox,
            machine: machine_inbox,
            check: check_inbox,
            snapshot: snapshot_inbox,
            publication: publication_inbox,
            noticed: config.engine.watch(),
        };
        Ok(Self(Arc::new(Parts {
            events: EventLog::new("machines", db.clone(), Arc::clone(&config.clock)),
            db,
            engine: config.engine,
            clock: config.clock,
            random: config.random,
            ca: config.ca,
            health: config.health,
            wakes: Wakes { network, image, machine, check, snapshot, publication },
            progress: Mutex::default(),
            cancelled: Mutex::default(),
            cancel_bell: watch::Sender::new(()),
            inboxes: Mutex::new(Some(inboxes)),
        })))
    }

    /// The log of what happened.
    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// Runs the reconcilers until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let Some(inboxes) = self.0.inboxes.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            tracing::error!("the machines service runs already");
            return;
        };
        let mut tasks = JoinSet::new();
        let mut start = |reconciler: Arc<dyn hafen_work::Reconciler>, inbox| {
            let runner = Runner::new(reconciler, inbox, Arc::clone(&self.0.clock), self.0.health.clone());
            tasks.spawn(runner.run(stop.clone()));
        };
        start(Arc::new(reconcile::Networks(self.clone())), inboxes.network);
        start(Arc::new(reconcile::Images::new(self.clone())), inboxes.image);
        start(Arc::new(reconcile::MachinesReconciler(self.clone())), inboxes.machine);
        start(Arc::new(reconcile::Checks::new(self.clone())), inboxes.check);
        start(Arc::new(reconcile::Snapshots(self.clone())), inboxes.snapshot);
        start(Arc::new(reconcile::Publications(self.clone())), inboxes.publication);
        // Nobody wakes it; it goes by its sweep.
        let (_wake, inbox) = Runner::channel();
        start(Arc::new(reconcile::Housekeeping(self.clone())), inbox);
        tasks.spawn(reconcile::listen(self.clone(), inboxes.noticed, stop.clone()));
        while tasks.join_next().await.is_some() {}
    }
}

impl Parts {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sets what a running operation is doing; waiters see it at their next look.
    pub fn set_progress(&self, operation: OperationId, text: String, percent: Option<u8>) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).insert(operation, (text, percent));
    }

    pub fn progress_of(&self, operation: OperationId) -> Option<(String, Option<u8>)> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).get(&operation).cloned()
    }

    pub fn forget_progress(&self, operation: OperationId) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).remove(&operation);
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).remove(&operation);
    }

    pub fn ask_cancel(&self, operation: OperationId) {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).insert(operation);
        self.cancel_bell.send_replace(());
    }

    /// Ends when the cancellation of this operation is asked for.
    pub async fn cancel_asked(&self, operation: OperationId) {
        let mut bell = self.cancel_bell.subscribe();
        loop {
            bell.mark_unchanged();
            if self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).contains(&operation) {
                return;
            }
            if bell.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
