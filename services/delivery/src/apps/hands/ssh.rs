//! Real machines, by SSH, as everybody else reaches them: with a key and a certificate for one connection, which is kept for
//! as long as it is used. What people watch, logs and commands of theirs, has connections of its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Clock, Error, Random, Result};
use hafen_client::wire::AppHealth;
use hafen_client::{Client, Duplex};
use hafen_remote::{Collected, Ended, Input, Login, Session, Sink, quote, words};
use hafen_sshca::ssh_key::{Certificate, PrivateKey, PublicKey};
use hafen_sshca::{HostKey, LOGIN_USER, Place, SshCa, UserWish, principal};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use super::super::environment::FOLDER;
use super::said::{answer, looked};
use super::{At, BuildJob, Built, Hands, Lines, Looked, Migrated};

const SCRIPT: &str = include_str!("../../../guest/app.sh");
const PORT: u16 = 22;
/// The certificate of a connection, which only begins within it.
const CERTIFICATE: Duration = Duration::from_secs(120);
/// For a connection to stand, on a host that emulates and is busy.
const CONNECT: Duration = Duration::from_secs(60);
/// For one call that moves no files.
const CALL: Duration = Duration::from_secs(120);
/// For one that does.
const CARRY: Duration = Duration::from_secs(1800);
/// For a command that somebody runs where a process is.
const COMMAND: Duration = Duration::from_secs(1800);
/// What a call says at most.
const ANSWER: usize = 1 << 20;
/// What a build may leave, as an archive.
const OUTPUT_MOST: u64 = 8 << 30;

/// Logs and commands that people have open on one machine: each is a process of its SSH server there.
const WATCHERS: usize = 16;

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Session>>>>;

/// Logs in to machines.
#[async_trait]
trait Door: Send + Sync {
    async fn open(&self, at: At<'_>) -> Result<Session>;
}

/// Machines of the platform, with a certificate of its authority.
struct Machines {
    platform: Client,
    ca: Arc<SshCa>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The way to machines.
pub struct Ssh {
    platform: Client,
    door: Arc<dyn Door>,
    clock: Arc<dyn Clock>,
    /// Connections that stand, by project and machine.
    slots: Mutex<HashMap<String, Slot>>,
    /// Places for logs and commands, by project and machine.
    watchers: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Ssh {
    pub fn new(platform: Client, ca: Arc<SshCa>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let door = Machines { platform: platform.clone(), ca, clock: Arc::clone(&clock), random };
        Self::through(Arc::new(door), platform, clock)
    }

    fn through(door: Arc<dyn Door>, platform: Client, clock: Arc<dyn Clock>) -> Self {
        Self { platform, door, clock, slots: Mutex::default(), watchers: Mutex::default() }
    }

    fn slot(&self, at: At<'_>) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key(at)).or_default())
    }

    async fn session(&self, at: At<'_>) -> Result<Arc<Session>> {
        let slot = self.slot(at);
        let mut slot = slot.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(self.within(CONNECT, at, self.door.open(at)).await?);
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }

    /// A machine that died answers nothing, for a long time.
    async fn within<T>(
        &self,
        time: Duration,
        at: At<'_>,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.clock.sleep(time) => {
                Err(Error::unavailable(format!("machine {:?} did not answer within {} s", at.machine, time.as_secs())))
            }
        }
    }

    /// Runs a command line; what went wrong with the connection ends it.
    async fn run(
        &self,
        at: At<'_>,
        line: &str,
        input: Option<Box<dyn Input>>,
        sink: &mut dyn Sink,
        time: Duration,
    ) -> Result<Ended> {
        let session = self.session(at).await?;
        let ended = self.within(time, at, session.run(line, input, sink)).await;
        if ended.is_err() {
            self.forget(at);
        }
        ended
    }

    /// Runs a command line for somebody who may read slowly, or leave in the middle. Over a connection of its own: on the
    /// shared one whoever does not read holds up everybody, and whoever leaves goes on there. When this is dropped the
    /// connection breaks, and the machine ends what has nobody left to speak to, or sees the end of its input.
    async fn watched(
        &self,
        at: At<'_>,
        line: &str,
        input: Option<Box<dyn Input>>,
        sink: &mut dyn Sink,
        time: Duration,
    ) -> Result<Ended> {
        let _place = self.place(at)?;
        let session = self.within(CONNECT, at, self.door.open(at)).await?;
        self.within(time, at, session.run(line, input, sink)).await
    }

    fn place(&self, at: At<'_>) -> Result<OwnedSemaphorePermit> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|_, places| places.available_permits() < WATCHERS);
        let places = watchers.entry(key(at)).or_insert_with(|| Arc::new(Semaphore::new(WATCHERS)));
        Arc::clone(places).try_acquire_owned().map_err(|_| {
            Error::unavailable(format!(
                "{WATCHERS} logs and commands are open on machine {:?} already: end some, and try again",
                at.machine
            ))
        })
    }

    /// A verb of the script.
    async fn verb(
        &self,
        at: At<'_>,
        args: &[&str],
        input: Option<Box<dyn Input>>,
        time: Duration,
    ) -> Result<Vec<u8>> {
        let mut said = Collected::up_to(ANSWER);
        let ended = self.run(at, &line(args), input, &mut said, time).await?;
        if ended.is_success() {
            return Ok(said.out);
        }
        let verb = args.first().copied().unwrap_or_default();
        Err(Error::unavailable(format!(
            "{verb} on machine {:?} ended with {ended}: {}",
            at.machine,
            said.complaint()
        )))
    }
}

#[async_trait]
impl Door for Machines {
    async fn open(&self, at: At<'_>) -> Result<Session> {
        let machine = self.platform.machine_get(at.project, at.machine).await?;
        let (now, random) = (self.clock.now(), &*self.random);
        let pair = HostKey::generate(random)?;
        let principals = [principal(at.project)];
        let wish = UserWish {
            place: Place::Machine,
            principals: &principals,
            key_id: "hafen delivery",
            source_address: None,
            ttl: CERTIFICATE,
        };
        let signed = self.ca.sign_user(&pair.public_key, &wish, now, random)?;
        let stream = self.platform.machine_dial(at.project, at.machine, PORT).await?;
        let authority = PublicKey::from_openssh(&self.ca.host_public()?).map_err(Error::internal)?;
        let login = Login {
            host_authority: authority.key_data().clone(),
            host: format!("{}.{}.hafen", machine.name, machine.project),
            host_key: machine.ssh_host_key.unwrap_or_default(),
            user: LOGIN_USER.into(),
            key: PrivateKey::from_openssh(&pair.private_key).map_err(Error::internal)?,
            certificate: Certificate::from_openssh(&signed.certificate).map_err(Error::internal)?,
            now,
        };
        Session::open(Box::new(Duplex::from(stream)), login).await
    }
}

fn key(at: At<'_>) -> String {
    format!("{}/{}", at.project, at.machine)
}

fn line(args: &[&str]) -> String {
    format!("sudo -n sh -c {} app {}", quote(SCRIPT), words(args))
}

fn bytes(bytes: Zeroizing<Vec<u8>>) -> Box<dyn Input> {
    Box::new(Bytes { bytes, at: 0 })
}

fn file(mut file: File) -> Result<Box<dyn Input>> {
    file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
    Ok(Box::new(tokio::fs::File::from_std(file)))
}

/// An input without bytes and without an end: it lasts as long as the call.
struct Open;

impl tokio::io::AsyncRead for Open {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
        _buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Pending
    }
}

/// Bytes to be read, wiped when they are read.
struct Bytes {
    bytes: Zeroizing<Vec<u8>>,
    at: usize,
}

impl tokio::io::AsyncRead for Bytes {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..count).unwrap_or_default());
        self.at += count;
        std::task::Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Hands for Ssh {
    async fn look(&self, at: At<'_>, app: &str) -> Result<Looked> {
        let said = self.verb(at, &["look", app], None, CALL).await?;
        Ok(looked(app, &String::from_utf8_lossy(&said)))
    }

    async fn install(&self, at: At<'_>, app: &str, release: i64, tar: File) -> Result<()> {
        self.verb(at, &["install", app, &release.to_string()], Some(file(tar)?), CARRY).await.map(drop)
    }

    async fn start(&self, at: At<'_>, app: &str, id: &str, archive: Zeroizing<Vec<u8>>) -> Result<()> {
        self.verb(at, &["start", app, id], Some(bytes(archive)), CALL).await.map(drop)
    }

    async fn stop(&self, at: At<'_>, app: &str, ids: &[String]) -> Result<()> {
        let mut args = vec!["stop", app];
        args.extend(ids.iter().map(String::as_str));
        self.verb(at, &args, None, CALL).await.map(drop)
    }

    async fn keep(&self, at: At<'_>, app: &str, ids: &[String], releases: &[i64]) -> Result<()> {
        let numbers: Vec<String> = releases.iter().map(ToString::to_string).collect();
        self.verb(at, &["keep", app, &ids.join(" "), &numbers.join(" ")], None, CALL).await.map(drop)
    }

    async fn leave(&self, at: At<'_>, app: &str) -> Result<()> {
        self.verb(at, &["leave", app], None, CALL).await.map(drop)
    }

    async fn migrate(
        &self,
        at: At<'_>,
        app: &str,
        release: i64,
        archive: Zeroizing<Vec<u8>>,
    ) -> Result<Migrated> {
        let said = self.verb(at, &["migrate", app, &release.to_string()], Some(bytes(archive)), CALL).await?;
        let said = String::from_utf8_lossy(&said);
        let (state, rest) = said.split_once('\n').unwrap_or((&said, ""));
        match state {
            "running" => Ok(Migrated::Running),
            "done" => Ok(Migrated::Done),
            "failed" => Ok(Migrated::Failed(rest.trim_end().to_owned())),
            other => Err(Error::unavailable(format!("the migration says {other:?}"))),
        }
    }

    async fn probe(
        &self,
        at: At<'_>,
        port: u16,
        health: Option<&AppHealth>,
        timeout: Duration,
    ) -> Result<Result<(), String>> {
        let ask = async {
            let stream = match self.platform.machine_dial(at.project, at.machine, port).await {
                Ok(stream) => stream,
                Err(error) => return Err(format!("port {port} takes no connection: {error}")),
            };
            match health {
                None => Ok(()),
                Some(health) => answer(Duplex::from(stream), &health.path).await,
            }
        };
        let late = || format!("no answer from port {port} within {} ms", timeout.as_millis());
        Ok(tokio::select! {
            told = ask => told,
            () = self.clock.sleep(timeout) => Err(late()),
        })
    }

    async fn lines(&self, at: At<'_>, app: &str, lines: Lines<'_>, to: &mut dyn Sink) -> Result<()> {
        let count = lines.count.to_string();
        let follow = if lines.follow { "follow" } else { "" };
        let args = ["logs", app, &count, follow, lines.process.unwrap_or("*")];
        // Who follows does so until they have enough.
        let time = if lines.follow { Duration::from_secs(24 * 3600) } else { CALL };
        self.watched(at, &line(&args), None, to, time).await.map(drop)
    }

    async fn exec(&self, at: At<'_>, app: &str, id: &str, command: &str, to: &mut dyn Sink) -> Result<Ended> {
        let seconds = COMMAND.as_secs().to_string();
        let line = line(&["exec", app, id, &seconds, command]);
        self.watched(at, &line, Some(Box::new(Open)), to, COMMAND).await
    }

    async fn build(&self, at: At<'_>, job: BuildJob<'_>, spool: &Path, log: &mut dyn Sink) -> Result<Built> {
        let mut built = Built { output: None, cache: None, failed: String::new() };
        let unpack = "mkdir -p build/source && tar -x -f - -C build/source";
        for archive in [Some(job.source), job.cache].into_iter().flatten() {
            let ended = self.run(at, unpack, Some(file(archive)?), log, CARRY).await?;
            if !ended.is_success() {
                return Err(Error::unavailable(format!(
                    "the source does not arrive in the builder: {ended}"
                )));
            }
        }
        self.verb(at, &["build-begin"], Some(bytes(job.environment)), CALL).await?;
        for command in job.commands {
            log.out(format!("$ {command}\n").as_bytes()).await?;
            let line = format!(
                "cd build/source || exit 1; exec sh {FOLDER}/start {} 2>&1 </dev/null",
                quote(command)
            );
            let ended = self.run(at, &line, None, log, Duration::from_secs(48 * 3600)).await?;
            if !ended.is_success() {
                built.failed = format!("{command:?} ended with {ended}");
                break;
            }
        }
        // Before anything is packed.
        self.verb(at, &["build-end"], None, CALL).await?;
        if !job.cached.is_empty() {
            let folders: Vec<String> = job.cached.iter().map(|one| quote(one)).collect();
            let there = format!(
                "cd build/source && for f in {}; do [ -e \"$f\" ] && printf '%s\\0' \"$f\"; done | tar -c -f - --null -T -",
                folders.join(" ")
            );
            let mut sink = ToFile::new(spool, log)?;
            let ended = self.run(at, &there, None, &mut sink, CARRY).await?;
            built.cache = ended.is_success().then_some(sink.done().await?);
        }
        if built.failed.is_empty() {
            let line = format!("cd build/source && cd {} && tar -c -f - .", quote(job.output));
            let mut sink = ToFile::new(spool, log)?;
            let ended = self.run(at, &line, None, &mut sink, CARRY).await?;
            let output = sink.done().await?;
            if ended.is_success() {
                built.output = Some(output);
            } else {
                built.failed = format!("the output {:?} is no folder after the build", job.output);
            }
        }
        Ok(built)
    }

    fn forget(&self, at: At<'_>) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(at));
    }
}

/// Keeps what is said in a file without a name; complaints go to the log.
struct ToFile<'a> {
    file: tokio::fs::File,
    written: u64,
    log: &'a mut dyn Sink,
}

impl<'a> ToFile<'a> {
    fn new(spool: &Path, log: &'a mut dyn Sink) -> Result<Self> {
        let file = tempfile::tempfile_in(spool).map_err(Error::internal)?;
        Ok(Self { file: tokio::fs::File::from_std(file), written: 0, log })
    }

    async fn done(mut self) -> Result<File> {
        self.file.flush().await.map_err(Error::internal)?;
        let mut file = self.file.into_std().await;
        file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
        Ok(file)
    }
}

#[async_trait]
impl Sink for ToFile<'_> {
    async fn out(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.written > OUTPUT_MOST {
            return Err(Error::invalid(format!("it leaves more than {OUTPUT_MOST} bytes")));
        }
        self.file.write_all(bytes).await.map_err(Error::internal)
    }

    async fn err(&mut self, bytes: &[u8]) -> Result<()> {
        self.log.err(bytes).await
    }
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod sshd_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_word() {
        let line =
            line(&["look", "shop"]).replacen("sudo -n ", "", 1).replace("verb=$1", "echo \"$1 $2\"; exit");
        let told = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(
            String::from_utf8(told.stdout).unwrap(),
            "look shop\n",
            "{}",
            String::from_utf8_lossy(&told.stderr)
        );
    }
}
