//! Repositories on this disk: what is found, what is packed, and what is too much.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Read as _;

use hafen_base::SystemClock;

use super::server::{Safe, elsewhere, of, sh};
use super::*;

struct One(PathBuf);

#[async_trait]
impl Repositories for One {
    async fn path(&self, _project: &str, repository: &str) -> Result<PathBuf> {
        if repository == "shop" { Ok(self.0.clone()) } else { Err(Error::not_found("repository")) }
    }
}

fn here() -> AppSource {
    AppSource { repository: Some("shop".into()), git: None, ..elsewhere(String::new()) }
}

fn of_other(source: &AppSource) -> SourceOf<'_> {
    SourceOf { project: "other", ..of(source) }
}

fn git(home: &Path) -> Git {
    let repositories = Arc::new(One(home.join("shop.git")));
    Git::new(repositories, Arc::new(Safe::default()), home.join("copies"), Arc::new(SystemClock))
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
    let source = here();
    let error = git.archive(of(&source), &commit, home.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(error.to_string().contains("more than 8388608 bytes"), "{error}");
    // What fits is whole: 64 headers and files, and the end, which git rounds up to 10 KiB.
    git.limits.archive = 65 << 20;
    let (file, _) = git.archive(of(&source), &commit, home.path()).await.unwrap();
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

    let endless = elsewhere(format!("ext::sh {}", serve.display()));
    let limit = Duration::from_secs(100);
    let told = tokio::time::timeout(limit, git.resolve(of(&endless), None)).await;
    let error = told.expect("the fetch is ended when it is too large").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let left = || std::fs::read_dir(home.path().join("copies")).unwrap().count();
    assert_eq!(left(), 0);
    // One that is fine, and copies that nothing names any more.
    git.limits.copy = 64 << 20;
    let good = elsewhere(format!("file://{}/work", home.path().display()));
    assert_eq!(git.resolve(of(&good), None).await.unwrap(), commit);
    assert_eq!(git.resolve(of_other(&good), None).await.unwrap(), commit);
    assert_eq!(left(), 2);
    let used = [("hello".to_owned(), good.clone())];
    git.keep(&used).await.unwrap();
    assert_eq!(left(), 1);
    git.protocols = "none";
    git.archive(of(&good), &commit, home.path()).await.expect("what is kept is not fetched again");
    git.protocols = "file";
    git.archive(of_other(&good), &commit, home.path()).await.expect("what is gone is fetched again");
    // A copy that grew by what its source threw away is made anew.
    sh(home.path(), "cd work; head -c 20000000 /dev/urandom > large; git commit -qa --amend -m two");
    git.limits.copy = 30 << 20;
    let amended = git.resolve(of(&good), None).await.unwrap();
    assert_ne!(amended, commit);
    git.archive(of(&good), &amended, home.path()).await.unwrap();
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
    let source = here();
    for name in [None, Some("main"), Some("v1"), Some("feature/x")] {
        assert_eq!(git.resolve(of(&source), name).await.unwrap(), commit, "{name:?}");
    }
    for (name, kind) in [
        ("nope", ErrorKind::NotFound),
        ("--upload-pack=x", ErrorKind::Invalid),
        ("HEAD~1", ErrorKind::Invalid),
    ] {
        assert_eq!(git.resolve(of(&source), Some(name)).await.unwrap_err().kind(), kind, "{name}");
    }
    let (mut file, time) = git.archive(of(&source), &commit, home.path()).await.unwrap();
    assert_eq!(time, 1_790_000_000);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let mut names = Vec::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    assert!(names.contains(&"page".to_owned()), "{names:?}");
    let other = "0".repeat(40);
    let error = git.archive(of(&source), &other, home.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
