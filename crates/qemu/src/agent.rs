//! The host's side of the conversation with the agent in a guest (`guest/agent.pl`).
//!
//! A message is an opening line, lines of a key and hexadecimal values, and a closing line with
//! the same number. Hexadecimal because the guest's interpreter has it built in, and because no
//! value can then be mistaken for structure. What a guest answers is hostile input.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::qmp::Lines;
use crate::{Error, Result};

/// Text or bytes that never print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A file to write into the guest along with its identity.
#[derive(Debug, Clone)]
pub struct IdentityFile {
    /// Absolute.
    pub path: String,
    pub mode: u32,
    pub contents: Secret,
}

/// Who a machine is. Applied before its network comes up; applying it again changes nothing.
#[derive(Debug, Clone)]
pub struct Identity {
    /// A DNS label.
    pub hostname: String,
    pub fqdn: String,
    /// As in [`crate::Spec::machine_id`].
    pub machine_id: String,
    /// A fresh random uuid per start; becomes the boot id of a resumed machine.
    pub boot_id: String,
    /// As in [`crate::Spec::mac`].
    pub mac: String,
    /// Address and prefix length. None leaves the network alone.
    pub address: Option<(Ipv4Addr, u8)>,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Option<Ipv4Addr>,
    pub search: Option<String>,
    pub mtu: Option<u16>,
    /// Time since the epoch at the moment of the call; the time until it is sent is added.
    pub clock: Duration,
    /// At least 64 fresh bytes, used for nothing else.
    pub entropy: Secret,
    /// Private key in OpenSSH's format.
    pub host_key: Secret,
    /// The line of its public half.
    pub host_key_public: String,
    pub host_certificate: Option<String>,
    /// Lines of public keys whose user certificates are accepted.
    pub user_ca: String,
    /// Lines for sshd's `AuthorizedPrincipalsFile` of the login user.
    pub principals: String,
    pub files: Vec<IdentityFile>,
}

impl Identity {
    /// Refuses what could not work or could break out of a line of a configuration file.
    pub fn check(&self) -> Result<()> {
        let label = |text: &str| {
            !text.is_empty()
                && text.len() <= 63
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let name = |text: &str| text.len() <= 253 && text.split('.').all(label);
        let invalid = |what: &str| Err(Error::Invalid(format!("identity: {what}")));
        if !label(&self.hostname) {
            return invalid("the host name must be a lower-case DNS label");
        }
        if !name(&self.fqdn) || !self.search.as_deref().is_none_or(name) {
            return invalid("the domain must be lower-case DNS labels");
        }
        if !crate::spec::is_uuid(&self.boot_id) {
            return invalid("the boot id must be a lower-case uuid");
        }
        if !crate::spec::is_mac(&self.mac) {
            return invalid("the MAC address must be unicast, such as 52:54:00:12:34:56");
        }
        if self.entropy.0.len() < 64 || self.entropy.0.len() > 4096 {
            return invalid("between 64 and 4096 bytes of entropy are needed");
        }
        if self.address.is_some_and(|(_, prefix)| prefix > 32) {
            return invalid("the prefix length is at most 32");
        }
        let size: usize = self.files.iter().map(|file| file.contents.0.len()).sum();
        if size > 1 << 20 {
            return invalid("files of more than 1 MiB in total");
        }
        let path_ok = |path: &str| path.starts_with('/') && !path.split('/').any(|p| p == "..");
        if !self.files.iter().all(|file| path_ok(&file.path)) {
            return invalid("paths of files must be absolute, without '..'");
        }
        Ok(())
    }

    fn message(&self, number: u64, now: Duration) -> Vec<u8> {
        let mut out = Message::new("identity", number);
        out.text("hostname", &self.hostname);
        out.text("fqdn", &self.fqdn);
        out.text("machine_id", &self.machine_id);
        out.text("boot_id", &self.boot_id);
        out.text("mac", &self.mac);
        if let Some((address, prefix)) = self.address {
            out.text("address", &format!("{address}/{prefix}"));
        }
        if let Some(gateway) = self.gateway {
            out.text("gateway", &gateway.to_string());
        }
        if let Some(dns) = self.dns {
            out.text("dns", &dns.to_string());
        }
        if let Some(search) = &self.search {
            out.text("search", search);
        }
        if let Some(mtu) = self.mtu {
            out.text("mtu", &mtu.to_string());
        }
        out.text("clock", &format!("{}.{:09}", now.as_secs(), now.subsec_nanos()));
        out.values("entropy", &[&self.entropy.0]);
        out.values("host_key", &[&self.host_key.0]);
        out.text("host_key_public", &self.host_key_public);
        if let Some(certificate) = &self.host_certificate {
            out.text("host_certificate", certificate);
        }
        out.text("user_ca", &self.user_ca);
        out.text("principals", &self.principals);
        for file in &self.files {
            let mode = format!("{:o}", file.mode & 0o7777);
            out.values("file", &[file.path.as_bytes(), mode.as_bytes(), &file.contents.0]);
        }
        out.finish()
    }
}

/// What a guest says of itself. Not to be trusted for anything but display and comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub hostname: String,
    pub machine_id: String,
    pub boot_id: String,
    /// The public host key's line.
    pub host_key: String,
    /// Whole and decimal seconds since the guest's kernel started, as text.
    pub uptime: String,
    /// Whether the guest has been given its identity since it booted.
    pub has_identity: bool,
}

impl Facts {
    fn from(fields: &BTreeMap<String, Vec<u8>>) -> Self {
        let text = |key: &str| {
            let bytes = fields.get(key).map(Vec::as_slice).unwrap_or_default();
            let short = bytes.get(..1024).unwrap_or(bytes);
            String::from_utf8_lossy(short).chars().filter(|c| !c.is_control()).collect::<String>()
        };
        Self {
            hostname: text("hostname"),
            machine_id: text("machine_id"),
            boot_id: text("boot_id"),
            host_key: text("host_key"),
            uptime: text("uptime"),
            has_identity: text("applied") == "1",
        }
    }
}

struct Message {
    text: String,
    number: u64,
}

impl Message {
    fn new(verb: &str, number: u64) -> Self {
        Self { text: format!("HAFEN1 {verb} {number}\n"), number }
    }

    fn text(&mut self, key: &str, value: &str) {
        self.values(key, &[value.as_bytes()]);
    }

    fn values(&mut self, key: &str, values: &[&[u8]]) {
        self.text.push_str(key);
        for value in values {
            self.text.push(' ');
            for byte in *value {
                let _ = write!(self.text, "{byte:02x}");
            }
        }
        self.text.push('\n');
    }

    fn finish(mut self) -> Vec<u8> {
        let _ = writeln!(self.text, "END {}", self.number);
        self.text.into_bytes()
    }
}

type Answer = (String, BTreeMap<String, Vec<u8>>);

/// A connection to a guest's agent.
pub(crate) struct Agent {
    lines: Lines,
    number: u64,
}

impl Agent {
    /// `seed` sets this connection's message numbers apart from those of earlier connections,
    /// whose late answers may still be in the channel.
    pub(crate) fn new(stream: UnixStream, seed: u64) -> Self {
        Self { lines: Lines::new(stream), number: (seed % 1_000_000_000) * 1_000_000 }
    }

    /// Sends a verb without values and does not wait.
    pub(crate) async fn send(&mut self, verb: &str, deadline: Instant) -> Result<u64> {
        self.number += 1;
        let message = Message::new(verb, self.number).finish();
        self.lines.send(&message, deadline).await?;
        Ok(self.number)
    }

    /// Sends a verb without values and waits for its answer.
    pub(crate) async fn ask(&mut self, verb: &str, deadline: Instant) -> Result<Facts> {
        let number = self.send(verb, deadline).await?;
        self.answer(verb, number, deadline).await
    }

    /// Sends the identity. `since` is when [`Identity::clock`] was taken.
    pub(crate) async fn send_identity(
        &mut self,
        identity: &Identity,
        since: Instant,
        deadline: Instant,
    ) -> Result<u64> {
        self.number += 1;
        let now = identity.clock + since.elapsed();
        self.lines.send(&identity.message(self.number, now), deadline).await?;
        Ok(self.number)
    }

    /// Waits for the answer to a numbered message; answers to others are dropped.
    pub(crate) async fn answer(&mut self, verb: &str, number: u64, deadline: Instant) -> Result<Facts> {
        loop {
            let (answer, fields) = self.next(Some(number), deadline).await?;
            if answer == "error" {
                let text = fields.get("message").map(Vec::as_slice).unwrap_or_default();
                let text = String::from_utf8_lossy(text.get(..500).unwrap_or(text)).into_owned();
                return Err(Error::Agent { verb: verb.to_owned(), message: text });
            }
            if answer != "hello" {
                return Ok(Facts::from(&fields));
            }
        }
    }

    /// The next whole message, or the next with this number.
    async fn next(&mut self, wanted: Option<u64>, deadline: Instant) -> Result<Answer> {
        let mut open: Option<(String, u64, BTreeMap<String, Vec<u8>>)> = None;
        loop {
            let Some(line) = self.lines.next(deadline).await? else {
                return Err(Error::Qemu { what: "closed the agent's channel".into(), tail: String::new() });
            };
            let line = String::from_utf8(line).unwrap_or_default();
            if let Some((verb, number)) = opening(&line) {
                open = Some((verb, number, BTreeMap::new()));
                continue;
            }
            let Some((verb, number, mut fields)) = open.take() else { continue };
            if line == format!("END {number}") {
                if wanted.is_none_or(|wanted| wanted == number) {
                    return Ok((verb, fields));
                }
                continue;
            }
            // A line that fits nowhere ends the message it stands in.
            if let Some((key, value)) = line.split_once(' ').and_then(|(k, v)| Some((k, unhex(v)?)))
                && fields.len() < 64
            {
                fields.insert(key.to_owned(), value);
                open = Some((verb, number, fields));
            }
        }
    }

    /// Asks until somebody answers: a booting guest opens its end when it gets there.
    pub(crate) async fn wait_for_guest(&mut self, deadline: Instant) -> Result<()> {
        let mut pause = Duration::from_millis(250);
        loop {
            let number = self.send("ping", deadline).await?;
            let until = (Instant::now() + pause).min(deadline);
            match timeout_at(until, self.next(None, deadline)).await {
                Ok(answered) => {
                    let (verb, _) = answered?;
                    if verb == "hello" || verb == "pong" {
                        return Ok(());
                    }
                }
                Err(_) if Instant::now() >= deadline => {
                    return Err(Error::timeout("the guest's agent", Duration::ZERO));
                }
                // Not too many: what is unread waits in the channel.
                Err(_) => pause = (pause * 2).min(Duration::from_secs(5)),
            }
            tracing::trace!(number, "the guest has not answered yet");
        }
    }
}

fn opening(line: &str) -> Option<(String, u64)> {
    let mut words = line.strip_prefix("HAFEN1 ")?.split(' ');
    let verb = words.next().filter(|v| !v.is_empty() && v.len() <= 16)?;
    let number = words.next()?.parse().ok()?;
    words.next().is_none().then(|| (verb.to_owned(), number))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().all(|b| b.is_ascii_hexdigit()) || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("key")), "Secret(…)");
    }

    #[test]
    fn hex_is_strict() {
        assert_eq!(unhex("00ff"), Some(vec![0, 255]));
        for bad in ["0", "0g", "é0", "+1"] {
            assert!(unhex(bad).is_none(), "{bad}");
        }
    }

    #[tokio::test]
    async fn rubbish_and_late_answers_are_passed_over() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut agent = Agent::new(ours, 0);
        let number = agent.send("info", soon()).await.unwrap();
        let text = format!(
            "half a li\nHAFEN1 info 77\nhostname 61\nEND 77\nHAFEN1 info {number}\nbroken\nEND {number}\n\
             HAFEN1 info {number}\nhostname 77656231\nEND {number}\n"
        );
        theirs.write_all(text.as_bytes()).await.unwrap();
        let facts = agent.answer("info", number, soon()).await.unwrap();
        assert_eq!(facts.hostname, "web1");
    }

    #[tokio::test]
    async fn an_error_of_the_guest_is_told() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut agent = Agent::new(ours, 3);
        let number = agent.send("sync", soon()).await.unwrap();
        let text = format!("HAFEN1 error {number}\nmessage 6e6f\nEND {number}\n");
        theirs.write_all(text.as_bytes()).await.unwrap();
        let error = agent.answer("sync", number, soon()).await.unwrap_err();
        assert!(error.to_string().contains("no"), "{error}");
    }
}
