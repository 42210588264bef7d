//! A project with machines, sources, a balancer and a vault in memory; time stands still unless it is moved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use hafen_base::{Actor, ActorKind, Error, Result, SeededRandom, SteppedClock};
use hafen_client::wire::{AppHealth, AppSource, AppSpec, Deployment, DeploymentCreate};
use hafen_client::{ByteStream, Client, Token, Transport};
use hafen_db::testing::TestDb;
use hafen_sshca::ssh_key::PrivateKey;
use hafen_sshca::ssh_key::private::Ed25519Keypair;
use hafen_work::{Health, Reconciler as _};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::around::{Balanced, Balancer, Endpoint, SourceOf, Sources, Vault};
use super::super::build::Builds;
use super::super::hands::sim::SimHands;
use super::super::model::{AppRow, BuildRow, DeploymentRow, ProcessRow};
use super::super::prepare::Preparations;
use super::super::rollout::Rollouts;
use super::super::{Apps, AppsConfig, Pace};
use crate::store::{app as store, process as places};
use crate::{Delivery, DeliveryConfig, Rights};

pub const FOUNDED: &str = "2026-01-01T00:00:00Z";
pub const LATER: &str = "2026-02-02T00:00:00Z";
pub const C1: &str = "1111111111111111111111111111111111111111";
pub const C2: &str = "2222222222222222222222222222222222222222";
pub const C3: &str = "3333333333333333333333333333333333333333";

/// Projects by when they were founded, and machines by the boot that they are in; none for stopped ones.
#[derive(Default)]
pub struct Place {
    pub projects: Mutex<BTreeMap<String, &'static str>>,
    pub machines: Mutex<BTreeMap<String, Option<&'static str>>>,
    /// Machines of builds, and all that ever were.
    builders: Mutex<BTreeMap<String, Value>>,
    pub built_in: Mutex<Vec<String>>,
}

impl Place {
    /// What a build asks for: an image, a network, a machine.
    async fn for_builds(&self, words: &[&str], request: Request<Full<Bytes>>) -> Option<Value> {
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut builders = self.builders.lock().unwrap();
        match (method.as_str(), words) {
            ("GET", ["images", "builder"]) => {
                Some(json!({ "id": "img-01J00000000000000000000001", "project": "hello", "name": "builder",
                        "source": { "kind": "debian", "release": "trixie" }, "state": "ready", "digest": "sha256-abcd",
                        "lock": "", "size": 1, "operation": null, "created_at": FOUNDED, "generation": 1,
                        "observed_generation": 1 }))
            }
            ("POST", ["networks"]) | ("DELETE", ["networks", _]) => Some(
                json!({ "id": "net-01J00000000000000000000001", "project": "hello", "name": "hafen-build", "egress": "none",
                        "subnet": "", "state": "ready", "created_at": FOUNDED, "generation": 1, "observed_generation": 1 }),
            ),
            ("POST", ["machines"]) => {
                let asked: Value = serde_json::from_slice(&body).unwrap();
                let name = asked["name"].as_str().unwrap();
                let mut made = machine(name, Some("a"));
                (made["group"], made["metadata"]) = (Value::Null, asked["metadata"].clone());
                builders.insert(name.to_owned(), made.clone());
                self.built_in.lock().unwrap().push(name.to_owned());
                Some(made)
            }
            ("GET", ["machines", name, ..]) => builders.get(*name).cloned(),
            ("DELETE", ["machines", name]) => builders.remove(*name),
            _ => None,
        }
    }
}

fn machine(name: &str, boot: Option<&str>) -> Value {
    json!({ "id": "m-01J00000000000000000000001", "instance_id": "i-01J00000000000000000000001", "project": "hello",
            "name": name, "group": "web", "metadata": {}, "health": null, "cordoned": false,
            "spec": { "image": "web", "cpus": 1, "memory": 1, "disk": 1, "network": "n" },
            "state": if boot.is_some() { "started" } else { "stopped" }, "wanted_state": if boot.is_some() { "started" } else { "stopped" },
            "healthy": true, "address": null, "mac": null, "boot_id": boot, "ssh_host_key": null, "image_digest": null,
            "restarts": 0, "operation": null, "created_at": FOUNDED, "updated_at": FOUNDED, "generation": 1,
            "observed_generation": 1 })
}

#[async_trait]
impl Transport for Place {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let path = request.uri().path().strip_prefix("/api/v1/projects/").unwrap().to_owned();
        let words: Vec<&str> = path.split('/').collect();
        let founded = self.projects.lock().unwrap().get(words[0]).copied();
        let machines = self.machines.lock().unwrap().clone();
        let amounts = json!({ "machines": 1, "cpus": 1, "memory": 1, "disk": 1 });
        let body = match (founded, &words[1..]) {
            (Some(at), []) => Some(
                json!({ "name": words[0], "quota": amounts, "usage": amounts, "generation": 1, "created_at": at }),
            ),
            (Some(_), ["machines"]) if request.method() == "GET" => {
                let items: Vec<Value> = machines.iter().map(|(name, boot)| machine(name, *boot)).collect();
                Some(json!({ "items": items, "next_page": null }))
            }
            (Some(_), ["machines", name]) if machines.contains_key(*name) => {
                machines.get(*name).map(|boot| machine(name, *boot))
            }
            (Some(_), words) => self.for_builds(words, request).await,
            _ => None,
        };
        let (status, body) = match body {
            Some(body) => (200, body),
            None => (
                404,
                json!({ "type": "about:blank", "title": "Not Found", "status": 404, "code": "not_found", "request_id": "r",
                        "detail": format!("there is no {path:?}") }),
            ),
        };
        Ok(Response::builder().status(status).body(Body::from(body.to_string())).unwrap())
    }

    async fn stream(&self, _path: &str, _token: &Token) -> Result<ByteStream> {
        Err(Error::not_found("such machine"))
    }
}

/// What the balancer was told last.
#[derive(Default)]
pub struct Told {
    pub broken: Mutex<bool>,
    pub endpoints: Mutex<BTreeMap<String, Vec<Endpoint>>>,
    pub routes: Mutex<BTreeMap<String, String>>,
    pub deleted: Mutex<Vec<String>>,
}

impl Told {
    fn works(&self) -> Result<()> {
        if *self.broken.lock().unwrap() { Err(Error::unavailable("no balancer")) } else { Ok(()) }
    }
}

#[async_trait]
impl Balancer for Told {
    async fn put(
        &self,
        _project: &str,
        backend: &str,
        _generation: i64,
        _health: Option<&AppHealth>,
        endpoints: &[Endpoint],
    ) -> Result<()> {
        self.works()?;
        self.endpoints.lock().unwrap().insert(backend.to_owned(), endpoints.to_vec());
        Ok(())
    }

    async fn look(&self, _project: &str, backend: &str) -> Result<Option<BTreeMap<String, Balanced>>> {
        self.works()?;
        let known = self.endpoints.lock().unwrap().get(backend).cloned().unwrap_or_default();
        let balanced = |one: Endpoint| (one.id, Balanced { in_flight: 0, accepted: !one.draining });
        Ok(Some(known.into_iter().map(balanced).collect()))
    }

    async fn delete(&self, _project: &str, backend: &str) -> Result<()> {
        self.works()?;
        self.endpoints.lock().unwrap().remove(backend);
        self.deleted.lock().unwrap().push(backend.to_owned());
        Ok(())
    }

    async fn route(&self, _project: &str, host: &str, backend: &str) -> Result<()> {
        self.works()?;
        self.routes.lock().unwrap().insert(host.to_owned(), backend.to_owned());
        Ok(())
    }

    async fn route_delete(&self, _project: &str, host: &str) -> Result<()> {
        self.routes.lock().unwrap().remove(host);
        Ok(())
    }
}

/// Every commit there is has one file; the branch is at the first.
#[derive(Default)]
pub struct Commits {
    pub broken: Mutex<bool>,
    pub hangs: Mutex<bool>,
    /// What is said of every token, which opens nothing then.
    pub refuses: Mutex<Option<&'static str>>,
}

impl Commits {
    async fn works(&self) -> Result<()> {
        if *self.hangs.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        if *self.broken.lock().unwrap() {
            return Err(Error::unavailable("the source cannot be reached"));
        }
        Ok(())
    }
}

#[async_trait]
impl Sources for Commits {
    async fn resolve(&self, of: SourceOf<'_>, reference: Option<&str>) -> Result<String> {
        self.works().await?;
        if let (Some(token), Some(why)) = (&of.source.token, &*self.refuses.lock().unwrap()) {
            return Err(Error::invalid(format!("{why} {}", token.secret)));
        }
        Ok(if reference == Some("next") { C2 } else { C1 }.to_owned())
    }

    async fn archive(&self, _of: SourceOf<'_>, commit: &str, spool: &Path) -> Result<(File, i64)> {
        self.works().await?;
        let mut builder = tar::Builder::new(tempfile::tempfile_in(spool).map_err(Error::internal)?);
        let mut header = tar::Header::new_gnu();
        header.set_size(commit.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, "version", commit.as_bytes()).map_err(Error::internal)?;
        let mut file = builder.into_inner().map_err(Error::internal)?;
        file.flush().and_then(|()| file.rewind()).map_err(Error::internal)?;
        Ok((file, 0))
    }

    async fn keep(&self, _used: &[(String, AppSource)]) -> Result<()> {
        Ok(())
    }
}

/// Every secret there is at its first version, but for those that are said.
#[derive(Default)]
pub struct Secrets {
    pub missing: Mutex<BTreeSet<String>>,
    pub versions: Mutex<BTreeMap<String, i64>>,
    /// What was read, and why.
    pub readings: Mutex<Vec<String>>,
}

impl Secrets {
    /// What one holds.
    pub fn value(secret: &str, version: i64) -> String {
        format!("canary-of-{secret}-{version}")
    }
}

#[async_trait]
impl Vault for Secrets {
    async fn read(
        &self,
        project: &str,
        secret: &str,
        version: Option<i64>,
        reason: &str,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let current = self.version(project, secret).await?;
        let version = version.unwrap_or(current);
        self.readings.lock().unwrap().push(format!("{secret} {version}: {reason}"));
        Ok(Zeroizing::new(Self::value(secret, version).into_bytes()))
    }

    async fn version(&self, _project: &str, secret: &str) -> Result<i64> {
        if self.missing.lock().unwrap().contains(secret) {
            return Err(Error::not_found(format!("secret {secret:?}")));
        }
        Ok(self.versions.lock().unwrap().get(secret).copied().unwrap_or(1))
    }
}

/// Developers may do everything but read secrets; viewers only see.
pub struct ByName;

#[async_trait]
impl Rights for ByName {
    async fn roles(&self, actor: &Actor, action: &str, _project: &str) -> Result<Option<Vec<String>>> {
        let may = match actor.id.as_str() {
            "viewer" => matches!(action, "app.read" | "deployment.read"),
            "developer" => action != "secret.read",
            _ => true,
        };
        Ok(may.then(|| vec![actor.id.clone()]))
    }
}

pub fn somebody(role: &str) -> Actor {
    Actor { kind: ActorKind::Person, id: role.into(), name: format!("the {role}"), ..Actor::platform() }
}

pub struct World {
    pub apps: Apps,
    pub place: Arc<Place>,
    pub balancer: Arc<Told>,
    pub commits: Arc<Commits>,
    pub hands: Arc<SimHands>,
    pub vault: Arc<Secrets>,
    pub clock: SteppedClock,
    pub folder: tempfile::TempDir,
    _database: TestDb,
}

/// On both databases, each by itself.
pub async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for (_, database) in hafen_db::testing::both() {
        worlds.push(World::with(database).await);
    }
    worlds
}

pub fn spec(more: &Value) -> AppSpec {
    let mut spec = json!({ "source": { "repository": "shop" }, "on": "web", "run": "./shop", "replicas": 2,
                           "health": { "path": "/", "interval_ms": 1000 } });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

impl World {
    pub async fn with(database: TestDb) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Arc::new(Place::default());
        place.projects.lock().unwrap().insert("hello".into(), FOUNDED);
        place
            .machines
            .lock()
            .unwrap()
            .extend([("web-1".to_owned(), Some("a")), ("web-2".to_owned(), Some("a"))]);
        let clock = SteppedClock::new();
        let random = Arc::new(SeededRandom::new(7));
        let delivery = Delivery::open(DeliveryConfig {
            location: database.location.clone(),
            folder: folder.path().join("delivery"),
            platform: Client::new(Arc::clone(&place) as Arc<dyn Transport>, Token::new("t")),
            rights: Arc::new(ByName),
            key: hafen_seal::MasterKey::generate(&*random),
            clock: Arc::new(clock.clone()),
            random,
            health: Health::default(),
        })
        .await
        .unwrap();
        let balancer = Arc::new(Told::default());
        let commits = Arc::new(Commits::default());
        let hands = Arc::new(SimHands::open(&folder.path().join("machines")).unwrap());
        let vault = Arc::new(Secrets::default());
        let apps = Apps::open(AppsConfig {
            delivery,
            folder: folder.path().join("apps"),
            hands: hands.clone(),
            balancer: balancer.clone(),
            vault: vault.clone(),
            sources: commits.clone(),
            signing_key: PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32])),
            platform_name: "test".into(),
            pace: Pace::default(),
        })
        .unwrap();
        Self { apps, place, balancer, commits, hands, vault, clock, folder, _database: database }
    }

    pub fn boots(&self, machine: &str, boot: Option<&'static str>) {
        self.place.machines.lock().unwrap().insert(machine.to_owned(), boot);
    }

    pub fn refound(&self) {
        self.place.projects.lock().unwrap().insert("hello".into(), LATER);
    }

    pub async fn put(&self, app: &str, spec: &AppSpec) -> Result<()> {
        let put = self.apps.app_put("hello", app, spec, &|_| Ok(()));
        somebody("maintainer").acts(put).await.map(drop)
    }

    pub async fn deploy_ref(&self, app: &str, reference: &str) -> Deployment {
        let body = DeploymentCreate { git_ref: Some(reference.into()), ..DeploymentCreate::default() };
        somebody("developer").acts(self.apps.deploy("hello", app, &body, None)).await.unwrap()
    }

    pub async fn deploy(&self, app: &str, commit: &str) -> Deployment {
        let body = DeploymentCreate { commit: Some(commit.into()), ..DeploymentCreate::default() };
        somebody("developer").acts(self.apps.deploy("hello", app, &body, None)).await.unwrap()
    }

    /// One step of an app, as the runner would do; what fails is tried again later.
    pub async fn step(&self, app: &str) -> Result<hafen_work::Next> {
        self.clock.step(Duration::from_secs(1));
        let key = format!("hello/{app}");
        // By a runner of its own, for which the other does not wait.
        let preparations = Preparations(self.apps.clone());
        let prepared = preparations.reconcile(&key);
        let most = Duration::from_millis(if *self.commits.hangs.lock().unwrap() { 50 } else { 10_000 });
        let _later = tokio::time::timeout(most, prepared).await;
        Rollouts(self.apps.clone()).reconcile(&key).await
    }

    pub async fn steps(&self, app: &str, count: usize) {
        for _ in 0..count {
            // What takes for ever shows in what does not happen.
            let _later = tokio::time::timeout(Duration::from_secs(5), self.step(app)).await;
        }
    }

    /// What is to be built is, and its machines go.
    pub async fn build(&self) {
        let builds = Builds(self.apps.clone());
        for _ in 0..10 {
            for key in builds.pending().await.unwrap() {
                builds.reconcile(&key).await.unwrap();
            }
        }
        assert!(builds.pending().await.unwrap().is_empty());
        assert!(self.place.builders.lock().unwrap().is_empty(), "builders stay");
    }

    /// Oldest first.
    pub async fn builds(&self, app: &str) -> Vec<BuildRow> {
        let mut rows = store::builds(&self.apps.0.delivery.0.db, "hello", app, i64::MAX, 100).await.unwrap();
        rows.reverse();
        rows
    }

    pub async fn app(&self, app: &str) -> Option<AppRow> {
        store::find(&self.apps.0.delivery.0.db, "hello", app).await.unwrap()
    }

    pub async fn processes(&self, app: &str) -> Vec<ProcessRow> {
        places::processes(&self.apps.0.delivery.0.db, "hello", app).await.unwrap()
    }

    pub async fn deployment(&self, app: &str, number: i64) -> DeploymentRow {
        store::deployment(&self.apps.0.delivery.0.db, "hello", app, number).await.unwrap().unwrap()
    }

    pub async fn states(&self, app: &str) -> Vec<&'static str> {
        let rows = store::deployments(&self.apps.0.delivery.0.db, "hello", app, i64::MAX, 100).await.unwrap();
        rows.iter().rev().map(|row| row.state.as_str()).collect()
    }

    /// What lies on a machine, as its own file says.
    pub fn disk(&self, machine: &str) -> Value {
        let path = self.folder.path().join(format!("machines/hello.{machine}.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap_or(b"{}".to_vec())).unwrap()
    }

    /// What runs of an app on a machine.
    pub fn runs(&self, machine: &str, app: &str) -> BTreeSet<String> {
        let disk = self.disk(machine);
        disk["apps"][app]["processes"]
            .as_object()
            .map(|all| all.keys().cloned().collect())
            .unwrap_or_default()
    }

    pub async fn events(&self, kind: &str) -> Vec<hafen_client::wire::Event> {
        let all = self.apps.0.delivery.events().read(0, 1000, None).await.unwrap();
        all.into_iter().filter(|event| event.kind == kind).collect()
    }
}
