//! What is done on machines, as a trait: by SSH on real ones, in memory and files on simulated ones.

mod said;
pub mod sim;
pub mod ssh;

use std::fs::File;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::Result;
use hafen_client::wire::AppHealth;
use hafen_remote::{Ended, Sink};
use zeroize::Zeroizing;

/// A machine, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At<'a> {
    pub project: &'a str,
    pub machine: &'a str,
}

/// How a process is on its machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// Numbers of the releases that lie there.
    pub releases: Vec<i64>,
    pub processes: Vec<LookedProcess>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookedProcess {
    /// As `d7-0`.
    pub id: String,
    /// As systemd says: `active`, `activating`, `failed`, …
    pub state: String,
    pub restarts: u32,
    /// How it ended last; empty while it never did.
    pub ended: String,
}

/// How a migration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrated {
    Running,
    Done,
    /// With what it said last.
    Failed(String),
}

/// What of a log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines<'a> {
    /// One process; all of them when absent.
    pub process: Option<&'a str>,
    pub count: u32,
    /// Those to come as well.
    pub follow: bool,
}

/// A build, as the builder's machine has it.
pub struct BuildJob<'a> {
    /// The source as a tar archive, from its beginning.
    pub source: File,
    /// What an earlier build left of the cached folders; a tar archive.
    pub cache: Option<File>,
    pub commands: &'a [String],
    pub output: &'a str,
    pub cached: &'a [String],
    /// What its commands are started with; as of [`super::environment::Environment`].
    pub environment: Zeroizing<Vec<u8>>,
}

/// What a build leaves: tar archives. Both are read from their beginning.
pub struct Built {
    /// None when a command failed; the log tells.
    pub output: Option<File>,
    /// Of the cached folders, also of a build that failed.
    pub cache: Option<File>,
    /// The command that failed, and how.
    pub failed: String,
}

/// Does things on machines. Everything is idempotent: it may be done again after a crash.
#[async_trait]
pub trait Hands: Send + Sync + 'static {
    /// How the processes of an app are on a machine.
    async fn look(&self, at: At<'_>, app: &str) -> Result<Looked>;

    /// Puts a release there, unless it is; `tar` is its archive.
    async fn install(&self, at: At<'_>, app: &str, release: i64, tar: File) -> Result<()>;

    /// Starts a process, or starts it anew; `archive` as of [`super::unit::Unit`].
    async fn start(&self, at: At<'_>, app: &str, id: &str, archive: Zeroizing<Vec<u8>>) -> Result<()>;

    /// Ends processes and removes what is theirs.
    async fn stop(&self, at: At<'_>, app: &str, ids: &[String]) -> Result<()>;

    /// Ends all processes but these, removes all releases but these.
    async fn keep(&self, at: At<'_>, app: &str, ids: &[String], releases: &[i64]) -> Result<()>;

    /// Removes everything of an app.
    async fn leave(&self, at: At<'_>, app: &str) -> Result<()>;

    /// Begins the migration of a release, once, and says how it is.
    async fn migrate(
        &self,
        at: At<'_>,
        app: &str,
        release: i64,
        archive: Zeroizing<Vec<u8>>,
    ) -> Result<Migrated>;

    /// Asks a process whether it is well; `Err` within says what it answered instead.
    async fn probe(
        &self,
        at: At<'_>,
        port: u16,
        health: Option<&AppHealth>,
        timeout: Duration,
    ) -> Result<Result<(), String>>;

    /// The log of an app there.
    async fn lines(&self, at: At<'_>, app: &str, lines: Lines<'_>, to: &mut dyn Sink) -> Result<()>;

    /// Runs a command where a process is.
    async fn exec(&self, at: At<'_>, app: &str, id: &str, command: &str, to: &mut dyn Sink) -> Result<Ended>;

    /// Builds on a machine that is there for nothing else.
    async fn build(
        &self,
        at: At<'_>,
        job: BuildJob<'_>,
        spool: &std::path::Path,
        log: &mut dyn Sink,
    ) -> Result<Built>;

    /// The machine is gone, or another by the same name: what is remembered of it is wrong.
    fn forget(&self, at: At<'_>);
}
