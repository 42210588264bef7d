//! `SIGKILL` at random moments of applies: the next start reaches what was wanted.

use hafen_base::{Random as _, SystemRandom};

use crate::http;
use crate::platform::{Platform, rest, until};

const KILLS: u32 = 50;

#[test]
fn fifty_kills_lose_nothing() {
    let faults = tempfile::NamedTempFile::new().unwrap();
    // Slow enough that a kill meets work under way.
    std::fs::write(faults.path(), r#"{"latency_ms": 25, "lost_reply": 0.05, "half_made": 0.05}"#).unwrap();
    let mut platform = Platform::start(&["--sim-faults", faults.path().to_str().unwrap()]);
    let mut seed = [0_u8; 4];
    let mut met_work = 0;
    for round in 0..KILLS {
        // Growing, shrinking, and now and then another size for all.
        let count = 1 + (round * 7) % 5;
        let memory = if round % 10 < 5 { "memory = \"512 MiB\"\n" } else { "memory = \"1 GiB\"\n" };
        platform.manifest(count, memory);
        let mut apply = platform
            .command(&["apply", "--yes"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        SystemRandom.fill(&mut seed);
        // Any microsecond of the first 350 ms, which is about what such an apply takes.
        rest(std::time::Duration::from_micros(u64::from(u32::from_le_bytes(seed) % 350_000)));
        // The apply of this round, or one of an earlier round that the platform took up again.
        let path = "/api/v1/projects/hello/applies?limit=1";
        let (_, newest) = http::send(&platform, "GET", path, Some(&http::token(&platform)));
        platform.kill();
        met_work += u32::from(newest.contains("\"status\":\"running\""));
        let _ended = apply.kill();
        let _status = apply.wait();
        platform.restart();
    }
    println!("{met_work} of {KILLS} kills met an apply under way");
    // Otherwise this would test nothing.
    assert!(met_work >= KILLS / 2, "only {met_work} of {KILLS} kills met an apply under way");
    // Whatever was under way comes to its end by itself; then one more apply, undisturbed.
    until("no apply runs any more", || {
        let output = platform.run(&["apply", "--yes"]);
        output.status.success().then_some(())
    });
    let (count, memory) = (1 + ((KILLS - 1) * 7) % 5, 1_i64 << 30);
    let machines = platform.json(&["machine", "list"]);
    let items = machines["items"].as_array().unwrap();
    let names: Vec<&str> = items.iter().map(|machine| machine["name"].as_str().unwrap()).collect();
    let expected: Vec<String> = (1..=count).map(|index| format!("web-{index}")).collect();
    assert_eq!(names, expected);
    assert!(items.iter().all(|m| m["state"] == "started" && m["spec"]["memory"] == memory), "{machines}");
    for command in [&["plan", "--detailed-exitcode"][..], &["drift"]] {
        let output = platform.run(command);
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {told}");
    }
    let running = platform.json(&["operation", "list"]);
    let running =
        running["items"].as_array().unwrap().iter().filter(|one| one["status"] == "running").count();
    assert_eq!(running, 0, "no operation is left without an end");
    let events = platform.json(&["events"]);
    let order: Vec<i64> =
        events["items"].as_array().unwrap().iter().map(|one| one["seq"].as_i64().unwrap()).collect();
    assert!(
        order.iter().zip(1..).all(|(seq, expected)| *seq == expected),
        "no event is lost, none comes twice"
    );
    // What the engine holds is what the platform knows: none lost, none twice.
    let world = std::fs::read_dir(platform.home.path().join("sim/machines")).unwrap();
    let real: Vec<String> = world.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let known: Vec<&str> = items.iter().map(|machine| machine["id"].as_str().unwrap()).collect();
    assert_eq!(real.len(), known.len(), "{real:?} {known:?}");
    assert!(known.iter().all(|id| real.iter().any(|one| one == id)), "{real:?} {known:?}");
}
