//! Reads dnsmasq's log of queries: which name led to which address, and which names were refused.
//!
//! With `--log-queries=extra`, each line bears the number of its query and who asked:
//! `dnsmasq[99]: 7 10.0.0.2/4711 query[A] www.example.com from 10.0.0.2`, then
//! `dnsmasq[99]: 7 10.0.0.2/4711 reply cdn.example.net is 192.0.2.1`, or where nobody outside may be
//! asked, `… config error is REFUSED (EDE: not ready)` or `… config www.example.com is NXDOMAIN`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::records::Records;
use crate::{Config, Egress};

/// Queries that can be under way at a time, and then some.
const MAX_OPEN: usize = 256;

pub(super) struct Lookups {
    records: Arc<Records>,
    /// Number and name of the last queries.
    open: VecDeque<(u64, String)>,
    /// The network's own domain, where lookups of other names can be refused.
    refuses_beside: Option<String>,
}

impl Lookups {
    pub(super) fn new(config: &Config, records: Arc<Records>) -> Self {
        let allow = matches!(config.egress, Egress::Allow(_));
        let refuses_beside = allow.then(|| config.domain.to_ascii_lowercase());
        Self { records, open: VecDeque::new(), refuses_beside }
    }

    pub(super) fn read(&mut self, line: &str) {
        let Some((_, said)) = line.split_once(": ") else { return };
        let mut words = said.split_whitespace();
        let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else { return };
        let (Some(asker), Some(what), Some(name), Some(verb), Some(value)) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return;
        };
        if what.starts_with("query[") && verb == "from" {
            self.open.push_back((number, name.to_ascii_lowercase()));
            if self.open.len() > MAX_OPEN {
                self.open.pop_front();
            }
            return;
        }
        // The name that was asked for says more than the last of its aliases.
        let Some((_, asked)) = self.open.iter().rev().find(|(open, _)| *open == number) else { return };
        match (what, value) {
            ("reply" | "cached", address) => {
                if let Ok(address) = address.parse() {
                    self.records.learn(address, asked);
                }
            }
            ("forwarded", _) => self.add(asker, asked, true),
            ("config", "REFUSED" | "NXDOMAIN") if self.is_outside(asked) => self.add(asker, asked, false),
            _ => {}
        }
    }

    fn add(&self, asker: &str, name: &str, allowed: bool) {
        if let Some(source) = asker.split('/').next().and_then(|text| text.parse().ok()) {
            self.records.add_lookup(source, name, allowed);
        }
    }

    /// Whether a name is neither of this network nor the name of an address, and lookups can be refused.
    fn is_outside(&self, name: &str) -> bool {
        let Some(own) = &self.refuses_beside else { return false };
        let below = |domain: &str| {
            name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        name.contains('.') && !below(own) && !below("in-addr.arpa") && !below("ip6.arpa")
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::wire::Protocol;

    #[test]
    fn lookups_are_read_from_the_log() {
        let config = Config {
            id: "n-1".into(),
            subnet: Ipv4Addr::new(10, 0, 0, 0),
            prefix: 24,
            gateway: Ipv4Addr::new(10, 0, 0, 1),
            domain: "hello.internal".into(),
            egress: Egress::Allow(Vec::new()),
        };
        let records = Arc::new(Records::default());
        let mut lookups = Lookups::new(&config, records.clone());
        for line in [
            "dnsmasq[9]: started, version 2.90",
            "dnsmasq[9]: 1 10.0.0.2/1 query[A] www.example.com from 10.0.0.2",
            "dnsmasq[9]: 1 10.0.0.2/1 forwarded www.example.com to 169.254.77.1",
            "dnsmasq[9]: 1 10.0.0.2/1 reply www.example.com is <CNAME>",
            "dnsmasq[9]: 1 10.0.0.2/1 reply cdn.example.net is 192.0.2.1",
            "dnsmasq[9]: 2 10.0.0.2/1 query[A] evil.test from 10.0.0.2",
            "dnsmasq[9]: 2 10.0.0.2/1 config error is REFUSED (EDE: not ready)",
            "dnsmasq[9]: 3 10.0.0.2/1 query[A] web-9.hello.internal from 10.0.0.2",
            "dnsmasq[9]: 3 10.0.0.2/1 config web-9.hello.internal is NXDOMAIN",
            "dnsmasq[9]: 4 10.0.0.2/1 query[PTR] 1.2.0.10.in-addr.arpa from 10.0.0.2",
            "dnsmasq[9]: 4 10.0.0.2/1 config error is REFUSED (EDE: not ready)",
            "nonsense",
        ] {
            lookups.read(line);
        }
        let attempt = super::super::records::Attempt {
            source: Ipv4Addr::new(10, 0, 0, 2),
            destination: Ipv4Addr::new(192, 0, 2, 1),
            port: 443,
            protocol: Protocol::Tcp,
            allowed: true,
        };
        records.add(&attempt);
        let seen = records.batch(0).unwrap().records;
        let names: Vec<_> = seen
            .iter()
            .map(|record| (record.name.as_deref().unwrap(), record.protocol, record.allowed))
            .collect();
        let expected = [
            ("www.example.com", Protocol::Dns, true),
            ("evil.test", Protocol::Dns, false),
            ("www.example.com", Protocol::Tcp, true),
        ];
        assert_eq!(names, expected);
    }
}
