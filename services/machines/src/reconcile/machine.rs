//! Machines: look, decide, do the one thing said, come back.

use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::{ImageSource, MachineState, OperationStatus, Usage};
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};

use super::network_config;
use crate::Machines;
use crate::engine::{MachineConfig, Power, Running, Sight, Start};
use crate::model::{MachineRow, WantedState, limit};
use crate::plan::{Action, Needs, decide};
use crate::store;
use crate::store::machine::Seen;

pub struct MachinesReconciler(pub Machines);

#[async_trait]
impl Reconciler for MachinesReconciler {
    fn name(&self) -> &'static str {
        "machines/machines"
    }

    fn parallel(&self) -> usize {
        64
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let parts = &self.0.0;
        // Reality first: a machine created between the two reads has a row by then.
        let sights = parts.engine.machine_list().await?;
        let rows = store::machine::list_everywhere(parts.db.reader()).await?;
        let sights: std::collections::HashMap<_, _> =
            sights.into_iter().map(|sight| (sight.id, sight)).collect();
        let mut keys = Vec::new();
        let mut known = std::collections::HashSet::with_capacity(rows.len());
        for row in &rows {
            known.insert(row.id);
            if needs_work(row, sights.get(&row.id)) {
                keys.push(row.id.to_string());
            }
        }
        for id in sights.keys().filter(|id| !known.contains(id)) {
            if store::machine::is_buried(parts.db.reader(), *id).await? {
                keys.push(id.to_string());
            } else {
                tracing::warn!(machine = %id, "the engine runs a machine that this database does not know; it is left alone");
            }
        }
        Ok(keys)
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let parts = &self.0.0;
        let Some(row) = store::machine::get(parts.db.reader(), key).await? else {
            // A creation that came to its end after the machine was forgotten.
            if let Ok(id) = key.parse()
                && store::machine::is_buried(parts.db.reader(), id).await?
            {
                self.in_time(limit(MachineState::Destroying), parts.engine.machine_delete(id)).await?;
            }
            return Ok(Next::Done);
        };
        let sight = parts.engine.machine_see(row.id).await?;
        let needs = self.needs(&row).await?;
        let action = decide(&row, sight.as_ref(), &needs, parts.now());
        tracing::debug!(machine = row.name, state = row.state.as_str(), ?action, "decided");
        self.act(&row, sight.as_ref(), &needs, action).await
    }
}

fn needs_work(row: &MachineRow, sight: Option<&Sight>) -> bool {
    if row.wanted == WantedState::Destroyed {
        return true;
    }
    if row.observed_generation < row.generation || !row.state.is_settled() {
        return true;
    }
    match (row.state, sight.map(|sight| &sight.power)) {
        (MachineState::Failed, _) | (MachineState::Stopped, Some(Power::Stopped)) => false,
        (MachineState::Started, Some(Power::Running(running))) => running.boot_id != row.boot_id,
        _ => true,
    }
}

impl MachinesReconciler {
    async fn needs(&self, row: &MachineRow) -> Result<Needs> {
        let db = self.0.0.db.reader();
        if let Some(network) = store::network::get(db, &row.network_id.to_string()).await?
            && network.network.state != "ready"
        {
            let network = network.network;
            return Ok(match network.state.as_str() {
                "failed" => Needs::Failed(format!("network {} failed: {}", network.name, network.reason)),
                state => Needs::Waiting(
                    format!("waits for network {}: {state} {}", network.name, network.reason).trim().into(),
                ),
            });
        }
        let name = &row.spec.image;
        Ok(match store::image::find(db, &row.project, name).await? {
            None => Needs::Failed(format!("there is no image {name} any more")),
            Some(image) => match image.image.state.as_str() {
                "ready" => Needs::Ready(image.image.digest),
                "failed" => Needs::Failed(format!("image {name} failed: {}", image.image.reason)),
                state => Needs::Waiting(format!("waits for image {name}: {state}")),
            },
        })
    }

    async fn config(&self, row: &MachineRow, image: &str) -> Result<MachineConfig> {
        let db = self.0.0.db.reader();
        let network = store::network::get(db, &row.network_id.to_string()).await?;
        let network =
            network.ok_or_else(|| Error::unavailable(format!("the network of {} is gone", row.name)))?;
        let source =
            store::image::find(db, &row.project, &row.spec.image).await?.map(|image| image.image.source);
        let firmware = match source {
            Some(ImageSource::Cloud { firmware, .. }) => Some(firmware),
            _ => None,
        };
        Ok(MachineConfig {
            id: row.id,
            instance: row.instance_id,
            disk_instance: row.disk_instance,
            project: row.project.clone(),
            name: row.name.clone(),
            cpus: u32::try_from(row.spec.cpus).unwrap_or(1),
            memory: u64::try_from(row.spec.memory).unwrap_or(0),
            disk: u64::try_from(row.spec.disk).unwrap_or(0),
            image: image.to_owned(),
            firmware,
            network: network_config(&network.network)?,
            address: row.address,
            mac: row.mac.clone(),
            user_data: row.spec.user_data.clone(),
            start: if row.spec.start == "cold" { Start::Cold } else { Start::Warm },
        })
    }

    /// The engine's call, given up when the state it belongs to lasts too long: the next decision then says `failed`.
    /// A settled state is none that passes: what is tried from there (the end of a failed machine) has the full limit.
    async fn bounded<T>(&self, row: &MachineRow, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let spent = if row.state.is_settled() { Duration::ZERO } else { self.0.0.now().since(row.since) };
        self.in_time(limit(row.state).saturating_sub(spent) + Duration::from_secs(1), call).await
    }

    async fn in_time<T>(&self, left: Duration, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        tokio::select! {
            done = call => done,
            () = self.0.0.clock.sleep(left) => Err(Error::unavailable("the engine did not answer in time")),
        }
    }

    async fn act(
        &self,
        row: &MachineRow,
        sight: Option<&Sight>,
        needs: &Needs,
        action: Action,
    ) -> Result<Next> {
        let engine = &self.0.0.engine;
        let image = match needs {
            Needs::Ready(digest) => digest.as_str(),
            _ => row.image_digest.as_str(),
        };
        let done = match action {
            Action::Nothing => return Ok(Next::Done),
            Action::Record { state, reason, again } => {
                return self.record_state(row, state, &reason, again).await;
            }
            Action::RecordStarted(running) => return self.record_started(row, &running, image).await,
            Action::RecordStopped => return self.record_stopped(row).await,
            Action::RecordDeath { reason, wait } => return self.record_death(row, &reason, wait).await,
            Action::Forget => return self.forget(row).await,
            Action::Delete => match self.bounded(row, engine.machine_delete(row.id)).await {
                Ok(()) => return self.forget(row).await,
                Err(error) => Err(error),
            },
            Action::Discard => self.bounded(row, engine.machine_delete(row.id)).await,
            Action::Stop => {
                let done = self.bounded(row, engine.machine_stop(row.id)).await;
                if done.is_ok() && row.restart_wanted > row.restart_seen {
                    return self.record_restart_seen(row).await;
                }
                done
            }
            Action::Create => {
                let config = self.config(row, image).await?;
                self.bounded(row, engine.machine_create(&config)).await
            }
            Action::Configure => {
                let config = self.config(row, image).await?;
                self.bounded(row, engine.machine_configure(&config)).await
            }
            Action::Start => {
                let config = self.config(row, image).await?;
                match self.bounded(row, engine.machine_start(&config)).await {
                    // Saves a look: what start says is what a look would see.
                    Ok(running) => return self.record_started(row, &running, image).await,
                    Err(error) => Err(error),
                }
            }
        };
        let _ = sight;
        match done {
            Ok(()) => Ok(Next::Now),
            Err(error) => self.note_failure(row, error).await,
        }
    }

    /// Keeps the reason where a person sees it. What never will work fails at once; the rest is tried again until the limit.
    async fn note_failure(&self, row: &MachineRow, error: Error) -> Result<Next> {
        if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NoSpace) {
            return self.record_state(row, MachineState::Failed, error.message(), None).await;
        }
        if row.reason != error.message() && !row.state.is_settled() {
            let mut seen = seen_of(row);
            seen.reason = error.message();
            let mut tx = self.0.0.db.write().await?;
            store::machine::set_seen(&mut tx, row.id, row.generation, &seen, self.0.0.now()).await?;
            tx.commit().await.map_err(store_error)?;
            self.0.0.events.ring();
        }
        Err(error)
    }

    async fn record_state(
        &self,
        row: &MachineRow,
        state: MachineState,
        reason: &str,
        again: Option<Duration>,
    ) -> Result<Next> {
        let parts = &self.0.0;
        let next =
            again.map_or(Next::Done, |wait| if wait.is_zero() { Next::Now } else { Next::After(wait) });
        let now = parts.now();
        // Waiting for something else restarts the clock of the state, so that it is written even when nothing else changed;
        // but not more often than the limit needs.
        let waits = !state.is_settled() && !reason.is_empty();
        let fresh = now.since(row.since) < Duration::from_secs(30);
        if row.state == state && row.reason == reason && (!waits || fresh) {
            return Ok(next);
        }
        let failed = state == MachineState::Failed;
        let mut seen = seen_of(row);
        seen.state = state;
        seen.reason = reason;
        seen.since = if row.state == state && !waits { row.since } else { now };
        seen.healthy = false;
        if failed {
            seen.observed_generation = row.generation;
            seen.operation = None;
        }
        let mut tx = parts.db.write().await?;
        if !store::machine::set_seen(&mut tx, row.id, row.generation, &seen, now).await? {
            return Ok(Next::Now);
        }
        if failed {
            self.end_operation(&mut tx, row, OperationStatus::Failed, reason).await?;
        }
        if row.state != state {
            let row = MachineRow { state, ..row.clone() };
            let why = if reason.is_empty() {
                state.as_str().to_owned()
            } else {
                format!("{}: {reason}", state.as_str())
            };
            self.0.machine_event(&mut tx, &row, event_of(state), &format!("is {why}")).await?;
        }
        tx.commit().await.map_err(store_error)?;
        self.changed(row).await?;
        Ok(next)
    }

    async fn record_started(&self, row: &MachineRow, running: &Running, image: &str) -> Result<Next> {
        let same = row.state == MachineState::Started && row.boot_id == running.boot_id;
        let mut seen = seen_of(row);
        seen.state = MachineState::Started;
        seen.reason = "";
        seen.healthy = if same { row.healthy } else { row.health.is_none() };
        if row.health.is_none() {
            seen.healthy = true;
        }
        seen.boot_id = &running.boot_id;
        seen.host_key = &running.host_key;
        // The image a disk was made of is known when it is made; later ones do not touch it.
        if row.image_digest.is_empty()
            || row.state == MachineState::Updating
            || row.state == MachineState::Creating
        {
            seen.image_digest = image;
        }
        seen.since = if same { row.since } else { self.0.0.now() };
        seen.restart_seen = row.restart_wanted;
        seen.observed_generation = row.generation;
        seen.operation = None;
        self.record_settled(row, &seen, "machine.started", "started").await?;
        self.0.0.wakes.check.wake(row.id.to_string());
        Ok(Next::Done)
    }

    async fn record_stopped(&self, row: &MachineRow) -> Result<Next> {
        let mut seen = seen_of(row);
        seen.state = MachineState::Stopped;
        seen.reason = "";
        seen.healthy = false;
        seen.since = self.0.0.now();
        seen.restart_seen = row.restart_wanted;
        seen.observed_generation = row.generation;
        seen.operation = None;
        self.record_settled(row, &seen, "machine.stopped", "stopped").await?;
        Ok(Next::Done)
    }

    async fn record_settled(
        &self,
        row: &MachineRow,
        seen: &Seen<'_>,
        kind: &'static str,
        what: &str,
    ) -> Result<()> {
        let parts = &self.0.0;
        let mut tx = parts.db.write().await?;
        if !store::machine::set_seen(&mut tx, row.id, row.generation, seen, parts.now()).await? {
            parts.wakes.machine.wake(row.id.to_string());
            return Ok(());
        }
        self.end_operation(&mut tx, row, OperationStatus::Succeeded, "").await?;
        if row.state != seen.state || row.boot_id != seen.boot_id {
            let row = MachineRow { state: seen.state, ..row.clone() };
            self.0.machine_event(&mut tx, &row, kind, what).await?;
        }
        tx.commit().await.map_err(store_error)?;
        self.changed(row).await
    }

    /// The machine stopped as the first half of a restart: what follows is a plain start.
    async fn record_restart_seen(&self, row: &MachineRow) -> Result<Next> {
        let mut seen = seen_of(row);
        seen.restart_seen = row.restart_wanted;
        let mut tx = self.0.0.db.write().await?;
        store::machine::set_seen(&mut tx, row.id, row.generation, &seen, self.0.0.now()).await?;
        tx.commit().await.map_err(store_error)?;
        Ok(Next::Now)
    }

    async fn record_death(&self, row: &MachineRow, reason: &str, wait: Duration) -> Result<Next> {
        let parts = &self.0.0;
        let now = parts.now();
        // A machine that ran well for a while gets its restarts back.
        let restarts = if now.since(row.since) > Duration::from_secs(600) { 1 } else { row.restarts + 1 };
        let text = format!("died ({reason}); restart {restarts} follows in {} s", wait.as_secs());
        let mut seen = seen_of(row);
        seen.state = MachineState::Starting;
        seen.reason = &text;
        seen.healthy = false;
        seen.restarts = restarts;
        seen.since = now;
        let mut tx = parts.db.write().await?;
        if !store::machine::set_seen(&mut tx, row.id, row.generation, &seen, now).await? {
            return Ok(Next::Now);
        }
        let dead = MachineRow { state: MachineState::Starting, ..row.clone() };
        self.0.machine_event(&mut tx, &dead, "machine.died", &text).await?;
        tx.commit().await.map_err(store_error)?;
        self.changed(row).await?;
        Ok(if wait.is_zero() { Next::Now } else { Next::After(wait) })
    }

    async fn forget(&self, row: &MachineRow) -> Result<Next> {
        let parts = &self.0.0;
        let mut tx = parts.db.write().await?;
        self.end_operation(&mut tx, row, OperationStatus::Succeeded, "").await?;
        store::snapshot::delete_of_machine(&mut tx, row.id).await?;
        store::network::release_addresses(&mut tx, row.id).await?;
        store::machine::delete(&mut tx, row.id, parts.now()).await?;
        let freed =
            Usage { machines: -1, cpus: -row.spec.cpus, memory: -row.spec.memory, disk: -row.spec.disk };
        store::project::use_more(&mut tx, &row.project, freed).await?;
        let gone = MachineRow { state: MachineState::Destroyed, ..row.clone() };
        self.0.machine_event(&mut tx, &gone, "machine.destroyed", "destroyed").await?;
        tx.commit().await.map_err(store_error)?;
        self.changed(row).await?;
        Ok(Next::Done)
    }

    async fn end_operation(
        &self,
        tx: &mut hafen_db::Tx,
        row: &MachineRow,
        status: OperationStatus,
        error: &str,
    ) -> Result<()> {
        if let Some(operation) = row.operation {
            store::operation::finish(tx, operation, status, error, self.0.0.now()).await?;
            self.0.0.forget_progress(operation);
        }
        Ok(())
    }

    async fn changed(&self, row: &MachineRow) -> Result<()> {
        self.0.0.events.ring();
        self.0.wake_publications(&row.project, row.group.as_deref()).await
    }
}

fn seen_of(row: &MachineRow) -> Seen<'_> {
    Seen {
        state: row.state,
        reason: &row.reason,
        healthy: row.healthy,
        boot_id: &row.boot_id,
        host_key: &row.host_key,
        image_digest: &row.image_digest,
        restarts: row.restarts,
        restart_seen: row.restart_seen,
        since: row.since,
        observed_generation: row.observed_generation,
        operation: row.operation,
    }
}

fn event_of(state: MachineState) -> &'static str {
    match state {
        MachineState::Creating => "machine.creating",
        MachineState::Starting => "machine.starting",
        MachineState::Started => "machine.started",
        MachineState::Stopping => "machine.stopping",
        MachineState::Stopped => "machine.stopped",
        MachineState::Updating => "machine.updating",
        MachineState::Destroying => "machine.destroying",
        MachineState::Destroyed => "machine.destroyed",
        MachineState::Failed => "machine.failed",
    }
}
