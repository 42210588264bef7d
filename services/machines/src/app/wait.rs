//! Waiting for a machine: until it is where the caller wants it, or will not come there any more.

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::{Machine, MachineState};

use super::machine::{no_machine, wire};
use crate::Machines;
use crate::model::MachineRow;
use crate::store;

impl Machines {
    /// Waits for a state, `healthy` or `settled`. Early with a conflict when the machine failed, or another instance
    /// replaced the one waited for.
    pub async fn machine_wait(
        &self,
        project: &str,
        name: &str,
        wanted: &str,
        instance: Option<&str>,
        timeout: std::time::Duration,
    ) -> Result<Machine> {
        if !matches!(wanted, "started" | "stopped" | "destroyed" | "healthy" | "settled") {
            return Err(Error::invalid_field(
                "/for",
                "wait for \"started\", \"stopped\", \"destroyed\", \"healthy\" or \"settled\"",
            ));
        }
        let id = match store::machine::find(self.0.db.reader(), project, name).await? {
            Some(row) => row.id.to_string(),
            None => return Err(no_machine(project, name)),
        };
        let mut bell = self.0.events.subscribe();
        let deadline = self.0.clock.sleep(timeout);
        tokio::pin!(deadline);
        let mut last: Option<MachineRow> = None;
        loop {
            bell.mark_unchanged();
            let Some(row) = store::machine::get(self.0.db.reader(), &id).await? else {
                return match last {
                    Some(mut row) if matches!(wanted, "destroyed" | "settled") => {
                        row.state = MachineState::Destroyed;
                        Ok(wire(&row))
                    }
                    _ => Err(no_machine(project, name)),
                };
            };
            if instance.is_some_and(|instance| instance != row.instance_id.to_string()) {
                return Err(Error::conflict(format!(
                    "that instance of {name:?} was replaced by {}",
                    row.instance_id
                ))
                .with_code("replaced"));
            }
            let settled = row.state.is_settled() && row.observed_generation == row.generation;
            let reached = match wanted {
                "settled" => settled,
                "healthy" => settled && row.state == MachineState::Started && row.healthy,
                state => settled && row.state.as_str() == state,
            };
            if reached {
                return Ok(wire(&row));
            }
            if settled && row.state == MachineState::Failed {
                return Err(Error::conflict(format!("machine {name:?} failed: {}", row.reason))
                    .with_code("machine_failed"));
            }
            last = Some(row);
            tokio::select! {
                _ = bell.changed() => {}
                () = &mut deadline => {
                    let state = last.as_ref().map_or("unknown", |row| row.state.as_str());
                    let reason = last.as_ref().map(|row| row.reason.clone()).filter(|reason| !reason.is_empty());
                    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                    return Err(Error::new(
                        ErrorKind::Timeout,
                        format!("machine {name:?} is {state}{reason}, not {wanted}, after {} s; wait again", timeout.as_secs()),
                    ));
                }
            }
        }
    }
}
