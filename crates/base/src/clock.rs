//! Time, passed in. Instants are UTC microseconds, as in the databases.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

/// UTC microseconds since 1970; RFC 3339 on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds, 0 before 1970.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time since `earlier`; zero when that lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(time.as_microsecond()))
    }
}

/// A clock that can also wait.
#[async_trait]
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that stands still until a test steps it.
#[derive(Clone, Default)]
pub struct SteppedClock(Arc<Mutex<Stepped>>);

#[derive(Default)]
struct Stepped {
    now: i64,
    sequence: u64,
    sleepers: BTreeMap<(i64, u64), oneshot::Sender<()>>,
}

impl SteppedClock {
    /// Starts at a fixed instant in 2026.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Stepped { now: 1_790_000_000_000_000, ..Stepped::default() })))
    }

    /// Moves time on and wakes whoever slept until then, in order.
    pub fn step(&self, duration: Duration) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp(inner.now).plus(duration).0;
        inner.now = now;
        let later = inner.sleepers.split_off(&(now + 1, 0));
        for (_, sleeper) in std::mem::replace(&mut inner.sleepers, later) {
            // A sleeper that was dropped in the meantime has nobody to wake.
            let _gone = sleeper.send(());
        }
    }
}

#[async_trait]
impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.lock().unwrap_or_else(PoisonError::into_inner).now)
    }

    async fn sleep(&self, duration: Duration) {
        let receiver = {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let at = Timestamp(inner.now).plus(duration).0;
            if at <= inner.now {
                return;
            }
            inner.sequence += 1;
            let (sender, receiver) = oneshot::channel();
            let key = (at, inner.sequence);
            inner.sleepers.insert(key, sender);
            receiver
        };
        // The sender lives in the clock; if the clock is gone the test is over.
        let _over = receiver.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_back() {
        let time = Timestamp::from_micros(1_790_000_000_123_456);
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(text, "\"2026-09-21T14:13:20.123456Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), time);
    }

    #[tokio::test]
    async fn a_stepped_clock_wakes_sleepers_in_time() {
        let clock = SteppedClock::new();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        clock.step(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.step(Duration::from_secs(1));
        sleeper.await.unwrap();
    }
}
