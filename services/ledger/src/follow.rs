//! Following the event logs of the services.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Actor, Result};
use hafen_client::wire::Event;
use hafen_work::{Feed, Next, Reconciler, Wake};
use serde_json::json;
use tokio::sync::watch;

use crate::Ledger;
use crate::model::NewEntry;
use crate::store::{checkpoint, entry};

/// Events of one transaction.
const BATCH: u32 = 500;

pub struct Follow(pub Ledger);

/// Wakes the follower whenever this feed may have grown.
pub async fn ring(feed: Arc<dyn Feed>, wake: Wake, mut stop: watch::Receiver<bool>) {
    let mut bell = feed.subscribe();
    loop {
        tokio::select! {
            stopped = stop.changed() => {
                if stopped.is_err() || *stop.borrow() {
                    return;
                }
            }
            rung = bell.changed() => {
                if rung.is_err() {
                    return;
                }
                wake.wake(feed.service());
            }
        }
    }
}

fn outcome(kind: &str) -> &'static str {
    if kind.ends_with("failed") { "failed" } else { "done" }
}

fn of_event(service: &str, event: Event) -> NewEntry {
    NewEntry {
        service: service.to_owned(),
        seq: event.seq,
        happened: event.at,
        actor: event.actor,
        outcome: outcome(&event.kind).to_owned(),
        kind: event.kind,
        project: event.project,
        object: event.object,
        message: event.message,
        data: event.data,
    }
}

#[async_trait]
impl Reconciler for Follow {
    fn name(&self) -> &'static str {
        "ledger.follow"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        Ok(self.0.0.feeds.iter().map(|feed| feed.service().to_owned()).collect())
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let parts = &self.0.0;
        let Some(feed) = parts.feeds.iter().find(|feed| feed.service() == key) else { return Ok(Next::Done) };
        parts.check_accepting()?;
        let after = checkpoint::followed(parts.db.reader(), key).await?;
        let events = feed.read(after, BATCH).await?;
        let (Some(first), Some(last)) = (events.first().map(|e| e.seq), events.last().map(|e| e.seq)) else {
            return Ok(Next::Done);
        };
        let full = u32::try_from(events.len()).is_ok_and(|count| count >= BATCH);
        let mut tx = parts.db.write().await?;
        // Another follower may have been faster; its entries and this place are one transaction.
        if checkpoint::followed(&mut *tx, key).await? != after {
            return Ok(Next::Now);
        }
        if first > after + 1 {
            self.lost(&mut tx, key, after + 1, first - 1).await?;
        }
        let mut entries: Vec<NewEntry> = Vec::with_capacity(events.len());
        for event in events {
            // The place above says that it was not; this is for a place that was brought back from an older backup.
            if !entry::known(&mut *tx, key, event.seq).await? {
                entries.push(of_event(key, event));
            }
        }
        let (shard, _) = self.0.append(&mut tx, &entries).await?;
        checkpoint::set_followed(&mut tx, key, last).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        self.0.grown(&shard);
        Ok(if full { Next::Now } else { Next::Done })
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(5)
    }
}

impl Follow {
    /// Events that their service dropped before they were read. What cannot be known any more is at least known to be missing.
    async fn lost(&self, tx: &mut hafen_db::Tx, service: &str, from: i64, to: i64) -> Result<()> {
        let message =
            format!("events {from} to {to} of {service} were dropped there before the ledger read them");
        tracing::error!("{message}");
        let new = NewEntry {
            service: String::new(),
            seq: 0,
            happened: self.0.0.now(),
            actor: Actor::platform(),
            kind: "ledger.gap".into(),
            outcome: "failed".into(),
            project: String::new(),
            object: format!("feed/{service}"),
            message,
            data: json!({ "from": from, "to": to }),
        };
        self.0.append_own(tx, new).await.map(|_| ())
    }
}
