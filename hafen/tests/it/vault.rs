//! Secrets as people and programs have them: they go in, come out with a reason, and lie nowhere in clear.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::http::{send_body, token};
use crate::people::first_owner;
use crate::platform::{Platform, text, until};
use crate::roles::World;

/// Runs a command that reads this.
fn fed(platform: &Platform, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = platform
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its arguments reads nothing.
    let _unread = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub fn set(platform: &Platform, name: &str, value: &[u8]) {
    let output = fed(platform, &["secret", "set", name], value);
    assert!(output.status.success(), "{}\n{}", text(&output.stderr), platform.log());
}

#[test]
fn secrets_by_command() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    // Before the project has anything else.
    set(&platform, "db-password", b"first\n");
    assert_eq!(platform.good(&["secret", "read", "db-password", "--reason", "a look"]), "first");
    set(&platform, "db-password", b"second");
    let shown = platform.good(&["secret", "show", "db-password"]);
    assert!(shown.starts_with("db-password is at version 2\n") && !shown.contains("second"), "{shown}");
    let old = platform.good(&["secret", "read", "db-password", "--version", "1", "--reason", "a look back"]);
    assert_eq!(old, "first");
    let list = platform.json(&["secret", "list"]);
    assert_eq!((&list["items"][0]["name"], &list["items"][0]["current"]), (&json!("db-password"), &json!(2)));

    // Any bytes, as they are in the file.
    let bytes: Vec<u8> = (0..=255).collect();
    std::fs::write(platform.home.path().join("key.bin"), &bytes).unwrap();
    platform.good(&["secret", "set", "key", "--from-file", "key.bin"]);
    let output = platform.run(&["secret", "read", "key", "--reason", "compare"]);
    assert_eq!(output.stdout, bytes);

    let large = vec![b'x'; 70_000];
    for (arguments, input, code, words) in [
        (&["secret", "set", "empty"][..], &b""[..], 2, "there is no value"),
        (&["secret", "set", "large"], &large, 1, "at most 65536"),
        (&["secret", "set", "Bad"], b"x", 1, "a secret name has"),
        (&["secret", "set", "x", "--from-file", "nowhere"], b"", 2, "nowhere cannot be read"),
        (&["secret", "set", "x", "value-as-argument"], b"", 2, "unexpected argument"),
        (&["secret", "read", "key"], b"", 2, "--reason"),
        (&["secret", "read", "key", "--reason", " "], b"", 1, "stands in the ledger"),
        (&["secret", "read", "none", "--reason", "x"], b"", 1, "there is no secret \"none\""),
        (&["secret", "destroy", "db-password", "2"], b"", 1, "the current one"),
        (&["secret", "delete", "key"], b"", 2, "--yes"),
    ] {
        let output = fed(&platform, arguments, input);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    platform.good(&["secret", "destroy", "db-password", "1"]);
    let versions = platform.json(&["secret", "versions", "db-password"]);
    assert_eq!(versions["items"][1]["state"], "destroyed");
    platform.good(&["secret", "delete", "key", "--yes"]);
    assert_eq!(platform.run(&["secret", "show", "key"]).status.code(), Some(1));

    // Who read what and why is in the ledger, and when what was destroyed was gone for good.
    let entry = |kind: &str, word: &str| {
        until(kind, || {
            let list = platform.json(&["ledger", "list", "--limit", "0"]);
            let found = list["items"].as_array().unwrap().iter().find(|entry| {
                entry["kind"].as_str() == Some(kind) && entry["what"].to_string().contains(word)
            });
            found.cloned()
        })
    };
    let read = entry("secret.read", "a look back");
    assert_eq!(
        (&read["object"], &read["what"]["reason"]),
        (&json!("secret/db-password"), &json!("a look back"))
    );
    assert!(read["who"]["id"].as_str().unwrap().starts_with("uid-"), "{read}");
    let shown = platform.good(&["ledger", "list"]);
    assert!(shown.contains("secret.read"), "{shown}");
    entry("secret.erased", "version 1 of secret db-password");
    entry("secret.erased", "every version of secret key");
}

/// Files under a folder that hold any of these.
fn holders(folder: &Path, words: &[String], found: &mut Vec<String>) -> u64 {
    let mut bytes_seen = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            bytes_seen += holders(&path, words, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            bytes_seen += bytes.len() as u64;
            for word in words {
                if bytes.windows(word.len()).any(|part| part == word.as_bytes()) {
                    found.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    bytes_seen
}

/// Fails when a value lies anywhere in the platform's home.
pub fn assert_nowhere(platform: &Platform, value: &str) {
    let mut found = Vec::new();
    holders(platform.home.path(), &shapes(value), &mut found);
    assert_eq!(found, Vec::<String>::new());
}

/// A value as it is and as base 64 has it, at each place that it can stand in a longer text.
fn shapes(canary: &str) -> Vec<String> {
    use base64::Engine as _;
    let shifted = (0..3).map(|shift| {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{}{canary}", "x".repeat(shift)));
        // Without the letters that its neighbours decide.
        text.chars().skip(4).take(canary.len()).collect()
    });
    std::iter::once(canary.to_owned()).chain(shifted).collect()
}

#[test]
fn a_canary_is_found_nowhere() {
    let platform = Platform::traced();
    platform.manifest(1, "");
    let canaries = ["canary-4uQ9vT2mXs7", "canary-8wKd1Rz5LhB", "canary-pJ3nY6cEfGq"];
    set(&platform, "db-password", canaries[0].as_bytes());
    set(&platform, "db-password", canaries[1].as_bytes());
    let bearer = token(&platform);
    let post = |path: &str, body: &Value| {
        let path = format!("/api/v1/projects/hello/secrets{path}");
        send_body(&platform, "POST", &path, Some(&bearer), &body.to_string())
    };
    // Also by requests that are refused, whatever is wrong with them.
    for (path, body) in [
        ("", json!({ "name": "db-password", "value": canaries[2] })),
        ("", json!({ "name": "Wrong", "value": canaries[2] })),
        ("", json!({ "name": "a", "value": [canaries[2]] })),
        ("", json!({ "name": "a", "value": canaries[2], "encoding": "base64" })),
        ("", json!({ "name": "a", "value": canaries[2], "more": 1 })),
        ("/none/versions", json!({ "value": canaries[2] })),
    ] {
        let (head, answer) = post(path, &body);
        assert!(head.starts_with("HTTP/1.1 4"), "{head} {answer}");
        assert!(!answer.contains(canaries[2]), "{answer}");
    }
    let (head, answer) = post("/db-password/read", &json!({ "reason": "a test" }));
    assert!(head.starts_with("HTTP/1.1 200") && answer.contains(canaries[1]), "{head} {answer}");
    assert!(head.to_ascii_lowercase().contains("cache-control: no-store"), "{head}");
    platform.good(&["secret", "destroy", "db-password", "1"]);
    platform.good(&["apply", "--yes"]);
    // What people look at.
    let mut seen = String::new();
    for arguments in [
        &["events"][..],
        &["ledger", "list", "--limit", "0"],
        &["secret", "list"],
        &["secret", "show", "db-password"],
        &["plan"],
        &["status"],
    ] {
        seen.push_str(&platform.json(arguments).to_string());
    }
    until("the ledger has it all", || {
        let list = platform.json(&["ledger", "list", "--limit", "0"]).to_string();
        (list.contains("secret.read") && list.contains("secret.erased")).then_some(())
    });
    platform.good(&["ledger", "export", "ledger.tar"]);
    let words: Vec<String> = canaries.iter().flat_map(|canary| shapes(canary)).collect();
    assert!(words.iter().all(|word| !seen.contains(word.as_str())), "{seen}");
    let mut found = Vec::new();
    let bytes = holders(platform.home.path(), &words, &mut found);
    assert!(bytes > 200_000, "the search looks at something: {bytes}");
    assert_eq!(found, Vec::<String>::new());
    // And it would find one.
    std::fs::write(platform.home.path().join("leak"), format!("x{}", canaries[0])).unwrap();
    holders(platform.home.path(), &words, &mut found);
    assert!(!found.is_empty());
}

#[test]
fn who_may_set_may_not_read() {
    let world = World::new();
    let path = "/api/v1/projects/hello/secrets";
    let account = |role: &str| world.account(role, "project/hello", role, &json!({}));
    let (developer, operator, auditor) = (account("developer"), account("operator"), account("auditor"));
    let send = |token: &str, method: &str, path: &str, body: Value| {
        let (head, answer) = send_body(&world.platform, method, path, Some(token), &body.to_string());
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str::<Value>(&answer).unwrap_or_default())
    };
    let (status, made) = send(&developer, "POST", path, json!({ "name": "key", "value": "v" }));
    assert_eq!(status, 201, "{made}");
    let read = format!("{path}/key/read");
    let body = json!({ "reason": "a look" });
    assert_eq!(send(&developer, "POST", &read, body.clone()).0, 403);
    assert_eq!(send(&developer, "DELETE", &format!("{path}/key"), json!({})).0, 403);
    let (status, list) = send(&auditor, "GET", path, json!({}));
    assert_eq!((status, &list["items"][0]["name"]), (200, &json!("key")));
    assert_eq!(send(&auditor, "POST", &read, body.clone()).0, 403);
    assert_eq!(send(&auditor, "POST", path, json!({ "name": "other", "value": "v" })).0, 403);
    let (status, value) = send(&operator, "POST", &read, body);
    assert_eq!((status, &value["value"]), (200, &json!("v")));
}

#[test]
fn a_person_has_proven_the_second_factor_a_moment_ago() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    set(&platform, "key", b"v");
    let owner = first_owner(&platform);
    let post = |bearer: &str, path: &str, body: &Value| {
        send_body(&platform, "POST", &format!("/api/v1{path}"), Some(bearer), &body.to_string())
    };
    let read =
        |bearer: &str| post(bearer, "/projects/hello/secrets/key/read", &json!({ "reason": "a look" }));
    // Who has just signed in has; a token of theirs, in a script say, has not.
    let (head, told) = read(&owner.bearer);
    assert!(head.starts_with("HTTP/1.1 200") && told.contains("\"v\""), "{head} {told}");
    let (head, made) = post(&owner.bearer, "/tokens", &json!({ "name": "script", "days": 1 }));
    assert!(head.starts_with("HTTP/1.1 20"), "{head} {made}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let (head, told) = read(&format!("Bearer {}", made["secret"].as_str().unwrap()));
    assert!(head.starts_with("HTTP/1.1 403") && told.contains("step_up_required"), "{head} {told}");
}

#[test]
fn a_projects_secrets_go_with_it() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    set(&platform, "key", b"of-the-first");
    let plan = platform.run(&["destroy", "--yes"]);
    let told = format!("{}{}", text(&plan.stdout), text(&plan.stderr));
    assert!(plan.status.success() && told.contains("secrets are destroyed with it"), "{told}");
    until("the secrets are gone", || {
        let events = platform.json(&["ledger", "list", "--limit", "0"]).to_string();
        events.contains("vault.project_ended").then_some(())
    });
    // The next project of that name has none of them.
    platform.good(&["apply", "--yes"]);
    assert_eq!(platform.json(&["secret", "list"])["items"], json!([]));
    assert_eq!(platform.run(&["secret", "read", "key", "--reason", "x"]).status.code(), Some(1));
}

#[test]
fn a_plan_names_the_secrets_that_are_missing() {
    let platform = Platform::start(&[]);
    let app = "[app.shop]\nsource = { repository = \"shop\" }\non = \"web\"\nrun = \"./shop\"\n\
               env = { DB = { secret = \"db-password\" } }\n[route.\"shop.example.org\"]\npaths = { \"/\" = \"shop\" }\n";
    platform.manifest(1, app);
    let output = platform.run(&["plan"]);
    let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("hafen secret set db-password"), "{told}");
    assert_eq!(platform.run(&["apply", "--yes"]).status.code(), Some(1));
    assert_eq!(platform.json(&["events"])["items"], json!([]), "nothing has happened");
    set(&platform, "db-password", b"hunter2");
    let plan = platform.json(&["plan"]);
    assert_eq!(plan["problems"], json!([]));
    let addresses: Vec<&str> =
        plan["resource_changes"].as_array().unwrap().iter().map(|c| c["address"].as_str().unwrap()).collect();
    assert!(addresses.ends_with(&["app.shop", "route.shop.example.org"]), "{addresses:?}");
    assert!(!plan.to_string().contains("hunter2"));
}

#[test]
fn a_rotation_is_done_when_the_old_value_was_seen_to_fail() {
    let shop = crate::apps::Shop::open(Platform::start(&[]));
    let platform = &shop.platform;
    shop.push("one");
    set(platform, "db-password", b"old");
    let spec = json!({ "source": { "repository": "shop" }, "on": "web", "run": "./shop",
                       "env": { "DB": { "secret": "db-password" } } });
    assert!(shop.set(&spec).status.success());
    shop.settles();
    // A service that both values open.
    let service = platform.home.path().join("service");
    std::fs::write(&service, "old\nnew\n").unwrap();
    let proof = format!("grep -qxF -f - {}", service.display());
    let rotate = |more: &[&str], input: &[u8]| {
        let mut arguments = vec!["secret", "rotate", "db-password", "--proof", &proof];
        arguments.extend(more);
        let output = fed(platform, &arguments, input);
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (code, told) = rotate(&[], b"new");
    assert!(code == Some(1) && told.contains("the old value still opens"), "{told}");
    assert_eq!(shop.history()[0]["kind"], "restart", "its processes have the new value");
    let states = || {
        let list = platform.json(&["secret", "versions", "db-password"]);
        let versions = list["items"].as_array().unwrap().clone();
        versions.into_iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!states().contains(&"destroyed".to_owned()), "{:?}", states());
    // Gone on with, and the old one ended: nothing is made anew once more.
    let count = shop.history().len();
    let revoke = format!("echo new > {}", service.display());
    let (code, told) = rotate(&["--resume", "--revoke", &revoke], b"");
    assert!(code == Some(0) && told.contains("version 2 opens, version 1 was seen to fail"), "{told}");
    assert_eq!((shop.history().len(), states()[1].as_str()), (count, "destroyed"));
    // A new value that opens nothing is no rotation either.
    let (code, told) = rotate(&[], b"never");
    assert!(code == Some(1) && told.contains("the new value does not open"), "{told}");
    let (code, told) = rotate(&["--resume", "--revoke", "false"], b"");
    assert!(code == Some(1) && told.contains("--revoke failed"), "{told}");
    // What an app names is not deleted by the way.
    let (code, told) = delete(platform, &["db-password", "--yes"]);
    assert!(code == Some(1) && told.contains("is named by shop") && told.contains("--force"), "{told}");
    assert_eq!(states().len(), 3);
    let (code, told) = delete(platform, &["db-password", "--yes", "--force"]);
    assert_eq!((code, told.as_str()), (Some(0), "db-password is deleted.\n"));
}

fn delete(platform: &Platform, arguments: &[&str]) -> (Option<i32>, String) {
    let output = platform.run(&[&["secret", "delete"], arguments].concat());
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

#[test]
fn a_build_has_the_secrets_that_it_names_and_tells_nobody() {
    let shop = crate::apps::Shop::open(Platform::traced());
    let platform = &shop.platform;
    shop.push("one");
    let canary = "canary-Qm7Zt3Lw9Xa";
    let spec = json!({ "source": { "repository": "shop" }, "on": "web", "run": "./shop",
                       "build": { "image": "web", "run": ["make dist", "echo $TOKEN"],
                                  "env": { "MODE": "release", "TOKEN": { "secret": "npm-token" } } } });
    assert!(shop.set(&spec).status.success());
    let failed = until("the deployment fails", || {
        let last = shop.history()[0].clone();
        (last["state"] == "failed").then_some(last)
    });
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("`hafen secret set npm-token`"), "{reason}");
    assert_eq!(platform.json(&["build", "list", "shop"])["items"], json!([]), "there was no machine");

    set(platform, "npm-token", canary.as_bytes());
    let mut told = platform.good(&["deploy"]);
    told.push_str(&platform.good(&["build", "log", "shop", "b1"]));
    assert!(told.contains("$ echo $TOKEN\nsimulated\n***\n"), "{told}");
    let build = platform.json(&["build", "list", "shop"])["items"][0].clone();
    assert_eq!(build["secrets"], json!({ "npm-token": 1 }), "{build}");
    let read = until("the reading is in the ledger", || {
        let list = platform.json(&["ledger", "list", "--limit", "0"]);
        let all = list["items"].as_array().unwrap();
        all.iter().find(|entry| entry["kind"] == "secret.read").cloned()
    });
    let commit = build["commit"].as_str().unwrap();
    assert_eq!(read["what"]["reason"], json!(format!("build b1 of app shop at commit {commit}")), "{read}");
    for arguments in
        [&["build", "provenance", "shop", "b1"][..], &["events"], &["ledger", "list", "--limit", "0"]]
    {
        told.push_str(&platform.json(arguments).to_string());
    }
    let words = shapes(canary);
    assert!(words.iter().all(|word| !told.contains(word.as_str())), "{told}");
    let mut found = Vec::new();
    holders(platform.home.path(), &words, &mut found);
    assert_eq!(found, Vec::<String>::new());
}
