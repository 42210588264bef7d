//! A shell in the browser, by a WebSocket client that this project did not write.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::console::{Browser, url};
use crate::http::{send, token};
use crate::platform::{Platform, until};
use crate::roles::World;

/// For a machine that is emulated on a busy host. A terminal is pinged for as long as it is open, so that reads alone never time out.
const PATIENCE: Duration = Duration::from_secs(120);

/// A terminal in a browser.
pub struct Terminal {
    socket: WebSocket<TcpStream>,
    shown: String,
}

fn path(machine: &str) -> String {
    format!("/api/v1/projects/hello/machines/{machine}/shell")
}

impl Terminal {
    /// Or the problem that it is answered with.
    pub fn open(platform: &Platform, path: &str, headers: &[(&str, &str)]) -> Result<Self, Value> {
        let address = url(platform).trim_start_matches("http://").to_owned();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        match tokio_tungstenite::tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self { socket, shown: String::new() }),
            Err(tokio_tungstenite::tungstenite::HandshakeError::Failure(Error::Http(answer))) => {
                Err(serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap())
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn as_bearer(platform: &Platform, bearer: &str, machine: &str) -> Result<Self, Value> {
        Self::open(platform, &path(machine), &[("authorization", bearer)])
    }

    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::Binary(text.to_owned().into())).unwrap();
    }

    pub fn text(&mut self, text: &str) {
        self.socket.send(Message::Text(text.to_owned().into())).unwrap();
    }

    /// Reads until it shows this, and forgets what was before.
    pub fn shows(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "it never showed {wanted:?}: {:?}", self.shown);
            if let Some(at) = self.shown.find(wanted) {
                self.shown.drain(..at + wanted.len());
                return;
            }
            match self.socket.read().unwrap_or_else(|error| panic!("{error}: {}", self.shown)) {
                Message::Binary(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Message::Close(frame) => {
                    panic!("it closed ({frame:?}) before it showed {wanted:?}: {}", self.shown)
                }
                _ => {}
            }
        }
    }

    /// Reads until it is closed: the code, and the reason.
    pub fn closed(mut self) -> (u16, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "it was never closed");
            match self.socket.read().unwrap() {
                Message::Close(Some(frame)) => return (frame.code.into(), frame.reason.as_str().to_owned()),
                Message::Close(None) => return (1005, String::new()),
                _ => {}
            }
        }
    }

    fn ends_as_revoked(self, since: Instant) {
        assert_eq!(self.closed(), (1008, "revoked".to_owned()));
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    }
}

fn sessions(platform: &Platform) -> Vec<Value> {
    platform.json(&["access", "sessions"])["items"].as_array().unwrap().clone()
}

fn newest(platform: &Platform) -> Value {
    sessions(platform).swap_remove(0)
}

fn ledger(platform: &Platform) -> String {
    platform.json(&["ledger", "list", "--limit", "0"]).to_string()
}

#[test]
fn a_shell_is_a_session_of_its_person() {
    let world = World::new();
    let platform = &world.platform;
    let operator = token(platform);
    let mut terminal = Terminal::open(
        platform,
        &format!("{}?columns=100&rows=30", path("web-1")),
        &[("authorization", &operator), ("user-agent", "Mozilla/5.0 (a test)")],
    )
    .unwrap();
    terminal.shows("$ ");
    terminal.send("stty size\r");
    terminal.shows("30 100\r\n");
    terminal.text("{\"columns\":120,\"rows\":40}");
    terminal.send("stty size\r");
    terminal.shows("40 120\r\n");
    let open = newest(platform);
    assert_eq!(
        (&open["host"], &open["port"], &open["end_reason"], &open["client"]),
        (&json!("web-1.hello.hafen"), &json!(22), &json!(""), &json!("shell by Mozilla/5.0 (a test)"))
    );
    terminal.send("exit 3\r");
    assert_eq!(terminal.closed(), (1000, "exit 3".to_owned()));
    let over = until("its end is written down", || {
        Some(newest(platform)).filter(|session| !session["ended_at"].is_null())
    });
    assert_eq!(
        (&over["id"], &over["end_reason"], &over["sent"]),
        (&open["id"], &json!("target"), &json!(27))
    );
    assert!(over["received"].as_i64().unwrap() > 50, "{over}");

    // Problems are told before there is a connection.
    platform.good(&["machine", "stop", "web-1"]);
    for (to, token, status, code) in [
        (path("web-9"), &operator, 404, "not_found"),
        (path("web-1"), &operator, 409, "not_started"),
        (format!("{}?columns=0", path("web-1")), &operator, 400, "invalid"),
        (path("web-1"), &"Bearer x".to_owned(), 401, "unauthenticated"),
    ] {
        let told = Terminal::open(platform, &to, &[("authorization", token)]).err().unwrap();
        assert_eq!((&told["status"], &told["code"]), (&json!(status), &json!(code)), "{told}");
    }
    let (head, body) = send(platform, "GET", &path("web-1"), Some(&operator));
    assert!(head.starts_with("HTTP/1.1 400") && body.contains("WebSocket"), "{head} {body}");
    platform.good(&["machine", "start", "web-1"]);

    // What is neither bytes nor a size.
    for text in ["exit", "{\"columns\":0,\"rows\":24}", "{\"columns\":80}"] {
        let mut terminal = Terminal::as_bearer(platform, &operator, "web-1").unwrap();
        terminal.text(text);
        assert_eq!(terminal.closed().0, 1007, "{text}");
    }

    // A role that is taken closes it, and so does the end of the token.
    let viewer = world.account("viewer", "project/hello", "viewer", &json!({}));
    assert_eq!(Terminal::as_bearer(platform, &viewer, "web-1").err().unwrap()["status"], 403);
    let developer = world.account("developer", "project/hello", "developer", &json!({}));
    let mut terminal = Terminal::as_bearer(platform, &developer, "web-1").unwrap();
    terminal.shows("$ ");
    let who = newest(platform)["person"].as_str().unwrap().to_owned();
    let held = world.make("GET", &format!("/memberships?subject={who}"), &json!({}));
    let membership = held["items"][0]["id"].as_str().unwrap();
    let taken = Instant::now();
    let (head, _) = send(platform, "DELETE", &format!("/api/v1/memberships/{membership}"), Some(&operator));
    assert!(head.starts_with("HTTP/1.1 20"), "{head}");
    terminal.ends_as_revoked(taken);
}

#[test]
fn a_shell_ends_with_its_certificate_and_with_the_session_of_the_browser() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let browser = Browser::new(&platform, "browser");
    browser.first_owner();
    let cookie = browser.cookie().unwrap();
    let cookie = cookie.strip_prefix("Cookie: ").unwrap();
    let here = url(&platform);
    let foreign = [("cookie", cookie), ("origin", "https://evil.example")];
    assert_eq!(Terminal::open(&platform, &path("web-1"), &foreign).err().unwrap()["status"], 401);
    let own = [("cookie", cookie), ("origin", here.as_str())];
    let mut terminal = Terminal::open(&platform, &path("web-1"), &own).unwrap();
    terminal.shows("$ ");
    let session = newest(&platform);
    assert_eq!((&session["name"], &session["key_id"]), (&json!("Olga"), &session["person"]), "{session}");
    let revoked = Instant::now();
    let serial = session["serial"].as_str().unwrap();
    platform.good(&["access", "revoke", "--serial", serial, "--reason", "a test"]);
    terminal.ends_as_revoked(revoked);
    until("it is written down", || (newest(&platform)["end_reason"] == "revoked").then_some(()));
    for wanted in ["access.certificate_issued", "access.session_opened", "access.session_closed", serial] {
        // The ledger follows a moment later.
        until(wanted, || ledger(&platform).contains(wanted).then_some(()));
    }

    // Its owner signs out in another tab.
    let mut terminal = Terminal::open(&platform, &path("web-1"), &own).unwrap();
    terminal.shows("$ ");
    let out = Instant::now();
    browser.sign_out();
    terminal.ends_as_revoked(out);
}

#[test]
fn a_shell_ends_with_the_platform_and_is_known_to_have() {
    let mut platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let operator = token(&platform);
    let mut terminal = Terminal::as_bearer(&platform, &operator, "web-1").unwrap();
    terminal.shows("$ ");
    platform.terminate();
    assert_eq!(terminal.closed(), (1001, "stopping".to_owned()));
    platform.restart();
    assert_eq!(newest(&platform)["end_reason"], "stopping");

    // Killed, it says nothing; its next start knows.
    let mut terminal = Terminal::as_bearer(&platform, &operator, "web-1").unwrap();
    terminal.shows("$ ");
    platform.kill();
    assert!(terminal.socket.read().is_err());
    platform.restart();
    let lost = newest(&platform);
    assert_eq!((&lost["end_reason"], lost["ended_at"].is_null()), (&json!("lost"), false), "{lost}");
    let mut terminal = Terminal::as_bearer(&platform, &operator, "web-1").unwrap();
    terminal.shows("$ ");
}

/// With a real machine, which has one already.
pub fn on_a_machine(platform: &Platform) {
    let operator = token(platform);
    let wide = format!("{}?columns=132&rows=43", path("web-1"));
    let mut terminal = Terminal::open(platform, &wide, &[("authorization", &operator)]).unwrap();
    // What is typed is shown as well: only its outcome has the sum.
    terminal.send("echo sum=$((6*7)) $TERM $(id -un)\r");
    terminal.shows("sum=42 xterm-256color hafen\r\n");
    terminal.send("stty size\r");
    terminal.shows("43 132\r\n");
    terminal.text("{\"columns\":77,\"rows\":22}");
    terminal.send("stty size\r");
    terminal.shows("22 77\r\n");
    let open = newest(platform);
    let (serial, key_id) = (open["serial"].as_str().unwrap(), open["key_id"].as_str().unwrap());
    // The machine's own log names the person and the certificate.
    let count =
        format!("echo count=$(sudo journalctl --no-pager | grep -c 'ID {key_id} (serial {serial})')\r");
    terminal.send(&count);
    terminal.shows("count=1\r\n");
    // Interrupts reach what runs there.
    terminal.send("sh -c 'echo is-$((1+0))-there; exec sleep 600'\r");
    terminal.shows("is-1-there\r\n");
    terminal.send("\x03");
    terminal.send("exit 7\r");
    assert_eq!(terminal.closed(), (1000, "exit 7".to_owned()));
    let mut terminal = Terminal::open(platform, &path("web-1"), &[("authorization", &operator)]).unwrap();
    terminal.send("echo $((6*7))\r");
    terminal.shows("42\r\n");
    let serial = newest(platform)["serial"].as_str().unwrap().to_owned();
    let revoked = Instant::now();
    platform.good(&["access", "revoke", "--serial", &serial, "--reason", "a test"]);
    terminal.ends_as_revoked(revoked);
}
