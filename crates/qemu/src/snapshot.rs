//! Snapshots of a machine's disk, and its serial log.
//!
//! A snapshot is internal to the machine's qcow2 file: it is made and deleted by one change of
//! that file's table, so there is never half of one. It holds the disk, not the memory. Of a
//! running machine it is consistent for file systems when the agent answers (it freezes them for
//! the moment), else as after a power cut. Restoring needs a stopped machine.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::{Error, Result, Vm, disk, durable};

/// One snapshot of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub name: String,
    /// Time since the epoch when it was made, by QEMU's clock.
    pub made: Duration,
}

const PATIENCE: Duration = Duration::from_secs(15);

impl Vm {
    /// Makes a snapshot; one of this name that exists already is fine.
    pub async fn snapshot_create(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let _lock = self.lock().await?;
        if self.snapshot_list().await?.iter().any(|s| s.name == name) {
            return Ok(());
        }
        let Some(process) = self.process() else {
            return disk::snapshot(self.img(), &self.disk_path(), "-c", name).await;
        };
        let frozen = self.ask("freeze", PATIENCE).await;
        if let Err(error) = &frozen {
            tracing::info!(machine = %self.spec.name, %error, "snapshot without a quiet file system");
        }
        let taken = async {
            let mut qmp = self.qmp(Instant::now() + PATIENCE, &process).await?;
            let arguments = json!({"device": "root", "name": name});
            qmp.run("blockdev-snapshot-internal-sync", arguments).await
        }
        .await;
        if frozen.is_ok() {
            // The guest thaws by itself if this is lost.
            let _ = self.ask("thaw", PATIENCE).await;
        }
        taken.map(drop)
    }

    /// All snapshots, oldest first.
    pub async fn snapshot_list(&self) -> Result<Vec<Snapshot>> {
        if !self.disk_path().exists() {
            return Ok(Vec::new());
        }
        let info = disk::info(self.img(), &self.disk_path(), true).await?;
        let time = |s: &disk::InfoSnapshot| {
            let seconds = u64::try_from(s.date_sec).unwrap_or(0);
            Duration::new(seconds, u32::try_from(s.date_nsec).unwrap_or(0).min(999_999_999))
        };
        let mut list: Vec<Snapshot> =
            info.snapshots.iter().map(|s| Snapshot { name: s.name.clone(), made: time(s) }).collect();
        list.sort_by_key(|s| s.made);
        Ok(list)
    }

    /// Puts the disk back to a snapshot. The machine must be stopped; what was written since is
    /// lost.
    pub async fn snapshot_restore(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let _lock = self.lock().await?;
        self.refuse_if_running("restored")?;
        if !self.snapshot_list().await?.iter().any(|s| s.name == name) {
            return Err(Error::Invalid(format!("machine {} has no snapshot {name:?}", self.spec.name)));
        }
        disk::snapshot(self.img(), &self.disk_path(), "-a", name).await
    }

    /// Deletes a snapshot; one that is gone already is fine.
    pub async fn snapshot_delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let _lock = self.lock().await?;
        if !self.snapshot_list().await?.iter().any(|s| s.name == name) {
            return Ok(());
        }
        let Some(process) = self.process() else {
            return disk::snapshot(self.img(), &self.disk_path(), "-d", name).await;
        };
        let mut qmp = self.qmp(Instant::now() + PATIENCE, &process).await?;
        let arguments = json!({"device": "root", "name": name});
        qmp.run("blockdev-snapshot-delete-internal-sync", arguments).await.map(drop)
    }
}

/// `qemu-img` also takes numeric ids where a name is meant, so a name begins with a letter.
fn check_name(name: &str) -> Result<()> {
    let ok = name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if ok {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "snapshot name {name:?}: begin with a letter, then letters, digits, '-', '_' or '.', 100 at most"
    )))
}

/// The last lines of a log, without control characters (a guest must not drive the reader's
/// terminal). Reads at most the last 256 KiB.
pub(crate) fn tail(path: &Path, lines: usize) -> Result<Vec<String>> {
    let error = |e| Error::io("read", path, e);
    let mut file = match durable::open_plain(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(error(e)),
    };
    let size = file.metadata().map_err(error)?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(256 << 10))).map_err(error)?;
    let mut text = Vec::new();
    file.take(256 << 10).read_to_end(&mut text).map_err(error)?;
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    let clean = |line: &&str| line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
    Ok(all.iter().skip(all.len().saturating_sub(lines)).map(clean).collect())
}

/// Keeps the newer half of `limit` bytes once the log is larger.
pub(crate) fn trim(path: &Path, limit: u64) -> Result<()> {
    let error = |e| Error::io("trim", path, e);
    let mut file = match durable::open_plain_as(path, fs::OpenOptions::new().read(true).write(true)) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(error(e)),
    };
    let size = file.metadata().map_err(error)?.len();
    if size <= limit {
        return Ok(());
    }
    file.seek(SeekFrom::Start(size - limit / 2)).map_err(error)?;
    let mut newer = Vec::new();
    (&file).take(limit).read_to_end(&mut newer).map_err(error)?;
    file.set_len(0).map_err(error)?;
    file.seek(SeekFrom::Start(0)).map_err(error)?;
    file.write_all(&newer).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_ids_or_options_are_refused() {
        assert!(check_name("before-upgrade").is_ok());
        for bad in ["", "1", "-a", "a b", "ä"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_log_is_cut_from_the_front() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let text = (0..1000).fold(String::new(), |text, n| format!("{text}line {n}\n"));
        fs::write(&path, &text).unwrap();
        trim(&path, 1000).unwrap();
        assert!(fs::metadata(&path).unwrap().len() <= 500);
        assert_eq!(tail(&path, 2).unwrap(), ["line 998", "line 999"]);
    }

    #[test]
    fn control_characters_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "a\u{1b}[2Jb\r\n").unwrap();
        assert_eq!(tail(&path, 5).unwrap(), ["a[2Jb"]);
    }
}
