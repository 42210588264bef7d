//! nftables in the network's namespace.
//!
//! Two tables. `bridge hafen` looks at frames as they come from a card: only IPv4 and ARP, only
//! with the addresses that this card has, and nobody but dnsmasq answers DHCP. `inet hafen` looks
//! at what is meant for the gateway or wants out. Both drop what they do not know.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::bridge::BRIDGE;
use super::nflog::{ALLOWED, GROUP, REFUSED};
use super::outer::OUTSIDE;
use super::program::run;
use super::state::Tap;
use crate::config::{Allowed, AllowedHost};
use crate::{Config, Egress, Error, Result};

/// Frames from cards. Checked before the bridge learns an address from them.
const CARDS: &str = r"
table bridge hafen
delete table bridge hafen
table bridge hafen {
  set pins { type ifname . ether_addr . ipv4_addr; }
  set macs { type ifname . ether_addr; }
  counter spoofed { }
  chain cards {
    type filter hook prerouting priority -300; policy drop;
    ether type arp iifname . ether saddr . arp saddr ip @pins iifname . arp saddr ether . arp saddr ip @pins accept
    ether type arp arp operation request arp saddr ip 0.0.0.0 iifname . ether saddr @macs iifname . arp saddr ether @macs accept
    ether type ip udp sport 67 counter name spoofed drop
    ether type ip iifname . ether saddr . ip saddr @pins accept
    ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 iifname . ether saddr @macs accept
    ether type { ip, arp } counter name spoofed
  }
}
";

/// Loads the rules for cards. Where the kernel cannot, says so and what it means.
pub(super) async fn load_cards() -> Option<String> {
    let error = run("nft", &["-f", "-"], CARDS).await.err()?;
    Some(format!(
        "protection against forged addresses is off: machines of this network can pose as one another \
         (the kernel refuses nftables rules of the bridge family: {error})"
    ))
}

/// Replaces the addresses that cards may use.
pub(super) async fn pin(taps: &[Tap]) -> Result<()> {
    let mut rules = String::from("flush set bridge hafen pins\nflush set bridge hafen macs\n");
    for tap in taps {
        let (name, mac, address) = (&tap.interface, tap.config.mac, tap.config.address);
        let _ = writeln!(rules, "add element bridge hafen pins {{ \"{name}\" . {mac} . {address} }}");
        let _ = writeln!(rules, "add element bridge hafen macs {{ \"{name}\" . {mac} }}");
    }
    run("nft", &["-f", "-"], &rules).await.map(drop)
}

/// Loads the rules for the gateway and the way out. `host` are addresses of this host.
pub(super) async fn load_gateway(config: &Config, host: &[Ipv4Addr]) -> Result<()> {
    run("nft", &["-f", "-"], &gateway(config, host)?).await.map(drop).map_err(|error| match error {
        Error::Program { output, .. } => Error::Missing {
            what: format!("the kernel refuses this network's firewall: {output}"),
            fix: "a network without firewall is not started; use a kernel with nf_tables (inet, nat, conntrack, log)"
                .into(),
        },
        other => other,
    })
}

/// Replaces this host's addresses.
pub(super) async fn set_host(host: &[Ipv4Addr]) -> Result<()> {
    let rules = format!("flush set inet hafen host\n{}", host_elements(host));
    run("nft", &["-f", "-"], &rules).await.map(drop)
}

fn host_elements(host: &[Ipv4Addr]) -> String {
    host.iter().fold(String::new(), |mut rules, address| {
        let _ = writeln!(rules, "add element inet hafen host {{ {address} }}");
        rules
    })
}

/// The set of the addresses of the destination at `at` of the list, filled by dnsmasq.
pub(super) fn set_of(at: usize) -> String {
    format!("allowed{at}")
}

fn gateway(config: &Config, host: &[Ipv4Addr]) -> Result<String> {
    let allowed = config.allowed()?;
    let mut sets = String::new();
    let mut accept = String::new();
    for (at, Allowed { host, port }) in allowed.iter().enumerate() {
        let to = match host {
            AllowedHost::Address(address) => address.to_string(),
            AllowedHost::Name(_) => {
                let _ = writeln!(sets, "  set {} {{ type ipv4_addr; }}", set_of(at));
                format!("@{}", set_of(at))
            }
        };
        let port = port.map(|port| format!("meta l4proto {{ tcp, udp }} th dport {port} "));
        let _ = writeln!(accept, "    ip daddr {to} {}goto allowed", port.unwrap_or_default());
    }
    let (way_out, last) = match &config.egress {
        Egress::None => ("drop".to_owned(), "refused"),
        Egress::Logged => (format!("oifname \"{OUTSIDE}\" goto outward"), "allowed"),
        Egress::Allow(_) => (format!("oifname \"{OUTSIDE}\" goto outward"), "refused"),
    };
    let elements = host_elements(host);
    // An allowed connection is marked: before its first answer, its packets are new ones still.
    Ok(format!(
        r#"
table inet hafen
delete table inet hafen
table inet hafen {{
  set host {{ type ipv4_addr; }}
{sets}
  chain input {{
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname "lo" accept
    iifname "{BRIDGE}" udp dport {{ 53, 67 }} accept
    iifname "{BRIDGE}" tcp dport 53 accept
    iifname "{BRIDGE}" icmp type echo-request accept
  }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    iifname "{BRIDGE}" oifname "{BRIDGE}" accept
    ct state established,related accept
    ct state invalid drop
    iifname != "{BRIDGE}" drop
    {way_out}
  }}
  chain outward {{
    ip daddr @host goto refused
    ip daddr {{ 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3 }} goto refused
    ct mark 1 accept
{accept}
    goto {last}
  }}
  chain allowed {{
    ct mark set 1
    log prefix "{ALLOWED}" group {GROUP} snaplen 60
    accept
  }}
  chain refused {{
    log prefix "{REFUSED}" group {GROUP} snaplen 60
    reject with icmpx admin-prohibited
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    oifname "{OUTSIDE}" masquerade
  }}
}}
{elements}
"#
    ))
}

/// How many frames with forged addresses were dropped.
pub(super) async fn spoofed() -> Result<u64> {
    let text = run("nft", &["-j", "list", "counter", "bridge", "hafen", "spoofed"], "").await?;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let counters = value.get("nftables").and_then(|list| list.as_array());
    let packets =
        counters.and_then(|list| list.iter().find_map(|item| item.get("counter")?.get("packets")?.as_u64()));
    packets
        .ok_or_else(|| Error::Program { program: "nft".into(), output: format!("unknown answer {text:?}") })
}
