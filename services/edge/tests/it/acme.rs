//! Certificates from an authority: Debian's pebble, which refuses a part of what it is asked at random.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hafen_db::testing;
use hafen_edge::AcmeConfig;
use serde_json::{Value, json};

use crate::pebble::{Pebble, answers};
use crate::support::{Options, Service};

/// Has certificates be as old as they are after an hour.
async fn aged(db: &testing::TestDb) {
    let db = hafen_db::Db::open(&db.location, "edge", hafen_edge::store::MIGRATIONS).await.unwrap();
    let mut tx = db.write().await.unwrap();
    let hour = 3_600_000_000_i64;
    hafen_db::sqlx::query("UPDATE certificate SET issued_at = issued_at - $1")
        .bind(hour)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// The subject's names and the issuer of what is shown for a host.
pub async fn shown(service: &Service, host: &str) -> String {
    let line = format!(
        "openssl s_client -connect {} -servername {host} </dev/null 2>/dev/null | openssl x509 -noout -issuer -ext subjectAltName",
        service.https
    );
    let output = tokio::process::Command::new("sh").args(["-c", &line]).output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn by_http_through_refusals() {
    let pebble = Pebble::start(30).await;
    for (name, db) in testing::both() {
        let service = pebble.service(&db, pebble.config()).await;
        for host in ["shop.example.org", "www.example.org"] {
            service.route(host).await;
        }
        for host in ["shop.example.org", "www.example.org"] {
            let ready = service.ready(host, 120).await;
            assert_eq!(ready["issuer"], "acme", "{name}: {}", pebble.log());
            let said = shown(&service, host).await;
            assert!(said.contains("Pebble") && said.contains(&format!("DNS:{host}")), "{name}: {said}");
        }
        // Names of the inside never get there.
        service.route("shop.localhost").await;
        assert_eq!(service.ready("shop.localhost", 20).await["issuer"], "internal", "{name}");
        // Renewed, by the same account; the old one is shown meanwhile.
        let before = service.certificate("shop.example.org").await;
        let (status, refused) = service.call("POST", "hello/certificates/shop.example.org", json!({})).await;
        assert_eq!((status, &refused["code"]), (429, &json!("certificate_too_soon")), "{name}: {refused}");
        aged(&db).await;
        let (status, _) = service.call("POST", "hello/certificates/shop.example.org", json!({})).await;
        assert_eq!(status, 202, "{name}");
        let began = Instant::now();
        while service.certificate("shop.example.org").await["fingerprint"] == before["fingerprint"] {
            assert!(began.elapsed() < Duration::from_secs(120), "{name}: {}", pebble.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(service);
        // The ports are free again when the listeners are gone.
        let began = Instant::now();
        while answers(pebble.http) {
            assert!(began.elapsed() < Duration::from_secs(10), "{name}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn by_tls() {
    let pebble = Pebble::start(0).await;
    let db = testing::sqlite();
    let acme = Some(AcmeConfig { tls_alpn: true, ..pebble.config() });
    // Nothing answers where it would ask over http.
    let service = Options { acme, ..Options::new(&db.location) }.open_at([0, pebble.https]).await;
    service.route("shop.example.org").await;
    let ready = service.ready("shop.example.org", 60).await;
    assert_eq!(ready["issuer"], "acme", "{}", pebble.log());
    assert!(shown(&service, "shop.example.org").await.contains("Pebble"));
}

fn hook(folder: &Path, names: u16) -> PathBuf {
    let path = folder.join("hook");
    let script = format!(
        "#!/bin/sh\nset -e\ncase $1 in\n\
         add) curl -sSf --data \"{{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}}\" http://127.0.0.1:{names}/set-txt ;;\n\
         remove) curl -sSf --data \"{{\\\"host\\\":\\\"$2.\\\"}}\" http://127.0.0.1:{names}/clear-txt ;;\nesac\n\
         echo \"$1 $2\" >>{}\n",
        folder.join("hooked").display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn by_dns_with_stars() {
    let pebble = Pebble::start(0).await;
    let db = testing::sqlite();
    let dns_hook = Some(hook(pebble.folder.path(), pebble.names));
    let service = pebble.service(&db, AcmeConfig { dns_hook, ..pebble.config() }).await;
    service.route("%2A.preview.example.org").await;
    let ready = service.ready("%2A.preview.example.org", 60).await;
    assert_eq!(ready["issuer"], "acme", "{}", pebble.log());
    let said = shown(&service, "branch.preview.example.org").await;
    assert!(said.contains("Pebble") && said.contains("DNS:*.preview.example.org"), "{said}");
    let hooked = std::fs::read_to_string(pebble.folder.path().join("hooked")).unwrap();
    assert_eq!(
        hooked,
        "add _acme-challenge.preview.example.org\nremove _acme-challenge.preview.example.org\n"
    );
}

#[tokio::test]
async fn what_cannot_be_had_is_told_and_tried_again() {
    let pebble = Pebble::start(0).await;
    let db = testing::sqlite();
    let service = pebble.service(&db, pebble.config()).await;
    // Without a program for DNS there are no stars.
    service.route("%2A.preview.example.org").await;
    let began = Instant::now();
    let failed = loop {
        let now = service.certificate("%2A.preview.example.org").await;
        if now["state"] == "failed" {
            break now;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{now}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(failed["reason"].as_str().unwrap().contains("--acme-dns-hook"), "{failed}");
    assert!(failed["next_try"].is_string() && failed["fingerprint"] == Value::Null, "{failed}");
    assert!(!service.events("certificate.failed").await.is_empty());
    // By hand it is tried no sooner.
    let (status, refused) =
        service.call("POST", "hello/certificates/%2A.preview.example.org", json!({})).await;
    assert_eq!((status, &refused["code"]), (429, &json!("certificate_too_soon")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("--acme-dns-hook"), "{refused}");
}

#[tokio::test]
async fn a_start_without_the_authority_takes_no_certificate_away() {
    let pebble = Pebble::start(0).await;
    let db = testing::sqlite();
    let service = pebble.service(&db, pebble.config()).await;
    service.route("shop.example.org").await;
    let before = service.ready("shop.example.org", 60).await;
    drop(service);
    // Somebody forgot the option.
    let without = Options::new(&db.location).open().await;
    // Another certificate is come by meanwhile: whatever would have been done to the first was done.
    without.route("other.example.org").await;
    assert_eq!(without.ready("other.example.org", 20).await["issuer"], "internal");
    let kept = without.certificate("shop.example.org").await;
    assert_eq!((&kept["issuer"], &kept["fingerprint"]), (&"acme".into(), &before["fingerprint"]), "{kept}");
    assert!(shown(&without, "shop.example.org").await.contains("Pebble"));
}
