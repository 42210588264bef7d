//! The break-in of April 2019, played against this platform: each of its steps that went by way of SSH fails here.

use std::process::{Command, Stdio};

use crate::bastion::{MACHINE, Office};
use crate::platform::{text, until};
use crate::real::turn;

#[test]
fn the_steps_of_april_2019_fail() {
    let _turn = turn();
    let office = Office::open();
    agent_hijack(&office);
    office.platform.good(&["access", "check", "web-1"]);
    keys_that_survive(&office);
    what_survived_is_told(&office);
    root_login(&office);
    flat_network(&office);
    forwarding(&office);
    certificates_of_others(&office);
    office.platform.good(&["destroy", "--yes"]);
}

/// An administrator's forwarded agent was used from a host that the attacker had.
fn agent_hijack(office: &Office) {
    let socket = office.folder.join("agent");
    let mut agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    until("the agent listens", || socket.exists().then_some(()));
    let mut command =
        office.command("ssh", &["-A", MACHINE, "echo agent=$SSH_AUTH_SOCK; ls -d /tmp/ssh-* 2>/dev/null"]);
    let output = command.env("SSH_AUTH_SOCK", &socket).output().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(text(&output.stdout), "agent=\n", "{}", text(&output.stderr));
}

/// A key in `authorized_keys2` outlived the clean-up.
fn keys_that_survive(office: &Office) {
    let key = office.folder.join("attacker");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let public = public.trim();
    office.good(
        "ssh",
        &[
            MACHINE,
            &format!(
                "umask 077; mkdir -p ~/.ssh; echo '{public}' | tee ~/.ssh/authorized_keys ~/.ssh/authorized_keys2 | \
                 sudo sh -c 'umask 077; mkdir -p /root/.ssh; tee /root/.ssh/authorized_keys /root/.ssh/authorized_keys2' >/dev/null"
            ),
        ],
    );
    // Straight to its port, by the way that needs no certificate at all.
    for user in ["hafen", "root"] {
        let proxy = format!("ProxyCommand={} dial {MACHINE} 22", env!("CARGO_BIN_EXE_hafen"));
        let output = Command::new("setsid")
            .args(["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", &proxy, "-i"])
            .arg(&key)
            .arg(format!("{user}@{MACHINE}"))
            .arg("id")
            .env("HAFEN_HOME", office.platform.home.path())
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("Permission denied (publickey)"), "{user}: {said}");
    }
    // The bastion takes no key without a certificate either, and says that it was tried.
    let config = office.file("config");
    let bare: Vec<&str> =
        config.lines().filter(|line| !line.contains("CertificateFile") && !line.contains("exec ")).collect();
    std::fs::write(office.folder.join("bare"), format!("{}\n", bare.join("\n"))).unwrap();
    let output = Command::new("setsid")
        .args(["ssh", "-o", "BatchMode=yes", "-F"])
        .arg(office.folder.join("bare"))
        .args([MACHINE, "id"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("Permission denied (publickey)"), "{}", text(&output.stderr));
    assert!(office.alerts().contains("a key without a certificate"), "{}", office.alerts());
}

/// Nobody was told that keys and configuration had changed, and that some of it survived the clean-up.
fn what_survived_is_told(office: &Office) {
    let change = "echo 'PermitRootLogin prohibit-password' | sudo tee /etc/ssh/sshd_config.d/05-mine.conf >/dev/null; \
                  echo 'daemon ALL=(ALL) ALL' | sudo tee /etc/sudoers.d/mine >/dev/null; sudo install -m 4755 /bin/sh /opt/sh";
    office.good("ssh", &[MACHINE, change]);
    let checked = office.platform.run(&["access", "check", "web-1", "--json"]);
    assert!(!checked.status.success(), "{}", text(&checked.stdout));
    let checked: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    let found = checked["items"][0]["findings"].to_string();
    for wanted in [
        "/root/.ssh/authorized_keys2",
        "/home/hafen/.ssh/authorized_keys2",
        "permitrootlogin without-password",
        "/etc/ssh/sshd_config.d/05-mine.conf is new",
        "/etc/sudoers.d/mine is new",
        "/opt/sh runs with the rights of its owner (0:0)",
    ] {
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
    let alerts = office.alerts();
    assert!(
        alerts.contains("alert.machine_changed") && alerts.contains("web-1 of hello changed"),
        "{alerts}"
    );
    // The other machine is as it was, and the ledger has it.
    office.platform.good(&["access", "check", "web-2"]);
    until("the ledger has it", || {
        let entries = office.platform.json(&["ledger", "list"]).to_string();
        entries.contains("alert.machine_changed").then_some(())
    });
    // A clean-up that forgets one thing is noticed, one that forgets nothing too.
    office.good(
        "ssh",
        &[
            MACHINE,
            "sudo rm -rf /root/.ssh ~/.ssh/authorized_keys /etc/ssh/sshd_config.d/05-mine.conf /opt/sh",
        ],
    );
    let left = office.platform.run(&["access", "check", "web-1"]);
    let left = text(&left.stdout);
    assert!(left.contains("/home/hafen/.ssh/authorized_keys2") && !left.contains("/root/.ssh"), "{left}");
    office.good("ssh", &[MACHINE, "rm ~/.ssh/authorized_keys2"]);
    assert!(!office.platform.run(&["access", "check", "web-1"]).status.success());
    office.platform.good(&["access", "accept", "web-1", "--reason", "the line in sudoers.d is ours"]);
    office.platform.good(&["access", "check", "web-1"]);
}

fn root_login(office: &Office) {
    let said = office.bad("ssh", &[&format!("root@{MACHINE}"), "id"]);
    assert!(said.contains("Permission denied"), "{said}");
}

/// From one host everything else could be reached.
fn flat_network(office: &Office) {
    for target in
        ["127.0.0.1:22", "localhost:4750", "10.0.0.1:22", "web-9.hello.hafen:22", "web-1.other.hafen:22"]
    {
        let said = office.bad("ssh", &["-W", target, "bastion.hafen"]);
        assert!(said.contains("administratively prohibited"), "{target}: {said}");
    }
    let said = office.bad("ssh", &["-W", "web-1.hello.hafen:80", "bastion.hafen"]);
    assert!(said.contains("administratively prohibited"), "{said}");
    // The bastion itself is no host: there is nothing to log in to, and of commands only git's.
    let said = office.bad("ssh", &["bastion.hafen", "id"]);
    assert!(said.contains("git clone, fetch and push") && !said.contains("uid="), "{said}");
    // From one machine to the other there is no way in: nobody's key or certificate is there.
    let said = office.run(
        "ssh",
        &[MACHINE, "ssh -o BatchMode=yes -o StrictHostKeyChecking=no hafen@web-2 id 2>&1; ls ~/.ssh/id* /root/.ssh/id* 2>&1"],
    );
    let said = text(&said.stdout);
    assert!(!said.contains("uid=") && !said.contains("PRIVATE"), "{said}");
}

/// A machine forwards nothing, whoever asks.
fn forwarding(office: &Office) {
    let said = office.bad("ssh", &["-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:localhost:80", MACHINE]);
    assert!(said.contains("forwarding failed"), "{said}");
    let said = office.bad("ssh", &["-J", "bastion.hafen,hafen@web-1.hello.hafen", "web-2.hello.hafen", "id"]);
    assert!(said.contains("open failed") || said.contains("forwarding failed"), "{said}");
}

/// Who makes an authority of his own makes nothing that is taken.
fn certificates_of_others(office: &Office) {
    let authority = office.folder.join("attacker-ca");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&authority).status();
    assert!(made.unwrap().success());
    let shown = Command::new("ssh-keygen").arg("-Lf").arg(office.folder.join("bastion-cert.pub")).output();
    let shown = text(&shown.unwrap().stdout);
    let user = shown.lines().find(|line| line.trim().starts_with("at-")).unwrap().trim().to_owned();
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-I", "x", "-n", &user, "-V", "+10m", "-s"])
        .arg(&authority)
        .arg(office.folder.join("id.pub"))
        .status();
    assert!(signed.unwrap().success());
    std::fs::rename(office.folder.join("id-cert.pub"), office.folder.join("bastion-cert.pub")).unwrap();
    let said = office.bad("ssh", &[MACHINE, "id"]);
    assert!(said.contains("Permission denied"), "{said}");
    assert!(office.alerts().contains("authority that is not trusted"), "{}", office.alerts());
}
