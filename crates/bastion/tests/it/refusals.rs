//! What does not work, and what the client is told.

use hafen_bastion::ssh_key::certificate::CertType;

use crate::rig::{FOREIGN_CA, HOST_CA, MACHINE, Rig, Wish, until};

#[test]
fn certificates_that_are_not_good_enough() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    let good = Wish::bastion();
    let cases = [
        (Wish { authority: FOREIGN_CA, ..good.clone() }, "authority"),
        (Wish { authority: HOST_CA, ..good.clone() }, "authority"),
        (Wish { principals: vec!["bob"], ..good.clone() }, "principals"),
        (Wish { critical: vec![("shiny@example.org", "1")], ..good.clone() }, "critical option"),
        (Wish { critical: vec![("verify-required", "")], ..good.clone() }, "critical option"),
        (Wish { critical: vec![("source-address", "198.51.100.0/24")], ..good.clone() }, "this address"),
        (Wish { extensions: vec!["permit-pty"], ..good.clone() }, "permit-port-forwarding"),
    ];
    for (wish, reason) in cases {
        rig.certificates(&wish, &Wish::machine());
        let said = rig.bad("ssh", &[MACHINE, "true"]);
        assert!(said.contains("Permission denied (publickey)"), "{reason}: {said}");
        // The client also tries the bare key when the certificate is refused.
        let refusals = rig.refusals();
        assert!(refusals.iter().any(|one| one.contains(reason)), "{reason}: {refusals:?}");
        rig.gate.seen.lock().unwrap().refusals.clear();
    }
    // russh refuses these itself, and stock clients do not even offer the last one: nobody gets in.
    for wish in [
        Wish { from: -600, until: -1, ..good.clone() },
        Wish { from: 600, until: 1200, ..good.clone() },
        Wish { principals: Vec::new(), ..good.clone() },
        Wish { kind: CertType::Host, critical: Vec::new(), extensions: Vec::new(), ..good.clone() },
    ] {
        rig.certificates(&wish, &Wish::machine());
        let said = rig.bad("ssh", &[MACHINE, "true"]);
        assert!(said.contains("Permission denied (publickey)"), "{said}");
    }
    // Good again: the rig itself was not what refused.
    rig.certificates(&good, &Wish::machine());
    assert_eq!(rig.good("ssh", &[MACHINE, "echo in"]), "in\n");
    // The bastion's certificate opens no machine, and the machine's not the bastion.
    rig.certificates(&good, &Wish { principals: vec!["alice"], ..Wish::machine() });
    assert!(rig.bad("ssh", &[MACHINE, "true"]).contains("Permission denied"));
    rig.certificates(&Wish::machine(), &Wish::machine());
    assert!(rig.bad("ssh", &[MACHINE, "true"]).contains("Permission denied"));
}

#[test]
fn keys_and_passwords_open_nothing() {
    let rig = Rig::start();
    let config = std::fs::read_to_string(rig.path("config")).unwrap();
    let bare: Vec<&str> = config.lines().filter(|line| !line.contains("CertificateFile")).collect();
    rig.write("config", &format!("{}\n", bare.join("\n")), 0o600);
    let said = rig.bad("ssh", &["bastion"]);
    assert!(said.contains("Permission denied (publickey)"), "{said}");
    assert_eq!(rig.refusals(), ["a key without a certificate"]);
    let methods = rig.bad("ssh", &["-v", "-o", "PubkeyAuthentication=no", "bastion"]);
    assert!(methods.contains("Authentications that can continue: publickey\r\n"), "{methods}");
}

#[test]
fn only_connections_to_names_of_the_inventory() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    let address = rig.gate.inventory.lock().unwrap()[MACHINE];
    let prohibited = "administratively prohibited";
    for target in [
        "db-1.hello.hafen:22",
        // The same machine by other names: matched literally, resolved never.
        "WEB-1.hello.hafen:22",
        "web-1.hello.hafen.:22",
        "web-1:22",
        &address.to_string(),
        "localhost:22",
        "127.0.0.1:22",
        "[::1]:22",
        "web-1.hello.hafen:80",
        "web-1.hello.hafen:4750",
    ] {
        let said = rig.bad("ssh", &["-W", target, "bastion"]);
        assert!(said.contains(prohibited), "{target}: {said}");
    }
    // No shell, no command, no forwarding of ports, sockets, displays: each is refused, with its reason.
    for arguments in [["bastion", "id"].as_slice(), &["-tt", "bastion"], &["-s", "bastion", "sftp"]] {
        let said = rig.bad("ssh", arguments);
        assert!(said.contains(prohibited), "{arguments:?}: {said}");
    }
    let said = rig.bad("ssh", &["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:localhost:22", "bastion"]);
    assert!(said.contains("forwarding failed"), "{said}");
    let said = rig
        .bad("ssh", &["-N", "-o", "ExitOnForwardFailure=yes", "-R", "/tmp/no-such:localhost:22", "bastion"]);
    assert!(said.contains("forwarding failed"), "{said}");
    let refusals = rig.refusals();
    for wanted in ["db-1.hello.hafen:22", "type session", "forwarded back"] {
        assert!(refusals.iter().any(|one| one.contains(wanted)), "{wanted}: {refusals:?}");
    }
    let seen = rig.gate.seen.lock().unwrap();
    assert!(seen.refusals.iter().all(|one| one.person.as_ref().is_some_and(|person| person.id == "p-alice")));
}

#[test]
fn a_machine_that_is_down_is_another_reason() {
    let rig = Rig::start();
    let nobody = format!("127.0.0.1:{}", crate::rig::free_port());
    rig.gate.inventory.lock().unwrap().insert(MACHINE.into(), nobody.parse().unwrap());
    let said = rig.bad("ssh", &[MACHINE, "true"]);
    assert!(said.contains("connect failed"), "{said}");
}

/// The bastion is in another's hands and leads to another machine: the client notices, as only the machine has a
/// certificate for its name.
#[test]
fn a_man_in_the_middle_is_noticed() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    assert_eq!(rig.good("ssh", &[MACHINE, "echo real"]), "real\n");
    // A key of the attacker's own; then a real machine of the platform under another's name.
    let bare = rig.sshd("attacker", None);
    let other = rig.sshd("sshd-db-1.hello.hafen", Some("db-1.hello.hafen"));
    for (address, word) in
        [(bare, "host key"), (other, "Certificate invalid: name is not a listed principal")]
    {
        rig.gate.inventory.lock().unwrap().insert(MACHINE.into(), address);
        let said = rig.bad("ssh", &[MACHINE, "echo fooled"]);
        assert!(said.contains("Host key verification failed"), "{said}");
        assert!(said.contains(word), "{said}");
    }
    // And a false bastion is noticed, too: its name is another one.
    rig.write("known_hosts", "", 0o600);
    assert!(rig.bad("ssh", &["-W", "x:22", "bastion"]).contains("Host key verification failed"));
}

#[test]
fn ports_that_do_not_exist() {
    let rig = Rig::start();
    // OpenSSH's own client refuses these: asyncssh in `python` sends them. Port 0 does not reach the gate either.
    let said = rig.bad("ssh", &["-W", "web-1.hello.hafen:0", "bastion"]);
    assert!(!said.is_empty());
    until("nothing is open", || rig.gate.seen.lock().unwrap().open.is_empty().then_some(()));
}
