//! The steps of an apply while it runs: kept in memory, where progress is cheap, told to who watches, and written down when a
//! step begins or ends. What is lost with the process is only words; a restart looks at reality anyway.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Clock, Result, Timestamp};
use hafen_client::wire::ApplyStep;
use hafen_db::{Db, Tx, store_error};
use hafen_work::Progress;
use tokio::sync::watch;

use crate::execute::{Report, Status};
use crate::steps::Step;
use crate::store;
use crate::told::Told;

/// The shortest time between two writes.
const WRITE: Duration = Duration::from_millis(300);

/// Shared by the apply that runs and the requests that ask for it.
pub(crate) struct Live {
    inner: Mutex<Inner>,
    cancelled: AtomicBool,
}

#[derive(Default)]
struct Inner {
    steps: Vec<ApplyStep>,
    begun: Vec<Option<Timestamp>>,
    unwritten: BTreeSet<usize>,
    written_at: Timestamp,
    told: Told,
}

impl Live {
    pub fn new(steps: Vec<ApplyStep>, cancelled: bool) -> Self {
        let begun = vec![None; steps.len()];
        let inner = Inner { steps, begun, ..Inner::default() };
        Self { inner: Mutex::new(inner), cancelled: AtomicBool::new(cancelled) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn steps(&self) -> Vec<ApplyStep> {
        self.lock().steps.clone()
    }

    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Writes what changed since the last write.
    ///
    /// # Errors
    /// As the database's; then it is all still to be written.
    pub async fn write(&self, tx: &mut Tx, apply: &str) -> Result<()> {
        let changed: Vec<(usize, ApplyStep)> = {
            let inner = self.lock();
            inner
                .unwritten
                .iter()
                .filter_map(|at| inner.steps.get(*at).map(|step| (*at, step.clone())))
                .collect()
        };
        for (position, step) in &changed {
            store::set_step(tx, apply, *position, step).await?;
        }
        Ok(())
    }

    /// After the commit of a `write`.
    fn written(&self, now: Timestamp, changed: &BTreeSet<usize>) {
        let mut inner = self.lock();
        inner.unwritten.retain(|at| !changed.contains(at));
        inner.written_at = now;
    }
}

/// What joins a run of steps with the list of an apply: a step may stand elsewhere in it, or nowhere.
pub(crate) struct Reporter<'a> {
    pub live: &'a Live,
    pub apply: String,
    pub positions: Vec<Option<usize>>,
    pub db: &'a Db,
    pub clock: &'a dyn Clock,
    pub progress: &'a Progress,
    pub project: String,
    pub stop: watch::Receiver<bool>,
}

impl Reporter<'_> {
    /// Tells who watches how the steps go on; `rest`: whatever was not told yet, as nothing more will come.
    pub fn tell(&self, rest: bool) {
        let messages = {
            let mut inner = self.live.lock();
            let inner = &mut *inner;
            inner.told.messages(&inner.steps, self.clock.now(), rest)
        };
        self.progress.tell(&self.project, "apply.step", &format!("apply/{}", self.apply), messages);
    }
}

#[async_trait]
impl Report for Reporter<'_> {
    fn set(&self, index: usize, status: Status, message: &str) {
        let Some(position) = self.positions.get(index).copied().flatten() else { return };
        let now = self.clock.now();
        let mut inner = self.live.lock();
        let inner = &mut *inner;
        let (Some(step), Some(begun)) = (inner.steps.get_mut(position), inner.begun.get_mut(position)) else {
            return;
        };
        if step.status != status.as_str() {
            status.as_str().clone_into(&mut step.status);
            inner.unwritten.insert(position);
            inner.told.moved(position, status);
        }
        if status == Status::Running && begun.is_none() {
            *begun = Some(now);
        }
        if status.is_over() {
            let took = begun.map(|begun| now.since(begun).as_millis());
            step.took_ms = took.and_then(|took| i64::try_from(took).ok());
        }
        if step.message != message {
            message.clone_into(&mut step.message);
            inner.told.reworded(position);
        }
    }

    async fn flush(&self) -> Result<()> {
        self.tell(false);
        let now = self.clock.now();
        let changed = {
            let inner = self.live.lock();
            if inner.unwritten.is_empty() || now.since(inner.written_at) < WRITE {
                return Ok(());
            }
            inner.unwritten.clone()
        };
        let mut tx = self.db.write().await?;
        self.live.write(&mut tx, &self.apply).await?;
        tx.commit().await.map_err(store_error)?;
        self.live.written(now, &changed);
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.live.cancelled.load(Ordering::SeqCst)
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

/// A step as it begins.
pub(crate) fn pending(step: &Step) -> ApplyStep {
    ApplyStep {
        address: step.address(),
        action: step.action.to_owned(),
        status: Status::Pending.as_str().to_owned(),
        message: String::new(),
        took_ms: None,
    }
}

fn is_over(step: &ApplyStep) -> bool {
    matches!(step.status.as_str(), "done" | "failed" | "skipped")
}

/// Addresses of the steps that an earlier run of this apply did not end.
pub(crate) fn unfinished(steps: &[ApplyStep]) -> BTreeSet<String> {
    steps.iter().filter(|step| !is_over(step)).map(|step| step.address.clone()).collect()
}

/// Finds the place of each new step in the list of an apply; new ones are added at its end, and what was not ended but is
/// no longer needed was done before the restart. Gives the places, and the first that was added.
pub(crate) fn merge(list: &mut Vec<ApplyStep>, steps: &[Step]) -> (Vec<Option<usize>>, usize) {
    let added = list.len();
    let mut open: std::collections::HashMap<String, Vec<usize>> = std::collections::HashMap::new();
    for (position, step) in list.iter().enumerate().filter(|(_, step)| !is_over(step)) {
        open.entry(step.address.clone()).or_default().push(position);
    }
    let mut positions = Vec::with_capacity(steps.len());
    for step in steps {
        if !step.is_shown() {
            positions.push(None);
            continue;
        }
        let found = open.get_mut(&step.address()).and_then(|places| {
            let same =
                places.iter().position(|at| list.get(*at).is_some_and(|old| old.action == step.action));
            let close = || {
                let old = |at: &usize| list.get(*at).is_some_and(|old| old.action != "delete");
                places.iter().position(old).filter(|_| step.action == "wait")
            };
            same.or_else(close).map(|at| places.swap_remove(at))
        });
        let position = found.unwrap_or_else(|| {
            list.push(pending(step));
            list.len() - 1
        });
        positions.push(Some(position));
    }
    for position in open.into_values().flatten() {
        if let Some(step) = list.get_mut(position) {
            "done".clone_into(&mut step.status);
            "done before the platform was restarted".clone_into(&mut step.message);
        }
    }
    (positions, added)
}
