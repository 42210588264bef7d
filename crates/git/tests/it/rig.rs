//! A server with one repository, and a folder of clones.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use hafen_base::Result;
use hafen_git::{
    Exchange, Gate, Git, InspectionLimits, Limits, Piece, Proposed, RefUpdate, Repository, Rpc, Service,
    Verdict,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

type Decide = dyn Fn(&Proposed) -> Verdict + Send + Sync;

/// Looks at every push, and lets through what holds no secret and what the test lets through.
pub struct Gatekeeper {
    pub decide: Mutex<Arc<Decide>>,
    pub seen: Mutex<Vec<Vec<RefUpdate>>>,
}

#[async_trait]
impl Gate for Gatekeeper {
    async fn decide(&self, push: &Proposed) -> Result<Verdict> {
        self.seen.lock().unwrap().push(push.updates.clone());
        let seen = push.inspect(&InspectionLimits::default()).await?;
        if let Some((place, finding)) = seen.secrets.first() {
            return Ok(Verdict::Refuse(vec![format!("{place}:{}: {}", finding.line, finding.what)]));
        }
        let decide = Arc::clone(&self.decide.lock().unwrap());
        Ok(decide(push))
    }
}

pub struct Rig {
    runtime: Runtime,
    pub git: Git,
    pub repository: Repository,
    pub gatekeeper: Arc<Gatekeeper>,
    pub folder: tempfile::TempDir,
    port: u16,
}

impl Rig {
    pub fn start(limits: Limits, largest: Option<u64>) -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let gatekeeper = Arc::new(Gatekeeper {
            decide: Mutex::new(Arc::new(|_: &Proposed| Verdict::Accept)),
            seen: Mutex::default(),
        });
        let (git, repository, listener) = runtime.block_on(async {
            let git = Git::open(&folder.path().join("repositories"), limits).await.unwrap();
            let repository = Repository::new("repo-1").unwrap();
            git.ensure(&repository, "main").await.unwrap();
            (git, repository, TcpListener::bind("127.0.0.1:0").await.unwrap())
        });
        let port = listener.local_addr().unwrap().port();
        let (served, gate) = (git.clone(), Arc::clone(&gatekeeper));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, served.clone(), Arc::clone(&gate), largest));
            }
        });
        Self { runtime, git, repository, gatekeeper, folder, port }
    }

    pub fn refuse(&self, decide: impl Fn(&Proposed) -> Verdict + Send + Sync + 'static) {
        *self.gatekeeper.decide.lock().unwrap() = Arc::new(decide);
    }

    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn command(&self, place: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        let ssh = concat!("python3 ", env!("CARGO_MANIFEST_DIR"), "/tests/it/client.py");
        command
            .current_dir(place)
            .args(arguments)
            .env("GIT_SSH_COMMAND", ssh)
            .env("GIT_SSH_VARIANT", "ssh")
            .env("HAFEN_TEST_PORT", self.port.to_string())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
            .envs([("GIT_COMMITTER_NAME", "A"), ("GIT_COMMITTER_EMAIL", "a@example.org")])
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, place: &Path, arguments: &[&str]) -> Output {
        self.command(place, arguments).output().unwrap()
    }

    pub fn good(&self, place: &Path, arguments: &[&str]) -> String {
        let output = self.run(place, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs, expects failure, gives what it said.
    pub fn bad(&self, place: &Path, arguments: &[&str]) -> String {
        let output = self.run(place, arguments);
        assert!(!output.status.success(), "{arguments:?} went through");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn clone(&self, name: &str) -> PathBuf {
        self.good(self.folder.path(), &["clone", "-q", "ssh://server/hello/shop.git", name]);
        self.folder.path().join(name)
    }

    /// A commit of one file.
    pub fn commit(&self, place: &Path, file: &str, text: &[u8]) {
        std::fs::write(place.join(file), text).unwrap();
        self.good(place, &["add", "."]);
        self.good(place, &["commit", "-q", "-m", &format!("write {file}")]);
    }

    /// A group of its own: what git has started would otherwise go on without it.
    pub fn spawn(&self, place: &Path, arguments: &[&str]) -> Child {
        let mut command = self.command(place, arguments);
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Nothing is broken, and nothing half-done lies about.
    pub fn assert_sound(&self) {
        assert_eq!(self.wait(self.git.check(&self.repository)).unwrap(), None);
        let objects = self.repository.path(&self.git).join("objects");
        let left: Vec<_> = std::fs::read_dir(objects)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("incoming"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    pub fn references(&self) -> Vec<String> {
        let found = self.wait(self.git.references(&self.repository)).unwrap();
        found.into_iter().map(|one| one.name).collect()
    }
}

async fn serve(stream: TcpStream, git: Git, gate: Arc<Gatekeeper>, largest: Option<u64>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (mut protocol, mut command) = (String::new(), String::new());
    reader.read_line(&mut protocol).await.unwrap();
    reader.read_line(&mut command).await.unwrap();
    let service = Service::named(command.split(' ').next().unwrap()).unwrap();
    let exchange = Exchange {
        service,
        rpc: Rpc::Whole,
        protocol: Some(protocol.trim().to_owned()).filter(|text| !text.is_empty()),
        largest,
        gate: Some(gate),
    };
    let repository = Repository::new("repo-1").unwrap();
    let begun = git.exchange(&repository, exchange).await.unwrap();
    let input = Box::pin(futures::stream::unfold(reader, |mut reader| async move {
        let mut buffer = bytes::BytesMut::with_capacity(64 << 10);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(buffer.freeze()), reader)),
            Err(error) => Some((Err(error), reader)),
        }
    }));
    let (sender, mut receiver) = mpsc::channel::<Piece>(8);
    let carried = tokio::spawn(async move { begun.carry(input, sender).await });
    while let Some(piece) = receiver.recv().await {
        let bytes: Bytes = match piece {
            Piece::Out(bytes) => bytes,
            Piece::Err(_) => continue,
        };
        if writer.write_all(&bytes).await.is_err() {
            break;
        }
    }
    drop(receiver);
    let _ended = carried.await;
}
