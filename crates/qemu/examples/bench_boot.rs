//! How long from "create" to an SSH banner: warm (resumed from a template) and cold, beside the
//! same guest under a plain QEMU without this crate, cold and resumed from a plain migration
//! stream. Prints medians in seconds as JSON.
//!
//! `cargo run --release -p hafen-qemu --example bench_boot -- [RUNS [COLD_RUNS]]`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measuring tool: any failure ends it"
)]
#![allow(clippy::disallowed_methods, reason = "waits by sleeping")]
#![allow(dead_code, reason = "the tests' support module is shared")]

#[path = "../tests/it/support.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hafen_qemu::cgroup::Parent;
use hafen_qemu::{Host, Launch, User};
use support::{Image, Machine, PATIENCE, host, image, run};

#[tokio::main]
async fn main() {
    let runs: usize = std::env::args().nth(1).map_or(5, |n| n.parse().unwrap());
    let cold_runs: usize = std::env::args().nth(2).map_or(runs.min(3), |n| n.parse().unwrap());
    let (host, image) = (host().await, image());
    // Builds the template, which is not part of the figure.
    let first = Machine::new(&host, &image).await;
    let began = Instant::now();
    let template = first.template(&host, &image).await;
    let template_seconds = began.elapsed().as_secs_f64();

    let (mut warm, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let machine = Machine::new(&host, &image).await;
        let identity = machine.identity();
        let launch = launch(&machine);
        let began = Instant::now();
        machine.vm.resume(&template, &identity, launch, PATIENCE).await.unwrap();
        ready.push(began.elapsed());
        support::banner(machine.ssh).await;
        warm.push(began.elapsed());
    }
    let mut cold = Vec::new();
    for _ in 0..cold_runs {
        let machine = Machine::new(&host, &image).await;
        let identity = machine.identity();
        let began = Instant::now();
        let start = machine.vm.cold_boot(Some(&identity), launch(&machine), PATIENCE);
        start.await.unwrap();
        support::banner(machine.ssh).await;
        cold.push(began.elapsed());
    }
    // A disk that knows who it is, so that a plain QEMU can boot it.
    first.vm.cold_boot(Some(&first.identity()), Launch::default(), PATIENCE).await.unwrap();
    first.vm.shutdown(PATIENCE).await.unwrap();
    let raw = Raw { host: &host, image: &image, machine: &first };
    let raw_cold = (0..cold_runs).map(|_| raw.cold().0).collect();
    let raw_resume = raw.resume(runs);

    let (warm, raw_resume) = (median(warm), median(raw_resume));
    println!(
        "{{\"accelerator\": \"{:?}\", \"qemu\": \"{}\", \"runs\": {runs}, \"template_s\": {template_seconds:.2}, \
         \"warm_ready_s\": {:.3}, \"warm_s\": {warm:.3}, \"cold_s\": {:.3}, \"raw_cold_s\": {:.3}, \
         \"raw_resume_s\": {raw_resume:.3}, \"warm_to_raw_resume\": {:.3}}}",
        host.accelerator.kind,
        host.qemu.version,
        median(ready),
        median(cold),
        median(raw_cold),
        warm / raw_resume,
    );
}

/// As in earnest: with a user and a control group where the host allows it.
fn launch(machine: &Machine) -> Launch {
    machine.open_up();
    let user = support::is_root().then_some(User { uid: 64055, gid: 64055 });
    Launch { user, limits: Parent::detect("hafen-bench").ok(), ..Launch::default() }
}

fn median(mut values: Vec<Duration>) -> f64 {
    values.sort();
    values[values.len() / 2].as_secs_f64()
}

/// The same guest under QEMU as a person would start it.
struct Raw<'a> {
    host: &'a Host,
    image: &'a Image,
    machine: &'a Machine,
}

/// A QEMU that ends with its value.
struct Guest {
    child: Child,
    dir: tempfile::TempDir,
    ssh: SocketAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Raw<'_> {
    fn start(&self, base: &Path, incoming: Option<&Path>) -> Guest {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk.qcow2");
        let (base, disk) = (base.to_str().unwrap(), disk.to_str().unwrap());
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, disk]);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let file = |name: &str| self.image.dir.join(name).display().to_string();
        let append = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet mitigations=off";
        let mut command = Command::new(&self.host.qemu.program);
        command
            .args(["-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg"])
            .args(["-cpu", "max", "-smp", "1", "-m", "512"])
            .args(["-kernel", &file("kernel"), "-initrd", &file("initrd"), "-append", append])
            .args(["-drive", &format!("if=virtio,format=qcow2,file={disk}")])
            .args(["-netdev", &format!("user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22")])
            .args(["-device", &format!("virtio-net-pci,netdev=n,mac={}", self.machine.vm.spec.mac)])
            .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
            .args(["-chardev", &format!("socket,id=a,path={},server=on,wait=off", at("agent"))])
            .args(["-device", "virtserialport,chardev=a,name=org.hafen.agent.0"])
            .args(["-serial", &format!("file:{}", at("serial"))])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp"))])
            .stdin(Stdio::null());
        if let Some(stream) = incoming {
            command.args(["-incoming", &format!("exec:cat {}", stream.display())]);
        }
        let child = command.spawn().unwrap();
        Guest { child, ssh: SocketAddr::from(([127, 0, 0, 1], port)), dir }
    }

    fn cold(&self) -> (Duration, Guest) {
        let began = Instant::now();
        let guest = self.start(&self.machine.vm.dir.join("disk.qcow2"), None);
        banner_blocking(guest.ssh);
        (began.elapsed(), guest)
    }

    fn resume(&self, runs: usize) -> Vec<Duration> {
        let source = self.start(&self.machine.vm.dir.join("disk.qcow2"), None);
        // Not by connecting: sshd penalizes sources that connect and leave, and the snapshot
        // would keep the penalty.
        let serial = source.dir.path().join("serial");
        let deadline = Instant::now() + PATIENCE;
        while !String::from_utf8_lossy(&std::fs::read(&serial).unwrap_or_default()).contains("login:") {
            assert!(Instant::now() < deadline, "the plain guest does not boot");
            std::thread::sleep(Duration::from_millis(100));
        }
        // At rest, as a template is.
        std::thread::sleep(Duration::from_secs(15));
        let stream = source.dir.path().join("stream");
        let mut qmp = Qmp::connect(&source);
        qmp.run(&format!(
            r#"{{"execute":"migrate","arguments":{{"uri":"exec:cat > {}"}}}}"#,
            stream.display()
        ));
        while !qmp.run(r#"{"execute":"query-migrate"}"#).contains("completed") {
            std::thread::sleep(Duration::from_millis(50));
        }
        qmp.run(r#"{"execute":"quit"}"#);
        let disk = source.dir.path().join("disk.qcow2");
        let mut times = Vec::new();
        for _ in 0..runs {
            let began = Instant::now();
            let guest = self.start(&disk, Some(&stream));
            let mut qmp = Qmp::connect(&guest);
            while !qmp.run(r#"{"execute":"query-status"}"#).contains(r#""running": true"#) {
                std::thread::sleep(Duration::from_millis(5));
            }
            banner_blocking(guest.ssh);
            times.push(began.elapsed());
        }
        times
    }
}

/// Starts a new attempt twice a second and takes the first that is answered, so that a lost
/// packet of the boot does not count as seconds.
fn banner_blocking(address: SocketAddr) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let Ok(stream) = std::net::TcpStream::connect(address) else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
            let mut line = String::new();
            if BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("SSH-") {
                let _ = sender.send(());
            }
        });
        if receiver.recv_timeout(Duration::from_millis(500)).is_ok() {
            return;
        }
    }
    panic!("no SSH banner at {address}");
}

struct Qmp(BufReader<UnixStream>);

impl Qmp {
    fn connect(guest: &Guest) -> Self {
        let path = guest.dir.path().join("qmp");
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let mut qmp = Self(BufReader::new(stream));
        qmp.0.read_line(&mut String::new()).unwrap();
        qmp.run(r#"{"execute":"qmp_capabilities"}"#);
        qmp
    }

    fn run(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(command.as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            let n = self.0.read_line(&mut line).unwrap();
            if n == 0 || line.contains("\"return\"") || line.contains("\"error\"") {
                return line;
            }
        }
    }
}
