//! Several processes of one platform: what one writes, the others do.

use std::time::{Duration, Instant};

use hafen_db::testing;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Options, Service};

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn certificates_and_routes_are_everywhere_soon_and_keys_are_sealed() {
    for (name, db) in testing::both() {
        let one = Options::new(&db.location).open().await;
        let two = Options::new(&db.location).open().await;
        one.route("shop.localhost").await;
        let ready = one.ready("shop.localhost", 20).await;
        assert_eq!(ready["issuer"], "internal", "{name}");
        until("the other has it", || two.proxy.certificates().has("shop.localhost")).await;
        assert!(two.proxy.table().host("shop.localhost").is_some(), "{name}");
        assert_eq!(one.events("certificate.issued").await.len(), 1, "{name}: asked for once");
        assert_eq!(one.edge.authority(), two.edge.authority(), "{name}");
        shows_what_openssl_trusts(&two, "shop.localhost").await;
        let (status, _) = two.call("DELETE", "hello/routes/shop.localhost", Value::Null).await;
        assert_eq!(status, 204, "{name}");
        until("it is gone", || !one.proxy.certificates().has("shop.localhost")).await;
        drop((one, two));
        // After a start everything is as before.
        let three = Options::new(&db.location).open().await;
        assert!(three.proxy.table().host("shop.localhost").is_none(), "{name}");
        three.route("next.localhost").await;
        let before = three.ready("next.localhost", 20).await;
        let (status, _) = three.call("POST", "hello/certificates/next.localhost", json!({})).await;
        assert_eq!(status, 202, "{name}");
        let began = Instant::now();
        while three.certificate("next.localhost").await["fingerprint"] == before["fingerprint"] {
            assert!(began.elapsed() < Duration::from_secs(20), "{name}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(three);
        let four = Options::new(&db.location).open().await;
        assert!(four.proxy.certificates().has("next.localhost"), "{name}");
    }
}

#[tokio::test]
async fn keys_do_not_lie_in_the_open() {
    let db = testing::sqlite();
    let service = Options::new(&db.location).open().await;
    service.route("shop.localhost").await;
    service.ready("shop.localhost", 20).await;
    drop(service);
    let hafen_db::Location::Sqlite(folder) = &db.location else { unreachable!() };
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"PRIVATE KEY"));
    }
}

/// openssl, with the platform's authority and no other.
async fn shows_what_openssl_trusts(service: &Service, host: &str) {
    let root = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(root.path(), service.edge.authority()).unwrap();
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &service.https.to_string(),
            "-servername",
            host,
            "-verify_hostname",
            host,
        ])
        .args(["-verify_return_error", "-brief", "-CAfile"])
        .arg(root.path())
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(said.contains("Verification: OK") && said.contains("TLSv1.3"), "{said}");
}
