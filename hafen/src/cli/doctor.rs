//! `doctor`: what this host can do, what is missing, and the command that mends it. Works without a running platform.

use std::path::Path;

use hafen_base::Result;
use serde::Serialize;

use super::context::Context;
use crate::home::{Home, cache_folder};
use crate::output::{self, line, paint};

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    /// What mends it; empty when nothing is wrong.
    fix: String,
}

fn check(name: &'static str, ok: bool, detail: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, ok, detail: detail.into(), fix: if ok { String::new() } else { fix.into() } }
}

fn program(name: &'static str, package: &str) -> Check {
    let found = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    let detail = found.as_ref().map_or("not found".to_owned(), |path| path.display().to_string());
    check(name, found.is_some(), detail, format!("apt-get install {package}"))
}

fn space(name: &'static str, folder: &Path) -> Check {
    // The folder may not be there yet: ask the nearest one that is.
    let there = folder.ancestors().find(|one| one.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(fs) => {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize) >> 30;
            check(name, free >= 5, format!("{} has {free} GiB free", there.display()), "free at least 5 GiB")
        }
        Err(error) => {
            check(name, false, format!("{}: {error}", there.display()), "set it to a folder on a disk")
        }
    }
}

fn writable(folder: &Path) -> Check {
    let there = folder.ancestors().find(|one| one.exists()).unwrap_or(Path::new("/"));
    let ok = rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_ok();
    let fix = "run as its owner, or set HAFEN_HOME to a folder of yours";
    check(
        "home",
        ok,
        format!("{} {}", folder.display(), if ok { "can be written" } else { "cannot be written" }),
        fix,
    )
}

pub fn run(context: &Context) -> Result<u8> {
    let home = Home::find()?;
    let checks = vec![
        writable(home.folder()),
        space("disk of HAFEN_HOME", home.folder()),
        space("disk of HAFEN_CACHE", &cache_folder()?),
        program("ssh", "openssh-client"),
        program("ssh-keygen", "openssh-client"),
    ];
    let all_ok = checks.iter().all(|check| check.ok);
    if context.json {
        output::json_list(&checks)?;
    } else {
        for check in &checks {
            let mark = if check.ok { paint("32", "ok     ") } else { paint("31", "missing") };
            line(&format!("{mark} {:<20} {}", check.name, check.detail));
            if !check.ok {
                line(&format!("        mend it with: {}", check.fix));
            }
        }
    }
    Ok(u8::from(!all_ok))
}
