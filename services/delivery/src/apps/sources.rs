//! Sources by git: repositories of this platform, and copies of others'.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Clock, Error, Result};
use hafen_client::wire::AppSource;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

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
/// What is told of git's complaints.
const COMPLAINT: usize = 500;

/// Git, as a program.
pub struct Git {
    pub repositories: Arc<dyn Repositories>,
    /// Where copies of others' repositories lie.
    pub copies: PathBuf,
    pub clock: Arc<dyn Clock>,
}

impl Git {
    /// A git that reads no configuration of anybody, asks nobody and runs nothing of a repository.
    fn command(folder: &Path) -> Command {
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
            .env("GIT_ALLOW_PROTOCOL", "https")
            .args(["-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*"])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, command: Command, time: Duration) -> Result<(bool, String, String)> {
        self.run_to(command, Stdio::piped(), time).await
    }

    async fn run_to(
        &self,
        mut command: Command,
        to: Stdio,
        time: Duration,
    ) -> Result<(bool, String, String)> {
        let missing = |error: std::io::Error| {
            Error::unavailable(format!("git does not run ({error}): apt-get install git")).with_cause(error)
        };
        let child = command.stdout(to).stderr(Stdio::piped()).spawn().map_err(missing)?;
        let output = tokio::select! {
            output = child.wait_with_output() => output.map_err(missing)?,
            () = self.clock.sleep(time) => {
                return Err(Error::unavailable(format!("git did not end within {} s", time.as_secs())));
            }
        };
        let said: String =
            String::from_utf8_lossy(&output.stderr).chars().filter(|c| *c != '\0').take(COMPLAINT).collect();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            said.trim().to_owned(),
        ))
    }

    /// The repository of a source; one from elsewhere is fetched when `fresh`.
    async fn folder(&self, project: &str, source: &AppSource, fresh: bool) -> Result<PathBuf> {
        if let Some(repository) = &source.repository {
            return self.repositories.path(project, repository).await;
        }
        let Some(url) = &source.git else { return Err(Error::invalid("the app has no source")) };
        // A copy per project, so that none learns from another what there is.
        let name = Sha256::digest(format!("{project}\n{url}"));
        let name = name.iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let folder = self.copies.join(format!("{name}.git"));
        if !folder.join("HEAD").exists() {
            tokio::fs::create_dir_all(&folder).await.map_err(Error::internal)?;
            let mut init = Self::command(&folder);
            init.args(["init", "--quiet", "--bare"]);
            let (good, _, said) = self.run(init, LOCAL).await?;
            if !good {
                return Err(Error::unavailable(format!("git init: {said}")));
            }
        }
        if fresh {
            let mut fetch = Self::command(&folder);
            fetch.args(["fetch", "--quiet", "--prune", "--no-write-fetch-head", "--end-of-options"]).arg(url);
            fetch.args(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]);
            let (good, _, said) = self.run(fetch, FETCH).await?;
            if !good {
                return Err(Error::unavailable(format!("{url} cannot be fetched: {said}")));
            }
        }
        Ok(folder)
    }

    async fn commit_of(&self, folder: &Path, name: &str) -> Result<Option<String>> {
        let mut parse = Self::command(folder);
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
        super::model::check_branch(name).map_err(Error::invalid)?;
        let folder = self.folder(project, source, true).await?;
        for full in [format!("refs/heads/{name}"), format!("refs/tags/{name}")] {
            if let Some(commit) = self.commit_of(&folder, &full).await? {
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
        let mut folder = self.folder(project, source, false).await?;
        if self.commit_of(&folder, commit).await?.is_none() {
            folder = self.folder(project, source, true).await?;
        }
        if self.commit_of(&folder, commit).await?.is_none() {
            return Err(Error::not_found(format!("commit {commit} in the source")));
        }
        let mut show = Self::command(&folder);
        show.args(["show", "--no-patch", "--format=%ct", "--end-of-options", commit]);
        let (_, time, _) = self.run(show, LOCAL).await?;
        let mut file = tempfile::tempfile_in(spool).map_err(Error::internal)?;
        let mut archive = Self::command(&folder);
        archive.args(["archive", "--format=tar", commit]);
        let to = Stdio::from(file.try_clone().map_err(Error::internal)?);
        let (good, _, said) = self.run_to(archive, to, LOCAL).await?;
        if !good {
            return Err(Error::unavailable(format!("git archive {commit}: {said}")));
        }
        file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
        Ok((file, time.parse().unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use hafen_base::{ErrorKind, SystemClock};

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

    #[tokio::test]
    async fn commits_are_found_and_packed() {
        let home = tempfile::tempdir().unwrap();
        let commit = sh(
            home.path(),
            "git init -q -b main work; cd work; git config user.email a@b; git config user.name a; echo hello > page; git add .; \
             GIT_COMMITTER_DATE='@1790000000 +0000' git commit -qm one; git tag v1; git branch feature/x; git clone -q --bare . ../shop.git; git rev-parse HEAD",
        );
        let git = Git {
            repositories: Arc::new(One(home.path().join("shop.git"))),
            copies: home.path().join("copies"),
            clock: Arc::new(SystemClock),
        };
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
