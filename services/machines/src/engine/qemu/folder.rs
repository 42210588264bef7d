//! What stands on disk of one machine.
//!
//! `config.json` is what it should be, `power.json` what was last done with it, `key.json` its SSH host key; all three are
//! the platform's own and closed to others. `vm/` is QEMU's: as root it belongs to the user that QEMU runs as, so nothing
//! in it is believed for more than display.
//!
//! A folder appears by one rename, with everything in it, and goes by one rename: there is never half a machine.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hafen_base::{Error, MachineId, Result};
use hafen_qemu::durable;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{file, from_qemu};
use crate::ca::HostKey;
use crate::engine::MachineConfig;

/// What was last done with a machine. Together with whether its process lives, it tells what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "power")]
pub enum PowerRecord {
    Stopped,
    /// A start began; the guest may have got its identity without anybody having written that down.
    Starting {
        network: String,
        boot_id: String,
    },
    Running {
        boot_id: String,
        /// Fingerprint.
        host_key: String,
        /// The life of the network that its tap belongs to: a tap does not outlive it.
        network: String,
    },
}

/// The folder of one machine.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

const CONFIG: &str = "config.json";
const POWER: &str = "power.json";
const KEY: &str = "key.json";

impl Folder {
    pub fn of(root: &Path, id: MachineId) -> Self {
        Self(root.join(id.to_string()))
    }

    /// Makes the folder with its three records, stopped.
    pub fn create(root: &Path, config: &MachineConfig, key: &HostKey) -> Result<Self> {
        let new = Self(root.join(format!(".new-{}", config.id)));
        durable::remove_tree(&new.0).map_err(from_qemu)?;
        make_closed_passage(&new.0)?;
        // Closed: sockets in it give full control of the machine.
        fs::DirBuilder::new().mode(0o700).create(new.vm()).map_err(|error| file("make", &new.vm(), error))?;
        new.write(KEY, key)?;
        new.power_write(&PowerRecord::Stopped)?;
        new.config_write(config)?;
        let folder = Self::of(root, config.id);
        fs::rename(&new.0, &folder.0).map_err(|error| file("make", &folder.0, error))?;
        durable::sync_parent(&folder.0).map_err(from_qemu)?;
        Ok(folder)
    }

    pub fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// QEMU's part.
    pub fn vm(&self) -> PathBuf {
        self.0.join("vm")
    }

    pub fn seed(&self) -> PathBuf {
        self.0.join("seed.img")
    }

    pub fn config(&self) -> Result<MachineConfig> {
        self.read(CONFIG)
    }

    pub fn config_write(&self, config: &MachineConfig) -> Result<()> {
        self.write(CONFIG, config)
    }

    pub fn power(&self) -> Result<PowerRecord> {
        self.read(POWER)
    }

    pub fn power_write(&self, power: &PowerRecord) -> Result<()> {
        self.write(POWER, power)
    }

    pub fn key(&self) -> Result<HostKey> {
        self.read(KEY)
    }

    /// Takes the machine out of sight at once; what remains is only to be swept.
    pub fn retire(&self) -> Result<PathBuf> {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let gone = self.0.with_file_name(format!(".gone-{name}"));
        durable::remove_tree(&gone).map_err(from_qemu)?;
        fs::rename(&self.0, &gone).map_err(|error| file("remove", &self.0, error))?;
        durable::sync_parent(&gone).map_err(from_qemu)?;
        Ok(gone)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.0.join(name);
        let text = durable::read(&path).map_err(from_qemu)?;
        let damaged = |why: String| {
            // Never taken for "no machine": that would make a new one over an old disk.
            Error::conflict(format!(
                "{} is {why}: restore it from a backup, or delete the machine",
                path.display()
            ))
        };
        let text = text.ok_or_else(|| damaged("missing".into()))?;
        serde_json::from_slice(&text).map_err(|error| damaged(format!("damaged ({error})")))
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let text = serde_json::to_vec(value).map_err(Error::internal)?;
        durable::write(&self.0.join(name), 0o600, &text).map_err(from_qemu)
    }
}

/// A folder that others may pass through (QEMU runs as another user) but not list.
pub fn make_closed_passage(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(path);
    // The mode above is cut by the umask.
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o711)))
        .map_err(|error| file("make", path, error))
}

/// The machines of a root, and what creations and removals that broke off have left.
pub fn list(root: &Path) -> Result<(Vec<MachineId>, Vec<PathBuf>)> {
    let (mut machines, mut ruins) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(root).map_err(|error| file("list", root, error))? {
        let entry = entry.map_err(|error| file("list", root, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Ok(id) = name.parse() {
            machines.push(id);
        } else if name.starts_with(".new-") || name.starts_with(".gone-") {
            ruins.push(entry.path());
        }
    }
    Ok((machines, ruins))
}
