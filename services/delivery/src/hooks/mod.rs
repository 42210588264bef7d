//! What other systems say, read: whether a call is to be believed, what makes it the same as another, what it asks for. Pure.

mod forge;
mod gitlab;
mod jenkins;
mod nothing;
mod signature;

use hafen_base::{Error, ErrorKind, Result, Timestamp};
use hafen_client::wire::{Hook, HookIgnored, HookKind};
use http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(crate) use self::nothing::Nothing;
use self::nothing::brief;
use crate::store::hook::RepeatKey;

/// A call, as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub headers: &'a HeaderMap,
    /// Of the query: where nothing else can be said.
    pub token: Option<&'a str>,
    pub body: &'a [u8],
    pub now: Timestamp,
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Deploy this.
    Deploy { reference: String, commit: Option<String>, repeat: RepeatKey },
    /// Nothing that is acted on, and why.
    Nothing(Nothing),
}

fn not_believed() -> Error {
    Error::new(ErrorKind::Unauthenticated, "no hook of this address knows this secret or signature")
}

/// What a believed call asks for.
///
/// # Errors
/// Unauthenticated when it is not to be believed; invalid when it cannot be read.
pub(crate) fn read(hook: &Hook, secret: &str, call: Call<'_>) -> Result<Asks> {
    match hook.kind {
        HookKind::Gitlab => gitlab::read(hook, secret, call),
        HookKind::Github | HookKind::Forgejo => forge::read(hook, secret, call),
        HookKind::Jenkins => jenkins::read(hook, secret, call),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Error::invalid(format!("the call's body is not what this kind of hook sends: {error}"))
    })
}

/// A push, as GitLab, GitHub and Forgejo tell it alike.
#[derive(Debug, Deserialize)]
struct PushEvent {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
}

/// What a push to a branch asks for.
fn pushed(hook: &Hook, event: &PushEvent, repeat: RepeatKey) -> Asks {
    let Some(branch) = event.reference.strip_prefix("refs/heads/") else {
        return Nothing::new(HookIgnored::NoBranch, brief(&event.reference), &repeat.key).into();
    };
    let Some(commit) = commit(&event.after) else {
        return Nothing::new(HookIgnored::BranchDeleted, brief(branch), &repeat.key).into();
    };
    of_branch(hook, branch, Some(commit), repeat)
}

/// What is asked for of a branch, if the hook is for it.
fn of_branch(hook: &Hook, branch: &str, commit: Option<String>, repeat: RepeatKey) -> Asks {
    if hook.branch.as_deref().is_some_and(|wanted| wanted != branch) {
        return Nothing::new(HookIgnored::OtherBranch, brief(branch), &repeat.key).into();
    }
    if !hafen_git::check_branch(branch) {
        return Nothing::new(HookIgnored::Unnamed, brief(branch), &repeat.key).into();
    }
    Asks::Deploy { reference: branch.to_owned(), commit, repeat }
}

/// A commit's name in hexadecimal; none for the name of nothing.
fn commit(text: &str) -> Option<String> {
    let good = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
    (good && text.bytes().any(|b| b != b'0')).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
