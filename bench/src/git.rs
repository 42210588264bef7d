//! Pushes and clones over HTTP beside plain `git` with a folder of this disk, whose receiving side checks and syncs as ours does:
//! the same client, the same objects, in turns. What is between the two is the network protocol, the verdict and its record.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use hafen_base::{Error, Result};
use hafen_client::Conditions;
use hafen_client::wire::{ProjectPut, RepositoryCreate};
use serde_json::json;
use tokio::process::Command;

use crate::Context;
use crate::platform::{Platform, broken, megabytes};
use crate::report::{Figure, Part};

/// MiB of the one large file.
const LARGE: u64 = 512;
/// Pushes of one commit in a run, one after the other.
const SMALL: u32 = 20;

fn git(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(place)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
        .envs([("GIT_COMMITTER_NAME", "A"), ("GIT_COMMITTER_EMAIL", "a@example.org")])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

async fn timed(place: &Path, arguments: &[&str]) -> Result<Duration> {
    let began = Instant::now();
    let output = git(place, arguments).output().await.map_err(broken("git does not run"))?;
    let took = began.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    Err(Error::unavailable(format!("git: {}", String::from_utf8_lossy(&output.stderr))))
}

/// A repository whose objects are large and quickly made.
async fn large(folder: &Path) -> Result<PathBuf> {
    let place = folder.join("large");
    timed(folder, &["init", "-q", "-b", "main", "large"]).await?;
    for (key, value) in
        [("core.compression", "0"), ("core.bigFileThreshold", "1m"), ("pack.compression", "0")]
    {
        timed(&place, &["config", key, value]).await?;
    }
    let source = std::fs::File::open("/dev/urandom").map_err(broken("urandom"))?;
    let mut file = std::fs::File::create(place.join("file")).map_err(broken("a file"))?;
    std::io::copy(&mut source.take(LARGE << 20), &mut file).map_err(broken("a file"))?;
    timed(&place, &["add", "."]).await?;
    timed(&place, &["commit", "-q", "-m", "large"]).await?;
    Ok(place)
}

/// A bare repository that receives as ours do.
async fn plain(folder: &Path, name: &str) -> Result<String> {
    timed(folder, &["init", "-q", "--bare", "-b", "main", name]).await?;
    let place = folder.join(name);
    for (key, value) in [
        ("receive.fsckObjects", "true"),
        ("receive.unpackLimit", "1"),
        ("receive.autogc", "false"),
        ("core.fsync", "all"),
        ("core.fsyncMethod", "fsync"),
        ("core.bigFileThreshold", "16m"),
    ] {
        timed(&place, &["config", key, value]).await?;
    }
    Ok(format!("file://{}", place.display()))
}

struct Ours<'a> {
    platform: &'a Platform,
}

impl Ours<'_> {
    async fn fresh(&self, name: &str) -> Result<String> {
        let body: RepositoryCreate =
            serde_json::from_value(json!({ "name": name })).map_err(Error::internal)?;
        self.platform.client()?.repository_create("bench", &body, &Conditions::default()).await?;
        let host = self.platform.url.trim_start_matches("http://");
        Ok(format!("http://any:{}@{host}/git/bench/{name}.git", self.platform.token))
    }
}

/// Pushes that each bring one commit.
async fn small(place: &Path, url: &str) -> Result<Duration> {
    let mut all = Duration::ZERO;
    for number in 0..SMALL {
        std::fs::write(place.join("small"), format!("{number} {url}")).map_err(broken("a file"))?;
        timed(place, &["add", "."]).await?;
        timed(place, &["commit", "-q", "-m", "small"]).await?;
        all += timed(place, &["push", "-q", url, "HEAD:refs/heads/main"]).await?;
    }
    Ok(all / SMALL)
}

pub async fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("git");
    let folder = tempfile::Builder::new()
        .prefix("git-")
        .tempdir_in(&context.scratch)
        .map_err(broken("a folder cannot be made"))?;
    let folder = folder.path();
    let platform = Platform::start(context, "sim").await?;
    platform.client()?.project_put("bench", &ProjectPut::default()).await?;
    let ours = Ours { platform: &platform };
    let place = large(folder).await?;
    timed(folder, &["init", "-q", "-b", "main", "little"]).await?;
    let little = folder.join("little");

    let mut times: BTreeMap<&'static str, Vec<Duration>> = BTreeMap::new();
    for run in 0..context.runs {
        // In turns, so that a noisy moment of the host falls on both.
        let targets = [
            (ours.fresh(&format!("large-{run}")).await?, ["hafen_push", "hafen_clone"]),
            (plain(folder, &format!("plain-{run}.git")).await?, ["file_push", "file_clone"]),
        ];
        for (url, [push, clone]) in targets {
            times
                .entry(push)
                .or_default()
                .push(timed(&place, &["push", "-q", &url, "HEAD:refs/heads/main"]).await?);
            let back = folder.join("back");
            let arguments = ["clone", "-q", "--no-checkout", &url, "back"];
            times.entry(clone).or_default().push(timed(folder, &arguments).await?);
            std::fs::remove_dir_all(&back).map_err(broken("a clone"))?;
        }
        let targets = [
            (ours.fresh(&format!("small-{run}")).await?, "hafen_small"),
            (plain(folder, &format!("little-{run}.git")).await?, "file_small"),
        ];
        for (url, name) in targets {
            times.entry(name).or_default().push(small(&little, &url).await?);
        }
    }
    for (name, what) in [
        ("hafen_push", "a push of 512 MiB over HTTP"),
        ("file_push", "a push of 512 MiB to a folder, by git alone"),
        ("hafen_clone", "a clone of 512 MiB over HTTP"),
        ("file_clone", "a clone of 512 MiB from a folder (file://), by git alone"),
        ("hafen_small", "a push of one commit over HTTP"),
        ("file_small", "a push of one commit to a folder, by git alone"),
    ] {
        part.figures.push(Figure::seconds(name, what, times.get(name).map_or(&[], Vec::as_slice))?);
    }
    for (name, what, of, to) in [
        ("push_to_file", "a large push: our time to git's with a folder", "hafen_push", "file_push"),
        ("clone_to_file", "a large clone: our time to git's with a folder", "hafen_clone", "file_clone"),
        ("small_to_file", "a small push: our time to git's with a folder", "hafen_small", "file_small"),
    ] {
        part.ratio(name, what, of, to)?;
    }
    let peak = megabytes(platform.resident_peak()?);
    part.figures
        .push(Figure::new("peak", "the most memory that Hafen had meanwhile", "MB", &[peak])?.at_most(200.0));
    Ok(part)
}
