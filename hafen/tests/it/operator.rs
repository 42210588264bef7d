//! The local operator: who owns `HAFEN_HOME` needs no token at the platform's socket, and nobody else gets in there.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::platform::{Platform, program, text};

#[test]
fn the_owner_needs_no_token_and_is_named_in_events() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    std::fs::rename(platform.home.path().join("token"), platform.home.path().join("elsewhere")).unwrap();
    platform.good(&["status"]);
    platform.good(&["apply", "--yes"]);
    platform.good(&["machine", "stop", "web-1"]);
    let uid = rustix::process::geteuid().as_raw();
    let events = platform.json(&["events"]);
    let mine: Vec<&serde_json::Value> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["actor"]["id"] == format!("uid-{uid}").as_str())
        .collect();
    assert!(!mine.is_empty(), "{events}");
    assert!(mine.iter().all(|event| event["actor"]["kind"] == "local_operator"), "{events}");
    assert!(mine.iter().all(|event| event["actor"]["credential"] == "socket"), "{events}");
    // The steps of an apply are theirs who asked for it.
    assert!(mine.iter().any(|event| event["kind"] == "network.created"), "{events}");
    // What the platform does by itself is its own act.
    assert!(events["items"].as_array().unwrap().iter().any(|event| event["actor"]["kind"] == "platform"));
    let log = platform.log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn another_user_at_the_socket_is_nobody() {
    let platform = Platform::start(&[]);
    let socket = platform.home.path().join("api.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // Even where the file lets anybody in, the kernel's word counts.
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::set_permissions(platform.home.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let ask = |prefix: &[&str]| {
        let mut words: Vec<&str> = prefix.to_vec();
        let path = socket.to_str().unwrap();
        words.extend(["curl", "-s", "-i", "--unix-socket", path, "http://hafen/api/v1/projects"]);
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        text(&output.stdout)
    };
    assert!(ask(&["env"]).starts_with("HTTP/1.1 200"), "{}", ask(&["env"]));
    if rustix::process::geteuid().is_root() {
        let nobody = ask(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");
    }
    // A wrong token is not made good by the right user.
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let request = "GET /api/v1/projects HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer wrong\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[test]
fn it_can_be_switched_off() {
    let mut platform = Platform::start(&["--no-local-operator"]);
    assert!(!platform.home.path().join("api.sock").exists());
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    platform.good(&["machine", "stop", "web-1"]);
    let events = platform.json(&["events"]);
    let by_token = |event: &&serde_json::Value| event["actor"]["credential"] == "token/platform";
    let one = events["items"].as_array().unwrap().iter().find(by_token).unwrap();
    assert_eq!(one["actor"]["address"], "127.0.0.1");
    // A socket that a killed platform left behind is no way in either.
    std::fs::write(platform.home.path().join("api.sock"), "").unwrap();
    platform.kill();
    platform.restart();
    std::fs::remove_file(platform.home.path().join("token")).unwrap();
    let output = program().arg("status").env("HAFEN_HOME", platform.home.path()).output().unwrap();
    assert!(!output.status.success());
}
