//! What processes say, and commands where they are.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use hafen_base::{Error, Result};
use hafen_client::wire::{AppExec, AppExecuted};
use hafen_db::store_error;
use hafen_remote::{Collected, Ended, Sink};
use serde_json::json;
use tokio::sync::mpsc;

use super::hands::{At, Lines};
use super::model::{AppRow, ProcessRow};
use super::plan::Phase;
use super::{Apps, actor};
use crate::store::process as places;

/// What a command may say on each of its outputs.
const SAID: usize = 1 << 20;

impl Apps {
    /// Machines whose logs are wanted, each with the process there; none for all.
    pub(crate) async fn logs_of(
        &self,
        app: &AppRow,
        process: Option<&str>,
    ) -> Result<Vec<(String, Option<String>)>> {
        let rows = places::processes(&self.0.delivery.0.db, &app.project, &app.name).await?;
        if let Some(wanted) = process {
            let row = find(&rows, app, Some(wanted))?;
            return Ok(vec![(row.machine.clone(), Some(row.id()))]);
        }
        let machines: BTreeSet<String> = rows.into_iter().map(|row| row.machine).collect();
        Ok(machines.into_iter().map(|machine| (machine, None)).collect())
    }

    /// Sends what the log of a machine says, line by line.
    pub(crate) async fn log_told(
        &self,
        app: &AppRow,
        machine: &str,
        lines: Lines<'_>,
        to: mpsc::Sender<Bytes>,
    ) {
        let at = At { project: &app.project, machine };
        let mut sink = Prefixed { prefix: format!("{machine} | "), rest: Vec::new(), to };
        if let Err(error) = self.0.hands.lines(at, &app.name, lines, &mut sink).await {
            // One that has heard enough is told nothing more.
            let _gone = sink.line(format!("(the log of {machine} cannot be read: {error})").as_bytes()).await;
        }
        let rest = std::mem::take(&mut sink.rest);
        if !rest.is_empty() {
            let _gone = sink.line(&rest).await;
        }
    }

    /// Runs a command where a process is, and writes down who did.
    pub(crate) async fn exec(&self, project: &str, name: &str, body: &AppExec) -> Result<AppExecuted> {
        if body.command.trim().is_empty() || body.command.len() > 4096 || body.command.contains('\0') {
            return Err(Error::invalid_field("/command", "a command has 1 to 4096 bytes and no NUL"));
        }
        let parts = &self.0.delivery.0;
        let app = self.app_row(project, name).await?;
        let rows = places::processes(&parts.db, project, name).await?;
        let row = find(&rows, &app, body.process.as_deref())?.clone();
        // Before it runs: what cannot be written down is not done.
        let mut tx = parts.db.write().await?;
        let message = format!("{} runs {:?} in {}", actor().name, body.command, row.full_id());
        let data = json!({ "process": row.full_id(), "command": body.command });
        self.event(&mut tx, project, "app.exec", format!("app/{name}"), message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.ring();
        let mut said = Collected::up_to(SAID);
        let at = At { project, machine: &row.machine };
        let ended = self.0.hands.exec(at, name, &row.id(), &body.command, &mut said).await?;
        Ok(AppExecuted {
            process: row.full_id(),
            status: match ended {
                Ended::Status(status) => Some(i64::from(status)),
                Ended::Otherwise => None,
            },
            output: String::from_utf8_lossy(&said.out).into_owned(),
            errors: String::from_utf8_lossy(&said.err).into_owned(),
        })
    }
}

/// A process by its id, or the first that serves.
fn find<'a>(rows: &'a [ProcessRow], app: &AppRow, wanted: Option<&str>) -> Result<&'a ProcessRow> {
    match wanted {
        Some(id) => rows.iter().find(|row| row.full_id() == id || row.id() == id).ok_or_else(|| {
            let there: Vec<String> = rows.iter().map(ProcessRow::full_id).collect();
            Error::not_found(format!("process {id:?} of app {:?}; there are: {}", app.name, there.join(", ")))
        }),
        None => rows
            .iter()
            .find(|row| row.phase() == Phase::Serving)
            .or_else(|| rows.iter().find(|row| row.phase() == Phase::Started))
            .ok_or_else(|| Error::conflict(format!("no process of app {:?} runs", app.name))),
    }
}

/// Lines, each after a prefix.
struct Prefixed {
    prefix: String,
    rest: Vec<u8>,
    to: mpsc::Sender<Bytes>,
}

impl Prefixed {
    async fn line(&mut self, line: &[u8]) -> Result<()> {
        let mut bytes = self.prefix.clone().into_bytes();
        // What a process says must not command a terminal.
        bytes.extend(
            line.iter().map(|byte| if byte.is_ascii_control() && *byte != b'\t' { b' ' } else { *byte }),
        );
        bytes.push(b'\n');
        self.to.send(bytes.into()).await.map_err(|_| Error::unavailable("nobody listens any more"))
    }
}

#[async_trait]
impl Sink for Prefixed {
    async fn out(&mut self, bytes: &[u8]) -> Result<()> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(line.get(..end).unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn err(&mut self, bytes: &[u8]) -> Result<()> {
        self.out(bytes).await
    }
}
