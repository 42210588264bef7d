//! The half of a holder that stays outside.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::process::Command;

use super::{INSIDE, hang_up, program, runtime};
use crate::{Error, Result};

pub(super) fn run(folder: &Path) -> Result<()> {
    // A leader already, if `setsid` started us; whoever did it otherwise has not to care.
    let _ = rustix::process::setsid();
    runtime()?.block_on(hold(folder))
}

async fn hold(_folder: &Path) -> Result<()> {
    let (ours, theirs) =
        UnixStream::pair().map_err(|error| Error::io("connect", "the holder's halves", error))?;
    let me = std::env::current_exe().map_err(|error| Error::io("find", "this program", error))?;
    let mut inner = Command::new("unshare");
    inner.arg("--net");
    if rustix::process::geteuid().is_root() {
        // For what only dnsmasq shall see; what is unmounted outside must go here too.
        inner.args(["--mount", "--propagation", "slave"]);
    }
    let mut inner = inner
        .arg("--")
        .arg(me)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .env("PATH", program::path())
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .map_err(|error| program::missing("unshare", &error))?;
    // Inner alone says when it is ready.
    hang_up();
    let _keep = ours;
    let _ = inner.wait().await;
    Ok(())
}
