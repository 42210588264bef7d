//! The start of a machine, resumed or cold, from nothing to "it said who it is".
//!
//! A start can be cut off anywhere, together with the control plane. So it leaves a mark first
//! (`starting`) and takes it away last; who finds the mark, holding the machine's lock, knows
//! that nobody is at work and that whatever runs is a ruin.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::args::{self, AGENT_SOCKET, DISK, PID_FILE, SERIAL_LOG, SERIAL_SOCKET, Start, UEFI_VARS};
use crate::cgroup::{self, Limits};
use crate::durable::{self, blocking};
use crate::launch::{self, Inherit};
use crate::process::Process;
use crate::vm::BORN;
use crate::{Boot, Error, Facts, Identity, Launch, Net, Result, Template, User, Vm, disk};

const STARTING: &str = "starting";
/// In the mark of a machine that was never ready before.
const FIRST: &str = "first";
const GROUPS: &str = "cgroups";

impl Vm {
    /// Whether it was ready once: its disk holds a life of its own.
    #[must_use]
    pub fn is_born(&self) -> bool {
        self.dir.join(BORN).exists() && !self.starts_first()
    }

    /// Whether a start is under way, or was cut off: then what runs may have no identity, and
    /// the next [`Vm::resume`] or [`Vm::cold_boot`] clears it away and begins anew.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.dir.join(STARTING).exists()
    }

    fn starts_first(&self) -> bool {
        fs::read_to_string(self.dir.join(STARTING)).is_ok_and(|text| text == FIRST)
    }

    /// Resumes a machine that was never ready before from a template, tells it who it is, and
    /// returns once it confirmed: its own keys, ids, address and random state are in force and
    /// sshd listens. On failure nothing runs and it may be called again.
    pub async fn resume(
        &self,
        template: &Template,
        identity: &Identity,
        launch: Launch,
        patience: Duration,
    ) -> Result<Facts> {
        let since = Instant::now();
        let deadline = since + patience;
        identity.check()?;
        let _lock = self.lock().await?;
        self.begin("resumed").await?;
        if self.is_born() {
            self.mark(false)?;
            return Err(Error::Conflict(format!(
                "machine {} has been in use; resuming would put old memory over its disk",
                self.spec.name
            )));
        }
        let prepared = async {
            // An earlier attempt may have written to the disk.
            template.disk_over(self.img(), &self.disk_path(), self.spec.disk).await?;
            let (start, inherit) = template.memory(&self.host).await?;
            self.give_away(launch.user)?;
            self.spawn(&start, launch, inherit).await
        };
        let process = prepared.await.or_else(|error| self.unmark(error))?;
        let resumed = async {
            let (mut qmp, mut agent) =
                tokio::try_join!(self.qmp(deadline, &process), self.agent(deadline, &process))?;
            let capability = json!([{"capability": "x-ignore-shared", "state": true}]);
            qmp.run("migrate-set-capabilities", json!({"capabilities": capability})).await?;
            let uri = template.state_uri(&self.host);
            qmp.run("migrate-incoming", json!({"uri": uri})).await?;
            qmp.migrated(deadline).await?;
            // The identity waits in the channel when the processor starts.
            let (number, _) =
                tokio::try_join!(agent.send_identity(identity, since, deadline), qmp.run("cont", json!({})))?;
            // Later looks at the machine need the monitor.
            drop(qmp);
            self.or_death(&process, agent.answer("identity", number, deadline)).await
        };
        let resumed = resumed.await;
        self.settle(&process, resumed).await.map_err(|error| error.within(patience))
    }

    /// Boots the machine from its disk, made from the image if it has none yet. With an agent
    /// in the image (`Boot::Kernel`) an identity is given and confirmed as in [`Vm::resume`];
    /// without one this returns as soon as the processor runs.
    pub async fn cold_boot(
        &self,
        identity: Option<&Identity>,
        launch: Launch,
        patience: Duration,
    ) -> Result<Facts> {
        let since = Instant::now();
        let deadline = since + patience;
        identity.map_or(Ok(()), Identity::check)?;
        let _lock = self.lock().await?;
        self.begin("started").await?;
        let prepared = async {
            if !self.is_born() {
                self.disk_make(&self.spec.image, self.spec.image_format).await?;
            }
            self.firmware_make()?;
            self.give_away(launch.user)?;
            self.spawn(&Start::Cold, launch, Inherit::default()).await
        };
        let process = prepared.await.or_else(|error| self.unmark(error))?;
        let booted = async {
            // It answers once it has set up all devices: until then it may still refuse.
            drop(self.qmp(deadline, &process).await?);
            let Some(identity) = identity else { return Ok(Facts::default()) };
            let mut agent = self.agent(deadline, &process).await?;
            self.or_death(&process, agent.wait_for_guest(deadline)).await?;
            let number = agent.send_identity(identity, since, deadline).await?;
            self.or_death(&process, agent.answer("identity", number, deadline)).await
        };
        let booted = booted.await;
        self.settle(&process, booted).await.map_err(|error| error.within(patience))
    }

    /// Clears a start that was cut off and marks this one. Only under the machine's lock.
    async fn begin(&self, what: &str) -> Result<()> {
        if self.is_starting() {
            if let Some(process) = self.process() {
                process.kill();
                process.ended().await?;
            }
            if self.starts_first() {
                self.remove(BORN)?;
            }
            self.remove(STARTING)?;
        }
        self.refuse_if_running(what)?;
        self.mark(true)
    }

    /// The mark need not survive a power cut: nothing runs after one.
    fn mark(&self, on: bool) -> Result<()> {
        if !on {
            return self.remove(STARTING);
        }
        let path = self.dir.join(STARTING);
        let text = if self.is_born() { "" } else { FIRST };
        fs::write(&path, text).map_err(|e| Error::io("write", &path, e))
    }

    fn unmark<T>(&self, error: Error) -> Result<T> {
        self.mark(false)?;
        Err(self.explain(error))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.dir.join(name);
        durable::remove_file(&path).map_err(|e| Error::io("remove", &path, e))
    }

    /// Writes down a success; ends the process after a failure, so that a retry finds nothing.
    async fn settle(&self, process: &Process, started: Result<Facts>) -> Result<Facts> {
        let done = started.and_then(|facts| {
            if self.starts_first() {
                durable::write(&self.dir.join(BORN), 0o644, b"")?;
            }
            Ok(facts)
        });
        if done.is_err() {
            process.kill();
            process.ended().await?;
        }
        self.mark(false)?;
        done.map_err(|error| self.explain(error))
    }

    async fn disk_make(&self, base: &Path, format: disk::Format) -> Result<()> {
        let size = Some(self.spec.disk);
        disk::overlay(self.img(), base, format, &self.disk_path(), size).await
    }

    fn firmware_make(&self) -> Result<()> {
        let Boot::Firmware { uefi: true } = self.spec.boot else { return Ok(()) };
        let missing = || Error::Missing {
            what: "UEFI firmware for machines (OVMF)".into(),
            mend: "install it with: apt-get install ovmf".into(),
        };
        let vars = self.host.uefi_vars.as_ref().ok_or_else(missing)?;
        let path = self.dir.join(UEFI_VARS);
        if path.exists() {
            return Ok(());
        }
        let text = fs::read(vars).map_err(|e| Error::io("read", vars, e))?;
        durable::write(&path, 0o600, &text)
    }

    /// Gives the user what QEMU must write to. The directory stays the caller's, sticky: QEMU
    /// may add sockets to it and cannot put anything in the place of the caller's own files.
    fn give_away(&self, user: Option<User>) -> Result<()> {
        let log = self.dir.join(SERIAL_LOG);
        let made = fs::OpenOptions::new().create_new(true).append(true).mode(0o640).open(&log);
        match made {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", &log, error));
            }
            _ => {}
        }
        let names = [DISK, UEFI_VARS, SERIAL_LOG];
        let paths: Vec<_> = names.iter().map(|name| self.dir.join(name)).collect();
        launch::own(&paths, user)?;
        share_dir(&self.dir, user)
    }

    /// Starts QEMU; what an earlier process left behind is removed first.
    pub(crate) async fn spawn(&self, start: &Start, launch: Launch, inherit: Inherit) -> Result<Process> {
        if self.spec.net == Net::Tap && launch.tap.is_none() && !matches!(start, Start::Template { .. }) {
            return Err(Error::Invalid("a machine on a tap needs the tap at launch".into()));
        }
        for name in [args::QMP_SOCKET, AGENT_SOCKET, SERIAL_SOCKET, PID_FILE] {
            self.remove(name)?;
        }
        let groups = match &launch.limits {
            Some(parent) => {
                // Written down before they exist, so that they are found whatever happens next.
                let text: Vec<String> =
                    parent.groups(&self.spec.uuid).iter().map(|g| g.display().to_string()).collect();
                let path = self.dir.join(GROUPS);
                fs::write(&path, text.join("\n")).map_err(|e| Error::io("write", &path, e))?;
                parent.create(&self.spec.uuid, Limits::of(&self.host, &self.spec))?
            }
            None => Vec::new(),
        };
        let command = args::command(&self.host, &self.spec, &self.dir, start);
        blocking(move || launch.spawn(&command, inherit, &groups)).await
    }

    /// Removes the control group of a machine that has ended.
    pub(crate) fn groups_remove(&self) -> Result<()> {
        let text = fs::read_to_string(self.dir.join(GROUPS)).unwrap_or_default();
        let groups: Vec<_> = text.lines().map(Into::into).collect();
        cgroup::remove(&groups)
    }
}

/// Lets QEMU's user make files in a directory of the caller, and nobody else look in.
pub(crate) fn share_dir(dir: &Path, user: Option<User>) -> Result<()> {
    let Some(User { gid, .. }) = user else { return Ok(()) };
    chown(dir, Some(0), Some(gid)).map_err(|e| Error::io("share", dir, e))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o1770)).map_err(|e| Error::io("share", dir, e))
}
