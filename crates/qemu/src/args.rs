//! From a description to QEMU's command line. Pure.
//!
//! The devices, their order and their addresses are the same for a template, its clones and a
//! cold boot: a snapshot only fits the machine it was taken from. What may differ (network
//! backend, MAC, uuid, kernel command line) is not part of a snapshot.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Boot, Host, Kind, Net, Spec};

/// The number under which QEMU finds the tap.
pub const TAP_FD: i32 = 10;
/// The number under which QEMU finds a template's memory, where it cannot open it by name.
pub(crate) const MEMORY_FD: i32 = 11;
/// The number under which QEMU finds a template's device state.
pub(crate) const STATE_FD: i32 = 12;

pub(crate) const QMP_SOCKET: &str = "qmp.sock";
pub(crate) const AGENT_SOCKET: &str = "agent.sock";
pub(crate) const SERIAL_SOCKET: &str = "serial.sock";
pub(crate) const SERIAL_LOG: &str = "serial.log";
pub(crate) const PID_FILE: &str = "qemu.pid";
pub(crate) const DISK: &str = "disk.qcow2";
pub(crate) const UEFI_VARS: &str = "uefi-vars.fd";

/// A program to run; the descriptors it expects are in the launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSpec {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Sockets, logs and the disk have names relative to it.
    pub dir: PathBuf,
}

/// Which kind of start this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Cold,
    /// Booted in order to be captured: memory is this file.
    Template {
        memory: PathBuf,
    },
    /// Waits for device state; memory is a private view of this file.
    Resume {
        memory: PathBuf,
        readonly: bool,
    },
}

/// Bump when devices or kernel arguments change: older templates are then rebuilt.
pub(crate) const LAYOUT: u32 = 2;

pub(crate) fn command(host: &Host, spec: &Spec, dir: &Path, start: &Start) -> CommandSpec {
    let mut args = Args::default();
    machine(&mut args, host, spec, dir, start);
    boot(&mut args, host, spec, start);
    disks(&mut args, spec);
    network(&mut args, spec);
    channels(&mut args);
    if matches!(start, Start::Resume { .. }) {
        args.pair("-incoming", "defer");
        // Nothing runs before the identity waits in the agent's channel.
        args.one("-S");
    }
    CommandSpec { program: host.qemu.program.clone(), args: args.0, dir: dir.to_path_buf() }
}

fn machine(args: &mut Args, host: &Host, spec: &Spec, dir: &Path, start: &Start) {
    args.pair("-name", format!("guest={}", spec.name));
    args.pair("-uuid", &spec.uuid);
    args.pair_os("-pidfile", dir.join(PID_FILE).into_os_string());
    args.one("-nodefaults");
    args.one("-no-user-config");
    args.pair("-display", "none");
    match host.accelerator.kind {
        Kind::Kvm => {
            args.pair("-machine", "q35,memory-backend=ram");
            args.pair("-accel", "kvm");
            args.pair("-cpu", "host");
        }
        Kind::Tcg => {
            args.pair("-machine", "q35,memory-backend=ram");
            // Bounds the host memory that translated code may take.
            args.pair("-accel", "tcg,thread=multi,tb-size=256");
            args.pair("-cpu", "max");
        }
    }
    args.pair("-smp", spec.cpus.to_string());
    args.pair("-m", format!("size={}M", spec.memory >> 20));
    let size = format!("id=ram,size={}", spec.memory);
    match start {
        Start::Cold => args.pair("-object", format!("memory-backend-ram,{size}")),
        Start::Template { memory } => args
            .pair_os("-object", with_path(&format!("memory-backend-file,{size},share=on,mem-path="), memory)),
        Start::Resume { memory, readonly } => {
            let access = if *readonly { ",readonly=on,rom=off" } else { "" };
            args.pair_os(
                "-object",
                with_path(&format!("memory-backend-file,{size},share=off{access},mem-path="), memory),
            );
        }
    }
    args.pair("-rtc", "base=utc,clock=host");
    // A new generation id on every start makes the kernel of a resumed guest reseed itself.
    args.pair("-device", "vmgenid,guid=auto");
    args.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

fn boot(args: &mut Args, host: &Host, spec: &Spec, start: &Start) {
    match &spec.boot {
        Boot::Kernel { kernel, initrd, root } => {
            args.pair_os("-kernel", kernel.clone().into_os_string());
            if let Some(initrd) = initrd {
                args.pair_os("-initrd", initrd.clone().into_os_string());
            }
            args.pair("-append", kernel_command_line(host, spec, root, start));
        }
        Boot::Firmware { uefi: false } => {}
        Boot::Firmware { uefi: true } => {
            let code = host.uefi_code.clone().unwrap_or_default();
            args.pair_os("-drive", with_path("if=pflash,format=raw,unit=0,readonly=on,file=", &code));
            args.pair("-drive", format!("if=pflash,format=raw,unit=1,file={UEFI_VARS}"));
        }
    }
}

fn kernel_command_line(host: &Host, spec: &Spec, root: &str, start: &Start) -> String {
    let mut line = format!("root={root} rw console=ttyS0 net.ifnames=0 quiet panic=5");
    // No second way into sshd over local or host sockets.
    line.push_str(" systemd.ssh_auto=no");
    if host.accelerator.kind == Kind::Tcg {
        // Mitigations guard against speculation of the real processor inside one address space.
        // An emulated processor does not speculate, and page table isolation makes each of its
        // system calls flush the emulated TLB.
        line.push_str(" mitigations=off");
    }
    match start {
        Start::Template { .. } => {
            line.push_str(" systemd.unit=hafen-template.target hafen.template=1");
        }
        // A resumed machine uses this line only when it reboots.
        Start::Cold | Start::Resume { .. } => {
            line.push_str(" systemd.machine_id=");
            line.push_str(&spec.machine_id);
        }
    }
    line
}

fn disks(args: &mut Args, spec: &Spec) {
    args.pair(
        "-blockdev",
        format!(
            "driver=qcow2,node-name=root,discard=unmap,file.driver=file,file.filename={DISK},file.discard=unmap"
        ),
    );
    // With a kernel given, QEMU's loader is the first boot device.
    let first = if matches!(spec.boot, Boot::Firmware { .. }) { ",bootindex=0" } else { "" };
    args.pair("-device", format!("virtio-blk-pci,id=disk0,drive=root{first}"));
    if let Some(seed) = &spec.seed {
        args.pair_os(
            "-blockdev",
            with_path("driver=raw,node-name=seed,read-only=on,file.driver=file,file.filename=", seed),
        );
        args.pair("-device", "virtio-blk-pci,id=disk1,drive=seed");
    }
}

fn network(args: &mut Args, spec: &Spec) {
    match &spec.net {
        // A hub with one port leads nowhere. It must have no state of its own: a template is captured on it, and its
        // clones are on a tap, where a user network's section in the snapshot would be unknown.
        Net::None => args.pair("-netdev", "hubport,id=net0,hubid=0"),
        Net::Tap => args.pair("-netdev", format!("tap,id=net0,fd={TAP_FD}")),
        Net::User { forward, restrict } => {
            let mut text = String::from("user,id=net0");
            if *restrict {
                text.push_str(",restrict=on");
            }
            for (from, port) in forward {
                text = format!("{text},hostfwd=tcp:{}:{}-10.0.2.15:{port}", from.ip(), from.port());
            }
            args.pair("-netdev", text);
        }
    }
    // No option ROM: nothing boots from the network, and it would be part of the snapshot.
    args.pair("-device", format!("virtio-net-pci,id=nic0,netdev=net0,mac={},romfile=", spec.mac));
}

fn channels(args: &mut Args) {
    args.pair("-object", "rng-random,id=rng0,filename=/dev/urandom");
    args.pair("-device", "virtio-rng-pci,rng=rng0");
    args.pair("-device", "virtio-serial-pci,id=vserial0");
    args.pair("-chardev", format!("socket,id=agent,path={AGENT_SOCKET},server=on,wait=off"));
    args.pair("-device", "virtserialport,chardev=agent,name=org.hafen.agent.0");
    args.pair(
        "-chardev",
        format!(
            "socket,id=console,path={SERIAL_SOCKET},server=on,wait=off,logfile={SERIAL_LOG},logappend=on"
        ),
    );
    args.pair("-serial", "chardev:console");
    args.pair("-chardev", format!("socket,id=qmp,path={QMP_SOCKET},server=on,wait=off"));
    args.pair("-mon", "chardev=qmp,mode=control");
}

/// QEMU's option lists separate by commas; a comma in a path is written twice.
fn with_path(prefix: &str, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = prefix.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn one(&mut self, arg: &str) {
        self.0.push(arg.into());
    }
    fn pair(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(name.into());
        self.0.push(value.into().into());
    }
    fn pair_os(&mut self, name: &str, value: OsString) {
        self.0.push(name.into());
        self.0.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(with_path("file=", Path::new("/a,b")), OsString::from("file=/a,,b"));
    }
}
