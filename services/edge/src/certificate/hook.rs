//! A program of the operator's that sets and takes back TXT records: `PROGRAM add|remove NAME VALUE`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hafen_base::{Error, Result};
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs it; it ends when the record can be asked for (or is gone).
pub async fn run(program: &Path, action: &str, name: &str, value: &str) -> Result<()> {
    // Nothing of the platform's surroundings is its business.
    let mut command = Command::new(program);
    command.args([action, name, value]).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let shown = program.display();
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| {
            Error::unavailable(format!("{shown} {action} {name} did not end within {} s", PATIENCE.as_secs()))
        })?
        .map_err(|error| Error::unavailable(format!("{shown} cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    Err(Error::unavailable(format!("{shown} {action} {name} ended with {}, and said: {last}", output.status)))
}
