//! Bytes as they come, in one direction of a connection that is the endpoint's and the client's now.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::wire::{Broken, Input, Output};

pub async fn pump<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    input: &mut Input<R>,
    output: &mut Output<W>,
    quiet: &Quiet,
    limit: Duration,
) -> Result<(), Broken> {
    output.flush(limit).await?;
    loop {
        if !input.buffer.is_empty() {
            quiet.heard();
            output.straight(&input.buffer, limit).await?;
            output.flush(limit).await?;
            input.buffer.clear();
        }
        match input.fill(quiet.left()).await {
            Ok(0) => {
                output.close(limit).await;
                return Ok(());
            }
            // The other direction was not: who only listens is no less there.
            Err(Broken::Slow) if !quiet.left().is_zero() => {}
            other => drop(other?),
        }
    }
}

/// For how long nothing came from either side.
pub struct Quiet {
    since: Mutex<Instant>,
    most: Duration,
}

impl Quiet {
    pub fn new(most: Duration) -> Self {
        Self { since: Mutex::new(Instant::now()), most }
    }

    pub fn heard(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub fn left(&self) -> Duration {
        self.most.saturating_sub(self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed())
    }
}
