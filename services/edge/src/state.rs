//! The service's parts, put together once at start, and its runners.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hafen_base::{Clock, Error, Random, Result, Timestamp};
use hafen_client::Client;
use hafen_db::{Db, Location, store_error};
use hafen_proxy::Proxy;
use hafen_seal::MasterKey;
use hafen_work::{EventLog, Health, Runner, Wake};
use tokio::sync::{mpsc, watch};

use crate::certificate::authority::Authority;
use crate::certificate::{self, Issuing};
use crate::logs::{WatchedLog, Watching};
use crate::sync::{Syncing, Tables};
use crate::tidy::Tidying;
use crate::{model, store};

/// The authority that certificates are asked of (RFC 8555).
#[derive(Debug, Clone)]
pub struct AcmeConfig {
    /// URL of its directory.
    pub directory: String,
    /// A mail address that it may write to.
    pub contact: Option<String>,
    /// Certificates by which it is known, in PEM; those of this machine unless given.
    pub roots: Option<PathBuf>,
    /// Called as `PROGRAM add|remove NAME VALUE` to set a TXT record: then names are proven by DNS, stars among them.
    pub dns_hook: Option<PathBuf>,
    /// Prove names on the https port (TLS-ALPN-01) where there is no http one.
    pub tls_alpn: bool,
}

/// What the service is given.
pub struct EdgeConfig {
    pub location: Location,
    /// The machines service.
    pub platform: Client,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub health: Health,
    /// Seals the keys of certificates.
    pub key: MasterKey,
    pub acme: Option<AcmeConfig>,
    /// Certificate-transparency logs to follow.
    pub logs: Vec<WatchedLog>,
    /// An unknown certificate is told of when it is still unknown after this time.
    pub logs_grace: Duration,
    /// The data plane of this process; none where it only answers the API.
    pub proxy: Option<Arc<Proxy>>,
    /// What that data plane asks for answers to an authority.
    pub challenges: Arc<HttpChallenges>,
}

/// The service: cheap to clone.
#[derive(Clone)]
pub struct Edge(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub db: Db,
    pub platform: Client,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub health: Health,
    pub key: MasterKey,
    pub acme: Option<AcmeConfig>,
    pub logs: Vec<WatchedLog>,
    pub logs_grace: Duration,
    pub events: EventLog,
    pub tables: Tables,
    pub authority: Authority,
    pub orders: certificate::Orders,
    /// Held while the account at the authority is read or made.
    pub account: tokio::sync::Mutex<()>,
    /// Tells this process from others that share the database.
    pub process: String,
    pub wake: Wake,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

impl Edge {
    /// Opens the store and fills the data plane's tables. Nothing runs before `run`.
    ///
    /// # Errors
    /// As the database's.
    pub async fn open(config: EdgeConfig) -> Result<Self> {
        let db = Db::open(&config.location, "edge", store::MIGRATIONS).await?;
        config
            .challenges
            .0
            .set(db.clone())
            .map_err(|_| Error::internal("two services answer one data plane"))?;
        let authority = Authority::open(&db, &config.key, &*config.random, config.clock.now()).await?;
        let mut bytes = [0; 8];
        config.random.fill(&mut bytes);
        let (wake, inbox) = Runner::channel();
        let edge = Self(Arc::new(Parts {
            events: EventLog::new("edge", db.clone(), Arc::clone(&config.clock)),
            tables: Tables::new(config.proxy),
            authority,
            db,
            platform: config.platform,
            clock: config.clock,
            random: config.random,
            health: config.health,
            key: config.key,
            acme: config.acme,
            logs: config.logs,
            logs_grace: config.logs_grace,
            orders: certificate::Orders::default(),
            account: tokio::sync::Mutex::default(),
            process: bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")),
            wake,
            inbox: Mutex::new(Some(inbox)),
        }));
        edge.issuers_sync().await?;
        edge.tables_sync().await?;
        Ok(edge)
    }

    /// Has certificates asked for anew whose issuer is another since an authority was configured, or is no more.
    async fn issuers_sync(&self) -> Result<()> {
        let parts = &self.0;
        let (now, acme) = (parts.now(), parts.acme.is_some());
        let mut kept = 0;
        let rows = certificate::store::all(&parts.db).await?;
        let mut tx = parts.db.write().await?;
        for row in &rows {
            let wanted = model::issuer(&row.host, acme);
            if certificate::plan::is_kept(row, wanted, now) {
                kept += 1;
            } else if wanted.as_str() != row.issuer {
                certificate::store::ask_now(&mut tx, &row.project, &row.host, now).await?;
            }
        }
        tx.commit().await.map_err(store_error)?;
        if kept > 0 {
            tracing::error!(
                "{kept} hosts have certificates of a public authority, and none is configured: start with --acme, or they \
                 end without others that visitors trust"
            );
        }
        Ok(())
    }

    /// The log of what happened.
    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// The root of certificates for internal names, in PEM.
    pub fn authority(&self) -> &str {
        self.0.authority.certificate()
    }

    /// Runs what happens without a request, until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        // Once only: a second runner would ask for everything twice.
        let Some(inbox) = self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let runner = |reconciler: Arc<dyn hafen_work::Reconciler>, inbox| {
            Runner::new(reconciler, inbox, Arc::clone(&self.0.clock), self.0.health.clone()).run(stop.clone())
        };
        // Nobody wakes these; they go by their sweep.
        let swept = |reconciler: Arc<dyn hafen_work::Reconciler>| runner(reconciler, Runner::channel().1);
        tokio::join!(
            runner(Arc::new(Issuing(self.clone())), inbox),
            swept(Arc::new(Syncing(self.clone()))),
            swept(Arc::new(Tidying(self.clone()))),
            async {
                if !self.0.logs.is_empty() {
                    match Watching::new(self.clone()) {
                        Ok(watching) => swept(Arc::new(watching)).await,
                        Err(error) => tracing::error!("no log of certificates is watched: {error}"),
                    }
                }
            }
        );
    }
}

impl Parts {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Answers what an authority asks over plain http, for whichever process asked for the certificate.
///
/// The data plane that asks is made before the service that has the answers.
#[derive(Default)]
pub struct HttpChallenges(OnceLock<Db>);

#[async_trait::async_trait]
impl hafen_proxy::Challenges for HttpChallenges {
    async fn http01(&self, host: &str, token: &str) -> Option<String> {
        match certificate::store::challenge(self.0.get()?, host, "http-01", token).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(cause = %error.cause_chain(), "a challenge cannot be answered: {error}");
                None
            }
        }
    }
}
