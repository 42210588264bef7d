//! Sources by git: repositories of this platform, and copies of others'.

mod copies;
mod credential;
mod hidden;
#[cfg(test)]
mod https_tests;
#[cfg(test)]
mod private_tests;
mod proxy;
#[cfg(test)]
mod proxy_tests;
mod said;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Clock, Error, ErrorKind, Result};
use hafen_client::wire::AppSource;
use hafen_git::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::OwnedMutexGuard;

use super::around::{SourceOf, Sources, Vault};
use copies::{Copies, size};
use credential::Credential;
use hidden::Hidden;
use proxy::Proxy;
use said::{COMPLAINT, Tried, heard, text};

/// Finds the bare repository of a project by its name.
#[async_trait]
pub trait Repositories: Send + Sync + 'static {
    /// # Errors
    /// Not found.
    async fn path(&self, project: &str, repository: &str) -> Result<PathBuf>;
}

#[async_trait]
impl Repositories for crate::Delivery {
    async fn path(&self, project: &str, repository: &str) -> Result<PathBuf> {
        let (_row, folder) = self.repository_ready(project, repository).await?;
        Ok(folder.path(&self.0.git))
    }
}

/// For a fetch from elsewhere.
const FETCH: Duration = Duration::from_secs(600);
const LOCAL: Duration = Duration::from_secs(300);
/// Between two looks at how large a copy has become.
const LOOK: Duration = Duration::from_millis(200);

/// How much of a source is taken. A few bytes of git can be made to stand for any number of bytes of files.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the files of one commit, as a tar archive.
    pub archive: u64,
    /// Bytes on the disk of a copy of a repository from elsewhere.
    pub copy: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { archive: 4 << 30, copy: 4 << 30 }
    }
}

/// Git, as a program.
pub struct Git {
    repositories: Arc<dyn Repositories>,
    /// Where tokens of private sources lie.
    vault: Arc<dyn Vault>,
    copies: Copies,
    /// The way to other hosts.
    proxy: Proxy,
    clock: Arc<dyn Clock>,
    limits: Limits,
    /// Which ways to other repositories git may go.
    protocols: &'static str,
    /// Certificates of authorities that are trusted beside those of the host.
    roots: Option<PathBuf>,
    /// Those of the host, where it keeps them in the folder where most do.
    host_roots: PathBuf,
}

/// A repository to read from.
struct Place {
    folder: PathBuf,
    /// Of a copy: where it comes from, and nobody else uses it.
    copy: Option<(String, OwnedMutexGuard<()>)>,
}

impl Git {
    /// Copies of others' repositories lie in a folder.
    pub fn new(
        repositories: Arc<dyn Repositories>,
        vault: Arc<dyn Vault>,
        copies: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            repositories,
            vault,
            copies: Copies::new(copies),
            proxy: Proxy::of_environment(),
            clock,
            limits: Limits::default(),
            protocols: "https",
            roots: None,
            host_roots: "/etc/ssl/certs".into(),
        }
    }

    /// Trusts the authorities of a file, beside those of the host: for servers with a certificate of a company's own.
    ///
    /// # Errors
    /// Invalid when there is no certificate in it.
    pub fn trusting(mut self, roots: &Path) -> Result<Self> {
        let unusable = |why: String| {
            Error::invalid(format!("{} with authorities of git servers: {why}", roots.display()))
        };
        let text = std::fs::read_to_string(roots).map_err(|error| unusable(error.to_string()))?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(unusable("it has no certificate in PEM".into()));
        }
        // Git runs in another folder.
        self.roots = Some(std::path::absolute(roots).map_err(|error| unusable(error.to_string()))?);
        Ok(self)
    }

    /// A git that reads no configuration of anybody, asks nobody and runs nothing of a repository.
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new("git");
        command
            .arg("--git-dir")
            .arg(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_ALLOW_PROTOCOL", self.protocols)
            .args(["-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*"])
            // Large files pass through in pieces.
            .args(["-c", "core.bigFileThreshold=16m", "-c", "pack.threads=2"])
            // What it tidies up it does before it ends: nothing goes on behind our back.
            .args(["-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Whether it ended well, what it said, and what it complained of, which may be anything. Dropped, all of it ends.
    async fn run(&self, mut command: Command, time: Duration) -> Result<(bool, String, Vec<u8>)> {
        let mut process = Process::spawn(&mut command)?;
        let (stdout, stderr) = (process.0.stdout.take(), process.0.stderr.take());
        self.within(time, async {
            let (out, err) = tokio::join!(heard(stdout), heard(stderr));
            let status = process.0.wait().await.map_err(Error::internal)?;
            Ok((status.success(), text(&out, usize::MAX, &Hidden::default()), err))
        })
        .await
    }

    async fn within<T>(&self, time: Duration, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.clock.sleep(time) => {
                Err(Error::unavailable(format!("git did not end within {} s", time.as_secs())))
            }
        }
    }

    /// The repository of a source.
    async fn place(&self, of: SourceOf<'_>) -> Result<Place> {
        if let Some(repository) = &of.source.repository {
            return Ok(Place { folder: self.repositories.path(of.project, repository).await?, copy: None });
        }
        let Some(url) = &of.source.git else { return Err(Error::invalid("the app has no source")) };
        let (folder, turn) = self.copies.turn(of.project, of.source).await;
        Ok(Place { folder, copy: Some((url.clone(), turn)) })
    }

    /// Brings a copy to what its source is now.
    async fn fetched(&self, of: SourceOf<'_>, place: &Place) -> Result<()> {
        let Some((url, _turn)) = &place.copy else { return Ok(()) };
        let credential = Credential::read(&*self.vault, of).await?;
        let credential = credential.as_ref();
        let is_new = !place.folder.join("HEAD").exists();
        if self.fetch(&place.folder, url, credential).await? {
            return Ok(());
        }
        self.copies.remove(&place.folder).await?;
        // It may have grown by what its source has long thrown away.
        if !is_new && self.fetch(&place.folder, url, credential).await? {
            return Ok(());
        }
        self.copies.remove(&place.folder).await?;
        Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "{url} has more than {} bytes, which is more than is copied from elsewhere: make its history smaller, or \
                 push what is to be deployed to a repository of this platform",
                self.limits.copy
            ),
        ))
    }

    /// False when it became larger than a copy may be.
    async fn fetch(&self, folder: &Path, url: &str, credential: Option<&Credential>) -> Result<bool> {
        if !folder.join("HEAD").exists() {
            tokio::fs::create_dir_all(folder).await.map_err(Error::internal)?;
            let mut init = self.command(folder);
            init.args(["init", "--quiet", "--bare"]);
            let (good, _, said) = self.run(init, LOCAL).await?;
            if !good {
                let said = text(&said, COMPLAINT, &Hidden::default());
                return Err(Error::unavailable(format!("git init: {said}")));
            }
        }
        let mut fetch = self.command(folder);
        let mut hidden = Hidden::default();
        if let Some(roots) = &self.roots {
            // Git takes it in place of the file of the host, beside the folder.
            fetch.env("GIT_SSL_CAINFO", roots);
            if self.host_roots.is_dir() {
                fetch.env("GIT_SSL_CAPATH", &self.host_roots);
            }
        }
        self.proxy.give(&mut fetch);
        self.proxy.hide(&mut hidden);
        if let Some(credential) = credential {
            credential.give(&mut fetch);
            credential.hide(&mut hidden);
        }
        fetch.args(["fetch", "--quiet", "--prune", "--no-write-fetch-head", "--end-of-options"]).arg(url);
        fetch.args(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]);
        let (good, _, said) = tokio::select! {
            done = self.run(fetch, FETCH) => done?,
            () = self.outgrown(folder) => return Ok(false),
        };
        if !good {
            return Err(Tried { url, credential, proxy: &self.proxy, hidden: &hidden }.unfetched(&said));
        }
        Ok(size(folder.to_owned()).await <= self.limits.copy)
    }

    /// Returns when a copy is larger than it may be.
    async fn outgrown(&self, folder: &Path) {
        while size(folder.to_owned()).await <= self.limits.copy {
            self.clock.sleep(LOOK).await;
        }
    }

    /// Writes an archive to a file, up to the limit.
    async fn carried(&self, mut command: Command, to: File, commit: &str) -> Result<()> {
        let mut process = Process::spawn(&mut command)?;
        let (stdout, stderr) = (process.0.stdout.take(), process.0.stderr.take());
        let most = self.limits.archive;
        let copied = async {
            let Some(stdout) = stdout else { return Ok(()) };
            let mut from = BufReader::with_capacity(256 << 10, stdout.take(most.saturating_add(1)));
            let mut to = tokio::fs::File::from_std(to);
            let written = async {
                let copied = tokio::io::copy_buf(&mut from, &mut to).await?;
                to.flush().await.map(|()| copied)
            };
            let copied = written.await.map_err(|error| {
                Error::unavailable(format!("git archive {commit}: {error}")).with_cause(error)
            })?;
            if copied > most {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!(
                        "the files of commit {commit} have more than {most} bytes: leave large ones out of the repository, \
                         or let the build fetch them"
                    ),
                ));
            }
            Ok(())
        };
        self.within(LOCAL, async {
            // The first that fails ends it: git is killed when it is let go of.
            let ((), complaint) = tokio::try_join!(copied, async { Ok(heard(stderr).await) })?;
            let status = process.0.wait().await.map_err(Error::internal)?;
            if status.success() {
                return Ok(());
            }
            Err(Error::unavailable(format!(
                "git archive {commit}: {}",
                text(&complaint, COMPLAINT, &Hidden::default())
            )))
        })
        .await
    }

    async fn commit_of(&self, folder: &Path, name: &str) -> Result<Option<String>> {
        let mut parse = self.command(folder);
        parse
            .args(["rev-parse", "--verify", "--quiet", "--end-of-options"])
            .arg(format!("{name}^{{commit}}"));
        let (good, told, _) = self.run(parse, LOCAL).await?;
        Ok(Some(told).filter(|told| good && told.bytes().all(|byte| byte.is_ascii_hexdigit())))
    }
}

#[async_trait]
impl Sources for Git {
    async fn resolve(&self, of: SourceOf<'_>, reference: Option<&str>) -> Result<String> {
        let name = reference.unwrap_or(&of.source.branch);
        super::check::check_branch(name).map_err(Error::invalid)?;
        let place = self.place(of).await?;
        self.fetched(of, &place).await?;
        for full in [format!("refs/heads/{name}"), format!("refs/tags/{name}")] {
            if let Some(commit) = self.commit_of(&place.folder, &full).await? {
                return Ok(commit);
            }
        }
        Err(Error::not_found(format!("branch or tag {name:?} in the source: push it first")))
    }

    async fn archive(&self, of: SourceOf<'_>, commit: &str, spool: &Path) -> Result<(File, i64)> {
        if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::invalid("a commit is 40 or 64 hexadecimal digits"));
        }
        let place = self.place(of).await?;
        if self.commit_of(&place.folder, commit).await?.is_none() {
            self.fetched(of, &place).await?;
            if self.commit_of(&place.folder, commit).await?.is_none() {
                return Err(Error::not_found(format!("commit {commit} in the source")));
            }
        }
        let mut show = self.command(&place.folder);
        show.args(["show", "--no-patch", "--format=%ct", "--end-of-options", commit]);
        let (_, time, _) = self.run(show, LOCAL).await?;
        let mut file = tempfile::tempfile_in(spool).map_err(Error::internal)?;
        let mut archive = self.command(&place.folder);
        archive.args(["archive", "--format=tar", commit]);
        self.carried(archive, file.try_clone().map_err(Error::internal)?, commit).await?;
        file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
        Ok((file, time.parse().unwrap_or(0)))
    }

    async fn keep(&self, used: &[(String, AppSource)]) -> Result<()> {
        self.copies.keep(used).await
    }
}
