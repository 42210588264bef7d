//! Runs the host's programs.

use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(20);

/// The Debian package of each program that is run here.
pub(crate) fn package(program: &str) -> &'static str {
    match program {
        "dnsmasq" => "dnsmasq-base",
        "nft" => "nftables",
        "ip" => "iproute2",
        "pasta" => "passt",
        _ => "util-linux",
    }
}

pub(crate) fn missing(program: &str, error: &std::io::Error) -> Error {
    Error::Missing {
        what: format!("cannot run {program}: {error}"),
        fix: format!("install the Debian package {}: `sudo apt-get install {0}`", package(program)),
    }
}

/// Debian keeps these in `sbin`, which is not in everybody's `PATH`.
pub(crate) fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// Runs a program to its end with `input`, and gives back what it printed.
pub(crate) async fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path())
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| missing(program, &error))?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that ends early says why itself.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let work = async { tokio::join!(feed, child.wait_with_output()).1 };
    let failed = |output: String| Error::Program { program: program.into(), output };
    let Output { status, stdout, stderr } = timeout(PATIENCE, work)
        .await
        .map_err(|_| failed(format!("not done after {PATIENCE:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        let text = String::from_utf8_lossy(&stderr).trim().chars().take(2000).collect();
        return Err(failed(text));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
