//! What to do with one machine next: pure, so that every decision is a row of a table in the tests.
//!
//! The reconciler reads the row, looks at reality, asks here, does the one thing said, and comes back. Nothing is
//! remembered between two calls but what stands in the row and in reality, so a crash at any point changes nothing.

use std::time::Duration;

use hafen_base::Timestamp;
use hafen_client::wire::MachineState;

use crate::engine::{Power, Running, Sight};
use crate::model::{MachineRow, WantedState, limit, restart_backoff};

/// How the things stand that a machine needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// With the digest of the image.
    Ready(String),
    /// What it waits for, for a person.
    Waiting(String),
    /// What will not come, and why.
    Failed(String),
}

/// The one next thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Reality is as wanted.
    Nothing,
    /// Record this state and reason, then look again after the time, if any.
    Record {
        state: MachineState,
        reason: String,
        again: Option<Duration>,
    },
    /// Record that it runs.
    RecordStarted(Running),
    /// Record that it stopped.
    RecordStopped,
    /// Record that it died: count a restart, tell, and come back after the wait.
    RecordDeath {
        reason: String,
        wait: Duration,
    },
    Create,
    Configure,
    Start,
    Stop,
    /// Remove what is there, in order to make it anew.
    Discard,
    /// Remove it for good, then forget the row.
    Delete,
    /// Nothing is left of it: forget the row.
    Forget,
}

/// Decides. `sight` is none when the engine knows nothing of the machine.
pub fn decide(row: &MachineRow, sight: Option<&Sight>, needs: &Needs, now: Timestamp) -> Action {
    if row.wanted == WantedState::Destroyed {
        let stuck = row.state != MachineState::Failed && now.since(row.since) > limit(row.state);
        return match sight {
            None => Action::Forget,
            // Told like any other state that lasts too long; each sweep tries again all the same, as it must not stay.
            Some(_) if stuck => too_long(row),
            Some(_) => Action::Delete,
        };
    }
    // A failure stands until somebody wants something else: then the generation moves on.
    if row.state == MachineState::Failed && row.observed_generation == row.generation {
        return Action::Nothing;
    }
    let transient = transient(row, sight);
    if !row.state.is_settled() && now.since(row.since) > limit(row.state) {
        return too_long(row);
    }
    let Some(sight) = sight else {
        return match needs {
            Needs::Failed(why) => failed(why.clone()),
            Needs::Waiting(what) => waiting(transient, what),
            Needs::Ready(_) => enter(row, transient, Action::Create),
        };
    };
    if sight.disk_instance != row.disk_instance || sight.power == Power::HalfMade {
        // A running machine is only given up once what replaces it can be made.
        return match needs {
            Needs::Failed(why) => failed(why.clone()),
            Needs::Waiting(what) => waiting(transient, what),
            Needs::Ready(_) => enter(row, transient, Action::Discard),
        };
    }
    if sight.instance != row.instance_id {
        return match sight.power {
            Power::Stopped => enter(row, transient, Action::Configure),
            _ => enter(row, transient, Action::Stop),
        };
    }
    let restart = row.restart_wanted > row.restart_seen;
    match (&sight.power, row.wanted) {
        (Power::HalfMade, _) | (_, WantedState::Destroyed) => Action::Nothing,
        // Stop also tidies up after a death, so that it reads stopped from now on.
        (Power::Running(_) | Power::Starting | Power::Dead(_), WantedState::Stopped) => {
            enter(row, MachineState::Stopping, Action::Stop)
        }
        (Power::Running(_) | Power::Starting, WantedState::Started) if restart => {
            enter(row, transient, Action::Stop)
        }
        (Power::Running(running), WantedState::Started) => {
            let known = row.state == MachineState::Started
                && row.observed_generation == row.generation
                && row.boot_id == running.boot_id;
            if known { Action::Nothing } else { Action::RecordStarted(running.clone()) }
        }
        (Power::Starting | Power::Stopped, WantedState::Started) => enter(row, transient, Action::Start),
        (Power::Dead(reason), WantedState::Started) if row.state == MachineState::Started => {
            Action::RecordDeath { reason: reason.clone(), wait: restart_backoff(row.restarts + 1) }
        }
        (Power::Dead(_), WantedState::Started) => {
            let due = row.since.plus(restart_backoff(row.restarts));
            if row.restarts > 0 && row.state == MachineState::Starting && now < due {
                Action::Record { state: row.state, reason: row.reason.clone(), again: Some(due.since(now)) }
            } else {
                enter(row, transient, Action::Start)
            }
        }
        (Power::Stopped, WantedState::Stopped) => {
            if row.state == MachineState::Stopped && row.observed_generation == row.generation {
                Action::Nothing
            } else {
                Action::RecordStopped
            }
        }
    }
}

/// The transient state on the way to what is wanted.
fn transient(row: &MachineRow, sight: Option<&Sight>) -> MachineState {
    match row.state {
        MachineState::Creating | MachineState::Updating if row.observed_generation < row.generation => {
            row.state
        }
        _ => match sight {
            None if row.boot_id.is_empty() => MachineState::Creating,
            Some(sight) if sight.instance != row.instance_id || sight.disk_instance != row.disk_instance => {
                MachineState::Updating
            }
            _ => MachineState::Starting,
        },
    }
}

/// The action, or first the record of the transient state it belongs to, so that a reader sees it and its limit runs.
fn enter(row: &MachineRow, state: MachineState, action: Action) -> Action {
    if row.state == state || (row.state == MachineState::Creating && state == MachineState::Starting) {
        action
    } else {
        Action::Record { state, reason: String::new(), again: Some(Duration::ZERO) }
    }
}

fn too_long(row: &MachineRow) -> Action {
    let minutes = limit(row.state).as_secs() / 60;
    let why = if row.reason.is_empty() { String::new() } else { format!(": {}", row.reason) };
    failed(format!("{} for more than {minutes} minutes{why}", row.state.as_str()))
}

fn failed(reason: String) -> Action {
    Action::Record { state: MachineState::Failed, reason, again: None }
}

fn waiting(state: MachineState, what: &str) -> Action {
    // The reconciler renews `since` while it records a wait: an image that builds for long is not the machine's fault.
    Action::Record { state, reason: what.to_owned(), again: Some(Duration::from_secs(5)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use hafen_base::{InstanceId, MachineId, NetworkId, SeededRandom};
    use hafen_client::wire::MachineSpec;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    fn row(state: MachineState, wanted: WantedState) -> MachineRow {
        let random = SeededRandom::new(3);
        MachineRow {
            id: MachineId::generate(NOW, &random),
            project: "hello".into(),
            name: "web-1".into(),
            group: None,
            spec: MachineSpec {
                image: "web".into(),
                cpus: 1,
                memory: 512 << 20,
                disk: 4 << 30,
                network: "backend".into(),
                address: None,
                user_data: None,
                start: "warm".into(),
            },
            health: None,
            metadata: BTreeMap::new(),
            cordoned: false,
            instance_id: InstanceId::generate(NOW, &random),
            disk_instance: InstanceId::generate(NOW, &random),
            wanted,
            restart_wanted: 0,
            restart_seen: 0,
            network_id: NetworkId::generate(NOW, &random),
            address: Ipv4Addr::new(10, 64, 0, 10),
            mac: String::new(),
            generation: 1,
            lease_nonce: None,
            lease_until: NOW,
            operation: None,
            created_at: NOW,
            updated_at: NOW,
            state,
            reason: String::new(),
            healthy: false,
            boot_id: if state == MachineState::Creating { String::new() } else { "b".into() },
            host_key: String::new(),
            image_digest: String::new(),
            restarts: 0,
            since: NOW,
            observed_generation: i64::from(state.is_settled()),
        }
    }

    fn seen(row: &MachineRow, power: Power) -> Sight {
        Sight { id: row.id, instance: row.instance_id, disk_instance: row.disk_instance, power }
    }

    fn running() -> Power {
        Power::Running(Running { boot_id: "b".into(), host_key: "k".into() })
    }

    fn name(action: &Action) -> String {
        match action {
            Action::Record { state, .. } => format!("record {}", state.as_str()),
            Action::RecordStarted(_) => "record started".into(),
            Action::RecordStopped => "record stopped".into(),
            Action::RecordDeath { .. } => "record death".into(),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    #[test]
    fn the_table() {
        use MachineState as S;
        use WantedState as W;
        let dead = || Power::Dead("exit 1".into());
        let table: &[(S, W, Option<Power>, &str)] = &[
            (S::Creating, W::Started, None, "create"),
            (S::Creating, W::Started, Some(Power::HalfMade), "record updating"),
            (S::Creating, W::Started, Some(Power::Stopped), "start"),
            (S::Creating, W::Started, Some(Power::Starting), "start"),
            (S::Creating, W::Started, Some(running()), "record started"),
            (S::Creating, W::Started, Some(dead()), "start"),
            (S::Creating, W::Stopped, Some(Power::Stopped), "record stopped"),
            (S::Started, W::Started, Some(running()), "nothing"),
            (S::Started, W::Started, Some(dead()), "record death"),
            (S::Started, W::Started, None, "record starting"),
            (S::Started, W::Stopped, Some(running()), "record stopping"),
            (S::Stopping, W::Stopped, Some(running()), "stop"),
            (S::Stopping, W::Stopped, Some(dead()), "stop"),
            (S::Stopping, W::Stopped, Some(Power::Stopped), "record stopped"),
            (S::Stopped, W::Stopped, Some(Power::Stopped), "nothing"),
            (S::Stopped, W::Started, Some(Power::Stopped), "record starting"),
            (S::Starting, W::Started, Some(Power::Stopped), "start"),
            (S::Failed, W::Started, Some(dead()), "nothing"),
            (S::Failed, W::Destroyed, Some(dead()), "delete"),
            (S::Destroying, W::Destroyed, Some(running()), "delete"),
            (S::Destroying, W::Destroyed, None, "forget"),
        ];
        let ready = Needs::Ready("sha256-x".into());
        for (state, wanted, power, expected) in table {
            let row = row(*state, *wanted);
            let sight = power.clone().map(|power| seen(&row, power));
            let got = name(&decide(&row, sight.as_ref(), &ready, NOW));
            // Half made belongs to creation as long as nothing was seen yet.
            let expected = if *expected == "record updating" { "discard" } else { expected };
            assert_eq!(got, expected, "{state:?} {wanted:?} {power:?}");
        }
    }

    #[test]
    fn a_new_configuration_stops_then_configures_and_a_new_disk_discards() {
        let ready = Needs::Ready("sha256-x".into());
        let mut row = row(MachineState::Updating, WantedState::Started);
        row.generation = 2;
        row.observed_generation = 1;
        let mut sight = seen(&row, running());
        sight.instance = InstanceId::generate(NOW, &SeededRandom::new(9));
        assert_eq!(decide(&row, Some(&sight), &ready, NOW), Action::Stop);
        sight.power = Power::Stopped;
        assert_eq!(decide(&row, Some(&sight), &ready, NOW), Action::Configure);
        sight.disk_instance = sight.instance;
        assert_eq!(decide(&row, Some(&sight), &ready, NOW), Action::Discard);
        let waiting = decide(&row, Some(&sight), &Needs::Waiting("image web is building".into()), NOW);
        assert_eq!(name(&waiting), "record updating");
    }

    #[test]
    fn a_transient_state_past_its_limit_fails_with_a_reason() {
        let ready = Needs::Ready("sha256-x".into());
        for state in
            [MachineState::Creating, MachineState::Starting, MachineState::Stopping, MachineState::Updating]
        {
            let mut row = row(state, WantedState::Started);
            row.reason = "the engine is away".into();
            let sight = seen(&row, Power::Stopped);
            let late = NOW.plus(limit(state) + Duration::from_secs(1));
            let action = decide(&row, Some(&sight), &ready, late);
            let Action::Record { state: MachineState::Failed, reason, .. } = action else {
                panic!("{action:?}")
            };
            assert!(reason.contains("the engine is away"), "{reason}");
        }
    }
}
