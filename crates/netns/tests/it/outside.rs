//! A host with an outside: namespaces that stand for both, so that nothing leaves this machine.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};

use crate::support::{Home, Server, holder, is_root, ready, serve};

/// The host's own address towards the outside.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Outside: `seven.test`, `*.seven.test`, `eight.test`.
pub const SEVEN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub const EIGHT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);

/// Set for tests that run as an ordinary user: they are in such a host already.
pub const INSIDE: &str = "HAFEN_NETNS_TEST_INSIDE";

/// Makes the host: its way out, its resolver, a tun device for everybody. Ends with its input.
const MAKE_HOST: &str = "
    set -e
    ip link set lo up
    ip link add uplink type veth peer name peer
    ip addr add 192.0.2.2/24 dev uplink
    ip link set uplink up
    ip route add default via 192.0.2.1
    mount -t tmpfs -o mode=0755 none /mnt
    echo nameserver 198.51.100.53 >/mnt/resolv.conf
    chmod 0644 /mnt/resolv.conf
    mount --bind /mnt/resolv.conf /etc/resolv.conf
    mknod /mnt/tun c 10 200 && chmod 0666 /mnt/tun
    mount --bind /mnt/tun /dev/net/tun
    echo ready
    read end || exit 0
";

const MAKE_OUTSIDE: &str = "
    set -e
    ip link set lo up
    ip link set peer up
    ip addr add 192.0.2.1/24 dev peer
    for last in 7 8 53; do ip addr add 198.51.100.$last/32 dev lo; done
    exec dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --log-facility=- \\
        --no-resolv --no-hosts --listen-address=198.51.100.53 --bind-interfaces \\
        --address=/seven.test/198.51.100.7 --address=/eight.test/198.51.100.8
";

/// Whether this process is in a host that others share.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

pub struct Host {
    /// Nothing, where this process is in the host already.
    namespace: Option<Child>,
    outside: Vec<Child>,
    _servers: Vec<Server>,
}

impl Host {
    pub fn new() -> Self {
        if is_inside() {
            return Self { namespace: None, outside: Vec::new(), _servers: Vec::new() };
        }
        assert!(is_root(), "only root can make a host; an ordinary user is put into one");
        let mut host = Command::new("unshare")
            .args(["--net", "--mount", "--", "sh", "-c", MAKE_HOST])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        ready(&mut host);
        let mut outside = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo ready; read go; eval \"$0\"", MAKE_OUTSIDE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        ready(&mut outside);
        let moved =
            enter(host.id()).args(["ip", "link", "set", "peer", "netns", &outside.id().to_string()]).status();
        assert!(moved.unwrap().success());
        std::io::Write::write_all(outside.stdin.as_mut().unwrap(), b"go\n").unwrap();
        // dnsmasq says so when it serves.
        let mut said = String::new();
        let mut output = std::io::BufReader::new(outside.stderr.take().unwrap());
        while !said.contains("started") {
            assert_ne!(std::io::BufRead::read_line(&mut output, &mut said).unwrap(), 0, "no outside: {said}");
        }
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let servers = vec![
            serve(enter(outside.id()), SocketAddrV4::new(SEVEN, 443), "seven"),
            serve(enter(outside.id()), SocketAddrV4::new(SEVEN, 80), "seven"),
            serve(enter(outside.id()), SocketAddrV4::new(EIGHT, 443), "eight"),
            serve(enter(host.id()), SocketAddrV4::new(HOST, 8080), "host"),
            serve(enter(host.id()), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080), "host"),
        ];
        Self { namespace: Some(host), outside: vec![outside], _servers: servers }
    }

    /// What runs a command on this host.
    pub fn command(&self) -> Command {
        match &self.namespace {
            Some(child) => enter(child.id()),
            None => Command::new("env"),
        }
    }

    /// Networks of this host.
    pub fn home(&self) -> Home {
        let Some(child) = &self.namespace else { return Home::new() };
        let mut command: Vec<OsString> = vec!["nsenter".into()];
        command.extend(["net", "mnt"].map(|kind| flag(child.id(), kind).into()));
        command.push(holder());
        Home::with(command)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for child in self.namespace.iter_mut().chain(&mut self.outside) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn flag(pid: u32, kind: &str) -> String {
    let long = if kind == "mnt" { "mount" } else { kind };
    format!("--{long}=/proc/{pid}/ns/{kind}")
}

fn enter(pid: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.args([flag(pid, "net"), flag(pid, "mnt")]);
    command
}
