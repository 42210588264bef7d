//! The cloud-init seed of a machine: for machines with user data, and for foreign images, which know the platform only
//! through it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{Error, Result};
use hafen_qemu::guest::{self, Contents};
use hafen_qemu::{Seed, write_seed};
use serde_json::json;

use super::error::from_qemu;
use super::folder::Folder;
use crate::ca::{self, HostKey, LOGIN_USER};
use crate::engine::MachineConfig;

/// What a foreign image is told of SSH.
pub struct Access<'a> {
    pub key: &'a HostKey,
    pub certificate: String,
    pub user_ca: String,
}

/// Writes the seed. `access` for foreign images only: images of this platform have an agent, which does it better.
pub fn write(folder: &Folder, config: &MachineConfig, access: Option<&Access<'_>>) -> Result<()> {
    let user = match &config.user_data {
        None => String::new(),
        Some(data) => {
            let bytes = STANDARD.decode(data).map_err(|_| Error::invalid("user data is not base 64"))?;
            String::from_utf8(bytes).map_err(|_| Error::invalid("user data is not UTF-8 text"))?
        }
    };
    let meta = json!({ "instance-id": config.disk_instance, "local-hostname": config.name }).to_string();
    let (vendor, network) = match access {
        None => (String::new(), String::new()),
        Some(access) => (vendor_data(config, access), network_config(config)),
    };
    let seed = Seed { meta: &meta, user: &user, vendor: &vendor, network: &network };
    write_seed(&folder.seed(), seed).map_err(from_qemu)?;
    open_to_qemu(folder)
}

/// JSON is YAML, and needs no quoting of our own.
fn vendor_data(config: &MachineConfig, access: &Access<'_>) -> String {
    let sshd = guest::files().into_iter().find_map(|file| match file.contents {
        Contents::Text(text) if file.path == SSHD => Some(text),
        _ => None,
    });
    let principals = format!("restrict,pty {}\n", ca::principal(&config.project));
    let file = |path: &str, content: &str| json!({ "path": path, "content": content, "permissions": "0644" });
    let data = json!({
        "fqdn": config.fqdn(),
        "ssh_deletekeys": true,
        "ssh_pwauth": false,
        "disable_root": true,
        "ssh_keys": {
            "ed25519_private": access.key.private_key,
            "ed25519_public": access.key.public_key,
            "ed25519_certificate": access.certificate,
        },
        "users": ["default", {
            "name": LOGIN_USER, "shell": "/bin/bash", "lock_passwd": true, "sudo": "ALL=(ALL) NOPASSWD:ALL",
        }],
        "write_files": [
            file("/etc/ssh/hafen_user_ca.pub", &format!("{}\n", access.user_ca.trim())),
            file(&format!("/etc/ssh/hafen_principals/{LOGIN_USER}"), &principals),
            file(SSHD, sshd.unwrap_or_default()),
        ],
        "runcmd": [["sh", "-c", "systemctl reload-or-restart ssh || systemctl reload-or-restart sshd"]],
    });
    format!("#cloud-config\n{data}\n")
}

const SSHD: &str = "/etc/ssh/sshd_config.d/10-hafen.conf";

/// cloud-init's network configuration, version 2.
fn network_config(config: &MachineConfig) -> String {
    let gateway = config.network.gateway();
    json!({
        "version": 2,
        "ethernets": { "nic0": {
            "match": { "macaddress": config.mac },
            "set-name": "eth0",
            "addresses": [format!("{}/{}", config.address, config.network.prefix)],
            "gateway4": gateway,
            "nameservers": { "addresses": [gateway], "search": [config.network.domain] },
        }},
    })
    .to_string()
}

/// The seed may hold secrets: only QEMU's user reads it.
fn open_to_qemu(folder: &Folder) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.seed();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400))
        .map_err(|error| super::error::file("close", &path, error))
}
