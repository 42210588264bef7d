//! What a machine is: plain data, kept in its directory as `machine.json`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Format, Result};

/// The wanted machine. Everything here is checked by [`Spec::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Shown in process lists and error messages.
    pub name: String,
    /// RFC 9562 text form, lower case. Stable over the machine's life; finds its process again.
    pub uuid: String,
    pub cpus: u32,
    /// In bytes; a multiple of 1 MiB.
    pub memory: u64,
    /// In bytes; a multiple of 1 MiB, not less than the image.
    pub disk: u64,
    /// The image under the machine's disk. Absolute. Read only, may be shared.
    pub image: PathBuf,
    pub image_format: Format,
    pub boot: Boot,
    pub net: Net,
    /// Of the only network interface, as `52:54:00:…`, lower case.
    pub mac: String,
    /// 32 hexadecimal digits; given to systemd on the kernel's command line.
    pub machine_id: String,
    /// A second, read-only disk: a cloud-init seed (see [`crate::write_seed`]).
    pub seed: Option<PathBuf>,
}

/// How a machine comes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boot {
    /// An image of this platform: QEMU loads the kernel; the agent is inside.
    Kernel {
        kernel: PathBuf,
        initrd: Option<PathBuf>,
        /// What is mounted as root, such as `/dev/vda`.
        root: String,
    },
    /// A foreign image with its own boot loader; no agent is expected.
    Firmware { uefi: bool },
}

/// What the network interface is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Net {
    /// An interface whose cable leads nowhere.
    None,
    /// A tap whose descriptor is handed over at launch ([`crate::Launch::tap`]).
    Tap,
    /// QEMU's own network, without privileges: the guest is 10.0.2.15, the gateway 10.0.2.2.
    /// `forward` maps TCP addresses of the host to ports of the guest. Never leaves the host
    /// when `restrict` is set.
    User { forward: Vec<(SocketAddr, u16)>, restrict: bool },
}

const MIB: u64 = 1 << 20;

impl Spec {
    /// Refuses what could break out of an argument or cannot work, and says what would be right.
    pub fn check(&self) -> Result<()> {
        let name_ok = !self.name.is_empty()
            && self.name.len() <= 128
            && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        require(name_ok, || {
            format!("machine name {:?}: use 1 to 128 letters, digits, '-', '_' or '.'", self.name)
        })?;
        require(is_uuid(&self.uuid), || format!("{:?} is no lower-case uuid", self.uuid))?;
        require((1..=256).contains(&self.cpus), || {
            format!("{} cpus: from 1 to 256 are possible", self.cpus)
        })?;
        let memory_ok = self.memory.is_multiple_of(MIB) && (64 * MIB..=(16 << 40)).contains(&self.memory);
        require(memory_ok, || format!("memory of {} bytes: take whole MiB, at least 64", self.memory))?;
        let disk_ok = self.disk.is_multiple_of(MIB) && (MIB..=(64 << 40)).contains(&self.disk);
        require(disk_ok, || format!("disk of {} bytes: take whole MiB, at least 1", self.disk))?;
        require(is_mac(&self.mac), || {
            format!("{:?} is no unicast MAC address such as 52:54:00:12:34:56", self.mac)
        })?;
        let id_ok = self.machine_id.len() == 32 && is_lower_hex(&self.machine_id);
        require(id_ok, || format!("machine id {:?}: 32 hexadecimal digits", self.machine_id))?;
        require(self.image.is_absolute(), || "the image path must be absolute".into())?;
        if let Boot::Kernel { root, .. } = &self.boot {
            let root_ok = root.bytes().all(|b| b.is_ascii_alphanumeric() || b"/=-_".contains(&b));
            require(root_ok && !root.is_empty(), || format!("root device {root:?} is not usable"))?;
        }
        Ok(())
    }
}

fn require(ok: bool, message: impl FnOnce() -> String) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::Invalid(message())) }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

pub(crate) fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.split('-').all(is_lower_hex)
}

pub(crate) fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let first = parts.first().and_then(|p| u8::from_str_radix(p, 16).ok());
    parts.len() == 6
        && parts.iter().all(|p| p.len() == 2 && is_lower_hex(p))
        && first.is_some_and(|byte| byte & 1 == 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Spec {
        Spec {
            name: "web-1".into(),
            uuid: "0b6f0a52-1111-4222-8333-123456789abc".into(),
            cpus: 1,
            memory: 512 * MIB,
            disk: 4 << 30,
            image: "/images/a.qcow2".into(),
            image_format: Format::Qcow2,
            boot: Boot::Kernel { kernel: "/images/k".into(), initrd: None, root: "/dev/vda".into() },
            net: Net::None,
            mac: "52:54:00:12:34:56".into(),
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            seed: None,
        }
    }

    type Change = fn(&mut Spec);

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(example().check().is_ok());
        let refused: Vec<(&str, Change)> = vec![
            ("name", |s| s.name = "a,b=c".into()),
            ("empty name", |s| s.name = String::new()),
            ("uuid", |s| s.uuid = "x".into()),
            ("cpus", |s| s.cpus = 0),
            ("memory", |s| s.memory = 3),
            ("disk", |s| s.disk = 5),
            ("mac", |s| s.mac = "53:54:00:12:34:56".into()),
            ("machine id", |s| s.machine_id = "zz".into()),
            ("image", |s| s.image = "relative".into()),
            ("root", |s| {
                s.boot = Boot::Kernel { kernel: "/k".into(), initrd: None, root: "a init=/x".into() };
            }),
        ];
        for (what, change) in refused {
            let mut spec = example();
            change(&mut spec);
            assert!(spec.check().is_err(), "{what} should be refused");
        }
    }
}
