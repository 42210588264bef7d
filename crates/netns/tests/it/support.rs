//! Machines without machines, and the networks they live in.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hafen_netns::{Config, Egress, HostEntry, Mac, Network, Networks, TapConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The holder's program. A run as an ordinary user has its own copy, where that user may go.
pub fn holder() -> OsString {
    std::env::var_os("HAFEN_NETNS_TEST_HOLDER")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_hafen-netns-holder").into())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Networks in a folder of their own. Removed, with their holders, when dropped.
pub struct Home {
    folder: TempDir,
    pub networks: Networks,
}

impl Home {
    pub fn new() -> Self {
        Self::with(vec![holder()])
    }

    pub fn with(command: Vec<OsString>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let networks = Networks::new(&Self::root_in(&folder), command);
        Self { folder, networks }
    }

    pub fn root(&self) -> PathBuf {
        Self::root_in(&self.folder)
    }

    /// Longer than an address of a socket may be.
    fn root_in(folder: &TempDir) -> PathBuf {
        folder.path().join("a-folder-with-a-long-name-".repeat(5)).join("networks")
    }

    pub async fn network(&self, id: &str, egress: Egress) -> Network {
        self.networks.ensure(&config(id, egress)).await.unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let networks = self.networks.clone();
        let clean = move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                for config in networks.list().unwrap() {
                    networks.delete(&config.id).await.unwrap();
                }
            });
        };
        let _ = std::thread::spawn(clean).join();
    }
}

/// Each network gets addresses of its own, so that a leak between two would find its way.
pub fn config(id: &str, egress: Egress) -> Config {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let third = NEXT.fetch_add(1, Ordering::Relaxed);
    Config {
        id: id.into(),
        subnet: Ipv4Addr::new(10, 77, third, 0),
        prefix: 24,
        gateway: Ipv4Addr::new(10, 77, third, 1),
        domain: "hello.internal".into(),
        egress,
    }
}

pub fn mac(last: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

/// A network namespace with one card, whose other end is a network's tap.
pub struct Machine {
    child: Child,
    pub name: String,
    pub address: Ipv4Addr,
    pub mac: Mac,
}

impl Machine {
    /// Attached, with its address and its route set by hand.
    pub async fn start(network: &Network, name: &str, last: u8) -> Self {
        let machine = Self::attach(network, name, last).await;
        let gateway = network.status().await.unwrap().config.gateway;
        machine.run(&format!(
            "ip addr add {}/24 dev eth0 && ip route add default via {gateway}",
            machine.address
        ));
        machine
    }

    /// Attached, without an address.
    pub async fn attach(network: &Network, name: &str, last: u8) -> Self {
        let config = network.status().await.unwrap().config;
        let [a, b, c, _] = config.subnet.octets();
        let address = Ipv4Addr::new(a, b, c, last);
        let tap = TapConfig { machine: name.into(), mac: mac(last), address };
        Self::with_tap(network.tap(&tap).await.unwrap(), &tap)
    }

    pub fn with_tap(fd: OwnedFd, tap: &TapConfig) -> Self {
        let mut command = Command::new("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let mut child = command
            .args(["--net", "--", "perl", "-e", include_str!("machine.pl"), "--"])
            .arg(tap.mac.to_string())
            .stdin(fd)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        ready(&mut child);
        Self { child, name: tap.machine.clone(), address: tap.address, mac: tap.mac }
    }

    pub fn host(&self) -> HostEntry {
        HostEntry { name: self.name.clone(), address: self.address, mac: self.mac }
    }

    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.child.id();
        if !is_root() {
            command.arg(format!("--user=/proc/{pid}/ns/user")).arg("--preserve-credentials");
        }
        command.arg(format!("--net=/proc/{pid}/ns/net"));
        command
    }

    /// Runs a shell script in the machine.
    pub fn try_run(&self, script: &str) -> Output {
        self.inside().args(["sh", "-c", script]).output().unwrap()
    }

    /// The same, which has to succeed; gives back what it printed.
    pub fn run(&self, script: &str) -> String {
        let output = self.try_run(script);
        assert!(output.status.success(), "{}: {script}: {output:?}", self.name);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Whether a server can be reached over TCP from this machine, and what it said.
    pub fn asks(&self, address: &str) -> Option<String> {
        let client = "my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 2) or exit 1; \
                      alarm 5; print $s qq(hello\n); $s->flush; print scalar <$s>";
        let output =
            self.inside().args(["perl", "-MIO::Socket::INET", "-e", client, address]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        (!said.is_empty()).then_some(said)
    }

    pub fn pings(&self, address: Ipv4Addr) -> bool {
        self.try_run(&format!("ping -n -c 1 -W 1 {address}")).status.success()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that runs until dropped.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `tests/it/server.pl`; `command` decides in which namespace.
pub fn serve(mut command: Command, listen: SocketAddrV4, name: &str) -> Server {
    command.args(["perl", "-e", include_str!("server.pl"), "--"]).args([
        &listen.ip().to_string(),
        &listen.port().to_string(),
        name,
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    ready(&mut child);
    Server(child)
}

impl Machine {
    /// A server on this machine, which says the machine's name.
    pub fn serve(&self, port: u16) -> Server {
        serve(self.inside(), SocketAddrV4::new(self.address, port), &self.name)
    }
}

/// Sends `bytes` bytes, ends its half, and gives back the answer.
pub async fn talk(mut stream: TcpStream, bytes: usize) -> std::io::Result<String> {
    stream.write_all(&vec![b'x'; bytes]).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await??;
    Ok(answer.trim().to_owned())
}

/// Waits for a program to say so.
pub fn ready(child: &mut Child) {
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "ready\n", "a program of the test did not start");
}
