//! News from holders: destinations, and deaths.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::wire::{Ack, Batch, EgressRecord, Request, Wire};
use crate::{Error, Network, Networks, Result};

/// Something that happened in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A machine reached a destination, or was refused.
    Egress(EgressRecord),
    /// So many destinations could not be recorded, because there were too many at once.
    EgressLost { count: u64 },
    /// The holder of this generation is gone, and with it the network of every machine that had a tap
    /// of it: ensure the network and restart those machines. Comes also when the network is deleted.
    HolderDied { generation: String },
}

/// The news of one network, from where the last watcher left off.
pub struct Watch {
    wire: Option<Wire>,
    generation: String,
    due: VecDeque<Notice>,
    ack: Option<Ack>,
}

impl Network {
    /// Watches this network. Records that nobody watched are handed over first.
    pub async fn watch(&self) -> Result<Watch> {
        let mut wire = self.connect().await?;
        let broken = |error: std::io::Error| Error::holder(self.id(), format!("cannot be watched: {error}"));
        wire.send(&Request::Watch, None).await.map_err(broken)?;
        let hello = wire.receive::<Batch>().await.map_err(broken)?;
        if hello.is_none() {
            return Err(Error::holder(self.id(), "died before it answered"));
        }
        let ack = Some(Ack { upto: 0, lost: 0 });
        Ok(Watch { wire: Some(wire), generation: self.generation().into(), due: VecDeque::new(), ack })
    }
}

impl Watch {
    /// The next notice. By asking, the caller says that it is done with those before: a record that
    /// was given out when the caller died comes again. Nothing after [`Notice::HolderDied`].
    ///
    /// May be dropped before it is ready without losing anything.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            if let Some(notice) = self.due.pop_front() {
                return Some(notice);
            }
            let wire = self.wire.as_mut()?;
            let talk = async {
                if let Some(ack) = &self.ack {
                    // Fits into the socket's buffer: it is sent whole or not at all.
                    wire.send(ack, None).await?;
                    self.ack = None;
                }
                wire.receive::<Batch>().await
            };
            if let Ok(Some((batch, _))) = talk.await {
                self.due.extend(batch.records.into_iter().map(Notice::Egress));
                if batch.lost > 0 {
                    self.due.push_back(Notice::EgressLost { count: batch.lost });
                }
                self.ack = Some(Ack { upto: batch.upto, lost: batch.lost });
            } else {
                self.wire = None;
                return Some(Notice::HolderDied { generation: std::mem::take(&mut self.generation) });
            }
        }
    }
}

impl Networks {
    /// The news of all networks below this root, also of those that are ensured later: the network's
    /// id, and what happened. Ends when the receiver is dropped.
    ///
    /// A notice is acknowledged to the holder once the next one was put into the channel.
    pub fn watch(&self) -> mpsc::Receiver<(String, Notice)> {
        let (sender, receiver) = mpsc::channel(64);
        let networks = self.clone();
        tokio::spawn(async move {
            let mut watched: HashMap<String, JoinHandle<()>> = HashMap::new();
            let mut look = interval(Duration::from_secs(1));
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = look.tick() => {}
                    () = networks.ensured() => {}
                    () = sender.closed() => break,
                }
                watched.retain(|_, task| !task.is_finished());
                for config in networks.list().unwrap_or_default() {
                    if watched.contains_key(&config.id) {
                        continue;
                    }
                    let Ok(network) = networks.get(&config.id).await else { continue };
                    let Ok(watch) = network.watch().await else { continue };
                    watched
                        .insert(config.id.clone(), tokio::spawn(forward(config.id, watch, sender.clone())));
                }
            }
            for task in watched.into_values() {
                task.abort();
            }
        });
        receiver
    }
}

async fn forward(id: String, mut watch: Watch, sender: mpsc::Sender<(String, Notice)>) {
    while let Some(notice) = watch.next().await {
        if sender.send((id.clone(), notice)).await.is_err() {
            return;
        }
    }
}
