//! Starts a holder so that it survives whoever started it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::folder::LOG;
use crate::holder::READY;
use crate::{Error, Result};

/// A loaded host with two cores needs a second or two; a holder that needs this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `program… FOLDER` in a session of its own and waits until it is ready.
pub(crate) async fn start(id: &str, folder: &Path, program: &[OsString]) -> Result<()> {
    let log = folder.join(LOG);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let errors = options.open(&log).map_err(|e| Error::io("open", &log, e))?;

    // setsid forks and ends at once: the holder is then no child of ours that would have to be
    // reaped, and no signal to our group or terminal reaches it.
    let mut command = Command::new("setsid");
    command.arg("--fork");
    if !rustix::process::geteuid().is_root() {
        // Mapped to the caller's own id, not to 0: dnsmasq, told that it is root, insists on
        // dropping groups, which a user namespace forbids. The capabilities come along.
        command.args(["unshare", "--user", "--map-current-user", "--keep-caps", "--"]);
    }
    let mut child = command
        .args(program)
        .arg(folder)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|error| Error::Missing {
            what: format!("cannot run setsid: {error}"),
            fix: "install the Debian package util-linux".into(),
        })?;
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        let read = timeout(PATIENCE, output.take(64 << 10).read_to_end(&mut said)).await;
        if read.is_err() {
            return Err(Error::holder(
                id,
                format!("did not get ready in {PATIENCE:?}; see {}", log.display()),
            ));
        }
    }
    let _ = child.wait().await;
    if said.starts_with(READY.as_bytes()) {
        return Ok(());
    }
    if let Ok(error) = serde_json::from_slice::<Error>(&said) {
        return Err(error);
    }
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let tail = text.lines().rev().take(5).collect::<Vec<_>>();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join(" | ");
    Err(Error::holder(id, format!("did not start; the end of {}: {tail}", log.display())))
}
