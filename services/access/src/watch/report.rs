//! What a machine tells of its ways in, read from what its script wrote (`crates/qemu/guest/report.sh`). What a machine says
//! is outside input: bounded, and never believed to be what it claims but only compared.

use std::collections::BTreeMap;

use hafen_base::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of a report.
pub const LIMIT: usize = 1 << 20;
/// Things a report may name.
const FILES_MOST: usize = 5000;
/// Of a path or a line that is kept.
const TEXT_MOST: usize = 1000;

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `f`, `d`, `l` as find has them.
    pub kind: String,
    /// Octal.
    pub mode: String,
    /// User and group by number.
    pub owner: String,
    /// Of a link.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// SHA-256 in hexadecimal; empty for what has no content, or one that changes by itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// A report that came whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Lines of `sshd -T`, sorted, by the user who would log in.
    pub config: BTreeMap<String, Vec<String>>,
    /// By class and path: `key /root/.ssh/authorized_keys`.
    pub files: BTreeMap<String, Entry>,
    /// cloud-init has not ended: what it makes may still be missing.
    #[serde(skip)]
    pub setting_up: bool,
    /// Host certificates, which are others at each start, by path; judged, not compared.
    #[serde(skip)]
    pub certificates: BTreeMap<String, String>,
}

impl Report {
    /// Reads one.
    ///
    /// # Errors
    /// Unavailable when it is not one, or not whole.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let broken = |what: &str| Error::unavailable(format!("its report cannot be read: {what}"));
        let text = String::from_utf8_lossy(bytes);
        let mut records = text.split('\0');
        if records.next() != Some("hafen-report 1") {
            return Err(broken("it is none"));
        }
        let (mut report, mut hashes, mut whole) = (Self::default(), BTreeMap::new(), false);
        for record in records {
            if record == "end" {
                whole = true;
                break;
            }
            if record.is_empty() {
                continue;
            }
            if record == "setting-up" {
                report.setting_up = true;
            } else if let Some(rest) = record.strip_prefix("config ") {
                let (user, lines) = rest.split_once('\n').unwrap_or((rest, ""));
                let mut lines: Vec<String> = lines.lines().map(clean).filter(|l| !l.is_empty()).collect();
                lines.sort();
                report.config.insert(clean(user), lines);
            } else if let Some(rest) = record.strip_prefix("certificate ") {
                let (path, line) = rest.split_once('\n').unwrap_or((rest, ""));
                report.certificates.insert(clean(path), line.trim().to_owned());
            } else if let Some(rest) = record.strip_prefix("file ") {
                let fields: Vec<&str> = rest.splitn(7, '\t').collect();
                let [class, kind, mode, user, group, target, path] = fields.as_slice() else {
                    return Err(broken("a file is not described as it should be"));
                };
                let entry = Entry {
                    kind: clean(kind),
                    mode: clean(mode),
                    owner: format!("{}:{}", clean(user), clean(group)),
                    target: clean(target),
                    hash: String::new(),
                };
                report.files.insert(format!("{} {}", clean(class), clean(path)), entry);
            } else if let Some((hash, path)) = record.split_once("  ") {
                hashes.insert(clean(path), clean(hash));
            } else {
                return Err(broken("it has an unknown part"));
            }
            if report.files.len() > FILES_MOST || hashes.len() > FILES_MOST || report.config.len() > 10 {
                return Err(broken("it is too long"));
            }
        }
        if !whole {
            return Err(broken("it was cut short"));
        }
        for (key, entry) in &mut report.files {
            let path = key.split_once(' ').map_or("", |(_, path)| path);
            if let Some(hash) = hashes.get(path).filter(|_| !report.certificates.contains_key(path)) {
                entry.hash.clone_from(hash);
            }
        }
        Ok(report)
    }

    /// Says whether two reports are the same.
    ///
    /// # Errors
    /// Internal.
    pub fn digest(&self) -> Result<String> {
        use std::fmt::Write as _;
        let text = serde_json::to_vec(self).map_err(Error::internal)?;
        Ok(Sha256::digest(&text).iter().take(16).fold(String::new(), |mut out, byte| {
            // Writing into a String does not fail.
            let _ = write!(out, "{byte:02x}");
            out
        }))
    }
}

/// As it can be shown: no control characters, and not without end.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(TEXT_MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "hafen-report 1\0config root\nport 22\nauthorizedkeysfile none\n\0\
        certificate /etc/ssh/k-cert.pub\nssh-ed25519-cert-v01@openssh.com AAAA\n\0\
        file ssh\tf\t644\t0\t0\t\t/etc/ssh/sshd_config\0file ssh\tf\t644\t0\t0\t\t/etc/ssh/k-cert.pub\0\
        file unit\tl\t777\t0\t0\t/dev/null\t/etc/systemd/system/x\0file key\tf\t600\t0\t0\t\t/a\n\tb\0\
        aa  /etc/ssh/sshd_config\0bb  /etc/ssh/k-cert.pub\0end\0";

    #[test]
    fn a_report_is_read() {
        let report = Report::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(report.config["root"], ["authorizedkeysfile none", "port 22"]);
        assert_eq!(report.files["ssh /etc/ssh/sshd_config"].hash, "aa");
        // Another at each start.
        assert_eq!(report.files["ssh /etc/ssh/k-cert.pub"].hash, "");
        assert!(report.certificates["/etc/ssh/k-cert.pub"].starts_with("ssh-ed25519-cert"));
        assert_eq!(report.files["unit /etc/systemd/system/x"].target, "/dev/null");
        assert!(report.files.contains_key("key /a??b"), "{report:?}");
        let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(again.digest().unwrap(), report.digest().unwrap());
        // Of the machine's state, not of its ways in: the same digest.
        assert!(!report.setting_up);
        let early = Report::parse(WHOLE.replace("1\0config", "1\0setting-up\0config").as_bytes()).unwrap();
        assert!(early.setting_up);
        assert_eq!(early.digest().unwrap(), report.digest().unwrap());
    }

    #[test]
    fn what_is_none_is_refused() {
        let long =
            (0..=5000).fold(String::new(), |text, n| text + &format!("file ssh\tf\t6\t0\t0\t\t/{n}\0"));
        for (text, word) in [
            (String::new(), "none"),
            ("hafen-report 2\0end\0".into(), "none"),
            (WHOLE.replace("end\0", ""), "cut short"),
            (WHOLE.replace("\0end", "\0en"), "unknown part"),
            (WHOLE.replace("\t0\t0\t\t/etc/ssh/sshd_config", ""), "described"),
            (format!("hafen-report 1\0{long}end\0"), "too long"),
        ] {
            let error = Report::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        assert!(Report::parse(&[0xff, 0, 0xfe]).is_err());
    }
}
