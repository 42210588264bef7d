//! `hafen serve`: puts the services together and answers until told to stop.
//!
//! Stopping it touches no machine: they go on, and the next start finds them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use clap::{Args, ValueEnum};
use hafen_base::{Clock as _, Error, Result, SystemClock, SystemRandom};
use hafen_http::{Access, Edge, LineListener, Lines, Peer};
use hafen_identity::Identity;
use hafen_ledger::witness::WitnessConfig;
use hafen_work::Health;
use tokio::net::TcpListener;
use tokio::sync::watch;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::about::About;
use crate::bastion;
use crate::edge::EdgeArgs;
use crate::gate::PlatformGate;
use crate::home::{Endpoint, Home};
use crate::services::Services;

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
    /// As people reach the platform, such as `https://hafen.example.org`; passkeys are bound to it. This host and port
    /// unless given.
    #[arg(long, env = "HAFEN_PUBLIC_URL")]
    pub public_url: Option<String>,
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
    /// Let only clients to the bastion whose key exchange no quantum computer opens later (mlkem768x25519: OpenSSH 9.9 or
    /// later). OpenSSH 9.0 to 9.8, which is offered curve25519 otherwise, is left out.
    #[arg(long, env = "HAFEN_BASTION_POST_QUANTUM_ONLY")]
    pub bastion_post_quantum_only: bool,
    /// Seconds from one check of a machine's ways in (sshd, keys, sudo, setuid files) to the next; 0 checks none.
    #[arg(long, value_name = "SECONDS", default_value = "300", env = "HAFEN_INTEGRITY_EVERY", value_parser = clap::value_parser!(u64).range(..=86400))]
    pub integrity_every: u64,
    /// SSH sessions are listed for so many days after their end; the ledger keeps its own record.
    #[arg(long, value_name = "DAYS", default_value_t = hafen_access::SESSION_DAYS, env = "HAFEN_SESSION_DAYS", value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub session_days: u32,
    /// Seconds within which a process of an app has to become healthy; a deployment that takes longer is rolled back.
    #[arg(long, value_name = "SECONDS", default_value = "120", env = "HAFEN_DEPLOY_PATIENCE", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub deploy_patience: u64,
    /// Certificates of authorities (PEM) to know git servers of sources elsewhere by, beside those that this host knows.
    #[arg(long, value_name = "FILE", env = "HAFEN_GIT_ROOTS")]
    pub git_roots: Option<PathBuf>,
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
    #[command(flatten)]
    pub edge: EdgeArgs,
    /// Let issuers of workload identities be on this machine, by plain http: for tests and exercises.
    #[arg(long, hide = true)]
    pub loopback_issuers: bool,
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

/// Paths answered to anybody.
static OPEN: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let ours = ["/health"];
    hafen_identity::OPEN.iter().chain(hafen_delivery::OPEN).copied().chain(ours).collect()
});

/// All routes; their document is published at one of them.
fn api(services: &Services, about: &About) -> Result<Router> {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(hafen_machines::api::router(services.machines.clone()))
        .merge(services.stacks.router())
        .merge(services.identity.router())
        .merge(services.ledger.router())
        .merge(services.access.router())
        .merge(services.shells.router())
        .merge(services.delivery.router())
        .merge(services.vault.router())
        .merge(services.edge.router())
        .merge(services.apps.router())
        .merge(about.router())
        .merge(crate::gate::explain::router(services.rights.clone()))
        .merge(crate::changes::router(services))
        .split_for_parts();
    for (path, item) in &mut document.paths.paths {
        if OPEN.contains(&path.as_str()) {
            let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
            for operation in all.into_iter().flatten() {
                operation.security = Some(Vec::new());
            }
        }
    }
    about.publish(&document)?;
    Ok(router)
}

pub async fn run(args: ServeArgs) -> Result<()> {
    if !args.listen.ip().is_loopback() {
        return Err(Error::invalid(format!(
            "{} can be reached from outside, and this version speaks no TLS: listen at 127.0.0.1 and put a TLS proxy before it",
            args.listen
        )));
    }
    // Before anything is opened that could be many.
    let files = crate::descriptors::raise();
    // Whatever is written from here on is for its owner only, unless it says otherwise.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let home = Home::find()?;
    home.create()?;
    let _lock = home.lock()?;
    let health = Health::default();
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Error::unavailable(format!("cannot listen at {}: {error}", args.listen)))?;
    let address = listener.local_addr().map_err(Error::internal)?;
    let url = format!("http://{address}");

    let services = Services::open(&args, &home, &health, address).await?;
    let about = About::new(health, url.clone(), Arc::clone(&services.engine)).await;
    let router = api(&services, &about)?;
    let operator = rustix::process::geteuid().as_raw();
    let access = if services.identity.is_owned().await? {
        forget_bootstrap(&home);
        Access::nobody()
    } else {
        Access::token(home.token(&SystemRandom)?.expose())
    };
    home.socket_remove()?;
    let socket = if args.no_local_operator { None } else { home.listen()? };
    let access = if socket.is_some() { access.and_operator(operator) } else { access };
    let lines = Lines::default();
    let gate = PlatformGate::new(access, lines.clone(), operator, services.rights.clone());
    let app = hafen_http::finish_behind(
        router,
        Edge {
            gate: Arc::new(gate),
            calls: Some(Arc::new(services.ledger.clone())),
            open: &OPEN,
            site: Some(services.identity.site().clone()),
            front: Some(crate::console::front(Arc::new(SystemRandom))),
        },
    );

    let (stop, stopped) = watch::channel(false);
    let bastion = match args.bastion {
        None => None,
        Some(listen) => {
            let bastion = bastion::listen(
                listen,
                &services.access,
                args.bastion_address.is_none(),
                args.bastion_post_quantum_only,
            )
            .await?;
            println!("The bastion listens at {}", bastion.address);
            Some(bastion)
        }
    };
    for (scheme, address) in [("http", services.data_plane.http), ("https", services.data_plane.https)] {
        if let Some(address) = address {
            println!("The edge answers at {scheme}://{address}");
        }
    }
    if services.data_plane.listens() {
        let most = services.data_plane.proxy.limits().connections;
        println!("The edge takes up to {most} connections at a time, of {files} files that may be open");
    }
    let bootstrap = tokio::spawn(bootstrap_ends(services.identity.clone(), home.clone(), lines.clone()));
    let background = tokio::spawn({
        let services = services.clone();
        async move {
            Box::pin(services.run(bastion, stopped)).await;
        }
    });
    let public_url = services.identity.site().origin().to_owned();
    home.endpoint_write(&Endpoint {
        url: url.clone(),
        public_url: public_url.clone(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
    })?;
    println!("Hafen {} answers at {url} (engine {})", env!("CARGO_PKG_VERSION"), services.engine.name());
    if hafen_web::ASSETS.is_empty() {
        println!("This binary has no console: `make console`, then build again");
    } else {
        println!("Console at {public_url}");
    }
    if !services.identity.is_owned().await? {
        println!("It has no owner yet: `hafen invitation` prints the link by which it gets one");
    }
    let local = socket.map(|socket| {
        let app = app.clone().into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(socket, app).await })
    });
    let app = app.into_make_service_with_connect_info::<Peer>();
    let listener = LineListener::new(listener, lines);
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    told_to_stop().await?;
    tracing::info!("stopping; machines go on");
    stop.send_replace(true);
    // Steps under way end, or are found half done by the next start: both are the same road.
    let _late = tokio::time::timeout(Duration::from_secs(5), background).await;
    server.abort();
    bootstrap.abort();
    if let Some(local) = local {
        local.abort();
    }
    if let Err(error) = std::fs::remove_file(home.path("api.json")) {
        tracing::debug!("api.json: {error}");
    }
    home.socket_remove()?;
    Ok(())
}

/// When the platform has its first owner, the token of its first start has ended: for requests at once, and for streams that
/// began with it here.
async fn bootstrap_ends(identity: Identity, home: Home, lines: Lines) {
    identity.becomes_owned().await;
    forget_bootstrap(&home);
    // The answer with the new owner's recovery codes may travel on one of these, and is given only once.
    SystemClock.sleep(Duration::from_secs(1)).await;
    lines.end_marked();
}

/// Removes what no longer opens anything.
fn forget_bootstrap(home: &Home) {
    for name in ["token", "invitation"] {
        if let Err(error) = home.forget(name) {
            tracing::warn!("{error}; it opens nothing any more: remove it");
        }
    }
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
