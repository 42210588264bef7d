//! Pure: what there is to say about a report. (what the platform set up, what was the case before, the report) → findings.

use std::collections::BTreeMap;

use hafen_base::Timestamp;
use hafen_client::wire::IntegrityFinding;
use hafen_sshca::ssh_key::certificate::CertType;
use hafen_sshca::ssh_key::{Certificate, HashAlg, PublicKey};
use serde::{Deserialize, Serialize};

use super::report::{Entry, Report};

/// Findings that are kept and told of one machine.
pub const FINDINGS_MOST: usize = 200;

/// What `sshd -T` says on every machine of the platform (`crates/qemu/guest/sshd.conf`), whoever would log in. What is not
/// set there and matters as much, too.
pub const SSHD: &[&str] = &[
    "allowagentforwarding no",
    "authenticationmethods publickey",
    "authorizedkeyscommand none",
    "authorizedkeysfile none",
    "authorizedprincipalscommand none",
    "authorizedprincipalsfile /etc/ssh/hafen_principals/%u",
    "casignaturealgorithms ssh-ed25519,sk-ssh-ed25519@openssh.com",
    "disableforwarding yes",
    "exposeauthinfo yes",
    "forcecommand none",
    "gssapiauthentication no",
    "hostbasedauthentication no",
    "kbdinteractiveauthentication no",
    "loglevel VERBOSE",
    "passwordauthentication no",
    "permitemptypasswords no",
    "permitrootlogin no",
    "permittunnel no",
    "permituserenvironment no",
    "permituserrc no",
    "pubkeyauthentication yes",
    "strictmodes yes",
    "trustedusercakeys /etc/ssh/hafen_user_ca.pub",
];

/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a machine was compared with, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    pub report: Report,
    /// Somebody looked at it and took it. The first one of a disk nobody did: it is held against what the platform sets up.
    pub accepted: bool,
    pub at: Timestamp,
    /// Who accepted it.
    #[serde(default)]
    pub by: String,
    #[serde(default)]
    pub reason: String,
}

/// What the platform knows of a machine without asking it.
#[derive(Debug, Clone)]
pub struct Known {
    /// SHA-256 by path, of files that the platform wrote.
    pub hashes: BTreeMap<String, String>,
    /// Public key line of the authority of hosts.
    pub host_authority: String,
    /// The name that its host certificate has.
    pub host: String,
    pub now: Timestamp,
}

/// All that there is to say, in a stable order.
pub fn findings(known: &Known, baseline: Option<&Baseline>, report: &Report) -> Vec<IntegrityFinding> {
    let mut findings = certificates(known, report);
    let accepted = baseline.filter(|baseline| baseline.accepted).map(|baseline| &baseline.report);
    for finding in reference(known, report) {
        // What was accepted is measured by what it was then.
        let then = accepted.map(|then| reference(known, then)).unwrap_or_default();
        if !then.contains(&finding) {
            findings.push(finding);
        }
    }
    if let Some(baseline) = baseline {
        for finding in changes(&baseline.report, report) {
            // Said already, in other words.
            if !findings.iter().any(|one| one.subject == finding.subject) {
                findings.push(finding);
            }
        }
    }
    findings.truncate(FINDINGS_MOST);
    findings
}

fn finding(kind: &str, subject: &str, message: String) -> IntegrityFinding {
    IntegrityFinding { kind: kind.to_owned(), subject: subject.to_owned(), message }
}

/// What is not as the platform sets it up.
fn reference(known: &Known, report: &Report) -> Vec<IntegrityFinding> {
    let mut findings = Vec::new();
    if report.config.is_empty() {
        findings.push(finding("sshd", "sshd -T", "sshd says nothing of its configuration".into()));
    }
    for (user, lines) in &report.config {
        for wanted in SSHD {
            if lines.iter().any(|line| line == wanted) {
                continue;
            }
            let keyword = wanted.split(' ').next().unwrap_or(wanted);
            let there = lines.iter().find(|line| line.split(' ').next() == Some(keyword));
            // Words that this version of sshd does not know, such as those of GSSAPI, are no way in.
            let Some(there) = there else {
                if matches!(*wanted, "gssapiauthentication no" | "exposeauthinfo yes") && !lines.is_empty() {
                    continue;
                }
                let message = format!("for {user}: {wanted:?} is not in force");
                findings.push(finding("sshd", &format!("sshd {user} {keyword}"), message));
                continue;
            };
            let message = format!("for {user}: {there:?} is in force in place of {wanted:?}");
            findings.push(finding("sshd", &format!("sshd {user} {keyword}"), message));
        }
    }
    for (path, hash) in &known.hashes {
        let there = report.files.get(&format!("ssh {path}")).map(|entry| entry.hash.as_str());
        let message = match there {
            Some(there) if there == hash => continue,
            Some(_) => format!("{path} holds something else than the platform wrote"),
            None => format!("{path}, which the platform wrote, is not there"),
        };
        findings.push(finding("ssh", path, message));
    }
    for (key, entry) in &report.files {
        let Some((class, path)) = key.split_once(' ') else { continue };
        // cloud-init makes empty ones.
        if class == "key" && entry.hash != EMPTY {
            findings.push(finding(class, path, format!("{path} is there: no machine needs such a file")));
        }
        if path.strip_prefix("/etc/ssh/hafen_principals/").is_some() && !known.hashes.contains_key(path) {
            findings.push(finding("ssh", path, format!("{path} lets in whom the platform does not know")));
        }
    }
    findings
}

/// Host certificates are others at each start: their authority and names are what must stay.
fn certificates(known: &Known, report: &Report) -> Vec<IntegrityFinding> {
    let authority = PublicKey::from_openssh(known.host_authority.trim()).ok();
    let good = |line: &str| {
        let certificate = Certificate::from_openssh(line).ok()?;
        let authority = authority.as_ref()?.key_data();
        let seconds = known.now.millis() / 1000;
        let is_good = certificate.cert_type() == CertType::Host
            && certificate.valid_principals().contains(&known.host)
            && certificate.validate_at(seconds, [&authority.fingerprint(HashAlg::Sha256)]).is_ok();
        is_good.then_some(())
    };
    let bad = report.certificates.iter().filter(|(_, line)| good(line).is_none());
    bad.map(|(path, _)| {
        finding("ssh", path, format!("{path} is no host certificate that the platform made for this machine"))
    })
    .collect()
}

/// What is not as it was.
fn changes(before: &Report, after: &Report) -> Vec<IntegrityFinding> {
    let mut findings = Vec::new();
    for (user, lines) in &after.config {
        let old = before.config.get(user).map(Vec::as_slice).unwrap_or_default();
        // A word may stand there several times, as `hostkey`.
        let keywords = |lines: &[String]| {
            let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for line in lines {
                let keyword = line.split(' ').next().unwrap_or_default().to_owned();
                by.entry(keyword).or_default().push(line.clone());
            }
            by
        };
        let (old, new) = (keywords(old), keywords(lines));
        for keyword in old.keys().chain(new.keys().filter(|keyword| !old.contains_key(*keyword))) {
            let (was, is) = (old.get(keyword), new.get(keyword));
            if was != is {
                let show = |lines: Option<&Vec<String>>| {
                    lines.map_or("nothing".to_owned(), |lines| format!("{:?}", lines.join("; ")))
                };
                let message = format!("for {user}: {} became {}", show(was), show(is));
                findings.push(finding("sshd", &format!("sshd {user} {keyword}"), message));
            }
        }
    }
    let gone = before.files.keys().filter(|key| !after.files.contains_key(*key));
    for key in gone {
        let Some((class, path)) = key.split_once(' ') else { continue };
        findings.push(finding(class, path, format!("{path} is gone")));
    }
    for (key, new) in &after.files {
        let Some((class, path)) = key.split_once(' ') else { continue };
        let message = match before.files.get(key) {
            None if class == "setuid" => {
                format!("{path} runs with the rights of its owner ({}) and did not before", new.owner)
            }
            None => format!("{path} is new"),
            Some(old) if old == new => continue,
            Some(old) => format!("{path} changed: {}", difference(old, new)),
        };
        findings.push(finding(class, path, message));
    }
    findings
}

fn difference(old: &Entry, new: &Entry) -> String {
    let parts = [
        ("kind", &old.kind, &new.kind),
        ("mode", &old.mode, &new.mode),
        ("owner", &old.owner, &new.owner),
        ("target", &old.target, &new.target),
    ];
    let mut said: Vec<String> = parts
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(what, old, new)| format!("{what} {old} became {new}"))
        .collect();
    if old.hash != new.hash {
        said.push("its content is another".into());
    }
    said.join(", ")
}

/// Which of these were not known before: they are worth an alert.
pub fn news(before: &[IntegrityFinding], after: &[IntegrityFinding]) -> Vec<IntegrityFinding> {
    after.iter().filter(|finding| !before.contains(finding)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hafen_base::SeededRandom;
    use hafen_sshca::{HostKey, SshCa};

    use super::super::step::{Told, Watched};
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000)
    }

    fn known() -> Known {
        Known {
            hashes: [("/etc/ssh/hafen_user_ca.pub".to_owned(), "ca".to_owned())].into(),
            host_authority: SshCa::in_memory(&SeededRandom::new(1)).host_public().unwrap(),
            host: "web-1.hello.hafen".into(),
            now: now(),
        }
    }

    fn entry(hash: &str) -> Entry {
        Entry {
            kind: "f".into(),
            mode: "644".into(),
            owner: "0:0".into(),
            target: String::new(),
            hash: hash.into(),
        }
    }

    fn good() -> Report {
        let lines: Vec<String> =
            SSHD.iter().map(|line| (*line).to_owned()).chain(["port 22".into()]).collect();
        let files = [
            ("ssh /etc/ssh/hafen_user_ca.pub", entry("ca")),
            ("sudo /etc/sudoers", entry("s")),
            ("setuid /usr/bin/su", Entry { mode: "4755".into(), ..entry("u") }),
        ];
        Report {
            config: ["root", "hafen"].map(|user| (user.to_owned(), lines.clone())).into(),
            files: files.into_iter().map(|(key, entry)| (key.to_owned(), entry)).collect(),
            setting_up: false,
            certificates: BTreeMap::new(),
        }
    }

    fn baseline(report: Report, accepted: bool) -> Baseline {
        Baseline { report, accepted, at: now(), by: String::new(), reason: String::new() }
    }

    type Change = fn(&mut Report);

    /// What is done to a machine, what is said of it at its first check, and what later.
    const CHANGES: &[(Change, Option<&str>, &str)] = &[
        (|r| drop(r.files.insert("key /home/x/.ssh/authorized_keys".into(), entry(EMPTY))), None, "is new"),
        (
            |r| replace(r, "authorizedkeysfile none", "authorizedkeysfile .ssh/authorized_keys2"),
            Some("authorized_keys2"),
            "authorized_keys2",
        ),
        (|r| replace(r, "permitrootlogin no", "permitrootlogin yes"), Some("root"), "permitrootlogin yes"),
        (|r| replace(r, "passwordauthentication no", ""), Some("not in force"), "not in force"),
        (|r| replace(r, "port 22", "port 2222"), None, "port 2222"),
        (|r| r.config.clear(), Some("nothing of its configuration"), "nothing of its configuration"),
        (
            |r| drop(r.files.insert("ssh /etc/ssh/hafen_user_ca.pub".into(), entry("evil"))),
            Some("something else"),
            "something else",
        ),
        (|r| drop(r.files.remove("ssh /etc/ssh/hafen_user_ca.pub")), Some("not there"), "not there"),
        (
            |r| drop(r.files.insert("key /root/.ssh/authorized_keys2".into(), entry("k"))),
            Some("no machine needs"),
            "no machine needs",
        ),
        (
            |r| drop(r.files.insert("ssh /etc/ssh/hafen_principals/root".into(), entry("p"))),
            Some("does not know"),
            "does not know",
        ),
        (
            |r| drop(r.files.insert("sudo /etc/sudoers.d/x".into(), entry("x"))),
            None,
            "/etc/sudoers.d/x is new",
        ),
        (|r| drop(r.files.insert("sudo /etc/sudoers".into(), entry("x"))), None, "its content is another"),
        (
            |r| drop(r.files.insert("sudo /etc/sudoers".into(), Entry { mode: "666".into(), ..entry("s") })),
            None,
            "mode 644 became 666",
        ),
        (|r| drop(r.files.remove("sudo /etc/sudoers")), None, "is gone"),
        (
            |r| drop(r.files.insert("setuid /tmp/sh".into(), entry("x"))),
            None,
            "/tmp/sh runs with the rights of its owner (0:0)",
        ),
        (
            |r| drop(r.certificates.insert("/etc/ssh/k-cert.pub".into(), "ssh-ed25519-cert AAAA".into())),
            Some("no host certificate"),
            "no host certificate",
        ),
    ];

    fn replace(report: &mut Report, old: &str, new: &str) {
        let lines = report.config.get_mut("root").unwrap();
        lines.retain(|line| line != old);
        lines.extend(Some(new.to_owned()).filter(|new| !new.is_empty()));
    }

    #[test]
    fn what_is_good_says_nothing() {
        assert_eq!(findings(&known(), None, &good()), []);
        assert_eq!(findings(&known(), Some(&baseline(good(), false)), &good()), []);
    }

    #[test]
    fn what_changed_is_said_once() {
        for (number, (change, first, later)) in CHANGES.iter().enumerate() {
            let mut report = good();
            change(&mut report);
            // A machine that was so from its first check.
            let said = findings(&known(), Some(&baseline(report.clone(), false)), &report);
            assert_eq!(said.is_empty(), first.is_none(), "{number}: {said:?}");
            if let Some(first) = first {
                assert!(said[0].message.contains(first), "{number}: {said:?}");
            }
            // One that became so.
            let said = findings(&known(), Some(&baseline(good(), false)), &report);
            let subjects: std::collections::BTreeSet<_> = said.iter().map(|one| &one.subject).collect();
            assert_eq!(subjects.len(), said.len(), "{number}: {said:?}");
            assert!(said[0].message.contains(later), "{number}: {said:?}");
            // One that somebody accepted so, but for a certificate, which is judged each time.
            let said = findings(&known(), Some(&baseline(report.clone(), true)), &report);
            assert_eq!(said.is_empty(), report.certificates.is_empty(), "{number}: {said:?}");
            // And that was put right after that.
            let said = findings(&known(), Some(&baseline(report.clone(), true)), &good());
            assert_eq!(said.is_empty(), !report.certificates.is_empty(), "{number}: {said:?}");
        }
    }

    #[test]
    fn host_certificates_are_judged() {
        let random = SeededRandom::new(1);
        let ca = SshCa::in_memory(&random);
        let key = HostKey::generate(&random).unwrap().public_key;
        let sign = |ca: &SshCa, name: &str, at: Timestamp| {
            ca.sign_host(&key, &[name.to_owned()], at, &SeededRandom::new(2)).unwrap()
        };
        let other = SshCa::in_memory(&SeededRandom::new(9));
        let long_ago = Timestamp::from_micros(1);
        for (line, is_good) in [
            (sign(&ca, "web-1.hello.hafen", now()), true),
            (sign(&ca, "web-2.hello.hafen", now()), false),
            (sign(&other, "web-1.hello.hafen", now()), false),
            (sign(&ca, "web-1.hello.hafen", long_ago), false),
            (key.clone(), false),
        ] {
            let mut report = good();
            report.certificates.insert("/etc/ssh/k-cert.pub".into(), line);
            assert_eq!(findings(&known(), None, &report).is_empty(), is_good);
        }
    }

    #[test]
    fn news_are_told_once_and_failures_after_some() {
        let every = Duration::from_secs(300);
        let mut watched = Watched::new("m", "hello", "web-1", "SHA256:x");
        assert_eq!(watched.state(), "waiting");
        // It still starts: tried again soon, then less often, and told when it took too long.
        let (mut at, mut told, mut tries) = (now(), Vec::new(), 0);
        while told.is_empty() {
            told = watched.failed("no".into(), at, every);
            assert!(watched.next_at > at && watched.next_at <= at.plus(every));
            at = watched.next_at;
            tries += 1;
        }
        assert_eq!((told, tries), (vec![Told::Unchecked], 6));
        assert_eq!(watched.failed("no".into(), at, every), []);
        assert_eq!(watched.state(), "unchecked");
        let told = watched.reported(good(), &known()).unwrap();
        assert_eq!(told, [Told::CheckedAgain, Told::Baseline]);
        assert_eq!((watched.state(), watched.error.as_str()), ("ok", ""));
        assert_eq!(watched.reported(good(), &known()).unwrap(), []);

        let mut bad = good();
        bad.files.insert("key /root/.ssh/authorized_keys2".into(), entry("k"));
        let told = watched.reported(bad.clone(), &known()).unwrap();
        assert!(matches!(told.as_slice(), [Told::Changed(news)] if news.len() == 1), "{told:?}");
        assert_eq!(watched.reported(bad.clone(), &known()).unwrap(), []);
        bad.files.insert("sudo /etc/sudoers".into(), entry("x"));
        let told = watched.reported(bad, &known()).unwrap();
        assert!(matches!(told.as_slice(), [Told::Changed(news)] if news.len() == 1), "{told:?}");
        assert_eq!(watched.state(), "changed");
        assert_eq!(watched.reported(good(), &known()).unwrap(), [Told::Restored]);
        // One that was checked fails for as long as three times, and not less.
        let mut at = now();
        for expected in [vec![], vec![], vec![Told::Unchecked], vec![]] {
            assert_eq!(watched.failed("no".into(), at, every), expected);
            at = at.plus(every);
        }
    }
}
