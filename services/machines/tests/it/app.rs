//! One platform in a test: router, store, runners, simulated engine, a clock that runs fast.

use std::sync::Arc;
use std::time::Duration;

use hafen_base::{Clock, Random, Result, SeededRandom, SteppedClock};
use hafen_client::wire::{
    Health, ImageCreate, ImageSource, Machine, MachineCreate, MachineSpec, NetworkCreate, ProjectPut,
};
use hafen_client::{Client, Conditions, RouterTransport, Token};
use hafen_db::{Location, testing};
use hafen_http::Access;
use hafen_machines::ca::SshCa;
use hafen_machines::engine::sim::{Faults, Sim, World};
use hafen_machines::{Machines, MachinesConfig};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub const TOKEN: &str = "test-token";

/// The parts that outlive a control plane: the database and the (simulated) reality.
pub struct Ground {
    pub location: Location,
    pub world: Arc<World>,
    pub clock: SteppedClock,
    pub random: Arc<dyn Random>,
    _database: testing::TestDb,
}

impl Ground {
    pub fn new(database: testing::TestDb, faults: Faults) -> Self {
        Self {
            location: database.location.clone(),
            world: Arc::new(World::new(faults)),
            clock: SteppedClock::new(),
            random: Arc::new(SeededRandom::new(faults.seed)),
            _database: database,
        }
    }

    pub fn sqlite() -> Self {
        Self::new(testing::sqlite(), Faults::default())
    }
}

/// One life of the control plane.
pub struct App {
    pub client: Client,
    pub router: axum::Router,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
    ticking: JoinHandle<()>,
}

impl Drop for App {
    /// As a killed process: nothing is told, nothing ends in order.
    fn drop(&mut self) {
        self.running.abort();
        self.ticking.abort();
    }
}

impl App {
    pub async fn start(ground: &Ground) -> Self {
        let machines = Machines::open(MachinesConfig {
            location: ground.location.clone(),
            engine: Arc::new(Sim::new(Arc::clone(&ground.world), Arc::new(ground.clock.clone()))),
            clock: Arc::new(ground.clock.clone()),
            random: Arc::clone(&ground.random),
            ca: Arc::new(SshCa::in_memory(&*ground.random)),
            health: hafen_work::Health::default(),
        })
        .await
        .unwrap();
        let (router, _) = hafen_machines::api::router(machines.clone()).split_for_parts();
        let router = hafen_http::finish(router, Access::token(TOKEN), &["/health"]);
        let client = Client::new(Arc::new(RouterTransport::new(router.clone())), Token::new(TOKEN));
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn({
            let machines = machines.clone();
            async move { machines.run(stopped).await }
        });
        // Simulated time runs about fifty times as fast as ours.
        let ticking = tokio::spawn({
            let clock = ground.clock.clone();
            async move {
                loop {
                    clock.step(Duration::from_millis(50));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
        Self { client, router, stop, running, ticking }
    }

    /// Ends in order.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        (&mut self.running).await.unwrap();
    }

    /// A project with a network `backend` and an image `web`.
    pub async fn prepare(&self, project: &str) {
        self.client.project_put(project, &ProjectPut::default()).await.unwrap();
        let network = NetworkCreate { name: "backend".into(), egress: Default::default(), subnet: None };
        self.client.network_create(project, &network, &Conditions::default()).await.unwrap();
        self.client.image_create(project, &image("web"), &Conditions::default()).await.unwrap();
    }

    /// Creates `name` and waits until it is started.
    pub async fn machine(&self, project: &str, name: &str) -> Machine {
        self.client.machine_create(project, &machine(name), &Conditions::default()).await.unwrap();
        self.wait(project, name, "started").await.unwrap()
    }

    pub async fn wait(&self, project: &str, name: &str, wanted: &str) -> Result<Machine> {
        self.client.machine_wait(project, name, wanted, Duration::from_secs(60)).await
    }

    /// Waits until `check` holds; the deadline is in our time.
    pub async fn until<T>(&self, what: &str, check: impl AsyncFn() -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(value) = check().await {
                return value;
            }
            assert!(tokio::time::Instant::now() < deadline, "it never came: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn image(name: &str) -> ImageCreate {
    let source = ImageSource::Debian {
        release: "trixie".into(),
        packages: vec!["nginx-light".into()],
        files: Default::default(),
    };
    ImageCreate { name: name.into(), source, lock: None }
}

pub fn spec() -> MachineSpec {
    MachineSpec {
        image: "web".into(),
        cpus: 1,
        memory: 512 << 20,
        disk: 4 << 30,
        network: "backend".into(),
        address: None,
        user_data: None,
        start: "warm".into(),
    }
}

pub fn machine(name: &str) -> MachineCreate {
    MachineCreate {
        name: name.into(),
        spec: spec(),
        group: None,
        metadata: Default::default(),
        health: None,
        skip_launch: false,
        skip_registration: false,
        lease_ttl: None,
    }
}

pub fn health() -> Health {
    Health {
        http: Some("/".into()),
        tcp: false,
        port: 80,
        interval_ms: 500,
        timeout_ms: 500,
        healthy_after: 1,
    }
}

/// The clock, for tests that look at times.
pub fn now(ground: &Ground) -> hafen_base::Timestamp {
    ground.clock.now()
}
