//! Reads dnsmasq's log of queries: which name led to which address, and which names were refused.
//!
//! With `--log-queries=extra`, each line bears the number of its query and who asked:
//! `dnsmasq: 7 10.0.0.2/4711 query[A] www.example.com from 10.0.0.2`, then
//! `dnsmasq: 7 10.0.0.2/4711 reply cdn.example.net is 192.0.2.1`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::records::Records;

/// Queries that can be under way at a time, and then some.
const MAX_OPEN: usize = 256;

pub(super) struct Lookups {
    records: Arc<Records>,
    /// Number and name of the last queries.
    open: std::collections::VecDeque<(u64, String)>,
}

impl Lookups {
    pub(super) fn new(records: Arc<Records>) -> Self {
        Self { records, open: std::collections::VecDeque::new() }
    }

    pub(super) fn read(&mut self, line: &str) {
        let Some((_, said)) = line.split_once("dnsmasq: ") else { return };
        let words: Vec<&str> = said.split_whitespace().collect();
        let [number, asker, what, name, verb, value, ..] = words.as_slice() else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        match (*what, *verb) {
            (query, "from") if query.starts_with("query[") => {
                self.open.push_back((number, (*name).to_owned()));
                if self.open.len() > MAX_OPEN {
                    self.open.pop_front();
                }
            }
            // The name that was asked for says more than the last of its aliases.
            ("reply" | "cached", "is") => {
                let asked = self.open.iter().rev().find(|(open, _)| *open == number);
                let asked = asked.map_or(*name, |(_, asked)| asked.as_str());
                if let Ok(address) = value.parse() {
                    self.records.learn(address, asked);
                }
            }
            ("config", "is") if matches!(*value, "REFUSED" | "NXDOMAIN") || *value == "(EDE:" => {
                let source = asker.split('/').next().and_then(|text| text.parse::<Ipv4Addr>().ok());
                if let Some(source) = source {
                    self.records.add_lookup(source, name);
                }
            }
            _ => {}
        }
    }
}
