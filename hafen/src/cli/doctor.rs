//! `doctor`: what this host can do, what is missing, and the command that mends it. Works without a running platform.

use std::path::Path;

use hafen_base::Result;
use serde::Serialize;

use super::context::Context;
use crate::home::{Home, cache_folder};
use crate::output::{self, line, paint};

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    ok: bool,
    detail: String,
    /// What mends it; empty when nothing is wrong.
    fix: String,
}

fn check(name: &str, ok: bool, detail: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name: name.into(), ok, detail: detail.into(), fix: if ok { String::new() } else { fix.into() } }
}

fn space(name: &str, folder: &Path) -> Check {
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

pub async fn run(context: &Context) -> Result<u8> {
    let home = Home::find()?;
    let mut checks = vec![
        writable(home.folder()),
        space("disk of HAFEN_HOME", home.folder()),
        space("disk of HAFEN_CACHE", &cache_folder()?),
    ];
    let requirements = hafen_machines::engine::qemu::requirements(home.folder(), &cache_folder()?).await;
    checks.extend(requirements.into_iter().map(|one| Check {
        name: one.name,
        ok: one.ok,
        detail: one.detail,
        fix: one.fix,
    }));
    let all_ok = checks.iter().all(|check| check.ok);
    if context.json {
        output::json_list(&checks)?;
    } else {
        for check in &checks {
            let mark = if check.ok { paint("32", "ok     ") } else { paint("31", "missing") };
            line(&format!("{mark} {:<20} {}", check.name, check.detail));
            if !check.ok {
                line(&format!("        mend it with: {}", check.fix));
            } else if !check.fix.is_empty() {
                line(&format!("        better with: {}", check.fix));
            }
        }
    }
    Ok(u8::from(!all_ok))
}
