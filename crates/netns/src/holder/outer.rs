//! The half of a holder that stays outside: it starts inner, and `pasta` for the way out, which has
//! its sockets out here and its other end in the network. It also knows this host's addresses, which
//! machines may not reach.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep_until};

use super::{INSIDE, hang_up, program, runtime};
use crate::wire::Wire;
use crate::{Error, Result};

/// pasta's interface in the network's namespace.
pub(super) const OUTSIDE: &str = "out0";
/// pasta's address there, which also forwards lookups to this host's resolver.
pub(super) const RESOLVER: &str = "169.254.77.1";
const ADDRESS: &str = "169.254.77.2";
/// How often this host's addresses are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// pasta that ended is started again after this; a host that is offline needs no haste.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum ToOuter {
    /// Starts pasta anew. The namespace comes along as a descriptor.
    Open,
    /// Ends pasta.
    Close,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum FromOuter {
    /// Comes first of all, and whenever they change.
    Addresses { addresses: Vec<Ipv4Addr> },
    /// pasta was ended as asked: nothing of its last run is there any more.
    Closed,
    /// pasta ended by itself; its last words.
    Failed { why: String },
}

pub(super) fn run() -> Result<()> {
    // A leader already, if `setsid` started us; whoever did it otherwise has not to care.
    let _ = rustix::process::setsid();
    runtime()?.block_on(hold())
}

async fn hold() -> Result<()> {
    let wrong = |error| Error::io("connect", "the holder's halves", error);
    let (ours, theirs) = StdUnixStream::pair().map_err(wrong)?;
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
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| program::missing("unshare", &error))?;
    // Inner alone says when it is ready.
    hang_up();
    ours.set_nonblocking(true).map_err(wrong)?;
    let wire = Wire::new(UnixStream::from_std(ours).map_err(wrong)?);
    tokio::select! {
        _ = inner.wait() => Ok(()),
        result = attend(wire) => result.map_err(wrong),
    }
}

/// Does what inner asks for, until it hangs up.
async fn attend(mut wire: Wire) -> std::io::Result<()> {
    let mut look = interval(LOOK);
    let mut addresses = None;
    let mut namespace: Option<OwnedFd> = None;
    let mut pasta: Option<Pasta> = None;
    let mut again: Option<Instant> = None;
    loop {
        tokio::select! {
            asked = wire.receive::<ToOuter>() => match asked? {
                None => return Ok(()),
                Some((ask, fd)) => {
                    drop(pasta.take());
                    again = None;
                    namespace = None;
                    wire.send(&FromOuter::Closed, None).await?;
                    if let ToOuter::Open = ask {
                        namespace = fd;
                        again = Some(Instant::now());
                    }
                }
            },
            _ = look.tick() => {
                let now = local_addresses()?;
                if addresses.as_ref() != Some(&now) {
                    wire.send(&FromOuter::Addresses { addresses: now.clone() }, None).await?;
                    addresses = Some(now);
                }
            }
            () = at(again) => {
                again = None;
                if let Some(namespace) = &namespace {
                    match Pasta::start(namespace) {
                        Ok(started) => pasta = Some(started),
                        Err(error) => {
                            wire.send(&FromOuter::Failed { why: error.to_string() }, None).await?;
                            again = Some(Instant::now() + AGAIN);
                        }
                    }
                }
            }
            why = ended(&mut pasta) => {
                pasta = None;
                again = Some(Instant::now() + AGAIN);
                wire.send(&FromOuter::Failed { why }, None).await?;
            }
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn ended(pasta: &mut Option<Pasta>) -> String {
    match pasta {
        Some(pasta) => pasta.ended().await,
        None => std::future::pending().await,
    }
}

/// pasta, in a process namespace of its own whose first process dies with us: pasta itself changes
/// what would let it follow us.
struct Pasta {
    child: Child,
    words: watch::Receiver<String>,
}

impl Pasta {
    fn start(namespace: &OwnedFd) -> Result<Self> {
        let namespace = namespace.try_clone().map_err(|error| Error::io("keep", "the namespace", error))?;
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "--",
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--",
            "pasta",
        ]);
        if rustix::process::geteuid().is_root() {
            // It would become nobody and then may not enter the namespace. It gives up all
            // capabilities, its file system and most system calls once it is in there.
            command.args(["--runas", "0"]);
        }
        let mut child = command
            .args(["--foreground", "--quiet", "--ipv4-only", "--config-net"])
            // The namespace is its standard input: a path would need rights over the process in there.
            .args(["--netns", "/proc/self/fd/0", "--netns-only", "--no-netns-quit"])
            // No port of either side appears on the other; this host's loopback has no address in there.
            .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"])
            .args(["--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra"])
            .args(["--ns-ifname", OUTSIDE, "--address", ADDRESS, "--netmask", "255.255.255.252"])
            .args(["--gateway", RESOLVER, "--dns-forward", RESOLVER, "--mtu", "1500"])
            .env("PATH", program::path())
            .stdin(namespace)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| program::missing("setpriv", &error))?;
        let (last, words) = watch::channel("ended without a word".to_owned());
        let output = child.stderr.take();
        tokio::spawn(async move {
            let Some(output) = output else { return };
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // Without a syslog it complains of that for every line.
                if !line.trim().is_empty() && !line.contains("to syslog") {
                    last.send_replace(line);
                }
            }
        });
        Ok(Self { child, words })
    }

    async fn ended(&mut self) -> String {
        let _ = self.child.wait().await;
        // Its output ends with it.
        while self.words.changed().await.is_ok() {}
        format!("pasta: {}", *self.words.borrow())
    }
}

/// The addresses of this host in the namespace that we are in, but for its loopback's.
fn local_addresses() -> std::io::Result<Vec<Ipv4Addr>> {
    Ok(parse_local(&std::fs::read_to_string("/proc/self/net/fib_trie")?))
}

/// `fib_trie` lists an address, and in the next lines what it is.
fn parse_local(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.filter(|address: &Ipv4Addr| !address.is_loopback()));
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_from_the_kernels_table() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 192.0.2.0\n        \
                    /24 link UNICAST\nLocal:\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.2\n        \
                    /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n     |-- 192.0.2.2\n        /32 host LOCAL\n";
        assert_eq!(parse_local(trie), [Ipv4Addr::new(192, 0, 2, 2)]);
    }
}
