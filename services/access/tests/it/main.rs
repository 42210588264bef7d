//! The service through its router, and its store on both databases.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod own;
mod shells;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use hafen_access::{Access, AccessConfig, AccessGate, Rights};
use hafen_base::{
    Actor, ActorKind, ErrorKind, Permitted, Projects, Result, SeededRandom, Sight, SteppedClock,
};
use hafen_bastion::{
    CertificateFacts, Client as SshClient, EndReason, Gate as _, Person, Refusal, SessionRecord,
};
use hafen_client::{ByteStream, Client, Token, Transport};
use hafen_db::testing::TestDb;
use hafen_sshca::ssh_key::Certificate;
use hafen_sshca::{HostKey, SshCa};
use hafen_work::Health;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// A machines service with two projects, and a machine in one.
struct Inventory;

fn machine() -> Value {
    json!({
        "id": "m-01m8jcgfnrsr9nd0d7ftekbw0z", "instance_id": "i-01m8jcgfnrz2q7ft0j3nx3w5v9", "project": "hello",
        "name": "web-1", "spec": { "image": "web", "cpus": 1, "memory": 1, "disk": 1, "network": "backend", "start": "warm" },
        "metadata": {}, "cordoned": false, "state": "started", "wanted_state": "started", "healthy": true, "restarts": 0,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "generation": 1,
        "observed_generation": 1,
    })
}

#[async_trait]
impl Transport for Inventory {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let path = request.uri().path();
        let answer = if path == "/api/v1/projects/hello/machines/web-1" {
            machine()
        } else if path == "/api/v1/projects" {
            let amounts = json!({ "machines": 1, "cpus": 1, "memory": 1, "disk": 1 });
            let project = |name: &str| {
                json!({ "name": name, "quota": amounts, "usage": amounts, "generation": 1,
                        "created_at": "2026-01-01T00:00:00Z" })
            };
            json!({ "items": [project("hello"), project("other")], "next_page": null })
        } else {
            json!(null)
        };
        Ok(Response::new(Body::from(answer.to_string())))
    }

    async fn stream(&self, _path: &str, _token: &Token) -> Result<ByteStream> {
        Err(hafen_base::Error::not_found("such machine"))
    }
}

/// Says who may log in, as the policy would.
#[derive(Default)]
pub struct Roles {
    taken: AtomicBool,
}

#[async_trait]
impl Rights for Roles {
    async fn may_log_in(&self, actor: &Actor, project: &str) -> Result<bool> {
        Ok(actor.id == "u-alice" && project == "hello" && !self.taken.load(Ordering::SeqCst))
    }
}

struct Service {
    access: Access,
    roles: Arc<Roles>,
    clock: SteppedClock,
    public_key: String,
    _db: TestDb,
}

async fn service(db: TestDb) -> Service {
    let random = Arc::new(SeededRandom::new(11));
    let clock = SteppedClock::new();
    let roles = Arc::new(Roles::default());
    let access = Access::open(AccessConfig {
        rights: Arc::clone(&roles) as Arc<dyn Rights>,
        location: db.location.clone(),
        platform: Client::new(Arc::new(Inventory), Token::new("t")),
        ca: Arc::new(SshCa::in_memory(&*random)),
        clock: Arc::new(clock.clone()),
        random: random.clone(),
        health: Health::default(),
        bastion_address: Some("bastion.example.org:22".into()),
        watch: None,
        keep_sessions: Duration::from_secs(90 * 24 * 3600),
    })
    .await
    .unwrap();
    Service { access, roles, clock, public_key: HostKey::generate(&*random).unwrap().public_key, _db: db }
}

fn only(projects: &[&str], organisation: Option<&str>) -> Permitted {
    let names: BTreeSet<String> = projects.iter().map(|name| (*name).to_owned()).collect();
    Permitted::Only(Sight {
        organisation: organisation.map(str::to_owned),
        projects: Projects::These(Arc::new(names)),
        ..Sight::default()
    })
}

fn alice() -> Actor {
    Actor {
        kind: ActorKind::Person,
        id: "u-alice".into(),
        name: "Alice".into(),
        organisation: "org-a".into(),
        address: Some("192.0.2.7".into()),
        ..Actor::platform()
    }
}

impl Service {
    async fn call(&self, actor: Actor, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call_as(Permitted::Everything, actor, method, path, body).await
    }

    async fn call_as(
        &self,
        permitted: Permitted,
        actor: Actor,
        method: &str,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let (router, _) = self.access.router().split_for_parts();
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.extension(permitted).body(Body::from(body.to_string())).unwrap();
        let answer = actor.acts(router.oneshot(request)).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn grant(&self) -> Value {
        let body = json!({ "public_key": self.public_key });
        let path = "/api/v1/access/grants";
        let (status, grant) = self.call_as(only(&["hello"], None), alice(), "POST", path, body).await;
        assert_eq!(status, 201, "{grant}");
        grant
    }

    async fn events(&self) -> Vec<Value> {
        let (status, list) = self.call(alice(), "GET", "/api/v1/access/events?limit=1000", Value::Null).await;
        assert_eq!(status, 200);
        list["items"].as_array().unwrap().clone()
    }
}

fn facts(grant: &Value) -> CertificateFacts {
    CertificateFacts {
        serial: grant["bastion"]["serial"].as_str().unwrap().parse().unwrap(),
        key_id: "u-alice".into(),
        user: "at-u-alice".into(),
        principals: vec!["at-u-alice".into()],
        fingerprint: "SHA256:x".into(),
        valid_before: 1_790_000_600,
    }
}

fn client() -> SshClient {
    SshClient { address: "192.0.2.7".parse().unwrap(), version: "SSH-2.0-OpenSSH_10.0".into() }
}

#[tokio::test]
async fn a_grant_is_two_certificates() {
    let service = service(hafen_db::testing::sqlite()).await;
    let grant = service.grant().await;
    let certificate =
        |place: &str| Certificate::from_openssh(grant[place]["certificate"].as_str().unwrap()).unwrap();
    let (bastion, machine) = (certificate("bastion"), certificate("machine"));
    assert_eq!(bastion.valid_principals(), ["at-u-alice"]);
    assert_eq!(bastion.critical_options().get("source-address").unwrap(), "192.0.2.7");
    assert_eq!(bastion.extensions().keys().collect::<Vec<_>>(), ["permit-port-forwarding"]);
    assert_eq!(machine.valid_principals(), ["project-hello"]);
    assert!(machine.critical_options().is_empty());
    assert_eq!(machine.extensions().keys().collect::<Vec<_>>(), ["permit-pty"]);
    assert_eq!(bastion.valid_before(), 1_790_000_600);
    assert_eq!(bastion.key_id(), "u-alice");
    assert!(!grant["machine"]["source_reason"].as_str().unwrap().is_empty());
    let issued = service.events().await;
    assert_eq!(issued.len(), 2);
    assert!(
        issued
            .iter()
            .all(|event| event["kind"] == "access.certificate_issued" && event["actor"]["id"] == "u-alice")
    );
    let body = json!({ "public_key": service.public_key });
    let path = "/api/v1/access/grants";
    let (status, told) = service.call_as(Permitted::nothing(), alice(), "POST", path, body.clone()).await;
    assert_eq!(status, 409, "{told}");
    let (_, grant) = service.call(alice(), "POST", path, body).await;
    assert_eq!(grant["machine"]["principals"], json!(["project-hello", "project-other"]));
    for (body, word) in [
        (json!({ "public_key": "ssh-rsa AAAA" }), "ssh-ed25519"),
        (json!({ "public_key": "x", "ttl": 3601 }), "3600"),
        (json!({ "public_key": "x", "ttl": 0 }), "3600"),
    ] {
        let (router, _) = service.access.router().split_for_parts();
        let request = Request::post("/api/v1/access/grants").header("content-type", "application/json");
        let request = request.extension(Permitted::Everything);
        let answer = router.oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 400, "{word}");
    }
}

#[tokio::test]
async fn sessions_and_revocations_on_both_databases() {
    for (name, db) in hafen_db::testing::both() {
        let service = service(db).await;
        let gate = AccessGate::open(service.access.clone(), "one").await.unwrap();
        let grant = service.grant().await;
        let person = gate.admit(&facts(&grant), &client()).await.unwrap();
        assert_eq!(person, Person { id: "u-alice".into(), name: "Alice".into() }, "{name}");
        // The machine's certificate is not the bastion's, and an unknown serial is nobody's.
        let machine: u64 = grant["machine"]["serial"].as_str().unwrap().parse().unwrap();
        for serial in [machine, 5] {
            assert!(gate.admit(&CertificateFacts { serial, ..facts(&grant) }, &client()).await.is_err());
        }
        // Names that are none, another project, another port.
        for (host, port) in [("web-1.other.hafen", 22), ("127.0.0.1", 22), ("web-1.hello.hafen", 80)] {
            assert!(gate.target(&person, facts(&grant).serial, host, port).await.is_err(), "{host}");
        }
        // A role that is taken opens nothing any more; while it is held, the machine is asked for, which is not there.
        let serial = facts(&grant).serial;
        let held = gate.target(&person, serial, "web-1.hello.hafen", 22).await.err().unwrap();
        assert_ne!(held.kind(), ErrorKind::Forbidden, "{name}: {held}");
        service.roles.taken.store(true, Ordering::SeqCst);
        let lost = gate.target(&person, serial, "web-1.hello.hafen", 22).await.err().unwrap();
        assert_eq!(lost.kind(), ErrorKind::Forbidden, "{name}: {lost}");
        service.roles.taken.store(false, Ordering::SeqCst);
        let mut record = SessionRecord {
            number: 1,
            person,
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
        service.clock.step(Duration::from_secs(90));
        record.ended = Some((hafen_base::Clock::now(&service.clock), EndReason::Idle));
        (record.sent, record.received) = (10, 20);
        gate.closed(&record).await;
        let (_, list) = service.call(alice(), "GET", "/api/v1/access/sessions", Value::Null).await;
        let session = &list["items"][0];
        assert_eq!(
            (&session["end_reason"], &session["sent"]),
            (&json!("idle"), &json!(10)),
            "{name}: {session}"
        );

        // Sessions and events are seen by whom the project or the organisation permits, and by nobody else.
        for (permitted, sessions, events) in [
            (only(&["hello"], None), 1, 3),
            (only(&["other"], None), 0, 0),
            (only(&["hello"], Some("org-a")), 1, 7),
            (only(&[], Some("org-b")), 0, 0),
            (Permitted::nothing(), 0, 0),
        ] {
            for (path, expected) in [("sessions", sessions), ("events", events)] {
                let path = format!("/api/v1/access/{path}?limit=1000");
                let (_, list) = service.call_as(permitted.clone(), alice(), "GET", &path, Value::Null).await;
                assert_eq!(
                    list["items"].as_array().unwrap().len(),
                    expected,
                    "{name} {path} {permitted:?}: {list}"
                );
            }
        }
        // A page of alerts is full of them, however much else there is.
        let path = "/api/v1/access/alerts?limit=2";
        let (_, alerts) = service.call(alice(), "GET", path, Value::Null).await;
        assert_eq!(alerts["items"].as_array().unwrap().len(), 2, "{name}: {alerts}");

        // A bastion that died leaves a session open; its next start closes it, another's does not.
        let opened_at = hafen_base::Clock::now(&service.clock);
        let second = SessionRecord { number: 2, ended: None, opened_at, ..record.clone() };
        gate.opened(&second).await.unwrap();
        AccessGate::open(service.access.clone(), "two").await.unwrap();
        let newest =
            service.call(alice(), "GET", "/api/v1/access/sessions", Value::Null).await.1["items"][0].clone();
        assert_eq!(newest["ended_at"], Value::Null, "{name}");
        let gate = AccessGate::open(service.access.clone(), "one").await.unwrap();
        let newest =
            service.call(alice(), "GET", "/api/v1/access/sessions", Value::Null).await.1["items"][0].clone();
        assert_eq!(newest["end_reason"], "lost", "{name}");

        let revocations = gate.revocations();
        assert!(revocations.borrow().serials.is_empty());
        let path = "/api/v1/access/revocations";
        for (body, status) in [
            (json!({ "reason": "x" }), 400),
            (json!({ "serial": "x", "reason": "x" }), 400),
            (json!({ "serial": "5", "reason": "x" }), 404),
            (json!({ "person": "u-alice", "everything": true, "reason": "x" }), 400),
            (json!({ "person": "u-alice", "reason": " " }), 400),
            (json!({ "person": "u-alice", "reason": "left" }), 200),
        ] {
            let (got, answer) = service.call(alice(), "POST", path, body.clone()).await;
            assert!(got == status || status != 200 && got >= 400, "{name} {body}: {got} {answer}");
        }
        assert_eq!(revocations.borrow().serials.len(), 2, "{name}");
        assert!(gate.admit(&facts(&grant), &client()).await.is_err());

        // The same refusal is written down once a minute.
        let refusal = Refusal {
            address: client().address,
            client: client().version,
            user: "root".into(),
            key_id: None,
            serial: None,
            person: None,
            what: "key",
            reason: "a key without a certificate".into(),
        };
        for _ in 0..100 {
            gate.refused(&refusal).await;
        }
        service.clock.step(Duration::from_secs(61));
        gate.refused(&refusal).await;
        let kinds: Vec<String> =
            service.events().await.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect();
        let count = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
        assert_eq!(count("alert.refused"), 2, "{name}: {kinds:?}");
        // Address, client, machine: each once, though there were two sessions and a restart.
        assert_eq!(count("alert.first_seen"), 3, "{name}: {kinds:?}");
        assert_eq!((count("access.session_opened"), count("access.session_closed")), (2, 1), "{name}");
        assert_eq!((count("access.sessions_lost"), count("access.revoked")), (1, 1), "{name}");
        let events = service.events().await;
        let of = |kind: &str| events.iter().find(|event| event["kind"] == kind).unwrap()["project"].clone();
        assert_eq!(
            (of("access.session_opened"), of("access.session_closed")),
            (json!("hello"), json!("hello"))
        );
        assert!(
            events.iter().any(|event| event["kind"] == "alert.first_seen" && event["project"] == "hello"),
            "{name}: {events:?}"
        );

        // Sessions are forgotten 90 days after their end, in batches; what is open is not.
        let mut open = SessionRecord { number: 3, ended: None, ..second.clone() };
        gate.opened(&open).await.unwrap();
        for number in 10..1100 {
            open.number = number;
            let ended = (hafen_base::Clock::now(&service.clock), EndReason::Client);
            gate.opened(&open).await.unwrap();
            gate.closed(&SessionRecord { ended: Some(ended), ..open.clone() }).await;
        }
        let sessions = async || {
            let path = "/api/v1/access/sessions?limit=1000";
            service.call(alice(), "GET", path, Value::Null).await.1["items"].as_array().unwrap().len()
        };
        service.clock.step(Duration::from_secs(89 * 24 * 3600));
        service.access.forget_old().await.unwrap();
        assert_eq!(sessions().await, 1000, "{name}");
        service.clock.step(Duration::from_secs(2 * 24 * 3600));
        service.access.forget_old().await.unwrap();
        assert_eq!(sessions().await, 1, "{name}");
    }
}
