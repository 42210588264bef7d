//! What a client of the API sees, on both databases.

use hafen_base::{Permitted, Projects, Sight, SteppedClock};
use hafen_db::testing;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Options, Service};

async fn services() -> Vec<(&'static str, Service, testing::TestDb)> {
    let mut services = Vec::new();
    for (name, db) in testing::both() {
        let clock = Arc::new(SteppedClock::new());
        let options = Options { clock, runs: false, ..Options::new(&db.location) };
        services.push((name, options.open().await, db));
    }
    services
}

fn route() -> Value {
    json!({ "paths": { "/": [{ "backend": "legacy", "weight": 80 }, { "backend": "shop", "weight": 20 }] } })
}

#[tokio::test]
async fn a_route_is_written_read_and_taken_back() {
    for (db, service, _db) in services().await {
        let at = "hello/routes/shop.example.org";
        let (status, tag, made) = service.ask(None, "PUT", at, &[], route()).await;
        assert_eq!((status, tag.as_str()), (201, "\"g1\""), "{db}: {made}");
        assert_eq!(
            (&made["redirect_https"], &made["hsts"], &made["certificate"]),
            (&json!(true), &json!(31_536_000), &json!("pending"))
        );
        // The same again changes nothing.
        let (status, tag, _) = service.ask(None, "PUT", at, &[], route()).await;
        assert_eq!((status, tag.as_str()), (200, "\"g1\""), "{db}");
        assert_eq!(service.events("route.").await.len(), 1, "{db}");
        let mut changed = route();
        changed["maintenance"] = json!(true);
        let (status, _, refused) =
            service.ask(None, "PUT", at, &[("if-match", "\"g7\"")], changed.clone()).await;
        assert_eq!((status, &refused["code"]), (412, &json!("stale")), "{db}");
        let (status, tag, _) = service.ask(None, "PUT", at, &[("if-match", "\"g1\"")], changed).await;
        assert_eq!((status, tag.as_str()), (200, "\"g2\""), "{db}");
        let (status, _, shown) = service.ask(None, "GET", at, &[], Value::Null).await;
        assert_eq!((status, &shown["maintenance"]), (200, &json!(true)), "{db}");
        assert!(service.proxy.table().host("shop.example.org").unwrap().plan.maintenance, "{db}");
        // A host is of one project.
        let (status, taken) = service.call("PUT", "other/routes/shop.example.org", route()).await;
        assert_eq!((status, &taken["code"]), (409, &json!("host_taken")), "{db}");
        let (status, _) = service.call("GET", "other/routes/shop.example.org", Value::Null).await;
        assert_eq!(status, 404, "{db}");
        let (status, _) = service.call("DELETE", "other/routes/shop.example.org", Value::Null).await;
        assert_eq!(status, 404, "{db}");
        let (status, _) = service.call("DELETE", at, Value::Null).await;
        assert_eq!(status, 204, "{db}");
        assert!(service.proxy.table().host("shop.example.org").is_none(), "{db}");
        let (status, _) = service.call("GET", at, Value::Null).await;
        assert_eq!(status, 404, "{db}");
        let (status, _) = service.call("PUT", "other/routes/shop.example.org", route()).await;
        assert_eq!(status, 201, "{db}: it was given back");
    }
}

#[tokio::test]
async fn a_star_is_over_no_host_of_another_project() {
    for (db, service, _db) in services().await {
        for (project, host, wanted) in [
            ("hello", "*.preview.example.org", 201),
            ("other", "x.preview.example.org", 409),
            ("other", "x.y.preview.example.org", 201),
            ("hello", "x.preview.example.org", 201),
            ("other", "a.example.org", 201),
            ("hello", "*.example.org", 409),
            ("other", "*.example.org", 201),
        ] {
            let path = format!("{project}/routes/{}", host.replace('*', "%2A"));
            let (status, answer) = service.call("PUT", &path, route()).await;
            assert_eq!(status, wanted, "{db}: {project} {host} {answer}");
        }
    }
}

#[tokio::test]
async fn lists_have_pages() {
    for (db, service, _db) in services().await {
        for host in ["c.example.org", "a.example.org", "b.example.org"] {
            service.route(host).await;
        }
        for noun in ["routes", "certificates"] {
            let (_, first) = service.call("GET", &format!("hello/{noun}?limit=2"), Value::Null).await;
            let hosts = |page: &Value| -> Vec<String> {
                page["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["host"].as_str().unwrap().to_owned())
                    .collect()
            };
            assert_eq!(hosts(&first), ["a.example.org", "b.example.org"], "{db}");
            let next = first["next_page"].as_str().unwrap();
            let (_, second) =
                service.call("GET", &format!("hello/{noun}?limit=2&page={next}"), Value::Null).await;
            assert_eq!(
                (hosts(&second), &second["next_page"]),
                (vec!["c.example.org".to_owned()], &Value::Null),
                "{db}"
            );
            let (status, _) = service.call("GET", &format!("nothing/{noun}"), Value::Null).await;
            assert_eq!(status, 404, "{db}");
        }
    }
}

#[tokio::test]
async fn a_backend_is_written_in_order() {
    for (db, service, _db) in services().await {
        let at = "hello/backends/web";
        let body = |generation: i64, state: &str| {
            json!({ "generation": generation, "health": { "path": "/healthz" },
                    "endpoints": [{ "id": "web-1-r3-0", "machine": "web-1", "port": 8080, "state": state }] })
        };
        let (status, _, made) = service.ask(None, "PUT", at, &[], body(5, "active")).await;
        assert_eq!(status, 201, "{db}: {made}");
        let (status, _, late) = service.ask(None, "PUT", at, &[], body(4, "active")).await;
        assert_eq!((status, &late["code"]), (412, &json!("stale")), "{db}");
        let (status, _, _) = service.ask(None, "PUT", at, &[], body(6, "draining")).await;
        assert_eq!(status, 200, "{db}");
        let (_, shown) = service.call("GET", at, Value::Null).await;
        let one = &shown["endpoints"][0];
        assert_eq!(
            (&one["state"], &one["in_flight"], &one["healthy"]),
            (&json!("draining"), &json!(0), &json!(false)),
            "{db}"
        );
        assert_eq!((&shown["writer_generation"], &shown["generation"]), (&json!(6), &json!(2)), "{db}");
        let (_, list) = service.call("GET", "hello/backends", Value::Null).await;
        assert_eq!(list["items"][0]["name"], "web", "{db}");
        let (status, _) = service.call("DELETE", at, Value::Null).await;
        assert_eq!(status, 204, "{db}");
        assert!(service.proxy.table().backend("hello", "web").is_empty(), "{db}");
    }
}

#[tokio::test]
async fn addresses_are_for_who_answers_for_the_platform() {
    for (db, service, _db) in services().await {
        let body = json!({ "endpoints": [{ "id": "a", "address": "127.0.0.1:1" }] });
        for (permitted, wanted) in
            [(None, 403), (Some(Permitted::nothing()), 403), (Some(Permitted::Everything), 201)]
        {
            let (status, _, answer) =
                service.ask(permitted, "PUT", "hello/backends/web", &[], body.clone()).await;
            assert_eq!(status, wanted, "{db}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_renewal_that_is_repeated_is_asked_for_once() {
    for (db, service, _db) in services().await {
        service.route("a.localhost").await;
        for _ in 0..3 {
            let key = [("idempotency-key", "once")];
            let (status, _, answer) =
                service.ask(None, "POST", "hello/certificates/a.localhost", &key, json!({})).await;
            assert_eq!(status, 202, "{db}: {answer}");
        }
        assert_eq!(service.events("certificate.asked").await.len(), 1, "{db}");
        let (status, _) = service.call("POST", "other/certificates/a.localhost", json!({})).await;
        assert_eq!(status, 404, "{db}");
    }
}

#[tokio::test]
async fn broken_input_is_told_where() {
    let (_, service, _db) = services().await.remove(0);
    for (path, body, pointer) in [
        ("hello/routes/a.b", json!({ "paths": { "/a/b~c": [] } }), "/paths/~1a~1b~0c"),
        ("hello/routes/a.b", json!({ "paths": { "/": [{ "backend": "A" }] } }), "/paths/~1/0/backend"),
        ("hello/routes/a.b", json!({ "paths": {}, "other": 1 }), "/other"),
        ("hello/backends/web", json!({ "endpoints": [{ "id": "a" }] }), "/endpoints/0"),
        ("hello/backends/web", json!({ "endpoints": [], "health": { "path": "x" } }), "/health/path"),
    ] {
        let (status, answer) = service.call("PUT", path, body).await;
        assert_eq!(status, 400, "{path} {answer}");
        assert_eq!(answer["errors"][0]["pointer"].as_str().unwrap_or(""), pointer, "{answer}");
    }
    let (status, answer) = service.call("PUT", "hello/routes/A.b", route()).await;
    assert_eq!((status, answer["detail"].as_str().unwrap().contains("lower case")), (400, true));
    let (status, _) = service.call("PUT", "nothing/routes/a.b", route()).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_project_of_the_same_name_inherits_nothing() {
    for (db, service, _db) in services().await {
        service.route("shop.example.org").await;
        let backend = json!({ "endpoints": [{ "id": "a", "machine": "web-1", "port": 80 }] });
        let (status, _) = service.call("PUT", "hello/backends/web", backend.clone()).await;
        assert_eq!(status, 201, "{db}");
        service.inventory.founded("hello", "2026-02-02T00:00:00Z");
        for path in ["routes/shop.example.org", "backends/web", "certificates/shop.example.org"] {
            let (status, answer) = service.call("GET", &format!("hello/{path}"), Value::Null).await;
            assert_eq!(status, 404, "{db}: {path} {answer}");
        }
        for noun in ["routes", "backends", "certificates"] {
            let (_, list) = service.call("GET", &format!("hello/{noun}"), Value::Null).await;
            assert_eq!(list["items"], json!([]), "{db}: {noun}");
        }
        let (status, _) = service.call("DELETE", "hello/routes/shop.example.org", Value::Null).await;
        assert_eq!(status, 404, "{db}");
        // A backend of its own is a new one.
        let (status, _) = service.call("PUT", "hello/backends/web", backend).await;
        assert_eq!(status, 201, "{db}");
        service.edge.tidy().await.unwrap();
        assert!(service.proxy.table().host("shop.example.org").is_none(), "{db}: it leads nowhere any more");
        let (status, _) = service.call("GET", "hello/backends/web", Value::Null).await;
        assert_eq!(status, 200, "{db}: what is the new one's stays");
        // So it goes with one that is not there at all.
        service.inventory.ended("hello");
        service.edge.tidy().await.unwrap();
        assert!(service.proxy.table().backend("hello", "web").is_empty(), "{db}");
    }
}

#[tokio::test]
async fn a_project_that_comes_while_others_are_looked_through_keeps_its_hosts() {
    for (db, service, _db) in services().await {
        service.inventory.late(&service.edge);
        service.edge.tidy().await.unwrap();
        let (status, answer) = service.call("GET", "late/routes/late.example.org", Value::Null).await;
        assert_eq!(status, 200, "{db}: {answer}");
        service.edge.tidy().await.unwrap();
        assert!(service.proxy.table().host("late.example.org").is_some(), "{db}");
    }
}

#[tokio::test]
async fn a_host_that_was_given_back_is_nobody_elses_at_once() {
    for (name, test) in testing::both() {
        let clock = SteppedClock::new();
        let options = Options { clock: Arc::new(clock.clone()), runs: false, ..Options::new(&test.location) };
        let service = options.open().await;
        service.route("shop.example.org").await;
        service.call("DELETE", "hello/routes/shop.example.org", Value::Null).await;
        let of = |project: &str| {
            let names = Arc::new([project.to_owned()].into());
            Permitted::Only(Sight { projects: Projects::These(names), ..Sight::default() })
        };
        let put = |project: &'static str, permitted| {
            let path = format!("{project}/routes/shop.example.org");
            let service = &service;
            async move {
                let (status, _, answer) = service.ask(Some(permitted), "PUT", &path, &[], route()).await;
                (status, answer["code"].as_str().unwrap_or("").to_owned())
            }
        };
        assert_eq!(put("other", of("other")).await, (409, "host_held".into()), "{name}");
        // Who had it may have it again, and so may who sees what had it.
        assert_eq!(put("hello", of("hello")).await.0, 201, "{name}");
        service.call("DELETE", "hello/routes/shop.example.org", Value::Null).await;
        assert_eq!(put("other", of("hello")).await.0, 201, "{name}");
        service.call("DELETE", "other/routes/shop.example.org", Value::Null).await;
        clock.step(Duration::from_secs(29 * 24 * 3600));
        assert_eq!(put("hello", of("hello")).await.0, 409, "{name}");
        clock.step(Duration::from_secs(2 * 24 * 3600));
        assert_eq!(put("hello", of("hello")).await.0, 201, "{name}: it is free");
    }
}
