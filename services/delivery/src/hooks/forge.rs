//! GitHub (`X-Hub-Signature-256`) and Forgejo or Gitea (`X-Forgejo-Signature`, `X-Gitea-Signature`): HMAC-SHA-256 of the body.
//!
//! What names a delivery is not signed: the body itself does. So nobody can have an old call act again under a new name.

use hafen_base::Result;
use hafen_client::wire::{Hook, HookIgnored, HookKind};

use super::signature::{fingerprint, from_hex, signed};
use super::{Asks, Call, Nothing, PushEvent, brief, json, not_believed, pushed, text};
use crate::store::hook::RepeatKey;

pub(super) fn read(hook: &Hook, secret: &str, call: Call<'_>) -> Result<Asks> {
    let headers = call.headers;
    let github = hook.kind == HookKind::Github;
    let signature = if github {
        text(headers, "x-hub-signature-256").and_then(|text| text.strip_prefix("sha256="))
    } else {
        text(headers, "x-forgejo-signature").or_else(|| text(headers, "x-gitea-signature"))
    };
    let signature = signature.and_then(from_hex).ok_or_else(not_believed)?;
    if !signed(secret.as_bytes(), &[call.body], &signature) {
        return Err(not_believed());
    }
    let names: &[&str] = if github { &["x-github-event"] } else { &["x-forgejo-event", "x-gitea-event"] };
    let event = names.iter().find_map(|name| text(headers, name)).unwrap_or_default();
    let repeat = RepeatKey { key: format!("body:{}", fingerprint(call.body)), build: None };
    match event {
        "push" => Ok(pushed(hook, &json::<PushEvent>(call.body)?, repeat)),
        "ping" => Ok(Nothing::new(HookIgnored::Ping, "", &repeat.key).into()),
        other => Ok(Nothing::new(HookIgnored::OtherEvent, brief(other), &repeat.key).into()),
    }
}
