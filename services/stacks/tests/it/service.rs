//! The whole service over a fake platform: opened, run, killed, opened again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hafen_base::{Clock, ErrorKind, Result, Timestamp};
use hafen_client::wire::{Apply, ApplyCreate, Plan, PlanCreate};
use hafen_db::testing::TestDb;
use hafen_stacks::{Stacks, StacksConfig};
use hafen_work::Health;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fake::Fake;
use crate::manifest::{Manifest, read};

/// Time that runs faster.
pub struct FastClock {
    begun: Instant,
    factor: u32,
}

impl FastClock {
    pub fn new(factor: u32) -> Self {
        Self { begun: Instant::now(), factor }
    }
}

#[async_trait]
impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000).plus(self.begun.elapsed() * self.factor)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / self.factor).await;
    }
}

pub struct Service {
    pub stacks: Stacks,
    pub fake: Fake,
    pub database: Arc<TestDb>,
    factor: u32,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

impl Service {
    pub async fn new() -> Self {
        Self::open(Arc::new(hafen_db::testing::sqlite()), Fake::new(), 100).await
    }

    pub async fn open(database: Arc<TestDb>, fake: Fake, factor: u32) -> Self {
        let config = StacksConfig {
            location: database.location.clone(),
            platform: Arc::new(fake.clone()),
            read: Arc::new(read),
            clock: Arc::new(FastClock::new(factor)),
            random: Arc::new(hafen_base::SystemRandom),
            health: Health::default(),
        };
        let stacks = Stacks::open(config).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn({
            let stacks = stacks.clone();
            async move { stacks.run(stopped).await }
        });
        Self { stacks, fake, database, factor, stop, running: Some(running) }
    }

    /// `SIGKILL` and the next start.
    pub async fn killed(mut self) -> Self {
        let running = self.running.take().unwrap();
        running.abort();
        let _aborted = running.await;
        self.fake.revive();
        Self::open(Arc::clone(&self.database), self.fake.clone(), self.factor).await
    }

    /// An orderly end and the next start.
    pub async fn restarted(mut self) -> Self {
        self.stop.send(true).unwrap();
        self.running.take().unwrap().await.unwrap();
        Self::open(Arc::clone(&self.database), self.fake.clone(), self.factor).await
    }

    pub async fn plan(&self, manifest: &Manifest) -> Plan {
        let body = PlanCreate { source: manifest.source(), destroy: false };
        self.stacks.plan_create("hello", body).await.unwrap()
    }

    pub async fn plan_destroy(&self) -> Plan {
        let body = PlanCreate { source: Manifest::default().source(), destroy: true };
        self.stacks.plan_create("hello", body).await.unwrap()
    }

    pub async fn begin(&self, plan: Plan) -> Result<Apply> {
        self.stacks.apply_create("hello", ApplyCreate { plan }, None).await
    }

    pub async fn end(&self, apply: &Apply) -> Apply {
        loop {
            match self.stacks.apply_wait("hello", &apply.id.to_string(), Duration::from_mins(1)).await {
                Ok(apply) => return apply,
                Err(error) if error.kind() == ErrorKind::Timeout => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Plans, applies, waits.
    pub async fn apply(&self, manifest: &Manifest) -> Apply {
        let plan = self.plan(manifest).await;
        assert_eq!(plan.problems, Vec::<String>::new());
        let apply = self.begin(plan).await.unwrap();
        self.end(&apply).await
    }

    pub async fn apply_well(&self, manifest: &Manifest) -> Apply {
        let apply = self.apply(manifest).await;
        assert_eq!(apply.status, "succeeded", "{apply:#?}");
        apply
    }

    /// Whether the wanted state is reached: nothing to do, everything healthy, nothing besides.
    pub async fn assert_reached(&self, manifest: &Manifest) {
        let plan = self.plan(manifest).await;
        assert!(!plan.counts.any(), "{:#?}", plan.resource_changes);
        assert_eq!(plan.resource_drift, vec![], "no drift after an apply");
        let world = self.fake.world();
        let wanted = manifest.wanted();
        let mut names: Vec<&str> = wanted.machines().into_keys().collect();
        names.sort_unstable();
        assert_eq!(world.machines.keys().map(String::as_str).collect::<Vec<_>>(), names);
        assert!(world.machines.values().all(|machine| machine.healthy), "{:#?}", world.machines);
        assert!(world.networks.keys().eq(manifest.networks.keys()));
        assert!(world.images.keys().eq(manifest.images.keys()));
        assert!(world.publications.keys().eq(manifest.publications.keys()));
        assert!(world.delivery.apps.keys().eq(manifest.apps.keys()));
        // Those of apps are written by who delivers them.
        let backends = world.delivery.backends.keys().filter(|name| !manifest.apps.contains_key(*name));
        assert!(backends.eq(manifest.backends.keys()));
        assert!(world.delivery.routes.keys().eq(manifest.routes.keys()));
    }
}

/// Steps as `action address: status`.
pub fn lines(apply: &Apply) -> Vec<String> {
    apply.steps.iter().map(|step| format!("{} {}: {}", step.action, step.address, step.status)).collect()
}
