//! One exchange with a client: bytes in, bytes out, for as long as something moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use hafen_base::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::ChildStdin;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::gate::{Gate, Pipes};
use crate::process::Process;
use crate::{Git, Repository};

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// To fetch.
    UploadPack,
    /// To push.
    ReceivePack,
}

impl Service {
    /// As the protocol names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    /// By its name in the protocol.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::UploadPack, Self::ReceivePack].into_iter().find(|one| one.name() == name)
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        }
    }
}

/// Which part of a conversation a process carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rpc {
    /// Over HTTP: which references there are.
    Advertise,
    /// Over HTTP: one request and its answer.
    Request,
    /// All of it, over one connection.
    Whole,
}

/// One exchange.
pub struct Exchange {
    pub service: Service,
    pub rpc: Rpc,
    /// Of the header `Git-Protocol` or the variable `GIT_PROTOCOL`.
    pub protocol: Option<String>,
    /// Bytes that a push may bring; nothing for as many as there is room for.
    pub largest: Option<u64>,
    /// Decides about a push; without one nothing is pushed.
    pub gate: Option<Arc<dyn Gate>>,
}

/// What git says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Out(Bytes),
    /// Beside the protocol: shown by a client over SSH.
    Err(Bytes),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What git exits with; none when it was ended.
    pub status: Option<i32>,
    /// What it complained of.
    pub complaint: String,
    /// Bytes that came in.
    pub received: u64,
}

const PIECE: usize = 64 << 10;
const COMPLAINT: usize = 4 << 10;
/// For git to tidy up what it had not finished.
const GRACE: Duration = Duration::from_secs(5);

/// A protocol version as clients write it, and nothing else that git could be told.
fn good_protocol(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b':' | b'-' | b'.'))
}

/// An exchange that has a place and a process; nothing was carried yet.
pub struct Begun {
    git: Git,
    repository: Repository,
    process: Process,
    pipes: Option<(Pipes, Arc<dyn Gate>)>,
    rpc: Rpc,
    pushes: bool,
    _place: OwnedSemaphorePermit,
}

impl Git {
    /// Starts git for an exchange.
    ///
    /// # Errors
    /// Unavailable when there is no place or no git.
    pub async fn exchange(&self, repository: &Repository, exchange: Exchange) -> Result<Begun> {
        let place = self.place().await?;
        let path = repository.path(self);
        let (rpc, pushes) = (exchange.rpc, exchange.service == Service::ReceivePack);
        let mut command = self.command(None);
        let mut pipes = None;
        if pushes {
            self.check_hook()?;
            command.arg("-c").arg(format!("core.hooksPath={}", self.hooks().display()));
            if let Some(largest) = exchange.largest {
                // 0 would be no limit to git.
                command.arg("-c").arg(format!("receive.maxInputSize={}", largest.max(1)));
            }
            if let Some(gate) = exchange.gate {
                let made = Pipes::new()?;
                made.tell(&mut command);
                pipes = Some((made, gate));
            }
        }
        command.arg(exchange.service.verb());
        match exchange.rpc {
            Rpc::Advertise => drop(command.args(["--stateless-rpc", "--http-backend-info-refs"])),
            Rpc::Request => drop(command.arg("--stateless-rpc")),
            Rpc::Whole => {}
        }
        if exchange.service == Service::UploadPack {
            command.arg("--strict");
        }
        command.arg(&path);
        if let Some(protocol) = exchange.protocol.filter(|text| good_protocol(text)) {
            command.env("GIT_PROTOCOL", protocol);
        }
        command.stdin(std::process::Stdio::piped());
        let process = Process::spawn(&mut command)?;
        Ok(Begun {
            git: self.clone(),
            repository: repository.clone(),
            process,
            pipes,
            rpc,
            pushes,
            _place: place,
        })
    }
}

/// When something last moved, in milliseconds since the beginning.
struct Moves {
    began: tokio::time::Instant,
    last: AtomicU64,
    received: AtomicU64,
}

impl Moves {
    fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for so long.
    async fn idle(&self, patience: Duration) {
        loop {
            let due = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed)) + patience;
            if due <= tokio::time::Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

impl Begun {
    /// Carries bytes until git has ended. An input that breaks ends what git was told; an output that nobody takes ends git.
    ///
    /// # Errors
    /// Unavailable when it lasted too long or nothing moved.
    pub async fn carry(
        mut self,
        input: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
        output: mpsc::Sender<Piece>,
    ) -> Result<Ended> {
        let limits = self.git.limits().clone();
        let moves = Moves {
            began: tokio::time::Instant::now(),
            last: AtomicU64::new(0),
            received: AtomicU64::new(0),
        };
        let (stdin, stdout, stderr) =
            (self.process.0.stdin.take(), self.process.0.stdout.take(), self.process.0.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(Error::internal("a process without pipes"));
        };
        let (git, repository) = (self.git.clone(), self.repository.clone());
        let pipes = self.pipes.take();
        let gate = async {
            match pipes {
                Some((pipes, gate)) => {
                    pipes.hold(&git, &repository, &*gate, limits.command.max(GATE)).await;
                }
                None => std::future::pending().await,
            }
        };
        let fed = tokio::sync::Notify::new();
        let feed = async {
            if !feed(input, stdin, &moves).await {
                // The client went away in the middle. Git sees the end of what it reads, and puts nothing in place.
                tracing::debug!("the client of an exchange went away");
            }
            fed.notify_one();
            std::future::pending::<()>().await;
        };
        let mut complaint = Vec::new();
        let read = async {
            let (said, ()) = tokio::join!(
                tell(stdout, &output, &moves, self.pushes),
                complain(stderr, &output, &moves, &mut complaint)
            );
            if self.rpc == Rpc::Request && said {
                // Over HTTP/1.1 a client that still sends would not read the answer if the connection closed now.
                fed.notified().await;
            }
            said
        };
        let why = tokio::select! {
            said = read => if said { None } else { Some("the client went away") },
            () = gate => None,
            () = feed => None,
            () = moves.idle(limits.idle) => Some("nothing moved for too long"),
            () = tokio::time::sleep(limits.exchange) => Some("it lasted too long"),
        };
        if why.is_some() {
            self.process.terminate();
        }
        let mut status = tokio::time::timeout(GRACE, self.process.0.wait()).await;
        if status.is_err() {
            // What is read of the disk after this is what git has left there.
            self.process.kill();
            status = tokio::time::timeout(GRACE, self.process.0.wait()).await;
        }
        let status = status.ok().and_then(std::result::Result::ok).and_then(|status| status.code());
        if let Some(why) = why {
            return Err(Error::unavailable(format!("the exchange was ended: {why}")));
        }
        Ok(Ended {
            status,
            complaint: String::from_utf8_lossy(&complaint).trim().to_owned(),
            received: moves.received.load(Ordering::Relaxed),
        })
    }
}

/// For a gate to look at a push.
const GATE: Duration = Duration::from_secs(600);

/// Gives git what the client says. False when the client broke off. What git takes no more is read and dropped, so that the
/// client comes to read why.
async fn feed(
    mut input: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
    stdin: ChildStdin,
    moves: &Moves,
) -> bool {
    let mut stdin = Some(stdin);
    while let Some(bytes) = input.next().await {
        let Ok(bytes) = bytes else { return false };
        moves.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        moves.touch();
        if let Some(open) = &mut stdin
            && open.write_all(&bytes).await.is_err()
        {
            stdin = None;
        }
        moves.touch();
    }
    true
}

/// Gives the client what git says. False when it takes no more; but a push goes on without it: git may be moving references.
async fn tell(
    mut from: impl AsyncRead + Unpin,
    to: &mpsc::Sender<Piece>,
    moves: &Moves,
    goes_on: bool,
) -> bool {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return true,
            Ok(_) => {
                if to.send(Piece::Out(buffer.split().freeze())).await.is_err() && !goes_on {
                    return false;
                }
                moves.touch();
            }
        }
    }
}

/// The same of what git says beside the protocol; the beginning of it is kept.
async fn complain(
    mut from: impl AsyncRead + Unpin,
    to: &mpsc::Sender<Piece>,
    moves: &Moves,
    kept: &mut Vec<u8>,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(COMPLAINT);
        let Ok(1..) = from.read_buf(&mut buffer).await else { return };
        let bytes = buffer.split().freeze();
        let room = COMPLAINT.saturating_sub(kept.len());
        kept.extend(bytes.iter().take(room));
        if to.send(Piece::Err(bytes)).await.is_err() {
            return;
        }
        moves.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_are_passed_on() {
        for (text, good) in [
            ("version=2", true),
            ("version=2:x-y=1", true),
            ("", false),
            ("version=2\nGIT_DIR=/", false),
            ("$(id)", false),
        ] {
            assert_eq!(good_protocol(text), good, "{text:?}");
        }
    }
}
