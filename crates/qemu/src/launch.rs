//! Starts QEMU so that it has few rights and outlives whoever started it.
//!
//! It runs in a session of its own (a closed terminal or Ctrl-C does not reach it), as another
//! user when the caller is root, without capabilities, without a way to gain any, inside the
//! caller's control group, and with the descriptors it was given and no others.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Resource, Rlimit};

use crate::args::{CommandSpec, MEMORY_FD, STATE_FD, TAP_FD};
use crate::process::Process;
use crate::{Error, Result, cgroup, durable, version};

/// The user a machine runs as. Only root can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// How to start QEMU. The default starts it as the caller, with no limits but the built-in ones.
#[derive(Debug, Default)]
pub struct Launch {
    /// Drops to this user; the machine's directory is given to it. Needs root.
    pub user: Option<User>,
    /// Further groups, such as the one that owns `/dev/kvm`. Only with `user`.
    pub groups: Vec<u32>,
    /// A control group directory to join; its limits are the caller's matter.
    pub cgroup: Option<PathBuf>,
    /// Makes a control group for this machine, with limits that follow from its description.
    /// It goes with the machine.
    pub limits: Option<cgroup::Parent>,
    /// Put before the command, such as `nsenter --net=FILE --`.
    pub prefix: Vec<OsString>,
    /// The tap for [`crate::Net::Tap`].
    pub tap: Option<OwnedFd>,
}

/// Descriptors of a resume.
#[derive(Debug, Default)]
pub(crate) struct Inherit {
    pub memory: Option<OwnedFd>,
    pub state: Option<OwnedFd>,
}

/// The file that takes QEMU's own messages.
pub(crate) const LOG: &str = "qemu.log";

impl Launch {
    /// The full command with what drops privileges in front.
    fn command(&self, spec: &CommandSpec) -> Result<Command> {
        let util = "install it with: apt-get install util-linux";
        let mut words: Vec<OsString> = Vec::new();
        words.extend(self.prefix.iter().cloned());
        words.push(version::find("setsid", util)?.into());
        words.push(version::find("setpriv", util)?.into());
        words.push("--no-new-privs".into());
        if let Some(User { uid, gid }) = self.user {
            words.push(format!("--reuid={uid}").into());
            words.push(format!("--regid={gid}").into());
            if self.groups.is_empty() {
                words.push("--clear-groups".into());
            } else {
                let list: Vec<String> = self.groups.iter().map(u32::to_string).collect();
                words.push(format!("--groups={}", list.join(",")).into());
            }
            words.push("--inh-caps=-all".into());
            words.push("--bounding-set=-all".into());
        }
        words.push("--".into());
        words.push(spec.program.clone().into());
        words.extend(spec.args.iter().cloned());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir(&spec.dir).stdin(Stdio::null());
        // Nothing of the caller's environment (tokens among it) reaches QEMU.
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(command)
    }

    /// Starts it. Blocking, for a few milliseconds.
    pub(crate) fn spawn(self, spec: &CommandSpec, inherit: Inherit, groups: &[PathBuf]) -> Result<Process> {
        let mut command = self.command(spec)?;
        let log = spec.dir.join(LOG);
        // Made anew: an earlier QEMU must not have chosen what we write to.
        durable::remove_file(&log).map_err(|e| Error::io("remove", &log, e))?;
        let out = fs::File::create_new(&log).map_err(|e| Error::io("create", &log, e))?;
        let err = out.try_clone().map_err(|e| Error::io("open", &log, e))?;
        command.stdout(out).stderr(err);
        let fds = [(self.tap, TAP_FD), (inherit.memory, MEMORY_FD), (inherit.state, STATE_FD)];
        let mappings = fds
            .into_iter()
            .filter_map(|(fd, child_fd)| fd.map(|parent_fd| FdMapping { parent_fd, child_fd }))
            .collect();
        command
            .fd_mappings(mappings)
            .map_err(|e| Error::Invalid(format!("descriptors of the machine: {e}")))?;
        let child = command.spawn().map_err(|e| Error::io("start", command.get_program(), e))?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let process = Process::hold(pid).ok_or_else(|| Error::Qemu {
            what: "could not be watched".into(),
            tail: format!("process {pid}"),
        })?;
        let groups: Vec<PathBuf> = groups.iter().cloned().chain(self.cgroup).collect();
        if let Err(error) = confine(pid, &groups) {
            process.kill();
            return Err(error);
        }
        Ok(process)
    }
}

/// Applies limits from outside: they hold from the first milliseconds on.
fn confine(pid: i32, groups: &[PathBuf]) -> Result<()> {
    let limit = |resource, value| {
        let limits = Rlimit { current: Some(value), maximum: Some(value) };
        rustix::process::prlimit(Pid::from_raw(pid), resource, limits)
    };
    // A core file would hold the guest's memory, and with it its keys.
    for (resource, value) in [(Resource::Core, 0), (Resource::Nofile, 1024)] {
        // Lowering may fail when the caller's own limit is lower already.
        if let Err(error) = limit(resource, value) {
            tracing::debug!(%error, "resource limit not applied");
        }
    }
    cgroup::join(groups, pid)
}

/// Gives files that QEMU writes to the user it will run as.
pub(crate) fn own(paths: &[PathBuf], user: Option<User>) -> Result<()> {
    let Some(User { uid, gid }) = user else { return Ok(()) };
    for path in paths.iter().filter(|path| path.exists()) {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(|e| Error::io("give away", path, e))?;
    }
    Ok(())
}

/// The end of QEMU's messages, for an error.
pub(crate) fn log_tail(dir: &Path) -> String {
    let text = durable::open_plain(&dir.join(LOG)).and_then(|mut file| {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut text).map(|_| text)
    });
    let text = text.unwrap_or_default();
    let start = text.len().saturating_sub(2000);
    String::from_utf8_lossy(text.get(start..).unwrap_or_default()).trim().to_owned()
}
