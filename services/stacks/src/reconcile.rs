//! Brings an apply to its end: read what is wanted and what is there, take the steps between. A key is the id of an apply.
//!
//! The first run and the run after a crash are the same code: the diff is made anew, so what was done needs no undoing and
//! what was begun is waited for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, Result};
use hafen_db::store_error;
use hafen_work::{Next, Once, Reconciler};
use tokio::sync::watch;

use crate::diff::{Input, diff};
use crate::execute::{Job, Outcome, run};
use crate::live::{Live, Reporter, merge};
use crate::model::{Wanted, address};
use crate::store::ApplyRow;
use crate::{Stacks, platform, steps, store};

pub(crate) struct Applies {
    pub stacks: Stacks,
    pub stop: watch::Receiver<bool>,
}

#[async_trait]
impl Reconciler for Applies {
    fn name(&self) -> &'static str {
        "stacks/applies"
    }

    fn parallel(&self) -> usize {
        16
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn pending(&self) -> Result<Vec<String>> {
        store::running(self.stacks.0.db.reader()).await
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let Some(apply) = store::apply(self.stacks.0.db.reader(), key).await? else { return Ok(Next::Done) };
        if apply.status != "running" {
            return Ok(Next::Done);
        }
        apply.actor.clone().acts(self.apply(&apply)).await.map(|()| Next::Done)
    }
}

/// Forgets the answers of idempotency keys after a day.
pub(crate) struct Housekeeping(pub Stacks);

#[async_trait]
impl Reconciler for Housekeeping {
    fn name(&self) -> &'static str {
        "stacks/housekeeping"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        Once::forget_old(&self.0.0.db, self.0.0.now()).await?;
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

impl Applies {
    fn wanted(&self, apply: &ApplyRow) -> Result<Wanted> {
        if apply.destroy {
            return Ok(Wanted::nothing(&apply.project));
        }
        let source = serde_json::from_str(&apply.source).map_err(Error::internal)?;
        self.stacks.wanted(&apply.project, &source)
    }

    async fn apply(&self, apply: &ApplyRow) -> Result<()> {
        let parts = &self.stacks.0;
        let id = apply.id.to_string();
        let wanted = match self.wanted(apply) {
            Ok(wanted) => Arc::new(wanted),
            Err(error) => {
                // Accepted by another version of the platform. Nobody is helped by trying for ever.
                let live = Live::new(store::steps(parts.db.reader(), &id).await?, false);
                let message = format!("this version of the platform refuses the manifest: {error}");
                return self.end(apply, &live, "failed", &message, None).await;
            }
        };
        let before =
            if apply.before.is_empty() { None } else { self.stacks.kept(&apply.project, &apply.before) };
        let Some(row) = store::stack(parts.db.reader(), &apply.project).await? else {
            return Err(Error::internal("an apply without its stack"));
        };
        let mut owned: BTreeSet<String> = serde_json::from_str(&row.owned).map_err(Error::internal)?;
        let reality = platform::read(&*parts.platform, &apply.project).await?;
        let input = Input {
            wanted: &wanted,
            before: before.as_ref(),
            owned: &owned,
            reality: &reality,
            destroy: apply.destroy,
        };
        let diff = diff(input);
        let (mut list, begun) = self.stacks.begun(&id).await?;
        let steps = steps::build(input, &diff, &begun);
        let old = list.clone();
        let (positions, added) = merge(&mut list, &steps);
        drop(diff);

        // A surge must be known as ours before it is made, or a crash would leave it behind.
        let surges: Vec<String> =
            steps.iter().filter(|step| step.work == steps::Work::Surge).map(steps::Step::address).collect();
        let mut tx = parts.db.write().await?;
        if !surges.is_empty() {
            owned.extend(surges);
            let owned = serde_json::to_string(&owned).map_err(Error::internal)?;
            store::set_owned(&mut tx, &apply.project, &owned).await?;
        }
        for (position, (new, old)) in list.iter().zip(&old).enumerate() {
            if new != old {
                store::set_step(&mut tx, &id, position, new).await?;
            }
        }
        store::insert_steps(&mut tx, &id, added, list.get(added..).unwrap_or_default()).await?;
        tx.commit().await.map_err(store_error)?;
        drop(reality);

        // Read again: a cancellation may have come in between, and from here on it finds the apply by its steps in memory.
        let live = Arc::new(Live::new(list, false));
        parts.set_live(apply.id, Arc::clone(&live));
        if store::apply(parts.db.reader(), &id).await?.is_some_and(|row| row.cancelled) {
            live.cancel();
        }
        let reporter = Reporter {
            live: &live,
            apply: id.clone(),
            positions,
            db: &parts.db,
            clock: &*parts.clock,
            progress: &parts.progress,
            project: apply.project.clone(),
            stop: self.stop.clone(),
        };
        let job = Job {
            id: id.clone(),
            wanted: Arc::clone(&wanted),
            platform: Arc::clone(&parts.platform),
            clock: Arc::clone(&parts.clock),
        };
        let outcome = run(job, &steps, &reporter).await?;
        if outcome.interrupted {
            return Ok(());
        }
        reporter.tell(true);
        let (status, error) = verdict(&outcome, &live);
        let left = (status == "succeeded").then(|| owned_at_end(apply, &wanted, &owned));
        self.end(apply, &live, status, &error, left).await?;
        parts.forget_live(apply.id);
        Ok(())
    }

    /// Writes the end. `owned` is what the stack has when all went well.
    async fn end(
        &self,
        apply: &ApplyRow,
        live: &Live,
        status: &str,
        error: &str,
        owned: Option<BTreeSet<String>>,
    ) -> Result<()> {
        let parts = &self.stacks.0;
        let id = apply.id.to_string();
        let mut tx = parts.db.write().await?;
        live.write(&mut tx, &id).await?;
        if let Some(owned) = owned {
            let applied = if apply.destroy { "" } else { &apply.source };
            let owned = serde_json::to_string(&owned).map_err(Error::internal)?;
            store::set_applied(&mut tx, &apply.project, applied, &owned).await?;
        }
        if store::end_apply(&mut tx, &id, status, error, parts.now()).await? {
            let kind = match status {
                "succeeded" => "apply.succeeded",
                "cancelled" => "apply.cancelled",
                _ => "apply.failed",
            };
            let why = if error.is_empty() { String::new() } else { format!(": {error}") };
            let data = serde_json::json!({ "status": status });
            self.stacks.event(&mut tx, apply, kind, format!("apply {id} {status}{why}"), data).await?;
        }
        tx.commit().await.map_err(store_error)?;
        parts.events.ring();
        Ok(())
    }
}

fn owned_at_end(apply: &ApplyRow, wanted: &Wanted, owned: &BTreeSet<String>) -> BTreeSet<String> {
    let mut left = if apply.destroy { BTreeSet::new() } else { wanted.addresses() };
    let project = address("project", &apply.project);
    if !apply.destroy && owned.contains(&project) {
        left.insert(project);
    }
    left
}

/// The whole apply in one sentence: what was done, what was not, and why.
fn verdict(outcome: &Outcome, live: &Live) -> (&'static str, String) {
    let steps = live.steps();
    let count = |status: &str| steps.iter().filter(|step| step.status == status).count();
    let (done, failed, skipped) = (count("done"), count("failed"), count("skipped"));
    if let Some((address, message)) = outcome.failed.first() {
        let more = if failed > 1 { format!(" (and {} more)", failed - 1) } else { String::new() };
        let message = format!(
            "{done} steps done, {failed} failed, {skipped} not begun; {address}: {message}{more}\n\
             What was done stays. Mend the cause and apply again: only what is missing is done then."
        );
        return ("failed", message);
    }
    if outcome.cancelled && skipped > 0 {
        return (
            "cancelled",
            format!("cancelled: {done} steps done, {skipped} not begun; apply again to go on"),
        );
    }
    ("succeeded", String::new())
}
