//! Decides about a push: the other end of `pre-receive.sh`.

use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, ErrorKind, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::Command;

use crate::inspect::{self, Inspection};
use crate::{Git, InspectionLimits, RefUpdate, Repository, object};

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Git moves the references, if it still can.
    Accept,
    /// Nothing of the push happens. Lines for whoever pushes.
    Refuse(Vec<String>),
}

/// Says whether a push may be.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// All objects are there, in quarantine; no reference has moved. An error refuses the push, and says its message.
    ///
    /// # Errors
    /// When it cannot be told.
    async fn decide(&self, push: &Proposed) -> Result<Verdict>;
}

/// A push that waits for its verdict.
#[derive(Debug)]
pub struct Proposed {
    git: Git,
    repository: Repository,
    /// Where the new objects are; none when there are none.
    quarantine: Option<PathBuf>,
    pub updates: Vec<RefUpdate>,
}

impl Proposed {
    /// Git in the repository, with the new objects.
    pub(crate) fn command(&self) -> Command {
        let path = self.repository.path(&self.git);
        let mut command = self.git.command(Some(&path));
        if let Some(quarantine) = &self.quarantine {
            command
                .env("GIT_OBJECT_DIRECTORY", quarantine)
                .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", path.join("objects"))
                .env("GIT_QUARANTINE_PATH", quarantine);
        }
        command
    }

    /// Whether an update keeps all that was there: its old commit is an ancestor of its new one.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn is_forward(&self, update: &RefUpdate) -> Result<bool> {
        let (Some(old), Some(new)) = (&update.old, &update.new) else { return Ok(update.old.is_none()) };
        let mut command = self.command();
        command.args(["merge-base", "--is-ancestor", old, new]);
        let (_, status, complaint) = self.git.run(command, 1 << 10, self.git.limits().command).await?;
        match status {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            // As with a tag of what is no commit: there is no going forward from it.
            _ => {
                tracing::debug!(complaint, "no ancestry");
                Ok(false)
            }
        }
    }

    /// Bytes of the new objects on the disk.
    pub fn added(&self) -> u64 {
        self.quarantine.as_deref().map_or(0, folder_size)
    }

    /// Looks at the new objects.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn inspect(&self, limits: &InspectionLimits) -> Result<Inspection> {
        inspect::inspect(self, limits).await
    }
}

/// Bytes of the files in a folder and those below it.
pub(crate) fn folder_size(folder: &Path) -> u64 {
    let mut size = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => size += folder_size(&entry.path()),
            Ok(found) => size += found.len(),
            // Gone in this moment.
            Err(_) => {}
        }
    }
    size
}

/// The pipes of one push.
pub(crate) struct Pipes {
    ask: pipe::Receiver,
    answer: pipe::Sender,
    /// The hook's ends. They are opened anew by it, through this process's folder in `/proc`.
    _asks: pipe::Sender,
    _answers: pipe::Receiver,
    numbers: (i32, i32),
}

/// Updates of one push at most, and bytes of its references.
const MOST_UPDATES: usize = 10_000;
const LONGEST: u64 = 4 << 20;

impl Pipes {
    pub fn new() -> Result<Self> {
        let (asks, ask) = pipe::pipe().map_err(Error::internal)?;
        let (answer, answers) = pipe::pipe().map_err(Error::internal)?;
        let numbers = (asks.as_raw_fd(), answers.as_raw_fd());
        Ok(Self { ask, answer, _asks: asks, _answers: answers, numbers })
    }

    /// Tells git's process where its hook asks.
    pub fn tell(&self, command: &mut Command) {
        command
            .env("HAFEN_GATE", std::process::id().to_string())
            .env("HAFEN_GATE_ASK", self.numbers.0.to_string())
            .env("HAFEN_GATE_ANSWER", self.numbers.1.to_string());
    }

    /// Waits for the question, and answers it. Never returns where nothing is asked: whoever waits goes on when git has ended.
    pub async fn hold(mut self, git: &Git, repository: &Repository, gate: &dyn Gate, time: Duration) {
        let lines = match self.decide(git, repository, gate, time).await {
            Ok(Verdict::Accept) => vec!["accept".to_owned()],
            Ok(Verdict::Refuse(lines)) => refusal(&lines),
            Err(error) => {
                tracing::warn!(cause = %error.cause_chain(), "a push is refused, as it could not be looked at: {error}");
                refusal(&[format!("Hafen cannot look at this push: {error}")])
            }
        };
        let text = lines.join("\n") + "\n";
        // A hook that is gone was ended with its push.
        let _gone = self.answer.write_all(text.as_bytes()).await;
        // Its end must not come before the hook has read all of it, which the end of git tells.
        std::future::pending::<()>().await;
    }

    async fn decide(
        &mut self,
        git: &Git,
        repository: &Repository,
        gate: &dyn Gate,
        time: Duration,
    ) -> Result<Verdict> {
        let (quarantine, updates) = read_question(&mut self.ask).await?;
        let proposed = Proposed { git: git.clone(), repository: repository.clone(), quarantine, updates };
        tokio::time::timeout(time, gate.decide(&proposed))
            .await
            .map_err(|_| Error::unavailable("it took too long: push less at a time"))?
    }
}

/// What git's hook says: where the new objects are, and the updates.
async fn read_question(ask: &mut pipe::Receiver) -> Result<(Option<PathBuf>, Vec<RefUpdate>)> {
    let mut lines = BufReader::new(ask.take(LONGEST)).split(b'\n');
    let (mut quarantine, mut updates) = (None, Vec::new());
    loop {
        let line = lines.next_segment().await.map_err(Error::internal)?;
        let Some(line) = line else {
            return Err(Error::new(ErrorKind::TooLarge, "a push names too many references"));
        };
        let Ok(line) = String::from_utf8(line) else {
            return Err(Error::invalid("names of branches and tags are UTF-8"));
        };
        if line == "end" {
            return Ok((quarantine, updates));
        }
        if let Some(path) = line.strip_prefix("objects ") {
            quarantine = Some(path).filter(|path| !path.is_empty()).map(PathBuf::from);
            continue;
        }
        let mut parts = line.splitn(3, ' ');
        let (Some(old), Some(new), Some(reference)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if updates.len() == MOST_UPDATES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("a push changes at most {MOST_UPDATES} references: push them in several goes"),
            ));
        }
        updates.push(RefUpdate { reference: reference.to_owned(), old: object(old), new: object(new) });
    }
}

/// The answer of the pipe: lines that are said, then the word. What is said holds no control characters: it goes to a terminal.
fn refusal(lines: &[String]) -> Vec<String> {
    let clean = |line: &String| {
        let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).take(1000).collect();
        format!("say {line}")
    };
    lines.iter().map(clean).chain(["refuse".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_cannot_be_the_verdict() {
        let lines = ["accept".to_owned(), "a\nb\u{1b}[31m".to_owned()];
        assert_eq!(refusal(&lines), ["say accept", "say a?b?[31m", "refuse"]);
    }
}
