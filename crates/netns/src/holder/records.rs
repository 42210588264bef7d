//! What went out and what was refused, kept until somebody has taken it over.
//!
//! The list is bounded, because a machine decides how fast it grows; what had to go is counted. What
//! repeats before it is handed over is one record with a count.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hafen_base::{Clock, SystemClock};
use tokio::sync::Notify;

use crate::wire::{Batch, EgressRecord, Protocol};

/// Records kept for a control plane that is away.
const MAX_RECORDS: usize = 16_384;
/// Records handed over at a time.
const MAX_BATCH: usize = 512;
/// Addresses whose names are remembered.
const MAX_NAMES: usize = 8192;

#[derive(Default)]
pub(super) struct Records {
    inner: Mutex<Inner>,
    pub more: Notify,
}

type Key = (Ipv4Addr, Ipv4Addr, u16, Protocol, bool, Option<String>);

#[derive(Default)]
struct Inner {
    records: VecDeque<EgressRecord>,
    /// The number of the first record in the list.
    first: u64,
    /// Records that were not handed out yet, by what makes them equal, with their number.
    open: HashMap<Key, u64>,
    lost: u64,
    names: HashMap<Ipv4Addr, String>,
    named: VecDeque<Ipv4Addr>,
}

/// One attempt, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub port: u16,
    pub protocol: Protocol,
    pub allowed: bool,
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, attempt: &Attempt) {
        let name = self.lock().names.get(&attempt.destination).cloned();
        self.put(attempt, name);
    }

    /// A lookup that went outside, or one of a name that machines may not reach: there is no address
    /// to refuse later.
    pub(super) fn add_lookup(&self, source: Ipv4Addr, name: &str, allowed: bool) {
        let (destination, protocol) = (Ipv4Addr::UNSPECIFIED, Protocol::Dns);
        let attempt = Attempt { source, destination, port: 0, protocol, allowed };
        self.put(&attempt, Some(name.to_owned()));
    }

    fn put(&self, attempt: &Attempt, name: Option<String>) {
        let Attempt { source, destination, port, protocol, allowed } = *attempt;
        let now = SystemClock.now();
        let key = (source, destination, port, protocol, allowed, name.clone());
        let mut inner = self.lock();
        let first = inner.first;
        if let Some(number) = inner.open.get(&key).copied() {
            let at = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
            if let Some(record) = inner.records.get_mut(at) {
                record.count += 1;
                record.last = now;
                return;
            }
        }
        if inner.records.len() >= MAX_RECORDS {
            // The oldest tell more: a flood comes last.
            inner.lost += 1;
        } else {
            let number = inner.first + inner.records.len() as u64;
            inner.records.push_back(EgressRecord {
                source,
                destination,
                port,
                protocol,
                name,
                allowed,
                count: 1,
                first: now,
                last: now,
            });
            inner.open.insert(key, number);
        }
        drop(inner);
        self.more.notify_waiters();
    }

    /// The kernel dropped some before they could be read.
    pub(super) fn lose(&self) {
        self.lock().lost += 1;
        self.more.notify_waiters();
    }

    /// A lookup told a machine this address.
    pub(super) fn learn(&self, address: Ipv4Addr, name: &str) {
        let mut inner = self.lock();
        if inner.names.insert(address, name.to_owned()).is_none() {
            inner.named.push_back(address);
            if inner.named.len() > MAX_NAMES
                && let Some(oldest) = inner.named.pop_front()
            {
                inner.names.remove(&oldest);
            }
        }
    }

    /// The records after number `after`, which from now on do not change.
    pub(super) fn batch(&self, after: u64) -> Option<Batch> {
        let mut inner = self.lock();
        let skip = usize::try_from(after.saturating_sub(inner.first)).unwrap_or(usize::MAX);
        let records: Vec<_> = inner.records.iter().skip(skip).take(MAX_BATCH).cloned().collect();
        if records.is_empty() && inner.lost == 0 {
            return None;
        }
        let upto = after.max(inner.first) + records.len() as u64;
        inner.open.retain(|_, number| *number >= upto);
        Some(Batch { records, lost: inner.lost, upto })
    }

    /// Somebody has the records before number `upto`, and knows of `lost`.
    pub(super) fn taken(&self, upto: u64, lost: u64) {
        let mut inner = self.lock();
        while inner.first < upto && inner.records.pop_front().is_some() {
            inner.first += 1;
        }
        inner.lost = inner.lost.saturating_sub(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(port: u16) -> Attempt {
        let destination = Ipv4Addr::new(192, 0, 2, 1);
        Attempt {
            source: Ipv4Addr::new(10, 0, 0, 2),
            destination,
            port,
            protocol: Protocol::Tcp,
            allowed: true,
        }
    }

    #[test]
    fn what_repeats_is_counted_until_it_is_handed_out() {
        let records = Records::default();
        records.learn(Ipv4Addr::new(192, 0, 2, 1), "www.example.com");
        records.add(&attempt(80));
        records.add(&attempt(80));
        let batch = records.batch(0).unwrap();
        assert_eq!((batch.records[0].count, batch.upto), (2, 1));
        assert_eq!(batch.records[0].name.as_deref(), Some("www.example.com"));
        records.add(&attempt(80));
        // Not acknowledged: handed out again to whoever asks from the start.
        assert_eq!(records.batch(0).unwrap().records.len(), 2);
        records.taken(1, 0);
        assert_eq!(records.batch(0).unwrap().upto, 2);
        records.taken(2, 0);
        assert!(records.batch(0).is_none());
    }

    #[test]
    fn a_flood_is_counted_not_kept() {
        let records = Records::default();
        let many = u16::try_from(MAX_RECORDS).unwrap() + 10;
        (1..=many).for_each(|port| records.add(&attempt(port)));
        let batch = records.batch(0).unwrap();
        assert_eq!((batch.records.len(), batch.lost), (MAX_BATCH, 10));
        records.taken(batch.upto, batch.lost);
        assert_eq!(records.batch(batch.upto).unwrap().lost, 0);
    }
}
