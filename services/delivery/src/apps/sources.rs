//! Sources by git: repositories of this platform, and copies of others'.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Clock, Error, ErrorKind, Result};
use hafen_client::wire::AppSource;
use hafen_git::Process;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::OwnedMutexGuard;

use super::around::Sources;

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
/// What is heard of git, on each of its outputs; a server can make it say anything.
const SAID: u64 = 64 << 10;
/// What is told of git's complaints.
const COMPLAINT: usize = 500;

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
    /// Where copies of others' repositories lie.
    copies: PathBuf,
    clock: Arc<dyn Clock>,
    limits: Limits,
    /// Which ways to other repositories git may go.
    protocols: &'static str,
    /// Certificates of authorities that are trusted beside those of the host.
    roots: Option<PathBuf>,
    /// Those of the host, where it keeps them in the folder where most do.
    host_roots: PathBuf,
    /// A copy is fetched into, read and removed by one at a time; by the name of its folder.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A repository to read from.
struct Place {
    folder: PathBuf,
    /// Of a copy: where it comes from, and nobody else uses it.
    copy: Option<(String, OwnedMutexGuard<()>)>,
}

impl Git {
    pub fn new(repositories: Arc<dyn Repositories>, copies: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            repositories,
            copies,
            clock,
            limits: Limits::default(),
            protocols: "https",
            roots: None,
            host_roots: "/etc/ssl/certs".into(),
            turns: Mutex::default(),
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

    /// Whether it ended well, what it said, and what it complained of. Dropped, all of it ends.
    async fn run(&self, mut command: Command, time: Duration) -> Result<(bool, String, String)> {
        let mut process = Process::spawn(&mut command)?;
        let (stdout, stderr) = (process.0.stdout.take(), process.0.stderr.take());
        self.within(time, async {
            let (out, err) = tokio::join!(heard(stdout), heard(stderr));
            let status = process.0.wait().await.map_err(Error::internal)?;
            Ok((status.success(), text(&out, usize::MAX), text(&err, COMPLAINT)))
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
    async fn place(&self, project: &str, source: &AppSource) -> Result<Place> {
        if let Some(repository) = &source.repository {
            return Ok(Place { folder: self.repositories.path(project, repository).await?, copy: None });
        }
        let Some(url) = &source.git else { return Err(Error::invalid("the app has no source")) };
        let name = copy_name(project, url);
        let turn = self.turn(&name).lock_owned().await;
        Ok(Place { folder: self.copies.join(name), copy: Some((url.clone(), turn)) })
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(name.to_owned()).or_default())
    }

    /// Brings a copy to what its source is now.
    async fn fetched(&self, place: &Place) -> Result<()> {
        let Some((url, _turn)) = &place.copy else { return Ok(()) };
        let is_new = !place.folder.join("HEAD").exists();
        if self.fetch(&place.folder, url).await? {
            return Ok(());
        }
        self.removed(&place.folder).await?;
        // It may have grown by what its source has long thrown away.
        if !is_new && self.fetch(&place.folder, url).await? {
            return Ok(());
        }
        self.removed(&place.folder).await?;
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
    async fn fetch(&self, folder: &Path, url: &str) -> Result<bool> {
        if !folder.join("HEAD").exists() {
            tokio::fs::create_dir_all(folder).await.map_err(Error::internal)?;
            let mut init = self.command(folder);
            init.args(["init", "--quiet", "--bare"]);
            let (good, _, said) = self.run(init, LOCAL).await?;
            if !good {
                return Err(Error::unavailable(format!("git init: {said}")));
            }
        }
        let mut fetch = self.command(folder);
        if let Some(roots) = &self.roots {
            // Git takes it in place of the file of the host, beside the folder.
            fetch.env("GIT_SSL_CAINFO", roots);
            if self.host_roots.is_dir() {
                fetch.env("GIT_SSL_CAPATH", &self.host_roots);
            }
        }
        fetch.args(["fetch", "--quiet", "--prune", "--no-write-fetch-head", "--end-of-options"]).arg(url);
        fetch.args(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]);
        let (good, _, said) = tokio::select! {
            done = self.run(fetch, FETCH) => done?,
            () = self.outgrown(folder) => return Ok(false),
        };
        if !good {
            return Err(unfetched(url, &said));
        }
        Ok(size(folder.to_owned()).await <= self.limits.copy)
    }

    /// Returns when a copy is larger than it may be.
    async fn outgrown(&self, folder: &Path) {
        while size(folder.to_owned()).await <= self.limits.copy {
            self.clock.sleep(LOOK).await;
        }
    }

    /// Removes a copy; by one rename, so that nobody finds half of it.
    async fn removed(&self, folder: &Path) -> Result<()> {
        let (folder, copies) = (folder.to_owned(), self.copies.clone());
        let work = move || -> std::io::Result<()> {
            let gone = tempfile::Builder::new().prefix("gone-").tempdir_in(copies)?.keep();
            match std::fs::rename(&folder, &gone) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // What a process that is being ended still writes there goes with the next housekeeping.
            let _later = std::fs::remove_dir_all(gone);
            Ok(())
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)?.map_err(|error| {
            Error::unavailable("a copy of a repository cannot be removed; the platform's log says why")
                .with_cause(error)
        })
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
            Err(Error::unavailable(format!("git archive {commit}: {}", text(&complaint, COMPLAINT))))
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
    async fn resolve(&self, project: &str, source: &AppSource, reference: Option<&str>) -> Result<String> {
        let name = reference.unwrap_or(&source.branch);
        super::check::check_branch(name).map_err(Error::invalid)?;
        let place = self.place(project, source).await?;
        self.fetched(&place).await?;
        for full in [format!("refs/heads/{name}"), format!("refs/tags/{name}")] {
            if let Some(commit) = self.commit_of(&place.folder, &full).await? {
                return Ok(commit);
            }
        }
        Err(Error::not_found(format!("branch or tag {name:?} in the source: push it first")))
    }

    async fn archive(
        &self,
        project: &str,
        source: &AppSource,
        commit: &str,
        spool: &Path,
    ) -> Result<(File, i64)> {
        if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::invalid("a commit is 40 or 64 hexadecimal digits"));
        }
        let place = self.place(project, source).await?;
        if self.commit_of(&place.folder, commit).await?.is_none() {
            self.fetched(&place).await?;
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

    async fn keep(&self, used: &[(String, String)]) -> Result<()> {
        let used: BTreeSet<String> = used.iter().map(|(project, url)| copy_name(project, url)).collect();
        let Ok(mut entries) = tokio::fs::read_dir(&self.copies).await else { return Ok(()) };
        while let Some(entry) = entries.next_entry().await.map_err(Error::internal)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            // One that is in use just now is looked at again the next time.
            if !used.contains(&name)
                && let Ok(_turn) = self.turn(&name).try_lock_owned()
            {
                self.removed(&entry.path()).await?;
            }
        }
        Ok(())
    }
}

/// Why a source cannot be fetched, with what to do where that is known.
fn unfetched(url: &str, said: &str) -> Error {
    // Nobody is asked: git says that it cannot.
    if said.contains("terminal prompts disabled") || said.contains("could not read Username") {
        return Error::invalid(format!(
            "{url} asks for a password, so it is private or not there: a source from elsewhere is fetched without one; have what is to be deployed pushed to a repository of this platform"
        ));
    }
    let advice = if said.contains("certificate") {
        ". Its certificate must be valid, and of an authority that this host knows or that `hafen serve --git-roots` names"
    } else if said.contains("not supported or disabled in libcurl") {
        ". It leads elsewhere: only https is followed"
    } else {
        ""
    };
    Error::unavailable(format!("{url} cannot be fetched: {said}{advice}"))
}

/// The folder of a copy. One per project, so that none learns from another what there is.
fn copy_name(project: &str, url: &str) -> String {
    let name = Sha256::digest(format!("{project}\n{url}"));
    let name = name.iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("{name}.git")
}

/// The first that is said; the rest is let go of.
async fn heard(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut said = Vec::new();
    let Some(mut from) = from else { return said };
    // A pipe that breaks is at its end; how the process ended says why.
    let _end = (&mut from).take(SAID).read_to_end(&mut said).await;
    let _rest = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    said
}

fn text(said: &[u8], most: usize) -> String {
    let said: String = String::from_utf8_lossy(said).chars().filter(|c| *c != '\0').take(most).collect();
    said.trim().to_owned()
}

/// Bytes that a folder takes on the disk. One that is being changed is measured as far as it is there.
async fn size(folder: PathBuf) -> u64 {
    tokio::task::spawn_blocking(move || folder_size(&folder)).await.unwrap_or(0)
}

fn folder_size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let meta = entry.metadata().ok()?;
        // A file of a few bytes, as each reference is, takes a block; one that was just written may have none yet.
        let own = meta.blocks().saturating_mul(512).max(meta.len());
        Some(if meta.is_dir() { own.saturating_add(folder_size(&entry.path())) } else { own })
    });
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
#[path = "sources_https_tests.rs"]
mod https_tests;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use hafen_base::SystemClock;

    use super::*;

    struct One(PathBuf);

    #[async_trait]
    impl Repositories for One {
        async fn path(&self, _project: &str, repository: &str) -> Result<PathBuf> {
            if repository == "shop" { Ok(self.0.clone()) } else { Err(Error::not_found("repository")) }
        }
    }

    fn sh(folder: &Path, line: &str) -> String {
        let output = std::process::Command::new("sh")
            .args(["-ec", line])
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("HOME", folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn git(home: &Path) -> Git {
        let repositories = Arc::new(One(home.join("shop.git")));
        Git::new(repositories, home.join("copies"), Arc::new(SystemClock))
    }

    #[tokio::test]
    async fn a_commit_of_endless_files_is_refused() {
        let home = tempfile::tempdir().unwrap();
        // One object under many names: next to nothing for git, 64 MiB as files.
        let commit = sh(
            home.path(),
            "git init -q --bare shop.git; cd shop.git; blob=$(head -c 1048576 /dev/zero | git hash-object -w --stdin); \
             tree=$(for i in $(seq 64); do printf '100644 blob %s\\t%s\\n' $blob $i; done | git mktree); \
             git -c user.name=a -c user.email=a@b commit-tree -m bomb $tree",
        );
        let mut git = git(home.path());
        git.limits.archive = 8 << 20;
        let source = AppSource { repository: Some("shop".into()), git: None, branch: "main".into() };
        let error = git.archive("hello", &source, &commit, home.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.to_string().contains("more than 8388608 bytes"), "{error}");
        // What fits is whole: 64 headers and files, and the end, which git rounds up to 10 KiB.
        git.limits.archive = 65 << 20;
        let (file, _) = git.archive("hello", &source, &commit, home.path()).await.unwrap();
        assert!(file.metadata().unwrap().len() > 64 << 20);
    }

    #[tokio::test]
    async fn a_source_that_sends_too_much_is_cut_off_and_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let commit = sh(
            home.path(),
            "git init -q -b main work; cd work; git config user.email a@b; git config user.name a; git config core.compression 0; \
             head -c 20000000 /dev/urandom > large; git add .; git commit -qm one; git rev-parse HEAD",
        );
        // Sends more than the limit, and then nothing more for ever.
        let serve = home.path().join("serve.sh");
        std::fs::write(
            &serve,
            format!(
                "git upload-pack {}/work | (stdbuf -o0 head -c 15000000; exec sleep 1000)\n",
                home.path().display()
            ),
        )
        .unwrap();
        let mut git = git(home.path());
        git.protocols = "ext:file";
        git.limits.copy = 8 << 20;
        let from = |url: String| AppSource { repository: None, git: Some(url), branch: "main".into() };
        let endless = from(format!("ext::sh {}", serve.display()));
        let limit = Duration::from_secs(100);
        let told = tokio::time::timeout(limit, git.resolve("hello", &endless, None)).await;
        let error = told.expect("the fetch is ended when it is too large").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        let left = || std::fs::read_dir(home.path().join("copies")).unwrap().count();
        assert_eq!(left(), 0);
        // One that is fine, and copies that nothing names any more.
        git.limits.copy = 64 << 20;
        let good = from(format!("file://{}/work", home.path().display()));
        assert_eq!(git.resolve("hello", &good, None).await.unwrap(), commit);
        assert_eq!(git.resolve("other", &good, None).await.unwrap(), commit);
        assert_eq!(left(), 2);
        let used = [("hello".to_owned(), good.git.clone().unwrap())];
        git.keep(&used).await.unwrap();
        assert_eq!(left(), 1);
        git.protocols = "none";
        git.archive("hello", &good, &commit, home.path()).await.expect("what is kept is not fetched again");
        git.protocols = "file";
        git.archive("other", &good, &commit, home.path()).await.expect("what is gone is fetched again");
        // A copy that grew by what its source threw away is made anew.
        sh(home.path(), "cd work; head -c 20000000 /dev/urandom > large; git commit -qa --amend -m two");
        git.limits.copy = 30 << 20;
        let amended = git.resolve("hello", &good, None).await.unwrap();
        assert_ne!(amended, commit);
        git.archive("hello", &good, &amended, home.path()).await.unwrap();
    }

    #[tokio::test]
    async fn commits_are_found_and_packed() {
        let home = tempfile::tempdir().unwrap();
        let commit = sh(
            home.path(),
            "git init -q -b main work; cd work; git config user.email a@b; git config user.name a; echo hello > page; git add .; \
             GIT_COMMITTER_DATE='@1790000000 +0000' git commit -qm one; git tag v1; git branch feature/x; git clone -q --bare . ../shop.git; git rev-parse HEAD",
        );
        let git = git(home.path());
        let source = AppSource { repository: Some("shop".into()), git: None, branch: "main".into() };
        for name in [None, Some("main"), Some("v1"), Some("feature/x")] {
            assert_eq!(git.resolve("hello", &source, name).await.unwrap(), commit, "{name:?}");
        }
        for (name, kind) in [
            ("nope", ErrorKind::NotFound),
            ("--upload-pack=x", ErrorKind::Invalid),
            ("HEAD~1", ErrorKind::Invalid),
        ] {
            assert_eq!(git.resolve("hello", &source, Some(name)).await.unwrap_err().kind(), kind, "{name}");
        }
        let (mut file, time) = git.archive("hello", &source, &commit, home.path()).await.unwrap();
        assert_eq!(time, 1_790_000_000);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let mut names = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            names.push(entry.unwrap().path().unwrap().display().to_string());
        }
        assert!(names.contains(&"page".to_owned()), "{names:?}");
        let other = "0".repeat(40);
        let error = git.archive("hello", &source, &other, home.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
