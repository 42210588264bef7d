//! The HTTP face: statuses, headers, problems, both databases.

use std::sync::Arc;

use axum::body::Body;
use hafen_client::wire::{Apply, List, Plan, Problem, Stack};
use hafen_http::{Access, finish};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::fake::Fake;
use crate::manifest::hello;
use crate::service::Service;

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    fn problem(&self) -> Problem {
        self.json()
    }
}

struct Api(axum::Router);

impl Api {
    fn of(service: &Service) -> Self {
        let (router, _) = service.stacks.router().split_for_parts();
        Self(finish(router, Access::token("token"), &[]))
    }

    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/projects/hello{path}"))
            .header("authorization", "Bearer token");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let answer = self.0.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, None, Some(body)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_over_http_on_both_databases() {
    for (name, database) in hafen_db::testing::both() {
        let service = Service::open(Arc::new(database), Fake::new(), 100).await;
        let api = Api::of(&service);
        assert_eq!(api.get("/stack").await.status, StatusCode::NOT_FOUND, "{name}");
        let plan = api.post("/plans", json!(hello(2).source())).await;
        assert_eq!(plan.status, StatusCode::OK, "{name}");
        let plan: Plan = plan.json();
        assert_eq!(plan.counts.create, 6, "{name}");

        let body = json!({ "plan": plan });
        let accepted = api.send("POST", "/applies", Some("k1"), Some(body.clone())).await;
        assert_eq!(
            accepted.status,
            StatusCode::ACCEPTED,
            "{name}: {:?}",
            String::from_utf8_lossy(&accepted.body)
        );
        let apply: Apply = accepted.json();
        assert_eq!(accepted.headers["location"], format!("/api/v1/projects/hello/applies/{}", apply.id));
        let repeated: Apply = api.send("POST", "/applies", Some("k1"), Some(body.clone())).await.json();
        assert_eq!(repeated.id, apply.id, "{name}");

        let path = format!("/applies/{}", apply.id);
        let ended: Apply = api.get(&format!("{path}/wait?timeout=60")).await.json();
        assert_eq!(ended.status, "succeeded", "{name}: {ended:#?}");
        assert!(ended.steps.iter().all(|step| step.status == "done"), "{name}");
        let shown: Apply = api.get(&path).await.json();
        assert_eq!(shown.steps, ended.steps, "{name}: what was in memory is what was written");
        let list: List<Apply> = api.get("/applies?limit=1").await.json();
        assert_eq!((list.items.len(), list.next_page), (1, None), "{name}");

        let stack = api.get("/stack").await;
        assert_eq!(stack.headers["etag"], "\"g1\"", "{name}");
        let stack: Stack = stack.json();
        assert_eq!((stack.serial, stack.apply), (1, Some(apply.id)), "{name}");
        assert_eq!(api.get("/drift").await.json::<Value>()["resource_drift"], json!([]), "{name}");

        let stale = api.post("/applies", body).await;
        assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED, "{name}");
        assert_eq!(stale.problem().code, "plan_stale", "{name}");
        let late = api.post(&format!("{path}/cancel"), json!({})).await;
        assert_eq!(late.status, StatusCode::CONFLICT, "{name}");
        let kinds: Vec<String> = service
            .stacks
            .events()
            .read(0, 10, Some("hello"))
            .await
            .unwrap()
            .into_iter()
            .map(|event| event.kind)
            .collect();
        assert_eq!(kinds, ["apply.started", "apply.succeeded"], "{name}");
    }
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let service = Service::new().await;
    let api = Api::of(&service);
    let cases = [
        ("POST", "/plans", Some(json!({ "manifest": "not a manifest" })), StatusCode::BAD_REQUEST),
        ("POST", "/plans", Some(json!({ "nonsense": 1 })), StatusCode::BAD_REQUEST),
        ("POST", "/plans", None, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("POST", "/applies", Some(json!({ "plan": 7 })), StatusCode::BAD_REQUEST),
        ("GET", "/applies?limit=0", None, StatusCode::BAD_REQUEST),
        ("GET", "/applies?page=%25", None, StatusCode::BAD_REQUEST),
        ("GET", "/applies/op-nonsense", None, StatusCode::NOT_FOUND),
        ("GET", "/applies/op-nonsense/wait?timeout=0", None, StatusCode::BAD_REQUEST),
        ("GET", "/applies/op-nonsense/wait", None, StatusCode::NOT_FOUND),
        ("POST", "/applies/op-nonsense/cancel", None, StatusCode::NOT_FOUND),
        ("GET", "/drift", None, StatusCode::NOT_FOUND),
        ("PUT", "/stack", None, StatusCode::METHOD_NOT_ALLOWED),
    ];
    for (method, path, body, expected) in cases {
        let answer = api.send(method, path, None, body).await;
        assert_eq!(answer.status, expected, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        assert!(!answer.problem().detail.is_empty());
    }
}

#[tokio::test]
async fn every_route_is_described() {
    let service = Service::new().await;
    let document = serde_json::to_value(service.stacks.router().into_openapi()).unwrap();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths.len(), 7, "{paths:?}");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        }
    }
}
