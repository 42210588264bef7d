//! Appends until it is killed: events of a service and calls, and says how far it came. For the tests.
#![allow(clippy::unwrap_used, reason = "a program of the tests")]

use std::path::Path;
use std::sync::Arc;

use hafen_base::{Actor, Random as _, SystemClock, SystemRandom};
use hafen_db::{Db, Location};
use hafen_http::{Call, CallLog as _, CallOutcome};
use hafen_ledger::{Ledger, LedgerConfig};
use hafen_seal::MasterKey;
use hafen_work::{EventLog, Health, NewEvent};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (state, folder) = (arguments.next().unwrap(), arguments.next().unwrap());
    let location = Location::Sqlite(state.into());
    let folder = Path::new(&folder);
    let migrations = [hafen_work::MIGRATION, hafen_work::ACTOR_MIGRATION];
    let db = Db::open(&location, "things", &migrations).await.unwrap();
    let events = EventLog::new("things", db.clone(), Arc::new(SystemClock));
    let ledger = Ledger::open(LedgerConfig {
        location,
        folder: folder.join("keys"),
        key: MasterKey::find(None, &folder.join("master"), &SystemRandom).unwrap(),
        apart: folder.join("apart"),
        origin: "test.example/ledger".into(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        health: Health::default(),
        feeds: vec![Arc::new(events.clone())],
        witnesses: Vec::new(),
        keep_years: 3,
    })
    .await
    .unwrap();
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.run(stopped).await }
    });
    let mut life = [0; 8];
    SystemRandom.fill(&mut life);
    let life = u64::from_le_bytes(life);
    println!("ready");
    for n in 0_u64.. {
        let event = NewEvent {
            project: "hello".into(),
            kind: "machine.started",
            object: format!("machine/m-{n}"),
            message: String::new(),
            data: serde_json::Value::Null,
        };
        let mut tx = db.write().await.unwrap();
        let seq = events.append(&mut tx, event).await.unwrap();
        tx.commit().await.unwrap();
        events.ring();
        let call = Call {
            id: format!("r-{life}-{n}"),
            actor: Actor::platform(),
            method: "POST".into(),
            path: "/api/v1/projects/hello/machines".into(),
        };
        ledger.opened(&call).await.unwrap();
        ledger.completed(&call.id, CallOutcome::Answered(201)).await.unwrap();
        println!("{seq}");
    }
}
