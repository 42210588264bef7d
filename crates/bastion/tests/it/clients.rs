//! What works: stock OpenSSH through the bastion.

use std::process::Stdio;
use std::time::{Duration, Instant};

use hafen_bastion::{EndReason, Revocations};

use crate::rig::{MACHINE, Rig, noise, pause, text, until};

#[test]
fn ssh_scp_sftp_and_rsync_go_through() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    assert_eq!(rig.good("ssh", &[MACHINE, "echo $((40 + 2))"]), "42\n");
    // Both ways, whole, and byte for byte: more than every window and buffer on the way.
    let (here, back) = (rig.path("noise"), rig.path("back"));
    noise(&here, 48 << 20);
    let (here, back) = (here.to_str().unwrap(), back.to_str().unwrap());
    let there = format!("/tmp/hafen-bastion-{}", std::process::id());
    let far = format!("{MACHINE}:{there}");
    rig.good("scp", &["-q", here, &far]);
    rig.good("scp", &["-q", &far, back]);
    assert!(std::fs::read(here).unwrap() == std::fs::read(back).unwrap());
    std::fs::remove_file(back).unwrap();

    let batch = rig.write("batch", &format!("get {there} {back}\nls -l {there}\n"), 0o600);
    let listed = rig.good("sftp", &["-b", batch.to_str().unwrap(), MACHINE]);
    assert!(listed.contains(&there), "{listed}");
    assert!(std::fs::read(here).unwrap() == std::fs::read(back).unwrap());

    let shell = format!("ssh -F {}", rig.path("config").display());
    let synced = std::process::Command::new("rsync")
        .args(["--checksum", "--itemize-changes", "-e", &shell, here, &far])
        .output()
        .expect("apt-get install rsync");
    assert!(synced.status.success(), "{}", text(&synced.stderr));
    rig.good("ssh", &[MACHINE, &format!("rm {there}")]);

    let records = rig.over(6);
    let first = &records[0];
    assert_eq!((first.host.as_str(), first.port, first.serial), (MACHINE, 22, 7));
    assert_eq!((first.person.id.as_str(), first.key_id.as_str()), ("p-alice", "alice@hello"));
    assert!(first.client.starts_with("SSH-2.0-OpenSSH_"), "{}", first.client);
    // scp ends both connections at once: whichever end is seen first.
    let ended = first.ended.unwrap().1;
    assert!(matches!(ended, EndReason::Client | EndReason::Target), "{ended:?}");
    assert!(records.iter().any(|record| record.sent > 48 << 20), "{records:?}");
    assert!(records.iter().any(|record| record.received > 48 << 20), "{records:?}");
    // The target's log names the certificate: the key by which both records are matched.
    let log = rig.log(MACHINE);
    assert!(log.contains("ID alice@hello (serial 8)"), "{log}");
}

#[test]
fn an_agent_is_not_carried_along() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    // A real agent, so that the client has something to offer.
    let socket = rig.path("agent");
    let mut agent = std::process::Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the agent listens", || socket.exists().then_some(()));
    let mut command = rig.command("ssh", &["-A", MACHINE, "echo agent=$SSH_AUTH_SOCK"]);
    let output = command.env("SSH_AUTH_SOCK", &socket).output().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(text(&output.stdout), "agent=\n", "{}", text(&output.stderr));
}

#[test]
fn many_sessions_at_once_and_many_on_one_connection() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    let started: Vec<_> = (0..40)
        .map(|number| {
            let mut command = rig.command("ssh", &[MACHINE, &format!("echo {number}; cat")]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    until("all are open at once", || (rig.gate.seen.lock().unwrap().open.len() == 40).then_some(()));
    for (number, mut child) in started.into_iter().enumerate() {
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stdout), format!("{number}\n"), "{}", text(&output.stderr));
    }
    rig.over(40);

    // One connection to the bastion that several clients share (as Ansible does).
    let control = rig.path("control");
    let control = format!("ControlPath={}", control.display());
    rig.good("ssh", &["-o", &control, "-o", "ControlMaster=yes", "-fN", "bastion"]);
    for _ in 0..5 {
        let jump = format!("ssh -F {} -o {control} -W %h:%p bastion", rig.path("config").display());
        let jump = format!("ProxyCommand={jump}");
        let out = rig.good("ssh", &["-o", "ProxyJump=none", "-o", &jump, MACHINE, "hostname; id -un"]);
        assert!(out.contains(&crate::rig::user()), "{out}");
    }
    rig.good("ssh", &["-o", &control, "-O", "exit", "bastion"]);
    rig.over(45);
}

#[test]
fn a_revocation_ends_what_is_open() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    let mut session = rig
        .command("ssh", &[MACHINE, "echo there; sleep 60"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("it is open", || (!rig.gate.seen.lock().unwrap().open.is_empty()).then_some(()));
    // Another's serial does nothing.
    rig.gate
        .revoked
        .send_replace(std::sync::Arc::new(Revocations { serials: [999].into(), ..Default::default() }));
    assert_eq!(rig.good("ssh", &[MACHINE, "echo still"]), "still\n");
    assert!(session.try_wait().unwrap().is_none());

    let revoked = Instant::now();
    rig.gate
        .revoked
        .send_replace(std::sync::Arc::new(Revocations { serials: [7].into(), ..Default::default() }));
    let status = loop {
        if let Some(status) = session.try_wait().unwrap() {
            break status;
        }
        assert!(revoked.elapsed() < Duration::from_secs(5), "it goes on");
        pause();
    };
    assert!(!status.success());
    let records = rig.over(2);
    assert!(records.iter().any(|record| record.ended.unwrap().1 == EndReason::Revoked), "{records:?}");
    rig.bad("ssh", &[MACHINE, "true"]);
    assert_eq!(rig.refusals()[0], "revoked");
}

/// A right that is lost ends the connections that go by it; others of the same client go on.
#[test]
fn a_right_that_is_lost_ends_what_goes_by_it() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    let session = || {
        let mut command = rig.command("ssh", &[MACHINE, "echo there; sleep 60"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut first = session();
    until("it is open", || (rig.gate.seen.lock().unwrap().open.len() == 1).then_some(()));
    let right = std::mem::take(&mut *rig.gate.lost.lock().unwrap());
    let mut second = session();
    until("both are open", || (rig.gate.seen.lock().unwrap().open.len() == 2).then_some(()));
    right.cancel();
    let lost = Instant::now();
    while first.try_wait().unwrap().is_none() {
        assert!(lost.elapsed() < Duration::from_secs(5), "it goes on");
        pause();
    }
    let over = || rig.gate.seen.lock().unwrap().over.first().and_then(|record| record.ended);
    assert_eq!(until("its end is told", over).1, EndReason::Revoked);
    assert!(second.try_wait().unwrap().is_none());
    second.kill().unwrap();
    second.wait().unwrap();
}

/// A client that does not read, on a machine that does not stop: its session still ends.
#[test]
fn a_revocation_ends_a_session_that_is_stuck() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    let mut session = rig
        .command("ssh", &[MACHINE, "cat /dev/zero"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("it is open", || (!rig.gate.seen.lock().unwrap().open.is_empty()).then_some(()));
    // Nobody reads the client's output, so that everything on the way fills up.
    let full = Instant::now();
    while full.elapsed() < Duration::from_secs(2) {
        pause();
    }
    let revoked = Instant::now();
    rig.gate
        .revoked
        .send_replace(std::sync::Arc::new(Revocations { everything: true, ..Default::default() }));
    let records = rig.over(1);
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    assert_eq!(records[0].ended.unwrap().1, EndReason::Revoked);
    session.kill().unwrap();
    session.wait().unwrap();
}
