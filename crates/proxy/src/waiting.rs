//! Connections of clients that wait for their next request: when there is room for no more, the one that has waited longest
//! makes it, so that whoever holds many silent ones keeps out nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Default)]
pub struct Waiting(Mutex<Line>);

#[derive(Default)]
struct Line {
    next: u64,
    /// By when they began to wait.
    places: BTreeMap<u64, Arc<Notify>>,
}

/// A place in the line; given back when dropped.
pub struct Place<'a> {
    waiting: &'a Waiting,
    number: u64,
    bell: Arc<Notify>,
}

impl Waiting {
    pub fn enter(&self) -> Place<'_> {
        let bell = Arc::new(Notify::new());
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = line.next;
        line.next += 1;
        line.places.insert(number, Arc::clone(&bell));
        Place { waiting: self, number, bell }
    }

    /// Has the one that waits longest go; false when none waits.
    pub fn oldest_end(&self) -> bool {
        let oldest = self.0.lock().unwrap_or_else(PoisonError::into_inner).places.pop_first();
        oldest.is_some_and(|(_, bell)| {
            bell.notify_one();
            true
        })
    }
}

impl Place<'_> {
    /// Ends when somebody else needs the room.
    pub async fn needed(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.places.remove(&self.number);
    }
}
