//! `SIGKILL` at random moments of applies: the next start reaches what was wanted.

use hafen_base::{Random as _, SystemRandom};

use crate::platform::{Platform, pause, until};

const KILLS: u32 = 50;

#[test]
fn fifty_kills_lose_nothing() {
    let faults = tempfile::NamedTempFile::new().unwrap();
    // Slow enough that a kill meets work under way.
    std::fs::write(faults.path(), r#"{"latency_ms": 15, "lost_reply": 0.05, "half_made": 0.05}"#).unwrap();
    let mut platform = Platform::start(&["--sim-faults", faults.path().to_str().unwrap()]);
    let mut seed = [0_u8; 1];
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
        // Up to half a second into it.
        for _ in 0..seed[0] / 10 {
            pause();
        }
        platform.kill();
        let _ended = apply.kill();
        let _status = apply.wait();
        platform.restart();
    }
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
    // What the engine holds is what the platform knows: none lost, none twice.
    let world = std::fs::read_dir(platform.home.path().join("sim/machines")).unwrap();
    let real: Vec<String> = world.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let known: Vec<&str> = items.iter().map(|machine| machine["id"].as_str().unwrap()).collect();
    assert_eq!(real.len(), known.len(), "{real:?} {known:?}");
    assert!(known.iter().all(|id| real.iter().any(|one| one == id)), "{real:?} {known:?}");
}
