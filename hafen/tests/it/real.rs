//! Real machines: the hello example as a user meets it, on this host's QEMU. Nothing is skipped: a host that cannot run
//! machines fails these tests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cloud;
use crate::outside::{self, EIGHT, HOST, SEVEN};
use crate::platform::{Platform, pause, text};

/// For a machine to come up on a host that builds and emulates at the same time.
const PATIENCE: Duration = Duration::from_secs(600);

/// One after the other: two processors carry a few emulated machines, not many.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

pub fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The hello example, at another port.
fn hello(platform: &Platform, count: u32, port: u16, more: &str) {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello/");
    let manifest = std::fs::read_to_string(format!("{example}hafen.toml")).unwrap();
    let manifest =
        manifest.replace("8081", &port.to_string()).replace("count = 2", &format!("count = {count}\n{more}"));
    std::fs::write(platform.home.path().join("hafen.toml"), manifest).unwrap();
    std::fs::copy(format!("{example}hello.conf"), platform.home.path().join("hello.conf")).unwrap();
}

fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("200 OK").then_some(answer)
}

/// Waits until `check` gives something, as long as emulation may take.
pub fn until<T>(what: &str, platform: &Platform, check: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        if Instant::now() > deadline {
            let events = platform.run(&["events", "-p", "hello"]);
            panic!("it never came: {what}\n{}\n{}", text(&events.stdout), platform.log());
        }
        pause();
    }
}

pub fn machine(platform: &Platform, name: &str) -> serde_json::Value {
    platform.json(&["machine", "show", name, "-p", "hello"])
}

/// What a command on a machine prints.
pub fn ssh(platform: &Platform, name: &str, command: &str) -> String {
    platform.good(&["ssh", name, "--", command]).trim().to_owned()
}

fn is_up(machine: &serde_json::Value) -> bool {
    machine["state"] == "started" && machine["healthy"] == true
}

/// The processes of a home's machines, by the folder they run in.
fn qemus(platform: &Platform) -> Vec<(i32, String)> {
    let machines = platform.home.path().join("machines");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(folder) = std::fs::read_link(entry.path().join("cwd")) else { continue };
        let program = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if folder.starts_with(&machines) && program.to_string_lossy().contains("qemu-system") {
            let id = folder.strip_prefix(&machines).unwrap().iter().next().unwrap();
            found.push((pid, id.to_string_lossy().into_owned()));
        }
    }
    found
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn hello_from_two_machines() {
    let _turn = turn();
    let mut platform = Platform::real();
    let port = free_port();
    hello(&platform, 2, port, "");
    platform.good(&["apply", "--yes"]);
    let list = platform.json(&["machine", "list"]);
    let items = list["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 2, "{list}");
    assert!(items.iter().all(is_up), "{list}");

    // Both answer behind one port of the host.
    for name in ["web-1", "web-2"] {
        assert!(dial(&platform, name).ends_with(&format!("hello from {name}\n")));
        until(&format!("a page from {name}"), &platform, || {
            get(port).filter(|page| page.contains(&format!("hello from {name}")))
        });
    }
    ssh_knows_both_sides(&platform, "web-2");
    names_and_walls(&platform);
    nothing_is_shared(&platform);
    console_and_copies(&platform);
    outlives_the_platform(&mut platform, port);
    heals(&platform);

    platform.good(&["destroy", "--yes"]);
    assert!(qemus(&platform).is_empty());
    assert!(get(port).is_none());
}

pub fn ssh_knows_both_sides(platform: &Platform, name: &str) {
    assert_eq!(ssh(platform, name, "hostname -f"), format!("{name}.hello.internal"));
    // No passwords, no key files, no forwarding: the effective configuration of sshd.
    let effective = ssh(platform, name, "sudo sshd -T");
    for line in [
        "passwordauthentication no",
        "authorizedkeysfile none",
        "permitrootlogin no",
        "disableforwarding yes",
        "persourcepenalties no",
    ] {
        assert!(effective.contains(line), "{line}: {effective}");
    }
    // Stock ssh with a key and certificate of the platform, through `hafen dial`.
    let folder = platform.home.path().join(format!("ssh-{name}"));
    platform.good(&["ssh", name, "--write-config", folder.to_str().unwrap()]);
    let stock = |config: &str, options: &[&str]| {
        let mut command = Command::new("ssh");
        command
            .arg("-F")
            .arg(folder.join(config))
            .args(options)
            .arg(format!("{name}.hello.internal"))
            .args(["--", "hostname; echo agent=$SSH_AUTH_SOCK"]);
        command.env("HAFEN_HOME", platform.home.path()).stdin(Stdio::null()).output().unwrap()
    };
    let output = stock("config", &["-A"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{name}\nagent=\n"));
    // The key without its certificate opens nothing.
    std::fs::copy(folder.join("id"), folder.join("bare")).unwrap();
    let config = std::fs::read_to_string(folder.join("config")).unwrap();
    let bare: String = config
        .lines()
        .filter(|line| !line.contains("CertificateFile") && !line.contains("LogLevel"))
        .map(|line| line.replace("/id", "/bare") + "\n")
        .collect();
    std::fs::write(folder.join("bare-config"), bare).unwrap();
    let output = stock("bare-config", &[]);
    assert!(
        !output.status.success() && text(&output.stderr).contains("Permission denied"),
        "{}",
        text(&output.stderr)
    );
    // The host proves itself: with another authority in the list of known hosts, the client refuses.
    let foreign = "@cert-authority *.hello.internal ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\n";
    std::fs::write(folder.join("foreign"), foreign).unwrap();
    let known = format!("-oUserKnownHostsFile={}", folder.join("foreign").display());
    let output = stock("config", &[&known]);
    assert!(
        !output.status.success() && text(&output.stderr).contains("verification failed"),
        "{}",
        text(&output.stderr)
    );
}

fn names_and_walls(platform: &Platform) {
    let page =
        ssh(platform, "web-1", "exec 3<>/dev/tcp/web-2/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    assert!(page.contains("hello from web-2"), "{page}");
    let found = ssh(platform, "web-1", "getent hosts web-2.hello.internal");
    assert!(found.contains("web-2.hello.internal"), "{found}");
    // The platform itself listens at the host's loopback, which is not the machine's.
    let api = platform.json(&["status"])["url"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    for target in ["127.0.0.1".to_owned(), gateway(platform)] {
        let tried =
            platform.run(&["ssh", "web-1", "--", &format!("timeout 5 bash -c '</dev/tcp/{target}/{api}'")]);
        assert!(!tried.status.success(), "{target}:{api} was reached from a machine");
    }
}

/// A connection whose near side ends first is heard to its end.
fn dial(platform: &Platform, name: &str) -> String {
    let mut dial = platform.command(&["dial", name, "80"]);
    let mut dial = dial.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    dial.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    text(&dial.wait_with_output().unwrap().stdout)
}

fn gateway(platform: &Platform) -> String {
    ssh(platform, "web-1", "ip -4 route show default | cut -d' ' -f3")
}

fn nothing_is_shared(platform: &Platform) {
    for command in [
        "cat /etc/machine-id",
        "cat /proc/sys/kernel/random/boot_id",
        "cat /etc/ssh/ssh_host_ed25519_key.pub",
        "head -c 32 /dev/urandom | base64",
        "cat /sys/class/net/eth0/address",
        "sudo sha256sum /var/lib/systemd/random-seed",
    ] {
        assert_ne!(ssh(platform, "web-1", command), ssh(platform, "web-2", command), "{command}");
    }
}

fn console_and_copies(platform: &Platform) {
    let file = platform.home.path().join("there");
    std::fs::write(&file, "and back").unwrap();
    platform.good(&["cp", file.to_str().unwrap(), "web-1:copied"]);
    assert_eq!(ssh(platform, "web-1", "cat copied"), "and back");
    let back = platform.home.path().join("back");
    platform.good(&["cp", "web-1:copied", back.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "and back");

    let mut console = platform.command(&["console", "web-1"]);
    let mut console = console.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = console.stdin.take().unwrap();
    let mut stdout = console.stdout.take().unwrap();
    let (sender, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stdout.read(&mut bytes) {
            if sender.send(String::from_utf8_lossy(&bytes[..count]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut seen = String::new();
    let deadline = Instant::now() + PATIENCE;
    while !seen.contains("sum=42") {
        assert!(Instant::now() < deadline, "no answer on the console: {seen}");
        stdin.write_all(b"\necho sum=$((40 + 2))\n").unwrap();
        while let Ok(part) = heard.recv_timeout(Duration::from_secs(3)) {
            seen.push_str(&part);
        }
    }
    // Ctrl-] leaves.
    stdin.write_all(&[0x1d]).unwrap();
    assert!(console.wait().unwrap().success());
}

fn outlives_the_platform(platform: &mut Platform, port: u16) {
    let before: Vec<_> = ["web-1", "web-2"].map(|name| machine(platform, name)["boot_id"].clone()).to_vec();
    let processes = qemus(platform);
    assert_eq!(processes.len(), 2, "{processes:?}");
    platform.kill();
    assert!(get(port).is_some(), "the published port answers while no platform runs");
    platform.restart();
    assert_eq!(qemus(platform), processes, "a restart touches no machine");
    let after: Vec<_> = ["web-1", "web-2"].map(|name| machine(platform, name)["boot_id"].clone()).to_vec();
    assert_eq!(before, after);
    for (name, boot_id) in ["web-1", "web-2"].iter().zip(&after) {
        assert_eq!(ssh(platform, name, "cat /proc/sys/kernel/random/boot_id"), boot_id.as_str().unwrap());
    }
    assert_eq!(platform.run(&["plan", "--detailed-exitcode"]).status.code(), Some(0));
}

fn heals(platform: &Platform) {
    let before = machine(platform, "web-2");
    let id = before["id"].as_str().unwrap();
    let (pid, _) = qemus(platform).into_iter().find(|(_, machine)| machine == id).unwrap();
    kill(pid);
    let killed = Instant::now();
    // It is noticed and begun again within ten seconds; the rest is the boot.
    until("the restart begins", platform, || {
        qemus(platform).iter().find(|(new, m)| m == id && *new != pid).cloned()
    });
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    let after = until("web-2 is back", platform, || Some(machine(platform, "web-2")).filter(is_up));
    assert_ne!(before["boot_id"], after["boot_id"]);
    assert!(before["ssh_host_key"].as_str().is_some_and(|key| key.starts_with("SHA256:")), "{before}");
    assert_eq!(before["ssh_host_key"], after["ssh_host_key"]);
    let events = platform.good(&["events", "-p", "hello"]);
    assert!(events.contains("died") || events.contains("ended"), "{events}");
}

#[test]
fn snapshots_sizes_and_rebuilds() {
    let _turn = turn();
    let platform = Platform::real();
    hello(&platform, 1, free_port(), "");
    platform.good(&["apply", "--yes"]);
    ssh(&platform, "web-1", "echo before > state; sync");
    platform.good(&["machine", "snapshot", "create", "web-1", "one"]);
    ssh(&platform, "web-1", "echo after > state; sync");
    let machine_id = ssh(&platform, "web-1", "cat /etc/machine-id");
    platform.good(&["machine", "stop", "web-1"]);
    assert!(qemus(&platform).is_empty());
    platform.good(&["machine", "snapshot", "restore", "web-1", "one"]);
    let snapshots = platform.json(&["machine", "snapshot", "list", "web-1"]);
    assert_eq!(snapshots["items"][0]["name"], "one");
    platform.good(&["machine", "resize", "web-1", "--cpus", "2", "--memory", "640 MiB"]);
    platform.good(&["machine", "start", "web-1"]);
    assert_eq!(ssh(&platform, "web-1", "cat state"), "before");
    assert_eq!(ssh(&platform, "web-1", "nproc"), "2");
    assert_eq!(ssh(&platform, "web-1", "cat /etc/machine-id"), machine_id);
    platform.good(&["machine", "rebuild", "web-1"]);
    assert_eq!(ssh(&platform, "web-1", "ls state 2>&1 | grep -c 'No such file'"), "1");
    assert_ne!(ssh(&platform, "web-1", "cat /etc/machine-id"), machine_id);
    platform.good(&["destroy", "--yes"]);
}

#[test]
fn three_kills_during_real_applies() {
    let _turn = turn();
    let mut platform = Platform::real();
    let port = free_port();
    for (round, wait) in [(1_u32, 700_u64), (2, 2500), (3, 1400)] {
        hello(&platform, round.min(2), port, if round == 3 { "start = \"cold\"\n" } else { "" });
        let mut apply = platform.command(&["apply", "--yes"]);
        let mut apply = apply.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(wait) {
            pause();
        }
        platform.kill();
        // It may have ended by itself.
        let _ended = apply.kill();
        let _status = apply.wait();
        platform.restart();
    }
    until("an apply comes to its end", &platform, || {
        platform.run(&["apply", "--yes"]).status.success().then_some(())
    });
    let list = platform.json(&["machine", "list"]);
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{list}");
    assert!(items.iter().all(is_up), "{list}");
    // What runs is what is known: none lost, none twice.
    let mut real: Vec<String> = qemus(&platform).into_iter().map(|(_, id)| id).collect();
    let mut known: Vec<String> =
        items.iter().map(|machine| machine["id"].as_str().unwrap().to_owned()).collect();
    real.sort();
    known.sort();
    assert_eq!(real, known);
    platform.good(&["destroy", "--yes"]);
    assert!(qemus(&platform).is_empty());
}

/// Without root: user namespaces, emulation, and the same page.
#[test]
fn an_ordinary_user_has_the_same() {
    let _turn = turn();
    let platform = Platform::ordinary();
    let port = free_port();
    hello(&platform, 2, port, "");
    platform.good(&["apply", "--yes"]);
    for name in ["web-1", "web-2"] {
        until(name, &platform, || get(port).filter(|page| page.contains(&format!("hello from {name}"))));
    }
    assert_eq!(ssh(&platform, "web-1", "hostname"), "web-1");
    let machines = qemus(&platform);
    assert_eq!(machines.len(), 2);
    for (pid, _) in machines {
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{pid}")).unwrap());
        assert_ne!(owner, 0);
    }
    platform.good(&["destroy", "--yes"]);
}

/// cloud-init in an image of the platform does what the user data say, and leaves name, keys and address to the agent.
#[test]
fn user_data_are_carried_out_by_cloud_init() {
    let _turn = turn();
    let platform = Platform::real();
    let manifest = "project = \"hello\"\n[network.backend]\n[image.web]\ndistribution = \"debian\"\nrelease = \"trixie\"\n\
                    packages = [\"cloud-init\"]\n[machine.web]\nimage = \"web\"\nnetwork = \"backend\"\n\
                    user_data = { source = \"cloud.yaml\" }\n";
    std::fs::write(platform.home.path().join("hafen.toml"), manifest).unwrap();
    let data =
        "#cloud-config\nhostname: another\nruncmd:\n  - [sh, -c, 'echo carried out > /var/tmp/user-data']\n";
    std::fs::write(platform.home.path().join("cloud.yaml"), data).unwrap();
    platform.good(&["apply", "--yes"]);
    let name = platform.json(&["machine", "list"])["items"][0]["name"].as_str().unwrap().to_owned();
    until("the user data are carried out", &platform, || {
        let output = platform.run(&["ssh", &name, "--", "cat /var/tmp/user-data"]);
        (text(&output.stdout) == "carried out\n").then_some(())
    });
    assert_eq!(ssh(&platform, &name, "hostname -f"), format!("{name}.hello.internal"));
    platform.good(&["destroy", "--yes"]);
}

/// A vendor's kind of image: its own boot loader, kernel and cloud-init, which know the platform only by the seed.
#[test]
fn a_cloud_image_boots_by_bios_and_by_uefi() {
    let _turn = turn();
    let image = cloud::Image::get();
    let platform = Platform::real();
    image.wrong_digest_is_refused(&platform);
    image.manifest(&platform);
    platform.good(&["apply", "--yes"]);
    // Side by side: most of the time is their boots.
    std::thread::scope(|scope| {
        for (name, other) in cloud::PAIR {
            let platform = &platform;
            scope.spawn(move || {
                let before = cloud::boot(platform, name, other, "");
                ssh_knows_both_sides(platform, name);
                platform.good(&["machine", "restart", name]);
                let after = cloud::boot(platform, name, other, &before.id);
                assert_eq!(after.stays, before.stays);
                assert_ne!(after.certificate, before.certificate, "each start has a new one");
            });
        }
    });
    platform.good(&["destroy", "--yes"]);
    assert!(qemus(&platform).is_empty());
}

/// What may leave a network, from `hafen.toml` to the event: the way out of a host with an outside.
#[test]
fn egress_is_none_logged_or_allowed() {
    let _turn = turn();
    outside::image_is_there();
    let host = outside::Host::new();
    let platform = Platform::on(host.words());
    let allowed = format!("{SEVEN}:8080");
    outside::manifest(
        &platform,
        &[
            ("none", "\"none\""),
            ("logged", "\"logged\""),
            ("allow", &format!("{{ allow = [\"{allowed}\"] }}")),
        ],
    );
    platform.good(&["apply", "--yes"]);

    let outsides = [allowed, format!("{SEVEN}:8081"), format!("{EIGHT}:8080")];
    // Neither this host's address nor its loopback, whichever way a machine might try: the platform listens there, too.
    let api = platform.json(&["status"])["url"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    for (name, reached) in [("none", 0), ("logged", 3), ("allow", 1)] {
        let gateway = ssh(&platform, name, "ip -4 route show default | cut -d' ' -f3");
        let at_home =
            ["127.0.0.1", HOST, &gateway].map(|to| ["8080", &api].map(|port| format!("{to}:{port}")));
        let pages: Vec<_> = outsides[..reached].iter().map(|target| format!("page of {target}")).collect();
        assert_eq!(
            outside::asks(&platform, name, &[&outsides[..], &at_home.concat()].concat()),
            pages,
            "{name}"
        );
    }

    let (allowed, refused) = ("network.egress", "network.egress_refused");
    for (network, kind, target) in [
        ("logged", allowed, &outsides[0]),
        ("logged", allowed, &outsides[1]),
        ("logged", allowed, &outsides[2]),
        ("logged", refused, &format!("{HOST}:8080")),
        ("allow", allowed, &outsides[0]),
        ("allow", refused, &outsides[1]),
        ("allow", refused, &outsides[2]),
        ("allow", refused, &format!("{HOST}:8080")),
    ] {
        until(&format!("{kind} of {network} to {target}"), &platform, || {
            outside::events(&platform, network).contains(&(kind.to_owned(), target.clone())).then_some(())
        });
    }
    // Nothing was recorded as reached that was not.
    let reached =
        |network| outside::events(&platform, network).into_iter().filter(|(kind, _)| kind == allowed).count();
    assert_eq!(["none", "logged", "allow"].map(reached), [0, 3, 1]);

    platform.good(&["destroy", "--yes"]);
    assert!(qemus(&platform).is_empty());
}
