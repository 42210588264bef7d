//! The service's parts, put together once at start.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use hafen_base::{Actor, Clock, Random, Result, Timestamp};
use hafen_client::Client;
use hafen_db::{Db, Location};
use hafen_seal::MasterKey;
use hafen_work::{EventLog, Health};
use tokio::sync::watch;

use crate::pushed::{Pushed, Unheard};
use crate::store;

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

#[expect(dead_code, reason = "the parts that use them come next")]
pub(crate) struct Parts {
    pub db: Db,
    pub folder: PathBuf,
    pub platform: Client,
    pub rights: Arc<dyn Rights>,
    pub key: MasterKey,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub events: EventLog,
    pub health: Health,
    pushed: RwLock<Arc<dyn Pushed>>,
}

impl Delivery {
    /// Opens the store. Nothing runs before `run`.
    ///
    /// # Errors
    /// As the database's.
    pub async fn open(config: DeliveryConfig) -> Result<Self> {
        let db = Db::open(&config.location, "delivery", store::MIGRATIONS).await?;
        Ok(Self(Arc::new(Parts {
            events: EventLog::new("delivery", db.clone(), Arc::clone(&config.clock)),
            db,
            folder: config.folder,
            platform: config.platform,
            rights: config.rights,
            key: config.key,
            clock: config.clock,
            random: config.random,
            health: config.health,
            pushed: RwLock::new(Arc::new(Unheard)),
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
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        // Only that the sender is gone ends the wait otherwise.
        let _gone = stop.wait_for(|stop| *stop).await;
    }
}

impl Parts {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn pushed(&self) -> Arc<dyn Pushed> {
        Arc::clone(&self.pushed.read().unwrap_or_else(PoisonError::into_inner))
    }
}
