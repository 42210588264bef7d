//! Control groups: the kernel's bounds on the memory, processor time and tasks of one machine.
//!
//! A machine's own limits (guest memory, number of processors) bind the guest; these bind QEMU,
//! should a guest break into it. Both versions are served; on one host a controller belongs to
//! one of them. All groups lie under one parent directory at the top of the hierarchy, not under
//! the control plane's own group: a service manager that ends the service must not end machines.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Host, Kind, Result, Spec};

const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// In microseconds; the kernel's default.
const PERIOD: u64 = 100_000;
const MIB: u64 = 1 << 20;

/// What a machine's group may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In bytes: the guest's memory and what QEMU itself needs.
    pub memory: u64,
    pub cpus: u32,
    /// Processes and threads.
    pub tasks: u32,
}

impl Limits {
    /// For QEMU with this machine. The margin is QEMU's heap and buffers, under emulation also
    /// its buffer of translated code (256 MiB), and page tables in proportion.
    #[must_use]
    pub fn of(host: &Host, spec: &Spec) -> Self {
        let code = if host.accelerator.kind == Kind::Tcg { 256 * MIB } else { 0 };
        Self {
            memory: spec.memory + spec.memory / 64 + code + 160 * MIB,
            // One more than the guest has: QEMU's own threads (its loop, disks, a resume) work beside the processors, and
            // would stop them, with their share of time used up, for most of each period.
            cpus: spec.cpus + 1,
            // A thread per processor, up to 64 for disk I/O, and a few of QEMU's own.
            tasks: spec.cpus + 96,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where this host lets groups be made. Found once, used for every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    version: Version,
    /// Controller → directory under which a machine's directory is made.
    dirs: BTreeMap<&'static str, PathBuf>,
}

impl Parent {
    /// Finds a place where groups can be made, limited and joined, by doing it, and makes the
    /// parent `name` there. The error says what is missing; machines then run without.
    pub fn detect(name: &str) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let candidates = candidates(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let mut why = String::from("no cgroup hierarchy with memory, cpu and pids is mounted");
        for (version, bases) in candidates {
            let dirs = bases.iter().map(|(controller, base)| (*controller, base.join(name))).collect();
            let parent = Self { version, dirs };
            match parent.prove(&bases) {
                Ok(()) => return Ok(parent),
                Err(error) => why = error.to_string(),
            }
        }
        Err(Error::Missing {
            what: format!("a place for control groups ({why})"),
            mend: "run as root, or in a service with Delegate=yes; until then the memory, processor time \
                   and tasks of QEMU are not limited"
                .into(),
        })
    }

    /// Makes a group, lets a child join it, and removes it.
    fn prove(&self, bases: &BTreeMap<&'static str, PathBuf>) -> Result<()> {
        for (base, dir) in bases.values().zip(self.dirs.values()) {
            delegate(base);
            make(dir)?;
            delegate(dir);
        }
        let probe = format!("probe-{}", std::process::id());
        let dirs = self.create(&probe, Limits { memory: 64 * MIB, cpus: 1, tasks: 8 });
        let joined = dirs.and_then(|dirs| {
            // Waits for input that never comes; ends when the pipe is closed, whatever happens to us.
            let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
            let mut child = child.map_err(|e| Error::io("run", "cat", e))?;
            let joined = i32::try_from(child.id()).map_or(Ok(()), |pid| join(&dirs, pid));
            let _ = child.kill();
            let _ = child.wait();
            joined
        });
        let removed = remove(&self.groups(&probe));
        joined.and(removed)
    }

    /// The directories of a machine's group; one in version 2, one per controller in version 1.
    pub(crate) fn groups(&self, machine: &str) -> Vec<PathBuf> {
        let mut groups: Vec<PathBuf> = self.dirs.values().map(|dir| dir.join(machine)).collect();
        groups.dedup();
        groups
    }

    /// Makes the group of a machine, or changes the limits of the one there is.
    pub(crate) fn create(&self, machine: &str, limits: Limits) -> Result<Vec<PathBuf>> {
        let groups = self.groups(machine);
        for group in &groups {
            make(group)?;
        }
        for (controller, file, value) in settings(self.version, limits) {
            let Some(parent) = self.dirs.get(controller) else { continue };
            let path = parent.join(machine).join(file);
            fs::write(&path, value).map_err(|e| Error::io("set", &path, e))?;
        }
        Ok(groups)
    }
}

fn settings(version: Version, limits: Limits) -> Vec<(&'static str, &'static str, String)> {
    let (memory, tasks) = (limits.memory.to_string(), limits.tasks.to_string());
    let quota = u64::from(limits.cpus) * PERIOD;
    match version {
        Version::One => vec![
            ("memory", "memory.limit_in_bytes", memory),
            ("cpu", "cpu.cfs_period_us", PERIOD.to_string()),
            ("cpu", "cpu.cfs_quota_us", quota.to_string()),
            ("pids", "pids.max", tasks),
        ],
        Version::Two => vec![
            ("memory", "memory.max", memory),
            ("cpu", "cpu.max", format!("{quota} {PERIOD}")),
            ("pids", "pids.max", tasks),
        ],
    }
}

/// Puts a process into a group.
pub(crate) fn join(groups: &[PathBuf], pid: i32) -> Result<()> {
    for group in groups {
        let procs = group.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).map_err(|e| Error::io("join", &procs, e))?;
    }
    Ok(())
}

/// Removes a group whose processes have ended. One that is gone already is fine.
pub(crate) fn remove(groups: &[PathBuf]) -> Result<()> {
    for group in groups {
        // The kernel lets go of an ended process a moment after it was waited for.
        for attempt in 0.. {
            match fs::remove_dir(group) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && attempt < 1000 => {
                    std::thread::yield_now();
                }
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", group, error));
                }
                _ => break,
            }
        }
    }
    Ok(())
}

fn make(dir: &Path) -> Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io("create", dir, error))
        }
        _ => Ok(()),
    }
}

/// Version 2: hands the controllers on to the groups below. What does not work shows in `prove`.
fn delegate(dir: &Path) {
    let control = dir.join("cgroup.subtree_control");
    if control.exists() {
        for controller in CONTROLLERS {
            let _ = fs::write(&control, format!("+{controller}"));
        }
    }
}

type Candidate = (Version, BTreeMap<&'static str, PathBuf>);

/// Directories under which the parent might be made, best first: the tops of the hierarchies,
/// then (for users without rights there) the caller's groups from the outermost inwards. From
/// the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` (cgroups(7)).
fn candidates(mountinfo: &str, own: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut one: Vec<(&str, PathBuf, PathBuf)> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(point)) = (left.next(), left.next()) else { continue };
        let (kind, options) = (right.split(' ').next(), right.split(' ').next_back().unwrap_or_default());
        let point = Path::new(point);
        match kind {
            Some("cgroup2") => {
                let inner = own_group(own, "", root);
                let mut chain: Vec<&Path> = inner.ancestors().collect();
                chain.reverse();
                for step in chain {
                    let base = point.join(step);
                    found.push((Version::Two, CONTROLLERS.map(|c| (c, base.clone())).into()));
                }
            }
            Some("cgroup") => {
                for controller in CONTROLLERS.iter().filter(|c| options.split(',').any(|o| o == **c)) {
                    let inner = own_group(own, controller, root);
                    one.push((controller, point.to_path_buf(), point.join(inner)));
                }
            }
            _ => {}
        }
    }
    let has_all = CONTROLLERS.iter().all(|c| one.iter().any(|(name, ..)| name == c));
    if has_all {
        let collect = |inner: bool| -> BTreeMap<&'static str, PathBuf> {
            let pick = |c: &&'static str| {
                let (_, top, own) = one.iter().find(|(name, ..)| name == c)?;
                Some((*c, if inner { own.clone() } else { top.clone() }))
            };
            CONTROLLERS.iter().filter_map(pick).collect()
        };
        found.extend([(Version::One, collect(false)), (Version::One, collect(true))]);
    }
    found
}

/// The caller's group in a hierarchy, relative to its mount point whose root is `root`.
fn own_group(own: &str, controller: &str, root: &str) -> PathBuf {
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        names.split(',').any(|name| name == controller).then_some(path)
    });
    let path = Path::new(path.unwrap_or("/"));
    let inner = path.strip_prefix(root).or_else(|_| path.strip_prefix("/")).unwrap_or(Path::new(""));
    inner.to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found() {
        let pure = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = candidates(pure, "0::/user.slice/a.scope\n");
        let dirs: Vec<_> = found.iter().map(|(_, dirs)| dirs["cpu"].to_str().unwrap()).collect();
        let base = "/sys/fs/cgroup";
        assert_eq!(
            dirs,
            [format!("{base}/"), format!("{base}/user.slice"), format!("{base}/user.slice/a.scope")]
        );

        let hybrid = "1 2 0:1 / /c/memory rw - cgroup cgroup rw,memory\n\
                      1 2 0:2 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      1 2 0:3 /box /c/pids rw - cgroup cgroup rw,pids\n\
                      1 2 0:4 / /c/unified rw - cgroup2 cgroup2 rw\n";
        let found = candidates(hybrid, "3:pids:/box/in\n2:cpu,cpuacct:/\n1:memory:/m\n0::/\n");
        assert_eq!(found.len(), 3, "version 2 first; it may lack controllers");
        assert_eq!(found[1].1["memory"], Path::new("/c/memory"));
        assert_eq!(found[2].1["memory"], Path::new("/c/memory/m"));
        assert_eq!(found[2].1["pids"], Path::new("/c/pids/in"));
        assert!(candidates("", "").is_empty());
    }

    #[test]
    fn limits_follow_the_machine() {
        let limits = Limits { memory: 7, cpus: 2, tasks: 9 };
        let two = settings(Version::Two, limits);
        assert!(two.contains(&("cpu", "cpu.max", "200000 100000".into())), "{two:?}");
        let one = settings(Version::One, limits);
        assert!(one.contains(&("cpu", "cpu.cfs_quota_us", "200000".into())), "{one:?}");
    }
}
