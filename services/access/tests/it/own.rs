//! What one may see and end of one's own, whatever else one may.

use hafen_base::{Actor, Permitted};
use hafen_bastion::{EndReason, Gate as _, Person, SessionRecord};
use serde_json::{Value, json};

use crate::{AccessGate, Service, alice, client, facts, service};

fn bob() -> Actor {
    Actor { id: "u-bob".into(), name: "Bob".into(), ..alice() }
}

impl Service {
    /// As somebody who may see nothing of what is others'.
    async fn own(&self, actor: Actor, method: &str, path: &str) -> (u16, Value) {
        self.call_as(Permitted::nothing(), actor, method, &format!("/api/v1/me/{path}"), Value::Null).await
    }

    async fn certificates(&self, actor: Actor) -> Vec<Value> {
        let (status, list) = self.own(actor, "GET", "ssh-certificates").await;
        assert_eq!(status, 200, "{list}");
        list["items"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn ones_own_certificates_are_listed_and_revoked_by_oneself_alone() {
    for (name, db) in hafen_db::testing::both() {
        let service = service(db).await;
        let gate = AccessGate::open(service.access.clone(), "one").await.unwrap();
        let grant = service.grant().await;
        let serial = |place: &str| grant[place]["serial"].as_str().unwrap().to_owned();
        let all = service.certificates(alice()).await;
        let places: Vec<_> = all.iter().map(|one| one["place"].as_str().unwrap()).collect();
        assert_eq!(places.len(), 2, "{name}: {all:?}");
        assert!(places.contains(&"bastion") && places.contains(&"machine"), "{name}: {all:?}");
        let one = all.iter().find(|one| one["serial"] == serial("bastion")).unwrap();
        assert_eq!(
            (&one["projects"], &one["revoked_at"], &one["valid_before"]),
            (&json!(["hello"]), &Value::Null, &grant["valid_before"])
        );
        assert!(one["issued_at"].as_str().unwrap() < one["valid_before"].as_str().unwrap());
        assert_eq!(service.certificates(bob()).await, Vec::<Value>::new(), "{name}");

        // Page by page they are the same.
        let (_, first) = service.own(alice(), "GET", "ssh-certificates?limit=1").await;
        let next = first["next_page"].as_str().unwrap();
        let path = format!("ssh-certificates?limit=1&page={next}");
        let (_, second) = service.own(alice(), "GET", &path).await;
        assert_eq!((&first["items"][0], &second["items"][0]), (&all[0], &all[1]), "{name}");
        assert_eq!(second["next_page"], Value::Null, "{name}");

        let path = format!("ssh-certificates/{}", serial("bastion"));
        for (who, path, status) in [
            (bob(), path.as_str(), 404),
            (alice(), "ssh-certificates/5", 404),
            (alice(), "ssh-certificates/x", 400),
        ] {
            assert_eq!(service.own(who, "DELETE", path).await.0, status, "{name} {path}");
        }
        assert!(gate.admit(&facts(&grant), &client()).await.is_ok(), "{name}: it is good until then");
        assert_eq!(service.own(alice(), "DELETE", &path).await.0, 204, "{name}");
        assert!(gate.admit(&facts(&grant), &client()).await.is_err(), "{name}");
        assert_eq!(service.own(alice(), "DELETE", &path).await.0, 404, "{name}: only once");
        for one in service.certificates(alice()).await {
            assert_eq!(one["revoked_at"].is_null(), one["serial"] != serial("bastion"), "{name}: {one}");
        }
        let events = service.events().await;
        let told = events.iter().find(|event| event["kind"] == "access.revoked").unwrap();
        assert_eq!(
            (&told["object"], &told["actor"]["id"]),
            (&json!(format!("certificate/{}", serial("bastion"))), &json!("u-alice"))
        );
    }
}

#[tokio::test]
async fn ones_own_sessions_and_the_newest_events() {
    for (name, db) in hafen_db::testing::both() {
        let service = service(db).await;
        let gate = AccessGate::open(service.access.clone(), "one").await.unwrap();
        let grant = service.grant().await;
        let mut record = SessionRecord {
            number: 1,
            person: Person { id: "u-alice".into(), name: "Alice".into() },
            serial: facts(&grant).serial,
            key_id: "u-alice".into(),
            address: client().address,
            client: client().version,
            host: "web-1.hello.hafen".into(),
            port: 22,
            opened_at: hafen_base::Clock::now(&service.clock),
            ended: None,
            sent: 0,
            received: 0,
        };
        gate.opened(&record).await.unwrap();
        record.ended = Some((record.opened_at, EndReason::Client));
        gate.closed(&record).await;
        let open = SessionRecord { number: 2, ended: None, ..record.clone() };
        gate.opened(&open).await.unwrap();
        for (who, query, count) in
            [(alice(), "", 2), (alice(), "?open=true", 1), (alice(), "?limit=1", 1), (bob(), "", 0)]
        {
            let (status, list) = service.own(who, "GET", &format!("ssh-sessions{query}")).await;
            assert_eq!((status, list["items"].as_array().unwrap().len()), (200, count), "{name} {query}");
        }

        let all = service.events().await;
        let seqs = |list: &Value| -> Vec<i64> {
            list["items"].as_array().unwrap().iter().map(|one| one["seq"].as_i64().unwrap()).collect()
        };
        let ask = async |query: &str| {
            let path = format!("/api/v1/access/events?{query}");
            service.call(alice(), "GET", &path, Value::Null).await
        };
        let (_, newest) = ask("order=newest&limit=2").await;
        let newest = seqs(&newest);
        let last = all.last().unwrap()["seq"].as_i64().unwrap();
        assert_eq!(newest, [last, last - 1], "{name}");
        let (_, before) = ask(&format!("order=newest&before={}&limit=1000", newest[1])).await;
        assert_eq!(seqs(&before), (1..last - 1).rev().collect::<Vec<_>>(), "{name}");
        for bad in ["order=newest&after=1", "before=3", "order=newest&before=0", "order=sideways"] {
            assert_eq!(ask(bad).await.0, 400, "{name} {bad}");
        }
    }
}
