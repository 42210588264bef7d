//! Pebble, the test authority of Let's Encrypt: the host's own, or one that has renewal windows.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hafen_db::testing;
use hafen_edge::AcmeConfig;
use serde_json::{Value, json};

use crate::support::{Options, Service};

/// An authority, and the names that it resolves; both end with this value.
pub struct Pebble {
    /// Its programs; empty for those of the host.
    programs: PathBuf,
    refuses: u32,
    authority: Option<Child>,
    resolver: Option<Child>,
    pub folder: tempfile::TempDir,
    pub directory: String,
    api: u16,
    dns: u16,
    pub names: u16,
    pub http: u16,
    pub https: u16,
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _gone = child.kill();
        let _ended = child.wait();
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        end(&mut self.authority);
        end(&mut self.resolver);
    }
}

/// Free just now; taken a moment later by who is told it.
fn free() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub fn answers(port: u16) -> bool {
    std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_ok()
}

/// A pebble that has renewal windows, fetched by the first who asks.
fn newer() -> PathBuf {
    let cache = match std::env::var_os("HAFEN_CACHE") {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => Path::new(env!("CARGO_TARGET_TMPDIR")).join("hafen-cache"),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/pebble");
    let output = Command::new(script).arg(cache).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().into()
}

impl Pebble {
    /// The host's own, which may be without renewal windows.
    pub async fn start(refuses: u32) -> Self {
        Self::start_of(PathBuf::new(), refuses).await
    }

    /// One that has renewal windows: of 48 hours, two thirds into the years that its certificates last.
    pub async fn start_with_windows() -> Self {
        Self::start_of(newer(), 0).await
    }

    async fn start_of(programs: PathBuf, refuses: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [api, manage, dns, names, http, https] = std::array::from_fn(|_| free());
        let key = rcgen::KeyPair::generate().unwrap();
        let params =
            rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        std::fs::write(folder.path().join("cert.pem"), certificate).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{api}"), "managementListenAddress": format!("127.0.0.1:{manage}"),
            "certificate": folder.path().join("cert.pem"), "privateKey": folder.path().join("key.pem"),
            "httpPort": http, "tlsPort": https, "ocspResponderURL": "", "externalAccountBindingRequired": false,
            "certificateValidityPeriod": 5 * 365 * 24 * 3600,
        } });
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let directory = format!("https://127.0.0.1:{api}/dir");
        let (authority, resolver) = (None, None);
        let mut pebble =
            Self { programs, refuses, authority, resolver, folder, directory, api, dns, names, http, https };
        // Options came and went: of DNS over HTTPS, which takes a port of its own unless told not to, and of the name of DNS itself.
        let help = pebble.command("pebble-challtestsrv").arg("-h").stderr(Stdio::piped()).output();
        let help = String::from_utf8(help.expect("apt-get install pebble").stderr).unwrap();
        let dns_at = format!("127.0.0.1:{dns}");
        let mut command = pebble.command("pebble-challtestsrv");
        command
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", ""])
            .args([if help.contains("-dns01 ") { "-dns01" } else { "-dnsserver" }, &dns_at])
            .args(["-tlsalpn01", "", "-management", &format!("127.0.0.1:{names}")])
            .args(if help.contains("-doh ") { vec!["-doh", ""] } else { vec![] });
        pebble.resolver = Some(command.spawn().expect("apt-get install pebble"));
        pebble.answers(names).await;
        pebble.again().await;
        pebble
    }

    fn command(&self, program: &str) -> Command {
        let log = || {
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap()
        };
        let mut command = Command::new(self.programs.join(program));
        command.stdin(Stdio::null()).stdout(log()).stderr(log());
        command
    }

    async fn answers(&self, port: u16) {
        let began = Instant::now();
        while !answers(port) {
            assert!(began.elapsed() < Duration::from_secs(20), "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the authority. Its memory is all that it has.
    pub fn stop(&mut self) {
        end(&mut self.authority);
    }

    /// Starts it: with another key, and nothing of what it knew before.
    pub async fn again(&mut self) {
        let mut command = self.command("pebble");
        command
            .args(["-strict", "-dnsserver", &format!("127.0.0.1:{}", self.dns), "-config"])
            .arg(self.folder.path().join("config.json"))
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", self.refuses.to_string());
        self.authority = Some(command.spawn().expect("apt-get install pebble"));
        self.answers(self.api).await;
    }

    pub fn config(&self) -> AcmeConfig {
        AcmeConfig {
            directory: self.directory.clone(),
            contact: Some("admin@example.org".into()),
            roots: Some(self.folder.path().join("cert.pem")),
            dns_hook: None,
            tls_alpn: false,
        }
    }

    pub async fn service(&self, db: &testing::TestDb, acme: AcmeConfig) -> Service {
        let options = Options { acme: Some(acme), ..Options::new(&db.location) };
        options.open_at([self.http, self.https]).await
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits for words in its log, some of which it writes after it answered.
    pub async fn says(&self, words: &str) {
        let began = Instant::now();
        while !self.log().contains(words) {
            assert!(began.elapsed() < Duration::from_secs(20), "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it by curl; what came, head and body, and whether it is no error.
    pub async fn curl(&self, arguments: &[&str]) -> (bool, String) {
        let output = tokio::process::Command::new("curl")
            .args(["-sSi", "--fail-with-body", "--cacert"])
            .arg(self.folder.path().join("cert.pem"))
            .args(arguments)
            .output()
            .await
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A URL of its directory.
    pub async fn url(&self, name: &str) -> String {
        let (_, answer) = self.curl(&[&self.directory]).await;
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let directory: Value = serde_json::from_str(body).unwrap();
        directory[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned()
    }
}
