//! `hafen login`, the bastion and a real machine, with stock clients.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::platform::{Platform, text, until};
use crate::real::turn;

/// A platform with a bastion, a machine, and somebody who is signed in.
pub struct Office {
    pub platform: Platform,
    pub folder: PathBuf,
}

pub const MACHINE: &str = "web-1.hello.hafen";

impl Office {
    pub fn open() -> Self {
        let platform = Platform::real_with(&["--bastion", "127.0.0.1:0"]);
        let manifest = "project = \"hello\"\n[network.backend]\n[image.web]\ndistribution = \"debian\"\nrelease = \"trixie\"\n\
                        packages = [\"rsync\"]\n[machine.web]\ncount = 2\nimage = \"web\"\nnetwork = \"backend\"\n";
        std::fs::write(platform.home.path().join("hafen.toml"), manifest).unwrap();
        platform.good(&["apply", "--yes"]);
        let folder = platform.home.path().join("ssh");
        let office = Self { platform, folder };
        office.login(&[]);
        office
    }

    pub fn login(&self, more: &[&str]) -> String {
        let mut arguments = vec!["login", "--folder", self.folder.to_str().unwrap()];
        arguments.extend(more);
        self.platform.good(&arguments)
    }

    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// A stock client with the configuration that `login` wrote.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command
            .arg(program)
            .arg("-F")
            .arg(self.folder.join("config"))
            .args(["-o", "BatchMode=yes"])
            .args(arguments);
        command.env("HAFEN_HOME", self.platform.home.path()).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command
    }

    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program, arguments).output().unwrap()
    }

    pub fn good(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}{}", self.platform.log());
        text(&output.stdout)
    }

    /// Runs, expects failure, gives what it said.
    pub fn bad(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(!output.status.success(), "{program} {arguments:?} went through: {}", text(&output.stdout));
        text(&output.stderr)
    }

    pub fn session(&self, command: &str) -> Child {
        let before = self.open_sessions();
        let child =
            self.command("ssh", &[MACHINE, command]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        until("the session is open", || (self.open_sessions() > before).then_some(()));
        child.unwrap()
    }

    fn open_sessions(&self) -> usize {
        let list = self.platform.json(&["access", "sessions"]);
        list["items"].as_array().unwrap().iter().filter(|one| one["ended_at"].is_null()).count()
    }

    pub fn alerts(&self) -> String {
        self.platform.good(&["access", "alerts"])
    }
}

#[test]
fn stock_clients_go_through_the_bastion() {
    let _turn = turn();
    let office = Office::open();
    assert_eq!(office.good("ssh", &[MACHINE, "hostname -f"]), "web-1.hello.internal\n");
    // Files, by each of the usual ways.
    let here = office.folder.join("here");
    std::fs::write(&here, "x".repeat(3 << 20)).unwrap();
    let here = here.to_str().unwrap();
    let back = office.folder.join("back");
    office.good("scp", &["-q", here, &format!("{MACHINE}:there")]);
    office.good("scp", &["-q", &format!("{MACHINE}:there"), back.to_str().unwrap()]);
    assert_eq!(std::fs::read(here).unwrap(), std::fs::read(&back).unwrap());
    std::fs::remove_file(&back).unwrap();
    let batch = office.folder.join("batch");
    std::fs::write(&batch, format!("get there {}\n", back.display())).unwrap();
    office.good("sftp", &["-b", batch.to_str().unwrap(), MACHINE]);
    assert_eq!(std::fs::read(here).unwrap(), std::fs::read(&back).unwrap());
    let shell = format!("ssh -F {}", office.folder.join("config").display());
    let synced = Command::new("rsync")
        .args(["-e", &shell, "--checksum", here, &format!("{MACHINE}:synced")])
        .env("HAFEN_HOME", office.platform.home.path())
        .output()
        .expect("apt-get install rsync");
    assert!(synced.status.success(), "{}", text(&synced.stderr));
    assert_eq!(office.good("ssh", &[MACHINE, "cmp there synced && echo same"]), "same\n");

    // Keys and certificates are the owner's alone, and short-lived.
    for name in ["id", "config", "bastion-cert.pub", "machine-cert.pub"] {
        let mode = std::fs::metadata(office.folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    let shown = |name: &str| {
        let output = Command::new("ssh-keygen").arg("-Lf").arg(office.folder.join(name)).output();
        text(&output.unwrap().stdout)
    };
    let (bastion, machine) = (shown("bastion-cert.pub"), shown("machine-cert.pub"));
    assert!(bastion.contains("permit-port-forwarding") && !bastion.contains("permit-pty"), "{bastion}");
    assert!(machine.contains("permit-pty") && !machine.contains("forwarding"), "{machine}");
    // Before a connection they are renewed, when little is left of them.
    office.login(&["--ttl", "60"]);
    let before = office.file("bastion-cert.pub");
    office.good("ssh", &[MACHINE, "true"]);
    assert_ne!(office.file("bastion-cert.pub"), before);
    let before = office.file("bastion-cert.pub");
    office.good("ssh", &[MACHINE, "true"]);
    assert_eq!(office.file("bastion-cert.pub"), before);

    crate::shell::on_a_machine(&office.platform);
    revoked(&office);
    own_process(&office);
    office.platform.good(&["destroy", "--yes"]);
}

fn revoked(office: &Office) {
    let mut session = office.session("sleep 120");
    let sessions = office.platform.json(&["access", "sessions"]);
    let newest = &sessions["items"][0];
    assert_eq!((newest["host"].as_str(), newest["port"].as_u64()), (Some(MACHINE), Some(22)), "{newest}");
    let serial = newest["serial"].as_str().unwrap();
    // The same serial stands in the certificate.
    office.platform.good(&["access", "revoke", "--serial", serial, "--reason", "a test"]);
    let revoked = Instant::now();
    until("the session ends", || session.try_wait().unwrap());
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    let sessions = until("it is written down", || {
        let sessions = office.platform.json(&["access", "sessions"]);
        (sessions["items"][0]["end_reason"] == "revoked").then_some(sessions)
    });
    let items = sessions["items"].as_array().unwrap();
    assert!(items.iter().any(|one| one["sent"].as_i64().unwrap() > 3 << 20), "{sessions}");
    assert!(items.iter().any(|one| one["received"].as_i64().unwrap() > 3 << 20), "{sessions}");
    let said = office.bad("ssh", &[MACHINE, "true"]);
    assert!(said.contains("Permission denied"), "{said}");
    let alerts = office.alerts();
    for wanted in ["alert.first_seen", "SSH-2.0-OpenSSH_", "127.0.0.1", MACHINE, "alert.refused"] {
        assert!(alerts.contains(wanted), "{wanted}: {alerts}");
    }
    office.login(&[]);
    office.good("ssh", &[MACHINE, "true"]);
}

/// The bastion as a process of its own, which knows of a revocation that another process wrote.
fn own_process(office: &Office) {
    let mut bastion = office.platform.command(&["bastion", "--listen", "127.0.0.1:0"]);
    let mut bastion = bastion.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(bastion.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let port = line.trim().rsplit_once(':').unwrap().1.to_owned();
    let config = office.file("config");
    let old = config.lines().find(|line| line.starts_with("  Port ")).unwrap();
    let path = office.folder.join("config");
    std::fs::write(&path, config.replace(old, &format!("  Port {port}"))).unwrap();
    assert_eq!(office.good("ssh", &[MACHINE, "hostname"]), "web-1\n");
    let mut session = office.session("sleep 120");
    let revoked = Instant::now();
    office.platform.good(&["access", "revoke", "--everything", "--reason", "a test"]);
    until("the session ends", || session.try_wait().unwrap());
    assert!(revoked.elapsed() < Duration::from_secs(6), "{:?}", revoked.elapsed());
    bastion.kill().unwrap();
    bastion.wait().unwrap();
}
