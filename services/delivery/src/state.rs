//! The service's parts, put together once at start.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use async_trait::async_trait;
use hafen_base::{Actor, Clock, Random, Result, Timestamp};
use hafen_client::Client;
use hafen_db::{Db, Location, Tx};
use hafen_git::Git;
use hafen_seal::MasterKey;
use hafen_work::{EventLog, Health, NewEvent, Reconciler, Runner, Wake};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::pushed::{Pushed, Unheard};
use crate::{reconcile, store};

/// What the service is given.
pub struct DeliveryConfig {
    pub location: Location,
    /// Folder of what is not in the database: repositories.
    pub folder: PathBuf,
    /// The machines service.
    pub platform: Client,
    pub rights: Arc<dyn Rights>,
    /// Seals the secrets of hooks.
    pub key: MasterKey,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub health: Health,
}

/// Says what somebody may do who does not ask by the API just now.
#[async_trait]
pub trait Rights: Send + Sync + 'static {
    /// The roles that count for them at this project, if they may do this there; none if they may not.
    ///
    /// # Errors
    /// When it cannot be told now.
    async fn roles(&self, actor: &Actor, action: &str, project: &str) -> Result<Option<Vec<String>>>;
}

/// The service: cheap to clone.
#[derive(Clone)]
pub struct Delivery(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub db: Db,
    pub git: Git,
    pub platform: Client,
    pub rights: Arc<dyn Rights>,
    pub key: MasterKey,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub events: EventLog,
    pub health: Health,
    pub wakes: Wakes,
    pushed: RwLock<Arc<dyn Pushed>>,
    /// Whose turn it is at a repository: from the verdict on a push until it was told.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    inboxes: Mutex<Option<Inboxes>>,
}

pub(crate) struct Wakes {
    pub repository: Wake,
    pub request: Wake,
}

struct Inboxes {
    repository: mpsc::UnboundedReceiver<String>,
    request: mpsc::UnboundedReceiver<String>,
}

impl Delivery {
    /// Opens the store. Nothing runs before `run`.
    ///
    /// # Errors
    /// As the database's.
    pub async fn open(config: DeliveryConfig) -> Result<Self> {
        let db = Db::open(&config.location, "delivery", store::MIGRATIONS).await?;
        let folder = config.folder.join("repositories");
        let git = Git::open(&folder, hafen_git::Limits::default()).await?;
        let (repository, repository_inbox) = Runner::channel();
        let (request, request_inbox) = Runner::channel();
        Ok(Self(Arc::new(Parts {
            events: EventLog::new("delivery", db.clone(), Arc::clone(&config.clock)),
            db,
            git,
            platform: config.platform,
            rights: config.rights,
            key: config.key,
            clock: config.clock,
            random: config.random,
            health: config.health,
            wakes: Wakes { repository, request },
            pushed: RwLock::new(Arc::new(Unheard)),
            turns: Mutex::default(),
            inboxes: Mutex::new(Some(Inboxes { repository: repository_inbox, request: request_inbox })),
        })))
    }

    /// The log of what happened.
    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// Says who hears of pushes; before `run`.
    pub fn set_pushed(&self, pushed: Arc<dyn Pushed>) {
        *self.0.pushed.write().unwrap_or_else(PoisonError::into_inner) = pushed;
    }

    /// Runs the reconcilers until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let Some(inboxes) = self.0.inboxes.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            tracing::error!("the delivery service runs already");
            return;
        };
        let mut tasks = JoinSet::new();
        let mut start = |reconciler: Arc<dyn Reconciler>, inbox| {
            let runner = Runner::new(reconciler, inbox, Arc::clone(&self.0.clock), self.0.health.clone());
            tasks.spawn(runner.run(stop.clone()));
        };
        start(Arc::new(reconcile::Repositories(self.clone())), inboxes.repository);
        start(Arc::new(reconcile::Requests(self.clone())), inboxes.request);
        // Nobody wakes them; they go by their sweeps.
        let (_tidies, inbox) = Runner::channel();
        start(Arc::new(reconcile::Maintenance(self.clone())), inbox);
        let (_keeps, inbox) = Runner::channel();
        start(Arc::new(reconcile::Housekeeping(self.clone())), inbox);
        while tasks.join_next().await.is_some() {}
    }

    /// Writes an event in a transaction. Ring after the commit.
    pub(crate) async fn event(
        &self,
        tx: &mut Tx,
        project: &str,
        kind: &'static str,
        object: String,
        message: String,
        data: Value,
    ) -> Result<()> {
        let event = NewEvent { project: project.to_owned(), kind, object, message, data };
        self.0.events.append(tx, event).await.map(drop)
    }

    /// When the project was founded; not found where there is none.
    pub(crate) async fn project_since(&self, project: &str) -> Result<i64> {
        Ok(self.0.platform.project_get(project).await?.created_at.micros())
    }
}

impl Parts {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn pushed(&self) -> Arc<dyn Pushed> {
        Arc::clone(&self.pushed.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The turn at a repository.
    pub fn turn(&self, repository: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(repository).and_then(Weak::upgrade) {
            return turn;
        }
        // What nobody holds any more goes, so that it does not grow with what was.
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(repository.to_owned(), Arc::downgrade(&turn));
        turn
    }
}
