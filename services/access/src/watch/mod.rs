//! Watches over the ways into machines: what `sshd` has in force, and the files that decide who gets in and who becomes root.
//!
//! # Why it is built so
//!
//! The clean-up of April 2019 forgot an `authorized_keys2`, and nobody was told of changed keys. So each machine is asked now
//! and then (`run`), by the same way that people come, as a user that can run one script and nothing else: whoever breaks
//! that way breaks the check, and a machine that cannot be checked is an alert. What it says is compared with what the
//! platform sets up, so that a machine that was bad from the start is noticed, and with the first report of its disk (`plan`).
//! What is found is told once (`step`), and stays until it is gone or somebody accepts it with a reason.
//!
//! Whoever is root on a machine can make it lie: what this notices is a change, not who hides one (decision 0017).

pub mod plan;
pub mod report;
mod run;
pub mod step;
pub mod store;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hafen_base::{Actor, Error, Result};
use hafen_client::wire::{IntegrityAccept, IntegrityFinding, Machine, MachineIntegrity, MachineState};
use hafen_db::store_error;
use hafen_sshca::{CHECK_COMMAND, CHECK_USER, LOGIN_USER, principal};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::Access;
use plan::{Baseline, Known};
pub(crate) use run::Watcher;
use step::{Told, Watched};

/// Findings that an event names; more are counted.
const NAMED_MOST: usize = 50;

/// How machines are watched.
#[derive(Debug, Clone, Copy)]
pub struct WatchConfig {
    /// From one check of a machine to the next.
    pub every: Duration,
}

/// The key under which the runner knows a machine.
fn key(machine: &Machine) -> String {
    format!("{}/{}", machine.project, machine.id)
}

/// Whether there is an SSH server of ours in it to ask.
fn is_checkable(machine: &Machine) -> bool {
    machine.state == MachineState::Started && machine.ssh_host_key.is_some()
}

impl Access {
    /// Asks with the platform's own rights: what is no name must not become a path to somewhere else.
    async fn machine_named(&self, project: &str, machine: &str) -> Result<Machine> {
        if hafen_base::check_label("machine", machine).is_err() {
            return Err(Error::not_found(format!("machine {machine:?} in project {project:?}")));
        }
        self.0.platform.machine_get(project, machine).await
    }

    /// What is known of a machine's ways in.
    pub(crate) async fn integrity(&self, project: &str, machine: &str) -> Result<MachineIntegrity> {
        let machine = self.machine_named(project, machine).await?;
        let watched = store::get(&self.0.db, &machine.id.to_string()).await?;
        Ok(self.integrity_wire(&machine, watched))
    }

    /// Has a machine checked now.
    pub(crate) async fn integrity_check(&self, project: &str, machine: &str) -> Result<MachineIntegrity> {
        let machine = self.machine_named(project, machine).await?;
        let Some(watch) = &self.0.watch else {
            return Err(Error::conflict(
                "this platform checks no machines: they are simulated, or it is switched off",
            ));
        };
        if !is_checkable(&machine) {
            return Err(Error::conflict(format!(
                "machine {:?} has no SSH server that could be asked now",
                machine.name
            )));
        }
        let watched = store::get(&self.0.db, &machine.id.to_string()).await?;
        watch.wake.wake(key(&machine));
        Ok(self.integrity_wire(&machine, watched))
    }

    /// Takes what the last report says for what shall be.
    pub(crate) async fn integrity_accept(
        &self,
        project: &str,
        machine: &str,
        body: &IntegrityAccept,
    ) -> Result<MachineIntegrity> {
        if body.reason.trim().is_empty() || body.reason.chars().count() > 500 {
            return Err(Error::invalid_field("/reason", "say why, in 1 to 500 characters"));
        }
        if body.report.is_empty() || body.report.chars().count() > 64 {
            return Err(Error::invalid_field(
                "/report",
                "the report that you saw, as `report` of the machine's integrity",
            ));
        }
        let machine = self.machine_named(project, machine).await?;
        let watched = store::get(&self.0.db, &machine.id.to_string()).await?;
        let Some(mut watched) = watched.filter(|watched| watched.report.is_some()) else {
            return Err(Error::conflict(format!("machine {:?} was not checked yet", machine.name)));
        };
        if watched.digest != body.report {
            return Err(Error::conflict(format!(
                "machine {:?} changed since you looked (its report is {}): look again",
                machine.name, watched.digest
            )));
        }
        let actor = Actor::current();
        let accepted = std::mem::take(&mut watched.findings);
        watched.baseline = watched.report.clone().map(|report| Baseline {
            report,
            accepted: true,
            at: self.0.now(),
            by: actor.name.clone(),
            reason: body.reason.clone(),
        });
        let mut tx = self.0.db.write().await?;
        store::put(&mut tx, &watched).await?;
        let message = format!("{} of {} is taken as it is: {}", machine.name, machine.project, body.reason);
        let data = json!({ "reason": body.reason, "report": watched.digest, "findings": named(&accepted) });
        let object = format!("machine/{}", machine.name);
        self.event_of(&mut tx, &machine.project, "access.baseline_accepted", object, message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        Ok(self.integrity_wire(&machine, Some(watched)))
    }

    fn integrity_wire(&self, machine: &Machine, watched: Option<Watched>) -> MachineIntegrity {
        // Another disk was never looked at.
        let disk = machine.ssh_host_key.clone().unwrap_or_default();
        let id = machine.id.to_string();
        let watched = watched.filter(|watched| watched.disk == disk);
        let watched = watched.unwrap_or_else(|| Watched::new(&id, &machine.project, &machine.name, &disk));
        let baseline = watched.baseline.as_ref();
        MachineIntegrity {
            project: machine.project.clone(),
            machine: machine.name.clone(),
            state: if self.0.watch.is_some() { watched.state() } else { "off" }.to_owned(),
            report: Some(watched.digest.clone()).filter(|digest| !digest.is_empty()),
            checked_at: watched.checked_at,
            tried_at: watched.tried_at,
            failures: watched.failures,
            error: watched.error.clone(),
            baseline_at: baseline.map(|baseline| baseline.at),
            baseline_by: baseline.map(|baseline| baseline.by.clone()).unwrap_or_default(),
            baseline_reason: baseline.map(|baseline| baseline.reason.clone()).unwrap_or_default(),
            findings: watched.findings,
        }
    }

    /// What the platform set up in this machine.
    fn known(&self, machine: &Machine) -> Result<Known> {
        let files = [
            ("/etc/ssh/hafen_user_ca.pub".to_owned(), self.0.ca.user_public()?.trim().to_owned()),
            (
                format!("/etc/ssh/hafen_principals/{LOGIN_USER}"),
                format!("restrict,pty {}", principal(&machine.project)),
            ),
            (
                format!("/etc/ssh/hafen_principals/{CHECK_USER}"),
                format!("restrict,command=\"{CHECK_COMMAND}\" {CHECK_USER}"),
            ),
        ];
        Ok(Known {
            hashes: files
                .into_iter()
                .map(|(path, line)| (path, sha256(&format!("{line}\n"))))
                .collect::<BTreeMap<_, _>>(),
            host_authority: self.0.ca.host_public()?,
            host: host_name(machine),
            now: self.0.now(),
        })
    }
}

/// The name of the bastion's world, which every host certificate has.
fn host_name(machine: &Machine) -> String {
    format!("{}.{}.hafen", machine.name, machine.project)
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut out, byte| {
        // Writing into a String does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn named(findings: &[IntegrityFinding]) -> serde_json::Value {
    let first: Vec<_> = findings.iter().take(NAMED_MOST).collect();
    json!({ "count": findings.len(), "first": first })
}

/// Kind, message and data of the event.
fn event_of(watched: &Watched, told: &Told) -> (&'static str, String, serde_json::Value) {
    let who = format!("{} of {}", watched.name, watched.project);
    match told {
        Told::Baseline => {
            let data = json!({ "report": watched.digest });
            ("access.baseline_taken", format!("the ways into {who} were looked at for the first time"), data)
        }
        Told::Changed(news) => {
            let first = news.first().map(|finding| finding.message.as_str()).unwrap_or_default();
            let more = if news.len() > 1 { format!(" (and {} more)", news.len() - 1) } else { String::new() };
            let data = json!({ "report": watched.digest, "findings": named(news) });
            ("alert.machine_changed", format!("{who} changed: {first}{more}"), data)
        }
        Told::Restored => {
            let data = json!({ "report": watched.digest });
            ("access.machine_restored", format!("{who} is as it was before"), data)
        }
        Told::Unchecked => {
            let data = json!({ "failures": watched.failures, "error": watched.error });
            let message =
                format!("{who} could not be checked {} times in a row: {}", watched.failures, watched.error);
            ("alert.machine_unchecked", message, data)
        }
        Told::CheckedAgain => {
            ("access.machine_checked_again", format!("{who} can be checked again"), json!({}))
        }
    }
}
