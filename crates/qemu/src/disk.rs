//! Disk images, by way of `qemu-img`. Every image is made under another name and renamed, so
//! that a file with its final name is always whole.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::{Error, Result, durable};

/// How an image file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Qcow2,
    Raw,
}

impl Format {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// What `qemu-img info` says, as far as it is used.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Info {
    pub virtual_size: u64,
    #[serde(default)]
    pub snapshots: Vec<InfoSnapshot>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct InfoSnapshot {
    pub name: String,
    #[serde(default)]
    pub date_sec: i64,
    #[serde(default)]
    pub date_nsec: i64,
}

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a tool to its end and returns what it printed. Kills it when time is up.
pub(crate) async fn tool_output(mut command: Command, patience: Duration, about: &Path) -> Result<String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true).env("LC_ALL", "C");
    let output = tokio::time::timeout(patience, command.output())
        .await
        .map_err(|_| Error::timeout(&program, patience))?
        .map_err(|e| Error::io("run", &program, e))?;
    if !output.status.success() {
        return Err(Error::tool(&program, &String::from_utf8_lossy(&output.stderr), about));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes a copy-on-write image over `base`. `size` in bytes; none takes the size of the base.
pub(crate) async fn overlay(
    img: &Path,
    base: &Path,
    format: Format,
    path: &Path,
    size: Option<u64>,
) -> Result<()> {
    let new = beside(path);
    durable::remove_file(&new).map_err(|e| Error::io("remove", &new, e))?;
    let mut command = Command::new(img);
    command.args(["create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=off", "-F", format.name()]);
    command.arg("-b").arg(base).arg(&new);
    if let Some(size) = size {
        command.arg(size.to_string());
    }
    let made = tool_output(command, PATIENCE, path).await;
    finish(&new, path, made.map(drop))
}

/// Renames a finished image to its name, or removes what is left of a failed one.
pub(crate) fn finish(new: &Path, path: &Path, made: Result<()>) -> Result<()> {
    let done = made.and_then(|()| std::fs::rename(new, path).map_err(|e| Error::io("rename", path, e)));
    if done.is_err() {
        let _ = durable::remove_file(new);
    }
    done
}

pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// A disk a guest wrote to is hostile input; the tool that reads it has only the rights of who
/// owns it, which are those of the machine's QEMU.
fn as_owner(mut command: Command, path: &Path) -> Command {
    use std::os::unix::fs::MetadataExt;
    if rustix::process::geteuid().is_root()
        && let Ok(file) = std::fs::symlink_metadata(path)
        && file.uid() != 0
    {
        // Also leaves all other groups.
        command.uid(file.uid()).gid(file.gid());
    }
    command
}

/// Reads an image's header. `shared` allows it while a machine writes to the image.
pub(crate) async fn info(img: &Path, path: &Path, shared: bool) -> Result<Info> {
    let mut command = Command::new(img);
    command.args(["info", "--output=json"]);
    if shared {
        command.arg("-U");
    }
    command.arg(path);
    let text = tool_output(as_owner(command, path), PATIENCE, path).await?;
    serde_json::from_str(&text)
        .map_err(|e| Error::Tool { program: "qemu-img info".into(), message: e.to_string() })
}

/// Makes an image larger; never smaller. Only while no machine uses it.
pub(crate) async fn grow(img: &Path, path: &Path, size: u64) -> Result<()> {
    let now = info(img, path, false).await?.virtual_size;
    if size < now {
        return Err(Error::Invalid(format!("a disk cannot shrink from {now} to {size} bytes")));
    }
    if size == now {
        return Ok(());
    }
    let mut command = Command::new(img);
    command.args(["resize", "-q", "-f", "qcow2"]).arg(path).arg(size.to_string());
    tool_output(as_owner(command, path), PATIENCE, path).await.map(drop)
}

/// `qemu-img snapshot` with one action (`-c`, `-a`, `-d`).
pub(crate) async fn snapshot(img: &Path, path: &Path, action: &str, name: &str) -> Result<()> {
    let mut command = Command::new(img);
    command.args(["snapshot", "-q", action, name]).arg(path);
    tool_output(as_owner(command, path), PATIENCE, path).await.map(drop)
}
