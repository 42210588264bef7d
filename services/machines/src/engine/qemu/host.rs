//! What this host can do: found out once per start of the host, because a probe of KVM may take three seconds.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hafen_base::{Error, Result};
use hafen_qemu::{Accelerator, Host, Kind, durable, probe};
use serde::{Deserialize, Serialize};

use super::error::{file, from_qemu};

const PROBE: &str = "accelerator.json";

/// A probe's result and what it holds for.
#[derive(Debug, Serialize, Deserialize)]
struct Accelerated {
    /// This start of the host: firmware settings and modules may differ after the next.
    boot_id: String,
    qemu: String,
    accelerator: Accelerator,
}

/// The QEMU of this host with the accelerator that really runs guests.
pub async fn detect(cache: &Path) -> Result<Host> {
    let qemu = hafen_qemu::Qemu::detect().await.map_err(from_qemu)?;
    let accelerator = accelerator(&qemu, cache).await;
    Ok(Host::with(qemu, accelerator))
}

/// Probes by running a guest, or takes what an earlier probe found since this host started.
async fn accelerator(qemu: &hafen_qemu::Qemu, cache: &Path) -> Accelerator {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let path = cache.join(PROBE);
    let known = durable::read(&path)
        .ok()
        .flatten()
        .and_then(|text| serde_json::from_slice::<Accelerated>(&text).ok());
    if let Some(known) = known
        && known.boot_id == boot_id
        && known.qemu == qemu.build
        && Path::new("/dev/kvm").exists() == (known.accelerator.reason != NO_DEVICE)
    {
        return known.accelerator;
    }
    let accelerator = probe::accelerator(qemu).await;
    let found = Accelerated { boot_id, qemu: qemu.build.clone(), accelerator };
    // A cache that cannot be written costs the next start three seconds, and is reported where it matters.
    if let Ok(text) = serde_json::to_vec(&found) {
        let _ = durable::write(&path, 0o644, &text);
    }
    found.accelerator
}

/// Where control groups can be made; a host that allows none is told of once.
pub fn limits() -> Option<hafen_qemu::cgroup::Parent> {
    match hafen_qemu::cgroup::Parent::detect("hafen") {
        Ok(parent) => Some(parent),
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    }
}

/// The probe's words where there is nothing to probe.
const NO_DEVICE: &str = "/dev/kvm does not exist";

pub fn describe(host: &Host) -> String {
    let name = match host.accelerator.kind {
        Kind::Kvm => "KVM",
        Kind::Tcg => "TCG (emulation)",
    };
    format!("QEMU {} with {name}: {}", host.qemu.version, host.accelerator.reason)
}

/// A folder that everybody may read: images and templates are opened by QEMU, which runs as other users.
pub fn make_open(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .map_err(|error| file("make", path, error))
}

/// QEMU, as a user without rights, must get to the folder through all of its ancestors.
pub fn passable(path: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    for folder in path.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        let mode =
            std::fs::metadata(folder).map_err(|error| file("look at", folder, error))?.permissions().mode();
        if mode & 0o001 == 0 {
            return Err(Error::unavailable(format!(
                "{} cannot be passed by other users, but machines run as users without rights and need what is in {}: \
                 chmod o+x {0}, or set HAFEN_HOME and HAFEN_CACHE to folders elsewhere",
                folder.display(),
                path.display()
            )));
        }
    }
    Ok(())
}

/// Something this host must have or can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub name: String,
    pub ok: bool,
    pub detail: String,
    /// The command that mends it; beside what is well: what would make it better.
    pub fix: String,
}

/// Programs by their Debian package. Those of the networks are the networks' own matter.
const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("curl", "curl"),
    ("ssh", "openssh-client"),
    ("scp", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

/// Everything that real machines need of this host, for `doctor`. Probes by running a guest.
pub async fn requirements(home: &Path, cache: &Path) -> Vec<Requirement> {
    let mut list: Vec<Requirement> = PROGRAMS.iter().map(|(name, package)| program(name, package)).collect();
    match hafen_qemu::Qemu::detect().await {
        Err(error) => list.push(Requirement {
            name: "qemu".into(),
            ok: false,
            detail: error.to_string(),
            fix: "apt-get install qemu-system-x86 qemu-utils".into(),
        }),
        Ok(qemu) => {
            let accelerator = accelerator(&qemu, cache).await;
            let fix = accelerator.mend.clone().unwrap_or_default();
            let detail = describe(&Host::with(qemu, accelerator));
            // Emulation works everywhere: it is slower, not missing.
            list.push(Requirement { name: "accelerator".into(), ok: true, detail, fix });
        }
    }
    for (name, folder) in [("way to HAFEN_HOME", home), ("way to HAFEN_CACHE", cache)] {
        let there = folder.ancestors().find(|one| one.exists()).unwrap_or(Path::new("/"));
        let checked = passable(there);
        let fix = if checked.is_ok() {
            ""
        } else {
            "chmod o+x FOLDER, or set HAFEN_HOME and HAFEN_CACHE elsewhere"
        };
        list.push(Requirement {
            name: name.into(),
            ok: checked.is_ok(),
            detail: checked.err().map_or_else(|| "machines can reach it".into(), |error| error.to_string()),
            fix: fix.into(),
        });
    }
    list.push(Requirement {
        name: "control groups".into(),
        // Machines run without; they are only bounded less.
        ok: true,
        detail: match hafen_qemu::cgroup::Parent::detect("hafen") {
            Ok(_) => "memory, processor time and tasks of QEMU are bounded".into(),
            Err(error) => error.to_string(),
        },
        fix: String::new(),
    });
    let networks = hafen_netns::requirements();
    list.extend(networks.into_iter().map(|one| Requirement {
        name: one.name,
        ok: one.ok,
        detail: one.detail,
        fix: one.fix,
    }));
    list
}

fn program(name: &str, package: &str) -> Requirement {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    Requirement {
        name: name.into(),
        ok: found.is_some(),
        detail: found.as_ref().map_or_else(|| "not found".into(), |path| path.display().to_string()),
        fix: if found.is_some() { String::new() } else { format!("apt-get install {package}") },
    }
}
