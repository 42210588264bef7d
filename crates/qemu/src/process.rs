//! One QEMU process, found again from its directory alone.
//!
//! A process id by itself proves nothing: it may have been given to another program since. So a
//! process is ours only if its command line names this machine's uuid *and* this machine's pid
//! file, checked while a pidfd holds on to that very process. Signals go through the pidfd.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{Error, Result};

/// A live process, held by a pidfd.
#[derive(Debug)]
pub(crate) struct Process {
    pub pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// The process that runs the machine of this directory, if there is one.
    ///
    /// First what the pid file says; if that leads nowhere, all processes, because a control
    /// plane may have died between starting QEMU and QEMU writing the file.
    pub(crate) fn find(uuid: &str, pid_file: &Path) -> Option<Self> {
        let written = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse().ok());
        if let Some(found) = written.and_then(|pid| Self::check(pid, uuid, pid_file)) {
            return Some(found);
        }
        fs::read_dir("/proc")
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .find_map(|pid| Self::check(pid, uuid, pid_file))
    }

    /// This process, if it is the machine with this uuid and pid file.
    fn check(pid: i32, uuid: &str, pid_file: &Path) -> Option<Self> {
        let process = Self::hold(pid)?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        matches(&line, uuid, pid_file).then_some(process)
    }

    /// Holds on to a process that is known to be ours: a child not yet waited for.
    pub(crate) fn hold(pid: i32) -> Option<Self> {
        let fd = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Self { pid, fd })
    }

    /// Sends SIGKILL. A process that is gone already is fine.
    pub(crate) fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.fd, Signal::KILL);
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let ended = matches!(poll(&mut fds, Some(&none)), Ok(n) if n > 0);
        if ended {
            self.reap();
        }
        ended
    }

    /// Returns when the process has ended, however it ended.
    pub(crate) async fn ended(&self) -> Result<()> {
        let fd = self.fd.try_clone().map_err(|e| Error::io("watch", "/proc", e))?;
        #[expect(
            deprecated,
            reason = "sound for an OwnedFd, which is never swapped or closed early; the new form is unsafe"
        )]
        let watch =
            AsyncFd::with_interest(fd, Interest::READABLE).map_err(|e| Error::io("watch", "/proc", e))?;
        let _ = watch.readable().await.map_err(|e| Error::io("watch", "/proc", e))?;
        self.reap();
        Ok(())
    }

    /// Collects the exit status if it is our child; one that is not needs no collecting.
    fn reap(&self) {
        use std::os::fd::AsFd;
        let _ = rustix::process::waitid(
            WaitId::PidFd(self.fd.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
    }
}

/// Whether a command line (NUL separated) has `-uuid UUID` and `-pidfile FILE`.
fn matches(line: &[u8], uuid: &str, pid_file: &Path) -> bool {
    let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let has = |name: &[u8], value: &[u8]| {
        args.windows(2).any(|pair| matches!(pair, [n, v] if *n == name && *v == value))
    };
    has(b"-uuid", uuid.as_bytes()) && has(b"-pidfile", pid_file.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_machine_matches() {
        let line = b"qemu\0-uuid\0u-1\0-pidfile\0/m/1/qemu.pid\0";
        assert!(matches(line, "u-1", Path::new("/m/1/qemu.pid")));
        assert!(!matches(line, "u-2", Path::new("/m/1/qemu.pid")));
        assert!(!matches(line, "u-1", Path::new("/m/2/qemu.pid")));
        assert!(!matches(b"", "u-1", Path::new("/m/1/qemu.pid")));
    }

    #[test]
    fn a_recycled_pid_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("qemu.pid");
        fs::write(&file, std::process::id().to_string()).unwrap();
        assert!(Process::find("0b6f0a52-0000-4000-8000-000000000000", &file).is_none());
    }

    #[tokio::test]
    async fn death_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = Process::hold(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!process.has_ended());
        process.kill();
        tokio::time::timeout(std::time::Duration::from_secs(5), process.ended()).await.unwrap().unwrap();
        assert!(process.has_ended());
        let _ = child.wait();
    }
}
