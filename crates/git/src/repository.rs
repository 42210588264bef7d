//! One bare repository: made, read, tidied up, removed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hafen_base::{Error, Result};
use tokio::io::AsyncReadExt as _;
use tokio::sync::OwnedSemaphorePermit;

use crate::gate::folder_size;
use crate::process::Process;
use crate::{Git, object};

/// How folders begin in which a repository is made, or removed.
const NEW: &str = "new-";
const GONE: &str = "gone-";

/// A repository, by the name of its folder: an id, so that it stays when the name changes and is never given twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository(String);

/// Where a branch or tag points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// As `refs/heads/main`.
    pub name: String,
    /// In hexadecimal; of an annotated tag the tag's own.
    pub target: String,
}

/// A commit as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub id: String,
    pub author: String,
    pub author_email: String,
    /// Seconds since 1970. Whatever its author's clock said.
    pub authored_at: i64,
    pub committed_at: i64,
    pub subject: String,
}

/// Whether a text can be a branch: what git's own rule lets through (git-check-ref-format), short, and nothing that could
/// pass for an option or a path.
#[must_use]
pub fn check_branch(name: &str) -> bool {
    check_reference(&format!("refs/heads/{name}"))
}

/// The same of a whole name, as `refs/tags/v1`.
#[must_use]
pub fn check_reference(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("refs/") else { return false };
    name.len() <= 250
        && rest.contains('/')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && !name
            .chars()
            .any(|c| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\' | '\u{7f}'))
        && name.split('/').all(|part| {
            let short = part.strip_suffix(".lock");
            !part.is_empty() && !part.starts_with(['.', '-']) && short.is_none() && part != "@"
        })
}

impl Repository {
    /// # Errors
    /// Internal when it is no name of a folder.
    pub fn new(id: &str) -> Result<Self> {
        let good = (1..=100).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !id.starts_with('-');
        if good { Ok(Self(id.to_owned())) } else { Err(Error::internal("no id of a repository")) }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self, git: &Git) -> PathBuf {
        git.folder().join(format!("{}.git", self.0))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}

fn removed_if_old(left: &std::fs::DirEntry, old: Duration) {
    let age = left.metadata().and_then(|found| found.modified()).ok();
    let age = age.and_then(|at| at.elapsed().ok()).unwrap_or_default();
    if age > old && std::fs::remove_dir_all(left.path()).is_err() {
        tracing::warn!("{} cannot be removed", left.path().display());
    }
}

fn disk(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return Error::new(
            hafen_base::ErrorKind::NoSpace,
            "the disk that holds the repositories is full: free some room and try again",
        )
        .with_cause(error);
    }
    Error::unavailable("the repository's folder cannot be used; the platform's log says why")
        .with_cause(std::io::Error::other(format!("{}: {error}", path.display())))
}

impl Git {
    /// Makes a repository, whole or not at all; one that is there is left as it is.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn ensure(&self, repository: &Repository, branch: &str) -> Result<()> {
        let path = repository.path(self);
        if path.join("HEAD").exists() {
            return Ok(());
        }
        // A folder of this attempt alone: whoever makes the same at the same time has another. It goes with this value.
        let new = tempfile::Builder::new()
            .prefix(&format!("{NEW}{}-", repository.0))
            .tempdir_in(self.folder())
            .map_err(|error| disk(self.folder(), error))?;
        let mut command = self.command(None);
        command
            .args(["init", "--quiet", "--bare", "--template=", "--initial-branch", branch])
            .arg(new.path());
        self.output(command, None, self.limits().command).await?;
        blocking(move || match std::fs::rename(new.path(), &path) {
            Ok(()) => {
                // Nothing has its old name any more.
                let _moved = new.keep();
                Ok(())
            }
            // Somebody else made it at the same time: a folder that holds something is never replaced.
            Err(_) if path.join("HEAD").exists() => Ok(()),
            Err(error) => Err(disk(&path, error)),
        })
        .await?
    }

    /// Removes a repository; one that is not there is fine.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn remove(&self, repository: &Repository) -> Result<()> {
        let path = repository.path(self);
        let (folder, prefix) = (self.folder().to_owned(), format!("{GONE}{}-", repository.0));
        blocking(move || {
            if !path.exists() {
                return Ok(());
            }
            // By one rename, so that nothing finds half of it; to a name that no other attempt has.
            let gone = tempfile::Builder::new().prefix(&prefix).tempdir_in(&folder);
            let gone = gone.map_err(|error| disk(&folder, error))?;
            match std::fs::rename(&path, gone.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(disk(&path, error)),
                _ => {}
            }
            let at = gone.path().to_owned();
            gone.close().map_err(|error| disk(&at, error))
        })
        .await?
    }

    /// Which branch a clone begins with.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn set_head(&self, repository: &Repository, branch: &str) -> Result<()> {
        let wanted = format!("ref: refs/heads/{branch}\n");
        let path = repository.path(self).join("HEAD");
        if std::fs::read_to_string(&path).is_ok_and(|text| text == wanted) {
            return Ok(());
        }
        let mut command = self.command(Some(&repository.path(self)));
        command.args(["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
        self.output(command, None, self.limits().command).await.map(drop)
    }

    /// All branches, tags and notes, by name.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn references(&self, repository: &Repository) -> Result<Vec<Reference>> {
        let mut command = self.command(Some(&repository.path(self)));
        command.args(["for-each-ref", "--format=%(objectname) %(refname)"]);
        let text = self.output(command, Some(256 << 20), self.limits().command).await?;
        let lines = String::from_utf8_lossy(&text);
        let read = lines.lines().filter_map(|line| {
            let (target, name) = line.split_once(' ')?;
            Some(Reference { name: name.to_owned(), target: object(target)? })
        });
        Ok(read.collect())
    }

    /// The commit that a branch, a tag or the beginning of a commit's name means.
    ///
    /// # Errors
    /// Not found when it means none.
    pub async fn resolve(&self, repository: &Repository, revision: &str) -> Result<String> {
        let none = || Error::not_found(format!("branch, tag or commit {revision:?} in this repository"));
        // Of git's language for revisions only names are let in: an expression can be made to take very long.
        let hexadecimal =
            |text: &str| (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !check_branch(revision) && !check_reference(revision) && !hexadecimal(revision) {
            return Err(none());
        }
        let candidates =
            [format!("refs/heads/{revision}"), format!("refs/tags/{revision}"), revision.to_owned()];
        for candidate in candidates {
            if !(check_reference(&candidate) || hexadecimal(&candidate)) {
                continue;
            }
            let mut command = self.command(Some(&repository.path(self)));
            command.args(["rev-parse", "--quiet", "--verify", "--end-of-options"]);
            command.arg(format!("{candidate}^{{commit}}"));
            let (text, status, _) = self.run(command, 1 << 10, self.limits().command).await?;
            if status == Some(0) {
                return object(String::from_utf8_lossy(&text).trim()).ok_or_else(none);
            }
        }
        Err(none())
    }

    /// Commits that lead to this one, newest first, after skipping some.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn commits(
        &self,
        repository: &Repository,
        commit: &str,
        skip: u32,
        limit: u32,
    ) -> Result<Vec<Commit>> {
        let commit = object(commit).ok_or_else(|| Error::not_found("such commit"))?;
        let mut command = self.command(Some(&repository.path(self)));
        command
            .args(["log", "-z", "--no-show-signature", "--no-mailmap"])
            .args(["--format=%H%n%at%n%ct%n%an%n%ae%n%s", &format!("--skip={skip}")])
            .args([&format!("--max-count={limit}"), "--end-of-options", &commit, "--"]);
        let text = self.output(command, Some(64 << 20), self.limits().command).await?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.split('\0').filter_map(read_commit).collect())
    }

    /// The files of a commit as a tar archive, read piece by piece.
    ///
    /// # Errors
    /// Unavailable; not found when it is no commit here.
    pub async fn archive(&self, repository: &Repository, commit: &str) -> Result<Archive> {
        let commit = self.resolve(repository, commit).await?;
        let place = self.place().await?;
        let mut command = self.command(Some(&repository.path(self)));
        command.args(["archive", "--format=tar", "--end-of-options", &commit]);
        Ok(Archive { process: Process::spawn(&mut command)?, _place: place })
    }

    /// Removes what pushes have left that were cut off: git itself leaves its quarantine where a signal ends it; and
    /// repositories that were being made or removed when the process died. Only what is older than any exchange may last,
    /// as nobody else's is.
    ///
    /// # Errors
    /// Internal.
    pub async fn sweep(&self) -> Result<()> {
        let (folder, old) = (self.folder().to_owned(), self.limits().exchange);
        blocking(move || {
            for repository in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = repository.file_name();
                let name = name.to_string_lossy();
                // An id has no dot, so that no repository is called so.
                if (name.starts_with(NEW) || name.starts_with(GONE)) && !name.ends_with(".git") {
                    removed_if_old(&repository, old);
                }
                let objects = repository.path().join("objects");
                for left in std::fs::read_dir(objects).into_iter().flatten().flatten() {
                    if left.file_name().to_string_lossy().starts_with("tmp_objdir-") {
                        removed_if_old(&left, old);
                    }
                }
            }
        })
        .await
    }

    /// Bytes on the disk.
    ///
    /// # Errors
    /// Internal.
    pub async fn size(&self, repository: &Repository) -> Result<u64> {
        let path = repository.path(self);
        blocking(move || folder_size(&path)).await
    }

    /// Packs on the disk: many make everything slow.
    ///
    /// # Errors
    /// Internal.
    pub async fn packs(&self, repository: &Repository) -> Result<usize> {
        let path = repository.path(self).join("objects/pack");
        blocking(move || {
            let files = std::fs::read_dir(path).into_iter().flatten().flatten();
            files.filter(|file| file.path().extension().is_some_and(|end| end == "pack")).count()
        })
        .await
    }

    /// Puts packs together and removes what nothing leads to for two weeks. With `whole`, all of it anew; else only small
    /// packs, which is quick.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn tidy(&self, repository: &Repository, whole: bool) -> Result<()> {
        let path = repository.path(self);
        let steps: &[&[&str]] = if whole {
            &[&["pack-refs", "--all"], &["gc", "--quiet", "--no-detach"]]
        } else {
            &[&["pack-refs", "--all"], &["repack", "-d", "-q", "--geometric=2", "--no-write-bitmap-index"]]
        };
        for step in steps {
            let mut command = self.command(Some(&path));
            command.args(*step);
            let (_, status, complaint) = self.run(command, 1 << 20, self.limits().maintenance).await?;
            if status != Some(0) {
                return Err(Error::unavailable("a repository could not be tidied up")
                    .with_cause(std::io::Error::other(complaint)));
            }
        }
        Ok(())
    }

    /// Whether all that references lead to is there and sound. Gives what is wrong.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn check(&self, repository: &Repository) -> Result<Option<String>> {
        let mut command = self.command(Some(&repository.path(self)));
        command.args(["fsck", "--full", "--no-progress", "--no-dangling"]);
        let (said, status, complaint) = self.run(command, 1 << 20, self.limits().maintenance).await?;
        let said = format!("{complaint} {}", String::from_utf8_lossy(&said));
        Ok((status != Some(0)).then(|| said.trim().to_owned()))
    }
}

fn read_commit(text: &str) -> Option<Commit> {
    let mut lines = text.trim_start_matches('\n').splitn(6, '\n');
    let mut next = || lines.next();
    let (id, authored_at, committed_at) = (next()?, next()?, next()?);
    let (author, author_email, subject) = (next()?, next()?, next()?);
    let short = |text: &str| {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect::<String>()
    };
    Some(Commit {
        id: object(id)?,
        author: short(author),
        author_email: short(author_email),
        authored_at: authored_at.parse().unwrap_or(0),
        committed_at: committed_at.parse().unwrap_or(0),
        subject: short(subject),
    })
}

/// A tar archive on its way. Dropped, it ends.
pub struct Archive {
    process: Process,
    _place: OwnedSemaphorePermit,
}

impl Archive {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// Unavailable when git failed: then what came is not whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let mut buffer = bytes::BytesMut::with_capacity(64 << 10);
        if let Some(stdout) = &mut self.process.0.stdout
            && stdout.read_buf(&mut buffer).await.map_err(Error::internal)? > 0
        {
            return Ok(Some(buffer.freeze()));
        }
        let status = self.process.0.wait().await.map_err(Error::internal)?;
        if status.success() { Ok(None) } else { Err(Error::unavailable("git archive failed")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_references() {
        for good in ["main", "feature/x-1", "v1.0", "ä", "a@b", "release-2026.11"] {
            assert!(check_branch(good), "{good}");
        }
        for bad in [
            "", "-x", "a/-x", ".x", "a..b", "a b", "a~1", "a^", "a:b", "a?", "*", "a[", "a\\b", "a.lock",
            "a/", "/a", "a//b", "@", "a@{1}", "a.", "a\n", "a\0", "x.lock/y",
        ] {
            assert!(!check_branch(bad), "{bad:?}");
        }
        assert!(check_reference("refs/tags/v1") && !check_reference("HEAD") && !check_reference("refs/x"));
        assert!(!check_branch(&"a".repeat(300)));
    }

    #[test]
    fn commits_are_read() {
        let text = format!("{}\n10\n20\nA\u{1b} B\na@example.org\nfix: x", "a".repeat(40));
        let commit = read_commit(&text).unwrap();
        assert_eq!((commit.authored_at, commit.committed_at, commit.author.as_str()), (10, 20, "A  B"));
        assert_eq!(commit.subject, "fix: x");
        assert!(read_commit("").is_none() && read_commit("x\n1\n2\n3\n4\n5").is_none());
    }
}
