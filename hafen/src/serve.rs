//! `hafen serve`: puts the services together and answers until told to stop.
//!
//! Stopping it touches no machine: they go on, and the next start finds them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{Html, IntoResponse as _};
use axum::routing::get;
use clap::{Args, ValueEnum};
use hafen_access::{Access, AccessConfig};
use hafen_base::{Clock, Error, Result, SystemClock, SystemRandom};
use hafen_client::wire::Status;
use hafen_client::{Client, RouterTransport, Token};
use hafen_db::Location;
use hafen_http::{Access as Callers, Json, Peer};
use hafen_machines::ca::SshCa;
use hafen_machines::engine::Engine;
use hafen_machines::engine::qemu::{Qemu, QemuConfig};
use hafen_machines::engine::sim::{Faults, Sim, World};
use hafen_machines::{Machines, MachinesConfig};
use hafen_stacks::{Stacks, StacksConfig, read_manifest};
use hafen_work::Health;
use tokio::net::TcpListener;
use tokio::sync::watch;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::bastion::{self, Keys};
use crate::cli::HOLDER;
use crate::home::{Endpoint, Home, cache_folder};

/// What runs the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// Real machines on this host.
    Qemu,
    /// Simulated: no machine is real.
    Sim,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to listen at; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:4750", env = "HAFEN_LISTEN")]
    pub listen: SocketAddr,
    /// Ask for the token at the socket in `HAFEN_HOME` too, where otherwise the user who owns it is known by the kernel's word.
    #[arg(long)]
    pub no_local_operator: bool,
    /// What runs the machines.
    #[arg(long, value_enum, default_value = "qemu", env = "HAFEN_ENGINE")]
    pub engine: EngineKind,
    /// PostgreSQL as `postgres://user@host/database`; SQLite under `HAFEN_HOME` when absent.
    #[arg(long, env = "HAFEN_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// File of the key that seals other keys: 32 bytes in base 64, mode 0600. Else the systemd credential `hafen-key`, else
    /// the file `key` under `HAFEN_HOME`, which is made.
    #[arg(long, env = "HAFEN_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Run the SSH bastion at this address, too; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", env = "HAFEN_BASTION")]
    pub bastion: Option<SocketAddr>,
    /// How people reach the bastion, as host:port; the address it listens at unless said.
    #[arg(long, value_name = "HOST:PORT", env = "HAFEN_BASTION_ADDRESS")]
    pub bastion_address: Option<String>,
    /// Faults of the simulated engine, a JSON file: for tests and exercises.
    #[arg(long, hide = true)]
    pub sim_faults: Option<PathBuf>,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Hafen", description = "DevOps as an API: machines, clusters and applications on your own hardware."),
    components(schemas(hafen_client::wire::Problem)),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("bearer", bearer);
        document.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    }
}

/// Paths answered without a token.
const OPEN: &[&str] = &["/health"];

/// The services' routes and their document, for `serve` and for the committed document.
pub fn api(machines: &Machines, stacks: &Stacks, access: &Access) -> (Router, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(hafen_machines::api::router(machines.clone()))
        .merge(stacks.router())
        .merge(access.router())
        .split_for_parts()
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

/// What was opened over one home.
struct Services {
    machines: Machines,
    stacks: Stacks,
    access: Access,
    engine: Arc<dyn Engine>,
    keys: Keys,
}

/// Where a home's state lives.
pub fn location(database: Option<&str>, home: &Home) -> Location {
    match database {
        Some(url) => Location::Postgres(url.to_owned()),
        None => Location::Sqlite(home.folder().to_owned()),
    }
}

/// Opens the services over one home. `address` is where they will answer.
async fn services(
    args: &ServeArgs,
    home: &Home,
    token: &Token,
    health: &Health,
    address: SocketAddr,
) -> Result<Services> {
    let location = location(args.database.as_deref(), home);
    let keys = Keys::open(args.key_file.as_deref(), home)?;
    let ca = Arc::clone(&keys.ca);
    let engine = engine(args, home, &ca).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let machines = Machines::open(MachinesConfig {
        location: location.clone(),
        engine: Arc::clone(&engine),
        clock: Arc::clone(&clock),
        random: Arc::new(SystemRandom),
        ca: Arc::clone(&ca),
        health: health.clone(),
    })
    .await?;
    // The stacks service speaks to the machines service as any client would, only without a network between.
    let (router, _document) = hafen_machines::api::router(machines.clone()).split_for_parts();
    let router = hafen_http::finish(router, Callers::token(token.expose()), OPEN);
    let client = Client::new(Arc::new(RouterTransport::new(router, Some(address))), token.clone());
    let stacks = Stacks::open(StacksConfig {
        location: location.clone(),
        platform: Arc::new(client.clone()),
        read: Arc::new(read_manifest),
        clock: Arc::clone(&clock),
        random: Arc::new(SystemRandom),
        health: health.clone(),
    })
    .await?;
    let access = Access::open(AccessConfig {
        location,
        platform: client,
        ca,
        clock,
        random: Arc::new(SystemRandom),
        health: health.clone(),
        bastion_address: args.bastion_address.clone(),
    })
    .await?;
    Ok(Services { machines, stacks, access, engine, keys })
}

pub async fn run(args: ServeArgs) -> Result<()> {
    if !args.listen.ip().is_loopback() {
        return Err(Error::invalid(format!(
            "{} can be reached from outside, and this version speaks no TLS: listen at 127.0.0.1 and put a TLS proxy before it",
            args.listen
        )));
    }
    // Whatever is written from here on is for its owner only, unless it says otherwise.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let home = Home::find()?;
    home.create()?;
    let _lock = home.lock()?;
    let token = home.token(&SystemRandom)?;
    let health = Health::default();
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Error::unavailable(format!("cannot listen at {}: {error}", args.listen)))?;
    let address = listener.local_addr().map_err(Error::internal)?;
    let url = format!("http://{address}");
    let Services { machines, stacks, access, engine, keys } =
        services(&args, &home, &token, &health, address).await?;

    let (router, document) = api(&machines, &stacks, &access);
    let status = {
        let (health, url, engine, started_at) =
            (health.clone(), url.clone(), Arc::clone(&engine), SystemClock.now());
        let detail = engine.info().await.detail;
        move || {
            let healthy = health.is_ok();
            let status = Status {
                url: url.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                engine: engine.name().into(),
                engine_detail: detail.clone(),
                status: if healthy { "ok".into() } else { "degraded".into() },
                services: health.all(),
                pid: std::process::id(),
                started_at,
            };
            async move { Json(status) }
        }
    };
    let page = hafen_http::docs_page(&serde_json::to_value(&document).map_err(Error::internal)?);
    let document = serde_json::to_string(&document).map_err(Error::internal)?;
    let alive = health.clone();
    let router = router
        .route("/api/v1/status", get(status))
        .route(
            "/api/v1/openapi.json",
            get(move || async move { ([("content-type", "application/json")], document).into_response() }),
        )
        .route("/api/docs", get(move || async move { Html(page) }))
        .route(
            "/health",
            get(move || async move {
                let ok = alive.is_ok();
                Json(serde_json::json!({ "status": if ok { "ok" } else { "degraded" } }))
            }),
        );
    let callers = Callers::token(token.expose());
    home.socket_remove()?;
    let socket = if args.no_local_operator { None } else { home.listen()? };
    let callers =
        if socket.is_some() { callers.and_operator(rustix::process::geteuid().as_raw()) } else { callers };
    let app = hafen_http::finish(router, callers, OPEN);

    let (stop, stopped) = watch::channel(false);
    let bastion = match args.bastion {
        None => None,
        Some(listen) => {
            let bastion = bastion::listen(listen, &access, args.bastion_address.is_none()).await?;
            println!("The bastion listens at {}", bastion.address);
            Some(bastion)
        }
    };
    let background = tokio::spawn({
        let (machines, stacks, access) = (machines.clone(), stacks.clone(), access.clone());
        async move {
            let bastion = async {
                if let Some(bastion) = bastion {
                    bastion.carry(&access, &keys, "serve", stopped.clone()).await;
                }
            };
            tokio::join!(
                machines.run(stopped.clone()),
                stacks.run(stopped.clone()),
                access.run(stopped.clone()),
                bastion
            );
        }
    });
    home.endpoint_write(&Endpoint {
        url: url.clone(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
    })?;
    println!("Hafen {} answers at {url} (engine {})", env!("CARGO_PKG_VERSION"), engine.name());
    let local = socket.map(|socket| {
        let app = app.clone().into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(socket, app).await })
    });
    let app = app.into_make_service_with_connect_info::<Peer>();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    told_to_stop().await?;
    tracing::info!("stopping; machines go on");
    stop.send_replace(true);
    // Steps under way end, or are found half done by the next start: both are the same road.
    let _late = tokio::time::timeout(Duration::from_secs(5), background).await;
    server.abort();
    if let Some(local) = local {
        local.abort();
    }
    if let Err(error) = std::fs::remove_file(home.path("api.json")) {
        tracing::debug!("api.json: {error}");
    }
    home.socket_remove()?;
    Ok(())
}

pub async fn told_to_stop() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::internal)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
