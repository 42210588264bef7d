//! Who a machine is: what its guest is told before its network comes up. Names, ids and keys follow from its
//! configuration; only entropy, clock and boot id are fresh at each start.

use std::time::Duration;

use hafen_base::{Clock, MachineId, Random, Result};
use hafen_qemu::{Identity, Secret, User};
use sha2::{Digest as _, Sha256};

use crate::ca::{self, HostKey, SshCa};
use crate::engine::MachineConfig;

/// Bytes of fresh entropy: twice what the kernel's generator holds.
const ENTROPY: usize = 64;

pub fn of(
    config: &MachineConfig,
    key: &HostKey,
    boot_id: &str,
    ca: &SshCa,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<Identity> {
    let mut entropy = vec![0_u8; ENTROPY];
    random.fill(&mut entropy);
    let now = clock.now();
    let principal = ca::principal(&config.project);
    Ok(Identity {
        hostname: config.name.clone(),
        fqdn: config.fqdn(),
        machine_id: machine_id(config),
        boot_id: boot_id.to_owned(),
        mac: config.mac.clone(),
        address: Some((config.address, config.network.prefix)),
        gateway: Some(config.network.gateway()),
        dns: Some(config.network.gateway()),
        search: Some(config.network.domain.clone()),
        mtu: None,
        clock: Duration::from_micros(u64::try_from(now.micros()).unwrap_or(0)),
        entropy: Secret::new(entropy),
        host_key: Secret::new(key.private_key.as_bytes()),
        host_key_public: format!("{}\n", key.public_key.trim()),
        host_certificate: Some(format!(
            "{}\n",
            ca.sign_host(&key.public_key, &config.ssh_names(), now, random)?
        )),
        user_ca: format!("{}\n", ca.user_public()?.trim()),
        principals: format!("restrict,pty {principal}\n"),
        files: Vec::new(),
    })
}

/// systemd's machine id: a new one with every new disk.
pub fn machine_id(config: &MachineConfig) -> String {
    hex(&hash(&format!("machine-id {}", config.disk_instance)), 16)
}

/// RFC 9562 version 8: made of the machine's own id, so that its process is found by it.
pub fn uuid(id: MachineId) -> String {
    uuid_text(hash(&format!("uuid {id}")), 8)
}

/// A fresh random uuid (version 4).
pub fn random_uuid(random: &dyn Random) -> String {
    let mut bytes = [0_u8; 32];
    random.fill(&mut bytes);
    uuid_text(bytes, 4)
}

/// Each machine runs as a user of its own, so that one that breaks out of QEMU reaches no other. The range lies above what
/// distributions and systemd give out, and below 2³¹.
pub fn user(id: MachineId) -> User {
    let [a, b, c, d, ..] = hash(&format!("user {id}"));
    let uid = 2_000_000_000 + u32::from_le_bytes([a, b, c, d]) % 100_000_000;
    User { uid, gid: uid }
}

/// The user that templates are booted as.
pub const TEMPLATE_USER: User = User { uid: 1_999_999_999, gid: 1_999_999_999 };

fn uuid_text(bytes: [u8; 32], version: u8) -> String {
    let mut text = hex(&bytes, 16);
    let variant = ["8", "9", "a", "b"].get(usize::from(bytes[8] >> 6)).copied().unwrap_or("8");
    text.replace_range(12..13, &version.to_string());
    text.replace_range(16..17, variant);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(bytes: &[u8], count: usize) -> String {
    use std::fmt::Write as _;
    bytes.iter().take(count).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use hafen_base::{SeededRandom, Timestamp};

    use super::*;

    #[test]
    fn ids_have_their_forms() {
        let random = SeededRandom::new(5);
        let id = MachineId::generate(Timestamp::from_micros(1), &random);
        for (text, version) in [(uuid(id), '8'), (random_uuid(&random), '4')] {
            let parts: Vec<&str> = text.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{text}");
            assert!(parts[2].starts_with(version), "{text}");
            assert!(parts[3].starts_with(['8', '9', 'a', 'b']), "{text}");
        }
        assert_eq!(uuid(id), uuid(id));
        assert!(user(id).uid >= 2_000_000_000 && user(id).uid < 1 << 31);
    }
}
