//! The road from a manifest to machines and back, through the command line.

use crate::platform::{Platform, program, text};

#[test]
fn plan_apply_change_drift_destroy() {
    let platform = Platform::start(&[]);
    platform.manifest(2, "");
    let pending = platform.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(pending.status.code(), Some(3), "{}", text(&pending.stderr));
    assert!(text(&pending.stdout).contains("+ machine.web-1 is created"));
    // Nobody is there to ask.
    assert_eq!(platform.run(&["apply"]).status.code(), Some(2));
    assert!(platform.good(&["apply", "--yes"]).contains("Applied:"));
    assert_eq!(platform.run(&["plan", "--detailed-exitcode"]).status.code(), Some(0));
    assert!(platform.home.path().join("hafen.lock").exists());

    let machines = platform.json(&["machine", "list"]);
    assert_eq!(machines["next_page"], serde_json::Value::Null);
    let items = machines["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|machine| machine["state"] == "started" && machine["healthy"] == true));

    // A change of `count` touches only what it must.
    platform.manifest(3, "");
    let plan = platform.json(&["plan"]);
    let touched: Vec<&str> =
        plan["resource_changes"].as_array().unwrap().iter().map(|c| c["address"].as_str().unwrap()).collect();
    assert_eq!(touched, ["machine.web-3"]);
    platform.good(&["apply", "--yes"]);
    let after = platform.json(&["machine", "list"]);
    assert_eq!(after["items"][0]["boot_id"], items[0]["boot_id"]);

    // Reality moves, and a plan saved before is refused.
    platform.good(&["plan", "--out", "saved.plan"]);
    platform.good(&["machine", "stop", "web-2"]);
    let drift = platform.run(&["drift"]);
    assert_eq!(drift.status.code(), Some(3));
    assert!(text(&drift.stdout).contains("machine.web-2"));
    let stale = platform.run(&["apply", "saved.plan"]);
    assert_eq!(stale.status.code(), Some(1));
    assert!(text(&stale.stderr).contains("plan again"), "{}", text(&stale.stderr));
    platform.good(&["apply", "--yes"]);
    assert_eq!(platform.run(&["drift"]).status.code(), Some(0));

    // Another size is a new instance of each machine, one after the other.
    platform.manifest(3, "memory = \"1 GiB\"\n");
    let plan = platform.good(&["plan"]);
    assert!(plan.contains("3 to replace"), "{plan}");
    platform.good(&["apply", "--yes"]);
    let rolled = platform.json(&["machine", "list"]);
    assert_eq!(rolled["items"].as_array().unwrap().len(), 3);
    assert!(rolled["items"].as_array().unwrap().iter().all(|m| m["spec"]["memory"] == 1 << 30));

    platform.good(&["destroy", "--yes"]);
    let gone = platform.run(&["machine", "list", "-p", "hello"]);
    assert!(text(&gone.stderr).contains("there is no project \"hello\""), "{}", text(&gone.stderr));
}

#[test]
fn mistakes_are_told_with_line_and_help_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hafen.toml"), "project = \"hello\"\n[machine.web]\nimag = \"x\"\n")
        .unwrap();
    let output =
        program().env("HAFEN_HOME", folder.path()).arg("plan").current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    for part in ["hafen.toml:3:1", "imag = \"x\"", "^^^^", "did you mean `image`?"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    std::fs::write(folder.path().join("hafen.toml"), "project = \"hello\"\n").unwrap();
    let output =
        program().env("HAFEN_HOME", folder.path()).arg("plan").current_dir(folder.path()).output().unwrap();
    assert!(text(&output.stderr).contains("hafen serve"), "{}", text(&output.stderr));
    assert_eq!(program().arg("no-such-verb").output().unwrap().status.code(), Some(2));
}

#[test]
fn the_platform_keeps_to_itself() {
    let platform = Platform::start(&[]);
    for name in ["token", "api.json", "machines.db", "stacks.db", "ca/user_ca", "ca/host_ca"] {
        let mode = std::os::unix::fs::MetadataExt::mode(
            &std::fs::metadata(platform.home.path().join(name)).unwrap(),
        );
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    let token = std::fs::read_to_string(platform.home.path().join("token")).unwrap();
    assert!(!platform.log().contains(token.trim()));
    let wide = platform.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(!wide.status.success() && text(&wide.stderr).contains("TLS"), "{}", text(&wide.stderr));
    let second = platform.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(
        !second.status.success() && text(&second.stderr).contains("another `hafen serve`"),
        "{}",
        text(&second.stderr)
    );
}

#[test]
fn it_runs_on_postgresql_too() {
    let database = hafen_db::testing::postgres();
    let hafen_db::Location::Postgres(url) = &database.location else { panic!("not PostgreSQL") };
    let mut platform = Platform::start(&["--database", url]);
    platform.manifest(2, "");
    platform.good(&["apply", "--yes"]);
    platform.kill();
    platform.restart();
    let machines = platform.json(&["machine", "list"]);
    assert_eq!(machines["items"].as_array().unwrap().len(), 2);
    platform.good(&["destroy", "--yes"]);
}
