//! The reconcile runner: keys come in by `Wake` or by the regular sweep; each is worked on by one task at a time.
//!
//! A failing key waits longer each time and holds up no other. A failing sweep (the database is away) pauses the
//! runner, shows in `Health`, and is tried again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Clock, Result, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::Health;

/// What a reconcile leaves to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Reality is as wanted; wake me when that changes.
    Done,
    /// Look again at once: this was one step of several.
    Now,
    /// Look again after this time.
    After(Duration),
}

/// Brings reality to what is wanted, one key at a time, from any point.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// For logs and health.
    fn name(&self) -> &'static str;

    /// Keys that may need work: read at start and at every sweep.
    ///
    /// # Errors
    /// As the database's; pauses the runner.
    async fn pending(&self) -> Result<Vec<String>>;

    /// One step for this key.
    ///
    /// # Errors
    /// Any; the key is tried again with a growing delay.
    async fn reconcile(&self, key: &str) -> Result<Next>;

    /// How many keys at a time.
    fn parallel(&self) -> usize {
        32
    }

    /// How often `pending` is read, beside wakes.
    fn sweep(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// Wakes a runner; cheap, never blocks, may be called before the runner runs.
#[derive(Clone)]
pub struct Wake(mpsc::UnboundedSender<String>);

impl Wake {
    pub fn wake(&self, key: impl Into<String>) {
        // A runner that has stopped needs no waking: its next start sweeps.
        let _stopped = self.0.send(key.into());
    }
}

/// Drives one reconciler.
pub struct Runner {
    reconciler: Arc<dyn Reconciler>,
    clock: Arc<dyn Clock>,
    health: Health,
    wakes: mpsc::UnboundedReceiver<String>,
    keys: Keys,
}

/// Every key that is worked on, stands in the queue, or waits.
#[derive(Debug, Default)]
struct Keys {
    states: HashMap<String, KeyState>,
    queue: VecDeque<String>,
    /// When keys are due, soonest first. One that no longer says what its key's state says is stale and means nothing: so
    /// ten thousand keys that wait cost nothing at each of the events of the others.
    timers: BinaryHeap<Reverse<(Timestamp, String)>>,
}

#[derive(Debug, Default)]
struct KeyState {
    running: bool,
    /// Woken while it ran: run once more.
    again: bool,
    failures: u32,
    due: Option<Timestamp>,
    queued: bool,
}

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

impl Runner {
    /// A channel to wake a reconciler by, made before the reconciler so that both can be built in any order.
    pub fn channel() -> (Wake, mpsc::UnboundedReceiver<String>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Wake(sender), receiver)
    }

    pub fn new(
        reconciler: Arc<dyn Reconciler>,
        wakes: mpsc::UnboundedReceiver<String>,
        clock: Arc<dyn Clock>,
        health: Health,
    ) -> Self {
        Self { reconciler, clock, health, wakes, keys: Keys::default() }
    }

    /// Runs until `stop` turns true; then waits for steps under way.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let name = self.reconciler.name();
        let mut tasks: JoinSet<(String, Result<Next>)> = JoinSet::new();
        let mut task_keys: HashMap<tokio::task::Id, String> = HashMap::new();
        let mut next_sweep = self.clock.now();
        let mut sweep_failures = 0;
        self.health.ok(name);
        loop {
            let now = self.clock.now();
            if now >= next_sweep {
                match self.reconciler.pending().await {
                    Ok(pending) => {
                        sweep_failures = 0;
                        self.health.ok(name);
                        for key in pending {
                            self.keys.swept(key);
                        }
                        next_sweep = now.plus(self.reconciler.sweep());
                    }
                    Err(error) => {
                        sweep_failures += 1;
                        let wait = retry_after(sweep_failures);
                        tracing::error!(runner = name, cause = %error.cause_chain(), "{error}; trying again in {wait:?}");
                        self.health
                            .paused(name, format!("{error}; tries again every {} s", wait.as_secs().max(1)));
                        next_sweep = now.plus(wait);
                    }
                }
            }
            let soonest = self.keys.due(now).map_or(next_sweep, |due| due.min(next_sweep));
            while tasks.len() < self.reconciler.parallel() {
                let Some(key) = self.keys.next() else { break };
                let reconciler = Arc::clone(&self.reconciler);
                let handle = tasks.spawn({
                    let key = key.clone();
                    async move {
                        let outcome = reconciler.reconcile(&key).await;
                        (key, outcome)
                    }
                });
                task_keys.insert(handle.id(), key);
            }
            let wait = soonest.since(self.clock.now());
            tokio::select! {
                _ = stop.changed() => {
                    if *stop.borrow() {
                        break;
                    }
                }
                Some(key) = self.wakes.recv() => {
                    self.keys.woken(key);
                    while let Ok(key) = self.wakes.try_recv() {
                        self.keys.woken(key);
                    }
                }
                Some(ended) = tasks.join_next_with_id() => {
                    let (id, key, outcome) = match ended {
                        Ok((id, (key, outcome))) => (id, key, outcome),
                        Err(error) => {
                            let Some(key) = task_keys.get(&error.id()).cloned() else { continue };
                            (error.id(), key, Err(hafen_base::Error::internal(error)))
                        }
                    };
                    task_keys.remove(&id);
                    self.ended(key, outcome);
                }
                () = self.clock.sleep(wait) => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    fn ended(&mut self, key: String, outcome: Result<Next>) {
        let Some(state) = self.keys.states.get_mut(&key) else { return };
        state.running = false;
        let again = std::mem::take(&mut state.again);
        match outcome {
            Ok(next) => {
                state.failures = 0;
                if again || next == Next::Now {
                    state.queued = true;
                    self.keys.queue.push_back(key);
                } else if let Next::After(wait) = next {
                    self.keys.wait_until(key, self.clock.now().plus(wait));
                } else {
                    self.keys.states.remove(&key);
                }
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let wait = retry_after(state.failures);
                let runner = self.reconciler.name();
                tracing::warn!(runner, %key, cause = %error.cause_chain(), "{error}; trying again in {wait:?}");
                let wait = if again { FIRST_RETRY } else { wait };
                self.keys.wait_until(key, self.clock.now().plus(wait));
            }
        }
    }
}

impl Keys {
    /// A key that a sweep found. One that waits for its retry keeps waiting.
    fn swept(&mut self, key: String) {
        let state = self.states.entry(key.clone()).or_default();
        if !state.running && !state.queued && state.due.is_none() {
            state.queued = true;
            self.queue.push_back(key);
        }
    }

    /// A wake is news: it ends the wait of a failing key.
    fn woken(&mut self, key: String) {
        let state = self.states.entry(key.clone()).or_default();
        state.due = None;
        if state.running {
            state.again = true;
        } else if !state.queued {
            state.queued = true;
            self.queue.push_back(key);
        }
    }

    fn wait_until(&mut self, key: String, due: Timestamp) {
        if let Some(state) = self.states.get_mut(&key) {
            state.due = Some(due);
            self.timers.push(Reverse((due, key)));
        }
    }

    /// Queues what is due; gives when to look again.
    fn due(&mut self, now: Timestamp) -> Option<Timestamp> {
        while let Some(Reverse((due, key))) = self.timers.peek() {
            let state = self.states.get_mut(key).filter(|state| state.due == Some(*due));
            if state.is_some() && *due > now {
                return Some(*due);
            }
            if let Some(state) = state {
                state.due = None;
                if state.running {
                    state.again = true;
                } else if !state.queued {
                    state.queued = true;
                    self.queue.push_back(key.clone());
                }
            }
            self.timers.pop();
        }
        None
    }

    /// Takes the next key of the queue to be worked on.
    fn next(&mut self) -> Option<String> {
        let key = self.queue.pop_front()?;
        let state = self.states.entry(key.clone()).or_default();
        state.queued = false;
        state.running = true;
        Some(key)
    }
}

fn retry_after(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use hafen_base::{Error, SteppedClock};

    use super::*;

    struct Flaky {
        calls: AtomicU32,
        done: watch::Sender<u32>,
    }

    #[async_trait]
    impl Reconciler for Flaky {
        fn name(&self) -> &'static str {
            "flaky"
        }

        async fn pending(&self) -> Result<Vec<String>> {
            Ok(vec!["a".into()])
        }

        async fn reconcile(&self, _key: &str) -> Result<Next> {
            let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            self.done.send_replace(call);
            match call {
                1 => Err(Error::unavailable("not yet")),
                2 => panic!("a bug in a reconciler"),
                3 => Ok(Next::Now),
                _ => Ok(Next::After(Duration::from_secs(3600))),
            }
        }

        fn sweep(&self) -> Duration {
            Duration::from_secs(600)
        }
    }

    #[tokio::test]
    async fn failures_and_panics_are_retried_and_the_runner_stops() {
        let clock = SteppedClock::new();
        let (done, mut calls) = watch::channel(0);
        let flaky = Arc::new(Flaky { calls: AtomicU32::new(0), done });
        let (_wake, wakes) = Runner::channel();
        let (stop, stopped) = watch::channel(false);
        let runner = Runner::new(flaky, wakes, Arc::new(clock.clone()), Health::default());
        let running = tokio::spawn(runner.run(stopped));
        calls.wait_for(|n| *n == 1).await.unwrap();
        for _ in 0..200 {
            if *calls.borrow() >= 4 {
                break;
            }
            clock.step(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
        assert_eq!(*calls.borrow(), 4);
        stop.send(true).unwrap();
        running.await.unwrap();
    }
}
