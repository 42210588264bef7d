//! Time and numbers.

use std::io::Read as _;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hafen_bastion::{EndReason, Limits};

use crate::rig::{MACHINE, Rig, text};

fn ends_with(limits: Limits, command: &str, reason: EndReason) {
    let mut rig = Rig::with(limits, false);
    rig.machine(MACHINE);
    let output = rig.run("ssh", &[MACHINE, command]);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    let records = rig.over(1);
    assert_eq!(records[0].ended.unwrap().1, reason);
}

#[test]
fn sessions_end_when_they_are_long() {
    let limits = Limits { session: Duration::from_secs(2), ..Limits::default() };
    ends_with(limits, "while :; do echo x; sleep 0.1; done", EndReason::TooLong);
}

#[test]
fn sessions_end_when_nothing_is_carried() {
    let limits = Limits { idle: Duration::from_secs(2), ..Limits::default() };
    ends_with(limits, "sleep 60", EndReason::Idle);
}

#[test]
fn who_says_nothing_is_cut_off() {
    let rig = Rig::with(Limits { authentication: Duration::from_secs(1), ..Limits::default() }, false);
    for greeting in ["", "SSH-2.0-slow\r\n"] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(rig.address).unwrap();
        std::io::Write::write_all(&mut stream, greeting.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut heard = Vec::new();
        // A reset says the same as an end.
        let _end = stream.read_to_end(&mut heard);
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        assert!(text(&heard).starts_with("SSH-2.0-Hafen\r\n"), "{}", text(&heard));
    }
}

#[test]
fn one_address_has_only_so_many_connections() {
    let rig = Rig::with(Limits { connections_per_address: 3, ..Limits::default() }, false);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(rig.address).unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        held.push(stream);
    }
    let mut one_more = TcpStream::connect(rig.address).unwrap();
    let mut heard = Vec::new();
    let _end = one_more.read_to_end(&mut heard);
    assert!(heard.is_empty());
    drop(held);
    crate::rig::until("a place is free", || {
        let mut stream = TcpStream::connect(rig.address).ok()?;
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()
    });
}

#[test]
fn one_connection_has_only_so_many_channels() {
    let mut rig = Rig::with(Limits { channels: 1, ..Limits::default() }, false);
    rig.machine(MACHINE);
    let control = format!("ControlPath={}", rig.path("control").display());
    rig.good("ssh", &["-o", &control, "-o", "ControlMaster=yes", "-fN", "bastion"]);
    let mut first = rig
        .command("ssh", &["-o", &control, "-W", "web-1.hello.hafen:22", "bastion"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    crate::rig::until("one is open", || (rig.gate.seen.lock().unwrap().open.len() == 1).then_some(()));
    let said = rig.bad("ssh", &["-o", &control, "-W", "web-1.hello.hafen:22", "bastion"]);
    assert!(!said.is_empty());
    first.kill().unwrap();
    first.wait().unwrap();
    rig.good("ssh", &["-o", &control, "-O", "exit", "bastion"]);
}
