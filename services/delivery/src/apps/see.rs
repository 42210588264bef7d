//! Reads what is: machines, what the balancer knows, how processes are.

use std::collections::{BTreeMap, BTreeSet};

use hafen_base::{ErrorKind, Result};
use hafen_client::wire::{Machine, MachineState};

use super::Apps;
use super::around::Balanced;
use super::hands::{At, LookedProcess};
use super::model::{AppRow, ProcessRow};
use super::plan::{Host, Phase, Seen};
use crate::store::{app as store, process as places};

/// What was seen of an app, with what was read for it.
pub(crate) struct View {
    pub seen: Seen,
    pub rows: Vec<ProcessRow>,
    /// Machines on which something of it may lie.
    pub known: BTreeMap<String, String>,
    /// Machines on which something of an earlier app of this name lies.
    pub left: BTreeSet<String>,
    /// Whether the balancer forgot somebody of whom it had heard.
    pub is_forgotten: bool,
}

impl Apps {
    /// None when the project is no more.
    pub(crate) async fn view(&self, app: &AppRow) -> Result<Option<View>> {
        let parts = &self.0.delivery.0;
        let machines = match parts.platform.machine_list(&app.project).await {
            Ok(machines) => machines,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut rows = places::processes(&parts.db, &app.project, &app.name).await?;
        let known: BTreeMap<String, String> =
            places::machines(&parts.db, &app.project, &app.name).await?.into_iter().collect();
        let left: BTreeSet<String> =
            places::left(&parts.db, &app.project, &app.name).await?.into_iter().collect();
        let mut taken: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
        for (other, machine, port) in places::ports(&parts.db, &app.project).await? {
            if other != app.name {
                taken.entry(machine).or_default().insert(port);
            }
        }
        let hosts: Vec<Host> = machines
            .iter()
            .filter(|machine| machine.state == MachineState::Started)
            .filter(|machine| {
                let has_something = known.contains_key(&machine.name) || left.contains(&machine.name);
                is_of(machine, &app.spec.on) || has_something
            })
            .map(|machine| {
                let boot = machine.boot_id.clone().unwrap_or_default();
                Host {
                    name: machine.name.clone(),
                    taken: taken.remove(&machine.name).unwrap_or_default(),
                    tidy: known.get(&machine.name).is_none_or(|looked| *looked == boot)
                        && !left.contains(&machine.name),
                    takes: is_of(machine, &app.spec.on) && !machine.cordoned,
                    boot,
                }
            })
            .collect();
        self.look_at_starting(app, &hosts, &mut rows).await?;
        let waits = rows.iter().any(|row| matches!(row.phase(), Phase::Serving | Phase::Draining));
        let (balanced, is_blind) = if waits { self.balancer_seen(app).await? } else { (None, false) };
        let is_forgotten = balanced
            .as_ref()
            .is_some_and(|all| rows.iter().any(|row| row.announced && !all.contains_key(&row.full_id())));
        let processes = rows
            .iter()
            .map(|row| {
                let known: Option<Option<Balanced>> =
                    balanced.as_ref().map(|all| all.get(&row.full_id()).copied());
                // Nobody can say what is in flight: it gets all the time that there is to drain.
                let mut seen = row.seen(is_blind.then_some(1));
                if let Some(known) = known {
                    // One that the balancer does not know has nothing in flight, and gets nothing.
                    seen.in_flight = Some(known.map_or(0, |one| one.in_flight));
                    seen.accepted = known.is_some_and(|one| one.accepted);
                }
                seen
            })
            .collect();
        Ok(Some(View { seen: Seen { hosts, processes }, rows, known, left, is_forgotten }))
    }

    /// What the balancer knows, and whether it cannot be asked. Machines are healed all the same; a deployment waits for it,
    /// as it would judge by nothing.
    async fn balancer_seen(&self, app: &AppRow) -> Result<(Option<BTreeMap<String, Balanced>>, bool)> {
        let parts = &self.0.delivery.0;
        let error = match self.0.balancer.look(&app.project, &app.name).await {
            Ok(balanced) => return Ok((balanced, false)),
            Err(error) => error,
        };
        let open = store::deployments_open(&parts.db, &app.project, &app.name).await?;
        if open.iter().any(|row| row.release.is_some()) {
            return Err(error);
        }
        tracing::warn!(app = app.key(), cause = %error.cause_chain(), "the balancer cannot be asked: {error}");
        Ok((None, true))
    }

    /// Counts how often those that are starting were started again.
    async fn look_at_starting(&self, app: &AppRow, hosts: &[Host], rows: &mut [ProcessRow]) -> Result<()> {
        let machines: BTreeSet<String> = rows
            .iter()
            .filter(|row| row.phase() == Phase::Started)
            .filter(|row| hosts.iter().any(|host| host.name == row.machine && host.boot == row.boot))
            // While it answers well there is nothing to ask.
            .filter(|row| !row.told.is_empty())
            .map(|row| row.machine.clone())
            .collect();
        for machine in machines {
            let at = At { project: &app.project, machine: &machine };
            // A machine that cannot be asked is no reason to stop here: its processes are late, in the end.
            let Ok(looked) = self.0.hands.look(at, &app.name).await else { continue };
            for row in rows.iter_mut().filter(|row| row.machine == machine) {
                if let Some(process) = looked.processes.iter().find(|one| one.id == row.id()) {
                    row.restarts = process.restarts;
                    note(row, process);
                }
            }
        }
        Ok(())
    }
}

/// What systemd says comes after what the probe said.
fn note(row: &mut ProcessRow, process: &LookedProcess) {
    if !process.ended.is_empty() && !row.told.contains(" (it ended: ") {
        row.told = format!("{} (it ended: {})", row.told, process.ended);
    }
}

/// Whether a machine is one of a cluster, or the machine of that name.
fn is_of(machine: &Machine, on: &str) -> bool {
    machine.group.as_deref() == Some(on) || machine.name == on
}
