//! dnsmasq: names and addresses for the machines of one network.
//!
//! It runs without root's rights but those it needs, reads only the directory [`NAMES`], and is
//! told of changes by a signal, so that no lookup fails meanwhile.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::bridge::BRIDGE;
use super::firewall::set_of;
use super::lookups::Lookups;
use super::outer::RESOLVER;
use super::program;
use super::records::Records;
use crate::config::AllowedHost;
use crate::folder::{self, NAMES};
use crate::{Config, Egress, Error, HostEntry, Result};

/// Where dnsmasq finds [`NAMES`] when it runs as a user who may not enter the network's folder.
/// Part of every Debian (`base-files`), and in the holder's own mount namespace only.
const SEEN: &str = "/var/lib/misc";
const HOSTS: &str = "hosts";
const LEASES: &str = "leases";
const CAPABILITIES: &str = "-all,+net_admin,+net_raw,+net_bind_service";

pub(super) struct Names {
    /// Written here…
    directory: PathBuf,
    /// … and read from here.
    seen: PathBuf,
    /// Runs as `nobody`.
    drops: bool,
    child: Option<Running>,
    records: Arc<Records>,
}

struct Running {
    child: Child,
    /// How often both files were read, by what dnsmasq says.
    reads: watch::Receiver<u64>,
}

impl Names {
    /// Makes the directory. Gives back a sentence if dnsmasq has to run as root.
    pub(super) fn make(folder: &Path, records: Arc<Records>) -> Result<(Self, Option<String>)> {
        let directory = folder.join(NAMES);
        folder::make_private(&directory)?;
        // Only reachable through the folder, which is private, or through the mount below.
        let mode = rustix::fs::Mode::from_raw_mode(0o755);
        rustix::fs::chmod(&directory, mode).map_err(|error| Error::io("open up", &directory, error))?;
        let mut names = Self { seen: directory.clone(), directory, drops: false, child: None, records };
        if !rustix::process::geteuid().is_root() {
            return Ok((names, None));
        }
        match rustix::mount::mount_bind(&names.directory, SEEN) {
            Ok(()) => {
                names.seen = SEEN.into();
                names.drops = true;
                Ok((names, None))
            }
            Err(error) => {
                let why = format!("dnsmasq runs as root: cannot mount its directory on {SEEN} ({error})");
                Ok((names, Some(why)))
            }
        }
    }

    /// Writes the names and leases; a running dnsmasq has taken them over when this returns.
    pub(super) async fn set(&mut self, config: &Config, hosts: &[HostEntry]) -> Result<()> {
        let mut names = format!("{} gateway.{1} gateway\n", config.gateway, config.domain);
        let mut leases = String::new();
        for HostEntry { name, address, mac } in hosts {
            let _ = writeln!(names, "{address} {name}.{} {name}", config.domain);
            let _ = writeln!(leases, "{mac},{address},{name}");
        }
        folder::write(&self.directory.join(HOSTS), 0o644, names.as_bytes())?;
        folder::write(&self.directory.join(LEASES), 0o644, leases.as_bytes())?;
        let Some(running) = &mut self.child else { return Ok(()) };
        let before = *running.reads.borrow_and_update();
        let pid = running.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let Some(pid) = pid else { return Ok(()) };
        rustix::process::kill_process(pid, Signal::HUP).map_err(|e| Error::io("signal", "dnsmasq", e))?;
        let read = running.reads.wait_for(|reads| *reads > before);
        match timeout(Duration::from_secs(5), read).await {
            // Or it died: whoever watches it starts it anew, with these files.
            Ok(_) => Ok(()),
            Err(_) => {
                Err(Error::Program { program: "dnsmasq".into(), output: "does not read its files".into() })
            }
        }
    }

    /// Starts dnsmasq, or starts it anew, and waits until it answers.
    pub(super) async fn start(&mut self, config: &Config) -> Result<()> {
        self.stop().await;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--no-new-privs"]);
        if rustix::process::geteuid().is_root() {
            command.args(["--inh-caps", CAPABILITIES, "--bounding-set", CAPABILITIES]);
        }
        if self.drops {
            command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
            command.args(["--ambient-caps", CAPABILITIES]);
        }
        let mut child = command
            .args(["--", "dnsmasq"])
            .args(arguments(config, &self.seen)?)
            .env("PATH", program::path())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| program::missing("setpriv", &error))?;
        let (said, mut reads) = watch::channel(0);
        let output = child.stderr.take();
        let mut lookups = Lookups::new(config, self.records.clone());
        let (last, words) = watch::channel(String::new());
        tokio::spawn(async move {
            let Some(output) = output else { return };
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The leases are read last, at the start as after a signal.
                if line.contains(": read ") && line.ends_with(&format!("/{LEASES}")) {
                    said.send_modify(|reads| *reads += 1);
                }
                lookups.read(&line);
                last.send_replace(line);
            }
        });
        let ready = timeout(Duration::from_secs(10), reads.wait_for(|reads| *reads > 0))
            .await
            .is_ok_and(|read| read.is_ok());
        if !ready {
            let _ = child.start_kill();
            let status = child.wait().await;
            let output = format!("{} ({status:?})", *words.borrow());
            return Err(if output.contains("No such file") {
                program::missing("dnsmasq", &std::io::ErrorKind::NotFound.into())
            } else {
                Error::Program { program: "dnsmasq".into(), output }
            });
        }
        self.child = Some(Running { child, reads });
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some(mut running) = self.child.take() {
            let _ = running.child.kill().await;
        }
    }

    /// Whether dnsmasq ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|running| !matches!(running.child.try_wait(), Ok(None)))
    }
}

fn arguments(config: &Config, directory: &Path) -> Result<Vec<String>> {
    let Config { subnet, gateway, domain, .. } = config;
    let directory = directory.display();
    let mut arguments = vec![
        "--keep-in-foreground".into(),
        "--conf-file=/dev/null".into(),
        "--pid-file=".into(),
        "--log-facility=-".into(),
        "--user=nobody".into(),
        // Only the gateway's address, and nothing of this host's own names and resolvers.
        format!("--interface={BRIDGE}"),
        "--except-interface=lo".into(),
        "--bind-interfaces".into(),
        "--no-resolv".into(),
        "--no-hosts".into(),
        "--no-poll".into(),
        format!("--domain={domain}"),
        format!("--local=/{domain}/"),
        "--bogus-priv".into(),
        // Names of machines move to other addresses.
        "--local-ttl=5".into(),
        format!("--addn-hosts={directory}/{HOSTS}"),
        // Only machines that are known get an address, and always the same.
        format!("--dhcp-range={subnet},static,{},12h", config.netmask()),
        format!("--dhcp-hostsfile={directory}/{LEASES}"),
        "--leasefile-ro".into(),
        "--dhcp-authoritative".into(),
        // A machine does not choose its name.
        "--dhcp-ignore-names".into(),
        // Also without egress: it may be granted while machines run.
        format!("--dhcp-option=option:router,{gateway}"),
        format!("--dhcp-option=option:dns-server,{gateway}"),
        format!("--dhcp-option=option:domain-search,{domain}"),
    ];
    match &config.egress {
        Egress::None => return Ok(arguments),
        Egress::Logged => arguments.push(format!("--server={RESOLVER}")),
        Egress::Allow(_) => {
            // Only allowed names are looked up outside: a lookup is a way out too.
            let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (at, allowed) in config.allowed()?.into_iter().enumerate() {
                if let AllowedHost::Name(name) = allowed.host {
                    sets.entry(name).or_default().push(format!("4#inet#hafen#{}", set_of(at)));
                }
            }
            for (name, sets) in sets {
                arguments.push(format!("--server=/{name}/{RESOLVER}"));
                // Its own subdomains are other hosts.
                arguments.push(format!("--local=/*.{name}/"));
                arguments.push(format!("--nftset=/{name}/{}", sets.join(",")));
            }
        }
    }
    // Says which name led to which address.
    arguments.push("--log-queries=extra".into());
    Ok(arguments)
}
