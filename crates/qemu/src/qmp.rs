//! A client of QEMU's monitor protocol: one short connection per task.
//!
//! QEMU serves one client at a time and queues the next; nothing here holds the socket between
//! tasks, so a control plane that dies leaves nothing locked. What QEMU says is bounded and has
//! to arrive in time: QEMU serves a guest that may be hostile.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::args::QMP_SOCKET;
use crate::{Error, Result};

const MAX_LINE: usize = 4 << 20;

/// A socket in a directory, reached through a descriptor of the directory: socket addresses are
/// limited to 107 bytes, paths of machines are not.
pub(crate) struct SocketDir {
    fd: OwnedFd,
}

impl SocketDir {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| Error::io("open", dir, e.into()))?;
        Ok(Self { fd })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd()))
    }

    /// Connects; while QEMU is only starting, tries again until `deadline` or until `alive` says
    /// that there is nothing to wait for.
    pub(crate) async fn connect(
        &self,
        name: &str,
        deadline: Instant,
        alive: impl Fn() -> bool,
    ) -> Result<UnixStream> {
        loop {
            match UnixStream::connect(self.path(name)).await {
                Ok(stream) => return Ok(stream),
                Err(error) if !alive() => return Err(Error::io("connect to", name, error)),
                Err(error) if Instant::now() >= deadline => {
                    return Err(Error::io("connect to", name, error));
                }
                Err(_) => sleep(Duration::from_millis(2)).await,
            }
        }
    }
}

/// Bytes of a stream up to each line end, with a bound on the length of a line.
pub(crate) struct Lines {
    pub stream: UnixStream,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The next line without its end. Nothing means that the other side closed.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            // Somebody who never stops talking must not keep us either.
            if Instant::now() >= deadline {
                return Err(Error::timeout("an answer of the machine", Duration::ZERO));
            }
            let fresh = self.buffer.get(seen..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(seen + at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Some(line));
            }
            seen = self.buffer.len();
            if seen > MAX_LINE {
                return Err(Error::Conflict("a line from the machine is too long".into()));
            }
            let read = timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await;
            match read {
                Err(_) => return Err(Error::timeout("an answer of the machine", Duration::ZERO)),
                // A socket whose process died says "reset" in place of an end.
                Ok(Ok(0) | Err(_)) => return Ok(None),
                Ok(Ok(_)) => {}
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<()> {
        match timeout_at(deadline, self.stream.write_all(bytes)).await {
            Err(_) => Err(Error::timeout("sending to the machine", Duration::ZERO)),
            Ok(Err(error)) => Err(Error::io("write to", "socket of the machine", error)),
            Ok(Ok(())) => Ok(()),
        }
    }
}

/// A connection past the greeting.
pub(crate) struct Qmp {
    lines: Lines,
    patience: Duration,
}

impl Qmp {
    /// Connects and negotiates. `patience` bounds every later command.
    pub(crate) async fn connect(
        sockets: &SocketDir,
        deadline: Instant,
        alive: impl Fn() -> bool,
    ) -> Result<Self> {
        let stream = sockets.connect(QMP_SOCKET, deadline, alive).await?;
        let mut qmp = Self { lines: Lines::new(stream), patience: Duration::from_secs(30) };
        let greeting = qmp.lines.next(deadline).await?.unwrap_or_default();
        let greeting: Value = serde_json::from_slice(&greeting).unwrap_or_default();
        if greeting.get("QMP").is_none() {
            return Err(Error::Qemu {
                what: "did not greet".into(),
                tail: "its monitor closed the connection".into(),
            });
        }
        qmp.run("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// One command; events that arrive meanwhile are dropped, state is always asked for.
    pub(crate) async fn run(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let deadline = Instant::now() + self.patience;
        let request = json!({"execute": command, "arguments": arguments});
        self.lines.send(format!("{request}\n").as_bytes(), deadline).await?;
        loop {
            let line = self.lines.next(deadline).await.map_err(|error| match error {
                Error::Timeout { .. } => Error::timeout(format!("QEMU's {command}"), self.patience),
                other => other,
            })?;
            let Some(line) = line else {
                return Err(Error::Qemu { what: format!("ended during {command}"), tail: String::new() });
            };
            let answer: Value = serde_json::from_slice(&line).unwrap_or_default();
            if let Some(result) = answer.get("return") {
                return Ok(result.clone());
            }
            if let Some(error) = answer.get("error") {
                let text = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
                return Err(refused(command, text));
            }
        }
    }

    /// `query-status`: such as `running`, `paused`, `inmigrate`.
    pub(crate) async fn run_state(&mut self) -> Result<String> {
        let answer = self.run("query-status", json!({})).await?;
        Ok(answer.get("status").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Waits until the running migration, in or out, has completed.
    pub(crate) async fn migrated(&mut self, deadline: Instant) -> Result<()> {
        loop {
            let answer = self.run("query-migrate", json!({})).await?;
            match answer.get("status").and_then(Value::as_str).unwrap_or_default() {
                "completed" => return Ok(()),
                "failed" | "cancelled" => {
                    let why = answer.get("error-desc").and_then(Value::as_str).unwrap_or("no reason given");
                    return Err(refused("migrate", why));
                }
                _ if Instant::now() >= deadline => {
                    return Err(Error::timeout("moving the machine's state", Duration::ZERO));
                }
                _ => sleep(Duration::from_millis(2)).await,
            }
        }
    }
}

fn refused(command: &str, text: &str) -> Error {
    if crate::error::says_no_space(text) {
        return Error::NoSpace { path: PathBuf::from("the machine's disk") };
    }
    Error::Qmp { command: command.to_owned(), message: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_ends_in_time_and_in_bounds() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let flood = tokio::spawn(async move { while theirs.write_all(b"rubbish\n").await.is_ok() {} });
        let mut lines = Lines::new(ours);
        let deadline = Instant::now() + Duration::from_millis(100);
        let error = loop {
            if let Err(error) = lines.next(deadline).await {
                break error;
            }
        };
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        drop(lines);
        flood.await.unwrap();

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let flood = tokio::spawn(async move { while theirs.write_all(&[b'x'; 8192]).await.is_ok() {} });
        let mut lines = Lines::new(ours);
        let error = lines.next(Instant::now() + Duration::from_secs(60)).await.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error}");
        drop(lines);
        flood.await.unwrap();
    }
}
