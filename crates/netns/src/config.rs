//! What a network is made of. Everything here crosses a trust boundary (it comes from manifests)
//! and ends up in command lines, firewall rules and files of dnsmasq; so every text is checked
//! against a small alphabet before it goes anywhere.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How many machines, names or taps one network may have.
pub const MAX_MACHINES: usize = 4096;
/// How many destinations may be allowed.
pub const MAX_ALLOWED: usize = 256;
/// How many backends one publication may have.
pub const MAX_BACKENDS: usize = 1024;

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Names the folder: 1 to 64 characters of `a-z`, `0-9` and `-`.
    pub id: String,
    pub subnet: Ipv4Addr,
    /// 8 to 29.
    pub prefix: u8,
    /// The bridge's own address, inside the subnet.
    pub gateway: Ipv4Addr,
    /// The names' domain, such as `hello.internal`.
    pub domain: String,
    pub egress: Egress,
}

/// Whether machines may reach anything outside of their network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    #[default]
    None,
    /// Everywhere but this host and other networks of this host; each destination is recorded.
    Logged,
    /// Only to these `host:port`; what was refused is recorded too. `*` allows every port.
    Allow(Vec<String>),
}

/// A destination of [`Egress::Allow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub host: AllowedHost,
    /// Nothing: every port.
    pub port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AllowedHost {
    Address(Ipv4Addr),
    Name(String),
}

impl FromStr for Allowed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("egress destination {text:?} {why}"));
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port; write host:port"))?;
        let port = match port {
            "*" => None,
            port => match port.parse() {
                Ok(port) if port != 0 => Some(port),
                _ => return Err(wrong("has no port from 1 to 65535")),
            },
        };
        let host = if let Ok(address) = host.parse() {
            AllowedHost::Address(address)
        } else if is_domain(host) && host.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            AllowedHost::Name(host.to_ascii_lowercase())
        } else {
            return Err(wrong("has neither a host name nor an IPv4 address"));
        };
        Ok(Self { host, port })
    }
}

impl Config {
    /// Refuses what could not work, before anything is changed.
    pub fn check(&self) -> Result<()> {
        check_id("network id", &self.id)?;
        let Self { subnet, prefix, gateway, domain, .. } = self;
        if !(8..=29).contains(prefix) {
            return Err(Error::invalid(format!("prefix {prefix} of network {}: use 8 to 29", self.id)));
        }
        if subnet.to_bits() & !self.mask() != 0 {
            return Err(Error::invalid(format!("{subnet}/{prefix} has bits set after its prefix")));
        }
        if !subnet.is_private() {
            let why = "use addresses of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16";
            return Err(Error::invalid(format!("{subnet}/{prefix} is not private; {why}")));
        }
        if !self.has_machine(*gateway) {
            return Err(Error::invalid(format!("gateway {gateway} is no host of {subnet}/{prefix}")));
        }
        if !is_domain(domain) {
            return Err(Error::invalid(format!("domain {domain:?} is no domain name")));
        }
        self.allowed().map(drop)
    }

    pub(crate) fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    pub(crate) fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.mask())
    }

    /// Whether `address` can belong to a host of this network: neither its first nor its last.
    pub(crate) fn has_machine(&self, address: Ipv4Addr) -> bool {
        let bits = address.to_bits();
        let host = bits & !self.mask();
        bits & self.mask() == self.subnet.to_bits() && host != 0 && host != !self.mask()
    }

    pub(crate) fn allowed(&self) -> Result<Vec<Allowed>> {
        let Egress::Allow(list) = &self.egress else { return Ok(Vec::new()) };
        if list.len() > MAX_ALLOWED {
            let message = format!("{} egress destinations; at most {MAX_ALLOWED}", list.len());
            return Err(Error::TooMany { message });
        }
        list.iter().map(|text| text.parse()).collect()
    }
}

/// A name of a machine, and the address that DHCP gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// One label, such as `web-1`; `web-1.<domain>` is answered too.
    pub name: String,
    pub address: Ipv4Addr,
    pub mac: Mac,
}

impl HostEntry {
    pub(crate) fn check(&self, config: &Config) -> Result<()> {
        if !is_label(&self.name) {
            return Err(Error::invalid(format!("machine name {:?} is no label of a host name", self.name)));
        }
        check_machine(config, self.address)
    }
}

/// A network card of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapConfig {
    /// One tap per machine: asking again replaces it. Same alphabet as a network id.
    pub machine: String,
    /// The only hardware address this card may use.
    pub mac: Mac,
    /// The only address this card may use.
    pub address: Ipv4Addr,
}

impl TapConfig {
    pub(crate) fn check(&self, config: &Config) -> Result<()> {
        check_id("machine id", &self.machine)?;
        check_machine(config, self.address)
    }
}

/// A host port that leads to machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    pub id: String,
    pub host: std::net::SocketAddr,
    pub backends: Vec<SocketAddrV4>,
    /// Connections open now.
    #[serde(default)]
    pub connections: usize,
    /// Connections refused because there were too many, or because no backend answered.
    #[serde(default)]
    pub refused: u64,
}

/// A unicast Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// Refuses multicast addresses and all zeros: a card cannot have them.
    pub fn new(bytes: [u8; 6]) -> Result<Self> {
        let [first, ..] = bytes;
        if first & 1 == 1 || bytes == [0; 6] {
            return Err(Error::invalid(format!("{} is no address of a network card", Self(bytes))));
        }
        Ok(Self(bytes))
    }

    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("{text:?} is no Ethernet address such as 52:54:00:12:34:56"));
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part =
                parts.next().filter(|part| part.len() == 2 && !part.contains('+')).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Self::new(bytes)
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

pub(crate) fn check_id(what: &str, id: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if id.is_empty() || id.len() > 64 || id.starts_with('-') || !id.bytes().all(fits) {
        let message = format!("{what} {id:?}: use 1 to 64 of a-z, 0-9 and -, not beginning with -");
        return Err(Error::invalid(message));
    }
    Ok(())
}

pub(crate) fn check_machine(config: &Config, address: Ipv4Addr) -> Result<()> {
    if !config.has_machine(address) || address == config.gateway {
        let Config { subnet, prefix, id, .. } = config;
        let message = format!("{address} is no machine's address in network {id} ({subnet}/{prefix})");
        return Err(Error::invalid(message));
    }
    Ok(())
}

/// A label of a host name (RFC 1123).
fn is_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let ends = text.starts_with('-') || text.ends_with('-');
    !text.is_empty() && text.len() <= 63 && !ends && text.bytes().all(fits)
}

fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            id: "n-1".into(),
            subnet: Ipv4Addr::new(10, 9, 0, 0),
            prefix: 24,
            gateway: Ipv4Addr::new(10, 9, 0, 1),
            domain: "hello.internal".into(),
            egress: Egress::None,
        }
    }

    #[test]
    fn a_sound_network_is_accepted() {
        config().check().unwrap();
        let egress = Egress::Allow(vec!["mirror.example.org:443".into(), "192.0.2.1:*".into()]);
        Config { egress, ..config() }.check().unwrap();
    }

    #[test]
    fn what_could_not_work_is_refused() {
        let wrong = [
            Config { id: "../x".into(), ..config() },
            Config { id: String::new(), ..config() },
            Config { prefix: 30, ..config() },
            Config { prefix: 7, ..config() },
            Config { subnet: Ipv4Addr::new(10, 9, 0, 4), ..config() },
            Config { subnet: Ipv4Addr::new(8, 8, 8, 0), gateway: Ipv4Addr::new(8, 8, 8, 1), ..config() },
            Config { gateway: Ipv4Addr::new(10, 9, 1, 1), ..config() },
            Config { gateway: Ipv4Addr::new(10, 9, 0, 255), ..config() },
            Config { domain: "a\nserver=1.2.3.4".into(), ..config() },
            Config { domain: "a..b".into(), ..config() },
            Config { egress: Egress::Allow(vec!["x".into()]), ..config() },
            Config { egress: Egress::Allow(vec!["x:0".into()]), ..config() },
            Config { egress: Egress::Allow(vec!["x/y:1".into()]), ..config() },
            Config { egress: Egress::Allow(vec!["1.2.3:1".into()]), ..config() },
            Config { egress: Egress::Allow(vec!["x:1".into(); MAX_ALLOWED + 1]), ..config() },
        ];
        for config in wrong {
            assert!(config.check().is_err(), "{config:?}");
        }
    }

    #[test]
    fn hardware_addresses_read_as_they_print() {
        let mac: Mac = "52:54:00:12:34:5F".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:12:34:5f");
        for wrong in ["", "52:54:00:12:34", "52:54:00:12:34:5f:00", "+2:54:00:12:34:5f", "01:00:00:00:00:01"]
        {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }
}
