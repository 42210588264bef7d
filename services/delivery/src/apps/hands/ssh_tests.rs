//! Against a real `sshd` that plays the machine. What is run there as root, which is the script's `logs`, is what each test
//! says; `tail -f` ends as `journalctl -f` does, when nothing reads what it writes.

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
