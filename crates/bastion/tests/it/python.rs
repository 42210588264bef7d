//! Independent clients from `PyPI`, and an independent judge of the algorithms.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hafen_bastion::Limits;

use crate::rig::{MACHINE, Rig, text, user};

pub fn environment() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/ssh-clients");
    let output = Command::new(script).arg(env!("CARGO_TARGET_TMPDIR")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().into()
}

/// Runs a script of `tests/python` with the folder and the port of the rig.
pub fn python(rig: &Rig, script: &str, more: &[&str]) -> String {
    let script = format!("{}/tests/python/{script}.py", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("timeout")
        .args(["-k", "1", "120"])
        .arg(environment().join("bin/python"))
        .args([&script, &rig.path("").display().to_string(), &rig.address.port().to_string()])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn asyncssh_goes_through_and_gets_no_further() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    assert!(python(&rig, "asyncssh_client", &[&user()]).contains("good"));
}

#[test]
fn paramiko_goes_through() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    assert!(python(&rig, "paramiko_client", &[&user()]).contains("good"));
}

#[test]
fn clients_of_today_need_no_exchange_of_yesterday() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    for script in ["asyncssh_client", "paramiko_client"] {
        assert!(python(&rig, script, &[&user()]).contains("good"), "{script}");
    }
}

/// What an auditor sees is what everybody gets but OpenSSH 9.0 to 9.8, of which the first line here is one.
#[test]
fn an_old_client_alone_is_offered_the_old_exchange() {
    let offered = |rig: &Rig, line: &str| {
        let mut stream = std::net::TcpStream::connect(rig.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut heard = vec![0; 4];
        // Who waits for us to begin is not left waiting.
        let (at_once, later) = if line == "later" { ("", "SSH-2.0-late\r\n") } else { (line, "") };
        stream.write_all(at_once.as_bytes()).unwrap();
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(text(&heard), "SSH-");
        stream.write_all(later.as_bytes()).unwrap();
        let mut bytes = [0; 4096];
        // The server's line and its SSH_MSG_KEXINIT, whose lists are plain text.
        while !text(&heard).contains("hmac-sha2-512-etm") {
            let count = stream.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "{}", text(&heard));
            heard.extend_from_slice(&bytes[..count]);
        }
        (text(&heard).contains("mlkem768x25519-sha256"), text(&heard).contains("curve25519-sha256"))
    };
    let rig = Rig::start();
    assert_eq!(offered(&rig, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), (true, true));
    assert_eq!(offered(&rig, "SSH-2.0-OpenSSH_10.0p2\r\n"), (true, false));
    assert_eq!(offered(&rig, "later"), (true, false));
    let strict = Rig::with(Limits::default(), true);
    assert_eq!(offered(&strict, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), (true, false));
}

fn audit(rig: &Rig) -> (Option<i32>, String) {
    let output = Command::new(environment().join("bin/ssh-audit"))
        .args(["--batch", "--level=warn", "--skip-rate-test", "-p"])
        .arg(rig.address.port().to_string())
        .arg("127.0.0.1")
        .output()
        .unwrap();
    (output.status.code(), text(&output.stdout))
}

#[test]
fn ssh_audit_finds_nothing() {
    for rig in [Rig::start(), Rig::with(Limits::default(), true)] {
        let (code, said) = audit(&rig);
        assert_eq!(code, Some(0), "{said}");
    }
}
