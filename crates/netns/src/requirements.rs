//! What this host needs to have for networks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::holder::{package, search_path};
use crate::{Error, sys};

/// One thing that networks need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub name: String,
    pub ok: bool,
    /// What was found, or what is wrong.
    pub detail: String,
    /// What mends it. Empty where nothing is wrong.
    pub fix: String,
}

/// Looks at this host. Runs a program for a moment, so do not call it where nothing may block.
pub fn requirements() -> Vec<Requirement> {
    let programs = [
        ("ip", "bridges and taps"),
        ("nft", "firewalls"),
        ("dnsmasq", "names and addresses"),
        ("pasta", "egress"),
        ("setsid", "processes that outlive the platform"),
        ("setpriv", "programs with fewer rights"),
        ("unshare", "namespaces"),
    ];
    let mut all: Vec<_> = programs.into_iter().map(|(name, purpose)| program(name, purpose)).collect();
    all.push(tun());
    all.push(namespaces());
    all
}

fn program(name: &str, purpose: &str) -> Requirement {
    let found =
        search_path().split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    let fix = format!("sudo apt-get install {}", package(name));
    let missing = || format!("not installed; needed for {purpose}");
    requirement(name, found.map(|path: PathBuf| path.display().to_string()).ok_or_else(missing), fix)
}

fn tun() -> Requirement {
    match sys::open_tun() {
        Ok(_) => requirement(sys::TUN, Ok("can be opened".into()), String::new()),
        Err(Error::Missing { what, fix }) => requirement(sys::TUN, Err(what), fix),
        Err(error) => requirement(sys::TUN, Err(error.to_string()), String::new()),
    }
}

/// Makes a namespace as a holder would, and loads a rule of each family into it.
fn namespaces() -> Requirement {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    // A rule of the bridge family is what a kernel is most likely to lack.
    let rules = "add table inet hafen; add table bridge hafen; \
                 add chain bridge hafen cards { type filter hook prerouting priority -300; policy drop; }";
    let output = command
        .args(["--net", "--", "nft", rules])
        .env("PATH", search_path())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    let found = match output {
        Ok(output) if output.status.success() => Ok("can be made, with a firewall".into()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().chars().take(500).collect()),
        Err(error) => Err(error.to_string()),
    };
    let fix = "run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
               user.max_user_namespaces above 0; on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)";
    requirement("network namespaces", found, fix.into())
}

fn requirement(name: &str, found: std::result::Result<String, String>, fix: String) -> Requirement {
    let name = name.to_owned();
    match found {
        Ok(detail) => Requirement { name, ok: true, detail, fix: String::new() },
        Err(detail) => Requirement { name, ok: false, detail, fix },
    }
}
