//! What each client address may do at a time. An IPv6 client is its /64: it has all of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

const SHARDS: usize = 32;
/// Buckets kept in a shard; those that are full again are forgotten first.
const MOST: usize = 4096;

type Key = (u128, u64);

#[derive(Default)]
struct Shard {
    connections: HashMap<u128, u32>,
    buckets: HashMap<Key, Bucket>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

pub struct Clients {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

/// A connection of a client; over when dropped.
pub struct Connection {
    clients: Arc<Clients>,
    key: u128,
}

impl Default for Clients {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

fn key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => u128::from(address.to_bits()),
            None => (address.to_bits() >> 64) << 64,
        },
    }
}

impl Clients {
    fn shard(&self, key: u128) -> Option<&Mutex<Shard>> {
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards.get(at)
    }

    /// Counts a connection, unless the client has as many as it may.
    pub fn connect(self: &Arc<Self>, address: IpAddr, most: u32) -> Option<Connection> {
        let key = key(address);
        let mut shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let count = shard.connections.entry(key).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Connection { clients: Arc::clone(self), key })
    }

    /// Whether one more request to `what` is within `rate` a second; as many at once as in one second.
    pub fn may(&self, address: IpAddr, what: &str, rate: u32) -> bool {
        if rate == 0 {
            return true;
        }
        let key = key(address);
        let Some(shard) = self.shard(key) else { return true };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let full = f64::from(rate);
        if shard.buckets.len() >= MOST {
            shard.buckets.retain(|_, bucket| now.duration_since(bucket.at).as_secs() < 1);
            if shard.buckets.len() >= MOST {
                shard.buckets.clear();
            }
        }
        let bucket = shard.buckets.entry((key, self.hasher.hash_one(what)));
        let bucket = bucket.or_insert(Bucket { left: full, at: now });
        bucket.left = (bucket.left + now.duration_since(bucket.at).as_secs_f64() * full).min(full);
        bucket.at = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(shard) = self.clients.shard(self.key) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = shard.connections.entry(self.key) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// An address as it is written down: enough to tell networks apart, not persons.
pub fn masked(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() & 0xffff_ff00).into()),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => masked(IpAddr::V4(address)),
            None => IpAddr::V6(((address.to_bits() >> 80) << 80).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        for (address, shown) in [
            ("192.0.2.77", "192.0.2.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("::ffff:192.0.2.77", "192.0.2.0"),
        ] {
            assert_eq!(masked(address.parse().unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn connections_and_requests_are_counted_for_each() {
        let clients = Arc::new(Clients::default());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let one = clients.connect(address("2001:db8::1"), 2).unwrap();
        let _two = clients.connect(address("2001:db8::2"), 2).unwrap();
        assert!(clients.connect(address("2001:db8::3"), 2).is_none(), "the same /64");
        assert!(clients.connect(address("2001:db8:0:1::3"), 2).is_some());
        drop(one);
        assert!(clients.connect(address("2001:db8::3"), 2).is_some());
        let client = address("192.0.2.1");
        let within = (0..100).filter(|_| clients.may(client, "a", 10)).count();
        assert!((10..12).contains(&within), "{within}");
        assert!(clients.may(client, "b", 10) && clients.may(address("192.0.2.2"), "a", 10));
        assert!((0..100).all(|_| clients.may(client, "c", 0)));
    }
}
