//! Types and rules of machines, pure: what a spec may be, how addresses are given out, how long a state may last.
//! Imports nothing of the modules above it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{
    Error, FieldProblem, InstanceId, MachineId, NetworkId, OperationId, Result, Timestamp, check_label,
    check_metadata_key, check_metadata_value,
};
use hafen_client::wire::{Egress, Health, ImageSource, MachineSpec, MachineState};

/// What is wanted of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WantedState {
    Started,
    Stopped,
    Destroyed,
}

impl WantedState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Destroyed => "destroyed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Started, Self::Stopped, Self::Destroyed].into_iter().find(|state| state.as_str() == text)
    }
}

/// A machine as the store holds it: what is wanted (with a generation) and what was seen (with the generation seen).
#[derive(Debug, Clone, PartialEq)]
pub struct MachineRow {
    pub id: MachineId,
    pub project: String,
    pub name: String,
    pub group: Option<String>,
    pub spec: MachineSpec,
    pub health: Option<Health>,
    pub metadata: std::collections::BTreeMap<String, String>,
    pub cordoned: bool,
    pub instance_id: InstanceId,
    pub disk_instance: InstanceId,
    pub wanted: WantedState,
    /// Raised by every restart asked for; reality follows in `restart_seen`.
    pub restart_wanted: i64,
    pub restart_seen: i64,
    pub network_id: NetworkId,
    pub address: Ipv4Addr,
    pub mac: String,
    pub generation: i64,
    pub lease_nonce: Option<String>,
    pub lease_until: Timestamp,
    pub operation: Option<OperationId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    // Seen; written by the reconciler only.
    pub state: MachineState,
    pub reason: String,
    pub healthy: bool,
    pub boot_id: String,
    pub host_key: String,
    pub image_digest: String,
    pub restarts: i64,
    /// When it entered its state, or last waited for something outside itself.
    pub since: Timestamp,
    pub observed_generation: i64,
}

/// How long a transient state may last before it becomes `failed` with a reason.
pub const fn limit(state: MachineState) -> Duration {
    match state {
        MachineState::Creating | MachineState::Updating => Duration::from_secs(600),
        _ => Duration::from_secs(300),
    }
}

/// The wait before the n-th restart by self-healing (n from 1): at once, then 1, 2, 4 … 60 s.
pub fn restart_backoff(restarts: i64) -> Duration {
    match restarts {
        ..=1 => Duration::ZERO,
        n => Duration::from_secs(1 << (n - 2).min(6)).min(Duration::from_secs(60)),
    }
}

pub const MIN_MEMORY: i64 = 128 << 20;
pub const MAX_MEMORY: i64 = 16 << 40;
pub const MIN_DISK: i64 = 1 << 30;
pub const MAX_DISK: i64 = 1 << 50;
pub const MAX_CPUS: i64 = 256;
const MAX_USER_DATA: usize = 256 << 10;

/// Collects everything wrong with an input, so that a caller mends it in one go.
#[derive(Debug, Default)]
pub struct Problems(Vec<FieldProblem>);

impl Problems {
    pub fn add(&mut self, pointer: &str, message: impl Into<String>) {
        self.0.push(FieldProblem {
            pointer: pointer.into(),
            message: message.into(),
            ..FieldProblem::default()
        });
    }

    fn check(&mut self, pointer: &str, checked: Result<(), String>) {
        if let Err(message) = checked {
            self.add(pointer, message);
        }
    }

    /// # Errors
    /// Invalid with all of them, if there is any.
    pub fn finish(self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some(first) => {
                let more = self.0.len() - 1;
                let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
                Err(Error::invalid(format!("{}: {}{more}", first.pointer, first.message)).with_fields(self.0))
            }
        }
    }
}

/// Checks what a machine should be.
pub fn check_spec(problems: &mut Problems, spec: &MachineSpec) {
    problems.check("/spec/image", check_label("image", &spec.image));
    problems.check("/spec/network", check_label("network", &spec.network));
    check_sizes(problems, "/spec", Some(spec.cpus), Some(spec.memory), Some(spec.disk));
    if let Some(address) = &spec.address
        && address.parse::<Ipv4Addr>().is_err()
    {
        problems.add("/spec/address", "expected an IPv4 address, as 10.40.0.7");
    }
    if let Some(data) = &spec.user_data {
        match STANDARD.decode(data) {
            Ok(bytes) if bytes.len() <= MAX_USER_DATA => {}
            Ok(_) => problems.add("/spec/user_data", "user data has at most 256 KiB"),
            Err(_) => problems.add("/spec/user_data", "expected base 64"),
        }
    }
    if !matches!(spec.start.as_str(), "warm" | "cold") {
        problems.add("/spec/start", "expected \"warm\" or \"cold\"");
    }
}

/// Checks sizes that are given.
pub fn check_sizes(
    problems: &mut Problems,
    at: &str,
    cpus: Option<i64>,
    memory: Option<i64>,
    disk: Option<i64>,
) {
    if cpus.is_some_and(|n| !(1..=MAX_CPUS).contains(&n)) {
        problems.add(&format!("{at}/cpus"), "a machine has 1 to 256 cpus");
    }
    if memory.is_some_and(|n| !(MIN_MEMORY..=MAX_MEMORY).contains(&n)) {
        problems.add(&format!("{at}/memory"), "memory is between 128 MiB and 16 TiB, in bytes");
    }
    if disk.is_some_and(|n| !(MIN_DISK..=MAX_DISK).contains(&n)) {
        problems.add(&format!("{at}/disk"), "a disk is between 1 GiB and 1 PiB, in bytes");
    }
}

/// Checks what surrounds a spec.
pub fn check_around(
    problems: &mut Problems,
    group: Option<&str>,
    metadata: &std::collections::BTreeMap<String, String>,
    health: Option<&Health>,
) {
    if let Some(group) = group {
        problems.check("/group", check_label("group", group));
    }
    if metadata.len() > 64 {
        problems.add("/metadata", "a machine has at most 64 metadata entries");
    }
    for (key, value) in metadata {
        problems.check("/metadata", check_metadata_key(key));
        problems.check("/metadata", check_metadata_value(value));
    }
    if let Some(health) = health {
        check_health(problems, health);
    }
}

fn check_health(problems: &mut Problems, health: &Health) {
    if health.http.is_some() == health.tcp {
        problems.add("/health", "a health check is either `http` (a path) or `tcp`: true");
    }
    if let Some(path) = &health.http
        && (!path.starts_with('/') || path.len() > 1024 || !path.bytes().all(|b| (0x21..0x7f).contains(&b)))
    {
        problems.add(
            "/health/http",
            "expected a path that starts with '/', without spaces, of at most 1024 characters",
        );
    }
    if health.port == 0 {
        problems.add("/health/port", "a port is between 1 and 65535");
    }
    if !(100..=3_600_000).contains(&health.interval_ms) {
        problems.add("/health/interval_ms", "an interval is between 100 ms and an hour");
    }
    if !(100..=600_000).contains(&health.timeout_ms) {
        problems.add("/health/timeout_ms", "a timeout is between 100 ms and 10 minutes");
    }
    if !(1..=100).contains(&health.healthy_after) {
        problems.add("/health/healthy_after", "healthy_after is between 1 and 100 good answers");
    }
}

/// Checks what an image is made of.
pub fn check_image(problems: &mut Problems, source: &ImageSource) {
    match source {
        ImageSource::Debian { release, packages, files } => {
            if !matches!(release.as_str(), "bookworm" | "trixie") {
                problems.add("/source/release", "expected \"bookworm\" or \"trixie\"");
            }
            if packages.len() > 900 {
                problems.add("/source/packages", "an image names at most 900 packages");
            }
            for (index, package) in packages.iter().enumerate() {
                // Debian Policy 5.6.1.
                let good = package.len() >= 2
                    && package.len() <= 128
                    && package
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
                    && package.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
                if !good {
                    problems.add(&format!("/source/packages/{index}"), "not the name of a Debian package");
                }
            }
            for (path, file) in files {
                let inside = path.starts_with('/')
                    && path.len() < 1024
                    && !path.chars().any(char::is_control)
                    && path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
                if !inside {
                    problems.add(
                        "/source/files",
                        format!("{path:?} is not an absolute path without '.' and '..'"),
                    );
                }
                if STANDARD.decode(&file.content).is_err() {
                    problems.add("/source/files", format!("the content of {path:?} is not base 64"));
                }
                if u32::from_str_radix(&file.mode, 8).map_or(true, |mode| mode > 0o7777) {
                    problems.add("/source/files", format!("the mode of {path:?} is not octal, as 0644"));
                }
            }
        }
        ImageSource::Cloud { location, sha256, firmware } => {
            if !(location.starts_with("https://") || location.starts_with('/')) || location.len() > 2048 {
                problems.add(
                    "/source/location",
                    "expected https://… or the absolute path of a file on the platform's host",
                );
            }
            if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                problems.add("/source/sha256", "expected the SHA-256 of the file: 64 hexadecimal digits");
            }
            if !matches!(firmware.as_str(), "bios" | "uefi") {
                problems.add("/source/firmware", "expected \"bios\" or \"uefi\"");
            }
        }
    }
}

/// Checks what may leave a network.
pub fn check_egress(problems: &mut Problems, egress: &Egress) {
    let Egress::Allow(entries) = egress else { return };
    if entries.is_empty() || entries.len() > 256 {
        problems.add("/egress/allow", "name 1 to 256 destinations, or use \"none\"");
    }
    for (index, entry) in entries.iter().enumerate() {
        let good = entry.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok_and(|port| port > 0)
                && !host.is_empty()
                && host.len() <= 253
                && host.split('.').all(|label| {
                    (1..=63).contains(&label.len())
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
        });
        if !good {
            problems.add(&format!("/egress/allow/{index}"), "expected host:port, as mirror.example.org:443");
        }
    }
}

/// A published port's address on the host.
///
/// # Errors
/// Invalid when it is not `address:port`.
pub fn parse_host(host: &str) -> Result<SocketAddr> {
    host.parse::<SocketAddr>()
        .ok()
        .filter(|address| address.port() != 0)
        .ok_or_else(|| Error::invalid_field("/host", "expected address:port on this host, as 127.0.0.1:8081"))
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Subnet {
    /// # Errors
    /// Says what a subnet must look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a private IPv4 network of /12 to /28 whose host bits are zero, as 10.40.0.0/24"
            )
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(12..=28).contains(&prefix) || !address.is_private() {
            return Err(wrong());
        }
        let subnet = Self { address, prefix };
        if u32::from(address) & (subnet.size() - 1) == 0 { Ok(subnet) } else { Err(wrong()) }
    }

    /// Addresses in it, network and broadcast included.
    pub const fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The n-th address.
    pub fn host(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address).wrapping_add(n))
    }

    /// The position of an address, when it is one that a machine may have: not the network, the gateway, the broadcast.
    pub fn position(self, address: Ipv4Addr) -> Option<u32> {
        let n = u32::from(address).checked_sub(u32::from(self.address))?;
        (n >= Self::FIRST_HOST && n < self.size() - 1).then_some(n)
    }

    /// Machines start behind the gateway; a few addresses stay free for what the platform may need.
    pub const FIRST_HOST: u32 = 10;

    pub fn overlaps(self, other: Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        let mask = u32::MAX << (32 - prefix);
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }

    /// How many subnets the platform gives out by itself.
    pub const AUTOMATIC: u32 = 256;

    /// The n-th subnet given out by the platform: a /18 of 10.64.0.0/10. With 16,373 machines it holds any one manifest,
    /// so that no apply ends halfway for want of addresses in a network nobody gave a size.
    pub fn automatic(n: u32) -> Self {
        Self { address: Ipv4Addr::from(0x0a40_0000 + (n % Self::AUTOMATIC) * 16_384), prefix: 18 }
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A locally administered unicast MAC that no other machine of the network has: it holds the IPv4 address.
pub fn mac_of(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:68:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        for good in ["10.40.0.0/24", "192.168.0.0/16", "172.16.0.0/12", "10.0.0.16/28"] {
            assert_eq!(Subnet::parse(good).unwrap().to_string(), good);
        }
        for bad in
            ["10.40.0.1/24", "8.8.8.0/24", "10.0.0.0/8", "10.0.0.0/30", "10.0.0.0", "x/24", "10.0.0.0/240"]
        {
            assert!(Subnet::parse(bad).is_err(), "{bad}");
        }
        let net = Subnet::parse("10.40.0.0/24").unwrap();
        assert!(net.overlaps(Subnet::parse("10.40.0.0/16").unwrap()));
        assert!(!net.overlaps(Subnet::parse("10.41.0.0/24").unwrap()));
        assert_eq!(net.position(net.host(10)), Some(10));
        assert_eq!(net.position(net.host(255)), None);
        assert_eq!(net.position(net.host(1)), None);
        assert_eq!(net.position(Ipv4Addr::new(10, 39, 0, 20)), None);
        assert!(!Subnet::automatic(0).overlaps(Subnet::automatic(1)));
        assert_eq!(Subnet::automatic(Subnet::AUTOMATIC - 1).to_string(), "10.127.192.0/18");
        assert!(
            Subnet::automatic(0).size() - Subnet::FIRST_HOST > 10_000,
            "a manifest may ask for 10,000 machines"
        );
    }

    #[test]
    fn backoff_grows_and_is_bounded() {
        let waits: Vec<u64> = (0..12).map(|n| restart_backoff(n).as_secs()).collect();
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    }
}
