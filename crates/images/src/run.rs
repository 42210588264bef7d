//! Programs of the host: their words read as they come, and all they started killed when the caller goes away.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{Error, Result};

/// Of what a program prints, this much is kept for an error.
const KEPT_LINES: usize = 15;
/// dpkg's command lines have a word for each package.
const KEPT_OF_A_LINE: usize = 400;
/// What is read whole: the list of packages that apt prints.
const MAX_OUTPUT: u64 = 8 << 20;

/// A command without a terminal, in the language that errors are recognised in.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env_remove("APT_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0);
    command
}

/// Kills the group of a program when dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may have ended by itself.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

fn spawn(program: &str, command: &mut Command) -> Result<(Child, Group)> {
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing(program),
        _ => Error::io("start", program, error),
    })?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok((child, Group(pid)))
}

/// Runs a program to its end and gives what it printed. `place` is where it writes: a full disk is told of there.
pub(crate) async fn output(command: &mut Command, place: &Path, limit: Duration) -> Result<String> {
    let program = name(command);
    let (mut child, _group) = spawn(&program, command)?;
    let work = async {
        let (out, err) = tokio::join!(whole(child.stdout.take()), whole(child.stderr.take()));
        let status = child.wait().await.map_err(|e| Error::io("wait for", &program, e))?;
        if status.success() {
            Ok(out)
        } else {
            Err(Error::tool(&program, &tail(&format!("{err}\n{out}")), place))
        }
    };
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(Error::Timeout { doing: program.clone(), after: limit }))
}

/// Runs a program to its end, giving each line it prints to `line` as it comes.
pub(crate) async fn lines(
    command: &mut Command,
    place: &Path,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> Result<()> {
    let program = name(command);
    let (mut child, _group) = spawn(&program, command)?;
    // Held open until the end: a build ends when it closes, however its owner went away.
    let _stdin = child.stdin.take();
    let (send, mut receive) = tokio::sync::mpsc::channel(64);
    let work = async {
        let out = forward(child.stdout.take(), send.clone());
        let err = forward(child.stderr.take(), send);
        let mut kept = std::collections::VecDeque::<String>::new();
        let read = async {
            while let Some(text) = receive.recv().await {
                line(&text);
                // The words of a full disk may come long before the end.
                if kept.len() == KEPT_LINES
                    && !kept.front().is_some_and(|one| crate::error::says_no_space(one))
                {
                    kept.pop_front();
                }
                if kept.len() <= KEPT_LINES {
                    kept.push_back(text.chars().take(KEPT_OF_A_LINE).collect());
                }
            }
        };
        tokio::join!(out, err, read);
        let status = child.wait().await.map_err(|e| Error::io("wait for", &program, e))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::tool(&program, &kept.into_iter().collect::<Vec<String>>().join("\n"), place))
    };
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(Error::Timeout { doing: program.clone(), after: limit }))
}

async fn whole(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let mut from = from.take(MAX_OUTPUT);
        // What could be read is enough for what follows: it is checked, or shown in an error.
        let _ = from.read_to_end(&mut bytes).await;
        let _ = tokio::io::copy(&mut from.into_inner(), &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn forward(from: Option<impl AsyncRead + Unpin>, to: tokio::sync::mpsc::Sender<String>) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        // Bounded, should a program print without ever ending a line.
        match (&mut from).take(1 << 16).read_until(b'\n', &mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&bytes);
                let text = text.trim_end();
                if !text.is_empty() && to.send(text.to_owned()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(KEPT_LINES)..).unwrap_or_default().join("\n")
}

fn name(command: &Command) -> String {
    let path = Path::new(command.as_std().get_program());
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Which Debian package has a program.
fn missing(program: &str) -> Error {
    let package = match program {
        "mmdebstrap" | "curl" | "dpkg" => program,
        "qemu-img" => "qemu-utils",
        "apt-get" | "apt-config" | "apt-helper" => "apt",
        "dpkg-deb" => "dpkg",
        "mke2fs" => "e2fsprogs",
        _ => "util-linux",
    };
    Error::Missing { what: format!("the program {program}"), mend: format!("apt-get install {package}") }
}
