//! Which accelerator really runs guests here.
//!
//! On some hosts `/dev/kvm` opens, a machine is created, and its processor never executes an
//! instruction, or fails at the first that real kernels need. So the only evidence that counts
//! is a guest that ran, with the processor that machines will have: a ROM (`guest/probe.s`)
//! enters protected mode, turns paging on, loops a million times and writes to QEMU's
//! debug-exit port, and QEMU ends with the status that only this write can cause.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::Qemu;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Kvm,
    /// Emulation: works everywhere, several times slower.
    Tcg,
}

/// The choice, and why, in words for `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    pub kind: Kind,
    pub reason: String,
    /// What was found missing is mended by this; none if nothing can or need be done.
    pub mend: Option<String>,
}

impl Accelerator {
    /// Emulation, because the caller wants it.
    #[must_use]
    pub fn tcg() -> Self {
        Self { kind: Kind::Tcg, reason: "emulation was asked for".into(), mend: None }
    }
}

/// Assembled from `guest/probe.s`.
const CODE: &[u8; 256] = include_bytes!("../guest/probe.bin");
/// The debug-exit device ends QEMU with `(value << 1) | 1` (QEMU's `hw/misc/debugexit.c`).
const EXIT: i32 = (0x15 << 1) | 1;
const PATIENCE: Duration = Duration::from_secs(3);

/// Tries KVM with a real guest, for at most three seconds. Never fails: emulation is the answer
/// where anything else is in doubt. The caller keeps the result; it does not change while a
/// host is up.
pub async fn accelerator(qemu: &Qemu) -> Accelerator {
    let tcg = |reason: String, mend: Option<&str>| Accelerator {
        kind: Kind::Tcg,
        reason,
        mend: mend.map(str::to_owned),
    };
    if !Path::new("/dev/kvm").exists() {
        return tcg(
            "/dev/kvm does not exist".into(),
            Some(
                "enable virtualization in the firmware (or nested virtualization), then: modprobe kvm_intel or kvm_amd",
            ),
        );
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return tcg(
            format!("/dev/kvm cannot be opened: {error}"),
            Some("add the user to the group that owns /dev/kvm: usermod -aG kvm USER"),
        );
    }
    match run(qemu, ["kvm", "host"], PATIENCE).await {
        Ok(()) => Accelerator { kind: Kind::Kvm, reason: "a probe guest ran under KVM".into(), mend: None },
        Err(why) => tcg(format!("/dev/kvm opens, but {why}"), None),
    }
}

/// Runs the probe guest under an accelerator; says what happened if it did not run.
async fn run(qemu: &Qemu, [accelerator, cpu]: [&str; 2], patience: Duration) -> Result<(), String> {
    let rom = Rom::write().map_err(|e| format!("the probe could not be written: {e}"))?;
    let mut command = Command::new(&qemu.program);
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"])
        .args(["-accel", accelerator, "-cpu", cpu, "-m", "64", "-no-reboot"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x01", "-bios"])
        .arg(&rom.0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().map_err(|e| format!("QEMU did not start: {e}"))?;
    match tokio::time::timeout(patience, child.wait_with_output()).await {
        Err(_) => Err(format!("a probe guest did not run within {} s", patience.as_secs())),
        Ok(Err(error)) => Err(format!("the probe was lost: {error}")),
        Ok(Ok(output)) if output.status.code() == Some(EXIT) => Ok(()),
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().last().unwrap_or("the guest did not get through").trim();
            Err(format!("a probe guest failed ({}): {last}", output.status))
        }
    }
}

/// A 64 KiB ROM whose last 256 bytes are the probe guest; removed when dropped.
struct Rom(PathBuf);

impl Rom {
    fn write() -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hafen-probe-{}-{number}", std::process::id()));
        let mut image = vec![0xf4_u8; 65536 - CODE.len()];
        image.extend_from_slice(CODE);
        let _ = std::fs::remove_file(&path);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let rom = Self(path);
        file.write_all(&image)?;
        Ok(rom)
    }
}

impl Drop for Rom {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The host's processor as a guest under KVM sees it: a snapshot must not meet another.
pub(crate) fn host_cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default();
    first
        .lines()
        .filter(|line| {
            ["vendor_id", "cpu family", "model", "stepping", "microcode", "flags"]
                .iter()
                .any(|key| line.starts_with(key))
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probe itself works, or its failure under KVM would mean nothing.
    #[tokio::test]
    async fn the_probe_guest_runs_under_emulation() {
        let qemu = Qemu::detect().await.unwrap();
        run(&qemu, ["tcg", "max"], Duration::from_secs(20)).await.unwrap();
    }

    #[tokio::test]
    async fn a_broken_accelerator_is_not_chosen() {
        let qemu = Qemu::detect().await.unwrap();
        assert!(run(&qemu, ["no-such-thing", "max"], PATIENCE).await.is_err());
        let chosen = accelerator(&qemu).await;
        assert!(!chosen.reason.is_empty());
    }
}
