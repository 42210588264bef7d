//! The bastion beside OpenSSH's `sshd` as the jump host: the same stock client, the same certificate, the same far side, in
//! turns. What lies behind the jump is a plain socket, so that nothing but the jump is measured.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hafen_base::{Error, Result, SystemClock};
use hafen_bastion::ssh_key::{PrivateKey, PublicKey};
use hafen_bastion::{
    Bastion, BastionConfig, CertificateFacts, Client, Gate, Limits, Person, Reached, Refusal, Revocations,
    SessionRecord,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::Context;
use crate::platform::broken;
use crate::report::{Figure, Part};

/// Bytes carried each way in a run.
const BYTES: u64 = 1 << 30;
/// Connections set up one after the other in a run.
const SET_UPS: u32 = 20;

/// Everybody is let in, and everything leads to one of the sockets.
struct OpenGate {
    sockets: BTreeMap<&'static str, SocketAddr>,
    revocations: watch::Sender<Arc<Revocations>>,
}

#[async_trait]
impl Gate for OpenGate {
    async fn admit(&self, facts: &CertificateFacts, _client: &Client) -> Result<Person> {
        Ok(Person { id: facts.user.clone(), name: facts.user.clone() })
    }

    async fn target(&self, _person: &Person, _serial: u64, host: &str, _port: u16) -> Result<Reached> {
        let address = self.sockets.get(host).ok_or_else(|| Error::not_found("such socket"))?;
        let stream = TcpStream::connect(address).await.map_err(broken("a socket does not answer"))?;
        stream.set_nodelay(true).map_err(broken("a socket"))?;
        Ok(Reached::for_good(stream))
    }

    async fn opened(&self, _record: &SessionRecord) -> Result<()> {
        Ok(())
    }

    async fn closed(&self, _record: &SessionRecord) {}

    async fn refused(&self, refusal: &Refusal) {
        eprintln!("bench: refused: {}", refusal.reason);
    }

    fn revocations(&self) -> watch::Receiver<Arc<Revocations>> {
        self.revocations.subscribe()
    }
}

/// A socket that takes everything and answers one byte at its end, one that gives `BYTES`, and one that greets.
async fn far_side() -> Result<BTreeMap<&'static str, SocketAddr>> {
    let mut sockets = BTreeMap::new();
    for name in ["sink", "source", "greeting"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(broken("a socket"))?;
        sockets.insert(name, listener.local_addr().map_err(broken("a socket"))?);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(name, stream));
            }
        });
    }
    Ok(sockets)
}

async fn serve(name: &str, mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    match name {
        "sink" => {
            while stream.read(&mut buffer).await? > 0 {}
            stream.write_all(b".").await
        }
        "source" => {
            for _ in 0..BYTES >> 20 {
                stream.write_all(&buffer).await?;
            }
            stream.shutdown().await
        }
        _ => stream.write_all(b".").await,
    }
}

async fn keygen(arguments: &[&str]) -> Result<()> {
    let done = Command::new("ssh-keygen").arg("-q").args(arguments).status().await;
    let done = done.map_err(broken("ssh-keygen does not run"))?;
    if done.success() { Ok(()) } else { Err(Error::unavailable("ssh-keygen failed")) }
}

/// Keys and certificates, made by the stock tools.
async fn keys(folder: &Path, user: &str) -> Result<()> {
    let path = |name: &str| folder.join(name).display().to_string();
    for name in ["ca", "host", "id"] {
        keygen(&["-t", "ed25519", "-N", "", "-f", &path(name)]).await?;
    }
    keygen(&["-s", &path("ca"), "-I", "bench", "-n", user, "-V", "+1h", &path("id.pub")]).await?;
    let host = std::fs::read_to_string(path("host.pub")).map_err(broken("a key"))?;
    std::fs::write(path("known_hosts"), format!("jump {host}")).map_err(broken("known_hosts"))
}

async fn sshd(folder: &Path) -> Result<(Child, SocketAddr)> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(broken("a socket"))?;
    let address = free.local_addr().map_err(broken("a socket"))?;
    drop(free);
    let shown = folder.display();
    let config = format!(
        "Port {}\nListenAddress 127.0.0.1\nHostKey {shown}/host\nTrustedUserCAKeys {shown}/ca.pub\nAuthorizedKeysFile none\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\nStrictModes no\nUsePAM no\nPidFile none\nMaxStartups 100\n",
        address.port()
    );
    let file = folder.join("sshd.config");
    std::fs::write(&file, config).map_err(broken("a configuration"))?;
    // Where it wants to lock its unprivileged part in; without root it has none.
    let _there = std::fs::create_dir_all("/run/sshd");
    let child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken("sshd does not run: apt-get install openssh-server"))?;
    for _ in 0..200 {
        if TcpStream::connect(address).await.is_ok() {
            return Ok((child, address));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Error::unavailable("sshd does not listen"))
}

/// One of the two, as the client reaches it.
struct Jump<'a> {
    address: SocketAddr,
    folder: &'a Path,
    user: &'a str,
    /// What stands under a name: the bastion knows names, sshd is given addresses.
    sockets: BTreeMap<&'static str, String>,
}

impl Jump<'_> {
    fn client(&self, socket: &str) -> Result<Command> {
        let target = self.sockets.get(socket).ok_or_else(|| Error::internal("no such socket"))?;
        let mut command = Command::new("ssh");
        command
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "HostKeyAlias=jump",
            ])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.folder.join("known_hosts").display()))
            .arg("-o")
            .arg(format!("CertificateFile={}", self.folder.join("id-cert.pub").display()))
            .arg("-i")
            .arg(self.folder.join("id"))
            .args(["-p", &self.address.port().to_string(), "-W", target])
            .arg(format!("{}@127.0.0.1", self.user))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs the client with this many bytes to send; gives how many it heard, and how long it took.
    async fn carry(&self, socket: &str, send: u64) -> Result<(u64, Duration)> {
        let begun = Instant::now();
        let mut child = self.client(socket)?.spawn().map_err(broken("ssh does not run"))?;
        let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::internal("no pipes"));
        };
        let sending = async move {
            let piece = vec![0; 1 << 20];
            for _ in 0..send >> 20 {
                stdin.write_all(&piece).await?;
            }
            // Whoever only listens keeps its side open until it has heard what it wants.
            std::io::Result::Ok((send > 0).then(|| drop(stdin)))
        };
        let hearing = async move {
            let mut buffer = vec![0; 1 << 20];
            let mut heard = 0_u64;
            loop {
                match stdout.read(&mut buffer).await? {
                    0 => return std::io::Result::Ok(heard),
                    count => heard += count as u64,
                }
                if send == 0 && (heard >= BYTES || socket == "greeting") {
                    return Ok(heard);
                }
            }
        };
        let (_sent, heard) = tokio::try_join!(sending, hearing).map_err(broken("ssh broke off"))?;
        Ok((heard, begun.elapsed()))
    }

    async fn up(&self) -> Result<Duration> {
        match self.carry("sink", BYTES).await? {
            (1, took) => Ok(took),
            _ => Err(Error::unavailable("not everything arrived")),
        }
    }

    async fn down(&self) -> Result<Duration> {
        match self.carry("source", 0).await? {
            (BYTES, took) => Ok(took),
            (heard, _) => Err(Error::unavailable(format!("only {heard} bytes arrived"))),
        }
    }

    async fn set_up(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for _ in 0..SET_UPS {
            let (heard, took) = self.carry("greeting", 0).await?;
            if heard == 0 {
                return Err(Error::unavailable("no greeting arrived"));
            }
            sum += took;
        }
        Ok(sum / SET_UPS)
    }
}

pub async fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("bastion");
    let folder = tempfile::tempdir_in(&context.scratch).map_err(broken("a folder cannot be made"))?;
    let folder: PathBuf = folder.path().to_owned();
    std::fs::create_dir_all(&folder).map_err(broken("a folder"))?;
    let user = Command::new("id").arg("-un").output().await.map_err(broken("id does not run"))?;
    let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
    keys(&folder, &user).await?;
    let sockets = far_side().await?;

    let read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(broken("a key"));
    let authority = PublicKey::from_openssh(read("ca.pub")?.trim()).map_err(Error::internal)?;
    let config = BastionConfig {
        host_key: PrivateKey::from_openssh(read("host")?).map_err(Error::internal)?,
        host_certificate: None,
        authorities: vec![authority.key_data().clone()],
        clock: Arc::new(SystemClock),
        limits: Limits::default(),
        git: None,
        post_quantum_only: false,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(broken("a socket"))?;
    let address = listener.local_addr().map_err(broken("a socket"))?;
    let gate = OpenGate { sockets: sockets.clone(), revocations: watch::Sender::new(Arc::default()) };
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(Bastion::serve(listener, config, Arc::new(gate), stopped));
    let (_sshd, sshd_address) = sshd(&folder).await?;
    let named = sockets.keys().map(|name| (*name, format!("{name}:22"))).collect();
    let addressed = sockets.iter().map(|(name, address)| (*name, address.to_string())).collect();
    let ours = Jump { address, folder: &folder, user: &user, sockets: named };
    let theirs = Jump { address: sshd_address, folder: &folder, user: &user, sockets: addressed };

    let mut times: BTreeMap<&'static str, Vec<Duration>> = BTreeMap::new();
    for _ in 0..context.runs {
        // In turns, so that a noisy moment of the host falls on both.
        for (jump, [up, down, set_up]) in [
            (&ours, ["bastion_up", "bastion_down", "bastion_set_up"]),
            (&theirs, ["sshd_up", "sshd_down", "sshd_set_up"]),
        ] {
            times.entry(up).or_default().push(jump.up().await?);
            times.entry(down).or_default().push(jump.down().await?);
            times.entry(set_up).or_default().push(jump.set_up().await?);
        }
    }
    for (name, what) in [
        ("bastion_up", "1 GiB to a machine through the bastion"),
        ("sshd_up", "1 GiB to a machine through sshd"),
        ("bastion_down", "1 GiB from a machine through the bastion"),
        ("sshd_down", "1 GiB from a machine through sshd"),
        ("bastion_set_up", "a connection through the bastion, to the first byte"),
        ("sshd_set_up", "a connection through sshd, to the first byte"),
    ] {
        part.figures.push(Figure::seconds(name, what, times.get(name).map_or(&[], Vec::as_slice))?);
    }
    for (name, what, of, to) in [
        ("up_to_sshd", "to a machine: our time to sshd's", "bastion_up", "sshd_up"),
        ("down_to_sshd", "from a machine: our time to sshd's", "bastion_down", "sshd_down"),
        ("set_up_to_sshd", "a connection: our time to sshd's", "bastion_set_up", "sshd_set_up"),
    ] {
        part.ratio(name, what, of, to)?;
        if let Some(figure) = part.figures.pop() {
            part.figures.push(figure.at_most(1.0));
        }
    }
    let _gone = std::fs::remove_dir_all(&folder);
    Ok(part)
}
