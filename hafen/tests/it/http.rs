//! The API as any HTTP client meets it: nothing but a socket.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::platform::Platform;

/// Status line with headers, and body.
pub fn send(platform: &Platform, method: &str, path: &str, token: Option<&str>) -> (String, String) {
    send_body(platform, method, path, token, "{}")
}

/// The same, with a JSON body.
pub fn send_body(
    platform: &Platform,
    method: &str,
    path: &str,
    token: Option<&str>,
    json: &str,
) -> (String, String) {
    send_with(platform, method, path, token, "", json)
}

/// A form, as a browser sends it, with further header lines.
pub fn send_form(
    platform: &Platform,
    method: &str,
    path: &str,
    headers: &str,
    form: &str,
) -> (String, String) {
    let headers = format!("Content-Type: application/x-www-form-urlencoded\r\n{headers}");
    send_any(platform, method, path, &headers, form)
}

/// The same, with further header lines, each ended by CRLF.
fn send_with(
    platform: &Platform,
    method: &str,
    path: &str,
    token: Option<&str>,
    headers: &str,
    json: &str,
) -> (String, String) {
    let token = token.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
    send_any(platform, method, path, &format!("Content-Type: application/json\r\n{token}{headers}"), json)
}

fn send_any(platform: &Platform, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
    let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
    let endpoint: Value = serde_json::from_str(&endpoint).unwrap();
    let address = endpoint["url"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    // Some bodies are not text.
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

pub fn token(platform: &Platform) -> String {
    let token = std::fs::read_to_string(platform.home.path().join("token")).unwrap();
    format!("Bearer {}", token.trim())
}

/// Where somebody signs in or a client of the OpenID provider brings a credential of its own.
fn is_open(path: &str) -> bool {
    let invitation = ["begin", "passkey", "accept"].map(|end| format!("/api/v1/invitations/{end}"));
    path == "/health"
        || path.starts_with("/api/v1/sign-in/")
        || path.starts_with("/oauth/")
        || path.starts_with("/.well-known/")
        || path.starts_with("/hooks/")
        || invitation.iter().any(|one| one == path)
}

/// Every path of the document and those beside it, with every method: without the token there is no answer, and no
/// difference between what exists and what does not.
#[test]
fn nothing_is_answered_without_the_token_but_health() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let good = token(&platform);
    let (head, document) = send(&platform, "GET", "/api/v1/openapi.json", Some(&good));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut paths: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    paths.retain(|path| !is_open(path));
    assert!(paths.len() > 70, "{paths:?}");
    paths.extend(
        ["/api/v1/openapi.json", "/api/v1/status", "/api/docs", "/nowhere", "//health", "/health/"]
            .map(str::to_owned),
    );
    let real = [("{project}", "hello"), ("{machine}", "web-1"), ("{network}", "backend"), ("{image}", "web")];
    let wrong = format!("{good}x");
    let cut = &good[..good.len() - 1];
    let basic = good.replacen("Bearer", "Basic", 1);
    for path in &paths {
        let path = real.iter().fold(path.clone(), |path, (from, to)| path.replace(from, to));
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"] {
            let (head, body) = send(&platform, method, &path, None);
            assert!(head.starts_with("HTTP/1.1 401"), "{method} {path}: {head}");
            assert!(head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{head}");
            assert!(method == "HEAD" || body.contains("\"unauthenticated\""), "{method} {path}: {body}");
            assert!(!body.contains("hello") && !body.contains("web-1"), "{body}");
        }
        for presented in [wrong.as_str(), cut, &basic, "Bearer", "Bearer ", ""] {
            let (head, _) = send(&platform, "GET", &path, Some(presented));
            assert!(head.starts_with("HTTP/1.1 401"), "{path} {presented}: {head}");
        }
    }
    // Nothing of that was carried out.
    assert_eq!(platform.json(&["machine", "list"])["items"].as_array().unwrap().len(), 1);
    let (head, body) = send(&platform, "GET", "/health", None);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, "{\"status\":\"ok\"}");
}

/// Every number that the document bounds is refused outside of its bounds, and taken at them.
#[test]
fn numbers_are_taken_only_within_the_documented_bounds() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let token = token(&platform);
    let (_, document) = send(&platform, "GET", "/api/v1/openapi.json", Some(&token));
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let parameters = item["get"]["parameters"].as_array().cloned().unwrap_or_default();
        let query = parameters.iter().filter(|one| one["in"] == "query");
        for parameter in query {
            let schema = &parameter["schema"];
            let beyond =
                [schema["minimum"].as_i64().map(|n| n - 1), schema["maximum"].as_i64().map(|n| n + 1)];
            for value in beyond.into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                let path = path.replace("{project}", "hello").replace("{machine}", "web-1");
                let (head, body) = send(&platform, "GET", &format!("{path}?{name}={value}"), Some(&token));
                assert!(head.starts_with("HTTP/1.1 400"), "{path}?{name}={value}: {head} {body}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 20, "only {tried} bounds were found in the document");
    for lines in [1, 5000] {
        let path = format!("/api/v1/projects/hello/machines/web-1/serial?lines={lines}");
        let (head, body) = send(&platform, "GET", &path, Some(&token));
        assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
    }
}

/// A body that breaks the document is refused for that before the platform asks whether the caller's view of the object is
/// stale: the caller mends the body once, and a 412 means that nothing but the generation was wrong.
#[test]
fn a_broken_body_is_told_before_a_stale_generation() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let token = token(&platform);
    let make = |path: &str, body: &Value| {
        let (head, answer) =
            send_body(&platform, "POST", &format!("/api/v1{path}"), Some(&token), &body.to_string());
        assert!(head.starts_with("HTTP/1.1 201"), "{path}: {head} {answer}");
        let made: Value = serde_json::from_str(&answer).unwrap();
        made["id"].as_str().unwrap().to_owned()
    };
    let organisation = make("/organisations", &json!({ "name": "shipyard", "title": "Shipyard" }));
    let team = make("/teams", &json!({ "name": "web" }));
    let account = make("/service-accounts", &json!({ "name": "ci", "team": "web" }));
    let real = [
        ("{project}", "hello"),
        ("{machine}", "web-1"),
        ("{network}", "backend"),
        ("{organisation}", &organisation),
        ("{team}", &team),
        ("{account}", &account),
    ];
    let (_, document) = send(&platform, "GET", "/api/v1/openapi.json", Some(&token));
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let at = real.iter().fold(path.clone(), |path, (from, to)| path.replace(from, to));
        for (method, endpoint) in item.as_object().unwrap() {
            let parameters = endpoint["parameters"].as_array().cloned().unwrap_or_default();
            let body = &endpoint["requestBody"]["content"]["application/json"]["schema"];
            let conditional = parameters.iter().any(|one| one["name"] == "if-match");
            if at.contains('{') || !conditional || body.is_null() {
                continue;
            }
            for broken in broken(&document, body) {
                let method = method.to_uppercase();
                let (head, answer) = send_with(
                    &platform,
                    &method,
                    &at,
                    Some(&token),
                    "If-Match: \"g0\"\r\n",
                    &broken.to_string(),
                );
                let refused = ["HTTP/1.1 400", "HTTP/1.1 422"].iter().any(|line| head.starts_with(line));
                assert!(refused, "{method} {at} {broken}: {head} {answer}");
                tried += 1;
            }
            let sound = json!({}).to_string();
            let stale = "If-Match: \"g0\"\r\n";
            if method == "patch" && !path.contains("network") {
                let (head, answer) = send_with(&platform, "PATCH", &at, Some(&token), stale, &sound);
                assert!(head.starts_with("HTTP/1.1 412"), "{at}: {head} {answer}");
            }
        }
    }
    assert!(tried >= 30, "only {tried} broken bodies were made from the document");
}

/// Nobody meets another's answer by guessing the key of another's request.
#[test]
fn an_idempotency_key_counts_for_its_caller_alone() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let operator = token(&platform);
    let make = |method: &str, path: &str, body: &Value| {
        let (head, answer) =
            send_body(&platform, method, &format!("/api/v1{path}"), Some(&operator), &body.to_string());
        assert!(head.starts_with("HTTP/1.1 20"), "{path}: {head} {answer}");
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    make("POST", "/teams", &json!({ "name": "web" }));
    make("PUT", "/project-owners/hello", &json!({ "team": "web" }));
    let account = make("POST", "/service-accounts", &json!({ "name": "ci", "team": "web" }));
    let body = json!({ "subject": account["id"], "scope": "project/hello", "role": "maintainer" });
    make("POST", "/memberships", &body);
    let made = make("POST", "/tokens", &json!({ "name": "ci", "service_account": "ci", "days": 1 }));
    let other = format!("Bearer {}", made["secret"].as_str().unwrap());
    let create = |token: &str, name: &str| {
        let body = json!({ "name": name, "spec": { "image": "web", "network": "backend", "cpus": 1,
            "memory": 536_870_912, "disk": 4_294_967_296_i64 } });
        let path = "/api/v1/projects/hello/machines";
        send_with(&platform, "POST", path, Some(token), "Idempotency-Key: 1\r\n", &body.to_string())
    };
    let (head, first) = create(&operator, "db-1");
    assert!(head.starts_with("HTTP/1.1 202") || head.starts_with("HTTP/1.1 201"), "{head} {first}");
    let (_, again) = create(&operator, "db-1");
    assert_eq!(first, again);
    let (head, theirs) = create(&other, "db-1");
    assert!(head.starts_with("HTTP/1.1 409") && theirs.contains("db-1"), "{head} {theirs}");
    let (head, theirs) = create(&other, "db-2");
    assert!(head.starts_with("HTTP/1.1 20"), "{head} {theirs}");
}

/// Bodies that break `schema`, each in one property.
fn broken(document: &Value, schema: &Value) -> Vec<Value> {
    let schema = resolved(document, schema);
    let mut all = Vec::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let property = resolved(document, property);
        let mut wrong = broken(document, &property);
        wrong.push(json!(["neither", { "this": 1 }]));
        wrong.extend(property["minimum"].as_i64().map(|least| json!(least - 1)));
        wrong.extend(property["maximum"].as_i64().map(|most| json!(most + 1)));
        wrong.extend(
            property["maxLength"].as_u64().map(|most| json!("x".repeat(usize::try_from(most).unwrap() + 1))),
        );
        wrong.extend(property["pattern"].as_str().map(|_| json!(" \u{1}*")));
        all.extend(wrong.into_iter().map(|value| json!({ name: value })));
    }
    all
}

/// `schema` without references, and without the `null` of what may be left out.
fn resolved(document: &Value, schema: &Value) -> Value {
    let some = schema["oneOf"].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null"));
    let schema = some.unwrap_or(schema);
    match schema["$ref"].as_str() {
        Some(name) => document.pointer(name.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    }
}

/// `schemathesis` (from `PyPI`) against the running platform with every check it has: no 500, no undocumented answer.
#[test]
fn schemathesis_finds_nothing() {
    let platform = Platform::start(&[]);
    platform.manifest(2, "");
    platform.good(&["apply", "--yes"]);
    platform.good(&["machine", "create", "db-1", "--image", "web", "--network", "backend"]);
    crate::vault::set(&platform, "db-password", b"one that may go");
    let status = platform.json(&["status"]);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let output = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/schemathesis"))
        .arg(status["url"].as_str().unwrap())
        .arg(platform.home.path().join("token"))
        .arg(folder)
        .output()
        .unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let end: String = told.chars().take(20_000).collect();
    assert!(output.status.success(), "{end}\n{errors}\n{}", platform.log());
    assert!(!platform.log().contains("ERROR"), "{}", platform.log());
    assert_eq!(platform.json(&["status"])["status"], "ok");
}
