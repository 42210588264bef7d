//! The cloud-init seed of a machine: for machines with user data, and for foreign images, which know the platform only
//! through it.

use std::fmt::Write as _;

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

/// Two parts: settings, which user data may change, and a script. All that SSH stands on is in the script: of two lists under
/// one key cloud-init keeps only the user's, so that a user's `users` or `write_files` would displace the platform's; and it
/// takes keys and files at the first boot only, where a certificate is a new one at every start.
///
/// JSON is YAML, and needs no quoting of our own.
fn vendor_data(config: &MachineConfig, access: &Access<'_>) -> String {
    let settings = json!({
        "fqdn": config.fqdn(),
        // Else a machine's own name may have no domain, as where systemd-resolved answers for it.
        "manage_etc_hosts": "localhost",
        // sshd uses none of them; this one is made quickest.
        "ssh_genkeytypes": ["ed25519"],
    });
    let parts = json!([
        { "type": "text/cloud-config", "content": format!("#cloud-config\n{settings}\n") },
        { "type": "text/cloud-boothook", "filename": "hafen", "content": script(config, access) },
    ]);
    format!("#cloud-config-archive\n{parts}\n")
}

/// Run at every boot, before sshd.
fn script(config: &MachineConfig, access: &Access<'_>) -> String {
    let own = guest::files();
    let own = |path: &str| {
        let text = own.iter().find_map(|file| match file.contents {
            Contents::Text(text) if file.path == path => Some(text),
            _ => None,
        });
        text.unwrap_or_default()
    };
    // cloud-init removes the keys that an image came with, by their names.
    let sshd = own(SSHD).replace(OWN_HOST_KEY, HOST_KEY);
    let principals = format!("/etc/ssh/hafen_principals/{LOGIN_USER}");
    let sudoers = format!("/etc/sudoers.d/{LOGIN_USER}");
    let check = guest::CHECK;
    let (check_principals, check_sudoers) =
        (format!("/etc/ssh/hafen_principals/{check}"), format!("/etc/sudoers.d/{check}"));
    let files = [
        (SSHD, "0644", sshd.as_str()),
        (HOST_KEY, "0600", &access.key.private_key),
        (HOST_CERTIFICATE, "0644", &access.certificate),
        ("/etc/ssh/hafen_user_ca.pub", "0644", &access.user_ca),
        (&principals, "0644", &format!("restrict,pty {}", ca::principal(&config.project))),
        (&sudoers, "0440", &format!("{LOGIN_USER} ALL=(ALL:ALL) NOPASSWD: ALL")),
        (guest::REPORT, "0755", own(guest::REPORT)),
        (&check_principals, "0644", own(&check_principals)),
        (&check_sudoers, "0440", own(&check_sudoers)),
    ];
    let mut script = format!(
        "#cloud-boothook\n#!/bin/sh\nset -eu\numask 022\n\
         # A password that nobody has: a locked user is let in by no key either, where PAM is not asked.\n\
         id {LOGIN_USER} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --password '*' {LOGIN_USER}\n\
         id {check} >/dev/null 2>&1 || useradd --system --home-dir / --no-create-home --shell /bin/sh --password '*' {check}\n\
         put() {{ mkdir -p \"${{2%/*}}\"; (umask 077; cat >\"$2.new\"); chmod \"$1\" \"$2.new\"; mv -f \"$2.new\" \"$2\"; }}\n"
    );
    for (path, mode, text) in files {
        // Writing into a String does not fail.
        let _ = write!(script, "put {mode} {path} <<'HAFEN'\n{}\nHAFEN\n", text.trim_end());
    }
    script + guest::NO_PENALTIES + "\n"
}

const SSHD: &str = "/etc/ssh/sshd_config.d/10-hafen.conf";
/// As [`SSHD`] has it, for images of this platform.
const OWN_HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";
const HOST_KEY: &str = "/etc/ssh/hafen_host_ed25519_key";
const HOST_CERTIFICATE: &str = "/etc/ssh/hafen_host_ed25519_key-cert.pub";

/// cloud-init's network configuration, version 2.
fn network_config(config: &MachineConfig) -> String {
    let gateway = config.network.gateway();
    json!({
        "version": 2,
        "ethernets": { "nic0": {
            "match": { "macaddress": config.mac },
            "set-name": "eth0",
            "addresses": [format!("{}/{}", config.address, config.network.prefix)],
            // So written, netplan and cloud-init's other renderers take it in all their versions.
            "routes": [{ "to": "0.0.0.0/0", "via": gateway }],
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
