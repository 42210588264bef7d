//! Processes of `git`: what they are told, and what they never see.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hafen_base::{Error, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many, how long, how much.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Exchanges with clients at a time, over all repositories.
    pub exchanges: usize,
    /// For a place among them.
    pub patience: Duration,
    /// An exchange, from its first byte to its last.
    pub exchange: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// For a command that only reads.
    pub command: Duration,
    /// For what tidies a repository up.
    pub maintenance: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exchanges: 32,
            patience: Duration::from_secs(30),
            exchange: Duration::from_secs(2 * 3600),
            idle: Duration::from_secs(300),
            command: Duration::from_secs(60),
            maintenance: Duration::from_secs(3600),
        }
    }
}

/// Git on this host.
#[derive(Clone)]
pub struct Git(Arc<Parts>);

struct Parts {
    /// Holds the repositories.
    folder: PathBuf,
    /// Holds the one hook there is.
    hooks: PathBuf,
    limits: Limits,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Git {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Git").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

/// Asks who started git whether a push may be, and says to the client what it is told.
const HOOK: &str = include_str!("pre-receive.sh");
pub(crate) const HOOK_NAME: &str = "pre-receive";

/// What every process of git is told. Nothing of a file in the host, and nothing that a repository holds, changes it.
const SETTINGS: &[&str] = &[
    // The folder may belong to another user in a container; whose it is was decided where it was made.
    "safe.directory=*",
    "gc.auto=0",
    "maintenance.auto=false",
    "receive.autogc=false",
    // A push is whole and sound, or refused. What old histories of honest projects have is let through.
    "receive.fsckObjects=true",
    "receive.fsck.badTimezone=ignore",
    "receive.fsck.missingSpaceBeforeDate=ignore",
    "receive.fsck.zeroPaddedFilemode=ignore",
    // One pack per push: two files to sync instead of hundreds.
    "receive.unpackLimit=1",
    // What was accepted is on the disk, references included.
    "core.fsync=all",
    "core.fsyncMethod=fsync",
    "core.logAllRefUpdates=false",
    // Larger objects go to and from the disk in pieces: they are neither held in memory nor compared with one another.
    "core.bigFileThreshold=16m",
    "pack.threads=2",
    "pack.windowMemory=128m",
    "pack.writeReverseIndex=true",
    "repack.writeBitmaps=true",
    "uploadpack.allowFilter=true",
    "transfer.advertiseSID=false",
    "gc.pruneExpire=2.weeks.ago",
];

/// Where programs are looked for: not where the platform's own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What is kept of what a process complains of.
const COMPLAINT: u64 = 16 << 10;

fn unusable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("{} cannot be used: {error}", path.display())).with_cause(error)
}

impl Git {
    /// Repositories below `folder`, which is made if need be. Where git is missing or the folder cannot hold what is run, that is
    /// logged, and told to whoever fetches or pushes: the rest of the platform does without.
    ///
    /// # Errors
    /// Unavailable when the folder cannot be used.
    pub async fn open(folder: &Path, limits: Limits) -> Result<Self> {
        let hooks = folder.join("hooks");
        let hook = hooks.join(HOOK_NAME);
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&hooks)?;
            if std::fs::read(&hook).ok().as_deref() != Some(HOOK.as_bytes()) {
                let new = hooks.join("new");
                std::fs::write(&new, HOOK)?;
                std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o700))?;
                std::fs::rename(&new, &hook)?;
            }
            Ok(())
        };
        write().map_err(|error| unusable(&hook, error))?;
        let places = Arc::new(Semaphore::new(limits.exchanges));
        let git = Self(Arc::new(Parts { folder: folder.to_owned(), hooks, limits, places }));
        let mut version = git.command(None);
        version.arg("version");
        let there = git.output(version, None, git.0.limits.command).await.map(drop);
        if let Err(error) = git.check_hook().and(there) {
            tracing::error!(cause = %error.cause_chain(), "repositories are not served: {error}");
        }
        Ok(git)
    }

    /// A hook that cannot be run is passed over by git, and every push would be let through.
    pub(crate) fn check_hook(&self) -> Result<()> {
        let hook = self.0.hooks.join(HOOK_NAME);
        rustix::fs::access(&hook, rustix::fs::Access::EXEC_OK).map_err(|error| {
            Error::unavailable(format!(
                "{} cannot be run ({error}), so that no push could be checked: is its disk mounted noexec?",
                hook.display()
            ))
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0.folder
    }

    pub(crate) fn hooks(&self) -> &Path {
        &self.0.hooks
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// A place among the exchanges.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.0.places).acquire_owned();
        match tokio::time::timeout(self.0.limits.patience, place).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Error::unavailable("too many clients of git at this moment: try again")),
        }
    }

    /// Git in a repository, or in none. A group of its own, so that it ends with what it started.
    pub(crate) fn command(&self, repository: Option<&Path>) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .current_dir(&self.0.folder)
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        // Whoever serves a push names the one folder of hooks after this.
        command.args(["-c", "core.hooksPath=/dev/null"]);
        if let Some(repository) = repository {
            command.env("GIT_DIR", repository).env("GIT_CEILING_DIRECTORIES", &self.0.folder);
        }
        command
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// Unavailable when it takes too long, says more than `limit` bytes, or fails; its complaint is the cause.
    pub(crate) async fn output(
        &self,
        command: Command,
        limit: Option<u64>,
        time: Duration,
    ) -> Result<Vec<u8>> {
        let (output, status, complaint) = self.run(command, limit.unwrap_or(1 << 20), time).await?;
        if status == Some(0) {
            return Ok(output);
        }
        Err(Error::unavailable("git failed; the platform's log says more")
            .with_cause(std::io::Error::other(complaint)))
    }

    /// Runs a command to its end: what it said, how it ended, what it complained of.
    ///
    /// # Errors
    /// Unavailable when it does not run, takes too long, or says too much.
    pub(crate) async fn run(
        &self,
        mut command: Command,
        limit: u64,
        time: Duration,
    ) -> Result<(Vec<u8>, Option<i32>, String)> {
        let mut process = Process::spawn(&mut command)?;
        let (stdout, stderr) = (process.0.stdout.take(), process.0.stderr.take());
        let work = async {
            let (output, complaint) =
                tokio::join!(read_some(stdout, limit.saturating_add(1)), read_some(stderr, COMPLAINT));
            let status = process.0.wait().await;
            (output, complaint, status)
        };
        let (output, complaint, status) = tokio::time::timeout(time, work)
            .await
            .map_err(|_| Error::unavailable("git took too long: try again"))?;
        if output.len() as u64 > limit {
            return Err(Error::unavailable("git said more than is taken here"));
        }
        let status = status.map_err(Error::internal)?;
        Ok((output, status.code(), String::from_utf8_lossy(&complaint).trim().to_owned()))
    }
}

/// Reads up to `limit` bytes and lets go of the rest.
async fn read_some(from: Option<impl AsyncRead + Unpin>, limit: u64) -> Vec<u8> {
    let mut read = Vec::new();
    let Some(mut from) = from else { return read };
    // A pipe that breaks is at its end; how the process ended says why.
    let _end = (&mut from).take(limit).read_to_end(&mut read).await;
    let mut rest = [0_u8; 4096];
    while let Ok(1..) = from.read(&mut rest).await {}
    read
}

/// A process with all that it started: none of it outlives this value. Its command gives it a group of its own
/// (`process_group(0)`).
pub struct Process(pub Child);

impl Process {
    /// # Errors
    /// Unavailable when there is no such program.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        command.spawn().map(Self).map_err(|error| {
            Error::unavailable("git does not run on this host: apt-get install git").with_cause(error)
        })
    }

    fn signal(&self, signal: Signal) {
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended in this moment.
            let _gone = kill_process_group(pid, signal);
        }
    }

    /// Asks it to end: git removes what it has not finished.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }
}

impl Process {
    /// Ends it, and all that it started, at once.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
