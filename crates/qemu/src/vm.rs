//! One machine: its directory, its process, and the steps of its life.
//!
//! Each step may be cut off anywhere and be called again. What has been reached is told by
//! files that appear by a rename: `machine.json` (it exists), `disk.qcow2` (it has a disk),
//! `born` (it was once ready; from then on its disk is kept and it is never resumed again).

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::agent::Agent;
use crate::args::{AGENT_SOCKET, DISK, PID_FILE, SERIAL_LOG, SERIAL_SOCKET};
use crate::durable::{self, Lock, blocking};
use crate::launch;
use crate::process::Process;
use crate::qmp::{Qmp, SocketDir};
use crate::{Accelerator, Boot, Error, Facts, Identity, Qemu, Result, Spec, disk, probe};

const SPEC: &str = "machine.json";
pub(crate) const BORN: &str = "born";
const LOCK: &str = "lock";

/// What this host offers. Found out once, passed everywhere.
#[derive(Debug, Clone)]
pub struct Host {
    pub qemu: Qemu,
    pub accelerator: Accelerator,
    /// OVMF's code, for machines that boot by UEFI.
    pub uefi_code: Option<PathBuf>,
    pub uefi_vars: Option<PathBuf>,
}

impl Host {
    /// Finds QEMU and probes the accelerator (up to three seconds).
    pub async fn detect() -> Result<Self> {
        let qemu = Qemu::detect().await?;
        let accelerator = probe::accelerator(&qemu).await;
        Ok(Self::with(qemu, accelerator))
    }

    /// Groups that QEMU needs beside its own: the one that owns `/dev/kvm`, where KVM is used.
    #[must_use]
    pub fn groups(&self) -> Vec<u32> {
        use std::os::unix::fs::MetadataExt;
        match self.accelerator.kind {
            crate::Kind::Kvm => fs::metadata("/dev/kvm").map(|device| vec![device.gid()]).unwrap_or_default(),
            crate::Kind::Tcg => Vec::new(),
        }
    }

    /// Takes an accelerator that was probed before.
    #[must_use]
    pub fn with(qemu: Qemu, accelerator: Accelerator) -> Self {
        let pairs = [
            ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
            ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ];
        let found = pairs.iter().find(|(c, v)| Path::new(c).exists() && Path::new(v).exists());
        Self {
            qemu,
            accelerator,
            uefi_code: found.map(|(code, _)| code.into()),
            uefi_vars: found.map(|(_, vars)| vars.into()),
        }
    }
}

/// What the kernel and QEMU say of a machine, right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Stopped,
    Running {
        pid: i32,
    },
    /// Alive but not executing: `state` is QEMU's word, such as `paused`, `io-error` (the host's
    /// disk is full), `internal-error`, `inmigrate`.
    Halted {
        pid: i32,
        state: String,
    },
    /// The process lives and its monitor does not answer.
    Silent {
        pid: i32,
    },
}

impl Status {
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Stopped => None,
            Self::Running { pid } | Self::Halted { pid, .. } | Self::Silent { pid } => Some(*pid),
        }
    }
}

/// A machine's handle. Holds no process and no socket: it may be made and dropped at will.
#[derive(Debug, Clone)]
pub struct Vm {
    pub dir: PathBuf,
    pub spec: Spec,
    pub(crate) host: Host,
}

impl Vm {
    /// Makes the machine's directory and writes down what it is. Calling it again with another
    /// description changes the description, which a stopped machine only may have done
    /// (cpus, memory, a larger disk, network, seed; never the image).
    pub async fn create(host: &Host, dir: &Path, spec: &Spec) -> Result<Self> {
        spec.check()?;
        let vm = Self::unsaved(host.clone(), dir.to_path_buf(), spec.clone());
        make_dir(dir)?;
        let _lock = vm.lock().await?;
        if let Some(old) = Self::open(host, dir)? {
            if old.spec == *spec {
                return Ok(old);
            }
            old.refuse_if_running("changed")?;
            if old.spec.image != spec.image || old.spec.uuid != spec.uuid {
                return Err(Error::Conflict(format!(
                    "machine {} exists with another image or uuid; delete it first",
                    spec.name
                )));
            }
            let disk = dir.join(DISK);
            if disk.exists() {
                disk::grow(&host.qemu.img, &disk, spec.disk).await?;
            }
        }
        vm.save()?;
        Ok(vm)
    }

    /// The machine of a directory by a description that the caller keeps: nothing that lies in the directory, which may
    /// belong to the user that QEMU runs as, is believed. The directory must exist.
    pub fn at(host: &Host, dir: &Path, spec: Spec) -> Result<Self> {
        spec.check()?;
        Ok(Self::unsaved(host.clone(), dir.to_path_buf(), spec))
    }

    /// Makes the disk, if there is one, as large as the description says. The machine must be stopped.
    pub async fn grow(&self) -> Result<()> {
        let _lock = self.lock().await?;
        self.refuse_if_running("given a larger disk")?;
        let disk = self.disk_path();
        if disk.exists() { disk::grow(self.img(), &disk, self.spec.disk).await } else { Ok(()) }
    }

    /// The machine of a directory, whoever made it and whenever. None if there is none, or one
    /// whose making was cut off before it was described.
    pub fn open(host: &Host, dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(SPEC);
        let Some(text) = durable::read(&path)? else { return Ok(None) };
        let spec: Spec =
            serde_json::from_slice(&text).map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))?;
        spec.check()?;
        Ok(Some(Self::unsaved(host.clone(), dir.to_path_buf(), spec)))
    }

    pub(crate) fn unsaved(host: Host, dir: PathBuf, spec: Spec) -> Self {
        Self { dir, spec, host }
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.spec).map_err(|e| Error::Invalid(e.to_string()))?;
        durable::write(&self.dir.join(SPEC), 0o644, &text)
    }

    /// Asks the kernel, then QEMU. Never changes anything.
    pub async fn status(&self) -> Status {
        let Some(process) = self.process() else { return Status::Stopped };
        let pid = process.pid;
        let deadline = Instant::now() + Duration::from_secs(2);
        let asked =
            timeout_at(deadline, async { self.qmp(deadline, &process).await?.run_state().await }).await;
        match asked {
            _ if process.has_ended() => Status::Stopped,
            Ok(Ok(state)) if state == "running" => Status::Running { pid },
            Ok(Ok(state)) => Status::Halted { pid, state },
            Ok(Err(_)) | Err(_) => Status::Silent { pid },
        }
    }

    /// Gives a running machine its identity again, after a change or to be sure.
    pub async fn identity(&self, identity: &Identity, patience: Duration) -> Result<Facts> {
        identity.check()?;
        let since = Instant::now();
        let deadline = since + patience;
        let process = self.running()?;
        let mut agent = self.agent(deadline, &process).await?;
        let number = agent.send_identity(identity, since, deadline).await?;
        let answer = self.or_death(&process, agent.answer("identity", number, deadline)).await;
        answer.map_err(|error| error.within(patience))
    }

    /// Asks the guest what it is: boot id, machine id, host key.
    pub async fn facts(&self, patience: Duration) -> Result<Facts> {
        self.ask("info", patience).await
    }

    /// Asks the guest to restart itself. Its QEMU stays.
    pub async fn reboot(&self, patience: Duration) -> Result<()> {
        self.ask("reboot", patience).await.map(drop)
    }

    pub(crate) async fn ask(&self, verb: &str, patience: Duration) -> Result<Facts> {
        let deadline = Instant::now() + patience;
        let process = self.running()?;
        let mut agent = self.agent(deadline, &process).await?;
        let answer = self.or_death(&process, agent.ask(verb, deadline)).await;
        answer.map_err(|error| error.within(patience))
    }

    /// Asks the guest to power off, through the agent and the ACPI button; kills it when
    /// `grace` is over. True if it went by itself.
    pub async fn shutdown(&self, grace: Duration) -> Result<bool> {
        let Some(process) = self.process() else { return Ok(true) };
        let deadline = Instant::now() + grace;
        let asked = async {
            if let Ok(mut qmp) = self.qmp(deadline, &process).await {
                let _ = qmp.run("system_powerdown", json!({})).await;
            }
            if matches!(self.spec.boot, Boot::Kernel { .. })
                && let Ok(mut agent) = self.agent(deadline, &process).await
            {
                let _ = agent.send("poweroff", deadline).await;
            }
            process.ended().await
        };
        match timeout_at(deadline, asked).await {
            Ok(ended) => ended.map(|()| true),
            Err(_) => self.kill().await.map(|()| false),
        }
    }

    /// Ends the machine as if its power was cut. One that is stopped already is fine.
    pub async fn kill(&self) -> Result<()> {
        let Some(process) = self.process() else { return Ok(()) };
        // Quitting lets QEMU write back what the guest had flushed.
        let quit = async {
            let deadline = Instant::now() + Duration::from_secs(2);
            self.qmp(deadline, &process).await?.run("quit", json!({})).await?;
            process.ended().await
        };
        if !matches!(timeout(Duration::from_secs(3), quit).await, Ok(Ok(()))) {
            process.kill();
        }
        process.ended().await
    }

    /// Returns when the machine's process ends; at once if there is none.
    pub async fn wait_exit(&self) -> Result<()> {
        match self.process() {
            Some(process) => process.ended().await,
            None => Ok(()),
        }
    }

    /// Lets a halted machine go on, for instance after room was made on a full disk.
    pub async fn unpause(&self) -> Result<()> {
        let process = self.running()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        self.qmp(deadline, &process).await?.run("cont", json!({})).await.map(drop)
    }

    /// Ends the machine and removes its directory. One that is gone already is fine.
    pub async fn delete(self) -> Result<()> {
        if !self.dir.exists() {
            return Ok(());
        }
        let _lock = self.lock().await?;
        self.kill().await?;
        self.groups_remove()?;
        // The description goes first: what is left is then no machine, only ruins.
        let spec = self.dir.join(SPEC);
        durable::remove_file(&spec).map_err(|e| Error::io("remove", &spec, e))?;
        blocking(move || durable::remove_tree(&self.dir)).await
    }

    /// A connection to the serial console. One at a time; the next waits.
    pub async fn console(&self) -> Result<UnixStream> {
        let process = self.running()?;
        let deadline = Instant::now() + Duration::from_secs(5);
        let sockets = SocketDir::open(&self.dir)?;
        sockets.connect(SERIAL_SOCKET, deadline, || !process.has_ended()).await
    }

    /// The last lines of the serial console, of this start and earlier ones.
    pub fn serial_tail(&self, lines: usize) -> Result<Vec<String>> {
        crate::snapshot::tail(&self.dir.join(SERIAL_LOG), lines)
    }

    /// Cuts the serial log down to its newer half once it is larger than `limit` bytes. QEMU
    /// appends, so that it goes on writing behind what is left.
    pub fn serial_trim(&self, limit: u64) -> Result<()> {
        crate::snapshot::trim(&self.dir.join(SERIAL_LOG), limit)
    }

    // ---- parts -----------------------------------------------------------------------------

    pub(crate) fn process(&self) -> Option<Process> {
        Process::find(&self.spec.uuid, &self.dir.join(PID_FILE))
    }

    pub(crate) fn running(&self) -> Result<Process> {
        self.process().ok_or_else(|| Error::Conflict(format!("machine {} is not running", self.spec.name)))
    }

    pub(crate) fn refuse_if_running(&self, what: &str) -> Result<()> {
        match self.process() {
            None => Ok(()),
            Some(process) => Err(Error::Conflict(format!(
                "machine {} runs (process {}) and cannot be {what}; stop it first",
                self.spec.name, process.pid
            ))),
        }
    }

    pub(crate) async fn lock(&self) -> Result<Lock> {
        Lock::acquire(&self.dir.join(LOCK)).await
    }

    pub(crate) fn disk_path(&self) -> PathBuf {
        self.dir.join(DISK)
    }

    pub(crate) fn img(&self) -> &Path {
        &self.host.qemu.img
    }

    pub(crate) async fn qmp(&self, deadline: Instant, process: &Process) -> Result<Qmp> {
        let sockets = SocketDir::open(&self.dir)?;
        Qmp::connect(&sockets, deadline, || !process.has_ended()).await
    }

    pub(crate) async fn agent(&self, deadline: Instant, process: &Process) -> Result<Agent> {
        let sockets = SocketDir::open(&self.dir)?;
        let stream = sockets.connect(AGENT_SOCKET, deadline, || !process.has_ended()).await?;
        let seed = u64::from(stream.peer_cred().ok().and_then(|c| c.pid()).unwrap_or(0).unsigned_abs());
        Ok(Agent::new(stream, seed))
    }

    /// Waits for something that a dead or halted QEMU would never deliver.
    pub(crate) async fn or_death<T>(
        &self,
        process: &Process,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            done = work => done,
            _ = process.ended() => Err(Error::Qemu { what: "ended".into(), tail: String::new() }),
            error = self.halted(process) => Err(error),
        }
    }

    /// Looks now and then whether QEMU stopped the guest for good; never returns while it runs.
    async fn halted(&self, process: &Process) -> Error {
        loop {
            sleep(Duration::from_secs(1)).await;
            // Waits in vain while somebody else has the monitor.
            let deadline = Instant::now() + Duration::from_secs(5);
            let asked = timeout_at(deadline, async { self.qmp(deadline, process).await?.run_state().await });
            match asked.await {
                // The only I/O error on which QEMU halts by default is a full disk.
                Ok(Ok(state)) if state == "io-error" => return Error::NoSpace { path: self.dir.clone() },
                Ok(Ok(state)) if state == "internal-error" => {
                    return Error::Qemu { what: format!("halted: {state}"), tail: String::new() };
                }
                _ => {}
            }
        }
    }

    /// Adds what QEMU printed to an error that may come from its end.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let mut tail = launch::log_tail(&self.dir);
        if tail.contains("Permission denied") {
            tail.push_str(
                " (the user QEMU runs as must be able to enter every directory above the machine, its image and \
                 its template, and to read the image, the kernel and the template)",
            );
        }
        match error {
            Error::Qemu { .. } | Error::Io { .. } if crate::error::says_no_space(&tail) => {
                Error::NoSpace { path: self.dir.clone() }
            }
            Error::Qemu { what, tail: _ } if !tail.is_empty() => Error::Qemu { what, tail },
            Error::Io { doing: "connect to", .. } if !tail.is_empty() => {
                Error::Qemu { what: "did not start".into(), tail }
            }
            other => other,
        }
    }
}

/// Closed to everybody but its owner: sockets in it give full control of the machine.
fn make_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| Error::io("create", dir, e))
}
