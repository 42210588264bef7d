//! The services of this platform, put together over one home.

use std::net::SocketAddr;
use std::sync::Arc;

use hafen_base::{Clock, Error, Random, Result, SystemClock, SystemRandom};
use hafen_client::{Client, RouterTransport, Token};
use hafen_db::Location;
use hafen_http::Access;
use hafen_identity::{Cost, Identity, IdentityConfig};
use hafen_ledger::{Ledger, LedgerConfig};
use hafen_machines::ca::SshCa;
use hafen_machines::engine::Engine;
use hafen_machines::engine::qemu::{Qemu, QemuConfig};
use hafen_machines::engine::sim::{Faults, Sim, World};
use hafen_machines::{Machines, MachinesConfig};
use hafen_stacks::{Stacks, StacksConfig, read_manifest};
use hafen_work::Health;
use tokio::sync::watch;

use crate::cli::HOLDER;
use crate::home::{Home, cache_folder};
use crate::serve::{EngineKind, ServeArgs};

/// All of them: cheap to clone.
#[derive(Clone)]
pub struct Services {
    pub machines: Machines,
    pub stacks: Stacks,
    pub identity: Identity,
    pub ledger: Ledger,
    pub engine: Arc<dyn Engine>,
}

impl Services {
    /// Opens them; nothing runs before `run`. `address` is where the API listens.
    pub async fn open(
        args: &ServeArgs,
        home: &Home,
        token: &Token,
        health: &Health,
        address: SocketAddr,
    ) -> Result<Self> {
        let location = match &args.database {
            Some(url) => Location::Postgres(url.clone()),
            None => Location::Sqlite(home.folder().to_owned()),
        };
        let ca = Arc::new(SshCa::open(&home.path("ca"), &SystemRandom)?);
        let engine = engine(args, home, &ca).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let machines = Machines::open(MachinesConfig {
            location: location.clone(),
            engine: Arc::clone(&engine),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            ca,
            health: health.clone(),
        })
        .await?;
        // The stacks service speaks to the machines service as any client would, only without a network between.
        let (router, _document) = hafen_machines::api::router(machines.clone()).split_for_parts();
        let router = hafen_http::finish(router, Access::token(token.expose()), &[]);
        let client = Client::new(Arc::new(RouterTransport::new(router, None)), token.clone());
        let stacks = Stacks::open(StacksConfig {
            location: location.clone(),
            platform: Arc::new(client),
            read: Arc::new(read_manifest),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            health: health.clone(),
        })
        .await?;
        let public_url = args.public_url.clone();
        let identity = Identity::open(IdentityConfig {
            location: location.clone(),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            health: health.clone(),
            folder: home.private_folder("identity")?,
            public_url: public_url.unwrap_or_else(|| format!("http://localhost:{}", address.port())),
            cost: Cost::STANDARD,
            local_operator: Some(rustix::process::geteuid().as_raw()),
        })
        .await?;
        invite(&identity, home).await?;
        let ledger = Ledger::open(LedgerConfig {
            location,
            folder: home.path("ledger"),
            apart: args.ledger_apart.clone().unwrap_or_else(|| home.path("ledger-apart")),
            origin: args.ledger_origin.clone(),
            clock,
            random,
            health: health.clone(),
            feeds: vec![
                Arc::new(machines.events().clone()),
                Arc::new(stacks.events().clone()),
                Arc::new(identity.events().clone()),
            ],
            witnesses: args.witnesses.clone(),
            keep_years: args.ledger_keep_years,
        })
        .await?;
        Ok(Self { machines, stacks, identity, ledger, engine })
    }

    /// Runs what happens without a request, until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        tokio::join!(
            self.machines.run(stop.clone()),
            self.stacks.run(stop.clone()),
            self.identity.run(stop.clone()),
            self.ledger.run(stop)
        );
    }
}

async fn engine(args: &ServeArgs, home: &Home, ca: &Arc<SshCa>) -> Result<Arc<dyn Engine>> {
    match args.engine {
        EngineKind::Qemu => {
            let program = std::env::current_exe().map_err(Error::internal)?;
            let engine = Qemu::open(QemuConfig {
                home: home.folder().to_owned(),
                cache: cache_folder()?,
                holder: vec![program.into(), HOLDER.into()],
                ca: Arc::clone(ca),
                clock: Arc::new(SystemClock),
                random: Arc::new(SystemRandom),
            });
            Ok(Arc::new(engine.await?))
        }
        EngineKind::Sim => {
            let faults = match &args.sim_faults {
                None => Faults::default(),
                Some(path) => {
                    let text = std::fs::read_to_string(path).map_err(|error| {
                        Error::invalid(format!("{} cannot be read: {error}", path.display()))
                    })?;
                    serde_json::from_str(&text)
                        .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?
                }
            };
            let world = Arc::new(World::open(&home.path("sim"), faults)?);
            Ok(Arc::new(Sim::new(world, Arc::new(SystemClock))))
        }
    }
}

/// While nobody owns the platform, whoever can read this file may become its first owner, once.
async fn invite(identity: &Identity, home: &Home) -> Result<()> {
    match identity.bootstrap_invitation().await? {
        Some(secret) => home.write("invitation", &format!("{}\n", secret.expose())),
        None => home.forget("invitation"),
    }
}
