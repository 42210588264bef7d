//! Recorded shapes of calls, in tables.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;

const AFTER: &str = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7";
const ZERO: &str = "0000000000000000000000000000000000000000";
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// Seconds.
const NOW: i64 = 1_790_000_000;

fn hook(kind: HookKind) -> Hook {
    Hook {
        id: "hook-1".into(),
        project: "hello".into(),
        name: "outside".into(),
        kind,
        app: "shop".into(),
        branch: Some("main".into()),
        pipeline: false,
        job: None,
        path: "/hooks/hook-1".into(),
        created_by: String::new(),
        created_at: Timestamp::from_micros(0),
        called_at: None,
    }
}

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        })
        .collect()
}

/// `deploy BRANCH COMMIT KEY`, `nothing WHY ABOUT KEY`, `401` or `400`.
fn ask(hook: &Hook, list: &[(&str, &str)], token: Option<&str>, body: &[u8]) -> String {
    let headers = headers(list);
    let now = Timestamp::from_micros(NOW * 1_000_000);
    match read(hook, SECRET, Call { headers: &headers, token, body, now }) {
        Ok(Asks::Deploy { reference, commit, repeat }) => {
            let commit = commit.unwrap_or_default();
            let key = repeat.key.split_at_checked(12).map_or(repeat.key.as_str(), |(key, _)| key);
            format!("deploy {reference} {} {key}", commit.get(..4).unwrap_or(""))
        }
        Ok(Asks::Nothing(nothing)) => {
            assert!(!nothing.sentence().is_empty() && nothing.about.chars().count() < 200);
            format!("nothing {} {} {}", nothing.why.as_str(), nothing.about, nothing.key)
        }
        Err(error) => error.kind().status().to_string(),
    }
}

/// GitLab 18, "Push events", shortened.
fn gitlab_push(reference: &str, after: &str) -> Value {
    json!({
        "object_kind": "push", "event_name": "push", "before": "95790bf891e76fee5e1747ab589903a6a1f80f22",
        "after": after, "ref": reference, "ref_protected": true, "checkout_sha": after,
        "user_id": 4, "user_name": "John Smith", "user_username": "jsmith", "project_id": 15,
        "project": { "id": 15, "name": "Diaspora", "path_with_namespace": "mike/diaspora", "default_branch": "main" },
        "commits": [{ "id": after, "message": "fixed readme", "timestamp": "2012-01-03T23:36:29+02:00" }],
        "total_commits_count": 25,
    })
}

/// GitLab 18, "Pipeline events", shortened.
fn gitlab_pipeline(status: &str, source: &str, tag: bool) -> Value {
    json!({
        "object_kind": "pipeline",
        "object_attributes": {
            "id": 31, "iid": 3, "ref": "main", "tag": tag, "sha": AFTER, "source": source, "status": status,
            "stages": ["build", "test", "deploy"], "duration": 63,
        },
        "project": { "id": 1, "path_with_namespace": "gitlab-org/gitlab-test" },
        "builds": [],
    })
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

#[test]
fn gitlab_by_its_token() {
    let hook = hook(HookKind::Gitlab);
    let push = bytes(&gitlab_push("refs/heads/main", AFTER));
    let token = ("x-gitlab-token", SECRET);
    let event = ("x-gitlab-event", "Push Hook");
    let named = ("idempotency-key", "0f0c63cd-6e7a-4b6f");
    for (list, body, expected) in [
        (vec![token, event, named], push.clone(), "deploy main da15 id:0f0c63cd-"),
        (vec![token, event], push.clone(), "deploy main da15 body:"),
        (vec![event, named], push.clone(), "401"),
        (vec![("x-gitlab-token", "wrong"), event], push.clone(), "401"),
        (vec![("x-gitlab-token", ""), event], push.clone(), "401"),
        (
            vec![token, named],
            bytes(&gitlab_push("refs/heads/topic", AFTER)),
            "nothing other_branch topic nothing:id:0f0c",
        ),
        (
            vec![token],
            bytes(&gitlab_push("refs/heads/topic", AFTER)),
            "nothing other_branch topic nothing:body:",
        ),
        (vec![token], bytes(&gitlab_push("refs/tags/v1", AFTER)), "nothing no_branch refs/tags/v1 "),
        (vec![token], bytes(&gitlab_push("refs/heads/main", ZERO)), "nothing branch_deleted main "),
        (vec![token], bytes(&gitlab_pipeline("success", "push", false)), "nothing other_event pipeline "),
        (
            vec![token],
            bytes(&json!({ "object_kind": "merge_request" })),
            "nothing other_event merge_request ",
        ),
        (vec![token], b"{}".to_vec(), "400"),
        (vec![token], b"no json".to_vec(), "400"),
        (vec![token], bytes(&json!({ "object_kind": "push" })), "400"),
        (vec![token], b"[]".to_vec(), "400"),
    ] {
        let answer = ask(&hook, &list, None, &body);
        assert!(answer.starts_with(expected), "{list:?} {answer} {}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn gitlab_deploys_when_its_pipeline_was_a_success() {
    let hook = Hook { pipeline: true, ..hook(HookKind::Gitlab) };
    let token = [("x-gitlab-token", SECRET), ("x-gitlab-event", "Pipeline Hook")];
    for (body, expected) in [
        (gitlab_pipeline("success", "push", false), "deploy main da15"),
        (gitlab_pipeline("running", "push", false), "nothing unfinished running "),
        (gitlab_pipeline("failed", "push", false), "nothing failed failed "),
        (gitlab_pipeline("success", "merge_request_event", false), "nothing other_pipeline main "),
        (gitlab_pipeline("success", "push", true), "nothing other_pipeline main "),
        (gitlab_push("refs/heads/main", AFTER), "nothing other_event push "),
    ] {
        let answer = ask(&hook, &token, None, &bytes(&body));
        assert!(answer.starts_with(expected), "{answer} {body}");
    }
}

/// As Standard Webhooks sign.
fn sign(id: &str, time: i64, body: &[u8]) -> String {
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mac = signature::hmac(&key, &[id.as_bytes(), b".", time.to_string().as_bytes(), b".", body]);
    format!("v1,{}", STANDARD.encode(mac))
}

#[test]
fn gitlab_by_its_signature() {
    let hook = hook(HookKind::Gitlab);
    let body = bytes(&gitlab_push("refs/heads/main", AFTER));
    let call = |id: &str, time: i64, signature: &str, body: &[u8]| {
        let time = time.to_string();
        let list =
            [("webhook-id", id), ("webhook-timestamp", time.as_str()), ("webhook-signature", signature)];
        ask(&hook, &list, None, body)
    };
    let good = sign("msg_1", NOW, &body);
    assert_eq!(call("msg_1", NOW, &good, &body), "deploy main da15 id:msg_1");
    // A key that is about to be rotated signs beside the new one.
    assert_eq!(call("msg_1", NOW, &format!("v1,AAAA {good}"), &body), "deploy main da15 id:msg_1");
    for (what, answer) in [
        ("another id", call("msg_2", NOW, &good, &body)),
        ("another time", call("msg_1", NOW + 1, &good, &body)),
        ("another body", call("msg_1", NOW, &good, &bytes(&gitlab_push("refs/heads/main", ZERO)))),
        ("stale", call("msg_1", NOW - 301, &sign("msg_1", NOW - 301, &body), &body)),
        ("of the future", call("msg_1", NOW + 301, &sign("msg_1", NOW + 301, &body), &body)),
        ("another version", call("msg_1", NOW, &good.replacen("v1,", "v2,", 1), &body)),
        ("no signature", call("msg_1", NOW, "", &body)),
        ("no base 64", call("msg_1", NOW, "v1,???", &body)),
    ] {
        assert_eq!(answer, "401", "{what}");
    }
    let edge = sign("msg_1", NOW - 300, &body);
    assert!(call("msg_1", NOW - 300, &edge, &body).starts_with("deploy"));
    // The token does not help a signature that is wrong.
    let list = [("webhook-signature", "v1,AAAA"), ("x-gitlab-token", SECRET)];
    assert_eq!(ask(&hook, &list, None, &body), "401");
}

/// GitHub's and Forgejo's "push", shortened.
fn forge_push(reference: &str, after: &str) -> Vec<u8> {
    bytes(&json!({
        "ref": reference, "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246", "after": after, "created": false,
        "deleted": after == ZERO, "forced": false, "compare": "https://example.org/compare",
        "repository": { "id": 186_853_002, "full_name": "Codertocat/Hello-World", "pushed_at": NOW },
        "pusher": { "name": "Codertocat" },
        "head_commit": { "id": after, "message": "Adding a .gitignore file" },
    }))
}

fn hex(key: &str, body: &[u8]) -> String {
    signature::hmac(key.as_bytes(), &[body])
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn github_and_forgejo_by_their_signatures() {
    let body = forge_push("refs/heads/main", AFTER);
    let good = hex(SECRET, &body);
    let github_good = format!("sha256={good}");
    let (github, forgejo) = (hook(HookKind::Github), hook(HookKind::Forgejo));
    let push = ("x-github-event", "push");
    let delivery = ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958");
    for (hook, list, body, expected) in [
        (
            &github,
            vec![("x-hub-signature-256", github_good.as_str()), push, delivery],
            &body,
            "deploy main da15 body:",
        ),
        (&github, vec![("x-hub-signature-256", good.as_str()), push], &body, "401"),
        (&github, vec![("x-hub-signature", github_good.as_str()), push], &body, "401"),
        (&github, vec![push], &body, "401"),
        (&github, vec![("x-hub-signature-256", "sha256=00"), push], &body, "401"),
        (&github, vec![("x-hub-signature-256", "sha256="), push], &body, "401"),
        (
            &github,
            vec![("x-hub-signature-256", github_good.as_str()), ("x-github-event", "ping")],
            &body,
            "nothing ping  nothing:body:",
        ),
        (&github, vec![("x-forgejo-signature", good.as_str()), push], &body, "401"),
        (
            &forgejo,
            vec![("x-forgejo-signature", good.as_str()), ("x-forgejo-event", "push")],
            &body,
            "deploy main da15 body:",
        ),
        (
            &forgejo,
            vec![("x-gitea-signature", good.as_str()), ("x-gitea-event", "push")],
            &body,
            "deploy main da15 body:",
        ),
        (
            &forgejo,
            vec![("x-hub-signature-256", github_good.as_str()), ("x-gitea-event", "push")],
            &body,
            "401",
        ),
        (&forgejo, vec![("x-gitea-signature", good.as_str())], &body, "nothing other_event  nothing:body:"),
    ] {
        let answer = ask(hook, &list, None, body);
        assert!(answer.starts_with(expected), "{list:?}: {answer}");
    }
    // Every bit of the signature and of the body counts.
    for at in 0..body.len() {
        let mut other = body.clone();
        other[at] ^= 1;
        assert_eq!(ask(&github, &[("x-hub-signature-256", &github_good), push], None, &other), "401", "{at}");
    }
    for (reference, after, expected) in [
        ("refs/heads/topic", AFTER, "nothing other_branch topic "),
        ("refs/tags/v1", AFTER, "nothing no_branch refs/tags/v1 "),
        ("refs/heads/main", ZERO, "nothing branch_deleted main "),
    ] {
        let body = forge_push(reference, after);
        let signature = format!("sha256={}", hex(SECRET, &body));
        let answer = ask(&github, &[("x-hub-signature-256", &signature), push], None, &body);
        assert!(answer.starts_with(expected), "{answer}");
    }
    // A renamed delivery is the same call.
    let list = |name| [("x-hub-signature-256", github_good.as_str()), push, ("x-github-delivery", name)];
    assert_eq!(ask(&github, &list("a"), None, &body), ask(&github, &list("b"), None, &body));
}

/// Notification plugin 1.17, shortened.
fn jenkins(phase: &str, status: Option<&str>, number: i64, branch: Option<&str>) -> Vec<u8> {
    let mut build = json!({
        "full_url": "http://localhost:8080/job/shop/18/", "number": number, "queue_id": 12, "phase": phase,
        "url": "job/shop/18/", "log": "", "notes": "", "artifacts": {},
        "scm": { "url": "https://example.org/shop.git", "commit": AFTER, "changes": [], "culprits": [] },
    });
    if let Some(status) = status {
        build["status"] = json!(status);
    }
    if let Some(branch) = branch {
        build["scm"]["branch"] = json!(branch);
    }
    bytes(&json!({ "name": "shop", "display_name": "shop", "url": "job/shop/", "build": build }))
}

#[test]
fn jenkins_only_at_the_end_of_a_build_that_was_a_success() {
    let hook = hook(HookKind::Jenkins);
    let other = Hook { job: Some("other".into()), ..hook.clone() };
    let same = Hook { job: Some("shop".into()), ..hook.clone() };
    let any = Hook { branch: None, ..hook.clone() };
    let main = Some("origin/main");
    for (hook, body, expected) in [
        (&hook, jenkins("COMPLETED", Some("SUCCESS"), 18, main), "deploy main da15 build:18:sho"),
        // The same build again.
        (&hook, jenkins("FINALIZED", Some("SUCCESS"), 18, main), "deploy main da15 build:18:sho"),
        // The status of the build before.
        (
            &hook,
            jenkins("STARTED", Some("SUCCESS"), 18, main),
            "nothing unfinished shop #18: STARTED nothing:unfinished:18:",
        ),
        (
            &hook,
            jenkins("QUEUED", Some("SUCCESS"), 18, main),
            "nothing unfinished shop #18: QUEUED nothing:unfinished:18:",
        ),
        (
            &hook,
            jenkins("COMPLETED", Some("FAILURE"), 18, main),
            "nothing failed shop #18: FAILURE nothing:failed:18:",
        ),
        (&hook, jenkins("COMPLETED", Some("UNSTABLE"), 18, main), "nothing failed shop #18: UNSTABLE "),
        (&hook, jenkins("COMPLETED", None, 18, main), "nothing failed shop #18: "),
        (&hook, jenkins("COMPLETED", Some("SUCCESS"), 0, main), "nothing unnamed shop #0 "),
        (
            &hook,
            jenkins("COMPLETED", Some("SUCCESS"), 18, Some("origin/topic")),
            "nothing other_branch topic nothing:build:18:shop",
        ),
        (&hook, jenkins("COMPLETED", Some("SUCCESS"), 18, None), "deploy main da15"),
        (&any, jenkins("COMPLETED", Some("SUCCESS"), 18, Some("topic")), "deploy topic da15"),
        (&any, jenkins("COMPLETED", Some("SUCCESS"), 18, None), "nothing unnamed shop #18 "),
        (
            &other,
            jenkins("COMPLETED", Some("SUCCESS"), 18, main),
            "nothing other_job shop nothing:other_job:18:",
        ),
        (&same, jenkins("COMPLETED", Some("SUCCESS"), 18, main), "deploy main da15"),
        (&hook, b"{}".to_vec(), "400"),
        (&hook, b"".to_vec(), "400"),
    ] {
        let answer = ask(hook, &[], Some(SECRET), &body);
        assert!(answer.starts_with(expected), "{answer} {}", String::from_utf8_lossy(&body));
    }
    let body = jenkins("COMPLETED", Some("SUCCESS"), 18, main);
    assert_eq!(ask(&hook, &[], None, &body), "401");
    assert_eq!(ask(&hook, &[], Some("wrong"), &body), "401");
    assert!(ask(&hook, &[("x-hafen-token", SECRET)], None, &body).starts_with("deploy"));
}
