//! Time limits that cost nothing while nothing is slow: a timer stays armed from one wait to the next, and is only moved when it
//! fires before its time or stands too late.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Waits for the future, at most so long; none when it took longer.
    pub async fn run<F: Future>(&mut self, limit: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut deadline = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            let deadline = if let Some(deadline) = deadline {
                deadline
            } else {
                let chosen = Instant::now() + limit;
                if let Some(sleep) = &mut self.0
                    && (sleep.deadline() > chosen || sleep.is_elapsed())
                {
                    sleep.as_mut().reset(chosen);
                }
                *deadline.insert(chosen)
            };
            let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            while sleep.as_mut().poll(cx).is_ready() {
                if Instant::now() >= deadline {
                    return Poll::Ready(None);
                }
                sleep.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit() {
        let mut timer = Timer::default();
        let began = Instant::now();
        assert_eq!(timer.run(Duration::from_secs(9), async { 1 }).await, Some(1));
        for seconds in [5, 1, 60, 2] {
            let before = Instant::now();
            let never = std::future::pending::<()>();
            assert_eq!(timer.run(Duration::from_secs(seconds), never).await, None);
            assert_eq!(before.elapsed().as_secs(), seconds);
        }
        let slow = tokio::time::sleep(Duration::from_secs(3));
        assert!(timer.run(Duration::from_secs(4), slow).await.is_some());
        assert_eq!(began.elapsed().as_secs(), 71);
    }
}
