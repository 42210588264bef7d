//! Watches certificate-transparency logs for certificates of own hosts that nobody here asked for.
//!
//! A log is read from where it stands when it is first seen; what it said before is for others to look through. A certificate is
//! in a log before its authority hands it out, so an unknown one is looked at again after a grace before it is told of. The log's
//! signature is not checked: whoever could forge its answers could as well leave the bad certificate out.

mod fetch;
pub mod leaf;
mod store;

use std::collections::HashMap;
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

/// Leaves in a whole tile.
const TILE: u64 = 256;
/// Tiles read in one step, so that a log far ahead holds up nothing for long.
const STEP: u64 = 64;
const AGAIN: Duration = Duration::from_secs(60);

/// The runner's work: a key for each log.
pub struct Watching {
    edge: Edge,
    fetch: Fetch,
}

impl Watching {
    /// # Errors
    /// Unavailable when this machine has no certificates to know logs by.
    pub fn new(edge: Edge) -> Result<Self> {
        Ok(Self { edge, fetch: Fetch::new()? })
    }
}

#[async_trait]
impl Reconciler for Watching {
    fn name(&self) -> &'static str {
        "edge transparency logs"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        self.edge.sightings_judge().await?;
        Ok(self.edge.0.logs.clone())
    }

    async fn reconcile(&self, url: &str) -> Result<Next> {
        let more = self.edge.log_read(&self.fetch, url).await?;
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
        for url in &self.0.logs {
            positions.extend(store::position(&self.0.db, url).await?);
        }
        Ok(positions)
    }

    /// Reads on in a log; whether there is more at once.
    async fn log_read(&self, fetch: &Fetch, url: &str) -> Result<bool> {
        let base = url.trim_end_matches('/');
        let checkpoint = fetch.get(&format!("{base}/checkpoint"), 1 << 16).await?;
        let size = size_of(&String::from_utf8_lossy(&checkpoint))?;
        let Some(from) = store::position(&self.0.db, url).await? else {
            let mut tx = self.0.db.write().await?;
            store::position_set(&mut tx, url, size).await?;
            tx.commit().await.map_err(store_error)?;
            return Ok(false);
        };
        if size < from {
            return Err(Error::unavailable(format!("the log {url} shrank from {from} to {size} entries")));
        }
        let hosts = Hosts::read(self).await?;
        let (mut at, mut tiles) = (from, 0);
        while at < size && tiles < STEP {
            let index = at / TILE;
            let width = (size - index * TILE).min(TILE);
            let bytes = fetch.get(&format!("{base}/{}", tile_path(index, width)), 64 << 20).await?;
            let entries = leaf::read(&bytes)?;
            if entries.len() as u64 != width {
                return Err(Error::unavailable(format!(
                    "a tile of the log {url} has another length than it says"
                )));
            }
            let skip = usize::try_from(at - index * TILE).unwrap_or(0);
            let mut sightings = Vec::new();
            for (entry, position) in entries.iter().skip(skip).zip(at..) {
                sightings.extend(hosts.sighting(url, position, entry, self.0.now()));
            }
            at = index * TILE + width;
            tiles += 1;
            let mut tx = self.0.db.write().await?;
            for sighting in &sightings {
                store::sighting_insert(&mut tx, sighting).await?;
            }
            store::position_set(&mut tx, url, at).await?;
            tx.commit().await.map_err(store_error)?;
        }
        Ok(at < size)
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
