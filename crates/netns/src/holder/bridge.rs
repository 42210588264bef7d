//! The bridge that a network's taps are attached to, and the kernel's settings around it.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use super::program::run;
use crate::{Config, Error, Result, TapConfig};

pub(super) const BRIDGE: &str = "br0";

/// Makes the bridge in a fresh namespace. Gives back what could not be set, in sentences.
pub(super) async fn make(config: &Config) -> Result<Vec<String>> {
    let mut degraded = Vec::new();
    // Defaults first: they hold for interfaces made later.
    for (name, value, protects) in SETTINGS {
        if let Err(error) = std::fs::write(format!("/proc/sys/net/{name}"), value)
            && let Some(protects) = protects
        {
            degraded.push(format!("{protects} is off: cannot set net/{name} ({error})"));
        }
    }
    let Config { gateway, prefix, .. } = config;
    let [a, b, c, d] = gateway.octets();
    // The address is set, because a bridge without one takes it from its ports: it would change
    // whenever a machine comes or goes, and the others would lose their gateway for a while.
    let commands = format!(
        "link set lo up\n\
         link add {BRIDGE} address 02:1a:{a:02x}:{b:02x}:{c:02x}:{d:02x} type bridge \
           stp_state 0 forward_delay 0 mcast_snooping 0\n\
         addr add {gateway}/{prefix} dev {BRIDGE}\n\
         link set {BRIDGE} up\n"
    );
    run("ip", &["-batch", "-"], &commands).await?;
    Ok(degraded)
}

/// What to write below `/proc/sys/net`, and what is lost without.
const SETTINGS: [(&str, &str, Option<&str>); 8] = [
    // IPv6 is also dropped by the firewall; without it there is less to drop.
    ("ipv6/conf/all/disable_ipv6", "1", None),
    ("ipv6/conf/default/disable_ipv6", "1", None),
    // Frames between machines are not the business of the host-wide packet filter; where this
    // cannot be set, a rule lets them pass.
    ("bridge/bridge-nf-call-iptables", "0", None),
    ("bridge/bridge-nf-call-arptables", "0", None),
    ("ipv4/conf/all/rp_filter", "1", Some("the check of the way back")),
    ("ipv4/conf/default/send_redirects", "0", None),
    ("ipv4/conf/all/accept_redirects", "0", None),
    ("ipv4/ip_forward", "1", Some("egress")),
];

/// A new tap on the bridge, with what the kernel would have to ask for: which card has the address. Somebody may have asked
/// before the machine could answer, for one of before at the same address; the next question would be a second away.
/// `stale`: believed at once, and asked about when nothing comes back.
pub(super) async fn attach(name: &str, card: &TapConfig) -> Result<OwnedFd> {
    let tap = crate::sys::open_tap(name)?;
    let TapConfig { address, mac, .. } = card;
    let commands = format!(
        "link set {name} master {BRIDGE} up\n\
         neigh replace {address} lladdr {mac} dev {BRIDGE} nud stale\n"
    );
    run("ip", &["-batch", "-"], &commands).await?;
    Ok(tap)
}

/// Removes a tap. One that vanished with its descriptor is fine.
pub(super) async fn detach(name: &str) -> Result<()> {
    match run("ip", &["link", "delete", name], "").await {
        Err(error) if interfaces()?.contains(name) => Err(error),
        _ => Ok(()),
    }
}

/// All interfaces of the namespace.
pub(super) fn interfaces() -> Result<HashSet<String>> {
    let path = "/proc/self/net/dev";
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    Ok(text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect())
}
