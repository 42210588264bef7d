//! What is said of the steps of an apply to who watches: each in order while they are few, together when many move at once.
//! Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use hafen_base::Timestamp;
use hafen_client::wire::ApplyStep;

use crate::execute::Status;

/// The shortest time between two tellings: what moves in between is told together.
const TELL: Duration = Duration::from_millis(100);
/// The same while no step begins or ends, and only the words of those that run are others.
const REWORD: Duration = Duration::from_secs(1);
/// So many steps are told one by one.
const EACH: usize = 10;
/// Characters of a reason. All of it stands in the apply.
const REASON: usize = 300;

const STATUSES: [Status; 5] =
    [Status::Pending, Status::Running, Status::Done, Status::Failed, Status::Skipped];

/// What was not told yet.
#[derive(Default)]
pub(crate) struct Told {
    /// Places of steps in the apply, and how each stood, in order.
    moved: Vec<(usize, Status)>,
    reworded: BTreeSet<usize>,
    at: Timestamp,
}

impl Told {
    pub fn moved(&mut self, position: usize, status: Status) {
        self.moved.push((position, status));
    }

    pub fn reworded(&mut self, position: usize) {
        self.reworded.insert(position);
    }

    /// What is to be told now; nothing while the last telling is too near, but for the rest at the end.
    pub fn messages(&mut self, steps: &[ApplyStep], now: Timestamp, rest: bool) -> Vec<String> {
        let pause = if self.moved.is_empty() { REWORD } else { TELL };
        if (self.moved.is_empty() && self.reworded.is_empty()) || (!rest && now.since(self.at) < pause) {
            return Vec::new();
        }
        self.at = now;
        let moved = std::mem::take(&mut self.moved);
        let reworded = std::mem::take(&mut self.reworded);
        let at = |position: usize| steps.get(position);
        if moved.is_empty() {
            return match reworded.len() {
                0..=EACH => reworded
                    .into_iter()
                    .filter_map(at)
                    .map(|step| format!("{}: {}{}", step.address, step.status, reason(&step.message)))
                    .collect(),
                many => vec![format!("{many} steps go on")],
            };
        }
        let one = |(position, status): &(usize, Status)| {
            let step = at(*position)?;
            let why = if *status == Status::Failed { reason(&step.message) } else { String::new() };
            Some(format!("{}: {}{why}", step.address, status.as_str()))
        };
        if moved.len() <= EACH {
            return moved.iter().filter_map(one).collect();
        }
        let counts: Vec<String> = STATUSES
            .into_iter()
            .map(|status| (status, moved.iter().filter(|(_, other)| *other == status).count()))
            .filter(|(_, count)| *count > 0)
            .map(|(status, count)| format!("{count} {}", status.as_str()))
            .collect();
        // Together, but for those that nobody wants to look for.
        let failed = moved.iter().filter(|(_, status)| *status == Status::Failed).take(EACH).filter_map(one);
        std::iter::once(format!("many steps at once: {}", counts.join(", "))).chain(failed).collect()
    }
}

/// The first line; below it may stand a log.
fn reason(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    if line.is_empty() {
        String::new()
    } else {
        format!(": {}", line.chars().take(REASON).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, status: &str, message: &str) -> ApplyStep {
        ApplyStep {
            address: format!("machine.{name}"),
            action: "create".into(),
            status: status.into(),
            message: message.into(),
            took_ms: None,
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + millis * 1000)
    }

    #[test]
    fn few_steps_are_told_one_by_one_in_order() {
        let steps = [
            step("a", "done", ""),
            step("b", "failed", "no room\nthe last lines:\n  secret"),
            step("c", "running", ""),
        ];
        let mut told = Told::default();
        assert!(told.messages(&steps, at(0), true).is_empty());
        told.moved(0, Status::Running);
        assert_eq!(told.messages(&steps, at(0), false), ["machine.a: running"]);
        told.moved(0, Status::Done);
        told.moved(1, Status::Running);
        // Too soon after the last time.
        assert!(told.messages(&steps, at(99), false).is_empty());
        told.moved(1, Status::Failed);
        told.moved(7, Status::Done);
        assert_eq!(
            told.messages(&steps, at(100), false),
            ["machine.a: done", "machine.b: running", "machine.b: failed: no room"]
        );
        assert!(told.messages(&steps, at(5000), true).is_empty());
        told.moved(2, Status::Running);
        assert_eq!(told.messages(&steps, at(101), true), ["machine.c: running"]);
    }

    #[test]
    fn a_hundred_at_once_are_told_together_and_failures_by_name() {
        let mut steps: Vec<_> = (0..100).map(|number| step(&number.to_string(), "done", "")).collect();
        let mut told = Told::default();
        for position in 0..98 {
            told.moved(position, Status::Done);
        }
        for (position, broken) in steps.iter_mut().enumerate().skip(98) {
            *broken = step("broken", "failed", &"x".repeat(1000));
            told.moved(position, Status::Failed);
        }
        let messages = told.messages(&steps, at(0), false);
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[0], "many steps at once: 98 done, 2 failed");
        assert!(messages[1].starts_with("machine.broken: failed: xxx") && messages[1].len() < 400);
    }

    #[test]
    fn words_alone_are_told_once_a_second() {
        let steps = [step("a", "running", "building (30 %)")];
        let mut told = Told::default();
        told.moved(0, Status::Running);
        told.reworded(0);
        assert_eq!(told.messages(&steps, at(0), false), ["machine.a: running"]);
        told.reworded(0);
        told.reworded(0);
        assert!(told.messages(&steps, at(999), false).is_empty());
        assert_eq!(told.messages(&steps, at(1000), false), ["machine.a: running: building (30 %)"]);
        (0..50).for_each(|position| told.reworded(position));
        assert_eq!(told.messages(&steps, at(2000), false), ["50 steps go on"]);
    }
}
