//! Plans, applies, stacks: rule → store → wake.

use std::collections::BTreeSet;
use std::time::Duration;

use hafen_base::{Actor, Error, ErrorKind, OperationId, Page, PageLimit, Result, check_label};
use hafen_client::wire::{
    Apply, ApplyCreate, ApplyStep, Drift, Plan, PlanCreate, ResourceChange, Stack, StackSource,
};
use hafen_db::{Tx, store_error};
use hafen_work::{Begun, NewEvent, Once, OnceTx};
use serde_json::Value;

use crate::diff::{Verb, diff};
use crate::live::pending;
use crate::model::{Reality, Wanted, address};
use crate::plan::{FORMAT_VERSION, Request, plan};
use crate::store::{ApplyRow, StackRow};
use crate::{Stacks, live, platform, steps, store};

/// What is remembered of a stack, read back.
#[derive(Default)]
pub(crate) struct Memory {
    pub serial: i64,
    /// By the last apply that was accepted; nothing at all after the end of the stack.
    pub before: Option<Wanted>,
    pub applied: Option<Wanted>,
    pub owned: BTreeSet<String>,
}

fn no_stack(project: &str) -> Error {
    Error::not_found(format!("stack {project:?}: nothing was applied to this project yet"))
}

fn no_apply(id: &str) -> Error {
    Error::not_found(format!("apply {id:?} in this project"))
}

fn check_project(project: &str) -> Result<()> {
    check_label("project", project).map_err(|message| Error::invalid_field("/project", message))
}

impl Stacks {
    /// Reads a source that is to be of this project.
    pub(crate) fn wanted(&self, project: &str, source: &StackSource) -> Result<Wanted> {
        let wanted = (self.0.read)(source)?;
        if wanted.project != project {
            return Err(Error::invalid(format!(
                "the manifest is of project {:?}, the request of {project:?}: use the one or the other",
                wanted.project
            )));
        }
        Ok(wanted)
    }

    /// A source as it is kept. It was read once already; should a newer version refuse it, it counts as not known.
    pub(crate) fn kept(&self, project: &str, text: &str) -> Option<Wanted> {
        let source: StackSource = serde_json::from_str(text).ok()?;
        match self.wanted(project, &source) {
            Ok(wanted) => Some(wanted),
            Err(error) => {
                tracing::warn!(project, "the manifest applied earlier is refused by this version: {error}");
                None
            }
        }
    }

    fn memory(&self, project: &str, row: Option<&StackRow>) -> Result<Memory> {
        let Some(row) = row else { return Ok(Memory::default()) };
        let before = if row.ended { Some(Wanted::nothing(project)) } else { self.kept(project, &row.source) };
        let applied = if row.applied == row.source && !row.ended {
            before.clone()
        } else {
            self.kept(project, &row.applied)
        };
        let owned = serde_json::from_str(&row.owned).map_err(Error::internal)?;
        Ok(Memory { serial: row.serial, before, applied, owned })
    }

    /// Plans; changes nothing.
    pub async fn plan_create(&self, project: &str, body: PlanCreate) -> Result<Plan> {
        check_project(project)?;
        let wanted = self.asked_for(project, &body.source, body.destroy)?;
        let row = store::stack(self.0.db.reader(), project).await?;
        let running = store::running_of(self.0.db.reader(), project).await?;
        let memory = self.memory(project, row.as_ref())?;
        let reality = platform::read(&*self.0.platform, project).await?;
        let mut plan = plan(request(&wanted, &memory, &reality, body.destroy), body.source);
        if let Some(id) = running {
            plan.warnings.push(format!("apply {id} runs just now: this plan will not fit what it leaves"));
        }
        Ok(plan)
    }

    /// The end of a stack needs no manifest: one that is broken must not keep anybody from destroying.
    fn asked_for(&self, project: &str, source: &StackSource, destroy: bool) -> Result<Wanted> {
        if destroy { Ok(Wanted::nothing(project)) } else { self.wanted(project, source) }
    }

    /// Accepts an apply of a plan: it is made anew, and must come out the same.
    pub async fn apply_create(
        &self,
        project: &str,
        body: ApplyCreate,
        repeat: Option<&Once>,
    ) -> Result<Apply> {
        check_project(project)?;
        let asked = body.plan;
        if asked.format_version.split('.').next() != FORMAT_VERSION.split('.').next() {
            return Err(Error::invalid_field(
                "/plan/format_version",
                format!("this platform knows plans of format {FORMAT_VERSION}; plan again"),
            ));
        }
        if asked.project != project {
            return Err(Error::invalid_field(
                "/plan/project",
                format!("the plan is of project {:?}, the request of {project:?}", asked.project),
            ));
        }
        let wanted = self.asked_for(project, &asked.source, asked.destroy)?;
        let id = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(id) => id,
            Begun::New(mut once) => {
                let id = self.accept(&mut once.tx, &wanted, &asked).await?;
                once.finish(&id, &*self.0.clock).await?;
                id
            }
        };
        self.0.events.ring();
        self.0.wake.wake(id.to_string());
        self.apply_view(project, &id.to_string()).await
    }

    async fn accept(&self, tx: &mut Tx, wanted: &Wanted, asked: &Plan) -> Result<OperationId> {
        let project = wanted.project.as_str();
        if let Some(running) = store::running_of(&mut **tx, project).await? {
            return Err(store::busy(project, Some(&running)));
        }
        let row = store::stack(&mut **tx, project).await?;
        let memory = self.memory(project, row.as_ref())?;
        if memory.serial != asked.serial {
            return Err(stale("another apply came between"));
        }
        // The transaction is open: it must not wait for ever on another service.
        let reality = tokio::select! {
            reality = platform::read(&*self.0.platform, project) => reality?,
            () = self.0.clock.sleep(Duration::from_mins(1)) => {
                return Err(Error::unavailable("the machines service does not answer; try again"));
            }
        };
        let request = request(wanted, &memory, &reality, asked.destroy);
        let fresh = plan(request, StackSource::default());
        if fresh.reality != asked.reality {
            return Err(stale("something in the project changed"));
        }
        if !same_changes(&fresh.resource_changes, &asked.resource_changes) {
            return Err(stale("this platform would now plan other changes"));
        }
        if let Some(first) = fresh.problems.first() {
            let kind = if first.starts_with("quota") { ErrorKind::Quota } else { ErrorKind::Conflict };
            return Err(Error::new(kind, fresh.problems.join("; ")).with_code("plan_has_problems"));
        }
        let diff = diff(request.input());
        let none = BTreeSet::new();
        let steps = steps::build(request.input(), &diff, &none);
        let now = self.0.now();
        let id = OperationId::generate(now, &*self.0.random);
        let mut owned = memory.owned.clone();
        owned.extend(wanted.addresses());
        if diff.project == Some(Verb::Create) {
            owned.insert(address("project", project));
        }
        let source = serde_json::to_string(&asked.source).map_err(Error::internal)?;
        let apply = ApplyRow {
            id,
            project: project.to_owned(),
            status: "running".into(),
            destroy: asked.destroy,
            source: source.clone(),
            before: row.as_ref().filter(|row| !row.ended).map(|row| row.source.clone()).unwrap_or_default(),
            error: String::new(),
            cancelled: false,
            created_at: now,
            updated_at: now,
            actor: Actor::current(),
        };
        store::insert_apply(tx, &apply).await?;
        let shown: Vec<ApplyStep> = steps.iter().filter(|step| step.is_shown()).map(pending).collect();
        store::insert_steps(tx, &id.to_string(), 0, &shown).await?;
        let stack = StackRow {
            project: project.to_owned(),
            serial: memory.serial + 1,
            source: match row.as_ref() {
                Some(row) if asked.destroy => row.source.clone(),
                _ => source,
            },
            applied: row.map(|row| row.applied).unwrap_or_default(),
            owned: serde_json::to_string(&owned).map_err(Error::internal)?,
            apply: id.to_string(),
            ended: asked.destroy,
            updated_at: now,
        };
        if !store::put_stack(tx, &stack, memory.serial).await? {
            return Err(stale("another apply came between"));
        }
        let what = if asked.destroy { "the end of everything" } else { "changes" };
        let message = format!("apply {id} begins: {what}, {} steps", shown.len());
        self.event(tx, &apply, "apply.started", message, serde_json::json!({ "counts": fresh.counts }))
            .await?;
        Ok(id)
    }

    pub(crate) async fn event(
        &self,
        tx: &mut Tx,
        apply: &ApplyRow,
        kind: &'static str,
        message: String,
        data: Value,
    ) -> Result<()> {
        let object = format!("apply/{}", apply.id);
        let event = NewEvent { project: apply.project.clone(), kind, object, message, data };
        self.0.events.append(tx, event).await.map(drop)
    }

    async fn apply_row(&self, project: &str, id: &str) -> Result<ApplyRow> {
        let row = store::apply(self.0.db.reader(), id).await?;
        row.filter(|row| row.project == project).ok_or_else(|| no_apply(id))
    }

    /// An apply with its steps, as of this moment.
    pub async fn apply_view(&self, project: &str, id: &str) -> Result<Apply> {
        let row = self.apply_row(project, id).await?;
        let steps = match self.0.live_of(row.id).filter(|_| row.status == "running") {
            Some(live) => live.steps(),
            None => store::steps(self.0.db.reader(), id).await?,
        };
        Ok(row.wire(steps))
    }

    /// Newest first, without their steps.
    pub async fn apply_list(&self, project: &str, below: &str, limit: PageLimit) -> Result<Page<Apply>> {
        let rows = store::applies(self.0.db.reader(), project, below, i64::from(limit.get()) + 1).await?;
        let applies = rows.into_iter().map(|row| row.wire(Vec::new())).collect();
        Ok(limit.page(applies, |apply: &Apply| apply.id.to_string()))
    }

    /// Asks a running apply to stop after the steps that run.
    pub async fn apply_cancel(&self, project: &str, id: &str) -> Result<Apply> {
        let row = self.apply_row(project, id).await?;
        if matches!(row.status.as_str(), "succeeded" | "failed") {
            return Err(Error::conflict(format!("apply {id} has ended: it {}", row.status)));
        }
        let mut tx = self.0.db.write().await?;
        store::cancel_apply(&mut tx, id).await?;
        tx.commit().await.map_err(store_error)?;
        if let Some(live) = self.0.live_of(row.id) {
            live.cancel();
        }
        self.0.wake.wake(id);
        self.apply_view(project, id).await
    }

    /// Waits until an apply ended.
    ///
    /// # Errors
    /// Timeout when it still runs after `timeout`.
    pub async fn apply_wait(&self, project: &str, id: &str, timeout: Duration) -> Result<Apply> {
        let mut bell = self.0.events.subscribe();
        let deadline = self.0.clock.sleep(timeout);
        tokio::pin!(deadline);
        loop {
            bell.mark_unchanged();
            if self.apply_row(project, id).await?.status != "running" {
                return self.apply_view(project, id).await;
            }
            tokio::select! {
                changed = bell.changed() => {
                    if changed.is_err() {
                        return Err(Error::unavailable("the platform stops"));
                    }
                }
                () = &mut deadline => {
                    let message = format!("apply {id} still runs after {} s; wait again", timeout.as_secs());
                    return Err(Error::new(ErrorKind::Timeout, message));
                }
            }
        }
    }

    pub async fn stack_view(&self, project: &str) -> Result<Stack> {
        let row = store::stack(self.0.db.reader(), project).await?.ok_or_else(|| no_stack(project))?;
        let owned: BTreeSet<String> = serde_json::from_str(&row.owned).map_err(Error::internal)?;
        if row.ended && owned.is_empty() {
            return Err(no_stack(project));
        }
        Ok(Stack {
            project: row.project,
            serial: row.serial,
            source: serde_json::from_str(&row.source).map_err(Error::internal)?,
            apply: row.apply.parse().ok(),
            updated_at: row.updated_at,
        })
    }

    /// Where reality differs from what was applied; changes nothing.
    pub async fn drift_view(&self, project: &str) -> Result<Drift> {
        let row = store::stack(self.0.db.reader(), project).await?.ok_or_else(|| no_stack(project))?;
        let memory = self.memory(project, Some(&row))?;
        let reality = platform::read(&*self.0.platform, project).await?;
        let resource_drift = crate::plan::drift(memory.applied.as_ref(), memory.before.as_ref(), &reality);
        Ok(Drift { project: project.to_owned(), serial: row.serial, resource_drift })
    }

    /// Steps that an earlier run of this apply did not end.
    pub(crate) async fn begun(&self, id: &str) -> Result<(Vec<ApplyStep>, BTreeSet<String>)> {
        let steps = store::steps(self.0.db.reader(), id).await?;
        let unfinished = live::unfinished(&steps);
        Ok((steps, unfinished))
    }
}

const fn request<'a>(
    wanted: &'a Wanted,
    memory: &'a Memory,
    reality: &'a Reality,
    destroy: bool,
) -> Request<'a> {
    Request {
        wanted,
        before: memory.before.as_ref(),
        applied: memory.applied.as_ref(),
        owned: &memory.owned,
        reality,
        destroy,
        serial: memory.serial,
    }
}

fn stale(why: &str) -> Error {
    Error::new(ErrorKind::Stale, format!("the plan no longer fits: {why} since it was made; plan again"))
        .with_code("plan_stale")
}

/// The same resources with the same actions: the rest follows from source and reality, which are the same.
fn same_changes(fresh: &[ResourceChange], asked: &[ResourceChange]) -> bool {
    fresh.len() == asked.len()
        && fresh.iter().zip(asked).all(|(fresh, asked)| {
            fresh.address == asked.address && fresh.change.actions == asked.change.actions
        })
}
