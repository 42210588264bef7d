//! A host with an outside: two namespaces of the test, so that nothing leaves this machine.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};

use crate::platform::{Platform, text};
use crate::real::machine;

/// The host's own address towards the outside.
pub const HOST: &str = "192.0.2.2";
/// Outside.
pub const SEVEN: &str = "198.51.100.7";
pub const EIGHT: &str = "198.51.100.8";

const MAKE_HOST: &str = "
    set -e
    ip link set lo up
    ip link add uplink type veth peer name peer
    ip addr add 192.0.2.2/24 dev uplink
    ip link set uplink up
    ip route add default via 192.0.2.1
    echo ready
    read end || exit 0
";

const MAKE_OUTSIDE: &str = "
    set -e
    ip link set lo up
    ip link set peer up
    ip addr add 192.0.2.1/24 dev peer
    for last in 7 8; do ip addr add 198.51.100.$last/32 dev lo; done
    echo ready
    read end || exit 0
";

/// Answers each request with the address that it serves.
const SERVE: &str = "
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f'page of {sys.argv[1]}:{sys.argv[2]}'.encode())
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Page)
print('ready', flush=True)
server.serve_forever()
";

/// Ends what it runs when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Running {
    /// Starts a command and waits until it says that it is ready.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "a program of the test did not start");
        Self(child)
    }

    fn server(namespace: &Self, address: &str, port: &str) -> Self {
        Self::start(namespace.command().args(["python3", "-c", SERVE, address, port]))
    }

    fn words(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net=/proc/{}/ns/net", self.0.id()), "--".into()]
    }

    /// What runs a command in its namespace.
    fn command(&self) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

pub struct Host {
    _servers: Vec<Running>,
    namespace: Running,
    _outside: Running,
}

impl Host {
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "only root can make a host with an outside");
        let host = Running::start(Command::new("unshare").args(["--net", "--", "sh", "-c", MAKE_HOST]));
        // It waits for its card.
        let mut outside = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo here; read go; eval \"$0\"", MAKE_OUTSIDE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = std::io::BufReader::new(outside.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let id = outside.id().to_string();
        let moved = host.command().args(["ip", "link", "set", "peer", "netns", &id]).status();
        assert!(moved.unwrap().success());
        std::io::Write::write_all(outside.stdin.as_mut().unwrap(), b"go\n").unwrap();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "here\nready\n");
        let outside = Running(outside);
        let servers = vec![
            Running::server(&outside, SEVEN, "8080"),
            Running::server(&outside, SEVEN, "8081"),
            Running::server(&outside, EIGHT, "8080"),
            Running::server(&host, HOST, "8080"),
            Running::server(&host, "127.0.0.1", "8080"),
        ];
        let here = host.command().args(["bash", "-c", &ask(&[format!("{SEVEN}:8080")])]).output().unwrap();
        assert_eq!(heard(&text(&here.stdout)), [format!("page of {SEVEN}:8080")], "the host has no way out");
        Self { _servers: servers, namespace: host, _outside: outside }
    }

    /// Put before a command, they run it on the host.
    pub fn words(&self) -> Vec<String> {
        self.namespace.words()
    }
}

/// The mirror is not on the host of the test: what has to be built is built before.
pub fn image_is_there() {
    let platform = Platform::real();
    manifest(&platform, &[]);
    platform.good(&["apply", "--yes"]);
}

/// A network of each kind of egress, called as its machine. The image is that of the hello example.
pub fn manifest(platform: &Platform, networks: &[(&str, &str)]) {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello/");
    let hello = std::fs::read_to_string(format!("{example}hafen.toml")).unwrap();
    let image = &hello[hello.find("[image.web]").unwrap()..hello.find("[machine.web]").unwrap()];
    let sections = networks.iter().map(|(name, egress)| {
        format!(
            "[network.{name}]\negress = {egress}\n[machine.{name}]\nimage = \"web\"\nnetwork = \"{name}\"\n"
        )
    });
    let manifest = format!("project = \"hello\"\n{image}{}", sections.collect::<String>());
    std::fs::write(platform.home.path().join("hafen.toml"), manifest).unwrap();
    std::fs::copy(format!("{example}hello.conf"), platform.home.path().join("hello.conf")).unwrap();
}

/// A script of bash that asks these servers (`ADDRESS:PORT`) all at once, and prints each with the last line of its answer.
fn ask(targets: &[String]) -> String {
    let places: Vec<_> = targets.iter().map(|target| target.replace(':', "/")).collect();
    let one = r"exec 3<>/dev/tcp/$0; printf 'GET / HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3";
    format!(
        "for place in {}; do echo $place \"$(timeout 10 bash -c \"{}\" $place 2>/dev/null)\" & done; wait",
        places.join(" "),
        one.replace('$', "\\$")
    )
}

/// What was heard, of each that answered.
fn heard(said: &str) -> Vec<String> {
    let mut heard: Vec<_> =
        said.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
    heard.retain(|answer| !answer.is_empty());
    heard.sort();
    heard
}

/// What a machine hears from servers, sorted.
pub fn asks(platform: &Platform, name: &str, targets: &[String]) -> Vec<String> {
    let said = platform.good(&["ssh", name, "--", &ask(targets)]);
    assert_eq!(said.lines().count(), targets.len(), "{said}");
    heard(&said)
}

/// The events of a network's egress: their kind, and `ADDRESS:PORT`. Each must name the machine that asked.
pub fn events(platform: &Platform, network: &str) -> Vec<(String, String)> {
    let source = machine(platform, network)["address"].as_str().unwrap().to_owned();
    let list = platform.json(&["events", "-p", "hello"]);
    let events = list["items"].as_array().unwrap().iter();
    let events = events.filter(|event| {
        event["kind"].as_str().unwrap().starts_with("network.egress")
            && event["object"] == format!("network/{network}")
    });
    events
        .map(|event| {
            let destination = event["data"]["destination"].as_str().unwrap();
            let (place, rest) = destination.split_once(" port ").unwrap();
            let (port, rest) = rest.split_once('/').unwrap();
            assert_eq!(rest, format!("tcp from {source}"), "{event}");
            (event["kind"].as_str().unwrap().to_owned(), format!("{place}:{port}"))
        })
        .collect()
}
