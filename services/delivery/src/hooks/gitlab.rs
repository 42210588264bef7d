//! GitLab: `X-Gitlab-Token`, or signed by Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::Result;
use hafen_client::wire::{Hook, HookIgnored};
use serde::Deserialize;

use super::signature::{fingerprint, same, signed};
use super::{Asks, Call, Nothing, PushEvent, brief, commit, json, not_believed, of_branch, pushed, text};
use crate::store::hook::RepeatKey;

/// A signature is good for this long before and after its time.
const STALE: i64 = 300;
/// What the secret begins with: then GitLab takes it as a signing key, too.
pub(crate) const PREFIX: &str = "whsec_";

#[derive(Deserialize)]
struct Kind {
    object_kind: String,
}

#[derive(Deserialize)]
struct Pipeline {
    object_attributes: PipelineAttributes,
}

#[derive(Deserialize)]
struct PipelineAttributes {
    #[serde(rename = "ref")]
    reference: String,
    sha: String,
    status: String,
    #[serde(default)]
    tag: bool,
    #[serde(default)]
    source: String,
}

pub(super) fn read(hook: &Hook, secret: &str, call: Call<'_>) -> Result<Asks> {
    let id = believe(secret, call)?;
    let kind: Kind = json(call.body)?;
    let repeat = RepeatKey { key: id, build: None };
    match kind.object_kind.as_str() {
        "push" if !hook.pipeline => Ok(pushed(hook, &json::<PushEvent>(call.body)?, repeat)),
        "pipeline" if hook.pipeline => {
            let one = json::<Pipeline>(call.body)?.object_attributes;
            let nothing = |why, about: &str| Ok(Nothing::new(why, brief(about), &repeat.key).into());
            match one.status.as_str() {
                "success" => {}
                "failed" | "canceled" | "skipped" => return nothing(HookIgnored::Failed, &one.status),
                other => return nothing(HookIgnored::Unfinished, other),
            }
            // Its reference is the source's branch, which may be a fork's.
            if one.tag || matches!(one.source.as_str(), "merge_request_event" | "external_pull_request_event")
            {
                return nothing(HookIgnored::OtherPipeline, &one.reference);
            }
            Ok(of_branch(hook, &one.reference, commit(&one.sha), repeat))
        }
        other => Ok(Nothing::new(HookIgnored::OtherEvent, brief(other), &repeat.key).into()),
    }
}

/// Gives what names this call among its repeats.
fn believe(secret: &str, call: Call<'_>) -> Result<String> {
    let headers = call.headers;
    if let Some(signatures) = text(headers, "webhook-signature") {
        let id = text(headers, "webhook-id").filter(|id| (1..=200).contains(&id.len()));
        let time = text(headers, "webhook-timestamp");
        let (Some(id), Some(time)) = (id, time) else { return Err(not_believed()) };
        let seconds: i64 = time.parse().map_err(|_| not_believed())?;
        let now = call.now.micros() / 1_000_000;
        if now.saturating_sub(seconds).abs() > STALE {
            return Err(not_believed());
        }
        let key = secret.strip_prefix(PREFIX).and_then(|key| STANDARD.decode(key).ok());
        let key = key.ok_or_else(not_believed)?;
        let parts: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", call.body];
        let good = signatures.split(' ').take(10).any(|one| {
            let signature = one.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
            signature.is_some_and(|signature| signed(&key, &parts, &signature))
        });
        return if good { Ok(format!("id:{id}")) } else { Err(not_believed()) };
    }
    let token = text(headers, "x-gitlab-token").ok_or_else(not_believed)?;
    if !same(token, secret) {
        return Err(not_believed());
    }
    let id = ["webhook-id", "idempotency-key"].into_iter().find_map(|name| text(headers, name));
    let id = id.filter(|id| (1..=200).contains(&id.len()));
    Ok(id.map_or_else(|| format!("body:{}", fingerprint(call.body)), |id| format!("id:{id}")))
}
