//! What no client sends: requests whose end two readers would see at two places, headers that contradict each other, bodies
//! without an end. Each gets one clear answer, and nothing hidden behind it is taken for a request.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::http::token;
use crate::platform::Platform;

struct Wire {
    platform: Platform,
    address: String,
    token: String,
}

impl Wire {
    fn new() -> Self {
        let platform = Platform::start(&[]);
        platform.manifest(1, "");
        platform.good(&["apply", "--yes"]);
        let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
        let endpoint: Value = serde_json::from_str(&endpoint).unwrap();
        let address = endpoint["url"].as_str().unwrap().trim_start_matches("http://").to_owned();
        let token = token(&platform);
        Self { platform, address, token }
    }

    /// All that comes back until the server closes. Writing stops where the server listens no more.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        let _cut_off = stream.write_all(bytes);
        let _reset = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// The status of each answer in what came back.
fn statuses(answer: &str) -> Vec<&str> {
    answer.match_indices("HTTP/1.1 ").map(|(at, found)| &answer[at + found.len()..][..3]).collect()
}

#[test]
fn a_request_ends_where_everybody_sees_it_end() {
    let wire = Wire::new();
    let network = "/api/v1/projects/hello/networks";
    // Would be carried out if it were taken for a request of its own.
    let hidden = |name: &str| {
        let body = format!("{{\"name\":\"{name}\"}}");
        format!(
            "POST {network} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            wire.token,
            body.len()
        )
    };
    let head = format!("GET {network} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n", wire.token);
    // Of a length beside chunks the chunks count (RFC 9112, 6.3), and the connection ends.
    let cases = [
        (
            "length-then-chunks",
            format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "200",
        ),
        (
            "chunks-then-length",
            format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            "200",
        ),
        ("two-lengths", format!("{head}Content-Length: 0\r\nContent-Length: 9\r\n\r\n"), "400"),
        ("length-list", format!("{head}Content-Length: 0, 9\r\n\r\n"), "400"),
        ("signed-length", format!("{head}Content-Length: +0\r\n\r\n"), "400"),
        ("negative-length", format!("{head}Content-Length: -1\r\n\r\n"), "400"),
        ("not-last-chunked", format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), "400"),
        ("unknown-coding", format!("{head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), "400"),
        ("space-before-colon", format!("{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), "400"),
        ("folded", format!("{head}X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400"),
        ("nul", format!("{head}X-A: b\0c\r\n\r\n"), "400"),
        ("carriage-return", format!("{head}X-A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400"),
        ("chunk-overflow", format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"), "200"),
        ("two-hosts", format!("{head}Host: y\r\n\r\n"), "400"),
        ("two-tokens", format!("{head}Authorization: Bearer other\r\n\r\n"), "400"),
        ("no-version", format!("GET {network}\r\n\r\n"), "400"),
        (
            "old-chunks",
            format!("{}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", head.replace("/1.1", "/1.0")),
            "400",
        ),
    ];
    for (name, bytes, status) in &cases {
        let answer = wire.say(format!("{bytes}{}", hidden(name)).as_bytes());
        // HTTP/1.0 is answered as such.
        let answer = answer.replace("HTTP/1.0 ", "HTTP/1.1 ");
        let seen = statuses(&answer);
        assert_eq!(seen, [*status], "{name}: {answer}");
    }
    let list = wire.platform.json(&["network", "list"]);
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["backend"]);
}

#[test]
fn what_is_too_large_is_told_so() {
    let wire = Wire::new();
    let path = "/api/v1/projects/hello/networks";
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Type: application/json\r\n",
        wire.token
    );
    let mut announced = format!("{head}Content-Length: 99999999999\r\n\r\n").into_bytes();
    announced.extend(vec![b' '; 3 << 20]);
    let announced = wire.say(&announced);
    // Sent without saying how much.
    let mut endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..48 {
        endless.extend(b"10000\r\n");
        endless.extend(vec![b' '; 0x10000]);
        endless.extend(b"\r\n");
    }
    let endless = wire.say(&endless);
    for answer in [announced, endless] {
        assert_eq!(statuses(&answer), ["413"], "{answer}");
        assert!(answer.contains("application/problem+json") && answer.contains("too large"), "{answer}");
    }
    let long = format!("GET /api/v1/projects/{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20));
    assert!(["414", "431"].contains(&statuses(&wire.say(long.as_bytes()))[0]));
    let many = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(5000));
    assert_eq!(statuses(&wire.say(many.as_bytes())), ["431"]);
    // And it goes on answering.
    wire.platform.good(&["network", "list"]);
}

/// One service asks another with the platform's own rights: what stands encoded in a path must not lead it elsewhere.
#[test]
fn an_encoded_name_is_a_name_and_no_path() {
    let wire = Wire::new();
    let ways = [
        "web-1%2F..%2Fweb-1",
        "..%2Fmachines%2Fweb-1",
        "web-1%3Fa=b",
        "web-1%23",
        "web-1%2Fserial",
        "%00",
        "%20",
        "%C3%95",
        "web-1%0D%0AHost:%20y",
    ];
    let machine = "/api/v1/projects/hello/machines";
    let mut asked = 0;
    for name in ways {
        for (method, end) in [
            ("GET", ""),
            ("GET", "/instances"),
            ("GET", "/integrity"),
            ("POST", "/integrity/check"),
            ("POST", "/integrity/accept"),
            ("POST", "/stop"),
        ] {
            let body = r#"{"report":"r","reason":"because"}"#;
            let answer = wire.say(
                format!(
                    "{method} {machine}/{name}{end} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {}\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    wire.token,
                    body.len()
                )
                .as_bytes(),
            );
            assert_eq!(statuses(&answer), ["404"], "{method} {name}{end}: {answer}");
            asked += 1;
        }
    }
    assert_eq!(asked, 54);
    assert_eq!(wire.platform.json(&["machine", "show", "web-1"])["state"], "started");
}
