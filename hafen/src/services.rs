//! The services of this platform, put together over one home.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hafen_access::{Access, AccessConfig, ShellConfig, Shells, WatchConfig};
use hafen_base::{Clock, Error, Random, Result, SystemClock, SystemRandom};
use hafen_client::{Client, RouterTransport, Token};
use hafen_db::Location;
use hafen_delivery::apps::around::Simulated;
use hafen_delivery::apps::hands::Hands;
use hafen_delivery::apps::hands::sim::SimHands;
use hafen_delivery::apps::hands::ssh::Ssh;
use hafen_delivery::apps::sources::Git;
use hafen_delivery::apps::{Apps, AppsConfig, Pace};
use hafen_delivery::{Delivery, DeliveryConfig};
use hafen_edge::{Edge, EdgeConfig};
use hafen_identity::{Cost, Identity, IdentityConfig, Network};
use hafen_ledger::{Ledger, LedgerConfig};
use hafen_machines::engine::Engine;
use hafen_machines::engine::qemu::{Qemu, QemuConfig};
use hafen_machines::engine::sim::{Faults, Sim, World};
use hafen_machines::{Machines, MachinesConfig};
use hafen_sshca::{SshCa, sealed_key};
use hafen_stacks::{Stacks, StacksConfig, read_manifest};
use hafen_vault::{Vault, VaultConfig};
use hafen_work::Health;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;

use crate::bastion::{Keys, Listening};
use crate::cli::HOLDER;
use crate::edge::Edge as DataPlane;
use crate::gate::rights::Rights;
use crate::home::{Home, cache_folder};
use crate::serve::{EngineKind, ServeArgs};

/// All of them: cheap to clone.
#[derive(Clone)]
pub struct Services {
    pub machines: Machines,
    pub stacks: Stacks,
    pub identity: Identity,
    pub ledger: Ledger,
    pub access: Access,
    pub shells: Shells,
    pub delivery: Delivery,
    pub vault: Vault,
    pub edge: Edge,
    pub data_plane: Arc<DataPlane>,
    pub apps: Apps,
    pub rights: Rights,
    pub engine: Arc<dyn Engine>,
    pub keys: Arc<Keys>,
}

/// Where a home's state lives.
pub fn location(database: Option<&str>, home: &Home) -> Location {
    match database {
        Some(url) => Location::Postgres(url.to_owned()),
        None => Location::Sqlite(home.folder().to_owned()),
    }
}

impl Services {
    /// Opens them; nothing runs before `run`. `address` is where the API listens.
    pub async fn open(args: &ServeArgs, home: &Home, health: &Health, address: SocketAddr) -> Result<Self> {
        let location = location(args.database.as_deref(), home);
        let keys = Arc::new(Keys::open(args.key_file.as_deref(), home)?);
        let ca = Arc::clone(&keys.ca);
        let engine = engine(args, home, &ca).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let machines = Machines::open(MachinesConfig {
            location: location.clone(),
            engine: Arc::clone(&engine),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            ca: Arc::clone(&ca),
            health: health.clone(),
        })
        .await?;
        // Services speak to one another as any client would, only without a network between.
        let client = inside(hafen_machines::api::router(machines.clone()), &*random);
        let vault = Vault::open(VaultConfig {
            location: location.clone(),
            platform: client.clone(),
            key: keys.master.clone(),
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
            key: keys.master.clone(),
            public_url: public_url.unwrap_or_else(|| format!("http://localhost:{}", address.port())),
            cost: Cost::STANDARD,
            local_operator: Some(rustix::process::geteuid().as_raw()),
            fetch: Arc::new(Network::new()?),
            machines: Some(client.clone()),
            loopback_issuers: args.loopback_issuers,
        })
        .await?;
        invite(&identity, home).await?;
        let rights = Rights::new(identity.clone(), Arc::clone(&clock))?;
        let data_plane = Arc::new(DataPlane::open(&args.edge, &machines).await?);
        let edge = Edge::open(EdgeConfig {
            location: location.clone(),
            platform: client.clone(),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            health: health.clone(),
            key: keys.master.clone(),
            acme: args.edge.acme()?,
            logs: args.edge.ct_logs.clone(),
            logs_grace: Duration::from_secs(args.edge.ct_grace.into()),
            proxy: Some(Arc::clone(&data_plane.proxy)),
            challenges: Arc::clone(&data_plane.challenges),
        })
        .await?;
        let access = Access::open(AccessConfig {
            location: location.clone(),
            platform: client.clone(),
            rights: Arc::new(rights.clone()),
            ca,
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            health: health.clone(),
            bastion_address: args.bastion_address.clone(),
            keep_sessions: Duration::from_secs(u64::from(args.session_days) * 24 * 3600),
            // There is nothing in a simulated machine that could be asked.
            watch: (args.engine == EngineKind::Qemu && args.integrity_every > 0)
                .then(|| WatchConfig { every: Duration::from_secs(args.integrity_every) }),
        })
        .await?;
        let simulated = args.engine == EngineKind::Sim;
        let shells =
            Shells::open(access.clone(), ShellConfig { simulated, ..ShellConfig::default() }).await?;
        let delivery = Delivery::open(DeliveryConfig {
            location: location.clone(),
            folder: home.path("delivery"),
            platform: client,
            rights: Arc::new(rights.clone()),
            key: keys.master.clone(),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            health: health.clone(),
        })
        .await?;
        // What apps stand on, and what a project is made of.
        let around =
            || hafen_machines::api::router(machines.clone()).merge(vault.router()).merge(edge.router());
        let apps = apps(args, home, &keys, &delivery, &inside(around(), &*random))?;
        delivery.set_pushed(Arc::new(apps.clone()));
        let stacks = Stacks::open(StacksConfig {
            location: location.clone(),
            platform: Arc::new(inside(around().merge(delivery.router()).merge(apps.router()), &*random)),
            read: Arc::new(read_manifest),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            health: health.clone(),
        })
        .await?;
        let ledger = Ledger::open(LedgerConfig {
            location,
            folder: home.path("ledger"),
            key: keys.master.clone(),
            apart: args.ledger_apart.clone().unwrap_or_else(|| home.path("ledger-apart")),
            origin: args.ledger_origin.clone(),
            clock,
            random,
            health: health.clone(),
            feeds: vec![
                Arc::new(machines.events().clone()),
                Arc::new(stacks.events().clone()),
                Arc::new(identity.events().clone()),
                Arc::new(access.events().clone()),
                Arc::new(delivery.events().clone()),
                Arc::new(vault.events().clone()),
                Arc::new(edge.events().clone()),
            ],
            witnesses: args.witnesses.clone(),
            keep_years: args.ledger_keep_years,
        })
        .await?;
        Ok(Self {
            machines,
            stacks,
            identity,
            ledger,
            access,
            shells,
            delivery,
            vault,
            edge,
            data_plane,
            apps,
            rights,
            engine,
            keys,
        })
    }

    /// Runs what happens without a request, until `stop` turns true.
    pub async fn run(&self, bastion: Option<Listening>, stop: watch::Receiver<bool>) {
        let bastion = async {
            if let Some(bastion) = bastion {
                let git = Arc::new(self.delivery.clone());
                bastion.carry(&self.access, &self.keys, "serve", Some(git), stop.clone()).await;
            }
        };
        tokio::join!(
            bastion,
            self.access.run(stop.clone()),
            self.shells.run(stop.clone()),
            self.delivery.run(stop.clone()),
            self.edge.run(stop.clone()),
            self.data_plane.run(stop.clone()),
            self.apps.run(stop.clone()),
            self.machines.run(stop.clone()),
            self.stacks.run(stop.clone()),
            self.identity.run(stop.clone()),
            self.vault.run(stop.clone()),
            self.ledger.run(stop.clone())
        );
    }
}

/// Apps, on the machines there are: real ones by SSH, simulated ones by what their disks would say.
fn apps(args: &ServeArgs, home: &Home, keys: &Keys, delivery: &Delivery, platform: &Client) -> Result<Apps> {
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let hands: Arc<dyn Hands> = match args.engine {
        EngineKind::Qemu => {
            Arc::new(Ssh::new(platform.clone(), Arc::clone(&keys.ca), Arc::clone(&clock), random))
        }
        EngineKind::Sim => Arc::new(SimHands::open(&home.path("sim/apps"))?),
    };
    let vault = Arc::new(platform.clone());
    let mut git = Git::new(Arc::new(delivery.clone()), vault.clone(), home.path("delivery/copies"), clock);
    if let Some(roots) = &args.git_roots {
        git = git.trusting(roots)?;
    }
    Apps::open(AppsConfig {
        delivery: delivery.clone(),
        folder: home.path("delivery"),
        hands,
        balancer: match args.engine {
            EngineKind::Qemu => Arc::new(platform.clone()),
            EngineKind::Sim => Arc::new(Simulated(platform.clone())),
        },
        vault,
        sources: Arc::new(git),
        signing_key: sealed_key(&home.path("ca"), "artifact_signing_key", &keys.master, &SystemRandom)?,
        platform_name: args.public_url.clone().unwrap_or_else(|| "http://localhost".into()),
        pace: Pace { patience: Duration::from_secs(args.deploy_patience), ..Pace::default() },
    })
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

/// A client of these routes within the process, with a token that nobody else has.
fn inside(routes: OpenApiRouter, random: &dyn Random) -> Client {
    let (router, _document) = routes.split_for_parts();
    let token = internal_token(random);
    let router = hafen_http::finish(router, hafen_http::Access::token(token.expose()), &[]);
    Client::new(Arc::new(RouterTransport::new(router)), token)
}

/// What services of this process show one another: made anew at each start, and never outside of it.
fn internal_token(random: &dyn Random) -> Token {
    let mut bytes = [0_u8; 32];
    random.fill(&mut bytes);
    Token::new(&bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

/// While nobody owns the platform, whoever can read this file may become its first owner, once.
async fn invite(identity: &Identity, home: &Home) -> Result<()> {
    match identity.bootstrap_invitation().await? {
        Some(secret) => home.write("invitation", &format!("{}\n", secret.expose())),
        None => home.forget("invitation"),
    }
}
