//! How far something is, between its events: told to who listens at this moment, and kept nowhere but in a short memory. So a
//! step of a thousand costs no database and no ledger anything. What must not be lost is an event.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hafen_base::{Actor, Clock, Timestamp};
use tokio::sync::watch;

/// How many are remembered, for readers that are a moment behind.
const REMEMBERED: usize = 1000;

/// Something that went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub at: Timestamp,
    pub project: String,
    /// As `apply.step`.
    pub kind: &'static str,
    /// As `apply/op-…`.
    pub object: String,
    /// For a person.
    pub message: String,
    /// Who has it done, by name.
    pub actor: String,
}

#[derive(Default)]
struct Memory {
    /// Position of the last one; the first has 1.
    last: u64,
    notes: VecDeque<Note>,
}

/// What goes on in one service; cheap to clone.
#[derive(Clone)]
pub struct Progress {
    memory: Arc<Mutex<Memory>>,
    clock: Arc<dyn Clock>,
    bell: Arc<watch::Sender<()>>,
}

impl Progress {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { memory: Arc::default(), clock, bell: Arc::new(watch::Sender::new(())) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of an object, as done by who acts in this task. The teller sees to it that it is not too often.
    pub fn tell(&self, project: &str, kind: &'static str, object: &str, messages: Vec<String>) {
        if messages.is_empty() {
            return;
        }
        let (at, actor) = (self.clock.now(), Actor::current().name);
        let mut memory = self.memory();
        for message in messages {
            memory.last += 1;
            memory.notes.push_back(Note {
                at,
                project: project.to_owned(),
                kind,
                object: object.to_owned(),
                message,
                actor: actor.clone(),
            });
        }
        let over = memory.notes.len().saturating_sub(REMEMBERED);
        memory.notes.drain(..over);
        drop(memory);
        self.bell.send_replace(());
    }

    /// The position of the last one: where a reader begins that wants what comes from now on.
    pub fn last(&self) -> u64 {
        self.memory().last
    }

    /// What was told after a position, in order, and the position of the last; none when some of it is remembered no more.
    pub fn read(&self, after: u64) -> Option<(Vec<Note>, u64)> {
        let memory = self.memory();
        let new = usize::try_from(memory.last.saturating_sub(after)).unwrap_or(usize::MAX);
        let skipped = memory.notes.len().checked_sub(new)?;
        Some((memory.notes.iter().skip(skipped).cloned().collect(), memory.last))
    }

    /// Wakes whenever there is more. Subscribe first, then read, then wait: nothing is missed.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_all_in_order_or_learns_that_it_missed_some() {
        let progress = Progress::new(Arc::new(hafen_base::SteppedClock::new()));
        let mut bell = progress.subscribe();
        bell.mark_unchanged();
        let tell = |from: usize, to: usize| {
            let messages = (from..=to).map(|number| number.to_string()).collect();
            progress.tell("hello", "apply.step", "apply/op-1", messages);
        };
        let read = |after: u64| {
            progress.read(after).map(|(notes, last)| {
                let said = notes.iter().map(|note| note.message.parse::<u64>().unwrap()).collect::<Vec<_>>();
                (said, last)
            })
        };
        assert_eq!(read(0), Some((vec![], 0)));
        tell(1, 0);
        assert!(!bell.has_changed().unwrap());
        tell(1, 3);
        assert!(bell.has_changed().unwrap());
        assert_eq!(read(0), Some((vec![1, 2, 3], 3)));
        assert_eq!(read(2), Some((vec![3], 3)));
        assert_eq!(read(3), Some((vec![], 3)));
        tell(4, REMEMBERED + 2);
        assert_eq!(read(1), None);
        assert_eq!(read(2).unwrap().0.len(), REMEMBERED);
        assert_eq!(progress.memory().notes.len(), REMEMBERED);
    }
}
