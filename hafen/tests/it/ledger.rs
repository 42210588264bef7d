//! The ledger as its users have it: who did it, an export, a proof, a byte that is another one, a witness.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::platform::{Platform, program, text, until};

/// Waits until all that happened is signed; gives how much that is.
fn signed(platform: &Platform) -> i64 {
    until("the ledger is signed", || {
        let shards = platform.json(&["ledger", "shards"]);
        let shard = shards["items"].as_array().unwrap().last()?;
        let events = platform.json(&["events"])["items"].as_array().unwrap().len();
        let (size, signed) = (shard["size"].as_i64().unwrap(), shard["signed"].as_i64().unwrap());
        (size == signed && usize::try_from(size).unwrap() >= events).then_some(size)
    })
}

#[test]
fn what_was_applied_is_listed_exported_proven_and_a_changed_byte_is_found() {
    let platform = Platform::start(&[]);
    platform.manifest(2, "");
    platform.good(&["apply", "--yes"]);
    let size = signed(&platform);

    let list = platform.json(&["ledger", "list", "--limit", "0", "--oldest"]);
    let items = list["items"].as_array().unwrap();
    assert!(
        items.iter().any(|entry| entry["object"] == "machine/web-1" && entry["kind"] == "machine.started")
    );
    // Who did it: the user who owns this home, by name and by no token.
    let project =
        items.iter().find(|entry| entry["kind"] == "machine.creating" || entry["kind"] == "machine.created");
    let known =
        project.is_some_and(|entry| entry["who"]["id"].as_str().is_some_and(|id| id.starts_with("uid-")));
    assert!(known, "{list}");
    // The call as well: opened before it was made, completed after.
    let called = items.iter().any(|entry| entry["kind"] == "call.post" && entry["object"] == "apply");
    assert!(called, "{list}");
    let one = platform.good(&["ledger", "list", "--object", "machine/web-2"]);
    assert!(one.contains("machine/web-2") && !one.contains("machine/web-1"), "{one}");
    let entry = format!("{}/0", items[0]["shard"].as_str().unwrap());
    assert!(platform.good(&["ledger", "show", &entry]).contains("record   {\"v\":1,"));

    // Offline from here on: with a platform's home that is nowhere.
    let key = platform.good(&["ledger", "key"]);
    let key = key.trim();
    platform.good(&["ledger", "export", "ledger.tar"]);
    platform.good(&["ledger", "prove", &entry, "--out", "entry.tlog-proof"]);
    let offline = |arguments: &[&str]| {
        let mut command = program();
        command
            .args(arguments)
            .current_dir(platform.home.path())
            .env("HAFEN_HOME", "/nowhere")
            .output()
            .unwrap()
    };
    let output = offline(&["ledger", "verify", "ledger.tar", "--key", key, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let verified: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(verified["entries"].as_i64().unwrap() >= size, "{verified}");
    let output = offline(&["ledger", "prove", "entry.tlog-proof", "--check", "--key", key]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\"position\"") || text(&output.stdout).contains("{\"v\":1,"));

    // One letter of one record.
    let file = platform.home.path().join("ledger.tar");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(13).position(|part| part == b"machine/web-1").unwrap() + 12;
    bytes[at] = b'3';
    std::fs::write(&file, &bytes).unwrap();
    let output = offline(&["ledger", "verify", "ledger.tar", "--key", key]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("tile/entries/000") && told.contains("hash of entry"), "{told}");
    // And of a proof; another log's key; no key; nothing there.
    let proof = std::fs::read_to_string(platform.home.path().join("entry.tlog-proof")).unwrap();
    std::fs::write(platform.home.path().join("bad"), proof.replacen("index 0", "index 1", 1)).unwrap();
    let other = "example.org/log+00000000+AQ==";
    for (arguments, code) in [
        (&["ledger", "prove", "bad", "--check", "--key", key][..], 1),
        (&["ledger", "verify", "ledger.tar", "--key", other], 2),
        (&["ledger", "verify", "nothing", "--key", key], 1),
        (&["ledger", "show", "x"], 2),
    ] {
        let output = offline(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    }
    // The running platform's own, in one word.
    platform.good(&["ledger", "verify"]);
}

#[test]
fn a_witness_cosigns_the_ledger() {
    let mut platform = Platform::start(&["--ledger-origin", "hello.example/ledger"]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    signed(&platform);
    let key = platform.good(&["ledger", "key"]);
    assert!(key.starts_with("hello.example/ledger/2"), "{key}");
    platform.kill();

    let folder = tempfile::tempdir().unwrap();
    let mut witness = program()
        .args([
            "witness",
            "--listen",
            "127.0.0.1:0",
            "--name",
            "witness.example",
            "--log",
            key.trim(),
            "--folder",
        ])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(witness.stdout.take().unwrap()).read_line(&mut line).unwrap();
    platform.add(&["--witness", line.trim()]);
    platform.restart();
    platform.manifest(2, "");
    platform.good(&["apply", "--yes"]);
    until("the cosignature", || {
        let shards = platform.json(&["ledger", "shards"]);
        (shards["items"][0]["witnesses"] == serde_json::json!(["witness.example"])).then_some(())
    });
    platform.good(&["ledger", "verify"]);
    witness.kill().unwrap();
    witness.wait().unwrap();
}
