//! Health checks: each started machine with a check is asked at its interval, from inside its network.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, MachineId, Result};
use hafen_client::wire::{Health, MachineState};
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Machines;
use crate::model::MachineRow;
use crate::store;

/// A healthy machine turns unhealthy after this many bad answers in a row: one lost packet is no outage.
const UNHEALTHY_AFTER: i64 = 3;

pub struct Checks {
    machines: Machines,
    /// Answers in a row, good above zero, bad below. In memory: a restart of the platform counts anew.
    streaks: Mutex<HashMap<MachineId, i64>>,
}

impl Checks {
    pub fn new(machines: Machines) -> Self {
        Self { machines, streaks: Mutex::default() }
    }

    fn count(&self, id: MachineId, good: bool) -> i64 {
        let mut streaks = self.streaks.lock().unwrap_or_else(PoisonError::into_inner);
        let streak = streaks.entry(id).or_insert(0);
        *streak = if good { (*streak).max(0) + 1 } else { (*streak).min(0) - 1 };
        *streak
    }

    fn forget(&self, id: MachineId) {
        self.streaks.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    async fn probe(&self, row: &MachineRow, health: &Health) -> Result<()> {
        let parts = &self.machines.0;
        let to = SocketAddrV4::new(row.address, health.port);
        let timeout = Duration::from_millis(u64::try_from(health.timeout_ms).unwrap_or(1000));
        let ask = async {
            let mut stream = parts.engine.dial(row.network_id, to).await?;
            match &health.http {
                None => Ok(()),
                Some(path) => http_probe(&mut stream, path, &row.name).await,
            }
        };
        tokio::select! {
            answer = ask => answer,
            () = parts.clock.sleep(timeout) => Err(Error::unavailable("no answer in time")),
        }
    }
}

async fn http_probe(stream: &mut crate::engine::BoxDuplex, path: &str, host: &str) -> Result<()> {
    let broke = |error: std::io::Error| Error::unavailable(format!("the connection broke: {error}"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hafen-health\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(broke)?;
    // Only the status line is read: what a machine may send is bounded.
    let mut line = Vec::with_capacity(64);
    while line.len() < 64 {
        let byte = stream.read_u8().await.map_err(broke)?;
        if byte == b'\n' {
            break;
        }
        line.push(byte);
    }
    let text = String::from_utf8_lossy(&line);
    let status = text
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse::<u16>().ok());
    match status {
        Some(200..=399) => Ok(()),
        Some(code) => Err(Error::unavailable(format!("it answered {code}"))),
        None => Err(Error::unavailable("it did not answer in HTTP")),
    }
}

#[async_trait]
impl Reconciler for Checks {
    fn name(&self) -> &'static str {
        "machines/health"
    }

    fn parallel(&self) -> usize {
        64
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let rows = store::machine::list_everywhere(self.machines.0.db.reader()).await?;
        Ok(rows.iter().filter(|row| row.health.is_some()).map(|row| row.id.to_string()).collect())
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let parts = &self.machines.0;
        let Some(row) = store::machine::get(parts.db.reader(), key).await? else { return Ok(Next::Done) };
        let Some(health) = row.health.clone() else { return Ok(Next::Done) };
        if row.state != MachineState::Started {
            self.forget(row.id);
            return Ok(Next::Done);
        }
        let answer = self.probe(&row, &health).await;
        let streak = self.count(row.id, answer.is_ok());
        let healthy = if row.healthy { streak > -UNHEALTHY_AFTER } else { streak >= health.healthy_after };
        if healthy != row.healthy {
            let mut tx = parts.db.write().await?;
            if store::machine::set_healthy(&mut tx, &row, healthy, parts.now()).await? {
                let (kind, what) = match &answer {
                    Ok(()) => ("machine.healthy", "is healthy".to_owned()),
                    Err(error) => ("machine.unhealthy", format!("is not healthy: {error}")),
                };
                self.machines.machine_event(&mut tx, &row, kind, &what).await?;
            }
            tx.commit().await.map_err(store_error)?;
            parts.events.ring();
            self.machines.wake_publications(&row.project, row.group.as_deref()).await?;
        }
        let interval = Duration::from_millis(u64::try_from(health.interval_ms).unwrap_or(1000));
        // Until it is healthy it is asked more often, because somebody waits for it.
        let wait =
            if healthy { interval } else { interval.min((interval / 4).max(Duration::from_millis(100))) };
        Ok(Next::After(wait))
    }
}
