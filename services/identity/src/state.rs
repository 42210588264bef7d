//! The service's parts, put together once at start.

use std::sync::{Arc, Mutex, PoisonError};

use hafen_base::{Clock, Error, OrganisationId, Random, Result, Timestamp};
use hafen_client::Client;
use hafen_client::wire::{Organisation, SignInPolicy};
use hafen_db::{Db, Location, Tx, store_error};
use hafen_http::Site;
use hafen_seal::MasterKey;
use hafen_work::{EventLog, Health, NewEvent, Runner};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use url::Url;
use webauthn_rs::prelude::{Webauthn, WebauthnBuilder};

use crate::check::Cache;
use crate::fetch::Fetch;
use crate::issuers::Issuers;
use crate::model::password::{Cost, Password, hash};
use crate::{reconcile, store};

/// What the service is given.
pub struct IdentityConfig {
    pub location: Location,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub health: Health,
    /// Seals what must be read again: secrets of one-time codes, signing keys, passwords of clients.
    pub key: MasterKey,
    /// As people reach the platform: `https://hafen.example.org`. Passkeys and tokens are bound to it.
    pub public_url: String,
    /// `Cost::STANDARD`, but for tests.
    pub cost: Cost,
    /// The user who is the local operator; `None` switches it off.
    pub local_operator: Option<u32>,
    /// `Network`, to reach external OpenID providers that owners configure.
    pub fetch: Arc<dyn Fetch>,
    /// The machines service, which is asked whether a project exists before its name is given to somebody else.
    pub machines: Option<Client>,
    /// Issuers of workload identities may be on this machine itself, by plain http: for tests.
    pub loopback_issuers: bool,
}

/// The service: cheap to clone, shared by handlers and reconcilers.
#[derive(Clone)]
pub struct Identity(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub events: EventLog,
    health: Health,
    pub key: MasterKey,
    pub cache: Cache,
    pub cost: Cost,
    /// Bounds how many hashes are computed at once: each takes 19 MiB and a processor.
    pub hashing: Semaphore,
    /// Verified in place of a password that is not there, so that it takes as long.
    pub dummy: String,
    /// The organisation that was there before there were organisations.
    pub default: OrganisationId,
    pub public_url: Url,
    /// The same, as browsers see it.
    pub site: Site,
    /// Absent where the platform is reached by an IP address: `WebAuthn` knows only names.
    pub webauthn: Option<Webauthn>,
    pub local_operator: Option<u32>,
    pub fetch: Arc<dyn Fetch>,
    pub machines: Option<Client>,
    pub loopback_issuers: bool,
    /// Their keys.
    pub issuers: Issuers,
    /// Turns true when the platform has its first owner, for good.
    pub owned: watch::Sender<bool>,
    running: Mutex<bool>,
}

impl Identity {
    /// Opens the store. Nothing runs before `run`.
    ///
    /// # Errors
    /// As the database's; invalid when `public_url` is none.
    pub async fn open(config: IdentityConfig) -> Result<Self> {
        let public_url = Url::parse(&config.public_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            .ok_or_else(|| {
                Error::invalid(format!("{:?} is not a URL as https://hafen.example.org", config.public_url))
            })?;
        let db = Db::open(&config.location, "identity", store::MIGRATIONS).await?;
        let events = EventLog::new("identity", db.clone(), Arc::clone(&config.clock));
        let default = default_organisation(&db, &events, &*config.clock, &*config.random).await?;
        let dummy =
            hash(&Password::from("nobody has this password".to_owned()), config.cost, &*config.random)?;
        let identity = Self(Arc::new(Parts {
            db,
            events,
            key: config.key,
            webauthn: webauthn(&public_url),
            site: Site::new(public_url.origin().ascii_serialization()),
            clock: config.clock,
            random: config.random,
            health: config.health,
            cache: Cache::default(),
            cost: config.cost,
            hashing: Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)),
            dummy,
            default,
            public_url,
            local_operator: config.local_operator,
            fetch: config.fetch,
            machines: config.machines,
            loopback_issuers: config.loopback_issuers,
            issuers: Issuers::default(),
            owned: watch::Sender::new(false),
            running: Mutex::new(false),
        }));
        identity.keys_rotate().await?;
        Ok(identity)
    }

    /// The log of what happened.
    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// The organisation that everything belongs to which was there before.
    pub fn default_organisation(&self) -> OrganisationId {
        self.0.default
    }

    /// Writes down uses, proves ends, forgets what is over, until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        if std::mem::replace(&mut *self.0.running.lock().unwrap_or_else(PoisonError::into_inner), true) {
            tracing::error!("the identity service runs already");
            return;
        }
        let runner = |reconciler| {
            // Nobody wakes them; they go by their sweeps.
            let (_wake, inbox) = Runner::channel();
            Runner::new(reconciler, inbox, Arc::clone(&self.0.clock), self.0.health.clone()).run(stop.clone())
        };
        tokio::join!(
            runner(Arc::new(reconcile::Uses(self.clone()))),
            runner(Arc::new(reconcile::Ends(self.clone()))),
            runner(Arc::new(reconcile::Tidying(self.clone()))),
        );
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

impl Parts {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Writes an event in the transaction of the change; who did it is the actor of the task.
    pub async fn record(
        &self,
        tx: &mut Tx,
        kind: &'static str,
        object: String,
        message: String,
        data: Value,
    ) -> Result<()> {
        let project = object.strip_prefix("project/").unwrap_or("").to_owned();
        self.events.append(tx, NewEvent { project, kind, object, message, data }).await?;
        Ok(())
    }

    /// Commits and tells readers of events.
    pub async fn commit(&self, tx: Tx) -> Result<()> {
        tx.commit().await.map_err(store_error)?;
        self.events.ring();
        Ok(())
    }

    /// Commits a change of what somebody may do: what the check remembers no longer counts when this returns.
    pub async fn commit_rights(&self, tx: Tx) -> Result<()> {
        self.commit(tx).await?;
        self.cache.forget();
        Ok(())
    }
}

async fn default_organisation(
    db: &Db,
    events: &EventLog,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<OrganisationId> {
    const NAME: &str = "default";
    let mut tx = db.write().await?;
    if let Some(found) = store::organisation::find(&mut *tx, NAME).await? {
        return Ok(found.id);
    }
    let now = clock.now();
    let organisation = Organisation {
        id: OrganisationId::generate(now, random),
        name: NAME.into(),
        title: "Default".into(),
        policy: SignInPolicy::default(),
        created_at: now,
        generation: 1,
    };
    store::organisation::insert(&mut tx, &organisation).await?;
    let event = NewEvent {
        project: String::new(),
        kind: "organisation.created",
        object: format!("organisation/{}", organisation.id),
        message: "the default organisation".into(),
        data: Value::Null,
    };
    events.append(&mut tx, event).await?;
    tx.commit().await.map_err(store_error)?;
    Ok(organisation.id)
}

/// The relying party. A loopback address is called `localhost`, which browsers take as a name and as safe.
fn webauthn(public_url: &Url) -> Option<Webauthn> {
    let mut origin = public_url.clone();
    let loopback = match origin.host()? {
        url::Host::Domain(_) => false,
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
    };
    if loopback {
        origin.set_host(Some("localhost")).ok()?;
    }
    let name = origin.domain()?.to_owned();
    WebauthnBuilder::new(&name, &origin).ok()?.rp_name("Hafen").build().ok()
}
