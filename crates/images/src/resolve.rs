//! Finds the packages of a recipe without a lock: apt solves against an empty system.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::durable::{blocking, make_folder};
use crate::host::{self, Mirror};
use crate::lock::{Archive, Lock, Locked};
use crate::recipe::Recipe;
use crate::{Error, Result, run};

const UPDATE: Duration = Duration::from_secs(600);
const SOLVE: Duration = Duration::from_secs(120);

/// An apt that knows nothing of the host but how to reach mirrors. Lives in a workshop.
pub(crate) struct Apt {
    config: std::path::PathBuf,
}

impl Apt {
    pub(crate) async fn new(folder: &Path, sources: &str, architecture: &str) -> Result<Self> {
        let transport = host::transport().await?;
        let place = folder.display().to_string();
        let config = format!(
            r#"Dir "{place}";
Dir::State "{place}/state";
Dir::State::status "{place}/state/status";
Dir::Cache "{place}/cache";
Dir::Etc "{place}/etc";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{place}/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Cmd::Pattern-Only "true";
APT::Cmd::Disable-Script-Warning "true";
Acquire::Languages "none";
Acquire::ForceHash "SHA256";
Acquire::Retries "2";
{transport}"#
        );
        let (folder, sources) = (folder.to_path_buf(), sources.to_owned());
        blocking(move || {
            for part in ["state/lists/partial", "cache/archives/partial", "etc"] {
                make_folder(&folder.join(part))?;
            }
            let write =
                |path: &Path, text: &str| fs::write(path, text).map_err(|e| Error::io("write", path, e));
            write(&folder.join("state/status"), "")?;
            write(&folder.join("etc/sources.list"), &sources)?;
            let path = folder.join("apt.conf");
            write(&path, &config)?;
            Ok(Self { config: path })
        })
        .await
    }

    pub(crate) fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = run::command(program);
        command.env("APT_CONFIG", &self.config);
        command
    }
}

/// Asks the mirror for what a recipe needs today.
pub(crate) async fn resolve(
    recipe: &Recipe,
    architecture: &str,
    mirror: &Mirror,
    workshop: &Path,
    progress: &(impl Fn(String, Option<u8>) + Sync),
) -> Result<Lock> {
    let keyring = host::keyring()?;
    let release = &recipe.release;
    let line =
        |url: &str, suite: &str| format!("deb [signed-by={keyring}] {} {suite} main\n", fetchable(url));
    let mut sources = line(&mirror.main, release);
    // Unstable is one suite.
    if !matches!(release.as_str(), "sid" | "unstable") {
        sources += &line(&mirror.main, &format!("{release}-updates"));
        if let Some(security) = &mirror.security {
            sources += &line(security, &format!("{release}-security"));
        }
    }
    let folder = workshop.join("apt");
    let apt = Apt::new(&folder, &sources, architecture).await?;
    progress(format!("reading the package lists of {}", mirror.main), Some(1));
    let mut update = apt.command("apt-get");
    update.args(["update", "-o", "APT::Update::Error-Mode=any"]);
    run::output(&mut update, workshop, UPDATE).await.map_err(|error| update_error(error, release, mirror))?;
    let (epoch, date) = blocking(move || release_date(&folder.join("state/lists"))).await?;

    progress("finding the packages and what they depend on".into(), Some(4));
    let mut solve = apt.command("apt-get");
    solve.args(["install", "-y", "-qq", "--print-uris"]);
    solve.arg(format!("?and(?architecture({architecture}),?essential)")).arg("apt");
    solve.args(recipe.requested());
    let text = run::output(&mut solve, workshop, SOLVE).await.map_err(solve_error)?;
    let packages = text.lines().filter(|line| line.starts_with('\'')).map(|line| {
        package(line, mirror)
            .ok_or_else(|| Error::Mirror(format!("apt printed a line that cannot be read: {line:?}")))
    });
    let lock = Lock::new(recipe, architecture, epoch, date, packages.collect::<Result<_>>()?);
    // The same checks as for a lock that comes from outside; a virtual package fails them.
    if let Some(name) = recipe.requested().iter().find(|name| !lock.packages.iter().any(|p| p.name == **name))
    {
        return Err(Error::Unsolvable(format!(
            "{name:?} is only provided by other packages: name one of them"
        )));
    }
    Lock::parse(&lock.text()?)?;
    Ok(lock)
}

/// apt's `file:` method leaves files where they are; `copy:` brings them.
pub(crate) fn fetchable(url: &str) -> String {
    url.strip_prefix("file://").map_or_else(|| url.to_owned(), |path| format!("copy:{path}"))
}

/// `'URL' NAME_VERSION_ARCHITECTURE.deb SIZE SHA256:HASH`
fn package(line: &str, mirror: &Mirror) -> Option<Locked> {
    let mut words = line.split_whitespace();
    let url = words.next()?.trim_matches('\'');
    let file = words.next()?;
    let size = words.next()?.parse().ok()?;
    let sha256 = words.next()?.strip_prefix("SHA256:")?.to_owned();
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (name, version, architecture) = (parts.next()?, parts.next()?, parts.next()?);
    let under = |base: &str| url.strip_prefix(&fetchable(base))?.strip_prefix('/').map(str::to_owned);
    let security = mirror.security.as_deref().and_then(under);
    let (archive, path) = match security {
        Some(path) => (Archive::Security, path),
        None => (Archive::Main, under(&mirror.main)?),
    };
    Some(Locked {
        name: name.to_owned(),
        version: version.replace("%3a", ":"),
        architecture: architecture.to_owned(),
        archive,
        path,
        size,
        sha256,
    })
}

/// When the newest of the suites was published: `Date: Sat, 21 Nov 2026 09:15:44 UTC`.
fn release_date(lists: &Path) -> Result<(u64, String)> {
    let entries = fs::read_dir(lists).map_err(|e| Error::io("list", lists, e))?.flatten();
    let mut newest = None;
    for entry in entries {
        if !entry.file_name().to_string_lossy().ends_with("Release") {
            continue;
        }
        let text = crate::durable::read(&entry.path(), 16 << 20)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let date = text.lines().find_map(|line| line.strip_prefix("Date: "));
        newest = newest.max(date.and_then(|date| parse_date(date.trim())));
    }
    let time = newest.ok_or_else(|| Error::Mirror("its Release files have no date".into()))?;
    Ok((u64::try_from(time.as_second()).unwrap_or(0), time.to_string()))
}

fn parse_date(text: &str) -> Option<jiff::Timestamp> {
    let date = jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S UTC", text).ok()?;
    jiff::tz::Offset::UTC.to_timestamp(date).ok()
}

fn update_error(error: Error, release: &str, mirror: &Mirror) -> Error {
    match error {
        Error::Tool { message, .. } if message.contains("does not have a Release file") => {
            Error::Invalid(format!(
                "the mirror {} has no release {release:?}, or no updates or security fixes for it",
                mirror.main
            ))
        }
        Error::Tool { message, .. } => Error::Mirror(message),
        other => other,
    }
}

fn solve_error(error: Error) -> Error {
    match error {
        Error::Tool { message, .. } => {
            let told: Vec<_> = message.lines().filter(|line| !line.starts_with("W: ")).collect();
            Error::Unsolvable(told.join("\n"))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_lines_are_read() {
        let mirror = Mirror {
            main: "http://m.example/debian".into(),
            security: Some("http://m.example/debian-security".into()),
        };
        let hash = "a".repeat(64);
        let line = |url: &str| format!("'{url}' passwd_1%3a4.17.4-2_amd64.deb 1234 SHA256:{hash}");
        let one = package(&line("http://m.example/debian/pool/main/s/x.deb"), &mirror).unwrap();
        assert_eq!((one.name.as_str(), one.version.as_str(), one.size), ("passwd", "1:4.17.4-2", 1234));
        assert_eq!((one.archive, one.path.as_str()), (Archive::Main, "pool/main/s/x.deb"));
        let two = package(&line("http://m.example/debian-security/pool/x.deb"), &mirror).unwrap();
        assert_eq!((two.archive, two.path.as_str()), (Archive::Security, "pool/x.deb"));
        assert!(package(&line("http://other.example/x.deb"), &mirror).is_none());
        assert!(package("'x' y", &mirror).is_none());
    }

    #[test]
    fn dates_of_release_files_are_read() {
        assert_eq!(parse_date("Sat, 21 Nov 2026 09:15:44 UTC").unwrap().to_string(), "2026-11-21T09:15:44Z");
        assert!(parse_date("yesterday").is_none());
    }
}
