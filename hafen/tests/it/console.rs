//! The console as a browser meets it: sessions in cookies, which count for pages of the platform alone, and the page itself with
//! what it loads. By stock curl.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::token;
use crate::people::{PASSWORD, call, first_owner, totp};
use crate::platform::{Platform, text, until};

const OWN: &str = "Sec-Fetch-Site: same-origin";
const CROSS: &str = "Sec-Fetch-Site: cross-site";
const TYPED: &str = "Sec-Fetch-Site: none";

pub fn url(platform: &Platform) -> String {
    let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
    serde_json::from_str::<Value>(&endpoint).unwrap()["url"].as_str().unwrap().to_owned()
}

/// A browser's jar of cookies.
pub struct Browser<'a> {
    platform: &'a Platform,
    jar: PathBuf,
}

/// Status, headers in lower case, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    fn code(&self) -> String {
        format!("{} {}", self.status, self.json()["code"].as_str().unwrap_or_default())
    }
}

impl<'a> Browser<'a> {
    pub fn new(platform: &'a Platform, name: &str) -> Self {
        Self { platform, jar: platform.home.path().join(name) }
    }

    fn curl(&self, method: &str, path: &str, headers: &[&str], body: Option<&Value>) -> Command {
        let mut command = Command::new("curl");
        command.args(["-sS", "--path-as-is", "-X", method, "-b"]).arg(&self.jar).arg("-c").arg(&self.jar);
        for header in headers {
            command.args(["-H", header]);
        }
        if let Some(body) = body {
            command.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
        }
        command.arg(format!("{}{path}", url(self.platform)));
        command
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str], body: Option<&Value>) -> Answer {
        let mut command = self.curl(method, path, headers, body);
        if method == "HEAD" {
            command.arg("--head");
        }
        let output = command.arg("-i").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let answer = text(&output.stdout);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str, header: &str) -> Answer {
        let headers: &[&str] = if header.is_empty() { &[] } else { &[header] };
        self.ask("GET", path, headers, None)
    }

    fn post(&self, path: &str, header: &str, body: &Value) -> Answer {
        let headers: &[&str] = if header.is_empty() { &[] } else { &[header] };
        self.ask("POST", path, headers, Some(body))
    }

    /// The first owner, signed in here; gives the recovery codes.
    pub fn first_owner(&self) -> Vec<String> {
        let invitation = std::fs::read_to_string(self.platform.home.path().join("invitation")).unwrap();
        let begun =
            call(self.platform, None, "POST", "/invitations/begin", &json!({ "token": invitation.trim() }));
        let body = json!({
            "ceremony": begun["ceremony"], "login": "olga", "name": "Olga", "password": PASSWORD,
            "totp": totp(begun["totp_secret"].as_str().unwrap()),
        });
        let path = "/api/v1/invitations/accept?session=cookie";
        let refused = self.post(path, CROSS, &body);
        assert_eq!((refused.code().as_str(), self.cookie()), ("403 foreign_page", None));
        let accepted = self.post(path, OWN, &body);
        assert_eq!(accepted.status, 201, "{}", accepted.body);
        let session = &accepted.json()["session"];
        assert_eq!(
            (&session["token"], &session["device"]),
            (&json!(""), &json!("")),
            "a script can read this"
        );
        for name in ["hafen_session=hafen_ses_", "hafen_device=hafen_dev_"] {
            let line = accepted.head.lines().find(|line| line.contains(name)).unwrap_or_default();
            assert!(line.contains("; path=/; httponly; samesite=lax"), "{name}: {}", accepted.head);
        }
        let codes = accepted.json()["recovery_codes"].clone();
        codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    }

    pub fn sign_out(&self) {
        let sessions = self.get("/api/v1/sessions", OWN).json();
        let current =
            sessions["items"].as_array().unwrap().iter().find(|one| one["current"] == true).unwrap();
        let path = format!("/api/v1/sessions/{}", current["id"].as_str().unwrap());
        let out = self.ask("DELETE", &path, &[OWN], None);
        assert_eq!(out.status, 204, "{}", out.body);
        let gone = out.head.contains("set-cookie: hafen_session=; ") && out.head.contains("max-age=0");
        assert!(gone, "{}", out.head);
    }

    /// The session's cookie.
    pub fn cookie(&self) -> Option<String> {
        let jar = std::fs::read_to_string(&self.jar).ok()?;
        let line = jar.lines().find(|line| line.contains("\thafen_session\t"))?;
        line.rsplit('\t').next().map(|value| format!("Cookie: hafen_session={value}"))
    }
}

/// Asks for a WebSocket; the connection, and the status it was answered with.
pub fn websocket(platform: &Platform, path: &str, headers: &[&str]) -> (BufReader<TcpStream>, u16) {
    let address = url(platform).trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let headers = headers.iter().fold(String::new(), |all, header| all + header + "\r\n");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (reader, status)
}

#[test]
fn a_session_in_a_cookie_counts_for_the_platforms_own_pages() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let link = platform.good(&["invitation"]);
    let port = url(&platform).rsplit_once(':').unwrap().1.to_owned();
    assert!(link.starts_with(&format!("http://localhost:{port}/invitation#hafen_inv_")), "{link}");
    // Nothing but a session is taken from a cookie.
    let first = format!("Cookie: hafen_session={}", token(&platform).trim_start_matches("Bearer "));
    let browser = Browser::new(&platform, "browser");
    assert_eq!(browser.ask("GET", "/api/v1/whoami", &[OWN, &first], None).status, 401);
    let codes = browser.first_owner();
    assert!(!platform.run(&["invitation"]).status.success(), "there is an owner");

    let who = browser.get("/api/v1/whoami", OWN);
    let told = who.json();
    assert_eq!(who.status, 200, "{}", who.body);
    assert_eq!(
        (&told["kind"], &told["login"], &told["name"]),
        (&json!("person"), &json!("olga"), &json!("Olga"))
    );
    assert_eq!((&told["platform"], &told["organisation_name"]), (&json!(true), &json!("default")));
    let factors = told["factors"].as_array().unwrap();
    assert!(["password", "totp", "recovery_codes"].iter().all(|one| factors.contains(&json!(one))), "{told}");

    let own = format!("Origin: http://localhost:{port}");
    let here = format!("Origin: {}", url(&platform));
    let end = "/api/v1/sessions/end-others";
    for (method, path, header, status) in [
        ("GET", "/api/v1/whoami", TYPED, 200),
        ("GET", "/api/docs", TYPED, 200),
        ("HEAD", "/api/docs", TYPED, 200),
        ("POST", end, TYPED, 401),
        ("POST", end, OWN, 204),
        ("POST", end, own.as_str(), 204),
        ("POST", end, here.as_str(), 204),
        ("POST", end, CROSS, 401),
        ("POST", end, "Sec-Fetch-Site: same-site", 401),
        ("POST", end, "Origin: https://evil.example", 401),
        ("POST", end, "Origin: null", 401),
        ("POST", end, "", 401),
        ("GET", "/api/v1/whoami", CROSS, 401),
        ("GET", "/api/v1/whoami", "Origin: https://evil.example", 401),
        ("GET", "/api/v1/whoami", "", 401),
    ] {
        let headers: &[&str] = if header.is_empty() { &[] } else { &[header] };
        let answer = browser.ask(method, path, headers, None);
        assert_eq!(answer.status, status, "{method} {path} {header}: {}", answer.body);
        if status == 401 {
            assert_eq!(answer.code(), "401 unauthenticated", "no more than to somebody without a cookie");
        }
    }
    // What is shown outright decides.
    assert_eq!(browser.ask("GET", "/api/v1/whoami", &[OWN, "Authorization: Bearer x"], None).status, 401);
    // Who planted a second one gains nothing.
    let two = format!("{}; hafen_session=hafen_ses_x", browser.cookie().unwrap());
    assert_eq!(
        Browser::new(&platform, "no-jar").ask("GET", "/api/v1/whoami", &[OWN, &two], None).status,
        401
    );
    until("a call by cookie is in the ledger", || {
        let calls = platform.json(&["ledger", "list", "--limit", "0"]).to_string();
        (calls.contains(end) && calls.contains("session/ses-")).then_some(())
    });

    // Events, as `EventSource` asks for them.
    let mut events = browser.curl("GET", "/api/v1/events?after=0", &[OWN, "Accept: text/event-stream"], None);
    let mut events = events.arg("-N").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(events.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("id: "), "{line}");
    events.kill().unwrap();
    events.wait().unwrap();

    // A console of a machine: only to a page that says where it is from, and for as long as the session lasts.
    let console = "/api/v1/projects/hello/machines/web-1/console";
    let cookie = browser.cookie().unwrap();
    for foreign in ["Origin: https://evil.example", "Origin: http://localhost:1", OWN, "Accept: */*"] {
        assert_eq!(websocket(&platform, console, &[&cookie, foreign]).1, 401, "{foreign}");
    }
    let (mut open, status) = websocket(&platform, console, &[&cookie, &here]);
    assert_eq!(status, 101);

    // Out: the cookie goes, and opens nothing any more wherever it was copied to.
    let ended = Instant::now();
    browser.sign_out();
    assert_eq!(browser.cookie(), None);
    let old = browser.ask("GET", "/api/v1/whoami", &[OWN, &cookie], None);
    assert_eq!(old.code(), "401 token_revoked");
    let mut rest = Vec::new();
    // However a connection is cut.
    let _cut = open.read_to_end(&mut rest);
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());

    // In again, by password and one of the codes; the device is known by its cookie.
    let password = json!({ "login": "olga", "password": PASSWORD });
    let path = "/api/v1/sign-in/password?session=cookie";
    assert_eq!(browser.post(path, CROSS, &password).code(), "403 foreign_page");
    let step = browser.post(path, OWN, &password).json();
    assert_eq!(step["state"], "second_factor", "{step}");
    let second = json!({ "ceremony": step["ceremony"], "recovery_code": codes[0] });
    let done = browser.post("/api/v1/sign-in/second-factor?session=cookie", OWN, &second);
    assert_eq!((done.status, &done.json()["session"]["token"]), (200, &json!("")), "{}", done.body);
    assert_eq!(browser.get("/api/v1/whoami", OWN).status, 200);
    // The pages of the OpenID provider know the same cookie.
    let known = browser.get("/oauth/device", OWN).body;
    assert!(known.contains("user_code") && !known.contains("password"), "{known}");
    assert_eq!(browser.post("/api/v1/sign-in/password?session=token", OWN, &password).status, 400);
}

#[test]
fn the_page_and_what_it_loads_is_for_anybody() {
    let platform = Platform::start(&[]);
    let browser = Browser::new(&platform, "browser");
    let html = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";
    let page = browser.get("/", html);
    assert_eq!(page.status, 200);
    for line in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
        "x-content-type-options: nosniff",
        "cross-origin-opener-policy: same-origin",
        "permissions-policy: publickey-credentials-get=(self)",
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-",
        "frame-ancestors 'none'",
    ] {
        assert!(page.head.contains(line), "{line}: {}", page.head);
    }
    let again = browser.get("/projects/hello", html);
    assert_eq!(again.status, 200, "the page reads its path itself");
    let policy = |answer: &Answer| {
        answer.head.lines().find(|line| line.starts_with("content-security-policy")).unwrap().to_owned()
    };
    assert_ne!(policy(&page), policy(&again), "a nonce is used once");
    assert!(!page.body.contains("__NONCE__"), "{}", page.body);
    assert_eq!(browser.ask("HEAD", "/", &[], None).status, 200);
    // A program that asks is told as ever.
    assert_eq!(browser.get("/projects/hello", "Accept: application/json").code(), "401 unauthenticated");
    assert_eq!(browser.get("/api/v1/whoami", html).code(), "401 unauthenticated");

    for (method, path, status) in
        [("POST", "/", 405), ("PUT", "/assets/x.js", 405), ("GET", "/assets/x.js", 404)]
    {
        let answer = browser.ask(method, path, &[], None);
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        assert!(
            answer.json()["request_id"].as_str().is_some_and(|id| id.starts_with("r-")),
            "{}",
            answer.body
        );
        assert_eq!(answer.head.contains("allow: get, head"), status == 405, "{}", answer.head);
    }
    let Some(script) = page.body.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()) else {
        assert!(page.body.contains("make console"), "neither a console nor why there is none: {}", page.body);
        assert!(platform.log().contains("no console"), "{}", platform.log());
        return;
    };
    assert!(platform.log().contains("Console at http://localhost:"), "{}", platform.log());
    let file = browser.ask("HEAD", script, &["Accept-Encoding: gzip, br"], None);
    for line in [
        "content-encoding: br",
        "cache-control: public, max-age=31536000, immutable",
        "vary: accept-encoding",
    ] {
        assert!(file.head.contains(line), "{line}: {}", file.head);
    }
    let tag = file.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let known = format!("If-None-Match: {tag}");
    assert_eq!(browser.ask("GET", script, &["Accept-Encoding: br", &known], None).status, 304);
    assert_eq!(browser.get(script, &known).status, 200, "the same, otherwise encoded, is another");
}

#[test]
fn an_owner_by_the_command_line_needs_no_cookie() {
    let platform = Platform::start(&["--public-url", "https://hafen.example.org"]);
    let link = platform.good(&["invitation"]);
    assert!(link.starts_with("https://hafen.example.org/invitation#hafen_inv_"), "{link}");
    let owner = first_owner(&platform);
    let browser = Browser::new(&platform, "browser");
    // Over https the cookie has another name, which no other host of the domain can set.
    let plain = format!("Cookie: hafen_session={}", owner.token);
    let prefixed = format!("Cookie: __Host-hafen_session={}", owner.token);
    assert_eq!(browser.ask("GET", "/api/v1/whoami", &[OWN, &plain], None).status, 401);
    assert_eq!(browser.ask("GET", "/api/v1/whoami", &[OWN, &prefixed], None).status, 200);
    let invited = platform.run(&["invite-owner"]);
    assert!(
        text(&invited.stderr).contains("https://hafen.example.org/invitation#SECRET"),
        "{}",
        text(&invited.stderr)
    );
}
