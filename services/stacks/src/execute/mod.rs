//! Runs the steps of an apply: as many at once as their order allows.
//!
//! One loop drives everything. A step begins with a request (`call`), then the loop watches reality until the step's object
//! stands, or fails, or stays away too long (`watch`). Reality is read for all waiting steps together, a page of machines at
//! a time: a thousand machines that start cost a few lists a second, not a thousand open requests.
//!
//! Nothing here is remembered. An apply that is cut off begins again with a new diff of what is wanted and what is there.

mod call;
mod watch;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Actor, Error, Result, Timestamp};
use tokio::task::JoinSet;

pub use call::Job;
use call::{Called, call};
use watch::{Verdict, View};

use crate::steps::{Step, Work};

/// Requests under way at a time.
const CALLS: usize = 32;
/// The shortest time between two looks at reality.
const TICK: Duration = Duration::from_millis(100);
/// With few steps waiting a look is cheap, and a person may be watching.
const SHORT_TICK: Duration = Duration::from_millis(40);
/// Looks take at most a quarter of the time.
const TICK_FACTOR: u32 = 3;
/// Lines of a machine's serial console in the report of a failure.
const SERIAL_LINES: u32 = 20;
/// At most this many failures are reported with their console: the tenth says nothing new.
const SERIAL_LOGS: usize = 10;

/// How a step stands, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Pending,
    Running,
    Done,
    Failed,
    Skipped,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Skipped)
    }
}

/// Told of every change; asked whether to go on.
#[async_trait]
pub trait Report: Send + Sync {
    /// Step `index` of the list that runs. Cheap: kept in memory.
    fn set(&self, index: usize, status: Status, message: &str);
    /// Makes what was told durable; called every moment, decides itself whether it is worth a write.
    ///
    /// # Errors
    /// As the database's; the apply stops and is begun again later.
    async fn flush(&self) -> Result<()>;
    fn is_cancelled(&self) -> bool;
    /// The process ends: leave everything as it is.
    fn is_stopping(&self) -> bool;
}

/// How an apply ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub done: usize,
    /// Address and reason.
    pub failed: Vec<(String, String)>,
    pub skipped: usize,
    pub cancelled: bool,
    /// Cut off by the end of the process: not over.
    pub interrupted: bool,
}

#[derive(Debug)]
enum Phase {
    /// So many steps must be done before.
    Blocked(usize),
    Ready,
    Calling,
    /// Ask again at this time.
    Later(Timestamp),
    /// Refused until something is freed.
    Full(Error),
    Waiting(watch::Wait),
    Over(Status),
}

struct Run<'a> {
    job: Arc<Job>,
    steps: &'a [Step],
    report: &'a dyn Report,
    phases: Vec<Phase>,
    /// Steps that wait for each step.
    dependents: Vec<Vec<usize>>,
    ready: VecDeque<usize>,
    waiting: BTreeSet<usize>,
    begun: BTreeSet<usize>,
    /// How many are in `Phase::Full`.
    full: usize,
    outcome: Outcome,
    serial_logs: usize,
    open: usize,
}

/// Runs all steps to their end.
///
/// # Errors
/// When the report cannot be written. What the platform refuses is in the outcome.
pub async fn run(job: Job, steps: &[Step], report: &dyn Report) -> Result<Outcome> {
    let mut dependents = vec![Vec::new(); steps.len()];
    let mut phases = Vec::with_capacity(steps.len());
    let mut ready = VecDeque::new();
    for (index, step) in steps.iter().enumerate() {
        let after: BTreeSet<usize> =
            step.after.iter().copied().filter(|other| *other < steps.len() && *other != index).collect();
        for other in &after {
            if let Some(list) = dependents.get_mut(*other) {
                list.push(index);
            }
        }
        if after.is_empty() {
            ready.push_back(index);
            phases.push(Phase::Ready);
        } else {
            phases.push(Phase::Blocked(after.len()));
        }
    }
    let run = Run {
        job: Arc::new(job),
        steps,
        report,
        phases,
        dependents,
        ready,
        waiting: BTreeSet::new(),
        begun: BTreeSet::new(),
        full: 0,
        outcome: Outcome::default(),
        serial_logs: 0,
        open: steps.len(),
    };
    run.run().await
}

type Calls = JoinSet<(usize, Result<Called>)>;

impl Run<'_> {
    async fn run(mut self) -> Result<Outcome> {
        let mut calls: Calls = JoinSet::new();
        let mut view = View::default();
        loop {
            if self.report.is_stopping() {
                self.outcome.interrupted = true;
                return Ok(self.outcome);
            }
            if self.report.is_cancelled() && !self.outcome.cancelled {
                self.outcome.cancelled = true;
                self.cancel();
            }
            self.begin(&mut calls);
            if self.open == 0 {
                break;
            }
            if calls.is_empty() && self.waiting.is_empty() && self.ready.is_empty() && !self.stuck() {
                // Nothing runs, nothing can begin: the order holds a circle, which no diff makes.
                return Err(Error::internal("the steps of an apply wait for one another"));
            }
            self.report.flush().await?;
            let tick = view.pause(self.waiting.len());
            tokio::select! {
                Some(ended) = calls.join_next() => {
                    self.called(ended).await;
                    while let Some(ended) = calls.try_join_next() {
                        self.called(ended).await;
                    }
                    // Requests come back faster than reality changes; a look has its own time.
                    if self.job.clock.now() < view.next() {
                        continue;
                    }
                }
                () = self.job.clock.sleep(tick) => {}
            }
            self.look(&mut view).await;
        }
        self.report.flush().await?;
        Ok(self.outcome)
    }

    /// Starts what may start.
    fn begin(&mut self, calls: &mut Calls) {
        let now = self.job.clock.now();
        let due: Vec<usize> = self
            .waiting
            .iter()
            .copied()
            .filter(|index| matches!(self.phases.get(*index), Some(Phase::Later(at)) if *at <= now))
            .collect();
        for index in due {
            self.waiting.remove(&index);
            self.set_phase(index, Phase::Ready);
            self.ready.push_back(index);
        }
        while calls.len() < CALLS {
            let Some(index) = self.ready.pop_front() else { return };
            let Some(step) = self.steps.get(index) else { continue };
            // One that was ended while it stood in the queue.
            if !matches!(self.phases.get(index), Some(Phase::Ready)) {
                continue;
            }
            if step.work == Work::Gate {
                self.over(index, Status::Done, "");
                continue;
            }
            if self.begun.insert(index) {
                self.report.set(index, Status::Running, "");
            }
            self.set_phase(index, Phase::Calling);
            let (job, step) = (Arc::clone(&self.job), step.clone());
            let actor = Actor::current();
            calls.spawn(async move { (index, actor.acts(call(&job, &step)).await) });
        }
    }

    fn set_phase(&mut self, index: usize, phase: Phase) {
        if let Some(slot) = self.phases.get_mut(index) {
            self.full -= usize::from(matches!(slot, Phase::Full(_)));
            self.full += usize::from(matches!(phase, Phase::Full(_)));
            *slot = phase;
        }
    }

    async fn called(&mut self, ended: Result<(usize, Result<Called>), tokio::task::JoinError>) {
        let Ok((index, result)) = ended else {
            // A bug in a step: the apply must not hang on it. The step's index is lost with it, so all that call end.
            let calling: Vec<usize> = (0..self.phases.len())
                .filter(|i| matches!(self.phases.get(*i), Some(Phase::Calling)))
                .collect();
            for index in calling {
                self.over(index, Status::Failed, "internal error");
            }
            return;
        };
        if !matches!(self.phases.get(index), Some(Phase::Calling)) {
            return;
        }
        let now = self.job.clock.now();
        match result {
            Ok(Called::Done(message)) => self.over(index, Status::Done, message),
            Ok(Called::Wait { generation, instance }) => {
                self.waiting.insert(index);
                self.set_phase(index, Phase::Waiting(watch::Wait::new(generation, instance, now)));
            }
            Ok(Called::Again) => {
                self.report.set(index, Status::Running, "waits until the old one is gone");
                self.waiting.insert(index);
                self.set_phase(index, Phase::Later(now.plus(TICK)));
            }
            Ok(Called::Full(error)) => {
                self.report.set(index, Status::Running, &format!("waits: {error}"));
                self.set_phase(index, Phase::Full(error));
                self.stuck();
            }
            Err(error) => {
                if error.kind() == hafen_base::ErrorKind::Internal {
                    tracing::warn!(cause = %error.cause_chain(), "a step of an apply failed: {error}");
                }
                self.fail(index, error.message()).await;
            }
        }
    }

    /// Steps refused for want of room fail once nothing runs any more that could make room. True if there were any.
    fn stuck(&mut self) -> bool {
        if self.full == 0 {
            return false;
        }
        let busy = !self.waiting.is_empty()
            || !self.ready.is_empty()
            || self.phases.iter().any(|phase| matches!(phase, Phase::Calling));
        if busy {
            return true;
        }
        for index in 0..self.phases.len() {
            let message = match self.phases.get(index) {
                Some(Phase::Full(error)) => error.message().to_owned(),
                _ => continue,
            };
            self.end(index, Status::Failed, &message);
        }
        true
    }

    async fn look(&mut self, view: &mut View) {
        let waits: Vec<usize> = self
            .waiting
            .iter()
            .copied()
            .filter(|index| matches!(self.phases.get(*index), Some(Phase::Waiting(_))))
            .collect();
        if waits.is_empty() {
            view.skip(self.job.clock.now());
            return;
        }
        let steps: Vec<&Step> = waits.iter().filter_map(|index| self.steps.get(*index)).collect();
        if let Err(error) = view.read(&self.job, &steps).await {
            // The machines service is away for a moment; nothing is lost by looking again.
            tracing::debug!(cause = %error.cause_chain(), "cannot look: {error}");
            return;
        }
        let now = self.job.clock.now();
        let mut verdicts = Vec::with_capacity(waits.len());
        for index in waits {
            let (Some(step), Some(Phase::Waiting(wait))) =
                (self.steps.get(index), self.phases.get_mut(index))
            else {
                continue;
            };
            verdicts.push((index, view.judge(step, wait, now)));
        }
        for (index, verdict) in verdicts {
            match verdict {
                Verdict::NotYet(message) => self.report.set(index, Status::Running, &message),
                Verdict::Stands => {
                    self.waiting.remove(&index);
                    self.over(index, Status::Done, "");
                }
                Verdict::Failed(message) => {
                    self.waiting.remove(&index);
                    self.fail(index, &message).await;
                }
            }
        }
    }

    async fn fail(&mut self, index: usize, message: &str) {
        let Some(step) = self.steps.get(index) else { return };
        let mut message = message.to_owned();
        if step.work.is_machine() && self.serial_logs < SERIAL_LOGS {
            self.serial_logs += 1;
            let project = &self.job.wanted.project;
            let lines = tokio::select! {
                lines = self.job.platform.serial(project, &step.name, SERIAL_LINES) => lines.unwrap_or_default(),
                () = self.job.clock.sleep(Duration::from_secs(5)) => Vec::new(),
            };
            if !lines.is_empty() {
                message.push_str("\nthe last lines of its serial console:\n  ");
                message.push_str(&lines.join("\n  "));
            }
        }
        self.over(index, Status::Failed, &message);
    }

    fn over(&mut self, index: usize, status: Status, message: &str) {
        self.end(index, status, message);
        // Something was freed: those refused for want of it ask again.
        let freed = self.full > 0
            && status == Status::Done
            && self.steps.get(index).is_some_and(|step| step.work.frees());
        if freed {
            for other in 0..self.phases.len() {
                if matches!(self.phases.get(other), Some(Phase::Full(_))) {
                    self.set_phase(other, Phase::Ready);
                    self.ready.push_back(other);
                }
            }
        }
        self.stuck();
    }

    /// Ends a step, and, when it was not done, all that waited for it.
    fn end(&mut self, index: usize, status: Status, message: &str) {
        let mut ends = vec![(index, status, message.to_owned())];
        while let Some((index, status, message)) = ends.pop() {
            if matches!(self.phases.get(index), None | Some(Phase::Over(_))) {
                continue;
            }
            let Some(step) = self.steps.get(index) else { continue };
            let address = step.address();
            let is_gate = step.work == Work::Gate;
            self.set_phase(index, Phase::Over(status));
            self.open -= 1;
            if !is_gate {
                self.report.set(index, status, &message);
                match status {
                    Status::Done => self.outcome.done += 1,
                    Status::Failed => self.outcome.failed.push((address.clone(), message.clone())),
                    _ => self.outcome.skipped += 1,
                }
            }
            let why = match status {
                Status::Failed => format!("not begun, because {address} failed"),
                _ => message,
            };
            for dependent in self.dependents.get(index).cloned().unwrap_or_default() {
                let is_surge_end = self.steps.get(dependent).is_some_and(|step| step.work == Work::SurgeEnd);
                match self.phases.get_mut(dependent) {
                    Some(Phase::Blocked(left)) if status == Status::Done || is_surge_end => {
                        *left -= 1;
                        if *left == 0 {
                            if is_surge_end && let Some(why) = self.surge_stays(dependent) {
                                ends.push((dependent, Status::Skipped, why));
                            } else if self.outcome.cancelled && !is_surge_end {
                                ends.push((dependent, Status::Skipped, "cancelled".into()));
                            } else {
                                self.set_phase(dependent, Phase::Ready);
                                self.ready.push_back(dependent);
                            }
                        }
                    }
                    Some(Phase::Blocked(_)) => ends.push((dependent, Status::Skipped, why.clone())),
                    _ => {}
                }
            }
        }
    }

    /// A surge goes when it failed itself (nothing was rolled) and when all went well. When a roll broke off in the middle it
    /// stays: it stands in for the machine that does not work.
    fn surge_stays(&self, end: usize) -> Option<String> {
        let step = self.steps.get(end)?;
        step.after
            .iter()
            .filter(|index| matches!(self.phases.get(**index), Some(Phase::Over(Status::Failed))))
            .filter_map(|index| self.steps.get(*index))
            .find(|step| step.work != Work::Surge)
            .map(|broken| {
                format!("kept, because {} is not healthy; the next apply removes it", broken.address())
            })
    }

    /// What runs comes to its end; nothing else begins, but for surges that are to go.
    fn cancel(&mut self) {
        let steps = self.steps;
        let is_surge_end = |index: usize| steps.get(index).is_some_and(|step| step.work == Work::SurgeEnd);
        self.ready.retain(|index| is_surge_end(*index));
        for index in (0..self.phases.len()).filter(|index| !is_surge_end(*index)) {
            if matches!(
                self.phases.get(index),
                Some(Phase::Ready | Phase::Full(_) | Phase::Later(_) | Phase::Blocked(_))
            ) {
                self.waiting.remove(&index);
                self.end(index, Status::Skipped, "cancelled");
            }
        }
    }
}
