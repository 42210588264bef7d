//! A bastion, a gate that only the test knows, authorities, and an `sshd` that plays the machine.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hafen_base::{Error, Result, SystemClock};
use hafen_bastion::ssh_key::certificate::{Builder, CertType};
use hafen_bastion::ssh_key::private::Ed25519Keypair;
use hafen_bastion::ssh_key::{Certificate, LineEnding, PrivateKey};
use hafen_bastion::{
    Bastion, BastionConfig, CertificateFacts, Client, Gate, Limits, Person, Reached, Refusal, Revocations,
    SessionRecord,
};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The user of the machine that plays it.
pub const USER: &str = "hafen-ssh-test";
pub const MACHINE: &str = "web-1.hello.hafen";

#[derive(Default)]
pub struct Seen {
    pub open: Vec<SessionRecord>,
    pub over: Vec<SessionRecord>,
    pub refusals: Vec<Refusal>,
}

pub struct TestGate {
    pub inventory: Mutex<HashMap<String, SocketAddr>>,
    pub seen: Mutex<Seen>,
    pub revoked: watch::Sender<Arc<Revocations>>,
    /// Of connections from now on.
    pub lost: Mutex<CancellationToken>,
}

#[async_trait]
impl Gate for TestGate {
    async fn admit(&self, facts: &CertificateFacts, _client: &Client) -> Result<Person> {
        Ok(Person { id: format!("p-{}", facts.user), name: facts.user.clone() })
    }

    async fn target(&self, _person: &Person, _serial: u64, host: &str, port: u16) -> Result<Reached> {
        let address = self.inventory.lock().unwrap().get(host).copied();
        let address = address.filter(|_| port == 22).ok_or_else(|| Error::not_found("such machine"))?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| Error::unavailable("the machine does not answer").with_cause(error))?;
        stream.set_nodelay(true).unwrap();
        Ok(Reached { target: Box::new(stream), lost: self.lost.lock().unwrap().clone() })
    }

    async fn opened(&self, record: &SessionRecord) -> Result<()> {
        self.seen.lock().unwrap().open.push(record.clone());
        Ok(())
    }

    async fn closed(&self, record: &SessionRecord) {
        let mut seen = self.seen.lock().unwrap();
        seen.open.retain(|open| open.number != record.number);
        seen.over.push(record.clone());
    }

    async fn refused(&self, refusal: &Refusal) {
        self.seen.lock().unwrap().refusals.push(refusal.clone());
    }

    fn revocations(&self) -> watch::Receiver<Arc<Revocations>> {
        self.revoked.subscribe()
    }
}

pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub const USER_CA: u8 = 1;
pub const HOST_CA: u8 = 2;
pub const FOREIGN_CA: u8 = 3;
const CLIENT_KEY: u8 = 4;
const BASTION_KEY: u8 = 5;

/// What a certificate shall say.
#[derive(Clone)]
pub struct Wish {
    pub authority: u8,
    pub kind: CertType,
    pub principals: Vec<&'static str>,
    /// Seconds from now.
    pub from: i64,
    pub until: i64,
    pub critical: Vec<(&'static str, &'static str)>,
    pub extensions: Vec<&'static str>,
    pub serial: u64,
}

impl Wish {
    pub fn bastion() -> Self {
        Self {
            authority: USER_CA,
            kind: CertType::User,
            principals: vec!["alice"],
            from: -60,
            until: 600,
            critical: vec![("source-address", "127.0.0.1/32")],
            extensions: vec!["permit-port-forwarding"],
            serial: 7,
        }
    }

    pub fn machine() -> Self {
        Self {
            principals: vec!["role-web"],
            critical: Vec::new(),
            extensions: vec!["permit-pty"],
            serial: 8,
            ..Self::bastion()
        }
    }

    pub fn sign(&self, subject: &PrivateKey) -> Certificate {
        use hafen_base::Clock as _;
        let now = i64::try_from(SystemClock.now().millis() / 1000).unwrap();
        let time = |offset: i64| u64::try_from(now + offset).unwrap();
        let mut builder =
            Builder::new(vec![7; 32], subject.public_key(), time(self.from), time(self.until)).unwrap();
        builder.serial(self.serial).unwrap();
        builder.key_id("alice@hello").unwrap();
        builder.cert_type(self.kind).unwrap();
        for principal in &self.principals {
            builder.valid_principal(*principal).unwrap();
        }
        if self.principals.is_empty() {
            builder.all_principals_valid().unwrap();
        }
        for (name, value) in &self.critical {
            builder.critical_option(*name, *value).unwrap();
        }
        for name in &self.extensions {
            builder.extension(*name, "").unwrap();
        }
        builder.sign(&key(self.authority)).unwrap()
    }
}

pub struct Rig {
    folder: tempfile::TempDir,
    pub gate: Arc<TestGate>,
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: Option<tokio::task::JoinHandle<Result<()>>>,
    pub runtime: Runtime,
    servers: Vec<Child>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(serving) = self.serving.take() {
            let ended =
                self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), serving).await });
            if !std::thread::panicking() {
                ended.expect("the bastion stops").unwrap().unwrap();
            }
        }
        for server in &mut self.servers {
            // It may have ended by itself.
            let _gone = server.kill();
            let _status = server.wait();
        }
    }
}

impl Rig {
    pub fn start() -> Self {
        Self::with(Limits::default(), false)
    }

    pub fn with(limits: Limits, post_quantum_only: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = tempfile::Builder::new().prefix("hafen-bastion-").tempdir().unwrap();
        // The user of the machine looks into it.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let gate = Arc::new(TestGate {
            inventory: Mutex::default(),
            seen: Mutex::default(),
            revoked: watch::Sender::new(Arc::default()),
            lost: Mutex::default(),
        });
        let host = Wish {
            authority: HOST_CA,
            kind: CertType::Host,
            principals: vec!["bastion.hafen"],
            critical: Vec::new(),
            extensions: Vec::new(),
            ..Wish::bastion()
        };
        let config = BastionConfig {
            host_key: key(BASTION_KEY),
            host_certificate: Some(host.sign(&key(BASTION_KEY))),
            authorities: vec![key(USER_CA).public_key().key_data().clone()],
            clock: Arc::new(SystemClock),
            limits,
            git: None,
            post_quantum_only,
        };
        let (stop, stopped) = watch::channel(false);
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Some(runtime.spawn(Bastion::serve(listener, config, gate.clone(), stopped)));
        let rig = Self { folder, gate, address, stop, serving, runtime, servers: Vec::new() };
        rig.write_client();
        rig
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        let mut file = std::fs::File::create(&path).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    }

    fn write_client(&self) {
        let subject = key(CLIENT_KEY);
        self.write("id", &subject.to_openssh(LineEnding::LF).unwrap(), 0o600);
        self.certificates(&Wish::bastion(), &Wish::machine());
        let authority = key(HOST_CA).public_key().to_openssh().unwrap();
        self.write(
            "known_hosts",
            &format!("@cert-authority bastion.hafen,*.hello.hafen {authority}\n"),
            0o600,
        );
        let folder = self.folder.path().display();
        let config = format!(
            "Host bastion\n  HostName 127.0.0.1\n  Port {port}\n  User alice\n  HostKeyAlias bastion.hafen\n  \
             CertificateFile {folder}/bastion-cert.pub\n\
             Host *.hello.hafen *.other.hafen\n  User {USER}\n  ProxyJump bastion\n  CertificateFile {folder}/machine-cert.pub\n\
             Host *\n  IdentityFile {folder}/id\n  IdentitiesOnly yes\n  BatchMode yes\n  StrictHostKeyChecking yes\n  \
             UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  ConnectTimeout 20\n",
            port = self.address.port(),
        );
        self.write("config", &config, 0o600);
    }

    /// Gives the client these two certificates.
    pub fn certificates(&self, bastion: &Wish, machine: &Wish) {
        let subject = key(CLIENT_KEY);
        for (name, wish) in [("bastion-cert.pub", bastion), ("machine-cert.pub", machine)] {
            self.write(name, &format!("{}\n", wish.sign(&subject).to_openssh().unwrap()), 0o600);
        }
    }

    /// Starts the machine and enters it into the inventory under this name.
    pub fn machine(&mut self, name: &str) {
        let address = self.sshd(&format!("sshd-{name}"), Some(name));
        self.gate.inventory.lock().unwrap().insert(name.into(), address);
    }

    /// Starts an `sshd` whose key is certified for `name`, or by nobody.
    pub fn sshd(&mut self, prefix: &str, name: Option<&str>) -> SocketAddr {
        let user = user();
        let port = free_port();
        let subject = PrivateKey::from(Ed25519Keypair::from_seed(&[port.to_le_bytes()[0]; 32]));
        let host_key =
            self.write(&format!("{prefix}.key"), &subject.to_openssh(LineEnding::LF).unwrap(), 0o600);
        let mut lines = reference();
        lines.extend([format!("HostKey {}\n", host_key.display())]);
        if let Some(name) = name {
            let name: &'static str = name.to_owned().leak();
            let wish = Wish {
                authority: HOST_CA,
                kind: CertType::Host,
                principals: vec![name],
                critical: Vec::new(),
                extensions: Vec::new(),
                ..Wish::bastion()
            };
            let line = format!("{}\n", wish.sign(&subject).to_openssh().unwrap());
            let path = self.write(&format!("{prefix}.key-cert.pub"), &line, 0o644);
            lines.extend([format!("HostCertificate {}\n", path.display())]);
        }
        let authority = format!("{}\n", key(USER_CA).public_key().to_openssh().unwrap());
        let authority = self.write(&format!("{prefix}.ca"), &authority, 0o644);
        let principals = self.write(&format!("{prefix}.principals"), "restrict,pty role-web\n", 0o644);
        // Its folders are those of a test, open to others: `StrictModes` would refuse the file of principals.
        lines.extend([format!(
            "Port {port}\nListenAddress 127.0.0.1\nTrustedUserCAKeys {}\nAuthorizedPrincipalsFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nSubsystem sftp internal-sftp\nAllowUsers {user}\nMaxStartups 200\nMaxSessions 200\n",
            authority.display(),
            principals.display(),
        )]);
        let config = self.write(&format!("{prefix}.config"), &lines, 0o644);
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = std::fs::File::create(self.path(&format!("{prefix}.log"))).unwrap();
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("apt-get install openssh-server");
        self.servers.push(server);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until("sshd listens", || std::net::TcpStream::connect(address).ok());
        address
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("sshd-{name}.log"))).unwrap_or_default()
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        // In a session of its own: a client that reaches for the terminal would stop the whole test.
        let mut command = Command::new("setsid");
        command.arg(program).arg("-F").arg(self.path("config")).args(arguments).stdin(Stdio::null());
        command.env_remove("SSH_AUTH_SOCK");
        command
    }

    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program, arguments).output().unwrap()
    }

    pub fn good(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?}: {error}{}", self.log(MACHINE));
        out
    }

    /// Runs, expects failure, gives what it said.
    pub fn bad(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(!output.status.success(), "{program} {arguments:?} went through");
        text(&output.stderr)
    }

    /// The reasons of refusals so far.
    pub fn refusals(&self) -> Vec<String> {
        self.gate.seen.lock().unwrap().refusals.iter().map(|one| one.reason.clone()).collect()
    }

    pub fn over(&self, count: usize) -> Vec<SessionRecord> {
        until("sessions are over", || {
            let seen = self.gate.seen.lock().unwrap();
            (seen.open.is_empty() && seen.over.len() >= count).then(|| seen.over.clone())
        })
    }
}

/// The lines that machines of the platform have, but for where files are.
fn reference() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../qemu/guest/sshd.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let paths = ["HostKey", "HostCertificate", "TrustedUserCAKeys", "AuthorizedPrincipalsFile"];
    let kept: Vec<&str> =
        text.lines().filter(|line| !paths.contains(&line.split(' ').next().unwrap())).collect();
    kept.join("\n") + "\n"
}

static MADE: std::sync::Once = std::sync::Once::new();

/// Who plays the user of the machine: made here as root, else whoever runs the test.
pub fn user() -> String {
    if !rustix::process::geteuid().is_root() {
        return text(&Command::new("id").arg("-un").output().unwrap().stdout).trim().to_owned();
    }
    MADE.call_once(|| {
        if !Command::new("id").arg(USER).output().unwrap().status.success() {
            let made = Command::new("useradd")
                .args(["--create-home", "--shell", "/bin/bash", "--password", "*", USER])
                .status();
            assert!(made.unwrap().success(), "useradd {USER}");
        }
    });
    USER.into()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[expect(clippy::disallowed_methods, reason = "polling another process")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

pub fn until<T>(what: &str, check: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "it never came: {what}");
        pause();
    }
}

/// A file of noise that compresses badly.
pub fn noise(path: &Path, size: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    std::fs::write(path, bytes).unwrap();
}
