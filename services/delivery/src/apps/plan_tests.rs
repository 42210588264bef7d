//! Tables of single decisions, and whole rollouts against a small world with mishaps.

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn wanted(set: i64, replicas: u32) -> Wanted {
    Wanted {
        set,
        release: set,
        replicas,
        blue_green: false,
        urgent: false,
        deploying: true,
        migration: Migration::Done,
        first_port: 8080,
        healthy_after: 2,
        interval: Duration::from_secs(1),
        patience: Duration::from_secs(60),
        drain: Duration::from_secs(30),
    }
}

fn hosts(names: &[&str]) -> Vec<Host> {
    let host = |name: &&str| Host {
        name: (*name).into(),
        boot: "1".into(),
        taken: BTreeSet::new(),
        tidy: true,
        takes: true,
    };
    names.iter().map(host).collect()
}

fn process(set: i64, index: u32, machine: &str, port: u16, phase: Phase) -> Process {
    let boot = if phase == Phase::Placed { "" } else { "1" };
    Process {
        key: Key { set, index },
        machine: machine.into(),
        boot: boot.into(),
        port,
        phase,
        since: START,
        good: 0,
        restarts: 0,
        in_flight: Some(0),
        accepted: true,
        announced: true,
    }
}

/// As words, for the tables.
fn told(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Tidy(machine) => format!("tidy {machine}"),
        Action::Place { key, machine, port } => format!("place {} {machine}:{port}", key.id()),
        Action::Start(key) => format!("start {}", key.id()),
        Action::Probe(key) => format!("probe {}", key.id()),
        Action::Serve(key) => format!("serve {}", key.id()),
        Action::Drain(key) => format!("drain {}", key.id()),
        Action::Stop(key) => format!("stop {}", key.id()),
        Action::Forget(key) => format!("forget {}", key.id()),
        Action::Fail(Failure::Migration(_)) => "fail migration".into(),
        Action::Fail(Failure::Unhealthy(key)) => format!("fail unhealthy {}", key.id()),
        Action::Fail(Failure::Ends(key)) => format!("fail ends {}", key.id()),
        Action::Migrate => "migrate".into(),
        Action::Succeed => "succeed".into(),
        Action::NoMachine => "no machine".into(),
        Action::OnOldSchema => "on old schema".into(),
        Action::Wait(_) => "wait".into(),
    };
    actions.iter().map(word).collect()
}

fn decided(wanted: &Wanted, hosts: Vec<Host>, processes: Vec<Process>, seconds: u64) -> Vec<String> {
    told(&plan(wanted, &Seen { hosts, processes }, START.plus(Duration::from_secs(seconds))))
}

#[test]
fn a_first_deployment_places_starts_probes_and_serves() {
    let w = wanted(1, 3);
    assert_eq!(
        decided(&w, hosts(&["a", "b"]), vec![], 0),
        ["place d1-0 a:8080", "place d1-1 b:8080", "place d1-2 a:8081", "wait"]
    );
    let placed = vec![
        process(1, 0, "a", 8080, Phase::Placed),
        process(1, 1, "b", 8080, Phase::Started),
        Process { good: 2, ..process(1, 2, "a", 8081, Phase::Started) },
    ];
    assert_eq!(
        decided(&w, hosts(&["a", "b"]), placed, 1),
        ["start d1-0", "probe d1-1", "serve d1-2", "wait"]
    );
    let all: Vec<_> = (0..3).map(|index| process(1, index, "a", 8080, Phase::Serving)).collect();
    assert_eq!(decided(&w, hosts(&["a"]), all.clone(), 1), ["succeed"]);
    // And nothing once it is so.
    assert_eq!(decided(&Wanted { deploying: false, ..w }, hosts(&["a"]), all, 1), Vec::<String>::new());
}

#[test]
fn rolling_never_takes_away_before_it_gives() {
    let w = wanted(2, 2);
    let old = |phase| vec![process(1, 0, "a", 8080, Phase::Serving), process(1, 1, "b", 8080, phase)];
    // One at a time beside what serves.
    assert_eq!(decided(&w, hosts(&["a", "b"]), old(Phase::Serving), 0), ["place d2-0 a:8081", "wait"]);
    let mut with_new = old(Phase::Serving);
    with_new.push(Process { good: 2, ..process(2, 0, "a", 8081, Phase::Started) });
    assert_eq!(decided(&w, hosts(&["a", "b"]), with_new.clone(), 0), ["serve d2-0", "wait"]);
    // It serves, but the balancer does not think so yet.
    with_new[2] = Process { accepted: false, ..process(2, 0, "a", 8081, Phase::Serving) };
    assert_eq!(decided(&w, hosts(&["a", "b"]), with_new.clone(), 0), ["place d2-1 b:8081", "wait"]);
    with_new[2].accepted = true;
    assert_eq!(decided(&w, hosts(&["a", "b"]), with_new, 0), ["place d2-1 b:8081", "drain d1-1", "wait"]);
    // Draining ends with the last request, or its time.
    let mut draining = old(Phase::Draining);
    draining.push(process(2, 0, "a", 8081, Phase::Serving));
    assert!(!decided(&w, hosts(&["a", "b"]), draining.clone(), 0).contains(&"stop d1-1".to_owned()));
    assert!(decided(&w, hosts(&["a", "b"]), draining.clone(), 1).contains(&"stop d1-1".to_owned()));
    draining[1].in_flight = Some(3);
    assert!(!decided(&w, hosts(&["a", "b"]), draining.clone(), 29).contains(&"stop d1-1".to_owned()));
    assert!(decided(&w, hosts(&["a", "b"]), draining.clone(), 30).contains(&"stop d1-1".to_owned()));
    // And not before the balancer has heard of it.
    draining[1].announced = false;
    assert!(!decided(&w, hosts(&["a", "b"]), draining, 300).contains(&"stop d1-1".to_owned()));
}

#[test]
fn the_way_back_is_taken_at_once() {
    let serving =
        |index, machine| process(1, index, machine, 8080 + u16::try_from(index).unwrap(), Phase::Serving);
    let processes = vec![serving(0, "a"), serving(1, "b"), serving(2, "a"), serving(3, "b")];
    let seen = Seen { hosts: hosts(&["a", "b"]), processes };
    let places = |wanted: &Wanted| {
        plan(wanted, &seen, START).iter().filter(|action| matches!(action, Action::Place { .. })).count()
    };
    let forth = wanted(2, 4);
    assert_eq!(places(&forth), 1);
    assert_eq!(places(&Wanted { urgent: true, ..forth }), 4);
}

#[test]
fn blue_green_changes_places_at_once() {
    let w = Wanted { blue_green: true, ..wanted(2, 2) };
    let old = [process(1, 0, "a", 8080, Phase::Serving), process(1, 1, "b", 8080, Phase::Serving)];
    assert_eq!(
        decided(&w, hosts(&["a", "b"]), old.to_vec(), 0),
        ["place d2-0 a:8081", "place d2-1 b:8081", "wait"]
    );
    let mut half = old.to_vec();
    half.push(Process { good: 2, ..process(2, 0, "a", 8081, Phase::Started) });
    half.push(Process { good: 1, ..process(2, 1, "b", 8081, Phase::Started) });
    assert_eq!(decided(&w, hosts(&["a", "b"]), half.clone(), 0), ["probe d2-0", "probe d2-1", "wait"]);
    half[3].good = 2;
    assert_eq!(decided(&w, hosts(&["a", "b"]), half.clone(), 0), ["serve d2-0", "serve d2-1", "wait"]);
    (half[2].phase, half[3].phase) = (Phase::Serving, Phase::Serving);
    assert_eq!(decided(&w, hosts(&["a", "b"]), half, 0), ["drain d1-1", "drain d1-0", "wait"]);
}

#[test]
fn a_migration_comes_before_any_process() {
    let due = Wanted { migration: Migration::Due, ..wanted(2, 2) };
    let old = vec![process(1, 0, "a", 8080, Phase::Serving)];
    assert_eq!(decided(&due, hosts(&["a"]), old.clone(), 0), ["migrate", "wait"]);
    assert_eq!(decided(&due, vec![], vec![], 0), ["no machine", "wait"]);
    let failed = Wanted { migration: Migration::Failed("no".into()), ..wanted(2, 2) };
    assert_eq!(decided(&failed, hosts(&["a"]), old.clone(), 0), ["fail migration"]);
    // What serves goes on without it.
    let steady = Wanted { deploying: false, ..Wanted { migration: Migration::Due, ..wanted(1, 1) } };
    assert_eq!(decided(&steady, hosts(&["a"]), old, 0), Vec::<String>::new());
    // A release that came in with no processes migrates before its first one.
    assert_eq!(decided(&steady, hosts(&["a"]), vec![], 0), ["migrate", "wait"]);
    let failed =
        Wanted { deploying: false, ..Wanted { migration: Migration::Failed("no".into()), ..wanted(1, 1) } };
    assert_eq!(decided(&failed, hosts(&["a"]), vec![], 0), ["on old schema"]);
    let none = Wanted { replicas: 0, deploying: true, ..steady };
    assert_eq!(decided(&none, hosts(&["a"]), vec![], 0), ["succeed"]);
}

#[test]
fn failures_are_noticed_only_while_deploying() {
    let started = |good, restarts| {
        vec![
            process(1, 0, "a", 8080, Phase::Serving),
            Process { good, restarts, ..process(2, 0, "a", 8081, Phase::Started) },
        ]
    };
    let w = wanted(2, 1);
    assert_eq!(decided(&w, hosts(&["a"]), started(0, 0), 59), ["probe d2-0", "wait"]);
    assert_eq!(decided(&w, hosts(&["a"]), started(1, 0), 60), ["fail unhealthy d2-0"]);
    assert_eq!(decided(&w, hosts(&["a"]), started(0, 3), 1), ["fail ends d2-0"]);
    // Back to the old set: what came up goes, and what serves stays.
    let back = Wanted { deploying: false, ..wanted(1, 1) };
    assert_eq!(decided(&back, hosts(&["a"]), started(0, 3), 1), ["stop d2-0"]);
    let steady = Wanted { deploying: false, ..wanted(2, 1) };
    assert_eq!(decided(&steady, hosts(&["a"]), started(0, 9)[1..].to_vec(), 59), ["probe d2-0", "wait"]);
    assert_eq!(decided(&steady, hosts(&["a"]), started(0, 9)[1..].to_vec(), 60), ["stop d2-0", "wait"]);
}

#[test]
fn a_lost_machine_moves_its_processes() {
    let steady = Wanted { deploying: false, ..wanted(1, 2) };
    let both = vec![process(1, 0, "a", 8080, Phase::Serving), process(1, 1, "b", 8080, Phase::Serving)];
    assert_eq!(decided(&steady, hosts(&["a"]), both.clone(), 0), ["forget d1-1"]);
    assert_eq!(decided(&steady, hosts(&["a"]), both[..1].to_vec(), 0), ["place d1-1 a:8081", "wait"]);
    assert_eq!(decided(&steady, vec![], vec![], 0), ["no machine", "wait"]);
    // One that began anew starts its processes once more, and is looked through.
    let mut anew = hosts(&["a", "b"]);
    anew[1].boot = "2".into();
    anew[1].tidy = false;
    assert_eq!(decided(&steady, anew, both, 0), ["start d1-1", "tidy b"]);
}

#[test]
fn scaling_keeps_the_set() {
    let four: Vec<_> =
        (0..4_u16).map(|index| process(1, u32::from(index), "a", 8080 + index, Phase::Serving)).collect();
    let down = Wanted { deploying: false, ..wanted(1, 2) };
    assert_eq!(decided(&down, hosts(&["a"]), four.clone(), 0), ["drain d1-3", "drain d1-2", "wait"]);
    let up = Wanted { deploying: false, ..wanted(1, 6) };
    assert_eq!(
        decided(&up, hosts(&["a", "b"]), four.clone(), 0),
        ["place d1-4 b:8080", "place d1-5 b:8081", "wait"]
    );
    let none = Wanted { deploying: false, ..wanted(1, 0) };
    assert_eq!(decided(&none, hosts(&["a"]), four, 0).len(), 5);
}

#[test]
fn ports_of_others_are_left_alone() {
    let mut one = hosts(&["a"]);
    one[0].taken = BTreeSet::from([8080, 8082]);
    assert_eq!(decided(&wanted(1, 2), one, vec![], 0), ["place d1-0 a:8081", "place d1-1 a:8083", "wait"]);
    let mut full = hosts(&["a"]);
    full[0].taken = BTreeSet::from([u16::MAX]);
    let last = Wanted { first_port: u16::MAX, ..wanted(1, 1) };
    assert_eq!(decided(&last, full, vec![], 0), ["no machine", "wait"]);
}

/// Carries actions out as the service does, with mishaps.
struct World {
    wanted: Wanted,
    seen: Seen,
    now: Timestamp,
    migrated: u32,
    outcome: Option<bool>,
}

impl World {
    fn serving(&self) -> usize {
        self.seen.processes.iter().filter(|one| one.phase == Phase::Serving).count()
    }

    fn one(&mut self, key: Key) -> &mut Process {
        self.seen.processes.iter_mut().find(|one| one.key == key).unwrap()
    }

    /// One step; `bad`: what is asked does not answer.
    fn step(&mut self, bad: bool) {
        self.now = self.now.plus(Duration::from_secs(1));
        let now = self.now;
        for action in plan(&self.wanted, &self.seen, now) {
            match action {
                Action::Tidy(machine) => {
                    self.seen
                        .hosts
                        .iter_mut()
                        .filter(|one| one.name == machine)
                        .for_each(|one| one.tidy = true);
                }
                Action::Migrate => {
                    self.migrated += 1;
                    self.wanted.migration = Migration::Done;
                }
                Action::Place { key, machine, port } => {
                    assert!(
                        !self.seen.processes.iter().any(|one| one.machine == machine && one.port == port),
                        "a port is given twice"
                    );
                    assert!(
                        !self.seen.processes.iter().any(|one| one.key == key),
                        "a process is placed twice"
                    );
                    let placed = process(key.set, key.index, &machine, port, Phase::Placed);
                    self.seen.processes.push(Process { since: now, ..placed });
                }
                Action::Start(key) => {
                    assert_eq!(self.wanted.migration, Migration::Done, "started before the migration");
                    let machine = self.one(key).machine.clone();
                    let boot = self.seen.hosts.iter().find(|one| one.name == machine).unwrap().boot.clone();
                    let one = self.one(key);
                    (one.boot, one.phase, one.since, one.good) = (boot, Phase::Started, now, 0);
                }
                Action::Probe(key) => {
                    let one = self.one(key);
                    one.good = if bad { 0 } else { one.good + 1 };
                }
                Action::Serve(key) => (self.one(key).phase, self.one(key).since) = (Phase::Serving, now),
                Action::Drain(key) => (self.one(key).phase, self.one(key).since) = (Phase::Draining, now),
                Action::Stop(key) | Action::Forget(key) => self.seen.processes.retain(|one| one.key != key),
                Action::Succeed => self.outcome = Some(true),
                Action::Fail(_) => self.outcome = Some(false),
                Action::NoMachine | Action::OnOldSchema | Action::Wait(_) => {}
            }
        }
    }
}

proptest! {
    #[test]
    fn a_deployment_never_serves_less_than_before(
        replicas in 1_u32..9, machines in 1_usize..4, blue_green: bool, migrate: bool, bad in proptest::collection::vec(any::<bool>(), 0..30),
    ) {
        let names = ["a", "b", "c"];
        let mut world = World {
            wanted: Wanted { deploying: false, ..wanted(1, replicas) },
            seen: Seen { hosts: hosts(&names[..machines]), processes: vec![] },
            now: START, migrated: 0, outcome: None,
        };
        for _ in 0..60 { world.step(false); }
        prop_assert_eq!(world.serving(), replicas as usize);
        world.wanted = Wanted { blue_green, migration: if migrate { Migration::Due } else { Migration::Done }, ..wanted(2, replicas) };
        let mut bad = bad.into_iter();
        for _ in 0..400 {
            world.step(bad.next().unwrap_or(false));
            prop_assert!(world.serving() >= replicas as usize, "fewer serve than before");
            if world.outcome.is_some() { break; }
        }
        prop_assert_eq!(world.outcome, Some(true));
        prop_assert_eq!(world.migrated, u32::from(migrate));
        world.wanted.deploying = false;
        for _ in 0..40 { world.step(false); }
        prop_assert!(world.seen.processes.iter().all(|one| one.key.set == 2 && one.phase == Phase::Serving));
        // Evenly.
        let count = |name: &str| world.seen.processes.iter().filter(|one| one.machine == name).count();
        let counts: Vec<usize> = names[..machines].iter().map(|name| count(name)).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
    }

    #[test]
    fn a_broken_release_goes_and_the_old_one_stays(replicas in 1_u32..6, blue_green: bool, good_first in 0_usize..4) {
        let mut world = World {
            wanted: Wanted { deploying: false, ..wanted(1, replicas) },
            seen: Seen { hosts: hosts(&["a", "b"]), processes: vec![] },
            now: START, migrated: 0, outcome: None,
        };
        for _ in 0..60 { world.step(false); }
        world.wanted = Wanted { blue_green, ..wanted(2, replicas) };
        for step in 0..400 {
            world.step(step >= good_first);
            prop_assert!(world.serving() >= replicas as usize);
            if world.outcome.is_some() { break; }
        }
        if world.outcome == Some(false) {
            world.wanted = Wanted { deploying: false, ..wanted(1, replicas) };
            for _ in 0..60 {
                world.step(false);
                prop_assert!(world.serving() >= replicas as usize);
            }
            prop_assert!(world.seen.processes.iter().all(|one| one.key.set == 1));
        }
    }

    #[test]
    fn whatever_happens_to_machines_it_settles(
        replicas in 0_u32..6, losses in proptest::collection::vec((0_usize..3, any::<bool>()), 0..6),
    ) {
        let mut world = World {
            wanted: Wanted { deploying: false, ..wanted(1, replicas) },
            seen: Seen { hosts: hosts(&["a", "b", "c"]), processes: vec![] },
            now: START, migrated: 0, outcome: None,
        };
        for (turn, (which, comes_back)) in losses.into_iter().enumerate() {
            for _ in 0..3 { world.step(false); }
            if world.seen.hosts.len() > 1 {
                let which = which % world.seen.hosts.len();
                let mut host = world.seen.hosts.remove(which);
                if comes_back {
                    (host.boot, host.tidy) = (format!("again {turn}"), false);
                    world.seen.hosts.push(host);
                }
            }
        }
        for _ in 0..60 { world.step(false); }
        prop_assert_eq!(world.serving(), replicas as usize);
        prop_assert_eq!(world.seen.processes.len(), replicas as usize);
    }
}
