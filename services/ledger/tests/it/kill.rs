//! `kill -9` at random moments of a process that writes: nothing is lost, nothing is twice, the tree continues.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use hafen_base::{Random as _, SystemRandom};
use hafen_db::{Location, testing};

use crate::support::{House, Running, Things, until};

const KILLS: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments() {
    let database = testing::sqlite();
    let Location::Sqlite(state) = &database.location else { panic!("SQLite") };
    let state = state.clone();
    let house = House::new(database).await;
    let (mut acknowledged, mut at) = (0_i64, [0; 4]);
    let mut met_work = 0;
    for _ in 0..KILLS {
        let mut child = Command::new(program())
            .arg(&state)
            .arg(house.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        // Each line says a number of events that are committed in their service, and calls that were answered.
        let mut lines = output.lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let reader = std::thread::spawn(move || {
            lines.map_while(Result::ok).filter_map(|line| line.parse::<i64>().ok()).last().unwrap_or(0)
        });
        SystemRandom.fill(&mut at);
        let micros = 5_000 + u64::from(u32::from_le_bytes(at) % 200_000);
        tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let last = reader.join().unwrap();
        met_work += usize::from(last > 0);
        acknowledged = acknowledged.max(last);
    }
    assert!(met_work > KILLS / 2, "only {met_work} kills met work");
    let things = Things::open(&house.database.location, "things").await;
    let events = things.events.last().await.unwrap();
    assert!(events >= acknowledged, "{events} {acknowledged}");
    let running = Running::new(&house.database.location, house.folder.path(), house.feeds()).await;
    until("all events are written down", async || {
        running.entries("kind=machine.started&limit=1000").await.len() >= usize::try_from(events).unwrap()
    })
    .await;
    until("all calls are closed", async || {
        let shards = running.shards().await;
        shards.iter().all(|shard| shard.signed == shard.size)
    })
    .await;
    let all = running.entries("limit=1000").await;
    let seqs = |service: &str| all.iter().filter(|e| e.service == service).map(|e| e.seq).collect::<Vec<_>>();
    assert_eq!(seqs("things"), (1..=events).collect::<Vec<_>>(), "none lost, none twice");
    let calls = seqs("calls");
    assert_eq!(calls, (1..=i64::try_from(calls.len()).unwrap()).collect::<Vec<_>>());
    let mut ids: Vec<&str> =
        all.iter().filter(|e| e.service == "calls").map(|e| e.request.as_str()).collect();
    ids.sort_unstable();
    let before = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), before, "no call is two entries");
    println!("{KILLS} kills, {met_work} met work: {events} events, {before} calls");
    assert_eq!(running.verify("").await.checkpoint.size, all.len() as u64);
}

/// The example that appends until it is killed, built with the tests.
fn program() -> std::path::PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.ancestors().nth(2).unwrap();
    let program = target.join("examples/appending");
    assert!(program.exists(), "{}: cargo build -p hafen-ledger --examples", program.display());
    program
}
