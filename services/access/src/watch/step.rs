//! Pure: what follows from one try to check a machine. (what is known, what came) → (what is known then, what is told).

use std::time::Duration;

use hafen_base::{Result, Timestamp};
use hafen_client::wire::IntegrityFinding;

use super::plan::{self, Baseline, Known};
use super::report::Report;

/// Tries that fail in a row until it is an alert.
pub const FAILURES: i64 = 3;
/// A machine that was never checked may still be starting: it is tried again sooner, at first after this.
const FIRST_RETRY: Duration = Duration::from_secs(15);

/// What is known of one machine's ways in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The machine's id.
    pub machine: String,
    pub project: String,
    pub name: String,
    /// Fingerprint of the host key, which is made with the disk: another disk is another baseline.
    pub disk: String,
    pub baseline: Option<Baseline>,
    pub report: Option<Report>,
    /// Of the report; empty for none.
    pub digest: String,
    pub findings: Vec<IntegrityFinding>,
    /// In a row.
    pub failures: i64,
    /// When the first of them was.
    pub failed_since: Timestamp,
    /// Whether it was told that it cannot be checked.
    pub unchecked: bool,
    /// Why the last try failed; empty when it did not.
    pub error: String,
    pub checked_at: Option<Timestamp>,
    pub tried_at: Option<Timestamp>,
    pub next_at: Timestamp,
}

/// What is worth an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The first report of a disk: what later ones are compared with.
    Baseline,
    /// Alert: these are new.
    Changed(Vec<IntegrityFinding>),
    /// Everything is as it was again.
    Restored,
    /// Alert: it cannot be checked.
    Unchecked,
    /// It can again.
    CheckedAgain,
}

impl Watched {
    /// Of a machine that was never checked.
    pub fn new(machine: &str, project: &str, name: &str, disk: &str) -> Self {
        Self {
            machine: machine.to_owned(),
            project: project.to_owned(),
            name: name.to_owned(),
            disk: disk.to_owned(),
            baseline: None,
            report: None,
            digest: String::new(),
            findings: Vec::new(),
            failures: 0,
            failed_since: Timestamp::from_micros(0),
            unchecked: false,
            error: String::new(),
            checked_at: None,
            tried_at: None,
            next_at: Timestamp::from_micros(0),
        }
    }

    /// A report came. `next_at` is left to the caller.
    ///
    /// # Errors
    /// Internal.
    pub fn reported(&mut self, report: Report, known: &Known) -> Result<Vec<Told>> {
        let mut told = Vec::new();
        if self.unchecked {
            told.push(Told::CheckedAgain);
        }
        (self.failures, self.unchecked) = (0, false);
        self.error.clear();
        (self.checked_at, self.tried_at) = (Some(known.now), Some(known.now));
        let findings = plan::findings(known, self.baseline.as_ref(), &report);
        if self.baseline.is_none() {
            self.baseline = Some(Baseline {
                report: report.clone(),
                accepted: false,
                at: known.now,
                by: String::new(),
                reason: String::new(),
            });
            told.push(Told::Baseline);
        }
        let news = plan::news(&self.findings, &findings);
        if !news.is_empty() {
            told.push(Told::Changed(news));
        } else if findings.is_empty() && !self.findings.is_empty() {
            told.push(Told::Restored);
        }
        self.findings = findings;
        self.digest = report.digest()?;
        self.report = Some(report);
        Ok(told)
    }

    /// No report came. Sets when to try again, after `every` at the latest.
    pub fn failed(&mut self, error: String, now: Timestamp, every: Duration) -> Vec<Told> {
        if self.failures == 0 {
            self.failed_since = now;
        }
        self.failures += 1;
        self.error = error;
        self.tried_at = Some(now);
        let doubled = u32::try_from(self.failures - 1).unwrap_or(u32::MAX).min(16);
        let wait = if self.baseline.is_none() { FIRST_RETRY * 2_u32.pow(doubled) } else { every };
        self.next_at = now.plus(wait.min(every));
        let long = now.since(self.failed_since) >= every;
        if self.failures >= FAILURES && long && !self.unchecked {
            self.unchecked = true;
            return vec![Told::Unchecked];
        }
        Vec::new()
    }

    /// As one word: `waiting`, `ok`, `changed`, `unchecked`.
    pub fn state(&self) -> &'static str {
        if self.unchecked {
            "unchecked"
        } else if !self.findings.is_empty() {
            "changed"
        } else if self.checked_at.is_some() {
            "ok"
        } else {
            "waiting"
        }
    }
}
