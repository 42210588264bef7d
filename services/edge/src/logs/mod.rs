//! Watches certificate-transparency logs for certificates of own hosts that nobody here asked for.
//!
//! A log is read from where it stands when it is first seen; what it said before is for others to look through. A certificate is
//! in a log before its authority hands it out, so an unknown one is looked at again after a grace before it is told of.
//!
//! Where the log's key is given, what it says is checked (`tree`): that it signed its checkpoint, that this one follows from the last,
//! and that the entries are what it signed. Else its word is taken. A log that contradicts itself is told of at once, one that cannot
//! be read after an hour.

mod fetch;
pub mod leaf;
mod store;
mod tree;

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, Result, Timestamp};
use hafen_db::store_error;
use hafen_work::{NewEvent, Next, Reconciler};
use serde_json::json;

use crate::{Edge, certificate};
use fetch::Fetch;
use leaf::Entry;
use store::Sighting;
pub use tree::LogKey;
use tree::Tree;

/// Leaves in a whole tile.
const TILE: u64 = 256;
/// Tiles read in one step, so that a log far ahead holds up nothing for long.
const STEP: u64 = 64;
const AGAIN: Duration = Duration::from_secs(60);
/// A log that fails for so long is told of.
const FAILING: Duration = Duration::from_secs(3600);
/// Certificates of one host in an hour that are looked at one by one: more are one story, told by these.
const SIGHTINGS: i64 = 100;
const HOUR: i64 = 3_600_000_000;

/// A log to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedLog {
    /// Of its tiles (C2SP static-ct-api).
    pub url: String,
    pub key: Option<LogKey>,
}

impl FromStr for WatchedLog {
    type Err = Error;

    /// `URL`, or `URL=KEY`.
    fn from_str(text: &str) -> Result<Self> {
        let (url, key) = match text.split_once('=') {
            Some((url, key)) => (url, Some(key.parse()?)),
            None => (text, None),
        };
        Ok(Self { url: url.to_owned(), key })
    }
}

/// A log that fails since then, and whether that was told.
struct Failing {
    since: Timestamp,
    told: bool,
}

/// The runner's work: a key for each log.
pub struct Watching {
    edge: Edge,
    fetch: Fetch,
    failing: Mutex<HashMap<String, Failing>>,
}

impl Watching {
    /// # Errors
    /// Unavailable when this machine has no certificates to know logs by.
    pub fn new(edge: Edge) -> Result<Self> {
        Ok(Self { edge, fetch: Fetch::new()?, failing: Mutex::default() })
    }

    fn health(url: &str) -> String {
        format!("transparency log {url}")
    }

    fn well(&self, url: &str) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.remove(url).is_some_and(|failing| failing.told) {
            self.edge.0.health.ok(&Self::health(url));
        }
    }

    /// Tells of a log that cannot be read, once.
    async fn failed(&self, url: &str, error: &Error) -> Result<()> {
        let parts = &self.edge.0;
        let now = parts.now();
        {
            let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
            let failing = failing.entry(url.to_owned()).or_insert(Failing { since: now, told: false });
            if failing.told || (error.code() != tree::UNTRUE && now.since(failing.since) < FAILING) {
                return Ok(());
            }
            failing.told = true;
        }
        parts.health.paused(&Self::health(url), error.message().to_owned());
        let event = NewEvent {
            project: String::new(),
            kind: "alert.log_failing",
            object: format!("log/{url}"),
            message: format!("certificates in the log {url} are not watched: {}", error.message()),
            data: json!({ "log": url, "reason": error.message(), "untrue": error.code() == tree::UNTRUE }),
        };
        let mut tx = parts.db.write().await?;
        parts.events.append(&mut tx, event).await?;
        tx.commit().await.map_err(store_error)?;
        parts.events.ring();
        Ok(())
    }
}

#[async_trait]
impl Reconciler for Watching {
    fn name(&self) -> &'static str {
        "edge transparency logs"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        self.edge.sightings_judge().await?;
        Ok(self.edge.0.logs.iter().map(|log| log.url.clone()).collect())
    }

    async fn reconcile(&self, url: &str) -> Result<Next> {
        let Some(log) = self.edge.0.logs.iter().find(|log| log.url == url) else { return Ok(Next::Done) };
        let more = match self.edge.log_read(&self.fetch, log).await {
            Ok(more) => more,
            Err(error) => {
                self.failed(url, &error).await?;
                return Err(error);
            }
        };
        self.well(url);
        self.edge.sightings_judge().await?;
        Ok(if more { Next::Now } else { Next::After(AGAIN) })
    }

    fn parallel(&self) -> usize {
        2
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// The number of leaves that a checkpoint tells (C2SP tlog-checkpoint).
fn size_of(checkpoint: &str) -> Result<u64> {
    let mut lines = checkpoint.lines();
    let (Some(_origin), Some(size), Some(_root)) = (lines.next(), lines.next(), lines.next()) else {
        return Err(Error::unavailable("the log's checkpoint is none"));
    };
    size.parse().map_err(|_| Error::unavailable("the log's checkpoint has no size"))
}

/// The path of a data tile with so many leaves (C2SP static-ct-api).
fn tile_path(index: u64, width: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    let part = if width < TILE { format!(".p/{width}") } else { String::new() };
    format!("tile/data/{path}{part}")
}

impl Edge {
    /// How far each log was read.
    ///
    /// # Errors
    /// As the database's.
    pub async fn log_positions(&self) -> Result<Vec<u64>> {
        let mut positions = Vec::new();
        for log in &self.0.logs {
            positions.extend(store::position(&self.0.db, &log.url).await?);
        }
        Ok(positions)
    }

    /// Reads on in a log; whether there is more at once.
    async fn log_read(&self, fetch: &Fetch, log: &WatchedLog) -> Result<bool> {
        let url = log.url.as_str();
        let base = url.trim_end_matches('/');
        let checkpoint = fetch.get(&format!("{base}/checkpoint"), 1 << 16).await?;
        let (size, mut tree) = match &log.key {
            None => (size_of(&String::from_utf8_lossy(&checkpoint))?, None),
            Some(key) => {
                let checkpoint = key.checkpoint(&checkpoint)?;
                (checkpoint.size, Some(Tree::new(checkpoint)))
            }
        };
        if let Some(tree) = &mut tree {
            self.tree_check(fetch, base, url, tree).await?;
        }
        let Some(from) = store::position(&self.0.db, url).await? else {
            let mut tx = self.0.db.write().await?;
            store::position_set(&mut tx, url, size).await?;
            if let Some(tree) = &tree {
                store::tree_set(&mut tx, url, size, &tree.checkpoint.root.to_string()).await?;
            }
            tx.commit().await.map_err(store_error)?;
            return Ok(false);
        };
        if size < from {
            let why = format!("the log {url} shrank from {from} to {size} entries");
            return Err(Error::unavailable(why).with_code(tree::UNTRUE));
        }
        let hosts = Hosts::read(self).await?;
        let (mut at, mut tiles) = (from, 0);
        while at < size && tiles < STEP {
            let index = at / TILE;
            let width = (size - index * TILE).min(TILE);
            let bytes = fetch.tile(base, &tile_path(index, width), width, 64 << 20).await?;
            let mut entries = leaf::read(&bytes)?;
            if (entries.len() as u64) < width {
                return Err(Error::unavailable(format!(
                    "a tile of the log {url} has fewer entries than it says"
                )));
            }
            entries.truncate(usize::try_from(width).unwrap_or(usize::MAX));
            if let Some(tree) = &mut tree {
                let hashes = entries.iter().map(|entry| entry.hash).collect();
                tree.holds(fetch, base, index, hashes).await?;
            }
            let skip = usize::try_from(at - index * TILE).unwrap_or(0);
            let mut sightings = Vec::new();
            for (entry, position) in entries.iter().skip(skip).zip(at..) {
                sightings.extend(hosts.sighting(url, position, entry, self.0.now()));
            }
            at = index * TILE + width;
            tiles += 1;
            let mut tx = self.0.db.write().await?;
            let hour = Timestamp::from_micros(self.0.now().micros() - HOUR);
            for sighting in &sightings {
                if store::sightings_since(&mut tx, &sighting.host, hour).await? < SIGHTINGS {
                    store::sighting_insert(&mut tx, sighting).await?;
                }
            }
            store::position_set(&mut tx, url, at).await?;
            tx.commit().await.map_err(store_error)?;
        }
        Ok(at < size)
    }

    /// Whether what the log signed now goes on from what it signed before.
    async fn tree_check(&self, fetch: &Fetch, base: &str, url: &str, tree: &mut Tree) -> Result<()> {
        let (size, root) = (tree.checkpoint.size, tree.checkpoint.root.to_string());
        let Some((old, before)) = store::tree(&self.0.db, url).await? else {
            // Followed without a key until now.
            let mut tx = self.0.db.write().await?;
            store::tree_set(&mut tx, url, size, &root).await?;
            return tx.commit().await.map_err(store_error);
        };
        if (old, &before) == (size, &root) {
            return Ok(());
        }
        let before = before.parse().map_err(|error: hafen_tlog::HashError| Error::internal(error))?;
        tree.follows(fetch, base, old, &before).await?;
        let mut tx = self.0.db.write().await?;
        store::tree_set(&mut tx, url, size, &root).await?;
        tx.commit().await.map_err(store_error)
    }

    /// Tells of certificates that are still unknown after the grace.
    async fn sightings_judge(&self) -> Result<()> {
        let parts = &self.0;
        let grace = i64::try_from(parts.logs_grace.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(parts.now().micros().saturating_sub(grace));
        for sighting in store::sightings_open(&parts.db).await? {
            let known = certificate::store::is_issued(&parts.db, &sighting.serial).await?;
            // Whoever just now asks for one of this name may be about to get it.
            let waits = sighting.seen_at > before
                || certificate::store::is_leased(&parts.db, &sighting.host, parts.now()).await?;
            if !known && waits {
                continue;
            }
            let mut tx = parts.db.write().await?;
            store::sighting_judged(&mut tx, &sighting).await?;
            if !known {
                let project = crate::store::route_find(&mut tx, &sighting.host).await?;
                let event = NewEvent {
                    project: project.filter(|row| !row.absent).map(|row| row.project).unwrap_or_default(),
                    kind: "alert.certificate_unknown",
                    object: format!("certificate/{}", sighting.host),
                    message: format!(
                        "a certificate for {} that Hafen did not ask for stands in a public log: serial {}, issued by {}",
                        sighting.names, sighting.serial, sighting.issuer
                    ),
                    data: json!({ "host": sighting.host, "names": sighting.names, "serial": sighting.serial,
                                  "issuer": sighting.issuer, "log": sighting.log, "position": sighting.position }),
                };
                parts.events.append(&mut tx, event).await?;
            }
            tx.commit().await.map_err(store_error)?;
            parts.events.ring();
        }
        Ok(())
    }
}

/// Own hosts, by name, and by what a star of theirs is over.
struct Hosts {
    names: HashMap<String, String>,
}

impl Hosts {
    async fn read(edge: &Edge) -> Result<Self> {
        let hosts = store::hosts(&edge.0.db).await?;
        Ok(Self { names: hosts.into_iter().map(|host| (host.clone(), host)).collect() })
    }

    /// The own host that a name of a certificate is, or covers, or is covered by.
    fn own(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        if let Some(host) = self.names.get(&name) {
            return Some(host);
        }
        if let Some(rest) = name.strip_prefix("*.") {
            let covered = |host: &&String| host.split_once('.').is_some_and(|(_, parent)| parent == rest);
            return self.names.keys().find(covered).map(String::as_str);
        }
        let (_, rest) = name.split_once('.')?;
        self.names.get(&format!("*.{rest}")).map(String::as_str)
    }

    fn sighting(&self, log: &str, position: u64, entry: &Entry, now: Timestamp) -> Option<Sighting> {
        let host = entry.names.iter().find_map(|name| self.own(name))?;
        let names: Vec<&str> = entry.names.iter().take(20).map(String::as_str).collect();
        Some(Sighting {
            log: log.to_owned(),
            position: i64::try_from(position).unwrap_or(i64::MAX),
            host: host.to_owned(),
            serial: entry.serial.clone(),
            issuer: entry.issuer.clone(),
            names: names.join(", "),
            seen_at: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_tiles() {
        assert_eq!(tile_path(0, 256), "tile/data/000");
        assert_eq!(tile_path(1_234_067, 256), "tile/data/x001/x234/067");
        assert_eq!(tile_path(1000, 7), "tile/data/x001/000.p/7");
    }

    #[test]
    fn own_names() {
        let names = ["shop.example.org", "*.preview.example.org"];
        let hosts =
            Hosts { names: names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect() };
        for (name, own) in [
            ("Shop.example.org", Some("shop.example.org")),
            ("*.example.org", Some("shop.example.org")),
            ("x.preview.example.org", Some("*.preview.example.org")),
            ("*.preview.example.org", Some("*.preview.example.org")),
            ("other.example.org", None),
            ("x.y.preview.example.org", None),
            ("*.org", None),
            ("org", None),
        ] {
            assert_eq!(hosts.own(name), own, "{name}");
        }
    }
}
