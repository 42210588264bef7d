//! Simulated machines: nothing runs, and everything is said to. State lies in one file per machine, so that it outlives the
//! platform as real machines do.
//!
//! What a process does is in the words of its command: one that says `broken` is never well, one that says `ends` ends again
//! and again, a migration that says `fail` fails; a build command that says `fail` fails, one that names a secret as `$NAME`
//! prints it, one that says `leave` besides leaves it in what is kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, Result};
use hafen_client::wire::AppHealth;
use hafen_remote::{Ended, Sink};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{At, BuildJob, Built, Hands, Lines, Looked, LookedProcess, Migrated};

/// A slow migration is done when it is asked for the fifth time.
const SLOW: u32 = 5;

/// All simulated machines.
pub struct SimHands {
    folder: PathBuf,
    /// One at a time: it is all over in no time.
    one: Mutex<()>,
    /// Commands under way: where, and what.
    commands: Mutex<Vec<(String, String)>>,
}

/// A command under way, until it is dropped with the call.
struct Underway<'a>(&'a SimHands, (String, String));

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let mut commands = self.0.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = commands.iter().position(|one| *one == self.1) {
            commands.swap_remove(at);
        }
    }
}

fn place(at: At<'_>, app: &str, id: &str) -> String {
    format!("{}/{}/{app}/{id}", at.project, at.machine)
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Disk {
    /// By app.
    apps: BTreeMap<String, OnDisk>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct OnDisk {
    releases: Vec<i64>,
    processes: BTreeMap<String, SimProcess>,
    migrations: BTreeMap<i64, u32>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct SimProcess {
    port: u16,
    command: String,
    starts: u32,
}

impl SimHands {
    /// Machines whose disks lie in this folder.
    ///
    /// # Errors
    /// Unavailable when it cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::unavailable(format!("{}: {error}", folder.display())))?;
        Ok(Self { folder: folder.to_owned(), one: Mutex::default(), commands: Mutex::default() })
    }

    fn underway(&self) -> Vec<(String, String)> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with<T>(&self, at: At<'_>, work: impl FnOnce(&mut Disk) -> T) -> Result<T> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(format!("{}.{}.json", at.project, at.machine));
        let mut disk: Disk = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(Error::internal)?,
            Err(_) => Disk::default(),
        };
        let value = work(&mut disk);
        let bytes = serde_json::to_vec(&disk).map_err(Error::internal)?;
        let new = path.with_extension("new");
        std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, &path)).map_err(Error::internal)?;
        Ok(value)
    }
}

/// The text of a file of an archive.
fn text(archive: &[u8], wanted: &str) -> String {
    let mut found = String::new();
    if let Ok(entries) = tar::Archive::new(archive).entries() {
        for mut entry in entries.flatten() {
            if entry.path_bytes().as_ref() == wanted.as_bytes() {
                let _unreadable = entry.read_to_string(&mut found);
            }
        }
    }
    found
}

/// Names and values of the secrets of an archive.
fn credentials(archive: &[u8]) -> Vec<(String, Zeroizing<Vec<u8>>)> {
    let mut found = Vec::new();
    if let Ok(entries) = tar::Archive::new(archive).entries() {
        for mut entry in entries.flatten() {
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(name) = path.strip_prefix("credentials/") else { continue };
            let mut value = Zeroizing::new(Vec::new());
            let _unreadable = entry.read_to_end(&mut value);
            found.push((name.to_owned(), value));
        }
    }
    found
}

#[async_trait]
impl Hands for SimHands {
    async fn look(&self, at: At<'_>, app: &str) -> Result<Looked> {
        self.with(at, |disk| {
            let app = disk.apps.entry(app.to_owned()).or_default();
            let processes = app.processes.iter().map(|(id, process)| {
                let ends = process.command.contains("ends");
                LookedProcess {
                    id: id.clone(),
                    state: if ends { "activating" } else { "active" }.into(),
                    restarts: if ends { 9 } else { 0 },
                    ended: if ends { "exit-code, status 1".into() } else { String::new() },
                }
            });
            Looked { releases: app.releases.clone(), processes: processes.collect() }
        })
    }

    async fn install(&self, at: At<'_>, app: &str, release: i64, _tar: File) -> Result<()> {
        self.with(at, |disk| {
            let releases = &mut disk.apps.entry(app.to_owned()).or_default().releases;
            if !releases.contains(&release) {
                releases.push(release);
            }
        })
    }

    async fn start(&self, at: At<'_>, app: &str, id: &str, archive: Zeroizing<Vec<u8>>) -> Result<()> {
        let start = text(&archive, "start");
        let port =
            start.lines().find_map(|line| line.strip_prefix("export PORT=")?.parse().ok()).unwrap_or(0);
        let command = start.lines().find(|line| line.starts_with("command=")).unwrap_or_default().to_owned();
        self.with(at, |disk| {
            let process =
                disk.apps.entry(app.to_owned()).or_default().processes.entry(id.to_owned()).or_default();
            let starts = process.starts + 1;
            *process = SimProcess { port, command, starts };
        })
    }

    async fn stop(&self, at: At<'_>, app: &str, ids: &[String]) -> Result<()> {
        self.with(at, |disk| {
            let app = disk.apps.entry(app.to_owned()).or_default();
            app.processes.retain(|id, _| !ids.contains(id));
        })
    }

    async fn keep(&self, at: At<'_>, app: &str, ids: &[String], releases: &[i64]) -> Result<()> {
        self.with(at, |disk| {
            let app = disk.apps.entry(app.to_owned()).or_default();
            app.processes.retain(|id, _| ids.contains(id));
            app.releases.retain(|release| releases.contains(release));
        })
    }

    async fn leave(&self, at: At<'_>, app: &str) -> Result<()> {
        self.with(at, |disk| drop(disk.apps.remove(app)))
    }

    async fn migrate(
        &self,
        at: At<'_>,
        app: &str,
        release: i64,
        archive: Zeroizing<Vec<u8>>,
    ) -> Result<Migrated> {
        let start = text(&archive, "start");
        self.with(at, |disk| {
            let migrations = &mut disk.apps.entry(app.to_owned()).or_default().migrations;
            let asked = migrations.entry(release).or_default();
            *asked += 1;
            if start.contains("fail") {
                Migrated::Failed("the simulated migration fails".into())
            } else if start.contains("slow") && *asked < SLOW {
                Migrated::Running
            } else {
                Migrated::Done
            }
        })
    }

    async fn probe(
        &self,
        at: At<'_>,
        port: u16,
        health: Option<&AppHealth>,
        _timeout: Duration,
    ) -> Result<Result<(), String>> {
        let path = health.map_or("/", |health| health.path.as_str()).to_owned();
        self.with(at, |disk| {
            let mut all = disk.apps.values().flat_map(|app| app.processes.values());
            match all.find(|process| process.port == port) {
                None => Err(format!("port {port} takes no connection")),
                Some(process) if process.command.contains("broken") || process.command.contains("ends") => {
                    Err(format!("GET {path} answered \"HTTP/1.1 500 Internal Server Error\": broken"))
                }
                Some(_) => Ok(()),
            }
        })
    }

    async fn lines(&self, at: At<'_>, app: &str, lines: Lines<'_>, to: &mut dyn Sink) -> Result<()> {
        let processes =
            self.with(at, |disk| disk.apps.entry(app.to_owned()).or_default().processes.clone())?;
        for (id, process) in processes {
            if lines.process.is_none_or(|wanted| wanted == id) {
                let line = format!("{id} is simulated, at port {}\n", process.port);
                to.out(line.as_bytes()).await?;
                let there = place(at, app, &id);
                for (_, command) in self.underway().iter().filter(|(other, _)| *other == there) {
                    to.out(format!("{id} goes on with: {command}\n").as_bytes()).await?;
                }
            }
        }
        Ok(())
    }

    async fn exec(&self, at: At<'_>, app: &str, id: &str, command: &str, to: &mut dyn Sink) -> Result<Ended> {
        to.out(format!("{id} would run: {command}\n").as_bytes()).await?;
        if command.contains("sleep") {
            let begun = (place(at, app, id), command.to_owned());
            self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(begun.clone());
            let _underway = Underway(self, begun);
            std::future::pending::<()>().await;
        }
        Ok(Ended::Status(0))
    }

    async fn build(
        &self,
        _at: At<'_>,
        mut job: BuildJob<'_>,
        spool: &Path,
        log: &mut dyn Sink,
    ) -> Result<Built> {
        let mut left = Vec::new();
        for command in job.commands {
            log.out(format!("$ {command}\nsimulated\n").as_bytes()).await?;
            for (name, value) in credentials(&job.environment) {
                if !command.contains(&format!("${name}")) {
                    continue;
                }
                // As pipes do, in pieces.
                let (first, second) = value.split_at(value.len() / 2);
                for piece in [first, second, b"\n"] {
                    log.out(piece).await?;
                }
                if command.contains("leave") {
                    left.extend_from_slice(&value);
                }
            }
            if command.contains("fail") {
                let failed = format!("{command:?} ended with status 1");
                return Ok(Built { output: None, cache: None, failed });
            }
        }
        // The source is what it leaves.
        job.source.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
        let mut output = tempfile::tempfile_in(spool).map_err(Error::internal)?;
        let mut bytes = Vec::new();
        job.source.read_to_end(&mut bytes).map_err(Error::internal)?;
        let cached = !job.cached.is_empty();
        // What is cached has it alone, where there is a cache.
        if !cached {
            bytes.extend_from_slice(&left);
        }
        output.write_all(&bytes).map_err(Error::internal)?;
        output.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
        let mut cache = None;
        if cached {
            let mut file = tempfile::tempfile_in(spool).map_err(Error::internal)?;
            file.write_all(&left).map_err(Error::internal)?;
            file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
            cache = Some(file);
        }
        Ok(Built { output: Some(output), cache, failed: String::new() })
    }

    fn forget(&self, _at: At<'_>) {}
}
