//! Every command as a person and as a program meets it: what it prints, what it says of mistakes, its exit code.

use serde_json::Value;

use crate::platform::{Platform, program, text};

/// Runs, expects this exit code, gives what was said on stderr.
fn fails(platform: &Platform, code: i32, arguments: &[&str]) -> String {
    let output = platform.run(arguments);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{errors}", text(&output.stdout));
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

#[test]
fn machines_by_command() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let create =
        ["machine", "create", "db", "--image", "web", "--network", "backend", "--metadata", "team=shop"];
    let created = platform.json(&create);
    assert_eq!((&created["state"], &created["name"]), (&"started".into(), &"db".into()));
    assert!(fails(&platform, 1, &create).contains("there is a machine \"db\" in project hello already"));
    for (action, state) in
        [("stop", "stopped"), ("start", "started"), ("start", "started"), ("restart", "started")]
    {
        assert_eq!(platform.json(&["machine", action, "db"])["state"], state, "{action}");
    }
    assert!(platform.good(&["machine", "show", "db"]).starts_with("db is started, healthy\n"));
    let rebuilt = platform.json(&["machine", "rebuild", "db"]);
    assert_ne!(rebuilt["instance_id"], created["instance_id"]);
    assert_eq!(rebuilt["id"], created["id"]);
    let resized = platform.json(&["machine", "resize", "db", "--cpus", "2", "--disk", "8 GiB"]);
    assert_eq!((&resized["spec"]["cpus"], &resized["spec"]["disk"]), (&2.into(), &(8_u64 << 30).into()));
    assert!(
        fails(&platform, 1, &["machine", "resize", "db", "--disk", "4 GiB"]).contains("a disk only grows")
    );
    assert_eq!(platform.json(&["machine", "wait", "db", "--for", "healthy"])["state"], "started");
    let late = fails(&platform, 1, &["machine", "wait", "db", "--for", "stopped", "--timeout", "1"]);
    assert!(late.contains("is started, not stopped, after 1 s"), "{late}");

    assert_eq!(platform.json(&["machine", "snapshot", "create", "db", "first"])["status"], "succeeded");
    let snapshots = platform.json(&["machine", "snapshot", "list", "db"]);
    assert_eq!((&snapshots["items"][0]["name"], &snapshots["next_page"]), (&"first".into(), &Value::Null));
    let running = fails(&platform, 1, &["machine", "snapshot", "restore", "db", "first"]);
    assert!(running.contains("stop it before its disk is put back"), "{running}");
    platform.good(&["machine", "stop", "db"]);
    assert_eq!(platform.json(&["machine", "snapshot", "restore", "db", "first"])["status"], "succeeded");

    let names = |arguments: &[&str]| {
        let list = platform.json(arguments);
        assert!(list["next_page"].is_null());
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&["machine", "list"]), ["db", "web-1"]);
    assert_eq!(names(&["machine", "list", "--group", "web"]), ["web-1"]);
    assert_eq!(names(&["machine", "list", "--metadata", "team=shop"]), ["db"]);
    assert_eq!(names(&["machine", "list", "--metadata", "team=none"]), Vec::<String>::new());
    let later = platform.json(&[
        "machine",
        "create",
        "later",
        "--image",
        "web",
        "--network",
        "backend",
        "--skip-launch",
        "--skip-registration",
        "--group",
        "web",
    ]);
    assert_eq!((&later["state"], &later["cordoned"]), (&"stopped".into(), &true.into()));
    platform.good(&["machine", "delete", "later"]);
    assert_eq!(platform.json(&["machine", "delete", "db"])["name"], "db");
    assert_eq!(names(&["machine", "list"]), ["web-1"]);
}

#[test]
fn unknown_names_say_where_and_what_next_and_wrong_usage_is_2() {
    let platform = Platform::start(&[]);
    assert!(fails(&platform, 2, &["machine", "list"]).contains("there is no project yet: `hafen apply`"));
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    for (arguments, parts) in [
        (
            &["machine", "show", "nope"][..],
            &["machine \"nope\" in project \"hello\"", "hafen machine list"][..],
        ),
        (&["machine", "stop", "nope"], &["machine \"nope\"", "hafen machine list"]),
        (&["machine", "delete", "nope"], &["machine \"nope\""]),
        (&["machine", "wait", "nope"], &["machine \"nope\""]),
        (&["machine", "snapshot", "list", "nope"], &["machine \"nope\""]),
        (&["machine", "snapshot", "create", "nope", "s"], &["machine \"nope\""]),
        (
            &["machine", "snapshot", "restore", "web-1", "s"],
            &["snapshot \"s\" of machine \"web-1\"", "snapshot list"],
        ),
        (
            &["machine", "create", "x", "--image", "nope", "--network", "backend"],
            &["/spec/image", "no image \"nope\""],
        ),
        (&["image", "show", "nope"], &["image \"nope\" in project \"hello\"", "hafen image list"]),
        (&["image", "verify", "nope"], &["image \"nope\""]),
        (&["image", "build", "nope"], &["hafen.toml describes no image \"nope\"", "web", "--package"]),
        (&["network", "show", "nope"], &["network \"nope\" in project \"hello\"", "hafen network list"]),
        (&["operation", "show", "nope"], &["operation \"nope\"", "hafen operation list"]),
        (&["operation", "wait", "nope"], &["operation \"nope\""]),
        (&["operation", "cancel", "nope"], &["operation \"nope\""]),
        (&["ssh", "nope"], &["machine \"nope\""]),
        (&["console", "nope"], &["machine \"nope\""]),
        (&["dial", "nope"], &["machine \"nope\""]),
        (&["cp", "nope:/x", "y"], &["machine \"nope\""]),
        (&["drift", "-p", "nope"], &["\"nope\"", "hafen.toml"]),
        (&["destroy", "-p", "nope"], &["\"nope\""]),
        (&["plan", "-f", "nope.toml"], &["nope.toml cannot be read", "-f FILE"]),
        (&["apply", "nope.plan"], &["nope.plan cannot be read"]),
        // On the simulated engine nothing answers at a machine's ports, and that is said.
        (&["ssh", "web-1", "--", "true"], &["simulated", "--engine qemu"]),
        (&["cp", "web-1:/etc/hosts", "x"], &["simulated"]),
        (&["access", "check", "web-1"], &["checks no machines", "simulated"]),
        (&["access", "check", "nope"], &["machine \"nope\""]),
        (
            &["access", "accept", "web-1", "--reason", "x"],
            &["was not checked yet", "hafen access check web-1"],
        ),
    ] {
        let errors = fails(&platform, 1, arguments);
        for part in parts {
            assert!(errors.contains(part), "{arguments:?} lacks {part:?}: {errors}");
        }
    }
    for arguments in [
        &[][..],
        &["nonsense"],
        &["machine"],
        &["machine", "show"],
        &["machine", "show", "web-1/lease"],
        &["machine", "show", "../web-1"],
        &["machine", "show", "web-1?x"],
        &["machine", "show", ""],
        &["machine", "delete", "web-1/lease"],
        &["machine", "list", "-p", "hello/machines"],
        &["machine", "list", "--metadata", "team"],
        &["machine", "resize", "web-1"],
        &["machine", "resize", "web-1", "--memory", "5"],
        &["machine", "wait", "web-1", "--for", "flying"],
        &["image", "build", "x", "--release", "sarge"],
        &["image", "build", "web", "-f", "hafen.toml", "--package", "x"],
        &["dial", "web-1", "0"],
        &["events", "--after", "-1"],
        &["cp", "a", "b"],
        &["cp", "./a:b", "b"],
        &["cp", "a.one:/x", "b.two:/y"],
        &["completions", "cmd.exe"],
        &["apply", "saved.plan", "-f", "hafen.toml"],
        &["destroy"],
    ] {
        let errors = fails(&platform, 2, arguments);
        assert!(!errors.is_empty(), "{arguments:?}");
    }
    assert_eq!(platform.json(&["machine", "list"])["items"].as_array().unwrap().len(), 1, "nothing was done");
}

#[test]
fn images_networks_operations_and_events_by_command() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    // The image of the manifest, before there is anything else.
    let built = platform.json(&["image", "build", "web"]);
    assert_eq!((&built["state"], &built["source"]["packages"][0]), (&"ready".into(), &"nginx-light".into()));
    let plan = platform.json(&["plan"]);
    assert!(
        plan["resource_changes"].as_array().unwrap().iter().all(|one| one["address"] != "image.web"),
        "{plan}"
    );
    platform.good(&["apply", "--yes"]);
    assert_eq!(platform.json(&["image", "show", "web"])["digest"], built["digest"]);
    assert_eq!(platform.json(&["image", "build", "tools", "--package", "jq"])["source"]["packages"][0], "jq");
    let images = platform.json(&["image", "list"]);
    assert_eq!((images["items"].as_array().unwrap().len(), &images["next_page"]), (2, &Value::Null));
    assert_eq!(platform.json(&["image", "verify", "web"])["status"], "succeeded");
    assert!(platform.good(&["image", "verify", "web"]).contains("bit for bit"));
    assert_eq!(platform.json(&["image", "gc", "--dry-run"])["dry_run"], true);
    assert!(platform.good(&["image", "gc"]).contains("images went"));

    assert_eq!(platform.json(&["network", "list"])["items"][0]["name"], "backend");
    assert_eq!(platform.json(&["network", "show", "backend"])["egress"], "none");

    let operations = platform.json(&["operation", "list"]);
    let id = operations["items"][0]["id"].as_str().unwrap();
    assert!(operations["next_page"].is_null());
    for verb in ["show", "wait", "cancel"] {
        assert_eq!(platform.json(&["operation", verb, id])["status"], "succeeded", "{verb}");
    }
    // An apply is an operation too.
    let apply = platform.json(&["apply", "--yes"]);
    let id = apply["id"].as_str().unwrap();
    assert_eq!(platform.json(&["operation", "show", id])["status"], "succeeded");
    assert_eq!(platform.json(&["operation", "wait", id])["id"], id);
    assert!(fails(&platform, 1, &["operation", "cancel", id]).contains("has ended"));

    let events = platform.json(&["events"]);
    let items = events["items"].as_array().unwrap();
    let last = items.last().unwrap()["seq"].as_i64().unwrap();
    let order: Vec<i64> = items.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(order, (1..=last).collect::<Vec<_>>());
    assert!(platform.good(&["events", "--after", &last.to_string()]).is_empty());
    assert!(platform.json(&["events", "-p", "other"])["items"].as_array().unwrap().is_empty());
}

#[test]
fn a_plan_is_a_document_and_a_saved_one_fits_only_what_it_was_made_for() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    let plan = platform.json(&["plan"]);
    assert_eq!(plan["format_version"], "1.0");
    for change in plan["resource_changes"].as_array().unwrap() {
        for key in ["address", "type", "name", "change"] {
            assert!(!change[key].is_null(), "{key}: {change}");
        }
        let change = &change["change"];
        assert_eq!(change["actions"], serde_json::json!(["create"]));
        assert!(change["before"].is_null() && change["after"].is_object(), "{change}");
        for key in ["after_unknown", "before_sensitive", "after_sensitive"] {
            assert!(change.get(key).is_some(), "{key}: {change}");
        }
    }
    let machine =
        plan["resource_changes"].as_array().unwrap().iter().find(|c| c["type"] == "machine").unwrap();
    assert_eq!(machine["change"]["after_unknown"]["id"], true, "{machine}");
    assert!(plan["resource_drift"].as_array().unwrap().is_empty());

    // Saved with its sources: for its owner only; applied as it is.
    platform.good(&["plan", "--out", "first.plan"]);
    let mode =
        std::os::unix::fs::MetadataExt::mode(&platform.home.path().join("first.plan").metadata().unwrap());
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    platform.good(&["apply", "first.plan"]);
    let lock = std::fs::read_to_string(platform.home.path().join("hafen.lock")).unwrap();
    assert!(serde_json::from_str::<Value>(&lock).unwrap()["web"].is_string(), "{lock}");
    // What is wanted moved: another apply came between.
    platform.manifest(2, "");
    platform.good(&["plan", "--out", "second.plan"]);
    platform.manifest(3, "");
    platform.good(&["apply", "--yes"]);
    for name in ["first.plan", "second.plan"] {
        let errors = fails(&platform, 1, &["apply", name]);
        assert!(errors.contains("another apply came between") && errors.contains("plan again"), "{errors}");
    }
    // Reality moved: a machine was changed by hand, and one was made that nobody planned.
    platform.manifest(2, "");
    for change in
        [&["machine", "stop", "web-1"][..], &["machine", "start", "web-1"], &["machine", "rebuild", "web-2"]]
    {
        platform.good(&["plan", "--out", "third.plan"]);
        platform.good(change);
        let errors = fails(&platform, 1, &["apply", "third.plan"]);
        assert!(errors.contains("something in the project changed"), "{change:?}: {errors}");
    }
    let replaced = platform.json(&["plan", "-f", platform.manifest(2, "cpus = 2\n").to_str().unwrap()]);
    let replaced = replaced["resource_changes"].as_array().unwrap();
    let actions = &replaced.iter().find(|one| one["address"] == "machine.web-1").unwrap()["change"];
    assert_eq!(
        actions["actions"],
        serde_json::json!(["create", "delete"]),
        "a new one before the old one goes"
    );
    assert!(actions["replace_paths"].as_array().is_some_and(|paths| !paths.is_empty()), "{actions}");

    // Another major version is refused, by the command line and by the platform.
    let saved = std::fs::read_to_string(platform.home.path().join("third.plan")).unwrap();
    let later = saved.replacen("\"format_version\":\"1.0\"", "\"format_version\":\"2.0\"", 1);
    assert_ne!(saved, later);
    std::fs::write(platform.home.path().join("later.plan"), later).unwrap();
    assert!(fails(&platform, 1, &["apply", "later.plan"]).contains("plan format 2.0"));
}

#[test]
fn a_quota_is_told_at_plan_and_kept_at_create() {
    let platform = Platform::start(&[]);
    platform.manifest(3, "[quota]\nmachines = 2\n");
    let plan = platform.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.status.code(), Some(1));
    assert!(
        text(&plan.stdout).contains("problem:") && text(&plan.stdout).contains("quota"),
        "{}",
        text(&plan.stdout)
    );
    assert!(fails(&platform, 1, &["apply", "--yes"]).contains("quota"));
    platform.manifest(2, "[quota]\nmachines = 2\n");
    platform.good(&["apply", "--yes"]);
    let create = ["machine", "create", "more", "--image", "web", "--network", "backend"];
    assert!(fails(&platform, 1, &create).contains("1 machines more would make 3 of 2"));
    assert_eq!(platform.json(&["machine", "list"])["items"].as_array().unwrap().len(), 2);
}

#[test]
fn without_a_platform_commands_say_how_to_get_one() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        program().env("HAFEN_HOME", home.path()).args(arguments).current_dir(home.path()).output().unwrap()
    };
    for arguments in [
        &["status"][..],
        &["machine", "list", "-p", "x"],
        &["machine", "show", "web-1"],
        &["image", "list"],
        &["network", "list"],
        &["operation", "list"],
        &["events"],
        &["drift", "-p", "x"],
        &["destroy", "-p", "x"],
        &["ssh", "web-1"],
        &["cp", "web-1:/x", "y"],
    ] {
        let output = run(arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(
            errors.contains("no Hafen runs on") && errors.contains("hafen serve"),
            "{arguments:?}: {errors}"
        );
    }
    // One that was killed left its address behind.
    let mut platform = Platform::start(&[]);
    platform.kill();
    let output = platform.run(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("hafen serve"), "{}", text(&output.stderr));

    // These need none.
    for arguments in
        [&["schema"][..], &["completions", "bash"], &["man"], &["man", "pages"], &["--version"], &["--help"]]
    {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }
    let schema: Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    assert!(text(&run(&["man"]).stdout).contains(".TH"));
    assert!(home.path().join("pages/hafen-machine-snapshot-create.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&run(&["completions", shell]).stdout).contains("hafen"), "{shell}");
    }
    let checks: Value = serde_json::from_slice(&run(&["doctor", "--json"]).stdout).unwrap();
    assert!(
        checks["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["name"].is_string() && check["ok"].is_boolean())
    );
}

#[test]
fn status_tells_program_and_person_the_same() {
    let platform = Platform::start(&[]);
    let status = platform.json(&["status"]);
    let url = status["url"].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"));
    assert_eq!((&status["engine"], &status["status"]), (&"sim".into(), &"ok".into()));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let services = status["services"].as_array().unwrap();
    assert!(services.iter().any(|one| one["name"].as_str().unwrap().starts_with("machines/")));
    assert!(services.iter().any(|one| one["name"].as_str().unwrap().starts_with("stacks/")));
    assert!(services.iter().all(|one| one["status"] == "ok"), "{status}");
    assert!(platform.good(&["status"]).contains(url));
    // The same by address and token, from a home that knows nothing.
    let elsewhere = tempfile::tempdir().unwrap();
    let token = std::fs::read_to_string(platform.home.path().join("token")).unwrap();
    let by_address = |token: &str| {
        program()
            .env("HAFEN_HOME", elsewhere.path())
            .env("HAFEN_URL", url)
            .env("HAFEN_TOKEN", token)
            .args(["status", "--json"])
            .output()
            .unwrap()
    };
    assert!(by_address(token.trim()).status.success());
    let refused = by_address("wrong");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("token"), "{}", text(&refused.stderr));
}

/// `hafen … | head` ends quietly: no panic, no half a message on stderr.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for arguments in [&["schema"][..], &["completions", "bash"], &["man"]] {
        let mut child = program()
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert!(output.status.success(), "{arguments:?}");
    }
}
