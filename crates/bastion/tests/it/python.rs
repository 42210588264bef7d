//! Independent clients from `PyPI`, and an independent judge of the algorithms.

use std::path::PathBuf;
use std::process::Command;

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
    let mut rig = Rig::with(Limits::default(), true);
    rig.machine(MACHINE);
    for script in ["asyncssh_client", "paramiko_client"] {
        assert!(python(&rig, script, &[&user()]).contains("good"), "{script}");
    }
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
    let (code, said) = audit(&Rig::with(Limits::default(), true));
    assert_eq!(code, Some(0), "{said}");
    // With the exchange that OpenSSH before 9.9 needs, that one is what it warns of, and nothing else.
    let (code, said) = audit(&Rig::start());
    assert_eq!(code, Some(2), "{said}");
    let lines: Vec<&str> =
        said.lines().filter(|line| line.contains("[warn]") || line.contains("[fail]")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("curve25519-sha256")), "{said}");
}
