//! The edge as its users have it: a host set by the command line, fetched by curl over https, after a death as well.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::http::{send_body, token};
use crate::platform::{Platform, text, until};

/// Answers every request with these words, until the test ends.
fn endpoint(words: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let (mut buffer, mut seen) = ([0; 4096], Vec::new());
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    seen.extend_from_slice(&buffer[..count]);
                    if seen.ends_with(b"\r\n\r\n") {
                        seen.clear();
                        let answer =
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{words}", words.len());
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    at
}

/// Where the edge answers, as the log says last.
pub fn edge(platform: &Platform, scheme: &str) -> SocketAddr {
    let log = platform.log();
    let start = format!("The edge answers at {scheme}://");
    let line = log.lines().rev().find_map(|line| line.strip_prefix(start.as_str()));
    line.unwrap_or_else(|| panic!("{log}")).parse().unwrap()
}

fn put(platform: &Platform, path: &str, body: &Value) -> Value {
    let (head, answer) = send_body(
        platform,
        "PUT",
        &format!("/api/v1/projects/{path}"),
        Some(&token(platform)),
        &body.to_string(),
    );
    assert!(head.starts_with("HTTP/1.1 20"), "{head}\n{answer}");
    serde_json::from_str(&answer).unwrap()
}

pub fn curl(at: SocketAddr, url: &str, host: &str, root: &Path, arguments: &[&str]) -> (String, Output) {
    let output = Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "20",
            "--resolve",
            &format!("{host}:{}:127.0.0.1", at.port()),
            "--cacert",
        ])
        .arg(root)
        .args(arguments)
        .arg(url)
        .output()
        .unwrap();
    (text(&output.stdout), output)
}

/// A platform with one host that leads to this endpoint, and the root of its authority in a file.
fn platform(at: SocketAddr) -> (Platform, std::path::PathBuf) {
    let mut platform = Platform::start(&["--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0"]);
    let log = platform.home.path().join("requests.log").display().to_string();
    platform.add(&["--edge-log", &log]);
    platform.kill();
    platform.restart();
    put(&platform, "shop", &json!({}));
    put(
        &platform,
        "shop/backends/web",
        &json!({ "endpoints": [{ "id": "web-1", "address": at.to_string() }] }),
    );
    platform.good(&["-p", "shop", "route", "set", "shop.localhost", "/=web"]);
    until("the certificate", || {
        let shown = platform.json(&["-p", "shop", "certificate", "show", "shop.localhost"]);
        (shown["state"] == "ready").then_some(())
    });
    let root = platform.home.path().join("root.pem");
    std::fs::write(&root, platform.good(&["certificate", "authority"])).unwrap();
    (platform, root)
}

/// Under a limit of open files that a shell sets, as many silent connections as it allows keep nobody from the API.
#[test]
fn silent_connections_take_nobody_elses_files() {
    let stage = ["prlimit", "--nofile=500:500", "--"].map(ToOwned::to_owned).to_vec();
    let platform = Platform::staged(&["--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0"], stage);
    let at = edge(&platform, "http");
    let held: Vec<TcpStream> = (0..800).filter_map(|_| TcpStream::connect(at).ok()).collect();
    for project in ["one", "two", "three"] {
        put(&platform, project, &json!({}));
    }
    assert!(platform.log().contains("The edge takes up to 32 connections"), "{}", platform.log());
    assert!(!platform.log().contains("Too many open files"), "{}", platform.log());
    drop(held);
    drop(platform);
    // What may be raised is.
    let stage = ["prlimit", "--nofile=700:4096", "--"].map(ToOwned::to_owned).to_vec();
    let platform = Platform::staged(&["--edge-http", "127.0.0.1:0"], stage);
    assert!(platform.log().contains("The edge takes up to 1194 connections"), "{}", platform.log());
}

#[test]
fn a_host_is_served_over_https_also_after_a_death() {
    let (mut platform, root) = platform(endpoint("hello from the shop"));
    let listed = platform.good(&["-p", "shop", "route", "list"]);
    assert!(
        listed.contains("shop.localhost") && listed.contains("/=web") && listed.contains("ready"),
        "{listed}"
    );
    let fetch = |platform: &Platform| {
        let at = edge(platform, "https");
        curl(
            at,
            &format!("https://shop.localhost:{}/a?secret=1", at.port()),
            "shop.localhost",
            &root,
            &["--http2"],
        )
    };
    let (said, output) = fetch(&platform);
    assert_eq!(said, "hello from the shop", "{output:?}");
    let at = edge(&platform, "http");
    let (said, _) =
        curl(at, &format!("http://shop.localhost:{}/x", at.port()), "shop.localhost", &root, &["-i"]);
    let to = format!("location: https://shop.localhost:{}/x", edge(&platform, "https").port());
    assert!(said.starts_with("HTTP/1.1 308") && said.contains(&to), "{said}");
    let before = platform.json(&["-p", "shop", "certificate", "show", "shop.localhost"]);
    platform.kill();
    platform.restart();
    assert_eq!(fetch(&platform).0, "hello from the shop");
    assert_eq!(
        platform.json(&["-p", "shop", "certificate", "show", "shop.localhost"])["fingerprint"],
        before["fingerprint"]
    );
    // Renewed while requests go on.
    let after = platform.json(&["-p", "shop", "certificate", "renew", "--wait", "shop.localhost"]);
    assert_ne!(after["fingerprint"], before["fingerprint"]);
    assert_eq!(fetch(&platform).0, "hello from the shop");
    let log = std::fs::read_to_string(platform.home.path().join("requests.log")).unwrap();
    assert!(
        log.contains("\"client\":\"127.0.0.0\"")
            && log.contains("\"path\":\"/a\"")
            && !log.contains("secret"),
        "{log}"
    );
    // What a request did to a host stands in the ledger, with who did it.
    until("the ledger", || {
        let entries = platform.good(&["ledger", "list", "--json"]);
        (entries.contains("route.created") && entries.contains("certificate.issued")).then_some(())
    });
    platform.good(&["-p", "shop", "route", "set", "shop.localhost", "/=web", "--maintenance"]);
    let (said, _) = curl(
        edge(&platform, "https"),
        &format!("https://shop.localhost:{}/", edge(&platform, "https").port()),
        "shop.localhost",
        &root,
        &["-i"],
    );
    assert!(said.contains(" 503") && said.contains("Wartung"), "{said}");
    platform.good(&["-p", "shop", "route", "delete", "shop.localhost"]);
    let (_, output) = fetch(&platform);
    assert!(!output.status.success(), "its certificate is forgotten");
}

/// `sslyze` (from `PyPI`) has nothing to find.
#[test]
fn sslyze_finds_nothing() {
    let (platform, root) = platform(endpoint("hello"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sslyze");
    let at = edge(&platform, "https");
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/sslyze"))
        .arg(format!("shop.localhost:{}{{127.0.0.1}}", at.port()))
        .arg(&root)
        .arg(&folder)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}\n{}", text(&output.stdout), text(&output.stderr));
    });
    let result = &report["server_scan_results"][0]["scan_result"];
    assert!(result.is_object(), "{report}");
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        let accepted = &result[format!("{old}_cipher_suites")]["result"]["accepted_cipher_suites"];
        assert_eq!(accepted, &json!([]), "{old}");
    }
    for new in ["tls_1_2", "tls_1_3"] {
        let accepted =
            result[format!("{new}_cipher_suites")]["result"]["accepted_cipher_suites"].as_array().unwrap();
        assert!(!accepted.is_empty(), "{new}");
        for suite in accepted {
            let name = suite["cipher_suite"]["name"].as_str().unwrap();
            let modern = name.starts_with("TLS_AES")
                || name.starts_with("TLS_CHACHA20")
                || name.starts_with("TLS_ECDHE");
            assert!(modern && !name.contains("CBC") && !name.contains("SHA_"), "{name}");
        }
    }
    assert_eq!(result["heartbleed"]["result"]["is_vulnerable_to_heartbleed"], false);
    assert_eq!(result["openssl_ccs_injection"]["result"]["is_vulnerable_to_ccs_injection"], false);
    assert_eq!(result["tls_compression"]["result"]["supports_compression"], false);
    let renegotiation = &result["session_renegotiation"]["result"];
    assert_eq!(renegotiation["is_vulnerable_to_client_renegotiation_dos"], false, "{renegotiation}");
    assert_eq!(result["tls_fallback_scsv"]["result"]["supports_fallback_scsv"], true);
    assert_eq!(result["tls_extended_master_secret"]["result"]["supports_ems_extension"], true);
    let robot = result["robot"]["result"]["robot_result"].as_str().unwrap();
    assert!(robot.starts_with("NOT_VULNERABLE"), "{robot}");
}
