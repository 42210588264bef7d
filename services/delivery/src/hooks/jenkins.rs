//! Jenkins' Notification plugin. It signs nothing: the secret is part of the URL (or the header `X-Hafen-Token`, where a
//! pipeline calls by itself).
//!
//! A build is told of several times: QUEUED, STARTED, COMPLETED, FINALIZED. In STARTED the status may be the one of the build
//! before. So only the end of a build counts, once, and never that of an older one.

use hafen_base::Result;
use hafen_client::wire::{Hook, HookIgnored};
use serde::Deserialize;

use super::signature::{fingerprint, same};
use super::{Asks, Call, Nothing, brief, commit, json, not_believed, of_branch, text};
use crate::store::hook::RepeatKey;

#[derive(Deserialize)]
struct Notification {
    name: String,
    build: Build,
}

#[derive(Deserialize)]
struct Build {
    number: i64,
    phase: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    scm: Scm,
}

#[derive(Default, Deserialize)]
struct Scm {
    #[serde(default)]
    branch: Option<String>,
    #[serde(default)]
    commit: Option<String>,
}

pub(super) fn read(hook: &Hook, secret: &str, call: Call<'_>) -> Result<Asks> {
    let token = call.token.or_else(|| text(call.headers, "x-hafen-token")).ok_or_else(not_believed)?;
    if !same(token, secret) {
        return Err(not_believed());
    }
    let told: Notification = json(call.body)?;
    let build = told.build;
    let named = format!("{} #{}", brief(&told.name), build.number);
    // The plugin names no delivery, and tells of a build's end twice.
    let nothing = |why: HookIgnored, about: String| {
        let key = format!("{}:{}:{}", why.as_str(), build.number, fingerprint(told.name.as_bytes()));
        Ok(Nothing::new(why, about, &key).into())
    };
    if hook.job.as_deref().is_some_and(|job| job != told.name) {
        return nothing(HookIgnored::OtherJob, brief(&told.name));
    }
    if !matches!(build.phase.as_str(), "COMPLETED" | "FINALIZED") {
        return nothing(HookIgnored::Unfinished, format!("{named}: {}", brief(&build.phase)));
    }
    let status = build.status.unwrap_or_default();
    if status != "SUCCESS" {
        return nothing(HookIgnored::Failed, format!("{named}: {}", brief(&status)));
    }
    if build.number < 1 || told.name.len() > 500 || told.name.contains('\0') {
        return nothing(HookIgnored::Unnamed, named);
    }
    let commit = build.scm.commit.as_deref().and_then(commit);
    // As git's remote branches are called.
    let branch = build.scm.branch.as_deref().map(|name| name.strip_prefix("origin/").unwrap_or(name));
    let branch = branch.or(hook.branch.as_deref());
    // Neither the notification nor the hook says of which branch it is.
    let Some(branch) = branch else { return nothing(HookIgnored::Unnamed, named) };
    let repeat = RepeatKey {
        key: format!("build:{}:{}", build.number, told.name),
        build: Some((told.name.clone(), build.number)),
    };
    Ok(of_branch(hook, branch, commit, repeat))
}
