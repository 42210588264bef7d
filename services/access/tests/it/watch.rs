//! Machines are watched: the service against a real OpenSSH server. What stands in for the rest of a machine is the script,
//! whose place a file takes; the script itself runs in the whole-product test on a real machine.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use hafen_access::{Access, AccessConfig, WatchConfig};
use hafen_base::{Clock as _, Result, SystemClock, SystemRandom};
use hafen_client::{ByteStream, Client, Token, Transport};
use hafen_sshca::{CHECK_COMMAND, CHECK_USER, HostKey, SshCa};
use hafen_work::Health;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::{Service, alice};

/// The one machine there is, as the machines service tells of it.
struct Inventory {
    machine: Mutex<Value>,
    address: Mutex<SocketAddr>,
}

#[async_trait]
impl Transport for Inventory {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let machine = self.machine.lock().unwrap().clone();
        let amounts = json!({ "machines": 1, "cpus": 1, "memory": 1, "disk": 1 });
        let answer = match request.uri().path() {
            "/api/v1/projects" => json!({ "items": [{ "name": "hello", "quota": amounts, "usage": amounts,
                "generation": 1, "created_at": "2026-01-01T00:00:00Z" }], "next_page": null }),
            "/api/v1/projects/hello/machines" => json!({ "items": [machine], "next_page": null }),
            _ => machine,
        };
        Ok(Response::new(Body::from(answer.to_string())))
    }

    async fn stream(&self, path: &str, _token: &Token) -> Result<ByteStream> {
        assert_eq!(path, "/api/v1/projects/hello/machines/web-1/dial?port=22");
        let address = *self.address.lock().unwrap();
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let (sender, mut to_write) = mpsc::channel::<Bytes>(8);
        let (read, receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Some(bytes) = to_write.recv().await {
                if writer.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            let mut buffer = vec![0; 8192];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                if read.send(Bytes::copy_from_slice(&buffer[..count])).await.is_err() {
                    break;
                }
            }
        });
        Ok(ByteStream { sender, receiver })
    }
}

/// An OpenSSH server in its own folder.
struct Sshd {
    folder: tempfile::TempDir,
    child: Child,
    address: SocketAddr,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Sshd {
    /// As a machine of this authority, for the user that reports.
    fn start(ca: &SshCa, key: &HostKey) -> Self {
        if !Command::new("id").arg(CHECK_USER).output().unwrap().status.success() {
            let made = Command::new("useradd")
                .args([
                    "--system",
                    "--no-create-home",
                    "--home-dir",
                    "/",
                    "--shell",
                    "/bin/sh",
                    "--password",
                    "*",
                ])
                .arg(CHECK_USER)
                .status();
            assert!(made.unwrap().success(), "useradd {CHECK_USER}: run the tests as root");
        }
        let folder = tempfile::Builder::new().prefix("hafen-watch-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.display().to_string()
        };
        let names = ["web-1.hello.internal".to_owned(), "web-1.hello.hafen".to_owned()];
        let certificate = ca.sign_host(&key.public_key, &names, SystemClock.now(), &SystemRandom).unwrap();
        let principals = format!("restrict,command=\"{CHECK_COMMAND}\" {CHECK_USER}\n");
        let report = folder.path().join("report");
        // What `sudo -n SCRIPT` is here.
        let sudo = format!(
            "#!/bin/sh\n[ \"$*\" = '-n /usr/lib/hafen/report' ] || exit 9\nexec cat {}\n",
            report.display()
        );
        write("sudo", &sudo, 0o755);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nHostCertificate {}\nTrustedUserCAKeys {}\n\
             AuthorizedPrincipalsFile {}\nAuthorizedKeysFile none\nPidFile none\nStrictModes no\nUsePAM no\nLogLevel VERBOSE\n\
             SetEnv PATH={}:/usr/bin:/bin\n",
            write("key", &key.private_key, 0o600),
            write("key-cert.pub", &format!("{certificate}\n"), 0o644),
            write("ca.pub", &format!("{}\n", ca.user_public().unwrap()), 0o644),
            write("principals", &principals, 0o644),
            folder.path().display(),
        );
        let config = write("config", &text, 0o644);
        std::fs::create_dir_all("/run/sshd").unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("apt-get install openssh-server: {error}"));
        let sshd = Self { folder, child, address };
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "{}", sshd.log());
        }
        sshd
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// What the machine says from now on.
    fn says(&self, report: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, report).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::rename(new, self.folder.path().join("report")).unwrap();
    }
}

/// A report of a machine as the platform sets it up; `more` are records after it.
fn report(ca: &SshCa, more: &str) -> String {
    let config = hafen_access::watch::plan::SSHD.join("\n");
    let hash = |text: &str| {
        let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut sum.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let output = sum.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    let files = [
        ("hafen_user_ca.pub", format!("{}\n", ca.user_public().unwrap())),
        ("hafen_principals/hafen", "restrict,pty project-hello\n".to_owned()),
        ("hafen_principals/hafen-check", format!("restrict,command=\"{CHECK_COMMAND}\" {CHECK_USER}\n")),
    ];
    let mut text = format!("hafen-report 1\0config root\n{config}\n\0config hafen\n{config}\n\0");
    for (name, contents) in files {
        let _ =
            write!(text, "file ssh\tf\t644\t0\t0\t\t/etc/ssh/{name}\0{}  /etc/ssh/{name}\0", hash(&contents));
    }
    format!("{text}{more}end\0")
}

const PATH: &str = "/api/v1/projects/hello/machines/web-1/integrity";

impl Service {
    async fn integrity(&self) -> Value {
        let (status, body) = self.call(alice(), "GET", PATH, Value::Null).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Has it checked, and gives what is known then.
    async fn checked(&self) -> Value {
        let (status, before) = self.call(alice(), "POST", &format!("{PATH}/check"), Value::Null).await;
        assert_eq!(status, 202, "{before}");
        self.until("it is checked", |now| now["tried_at"] != before["tried_at"]).await
    }

    async fn until(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = self.integrity().await;
            if good(&now) {
                return now;
            }
            assert!(Instant::now() < deadline, "{what}: {now}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn count(&self, kind: &str) -> usize {
        self.events().await.iter().filter(|event| event["kind"] == kind).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_on_a_machine_is_told() {
    let db = hafen_db::testing::sqlite();
    let ca = Arc::new(SshCa::in_memory(&SystemRandom));
    let key = HostKey::generate(&SystemRandom).unwrap();
    let sshd = Sshd::start(&ca, &key);
    sshd.says(&report(&ca, ""));
    let machine = json!({
        "id": "m-01kawjs4mgfdrdn1xcsp7ttz5d", "instance_id": "i-01kawjs4mgfdrdn1xcsp7ttz5d", "project": "hello", "name": "web-1",
        "group": null, "metadata": {}, "health": null, "cordoned": false, "state": "started", "wanted_state": "started",
        "spec": { "image": "web", "cpus": 1, "memory": 1, "disk": 1, "network": "backend" }, "healthy": true,
        "address": null, "mac": null, "boot_id": "b", "ssh_host_key": key.fingerprint, "image_digest": null, "restarts": 0,
        "operation": null, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "generation": 1,
        "observed_generation": 1,
    });
    let inventory = Arc::new(Inventory { machine: Mutex::new(machine), address: Mutex::new(sshd.address) });
    let roles = Arc::new(crate::Roles::default());
    let access = Access::open(AccessConfig {
        location: db.location.clone(),
        rights: Arc::clone(&roles) as Arc<dyn hafen_access::Rights>,
        platform: Client::new(inventory.clone(), Token::new("t")),
        ca: ca.clone(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        health: Health::default(),
        bastion_address: None,
        keep_sessions: Duration::from_secs(1),
        watch: Some(WatchConfig { every: Duration::from_secs(3) }),
    })
    .await
    .unwrap();
    let clock = hafen_base::SteppedClock::new();
    let service = Service { access: access.clone(), roles, clock, public_key: String::new(), _db: db };
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(async move { access.run(stopped).await });

    // By itself, soon after it is there.
    let first = service.until("it is checked", |now| now["state"] != "waiting").await;
    assert_eq!((&first["state"], &first["findings"]), (&json!("ok"), &json!([])), "{first}{}", sshd.log());
    assert_eq!(
        (service.count("access.baseline_taken").await, service.count("alert.machine_changed").await),
        (1, 0)
    );

    // A key that survives: an alert, once, until it is gone or accepted.
    let key_file = "file key\tf\t600\t0\t0\t\t/root/.ssh/authorized_keys2\0";
    sshd.says(&report(&ca, key_file));
    let changed = service.checked().await;
    assert_eq!(changed["state"], "changed", "{changed}");
    assert_eq!(changed["findings"][0]["subject"], "/root/.ssh/authorized_keys2");
    service.checked().await;
    let events = service.events().await;
    let alerts: Vec<&Value> =
        events.iter().filter(|event| event["kind"] == "alert.machine_changed").collect();
    assert_eq!(alerts.len(), 1, "{events:?}");
    assert_eq!((&alerts[0]["project"], &alerts[0]["object"]), (&json!("hello"), &json!("machine/web-1")));
    assert!(alerts[0]["message"].as_str().unwrap().contains("authorized_keys2"), "{}", alerts[0]);
    let (_, listed) = service.call(alice(), "GET", "/api/v1/access/alerts", Value::Null).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");

    let accept = format!("{PATH}/accept");
    let seen = changed["report"].as_str().unwrap();
    for (body, status) in [
        (json!({ "report": seen }), 400),
        (json!({ "report": seen, "reason": " " }), 400),
        (json!({ "report": "", "reason": "x" }), 400),
        (json!({ "report": "another", "reason": "x" }), 409),
        (json!({ "report": seen, "reason": "x", "more": 1 }), 400),
        (json!({ "report": seen, "reason": "the backup's key" }), 200),
    ] {
        let (got, answer) = service.call(alice(), "POST", &accept, body.clone()).await;
        assert_eq!(got, status, "{body}: {answer}");
    }
    let accepted = service.checked().await;
    assert_eq!((&accepted["state"], &accepted["baseline_by"]), (&json!("ok"), &json!("Alice")), "{accepted}");
    let events = service.events().await;
    let taken = events.iter().find(|event| event["kind"] == "access.baseline_accepted").unwrap();
    assert_eq!(
        (&taken["actor"]["id"], &taken["data"]["reason"]),
        (&json!("u-alice"), &json!("the backup's key"))
    );

    // What cannot be checked is told after some tries, and once.
    sshd.says(&report(&ca, key_file).replace("end\0", ""));
    let unchecked = service.until("it is told", |now| now["state"] == "unchecked").await;
    assert!(unchecked["error"].as_str().unwrap().contains("cut short"), "{unchecked}");
    assert!(unchecked["failures"].as_i64().unwrap() >= 3);
    service.checked().await;
    assert_eq!(service.count("alert.machine_unchecked").await, 1);
    sshd.says(&report(&ca, key_file));
    service.until("it is good again", |now| now["state"] == "ok").await;
    assert_eq!(service.count("access.machine_checked_again").await, 1);

    // Another server in its place, certified for another machine or by somebody else, is not believed.
    let other = SshCa::in_memory(&SystemRandom);
    for (authority, host_key, word) in [
        (&other, key.clone(), "not a good one of the platform's authority"),
        (&ca, HostKey::generate(&SystemRandom).unwrap(), "not the one that it was given"),
    ] {
        let impostor = Sshd::start(authority, &host_key);
        impostor.says(&report(&ca, ""));
        *inventory.address.lock().unwrap() = impostor.address;
        let refused = service.until("it is refused", |now| now["error"].is_string()).await;
        assert!(refused["error"].as_str().unwrap().contains(word), "{refused}");
        *inventory.address.lock().unwrap() = sshd.address;
        service.until("the true one is good", |now| now["error"].is_null()).await;
    }

    // Another disk begins anew.
    inventory.machine.lock().unwrap()["ssh_host_key"] = json!("SHA256:another");
    assert_eq!(service.integrity().await["state"], "waiting");
    stop.send(true).unwrap();
    running.await.unwrap();
}
