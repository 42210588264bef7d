//! The cache of packages by their hash, filled from the mirror, and the small repository that one build installs from.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::{sha256, sha256_file};
use crate::durable::{blocking, make_folder};
use crate::host::Mirror;
use crate::lock::{Archive, Lock, Locked};
use crate::resolve::{Apt, fetchable};
use crate::{Error, Result, run};

const FETCH: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn path(cache: &Path, package: &Locked) -> PathBuf {
    cache.join(format!("{}.deb", package.sha256))
}

/// Brings every package of a lock into the cache. What is there is checked; a damaged one is fetched again.
pub(crate) async fn fetch(
    lock: &Lock,
    cache: &Path,
    mirror: &Mirror,
    workshop: &Path,
    progress: &(impl Fn(String, Option<u8>) + Sync),
) -> Result<()> {
    progress("checking the package cache".into(), Some(5));
    let missing = {
        let (packages, cache) = (lock.packages.clone(), cache.to_path_buf());
        blocking(move || missing(packages, &cache)).await?
    };
    if missing.is_empty() {
        return Ok(());
    }
    let apt = Apt::new(&workshop.join("fetch"), "", &lock.architecture).await?;
    let mut command = apt.command("/usr/lib/apt/apt-helper");
    command.arg("download-file");
    let mut asked = Vec::new();
    for package in &missing {
        let base = match package.archive {
            Archive::Main => Some(&mirror.main),
            Archive::Security => mirror.security.as_ref(),
        };
        if let Some(base) = base {
            asked.push(package);
            command.arg(format!("{}/{}", fetchable(base), package.path));
            command.arg(path(workshop, package)).arg(format!("SHA256:{}", package.sha256));
        }
    }
    let mut told = String::new();
    let mut done = 0_u64;
    let ended = if asked.is_empty() {
        Ok(())
    } else {
        run::lines(&mut command, workshop, FETCH, |line| {
            if line.starts_with("Get:") {
                done += 1;
                let percent = 6 + 14 * done.min(missing.len() as u64) / (missing.len() as u64).max(1);
                let text = format!("fetching packages: {done} of {}", missing.len());
                progress(text, u8::try_from(percent).ok());
            } else if line.starts_with("E:") || line.starts_with("Err:") {
                told += line;
                told += "\n";
            }
        })
        .await
    };
    let still = {
        let (workshop, cache, missing) = (workshop.to_path_buf(), cache.to_path_buf(), missing.clone());
        blocking(move || keep(missing, &workshop, &cache)).await?
    };
    if still.is_empty() {
        return Ok(());
    }
    let gone = || Error::Gone {
        packages: still.iter().map(|p| format!("{} {}", p.name, p.version)).collect(),
        cache: cache.to_path_buf(),
    };
    match ended {
        Err(Error::Tool { message, .. }) => {
            // apt's words for what a server does not have, and for what a folder does not.
            let absent = [
                "404  Not Found",
                "404 Not Found",
                "410  Gone",
                "File not found",
                "No such file",
                "Hash Sum mismatch",
            ];
            let text = format!("{told}{message}");
            Err(if absent.iter().any(|word| text.contains(word)) {
                gone()
            } else {
                Error::Mirror(run::tail(&text))
            })
        }
        Err(other) => Err(other),
        Ok(()) => Err(gone()),
    }
}

/// Which packages are not in the cache. Blocks.
fn missing(packages: Vec<Locked>, cache: &Path) -> Result<Vec<Locked>> {
    let mut missing = Vec::new();
    for package in packages {
        let path = path(cache, &package);
        if path.exists() {
            if sha256_file(&path)?.0 == package.sha256 {
                continue;
            }
            fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
        missing.push(package);
    }
    Ok(missing)
}

/// Moves what was fetched into the cache, if it is what the lock says; gives what is not. Blocks.
fn keep(packages: Vec<Locked>, from: &Path, cache: &Path) -> Result<Vec<Locked>> {
    use std::os::unix::fs::PermissionsExt;
    let mut still = Vec::new();
    for package in packages {
        let (new, to) = (path(from, &package), path(cache, &package));
        if new.exists() && sha256_file(&new)?.0 == package.sha256 {
            let kept = fs::set_permissions(&new, fs::Permissions::from_mode(0o644))
                .and_then(|()| fs::File::open(&new)?.sync_data())
                .and_then(|()| fs::rename(&new, &to));
            kept.map_err(|e| Error::io("keep", &to, e))?;
        } else {
            still.push(package);
        }
    }
    Ok(still)
}

/// Makes a repository of exactly these packages; gives the bytes they take when installed.
pub(crate) async fn repository(lock: &Lock, cache: &Path, folder: &Path) -> Result<u64> {
    let mut index = String::new();
    let mut installed = 0;
    make_folder(folder)?;
    for package in &lock.packages {
        let (from, name) = (path(cache, package), format!("{}.deb", package.name));
        let to = folder.join(&name);
        // Linked, so that nothing that happens to the cache matters from here on.
        fs::hard_link(&from, &to)
            .or_else(|_| fs::copy(&from, &to).map(|_| ()))
            .map_err(|e| Error::io("copy", &to, e))?;
        let mut command = run::command("dpkg-deb");
        let control = run::output(command.arg("-f").arg(&to), folder, MINUTE).await?;
        let field = |name: &str| {
            control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        for (key, wanted) in [
            ("Package", &package.name),
            ("Version", &package.version),
            ("Architecture", &package.architecture),
        ] {
            if field(key) != Some(wanted.as_str()) {
                let is = field(key).unwrap_or("nothing");
                return Err(Error::Invalid(format!(
                    "the lock says {key} {wanted} of {}, the package itself {is}; remove the lock to resolve anew",
                    package.path
                )));
            }
        }
        installed += field("Installed-Size").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) << 10;
        index += control.trim_end();
        let _ = write!(index, "\nFilename: ./{name}\nSize: {}\nSHA256: {}\n\n", package.size, package.sha256);
    }
    let hash = sha256(index.as_bytes());
    // mmdebstrap looks for the essential packages of this suite.
    let release = format!(
        "Origin: Debian\nSuite: {0}\nCodename: {0}\nArchitectures: {1}\nComponents: main\nSHA256:\n {hash} {2} Packages\n",
        lock.release,
        lock.architecture,
        index.len()
    );
    for (name, text) in [("Packages", index), ("Release", release)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| Error::io("write", &path, e))?;
    }
    Ok(installed)
}
