//! Against a real `sshd` that plays the machine. What is run there as root for a log is what each test says; `tail -f` ends as
//! `journalctl -f` does, when nothing reads what it writes. For commands it is the script itself, over a systemd that is
//! played: what it starts is no child of whoever asked for it, and goes on without them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hafen_base::SystemClock;
use hafen_client::{HttpTransport, Token};

use super::*;

struct Machine {
    folder: tempfile::TempDir,
    server: Child,
    port: u16,
    user: String,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _status = self.server.wait();
    }
}

fn run(folder: &Path, line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not happen: {what}");
}

impl Machine {
    async fn start(log: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("hafen-ssh-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let user = run(folder.path(), "id -un");
        run(
            folder.path(),
            &format!(
                "for key in ca host user; do ssh-keygen -q -t ed25519 -N '' -f $key; done; \
                 ssh-keygen -q -s ca -h -I host -n web-1.hello.hafen -V -1m:+1h host.pub; \
                 ssh-keygen -q -s ca -I user -n test -V -1m:+1h user.pub; echo test > principals; mkdir bin; \
                 printf '#!/bin/sh\\n{log}\\n' > bin/sudo; chmod 755 bin/*"
            ),
        );
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.path().display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nHostCertificate {at}/host-cert.pub\n\
             TrustedUserCAKeys {at}/ca.pub\nAuthorizedPrincipalsFile {at}/principals\nPidFile none\nStrictModes no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nSetEnv PATH={at}/bin:/usr/bin:/bin HOME={at}\nMaxStartups 200\n"
        );
        std::fs::write(folder.path().join("config"), config).unwrap();
        if user == "root" {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(folder.path().join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("apt-get install openssh-server");
        until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;
        Self { folder, server, port, user }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// The unit of a command, while it runs.
    fn unit(&self) -> Option<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap().flatten();
        let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.find(|name| {
            name.strip_prefix("exec-shop.d1-0.").is_some_and(|rest| rest.strip_suffix(".pid").is_some())
        })
    }

    fn ssh(self: &Arc<Self>) -> Ssh {
        let nowhere = HttpTransport::new("http://127.0.0.1:1").unwrap();
        let platform = Client::new(Arc::new(nowhere), Token::new("none"));
        Ssh::through(Arc::clone(self) as Arc<dyn Door>, platform, Arc::new(SystemClock))
    }
}

#[async_trait]
impl Door for Machine {
    async fn open(&self, _at: At<'_>) -> Result<Session> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let host = run(self.folder.path(), "ssh-keygen -l -f host.pub");
        let login = Login {
            host_authority: PublicKey::from_openssh(&self.text("ca.pub")).unwrap().key_data().clone(),
            host: "web-1.hello.hafen".into(),
            host_key: host.split_whitespace().nth(1).unwrap().into(),
            user: self.user.clone(),
            key: PrivateKey::from_openssh(self.text("user")).unwrap(),
            certificate: Certificate::from_openssh(&self.text("user-cert.pub")).unwrap(),
            now: SystemClock.now(),
        };
        Session::open(Box::new(stream), login).await
    }
}

const AT: At<'static> = At { project: "hello", machine: "web-1" };

fn follow() -> Lines<'static> {
    Lines { process: None, count: 10, follow: true }
}

/// Takes the first piece, and then nothing more for ever.
struct Stalled(tokio::sync::mpsc::Sender<Vec<u8>>);

#[async_trait]
impl Sink for Stalled {
    async fn out(&mut self, bytes: &[u8]) -> Result<()> {
        if self.0.try_send(bytes.to_vec()).is_err() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn err(&mut self, bytes: &[u8]) -> Result<()> {
        self.out(bytes).await
    }
}

#[tokio::test]
async fn who_does_not_read_a_log_holds_nobody_up() {
    let machine = Arc::new(Machine::start("exec yes a line of a log that never ends").await);
    let ssh = Arc::new(machine.ssh());
    let (sender, mut heard) = tokio::sync::mpsc::channel(1);
    let stalled = Arc::clone(&ssh);
    let following = tokio::spawn(async move {
        let mut sink = Stalled(sender);
        let _cut = stalled.lines(AT, "shop", follow(), &mut sink).await;
    });
    assert!(heard.recv().await.unwrap().starts_with(b"a line"));
    // More of it than is on its way between two programs: what reads nothing holds all of it.
    for round in 0..20 {
        let mut said = Collected::up_to(1 << 20);
        let work = ssh.run(AT, "head -c 100000 /dev/zero; echo done", None, &mut said, CALL);
        let ended = tokio::time::timeout(Duration::from_secs(20), work).await;
        assert!(ended.expect("a command goes through beside it").unwrap().is_success(), "{round}");
        assert_eq!(said.out.len(), 100_005);
    }
    following.abort();
}

#[tokio::test]
async fn what_is_followed_ends_when_nobody_follows_it_any_more() {
    let machine = Arc::new(Machine::start("echo $$; exec tail -f /dev/null").await);
    let ssh = Arc::new(machine.ssh());
    // The connection that all share stands beside it, as it does on a machine that is looked at.
    let mut said = Collected::up_to(100);
    assert!(ssh.run(AT, "echo here", None, &mut said, CALL).await.unwrap().is_success());
    let (sender, mut heard) = tokio::sync::mpsc::channel(1);
    let following = tokio::spawn({
        let ssh = Arc::clone(&ssh);
        async move {
            let mut sink = Stalled(sender);
            let _cut = ssh.lines(AT, "shop", follow(), &mut sink).await;
        }
    });
    let pid = String::from_utf8(heard.recv().await.unwrap()).unwrap().trim().to_owned();
    let running = || Path::new("/proc").join(&pid).exists();
    until("it follows", || running().then_some(())).await;
    following.abort();
    until("it ends on the machine", || (!running()).then_some(())).await;
    // The shared one is the same as before.
    let mut said = Collected::up_to(100);
    assert!(ssh.run(AT, "echo there", None, &mut said, CALL).await.unwrap().is_success());
    assert_eq!(machine.text("log").matches("Accepted publickey").count(), 2);
}

#[tokio::test]
async fn places_for_those_who_watch_are_bounded() {
    let machine = Arc::new(Machine::start("echo a line").await);
    let ssh = machine.ssh();
    let mut places: Vec<_> = (0..WATCHERS).map(|_| ssh.place(AT).unwrap()).collect();
    let mut said = Collected::up_to(1000);
    let error = ssh.lines(AT, "shop", follow(), &mut said).await.unwrap_err();
    assert!(error.to_string().contains("already: end some"), "{error}");
    places.pop();
    ssh.lines(AT, "shop", follow(), &mut said).await.unwrap();
    assert_eq!(said.out, b"a line\n");
}

/// Runs the script, with its paths in the folder of the test, where a systemd is played.
const SCRIPTED: &str = r#"at=${0%/bin/sudo}; script=$(printf %s "$4" | sed "s|^export PATH=|&$at/bin:|; s|^units=.*|units=$at|"); shift 4
exec sh -c "$script" "$@""#;
/// Tells how it was called, and starts the last of its words, once nothing holds it up. The unit is a session of its own.
const SYSTEMD_RUN: &str = r#"at=${0%/bin/*}; printf '%s\n' "$@" >> "$at/asked"
for word; do case $word in --unit=*) unit=${word#*=} ;; esac; done
while [ -e "$at/slow" ]; do sleep 0.1; done
setsid -w sh -c 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sh -c "$1"' "$at/$unit.pid" "$word"; ended=$?
rm -f "$at/$unit.pid"; exit $ended"#;
/// Ends the unit, if it was loaded.
const SYSTEMCTL: &str = r#"at=${0%/bin/*}; echo "$*" >> "$at/stopped"; [ -e "$at/$2.pid" ] || exit 5; kill -- "-$(cat "$at/$2.pid")" && rm -f "$at/$2.pid""#;

/// A machine with one process, `d1-0` of `shop`.
async fn with_a_process() -> Machine {
    let machine = Machine::start("").await;
    for (name, text) in [("sudo", SCRIPTED), ("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)] {
        let path = machine.folder.path().join("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let unit = "[Unit]\nDescription=App shop\n[Service]\nType=exec\nRestart=always\nTimeoutStopSec=15\nDynamicUser=yes\n";
    std::fs::write(machine.folder.path().join("app-shop.d1-0.service"), unit).unwrap();
    machine
}

/// Processes whose command line has this in it; so have those of the script that was asked for it.
fn processes(mark: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let named = all.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line)
            .contains(mark)
            .then(|| entry.file_name().to_string_lossy().into_owned())
    });
    named.collect()
}

/// What somebody runs on a machine, and how it ended.
fn running(ssh: &Arc<Ssh>, command: &str) -> tokio::task::JoinHandle<Result<Ended>> {
    let (ssh, command) = (Arc::clone(ssh), command.to_owned());
    tokio::spawn(async move { ssh.exec(AT, "shop", "d1-0", &command, &mut Collected::up_to(1000)).await })
}

#[tokio::test]
async fn a_command_is_told_of_as_it_ended_and_nothing_of_it_stays() {
    let machine = Arc::new(with_a_process().await);
    let ssh = machine.ssh();
    let mut said = Collected::up_to(1000);
    let command = "cat; echo out; echo err >&2; exit 7 # mark-of-one-that-ends";
    let work = ssh.exec(AT, "shop", "d1-0", command, &mut said);
    let ended = tokio::time::timeout(Duration::from_secs(60), work).await.expect("it has no input").unwrap();
    assert_eq!(ended, Ended::Status(7));
    assert_eq!((said.out.as_slice(), said.err.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    until("who watched over it is gone", || processes("mark-of-one-that-ends").is_empty().then_some(()))
        .await;
    let asked = machine.text("asked");
    let lines: Vec<&str> = asked.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("--unit=exec-shop.d1-0.")), "{asked}");
    for wanted in ["RuntimeMaxSec=1800", "TimeoutStopSec=15", "DynamicUser=yes"] {
        assert!(lines.contains(&wanted), "{wanted}: {asked}");
    }
    assert!(!asked.contains("Restart=") && !asked.contains("Type="), "{asked}");
    let error = ssh.exec(AT, "shop", "d9-0", "true", &mut said).await.unwrap();
    assert_eq!(error, Ended::Status(1), "there is no such process");
}

#[tokio::test]
async fn a_command_ends_when_its_caller_leaves() {
    let machine = Arc::new(with_a_process().await);
    let ssh = Arc::new(machine.ssh());
    let mark = "mark-of-one-that-is-left";
    let call = running(&ssh, &format!("exec tail -F {mark}"));
    until("it begins", || machine.unit()).await;
    call.abort();
    until("it ends on the machine", || machine.unit().is_none().then_some(())).await;
    until("nothing of it stays", || processes(mark).is_empty().then_some(())).await;

    // Before it began: it does not begin later.
    std::fs::write(machine.folder.path().join("slow"), "").unwrap();
    std::fs::remove_file(machine.folder.path().join("asked")).unwrap();
    let stopped = machine.text("stopped").lines().count();
    let call = running(&ssh, &format!("exec tail -F {mark}"));
    until("it is asked for", || machine.folder.path().join("asked").exists().then_some(())).await;
    call.abort();
    // Its caller's leaving is noticed while there is no unit to be stopped yet.
    until("it is to be stopped", || (machine.text("stopped").lines().count() > stopped + 1).then_some(()))
        .await;
    std::fs::remove_file(machine.folder.path().join("slow")).unwrap();
    until("nothing of it stays", || processes(mark).is_empty().then_some(())).await;
    assert!(machine.unit().is_none());
}

#[tokio::test]
async fn a_command_ends_when_its_time_is_over() {
    let machine = Arc::new(with_a_process().await);
    let clock = hafen_base::SteppedClock::new();
    let nowhere =
        Client::new(Arc::new(HttpTransport::new("http://127.0.0.1:1").unwrap()), Token::new("none"));
    let ssh = Ssh::through(Arc::clone(&machine) as Arc<dyn Door>, nowhere, Arc::new(clock.clone()));
    let mark = "mark-of-one-that-is-slow";
    let call = running(&Arc::new(ssh), &format!("exec tail -F {mark}"));
    until("it begins", || machine.unit()).await;
    clock.step(COMMAND);
    let error = call.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("within 1800 s"), "{error}");
    until("nothing of it stays", || processes(mark).is_empty().then_some(())).await;
}
