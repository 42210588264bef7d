//! Random sequences of requests, faults and crashes. Whatever happened: once the faults end, no machine is lost, none is
//! there twice, none is stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hafen_client::Conditions;
use hafen_client::wire::{MachineResize, MachineState};
use hafen_machines::engine::Power;
use hafen_machines::engine::sim::Faults;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::app::{App, Ground, machine};

#[derive(Debug, Clone)]
enum Act {
    Create(u8),
    Delete(u8),
    Start(u8),
    Stop(u8),
    Restart(u8),
    Rebuild(u8),
    Resize(u8),
    Die(u8),
    Crash,
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let name = 0_u8..5;
    prop_oneof![
        4 => name.clone().prop_map(Act::Create),
        2 => name.clone().prop_map(Act::Delete),
        1 => name.clone().prop_map(Act::Start),
        1 => name.clone().prop_map(Act::Stop),
        1 => name.clone().prop_map(Act::Restart),
        1 => name.clone().prop_map(Act::Rebuild),
        1 => name.clone().prop_map(Act::Resize),
        2 => name.prop_map(Act::Die),
        2 => Just(Act::Crash),
        3 => (1_u16..20_000).prop_map(Act::Pass),
    ]
}

async fn storm(acts: Vec<Act>, faults: Faults) {
    let ground = Ground::new(hafen_db::testing::sqlite(), Faults::default());
    let mut app = App::start(&ground).await;
    app.prepare("p").await;
    app.machine("p", "calm").await;
    ground.world.set_faults(faults);
    // What a careful client would expect to exist: asked for and answered.
    let mut wanted: BTreeMap<String, &str> = BTreeMap::from([("calm".to_owned(), "started")]);
    let with = Conditions::default();
    for act in acts {
        match act {
            Act::Crash => {
                drop(app);
                app = App::start(&ground).await;
            }
            Act::Pass(millis) => {
                ground.clock.step(Duration::from_millis(u64::from(millis)));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Act::Die(n) => {
                let id = app.client.machine_get("p", &format!("m{n}")).await.map(|machine| machine.id);
                if let Ok(id) = id {
                    ground.world.kill(id);
                }
            }
            Act::Create(n) => {
                let name = format!("m{n}");
                if app.client.machine_create("p", &machine(&name), &with).await.is_ok() {
                    wanted.insert(name, "started");
                }
            }
            Act::Delete(n) => {
                let name = format!("m{n}");
                if app.client.machine_delete("p", &name, &with).await.is_ok() {
                    wanted.remove(&name);
                }
            }
            Act::Resize(n) => {
                let name = format!("m{n}");
                let body = MachineResize { memory: Some(1 << 30), ..MachineResize::default() };
                // It keeps whether the machine is wanted started or stopped.
                let _either = app.client.machine_resize("p", &name, &body, &with).await;
            }
            Act::Start(n) | Act::Stop(n) | Act::Restart(n) | Act::Rebuild(n) => {
                let (action, state) = match act {
                    Act::Start(_) => ("start", "started"),
                    Act::Stop(_) => ("stop", "stopped"),
                    Act::Restart(_) => ("restart", "started"),
                    _ => ("rebuild", "started"),
                };
                let name = format!("m{n}");
                if app.client.machine_action("p", &name, action, &with).await.is_ok() {
                    wanted.insert(name, state);
                }
            }
        }
    }
    ground.world.set_faults(Faults::default());
    // Failed machines are a settled state; a person asks again.
    let rows = app
        .until("everything settles", async || {
            let machines = app.client.machine_list("p").await.unwrap();
            let settled =
                machines.iter().all(|m| m.state.is_settled() && m.observed_generation == m.generation);
            settled.then_some(machines)
        })
        .await;
    for row in rows.iter().filter(|row| row.state == MachineState::Failed) {
        let action = if wanted.get(&row.name) == Some(&"stopped") { "stop" } else { "start" };
        app.client.machine_action("p", &row.name, action, &with).await.unwrap();
    }
    app.until("reality is as wanted", async || {
        let rows = app.client.machine_list("p").await.unwrap();
        let states: BTreeMap<String, &str> =
            rows.iter().map(|row| (row.name.clone(), row.state.as_str())).collect();
        let real: BTreeSet<_> = ground.world.machines(|m| m.config.id).into_iter().collect();
        let known: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
        let powers = ground.world.machines(|m| (m.config.name.clone(), matches!(m.power, Power::Running(_))));
        let right = powers
            .iter()
            .all(|(name, running)| wanted.get(name) == Some(if *running { &"started" } else { &"stopped" }));
        (states == wanted && real == known && right).then_some(())
    })
    .await;
    let usage = app.client.project_get("p").await.unwrap().usage;
    assert_eq!(usage.machines, i64::try_from(wanted.len()).unwrap());
}

#[test]
fn after_any_storm_reality_is_as_wanted() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 24,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let strategy = (prop::collection::vec(act(), 1..40), any::<u64>());
    let outcome = runner.run(&strategy, |(acts, seed)| {
        let faults = Faults { fails: 0.1, lost_reply: 0.2, half_made: 0.2, dies: 0.1, latency_ms: 20, seed };
        runtime.block_on(storm(acts, faults));
        Ok(())
    });
    outcome.unwrap();
}
