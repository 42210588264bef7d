//! Transparency logs: one in tile format stands in for the public ones.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use hafen_db::testing;
use rcgen::{CertificateParams, KeyPair, SerialNumber};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::support::Options;

type Leaves = Arc<Mutex<Vec<Vec<u8>>>>;

/// A leaf as C2SP's static-ct-api has it: of a certificate, or of a precertificate's inside.
fn leaf(der: &[u8], precertificate: bool) -> Vec<u8> {
    let counted = |bytes: &[u8], size: usize| {
        let length = (bytes.len() as u64).to_be_bytes();
        [&length[8 - size..], bytes].concat()
    };
    let mut leaf = vec![0; 8];
    if precertificate {
        leaf.extend([0, 1]);
        leaf.extend([9; 32]);
        let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
        leaf.extend(counted(certificate.tbs_certificate.as_ref(), 3));
        leaf.extend(counted(&[], 2));
        leaf.extend(counted(der, 3));
    } else {
        leaf.extend([0, 0]);
        leaf.extend(counted(der, 3));
        leaf.extend(counted(&[1, 2, 3], 2));
    }
    leaf.extend(counted(&[7; 64], 2));
    leaf
}

fn certificate(names: &[&str], serial: u8) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.serial_number = Some(SerialNumber::from_slice(&[serial; 8]));
    params.self_signed(&key).unwrap().der().to_vec()
}

async fn log(leaves: Leaves) -> String {
    async fn checkpoint(State(leaves): State<Leaves>) -> String {
        let size = leaves.lock().unwrap().len();
        format!("log.example/2026\n{size}\nAAAA\n\n— log.example/2026 AAAA\n")
    }
    async fn tile(State(leaves): State<Leaves>, Path(path): Path<String>) -> Vec<u8> {
        let (index, width) = path.split_once(".p/").unwrap_or((&path, "256"));
        let index: usize = index.replace(['x', '/'], "").parse().unwrap();
        let width: usize = width.parse().unwrap();
        let leaves = leaves.lock().unwrap();
        leaves[index * 256..index * 256 + width].concat()
    }
    let app = Router::new()
        .route("/checkpoint", axum::routing::get(checkpoint))
        .route("/tile/data/{*path}", axum::routing::get(tile))
        .with_state(leaves);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{at}")
}

#[tokio::test]
async fn an_unknown_certificate_of_an_own_host_is_an_alert() {
    for (name, db) in testing::both() {
        let leaves = Leaves::default();
        // What stood there before is not looked through.
        leaves.lock().unwrap().push(leaf(&certificate(&["shop.localhost"], 1), false));
        let url = log(Arc::clone(&leaves)).await;
        let clock = hafen_base::SteppedClock::new();
        let options =
            Options { logs: vec![url], clock: Arc::new(clock.clone()), ..Options::new(&db.location) };
        let service = options.open().await;
        service.route("shop.localhost").await;
        service.ready("shop.localhost", 20).await;
        let began = Instant::now();
        let position = || async {
            clock.step(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(began.elapsed() < Duration::from_secs(60), "{name}");
        };
        while service.edge.log_positions().await.unwrap() != [1] {
            position().await;
        }
        // Our own, as it would stand in a log, and 600 of others around one that nobody here asked for.
        let own = service.edge.certificate_chain("shop.localhost").await.unwrap();
        let own = CertificateDer::from_pem_slice(own.as_bytes()).unwrap();
        let mut new = vec![leaf(&own, true), leaf(&own, false)];
        let other = leaf(&certificate(&["other.example"], 2), true);
        new.extend((0..300).map(|_| other.clone()));
        new.push(leaf(b"no certificate at all", false));
        new.push(leaf(&certificate(&["x.example", "Shop.localhost"], 0x42), true));
        new.extend((0..300).map(|_| other.clone()));
        leaves.lock().unwrap().extend(new);
        while service.edge.log_positions().await.unwrap() != [605] {
            position().await;
        }
        let alerts = loop {
            let alerts = service.events("alert.").await;
            if !alerts.is_empty() {
                break alerts;
            }
            position().await;
        };
        assert_eq!(alerts.len(), 1, "{name}: {alerts:?}");
        assert_eq!(alerts[0]["kind"], "alert.certificate_unknown", "{name}");
        assert_eq!(
            (&alerts[0]["project"], &alerts[0]["data"]["serial"]),
            (&"hello".into(), &"4242424242424242".into()),
            "{name}"
        );
        assert_eq!(alerts[0]["data"]["position"], 304, "{name}");
    }
}
