//! The semantics of the API: token, problems, idempotency, ETags, leases, quotas, paging, events.

use axum::body::Body;
use hafen_base::ErrorKind;
use hafen_client::Conditions;
use hafen_client::wire::{Lease, List, Machine, MachinePatch, MachineResize, Problem, ProjectPut, Quota};
use http::{Request, StatusCode};
use tower::ServiceExt as _;

use crate::app::{App, Ground, TOKEN, machine};

async fn raw(
    app: &App,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> (StatusCode, String, String) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let answer =
        app.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = answer.status();
    let kind =
        answer.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, kind, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_without_the_token() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    for token in [None, Some(""), Some("wrong"), Some("test-token2"), Some("test-toke")] {
        for path in ["/api/v1/projects", "/api/v1/openapi.json", "/nowhere", "/"] {
            let (status, kind, _) = raw(&app, "GET", path, token, "").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{token:?} {path}");
            assert_eq!(kind, "application/problem+json");
        }
    }
    let (status, ..) = raw(&app, "GET", "/api/v1/projects", Some(TOKEN), "").await;
    assert_eq!(status, StatusCode::OK);
}

/// Bad input gets a problem that says where it is wrong, never a 500.
#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_problem_that_points_at_the_mistake() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let machines = "/api/v1/projects/p/machines";
    let good = serde_json::to_string(&machine("a")).unwrap();
    let table: &[(&str, &str, String, u16, &str)] = &[
        ("GET", "/nowhere", String::new(), 404, ""),
        ("TRACE", "/api/v1/projects", String::new(), 405, ""),
        ("GET", "/api/v1/projects/p/machines/none", String::new(), 404, ""),
        ("GET", "/api/v1/projects/none/machines", String::new(), 404, ""),
        ("GET", "/api/v1/projects/%00/machines", String::new(), 404, ""),
        ("GET", "/api/v1/projects?limit=0", String::new(), 400, "/limit"),
        ("GET", "/api/v1/projects?limit=x", String::new(), 400, ""),
        ("GET", "/api/v1/projects?page=%25%25", String::new(), 400, "/page"),
        ("PUT", "/api/v1/projects/Not%20A%20Name", "{}".into(), 400, "/project"),
        ("POST", machines, "{".into(), 400, ""),
        ("POST", machines, "[]".into(), 400, ""),
        ("POST", machines, format!("{good} x"), 400, ""),
        ("POST", machines, good.replace("\"a\"", "\"A b\""), 400, "/name"),
        ("POST", machines, good.replace("\"cpus\":1", "\"cpus\":0"), 400, "/spec/cpus"),
        ("POST", machines, good.replace("\"cpus\":1", "\"cpus\":\"1\""), 400, "/spec/cpus"),
        ("POST", machines, good.replace("\"cpus\":1", "\"cpus\":1,\"gpu\":1"), 400, "/spec/gpu"),
        ("POST", machines, good.replace("\"image\":\"web\"", "\"image\":\"none\""), 400, "/spec/image"),
        ("POST", machines, good.replace("\"warm\"", "\"hot\""), 400, "/spec/start"),
        ("POST", machines, good.replace("\"a\"", "\"a\\u0000\""), 400, ""),
        ("POST", machines, "x".repeat(3 << 20), 413, ""),
        (
            "PUT",
            "/api/v1/projects/p/publications/x",
            r#"{"host":"no","group":"g","port":80}"#.into(),
            400,
            "/host",
        ),
        (
            "POST",
            "/api/v1/projects/p/networks",
            r#"{"name":"n","subnet":"8.8.8.0/24"}"#.into(),
            400,
            "/subnet",
        ),
        (
            "POST",
            "/api/v1/projects/p/networks",
            r#"{"name":"n","egress":{"allow":["x"]}}"#.into(),
            400,
            "/egress/allow/0",
        ),
        ("POST", "/api/v1/operations/nope/cancel", String::new(), 404, ""),
        ("GET", "/api/v1/projects/p/machines/none/dial?port=0", String::new(), 400, ""),
    ];
    for (method, path, body, status, pointer) in table {
        let short: String = body.chars().take(120).collect();
        let (got, kind, text) = raw(&app, method, path, Some(TOKEN), body).await;
        assert_eq!(got.as_u16(), *status, "{method} {path} {short}: {text}");
        assert_eq!(kind, "application/problem+json", "{method} {path}");
        let problem: Problem = serde_json::from_str(&text).unwrap();
        assert_eq!(problem.status, *status);
        assert!(!problem.detail.is_empty() && !problem.request_id.is_empty());
        if !pointer.is_empty() {
            assert!(problem.errors.iter().any(|e| e.pointer == *pointer), "{method} {path} {short}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_post_acts_once_even_after_a_restart() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let key = Conditions::key("k1");
    let first = app.client.machine_create("p", &machine("a"), &key).await.unwrap();
    drop(app);
    let app = App::start(&ground).await;
    let again = app.client.machine_create("p", &machine("a"), &key).await.unwrap();
    assert_eq!(first.machine.id, again.machine.id);
    let other = app.client.machine_create("p", &machine("b"), &key).await.unwrap_err();
    assert_eq!((other.kind(), other.code()), (ErrorKind::Conflict, "idempotency_key_reused"));
    let unkeyed = app.client.machine_create("p", &machine("a"), &Conditions::default()).await.unwrap_err();
    assert_eq!(unkeyed.kind(), ErrorKind::Conflict);
    assert_eq!(app.client.machine_list("p").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_and_leases_keep_others_out() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let machine = app.machine("p", "a").await;
    let stale = Conditions { if_match: Some("\"g99\"".into()), ..Conditions::default() };
    let patch = MachinePatch { cordoned: Some(true), ..MachinePatch::default() };
    assert_eq!(
        app.client.machine_patch("p", "a", &patch, &stale).await.unwrap_err().kind(),
        ErrorKind::Stale
    );
    let fresh =
        Conditions { if_match: Some(format!("\"g{}\"", machine.generation)), ..Conditions::default() };
    assert!(app.client.machine_patch("p", "a", &patch, &fresh).await.unwrap().cordoned);

    let path = "/api/v1/projects/p/machines/a/lease";
    let body = serde_json::json!({ "ttl": 600 });
    let lease: Lease = app.client.post(path, &body, &Conditions::default()).await.unwrap();
    let held = app.client.post::<_, Lease>(path, &body, &Conditions::default()).await.unwrap_err();
    assert_eq!((held.kind(), held.code()), (ErrorKind::Conflict, "leased"));
    let stop = |nonce: Option<String>| {
        let with = Conditions { lease_nonce: nonce, ..Conditions::default() };
        let client = app.client.clone();
        async move { client.machine_action("p", "a", "stop", &with).await }
    };
    assert_eq!(stop(None).await.unwrap_err().code(), "leased");
    assert_eq!(stop(Some("x".into())).await.unwrap_err().code(), "leased");
    stop(Some(lease.nonce)).await.unwrap();
    app.wait("p", "a", "stopped").await.unwrap();
    ground.clock.step(std::time::Duration::from_secs(601));
    app.client.machine_action("p", "a", "start", &Conditions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold_under_requests_at_the_same_time_on_both_databases() {
    for (backend, database) in hafen_db::testing::both() {
        let ground = Ground::new(database, Default::default());
        let app = App::start(&ground).await;
        app.prepare("p").await;
        let quota = Quota { machines: 5, cpus: 100, memory: 1 << 40, disk: 1 << 40 };
        app.client.project_put("p", &ProjectPut { quota: Some(quota) }).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..40 {
            let client = app.client.clone();
            tasks.spawn(async move {
                client.machine_create("p", &machine(&format!("m{index}")), &Conditions::default()).await
            });
        }
        let (mut made, mut refused) = (0, 0);
        while let Some(outcome) = tasks.join_next().await {
            match outcome.unwrap() {
                Ok(_) => made += 1,
                Err(error) if error.kind() == ErrorKind::Quota => refused += 1,
                Err(error) => panic!("{backend}: {error:?}"),
            }
        }
        assert_eq!((made, refused), (5, 35), "{backend}");
        let usage = app.client.project_get("p").await.unwrap().usage;
        assert_eq!((usage.machines, usage.cpus), (made, made), "{backend}");
        let grow = MachineResize { cpus: Some(100), ..MachineResize::default() };
        let name = app.client.machine_list("p").await.unwrap()[0].name.clone();
        let error = app.client.machine_resize("p", &name, &grow, &Conditions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Quota, "{backend}");
        // What is deleted is given back.
        for machine in app.client.machine_list("p").await.unwrap() {
            app.client.machine_delete("p", &machine.name, &Conditions::default()).await.unwrap();
        }
        app.until("usage is zero", async || {
            (app.client.project_get("p").await.unwrap().usage == Default::default()).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_narrowed_on_both_databases() {
    for (backend, database) in hafen_db::testing::both() {
        let ground = Ground::new(database, Default::default());
        let app = App::start(&ground).await;
        app.prepare("p").await;
        for index in 0..7 {
            let mut body = machine(&format!("m{index}"));
            body.group = Some(if index % 2 == 0 { "even".into() } else { "odd".into() });
            body.metadata.insert("team".into(), if index < 3 { "a b&c".into() } else { "x".into() });
            app.client.machine_create("p", &body, &Conditions::default()).await.unwrap();
        }
        let mut names = Vec::new();
        let mut page = String::new();
        loop {
            let list: List<Machine> =
                app.client.get(&format!("/api/v1/projects/p/machines?limit=3{page}")).await.unwrap();
            assert!(list.items.len() <= 3);
            names.extend(list.items.into_iter().map(|m| m.name));
            match list.next_page {
                Some(token) => page = format!("&page={token}"),
                None => break,
            }
        }
        assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"], "{backend}");
        for (query, count) in [
            ("group=even", 4),
            ("metadata.team=a%20b%26c", 3),
            ("metadata.team=x&group=odd", 2),
            ("metadata.team=none", 0),
            ("metadata.team=x&metadata.other=y", 0),
        ] {
            let list: List<Machine> =
                app.client.get(&format!("/api/v1/projects/p/machines?{query}")).await.unwrap();
            assert_eq!(list.items.len(), count, "{backend} {query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_without_gaps() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    for name in ["a", "b", "c"] {
        app.client.machine_create("p", &machine(name), &Conditions::default()).await.unwrap();
    }
    for name in ["a", "b", "c"] {
        app.wait("p", name, "started").await.unwrap();
    }
    let events = app.client.event_list(0, 1000).await.unwrap().items;
    let positions: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(positions, (1..=i64::try_from(events.len()).unwrap()).collect::<Vec<_>>());
    let of_a: Vec<&str> =
        events.iter().filter(|e| e.object == "machine/a").map(|e| e.kind.as_str()).collect();
    assert_eq!(of_a, ["machine.creating", "machine.started"]);

    // The stream gives the same, from any position, and goes on.
    let mut body = app.client.follow(&format!("/api/v1/events?after={}", positions.len() - 2)).await.unwrap();
    app.client.machine_delete("p", "a", &Conditions::default()).await.unwrap();
    let mut text = String::new();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !text.contains("machine.destroyed") {
        let frame =
            tokio::time::timeout_at(deadline, http_body_util::BodyExt::frame(&mut body)).await.unwrap();
        let data = frame.unwrap().unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    let ids: Vec<i64> =
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_short_and_a_wrong_key_is_refused() {
    let ground = Ground::sqlite();
    let app = App::start(&ground).await;
    app.prepare("p").await;
    let body = |key: &str| hafen_client::wire::SshCertificateCreate { public_key: key.into(), ttl: 300 };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHN5dGVzdGtleXN5dGVzdGtleXN5dGVzdGtleXN5dGVz a@b";
    let certificate = app.client.ssh_certificate("p", &body(key)).await.unwrap();
    assert!(certificate.certificate.starts_with("ssh-ed25519-cert-v01@openssh.com "));
    for bad in ["", "ssh-rsa AAAA", "x"] {
        assert_eq!(app.client.ssh_certificate("p", &body(bad)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
