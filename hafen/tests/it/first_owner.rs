//! The token of the first start is the invitation of the first owner: good until that is accepted, and never again. And the
//! way back for who lost everything.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{send, token};
use crate::people::{accept, call, first_owner};
use crate::platform::{Platform, program, text, until};

fn address(platform: &Platform) -> String {
    let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
    let endpoint: Value = serde_json::from_str(&endpoint).unwrap();
    endpoint["url"].as_str().unwrap().trim_start_matches("http://").to_owned()
}

/// A connection that asked once, and was answered.
fn connection(platform: &Platform, path: &str, more: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address(platform)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut reader = BufReader::new(stream);
    ask(&mut reader, path, &token(platform), more);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    reader
}

fn ask(reader: &mut BufReader<TcpStream>, path: &str, token: &str, more: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n{more}\r\n");
    // A connection that was cut refuses it here or at the next read.
    let _cut = reader.get_mut().write_all(request.as_bytes());
}

/// What a connection gives from now on: until it ends.
fn rest(mut reader: BufReader<TcpStream>) -> String {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection lives on: {error}"),
    }
    text(&bytes)
}

#[test]
fn the_first_owner_ends_the_token() {
    let mut platform = Platform::start(&[]);
    let old = token(&platform);
    let file = |name: &str| platform.home.path().join(name);
    let invitation = std::fs::read_to_string(file("invitation")).unwrap();
    // An invitation that somebody else was given before there was an owner.
    let whoami = call(&platform, Some(&old), "GET", "/whoami", &json!({}));
    let other = json!({ "scope": whoami["organisation"], "role": "owner" });
    let other = call(&platform, Some(&old), "POST", "/invitations", &other);
    let events = connection(&platform, "/api/v1/events?after=0", "Accept: text/event-stream\r\n");
    let mut kept = connection(&platform, "/api/v1/whoami", "");

    // Beginning uses nothing up.
    call(&platform, None, "POST", "/invitations/begin", &json!({ "token": invitation.trim() }));
    assert!(send(&platform, "GET", "/api/v1/whoami", Some(&old)).0.starts_with("HTTP/1.1 200"));
    let owner = first_owner(&platform);

    let (head, body) = send(&platform, "GET", "/api/v1/whoami", Some(&old));
    assert!(head.starts_with("HTTP/1.1 401") && body.contains("bootstrap_over"), "{head} {body}");
    ask(&mut kept, "/api/v1/whoami", &old, "");
    let kept = rest(kept);
    assert!(!kept.contains("HTTP/1.1 200"), "the connection that was open: {kept}");
    // A stream that began with the token ends, and so this returns.
    rest(events);
    for name in ["token", "invitation"] {
        until("the file goes", || (!file(name).exists()).then_some(()));
    }
    for used in [invitation.trim(), other["token"].as_str().unwrap()] {
        let (head, _) = crate::http::send_body(
            &platform,
            "POST",
            "/api/v1/invitations/begin",
            None,
            &json!({ "token": used }).to_string(),
        );
        assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    }

    // On the host its owner works on; and what one service asks of another is done.
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let by_address = |token: &str| {
        let mut command = program();
        command
            .env("HAFEN_HOME", elsewhere.path())
            .env("HAFEN_URL", format!("http://{}", address(&platform)));
        command.env("HAFEN_TOKEN", token).args(["drift", "-p", "hello"]).output().unwrap()
    };
    let refused = by_address(old.trim_start_matches("Bearer "));
    assert!(text(&refused.stderr).contains("hafen login"), "{}", text(&refused.stderr));
    let done = by_address(&owner.token);
    assert!(done.status.success(), "{}", text(&done.stderr));
    // The host's own address leads to the same.
    let mut named = platform.command(&["whoami"]);
    let named = named.env("HAFEN_URL", format!("http://{}", address(&platform))).output().unwrap();
    assert!(text(&named.stdout).contains("local operator"), "{}", text(&named.stderr));
    let entries = platform.json(&["ledger", "list", "--limit", "0"]);
    let ended = entries["items"].as_array().unwrap().iter().find(|entry| entry["kind"] == "bootstrap.ended");
    assert!(ended.is_some(), "{entries}");

    // Across restarts, and even where the file comes back.
    platform.kill();
    std::fs::write(platform.home.path().join("token"), old.trim_start_matches("Bearer ")).unwrap();
    platform.restart();
    assert!(!platform.home.path().join("token").exists());
    assert!(!platform.home.path().join("invitation").exists());
    let (head, _) = send(&platform, "GET", "/api/v1/whoami", Some(&old));
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    assert!(send(&platform, "GET", "/api/v1/whoami", Some(&owner.bearer)).0.starts_with("HTTP/1.1 200"));
    let log = platform.log();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[test]
fn whoever_holds_the_host_invites_another_owner() {
    let platform = Platform::start(&[]);
    first_owner(&platform);
    let made = platform.json(&["invite-owner"]);
    let second = accept(&platform, made["token"].as_str().unwrap(), "otto");
    let whoami = call(&platform, Some(&second.bearer), "GET", "/whoami", &json!({}));
    assert_eq!(whoami["roles"][0]["role"], "owner");
    let printed = platform.good(&["invite-owner"]);
    assert!(printed.starts_with("hafen_") && printed.lines().count() == 1, "{printed}");
}

#[test]
fn without_the_local_operator_only_identities_remain_and_the_key_leads_back() {
    let platform = Platform::start(&["--no-local-operator"]);
    let owner = first_owner(&platform);
    until("the file goes", || (!platform.home.path().join("token").exists()).then_some(()));
    let refused = platform.run(&["status"]);
    let told = text(&refused.stderr);
    assert!(!refused.status.success() && told.contains("hafen login"), "{told}");

    // Who has lost everything but the host.
    let made = platform.json(&["invite-owner"]);
    let second = accept(&platform, made["token"].as_str().unwrap(), "otto");
    for bearer in [&owner.bearer, &second.bearer] {
        let whoami = call(&platform, Some(bearer), "GET", "/whoami", &json!({}));
        assert_eq!(whoami["roles"][0]["role"], "owner");
    }
    let uid = rustix::process::geteuid().as_raw();
    until("the ledger has it", || {
        let path = "/ledger/entries?limit=1000";
        let entries = call(&platform, Some(&owner.bearer), "GET", path, &json!({}));
        let by_key =
            |entry: &&Value| entry["kind"] == "invitation.created" && entry["who"]["credential"] == "key";
        let found = entries["items"].as_array().unwrap().iter().find(by_key)?;
        assert!(found.to_string().contains(&format!("uid-{uid}")), "{found}");
        Some(())
    });

    // Another key is none; neither is a home without one, where nothing may be made either.
    let other = platform.home.path().join("other-key");
    let made = std::process::Command::new("openssl")
        .args(["rand", "-base64", "-out"])
        .arg(&other)
        .arg("32")
        .status();
    assert!(made.unwrap().success());
    std::fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let refused = platform.run(&["invite-owner", "--key-file", other.to_str().unwrap()]);
    assert!(!refused.status.success(), "{}", text(&refused.stdout));
    let empty = tempfile::tempdir().unwrap();
    let refused = program().arg("invite-owner").env("HAFEN_HOME", empty.path()).output().unwrap();
    assert!(text(&refused.stderr).contains("there is no key"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}
