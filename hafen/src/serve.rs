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
use hafen_base::{Clock, Error, Result, SystemClock, SystemRandom};
use hafen_client::wire::Status;
use hafen_client::{Client, RouterTransport, Token};
use hafen_db::Location;
use hafen_http::{Access, Edge, Json, Peer};
use hafen_ledger::witness::WitnessConfig;
use hafen_ledger::{Ledger, LedgerConfig};
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
    /// Name of this platform's ledger at its first start, as example.org/ledger; a random one unless given.
    #[arg(long, default_value = "", env = "HAFEN_LEDGER_ORIGIN", hide_default_value = true)]
    pub ledger_origin: String,
    /// Folder for the ledger's last checkpoints and erasures: best on another disk, and outside of what a backup restores;
    /// ledger-apart under `HAFEN_HOME` unless given.
    #[arg(long, env = "HAFEN_LEDGER_APART")]
    pub ledger_apart: Option<PathBuf>,
    /// The ledger of a year is removed so many years after its end.
    #[arg(long, default_value = "3", env = "HAFEN_LEDGER_KEEP_YEARS")]
    pub ledger_keep_years: u32,
    /// A witness to ask for cosignatures, as `hafen witness` prints it (KEY@URL); may be repeated.
    #[arg(long = "witness")]
    pub witnesses: Vec<WitnessConfig>,
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
pub fn api(machines: &Machines, stacks: &Stacks, ledger: &Ledger) -> (Router, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(hafen_machines::api::router(machines.clone()))
        .merge(stacks.router())
        .merge(ledger.router())
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

/// The ledger over what the others say happened.
async fn ledger(
    args: &ServeArgs,
    home: &Home,
    health: &Health,
    machines: &Machines,
    stacks: &Stacks,
) -> Result<Ledger> {
    Ledger::open(LedgerConfig {
        location: location(args, home),
        folder: home.path("ledger"),
        apart: args.ledger_apart.clone().unwrap_or_else(|| home.path("ledger-apart")),
        origin: args.ledger_origin.clone(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        health: health.clone(),
        feeds: vec![Arc::new(machines.events().clone()), Arc::new(stacks.events().clone())],
        witnesses: args.witnesses.clone(),
        keep_years: args.ledger_keep_years,
    })
    .await
}

fn location(args: &ServeArgs, home: &Home) -> Location {
    match &args.database {
        Some(url) => Location::Postgres(url.clone()),
        None => Location::Sqlite(home.folder().to_owned()),
    }
}

/// Opens both services over one home.
async fn services(
    args: &ServeArgs,
    home: &Home,
    token: &Token,
    health: &Health,
) -> Result<(Machines, Stacks, Arc<dyn Engine>)> {
    let location = location(args, home);
    let ca = Arc::new(SshCa::open(&home.path("ca"), &SystemRandom)?);
    let engine = engine(args, home, &ca).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let machines = Machines::open(MachinesConfig {
        location: location.clone(),
        engine: Arc::clone(&engine),
        clock: Arc::clone(&clock),
        random: Arc::new(SystemRandom),
        ca,
        health: health.clone(),
    })
    .await?;
    // The stacks service speaks to the machines service as any client would, only without a network between.
    let (router, _document) = hafen_machines::api::router(machines.clone()).split_for_parts();
    let router = hafen_http::finish(router, Access::token(token.expose()), OPEN);
    let client = Client::new(Arc::new(RouterTransport::new(router, None)), token.clone());
    let stacks = Stacks::open(StacksConfig {
        location,
        platform: Arc::new(client),
        read: Arc::new(read_manifest),
        clock,
        random: Arc::new(SystemRandom),
        health: health.clone(),
    })
    .await?;
    Ok((machines, stacks, engine))
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
    let (machines, stacks, engine) = services(&args, &home, &token, &health).await?;
    let ledger = ledger(&args, &home, &health, &machines, &stacks).await?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Error::unavailable(format!("cannot listen at {}: {error}", args.listen)))?;
    let address = listener.local_addr().map_err(Error::internal)?;
    let url = format!("http://{address}");

    let (router, document) = api(&machines, &stacks, &ledger);
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
    let access = Access::token(token.expose());
    home.socket_remove()?;
    let socket = if args.no_local_operator { None } else { home.listen()? };
    let access =
        if socket.is_some() { access.and_operator(rustix::process::geteuid().as_raw()) } else { access };
    let edge = Edge { gate: Arc::new(access), calls: Some(Arc::new(ledger.clone())), open: OPEN };
    let app = hafen_http::finish_behind(router, edge);

    let (stop, stopped) = watch::channel(false);
    let background = tokio::spawn({
        let (machines, stacks, ledger) = (machines.clone(), stacks.clone(), ledger.clone());
        async move {
            tokio::join!(machines.run(stopped.clone()), stacks.run(stopped.clone()), ledger.run(stopped));
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

/// Returns at SIGTERM or SIGINT.
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
