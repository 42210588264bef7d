//! Builds: each in a machine that is made for it and goes with it, whatever happens.
//!
//! The machine's name is on record before it is made, and stays until it is known to be gone. A build that the platform died
//! over begins again, a few times, in another machine.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use ed25519_dalek::SigningKey;
use hafen_artifact::sbom::{self, Locks};
use hafen_artifact::{Limits, Packed, provenance};
use hafen_base::{Error, ErrorKind, Result};
use hafen_db::store_error;
use hafen_remote::Sink;
use hafen_work::{Next, Reconciler};
use serde_json::{Value, json};

use super::Apps;
use super::around::SourceOf;
use super::build_log::Log;
use super::build_secrets::Opened;
use super::environment::Environment;
use super::hands::{At, BuildJob, Built};
use super::model::{BuildRow, BuildState};
use super::statements::Statement;
use crate::store::app as store;

const MOST_ATTEMPTS: i64 = 3;
/// Caches larger than this are thrown away.
const CACHE_MOST: u64 = 4 << 30;

/// The runner's work; a key is `project/app/number`.
pub(crate) struct Builds(pub Apps);

impl BuildRow {
    pub(crate) fn key(&self) -> String {
        format!("{}/{}/{}", self.project, self.app, self.number)
    }
}

#[async_trait]
impl Reconciler for Builds {
    fn name(&self) -> &'static str {
        "delivery builds"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        Ok(store::builds_open(&self.0.0.delivery.0.db).await?.iter().map(BuildRow::key).collect())
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let mut parts = key.rsplitn(2, '/');
        let (Some(number), Some(rest)) = (parts.next(), parts.next()) else { return Ok(Next::Done) };
        let (Some((project, app)), Ok(number)) = (rest.split_once('/'), number.parse()) else {
            return Ok(Next::Done);
        };
        let db = &self.0.0.delivery.0.db;
        let Some(row) = store::build(db, project, app, number).await? else { return Ok(Next::Done) };
        // Nobody else works on this key: one that runs was begun by a process that died, or is to begin again.
        if row.state.is_over() || row.state == BuildState::Running {
            if let Some(machine) = &row.machine
                && !self.0.builder_gone(&row, machine).await?
            {
                return Ok(Next::After(Duration::from_millis(500)));
            }
            let over = row.state.is_over();
            self.0
                .build_change(&row, |row| {
                    row.machine = None;
                    if !row.state.is_over() {
                        row.state = BuildState::Queued;
                        row.reason = "the platform stopped while it ran: it begins again".into();
                    }
                })
                .await?;
            if over {
                self.0.network_unneeded(&row.project).await?;
                self.0.0.wake.wake(format!("{}/{}", row.project, row.app));
                return Ok(Next::Done);
            }
            return Ok(Next::Now);
        }
        self.0.build(row).await?;
        Ok(Next::Now)
    }

    /// Few, so that what serves is not starved.
    fn parallel(&self) -> usize {
        2
    }
}

impl Apps {
    pub(crate) fn log_path(&self, row: &BuildRow) -> PathBuf {
        self.0.folder.join("logs").join(&row.project).join(&row.app).join(format!("{}.log", row.id()))
    }

    fn cache_path(&self, row: &BuildRow) -> PathBuf {
        self.0.folder.join("caches").join(&row.project).join(&row.app).join("cache.tar.zst")
    }

    /// Changes a build's row as it stands now.
    async fn build_change(
        &self,
        row: &BuildRow,
        change: impl FnOnce(&mut BuildRow) + Send,
    ) -> Result<BuildRow> {
        let parts = &self.0.delivery.0;
        let mut tx = parts.db.write().await?;
        let now = store::build_in(&mut tx, &row.project, &row.app, row.number).await?;
        let mut now = now.ok_or_else(|| Error::not_found(format!("build {}", row.id())))?;
        change(&mut now);
        store::build_put(&mut tx, &now).await?;
        tx.commit().await.map_err(store_error)?;
        Ok(now)
    }

    async fn build(&self, row: BuildRow) -> Result<()> {
        if row.attempts >= MOST_ATTEMPTS {
            return self
                .build_over(
                    &row,
                    Err(Error::conflict(format!("it was begun {MOST_ATTEMPTS} times and came to no end"))),
                )
                .await;
        }
        let started = self.now();
        let row = self
            .build_change(&row, |row| {
                row.attempts += 1;
                row.machine = Some(format!("build-{}-{}-{}", row.app, row.number, row.attempts));
                if row.state == BuildState::Queued {
                    row.state = BuildState::Running;
                }
                row.started_at = Some(started);
            })
            .await?;
        if row.state != BuildState::Running {
            return Ok(());
        }
        let mut log = Log::create(&self.log_path(&row)).await?;
        let timeout = Duration::from_millis(u64::try_from(row.build.timeout_ms).unwrap_or(600_000));
        let clock = &self.0.delivery.0.clock;
        let done = tokio::select! {
            done = self.built(&row, &mut log) => done,
            () = clock.sleep(timeout) => {
                Err(Error::conflict(format!(
                    "it did not end within {} s, its `timeout`, of which the start of its machine is part: \
                     `hafen build log {} {}` shows how far it came",
                    timeout.as_secs(),
                    row.app,
                    row.id()
                )))
            }
            () = self.cancelled(&row) => Ok(None),
        };
        let last = match &done {
            Ok(Some((packed, _))) => format!("built {} ({} bytes)\n", packed.digest, packed.size),
            Ok(None) => "cancelled\n".to_owned(),
            Err(error) => format!("failed: {error}\n"),
        };
        log.breaks_off().await?;
        log.out(last.as_bytes()).await?;
        log.done().await?;
        match done {
            Ok(None) => Ok(()),
            Ok(Some(done)) => self.build_over(&row, Ok(done)).await,
            Err(error) => self.build_over(&row, Err(error)).await,
        }
    }

    /// Returns when somebody does not want it any more.
    async fn cancelled(&self, row: &BuildRow) {
        let parts = &self.0.delivery.0;
        loop {
            parts.clock.sleep(Duration::from_millis(500)).await;
            let now = store::build(&parts.db, &row.project, &row.app, row.number).await;
            if matches!(now, Ok(None)) || matches!(now, Ok(Some(row)) if row.state.is_over()) {
                return;
            }
        }
    }

    async fn built(&self, row: &BuildRow, log: &mut Log) -> Result<Option<(Packed, Value)>> {
        let Some(machine) = &row.machine else { return Ok(None) };
        let spool = self.0.folder.join("spool");
        let of = SourceOf { project: &row.project, app: &row.app, source: &row.source };
        let (mut source, time) = self.0.sources.archive(of, &row.commit, &spool).await?;
        let (source, locks) = blocking(move || {
            let locks = Locks::read(BufReader::new(&source))?;
            source.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
            Ok((source, locks))
        })
        .await?;
        // Before there is a machine: one that is missing needs none.
        let opened = self.build_secrets(row).await?;
        log.hides(opened.for_log());
        if !row.withheld.is_empty() {
            let names = row.withheld.join(", ");
            log.out(format!("a preview gets no secrets: it is built without {names}\n").as_bytes()).await?;
        }
        log.out(format!("machine {machine} of image {} is made\n", row.build.image).as_bytes()).await?;
        self.builder(row, machine).await?;
        let cache_path = self.cache_path(row);
        let cache = if row.build.cache.is_empty() {
            None
        } else {
            let (path, spool) = (cache_path.clone(), spool.clone());
            blocking(move || Ok(unpacked(&path, &spool))).await?
        };
        let own = [
            ("HAFEN_COMMIT", row.commit.clone()),
            ("SOURCE_DATE_EPOCH", time.to_string()),
            ("CI", "true".to_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("DEBIAN_FRONTEND", "noninteractive".to_owned()),
        ];
        let environment = Environment { own: &own, env: &row.build.env };
        let job = BuildJob {
            source,
            cache,
            commands: &row.build.run,
            output: &row.build.output,
            cached: &row.build.cache,
            environment: environment.archive(&opened.variables(&row.build.env))?,
        };
        let at = At { project: &row.project, machine };
        let built = self.0.hands.build(at, job, &spool, log).await?;
        let (packed, failed) = self.kept(built, cache_path, opened, log).await?;
        let Some(packed) = packed else { return Err(Error::conflict(failed)) };
        let (name, commit) = (row.app.clone(), row.commit.clone());
        let components = blocking(move || Ok(sbom::document(&name, &commit, &locks))).await?;
        for why in components.iter().flat_map(sbom::left_out) {
            log.out(format!("the list of components is not complete: {why}\n").as_bytes()).await?;
        }
        let signed = self.signed(row, &packed, components).await?;
        Ok(Some((packed, signed)))
    }

    /// Keeps what a build leaves, if no secret lies in it.
    async fn kept(
        &self,
        built: Built,
        cache_path: PathBuf,
        opened: Opened,
        log: &mut Log,
    ) -> Result<(Option<Packed>, String)> {
        let Built { mut output, cache, failed } = built;
        let store = self.0.store.clone();
        let keep = move || -> Result<(Option<Packed>, Option<String>)> {
            let mut told = None;
            if let Some(mut cache) = cache {
                if let Some(secret) = opened.found_in(&mut cache)? {
                    told = Some(format!("its cache is not kept: it {}\n", holds(secret)));
                } else if let Err(error) = keep_cache(cache, &cache_path) {
                    // A cache that cannot be kept is made anew; no build fails for it.
                    tracing::warn!("a build's cache is not kept: {error}");
                }
            }
            if let Some(output) = &mut output
                && let Some(secret) = opened.found_in(output)?
            {
                return Err(Error::conflict(format!(
                    "its output {}: leave that out of it, or make it a plain value when it is no secret",
                    holds(secret)
                )));
            }
            Ok((output.map(|output| store.put(output, Limits::default())).transpose()?, told))
        };
        let (packed, told) = blocking(keep).await?;
        if let Some(told) = told {
            log.out(told.as_bytes()).await?;
        }
        Ok((packed, failed))
    }

    /// Who made it of what, signed, and what is in it: written beside the artefact.
    async fn signed(&self, row: &BuildRow, packed: &Packed, components: Option<Value>) -> Result<Value> {
        let source = match (&row.source.repository, &row.source.git) {
            (Some(repository), _) => {
                format!("git+{}/git/{}/{repository}.git", self.0.platform_name, row.project)
            }
            (None, Some(url)) => format!("git+{url}"),
            (None, None) => String::new(),
        };
        let facts = provenance::Facts {
            digest: &packed.digest,
            name: &format!("{}.tar.zst", row.app),
            source: &source,
            commit: &row.commit,
            image: &row.build.image,
            image_digest: row.image_digest.as_deref().unwrap_or_default(),
            run: &row.build.run,
            output: &row.build.output,
            env: &serde_json::to_value(&row.build.env).map_err(Error::internal)?,
            secrets: &row.secrets,
            builder: &self.0.platform_name,
            invocation: &row.key(),
            started: row.started_at.unwrap_or(row.created_at),
            finished: self.now(),
        };
        let envelope = provenance::sign(&provenance::statement(&facts), &self.key()?)?;
        let envelope = serde_json::to_value(envelope).map_err(Error::internal)?;
        let app = store::find(&self.0.delivery.0.db, &row.project, &row.app).await?;
        let app = app.ok_or_else(|| Error::not_found(format!("app {:?} any more", row.app)))?;
        let statements = self.statements(&app);
        let number = row.number;
        let told = envelope.clone();
        blocking(move || {
            statements.put(number, Statement::Provenance, &told)?;
            match components {
                Some(components) => statements.put(number, Statement::Components, &components),
                None => Ok(()),
            }
        })
        .await?;
        Ok(envelope)
    }

    pub(crate) fn key(&self) -> Result<SigningKey> {
        let pair = self.0.signing_key.key_data().ed25519();
        let pair = pair.ok_or_else(|| Error::internal("the key that signs artefacts is no Ed25519 key"))?;
        Ok(SigningKey::from_bytes(&pair.private.to_bytes()))
    }

    async fn build_over(&self, row: &BuildRow, done: Result<(Packed, Value)>) -> Result<()> {
        // What may pass is tried again by the next attempt.
        let again = |error: &Error| {
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Internal)
                && row.attempts < MOST_ATTEMPTS
        };
        if let Err(error) = &done
            && again(error)
        {
            tracing::warn!(build = row.key(), cause = %error.cause_chain(), "{error}; it is begun again");
            let why = error.to_string();
            // Left as running: its machine goes first, and then it waits again.
            return self.build_change(row, |row| row.reason = why).await.map(drop);
        }
        let parts = &self.0.delivery.0;
        let ended = self.now();
        let (kind, data) = match &done {
            Ok((packed, envelope)) => (
                "build.succeeded",
                json!({ "build": row.id(), "commit": row.commit, "image": row.image_digest, "artifact": packed.digest, "provenance": envelope }),
            ),
            Err(error) => (
                "build.failed",
                json!({ "build": row.id(), "commit": row.commit, "reason": error.to_string() }),
            ),
        };
        let mut tx = parts.db.write().await?;
        let now = store::build_in(&mut tx, &row.project, &row.app, row.number).await?;
        let Some(mut now) = now.filter(|now| !now.state.is_over()) else { return Ok(()) };
        now.ended_at = Some(ended);
        let message = match done {
            Ok((packed, _)) => {
                now.state = BuildState::Succeeded;
                now.reason.clear();
                now.size = i64::try_from(packed.size).ok();
                let message = format!("build {} of {} is done: {}", row.id(), row.app, packed.digest);
                now.artifact = Some(packed.digest);
                message
            }
            Err(error) => {
                now.state = BuildState::Failed;
                let tail = tail(&self.log_path(row));
                now.reason = format!("{error}\nlast lines of its log:\n{tail}");
                format!("build {} of {} failed: {error}", row.id(), row.app)
            }
        };
        store::build_put(&mut tx, &now).await?;
        let object = format!("build/{}/{}", row.app, row.id());
        self.event(&mut tx, &row.project, kind, object, message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.ring();
        self.0.wake.wake(format!("{}/{}", row.project, row.app));
        Ok(())
    }
}

/// The last lines of a log, for a message.
fn tail(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |meta| meta.len());
        let _short = file.seek(SeekFrom::Start(length.saturating_sub(4000)));
        let mut bytes = Vec::new();
        let _unreadable = file.read_to_end(&mut bytes);
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let lines = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
    lines.join("\n").chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect()
}

fn holds(secret: &str) -> String {
    format!("holds the value of the secret {secret:?}")
}

/// For what takes a processor or the disk for long: a build that is cancelled or late can be let go of then.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

fn unpacked(path: &Path, spool: &Path) -> Option<File> {
    let packed = File::open(path).ok()?;
    let mut file = tempfile::tempfile_in(spool).ok()?;
    zstd::stream::copy_decode(packed, &mut file).ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    Some(file)
}

fn keep_cache(mut cache: File, path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if cache.metadata()?.len() > CACHE_MOST {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    cache.seek(SeekFrom::Start(0))?;
    let new = path.with_extension("new");
    zstd::stream::copy_encode(&mut cache, File::create(&new)?, 1)?;
    std::fs::rename(&new, path)
}
