//! Apps on simulated machines: from a commit to processes, through mistakes, kills and losses.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::console::url;
use crate::git::remote;
use crate::http::token;
use crate::platform::{Platform, text, until};

/// A platform with a cluster of two machines and a repository.
pub struct Shop {
    pub platform: Platform,
    work: PathBuf,
}

impl Shop {
    pub fn open(platform: Platform) -> Self {
        // An image that other tests use as well: it is built once.
        let manifest = "project = \"hello\"\n[network.backend]\n[image.web]\ndistribution = \"debian\"\nrelease = \"trixie\"\n\
                        packages = [\"rsync\"]\n[machine.web]\ncount = 2\nimage = \"web\"\nnetwork = \"backend\"\n";
        std::fs::write(platform.home.path().join("hafen.toml"), manifest).unwrap();
        platform.good(&["apply", "--yes"]);
        platform.good(&["repository", "create", "shop"]);
        let work = platform.home.path().join("work");
        let shop = Self { platform, work };
        shop.sh("git init -q -b main .");
        shop
    }

    /// In the working copy.
    pub fn sh(&self, line: &str) -> String {
        std::fs::create_dir_all(&self.work).unwrap();
        let output = Command::new("sh")
            .args(["-ec", line])
            .current_dir(&self.work)
            .env("HOME", self.platform.home.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([
                ("GIT_AUTHOR_NAME", "a"),
                ("GIT_AUTHOR_EMAIL", "a@b"),
                ("GIT_COMMITTER_NAME", "a"),
                ("GIT_COMMITTER_EMAIL", "a@b"),
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    /// A commit of what lies there, pushed as any git pushes; gives it. An app that is there already hears of it.
    pub fn push(&self, message: &str) -> String {
        let deployments = || {
            let shown = self.platform.run(&["app", "history", "shop", "--json"]);
            let known: Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
            known["items"].as_array().map(Vec::len)
        };
        let before = deployments();
        let remote = remote(&self.platform, &token(&self.platform), "shop");
        let commit = self.sh(&format!(
            "git add -A; git commit -q --allow-empty -m '{message}'; git push -q {remote} HEAD:main; git rev-parse HEAD"
        ));
        if let Some(before) = before {
            until("the push becomes a deployment", || (deployments() > Some(before)).then_some(()));
        }
        commit
    }

    pub fn set(&self, spec: &Value) -> std::process::Output {
        let file = self.platform.home.path().join("app.json");
        std::fs::write(&file, spec.to_string()).unwrap();
        self.platform.run(&["app", "set", "shop", "--from", file.to_str().unwrap()])
    }

    pub fn app(&self) -> Value {
        self.platform.json(&["app", "show", "shop"])
    }

    pub fn history(&self) -> Vec<Value> {
        self.platform.json(&["app", "history", "shop"])["items"].as_array().unwrap().clone()
    }

    /// Waits until no deployment is under way and the processes are as wanted.
    pub fn settles(&self) -> Value {
        until("the app settles", || {
            let app = self.app();
            let over = !matches!(app["state"].as_str().unwrap(), "deploying" | "degraded");
            (over && app["observed_generation"] == app["generation"]).then_some(app)
        })
    }
}

pub fn healthy(app: &Value) -> Vec<(String, i64)> {
    app["processes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["state"] == "healthy")
        .map(|one| (one["machine"].as_str().unwrap().to_owned(), one["release"].as_i64().unwrap()))
        .collect()
}

fn spec(run: &str) -> Value {
    json!({ "source": { "repository": "shop" }, "on": "web", "run": run, "replicas": 3,
            "health": { "path": "/healthz", "interval_ms": 100 } })
}

#[test]
fn deployed_scaled_rolled_back_and_deleted() {
    let shop = Shop::open(Platform::start(&["--deploy-patience", "2"]));
    let first = shop.push("one");
    assert!(shop.set(&spec("./shop one")).status.success());
    let app = shop.settles();
    assert_eq!((app["state"].as_str(), app["release"].as_i64()), (Some("running"), Some(1)), "{app}");
    // Over both machines, each process at a port of its own there.
    let machines: Vec<String> = healthy(&app).into_iter().map(|(machine, _)| machine).collect();
    assert_eq!(machines.iter().filter(|name| *name == "web-1").count(), 2, "{app}");
    assert_eq!(machines.iter().filter(|name| *name == "web-2").count(), 1, "{app}");
    let mut places: Vec<String> = app["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{}:{}", one["machine"], one["port"]))
        .collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 3);
    // Once more the same: nothing happens.
    assert!(shop.set(&spec("./shop one")).status.success());
    assert_eq!(shop.history().len(), 1);

    // A new commit is deployed by being pushed; once more by command it is the same release.
    let second = shop.push("two");
    assert_ne!(first, second);
    let app = shop.settles();
    let serving: Vec<i64> = healthy(&app).into_iter().map(|(_, release)| release).collect();
    assert_eq!(serving, [2, 2, 2], "{app} {:?}", shop.history());
    let told = shop.platform.good(&["deploy"]);
    assert!(told.contains("succeeded, release 2"), "{told}");
    // Back, without a build, and forth.
    let told = shop.platform.good(&["rollback"]);
    assert!(told.contains("succeeded, release 1"), "{told}");
    assert!(shop.platform.good(&["rollback", "shop", "--release", "2"]).contains("release 2"));
    let kinds: Vec<String> =
        shop.history().iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["rollback", "rollback", "deploy", "deploy", "deploy"]);

    // Scaled without a deployment.
    shop.platform.good(&["app", "scale", "shop", "5"]);
    assert_eq!(healthy(&shop.settles()).len(), 5);
    shop.platform.good(&["app", "scale", "shop", "1"]);
    let scaled = until("the others are gone", || {
        let app = shop.app();
        (app["processes"].as_array().unwrap().len() == 1).then_some(app)
    });
    assert_eq!(healthy(&scaled).len(), 1);
    assert_eq!(shop.history().len(), 5);
    let before = scaled["processes"][0]["id"].clone();
    shop.platform.good(&["app", "restart", "shop"]);
    until("only the new process is there", || {
        let processes = shop.app()["processes"].as_array().unwrap().clone();
        (processes.len() == 1 && processes[0]["id"] != before).then_some(())
    });
    assert!(shop.platform.good(&["app", "logs", "shop"]).contains("is simulated"));
    assert!(shop.platform.good(&["app", "exec", "shop", "--", "ls", "-l"]).contains("would run: ls -l"));
    let releases = shop.platform.json(&["app", "releases", "shop"]);
    assert_eq!(releases["items"].as_array().unwrap().len(), 2);
    assert_eq!(releases["items"][0]["commit"], second);

    // It is no drift of the stack, and goes without a trace on the machines.
    assert_eq!(shop.platform.run(&["plan", "--detailed-exitcode"]).status.code(), Some(0));
    shop.platform.good(&["app", "delete", "shop"]);
    assert!(!shop.platform.run(&["app", "show", "shop"]).status.success());
    for machine in ["web-1", "web-2"] {
        let disk = shop.platform.home.path().join(format!("sim/apps/hello.{machine}.json"));
        assert_eq!(std::fs::read_to_string(disk).unwrap(), r#"{"apps":{}}"#);
    }
}

#[test]
fn a_broken_release_is_rolled_back_and_says_why() {
    let shop = Shop::open(Platform::start(&["--deploy-patience", "1"]));
    shop.push("one");
    shop.set(&spec("./shop"));
    let good = shop.settles();
    // It never becomes healthy.
    shop.set(&spec("./broken"));
    let app = shop.settles();
    assert_eq!(app["state"], "failed", "{app}");
    let rolled = until("it is rolled back", || {
        let last = shop.history()[0].clone();
        (last["state"] == "rolled_back").then_some(last)
    });
    let reason = rolled["reason"].as_str().unwrap();
    assert!(reason.contains("GET /healthz answered") && reason.contains("500"), "{reason}");
    assert!(!reason.contains("is simulated"), "what a process says is not for everybody: {reason}");
    let told = text(&shop.platform.run(&["deploy"]).stdout);
    assert!(told.contains("500") && told.contains("is simulated"), "the last lines of the process: {told}");
    assert_eq!(healthy(&shop.app()), healthy(&good), "the old release serves on");
    // It ends again and again.
    shop.set(&spec("./ends"));
    let told = until("it fails", || {
        let last = shop.history()[0].clone();
        (last["state"] == "rolled_back").then_some(last)
    });
    assert!(told["reason"].as_str().unwrap().contains("ends again and again"), "{told}");
    let output = shop.platform.run(&["app", "restart", "shop"]);
    assert!(output.status.success(), "what serves can be restarted: {}", text(&output.stderr));
    // A migration that fails stops it before any process.
    let mut failing = spec("./shop two");
    failing["migrate"] = "./fail".into();
    shop.set(&failing);
    let last = until("the migration fails", || {
        let last = shop.history()[0].clone();
        matches!(last["state"].as_str(), Some("failed" | "rolled_back")).then_some(last)
    });
    assert!(last["reason"].as_str().unwrap().contains("migration"), "{last}");
    let events = shop.platform.good(&["ledger", "list", "--json"]);
    for kind in
        ["deployment.failed", "deployment.rolled_back", "deployment.succeeded", "app.migration_failed"]
    {
        assert!(events.contains(kind), "{kind}: {events}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_words() {
    let shop = Shop::open(Platform::start(&[]));
    shop.push("one");
    for (change, told) in [
        (json!({ "run": null }), "exactly one of `run` and `static`"),
        (json!({ "source": { "git": "ssh://h/x" } }), "https://"),
        (json!({ "replicas": 1001 }), "1000"),
        (json!({ "env": { "PORT": "1" } }), "platform"),
    ] {
        let mut wrong = spec("./shop");
        for (name, value) in change.as_object().unwrap() {
            wrong[name] = value.clone();
        }
        let output = shop.set(&wrong);
        assert!(text(&output.stderr).contains(told), "{change}: {}", text(&output.stderr));
    }
    for (arguments, told) in [
        (&["deploy", "none"][..], "there is no app"),
        (&["rollback", "none"], "there is no app"),
        (&["app", "show", "none"], "there is no app"),
    ] {
        let output = shop.platform.run(arguments);
        assert!(!output.status.success() && text(&output.stderr).contains(told), "{}", text(&output.stderr));
    }
    shop.set(&spec("./shop"));
    shop.settles();
    let output = shop.platform.run(&["deploy", "--ref", "nope"]);
    assert!(text(&output.stdout).contains("nope"), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(1));
    for arguments in [&["rollback"][..], &["app", "exec", "shop", "--process", "web-9-d9-9", "--", "ls"]] {
        assert!(!shop.platform.run(arguments).status.success(), "{arguments:?}");
    }
}

#[test]
fn the_loss_of_a_machine_moves_its_processes() {
    let shop = Shop::open(Platform::start(&[]));
    shop.push("one");
    shop.set(&spec("./shop"));
    shop.settles();
    shop.platform.good(&["machine", "stop", "web-2"]);
    let moved = until("all serve on the other", || {
        let app = shop.app();
        (healthy(&app) == vec![("web-1".to_owned(), 1); 3]).then_some(app)
    });
    assert_eq!(moved["processes"].as_array().unwrap().len(), 3);
    shop.platform.good(&["machine", "start", "web-2"]);
    // Nothing of it runs twice there: it is looked through when it is back.
    let disk = shop.platform.home.path().join("sim/apps/hello.web-2.json");
    until("what was left there is gone", || {
        let disk: Value = serde_json::from_str(&std::fs::read_to_string(&disk).unwrap()).unwrap();
        disk["apps"]["shop"]["processes"].as_object().unwrap().is_empty().then_some(())
    });
}

#[test]
fn builds_come_and_go_with_their_machines() {
    let mut shop = Shop::open(Platform::start(&[]));
    shop.sh("printf 'version = 4\\n[[package]]\\nname = \"serde\"\\nversion = \"1.0.0\"\\nsource = \"registry+x\"\\n' > Cargo.lock; echo page > index.html");
    let commit = shop.push("one");
    let mut built = spec("./shop");
    built["build"] = json!({ "image": "web", "run": ["make dist"], "output": "." });
    shop.set(&built);
    let app = shop.settles();
    assert_eq!(app["state"], "running", "{app}");
    let build = shop.platform.json(&["build", "list", "shop"])["items"][0].clone();
    assert_eq!(
        (build["state"].as_str(), build["commit"].as_str()),
        (Some("succeeded"), Some(commit.as_str())),
        "{build}"
    );
    let log = shop.platform.good(&["build", "log", "shop"]);
    assert!(log.contains("$ make dist") && log.contains("built "), "{log}");
    let provenance = shop.platform.json(&["build", "provenance", "shop", "b1"]);
    assert_eq!(provenance["payloadType"], "application/vnd.in-toto+json");
    let sbom = shop.platform.good(&["build", "sbom", "shop", "b1"]);
    assert!(sbom.contains("pkg:cargo/serde@1.0.0"), "{sbom}");
    let no_builder = |shop: &Shop| {
        let machines = shop.platform.json(&["machine", "list"]);
        let names: Vec<String> = machines["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect();
        let networks = shop.platform.good(&["network", "list", "--json"]);
        (names == ["web-1", "web-2"] && !networks.contains("hafen-build")).then_some(())
    };
    until("the builder is gone", || no_builder(&shop));
    // The same commit is not built twice; its artefact is the same.
    shop.platform.good(&["deploy"]);
    assert_eq!(shop.platform.json(&["build", "list", "shop"])["items"].as_array().unwrap().len(), 1);
    // One that fails says so, with its last lines, and what serves goes on.
    built["build"]["run"] = json!(["make fail"]);
    shop.set(&built);
    let output = until("it failed", || {
        let last = shop.history()[0].clone();
        (last["state"] == "failed").then_some(last)
    });
    let reason = output["reason"].as_str().unwrap();
    assert!(reason.contains("make fail") && !reason.contains("simulated"), "{reason}");
    assert_eq!(healthy(&shop.app()).len(), 3);
    until("the builder is gone", || no_builder(&shop));

    // Killed in the midst of builds: each comes to its end, and no builder stays.
    for round in 0..6 {
        built["build"]["run"] = json!([format!("make round{round}")]);
        shop.set(&built);
        for _ in 0..round {
            crate::platform::pause();
        }
        shop.platform.kill();
        shop.platform.restart();
    }
    let app = shop.settles();
    assert_eq!(app["state"], "running", "{app} {:?}", shop.history());
    until("the builder is gone", || no_builder(&shop));
    let disk = |machine: &str| -> Value {
        let path = shop.platform.home.path().join(format!("sim/apps/hello.{machine}.json"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    // What runs is what is known: none lost, none twice.
    until("only what is known runs", || {
        let running: usize = ["web-1", "web-2"]
            .iter()
            .map(|machine| disk(machine)["apps"]["shop"]["processes"].as_object().unwrap().len())
            .sum();
        (running == 3).then_some(())
    });
}

#[test]
fn a_branch_has_an_environment_for_as_long_as_it_is_there() {
    let shop = Shop::open(Platform::start(&[]));
    shop.push("one");
    let mut spec = spec("./shop");
    spec["preview"] = json!({ "branches": ["feature/*"], "expires_ms": 86_400_000 });
    spec["migrate"] = "./shop migrate".into();
    assert!(shop.set(&spec).status.success());
    shop.settles();
    let remote = remote(&shop.platform, &token(&shop.platform), "shop");
    shop.sh(&format!("git push -q {remote} HEAD:refs/heads/other HEAD:refs/heads/feature/New_login"));
    let preview = until("the branch has its environment", || {
        let shown = shop.platform.run(&["app", "show", "shop-feature-new-login", "--json"]);
        let app: Value = serde_json::from_slice(&shown.stdout).ok()?;
        (app["state"] == "running").then_some(app)
    });
    assert_eq!(healthy(&preview).len(), 1, "{preview}");
    assert_eq!((&preview["spec"]["migrate"], &preview["spec"]["preview"]), (&Value::Null, &Value::Null));
    let apps = || shop.platform.json(&["app", "list"])["items"].as_array().unwrap().len();
    assert_eq!(apps(), 2, "no other branch has one");
    let host = "shop-feature-new-login.hello.localhost";
    let routes = || shop.platform.good(&["route", "list"]);
    until("it has a host", || routes().contains(host).then_some(()));
    // Another push is another deployment of it, and none of the app.
    shop.sh(&format!(
        "git commit -q --allow-empty -m two; git push -q {remote} HEAD:refs/heads/feature/New_login"
    ));
    until("it is deployed again", || {
        let history = shop.platform.json(&["app", "history", "shop-feature-new-login"]);
        (history["items"][0]["id"] == "d2" && history["items"][0]["state"] == "succeeded").then_some(())
    });
    assert_eq!(shop.history().len(), 1);
    // It goes with its branch.
    shop.sh(&format!("git push -q {remote} :refs/heads/feature/New_login"));
    until("it is gone, and its host", || (apps() == 1 && !routes().contains(host)).then_some(()));
}

/// By the socket, and over HTTP as anybody does it whose connection breaks. Not by SIGINT, which whoever runs the tests in the
/// background has them ignore.
#[test]
fn a_command_ends_with_its_caller() {
    let shop = Shop::open(Platform::start(&[]));
    shop.push("one");
    assert!(shop.set(&spec("./shop")).status.success());
    shop.settles();
    let goes_on = |command: &str| {
        shop.platform.good(&["app", "logs", "shop"]).contains(&format!("goes on with: {command}"))
    };
    let mut call = shop.platform.command(&["app", "exec", "shop", "--", "sleep 1000"]);
    let mut call = call.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it goes on", || goes_on("sleep 1000").then_some(()));
    assert!(Command::new("kill").args(["-TERM", &call.id().to_string()]).status().unwrap().success());
    call.wait().unwrap();
    until("it ends with its caller", || (!goes_on("sleep 1000")).then_some(()));

    let body = json!({ "command": "sleep 2000" }).to_string();
    let mut stream = TcpStream::connect(url(&shop.platform).trim_start_matches("http://")).unwrap();
    let request = format!(
        "POST /api/v1/projects/hello/apps/shop/exec HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        token(&shop.platform),
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    until("it goes on", || goes_on("sleep 2000").then_some(()));
    drop(stream);
    until("it ends with the connection", || (!goes_on("sleep 2000")).then_some(()));
}
