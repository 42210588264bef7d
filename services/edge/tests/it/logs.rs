//! Transparency logs: one in tile format stands in for the public ones.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_db::testing;
use hafen_tlog::{Checkpoint, Hash, Nodes as _, Note, NoteSignature, leaf_hash, root_of_leaves};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SerialNumber, SigningKey as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

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
        let options = Options {
            logs: vec![url.parse().unwrap()],
            clock: Arc::new(clock.clone()),
            ..Options::new(&db.location)
        };
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

/// A log as the public ones are: it signs, compresses, and takes away tiles that are not full once they are.
struct Public {
    key: KeyPair,
    leaves: Vec<Vec<u8>>,
    /// What its checkpoint says; it may hold more by now.
    size: usize,
}

impl Public {
    fn hashes(&self) -> Vec<Hash> {
        let hash = |leaf: &Vec<u8>| {
            let number = |at: usize, bytes: usize| {
                leaf[at..at + bytes].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
            };
            let at = if leaf[9] == 1 { 10 + 32 } else { 10 };
            let extensions = at + 3 + number(at, 3);
            let end = extensions + 2 + number(extensions, 2);
            leaf_hash(&[&[0, 0], &leaf[..end]].concat())
        };
        self.leaves.iter().map(hash).collect()
    }

    fn checkpoint(&self) -> String {
        let origin = "log.example/2026".to_owned();
        let root = root_of_leaves(&self.hashes()[..self.size]);
        let head = Checkpoint { origin: origin.clone(), size: self.size as u64, root };
        let time = 1_790_000_000_000_u64.to_be_bytes();
        let signed = [&[0, 1], &time[..], &head.size.to_be_bytes(), &root.0].concat();
        let der = self.key.sign(&signed).unwrap();
        let signature = [&time[..], &[4, 3, 0, u8::try_from(der.len()).unwrap()], &der].concat();
        let log = Sha256::digest(self.key.subject_public_key_info());
        let id = Sha256::digest([origin.as_bytes(), b"\n\x05", &log].concat());
        let line = NoteSignature { name: origin, id: id[..4].try_into().unwrap(), signature };
        let note = Note { text: head.to_string(), signatures: vec![line] };
        format!("{}\n{}", note.text, note.signatures[0])
    }

    fn tile(&self, path: &str) -> Option<Vec<u8>> {
        let (level, rest) = path.split_once('/').unwrap();
        let (index, width) = rest.split_once(".p/").unwrap_or((rest, "256"));
        let index: usize = index.replace(['x', '/'], "").parse().unwrap();
        let width: usize = width.parse().unwrap();
        let above = level.parse::<u8>().unwrap_or(0);
        let there = (self.leaves.len() >> (8 * above)) - index * 256;
        if width > there || (width < 256 && there >= 256) {
            return None;
        }
        let range = index * 256..index * 256 + width;
        if level == "data" {
            return Some(self.leaves[range].concat());
        }
        let hashes = self.hashes();
        Some(range.flat_map(|at| hashes.as_slice().node(8 * above, at as u64).unwrap().0).collect())
    }
}

async fn public(log: Arc<Mutex<Public>>) -> String {
    type Log = State<Arc<Mutex<Public>>>;
    async fn tile(State(log): Log, Path(path): Path<String>, headers: HeaderMap) -> Response {
        assert_eq!(headers["accept-encoding"], "gzip");
        let Some(tile) = log.lock().unwrap().tile(&path) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tile).unwrap();
        ([("content-encoding", "gzip")], encoder.finish().unwrap()).into_response()
    }
    let checkpoint = async |State(log): Log| log.lock().unwrap().checkpoint();
    let app = Router::new()
        .route("/checkpoint", axum::routing::get(checkpoint))
        .route("/tile/{*path}", axum::routing::get(tile))
        .with_state(log);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{at}")
}

#[tokio::test]
async fn a_log_is_held_to_what_it_signed() {
    let other = leaf(&certificate(&["other.example"], 2), true);
    let leaves = vec![other.clone(); 300];
    let log = Arc::new(Mutex::new(Public { key: KeyPair::generate().unwrap(), leaves, size: 300 }));
    let key = STANDARD.encode(log.lock().unwrap().key.subject_public_key_info());
    let url = public(Arc::clone(&log)).await;
    let clock = hafen_base::SteppedClock::new();
    let db = testing::sqlite();
    let watched = format!("{url}={key}").parse().unwrap();
    let options =
        Options { logs: vec![watched], clock: Arc::new(clock.clone()), ..Options::new(&db.location) };
    let service = options.open().await;
    service.route("shop.localhost").await;
    service.ready("shop.localhost", 20).await;
    let began = Instant::now();
    let step = || async {
        clock.step(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", service.health.all());
    };
    while service.edge.log_positions().await.unwrap() != [300] {
        step().await;
    }
    // It says 450 while it has 1000 by now: what is not full at 450 is, and the tiles for that are gone.
    {
        let mut log = log.lock().unwrap();
        log.leaves.extend(vec![other.clone(); 700]);
        log.leaves[444] = leaf(&certificate(&["shop.localhost"], 0x42), true);
        log.size = 450;
    }
    while service.edge.log_positions().await.unwrap() != [450] {
        step().await;
    }
    while service.events("alert.certificate_unknown").await.is_empty() {
        step().await;
    }
    log.lock().unwrap().size = 1000;
    while service.edge.log_positions().await.unwrap() != [1000] {
        step().await;
    }
    assert!(service.events("alert.log").await.is_empty());
    // Another past under the same signature.
    {
        let mut log = log.lock().unwrap();
        log.leaves[444] = other.clone();
        log.leaves.extend(vec![other; 10]);
        log.size = 1010;
    }
    let alerts = loop {
        let alerts = service.events("alert.log_failing").await;
        if !alerts.is_empty() {
            break alerts;
        }
        step().await;
    };
    assert_eq!((alerts.len(), &alerts[0]["data"]["untrue"]), (1, &true.into()), "{alerts:?}");
    assert!(!service.health.is_ok(), "{:?}", service.health.all());
    assert_eq!(service.edge.log_positions().await.unwrap(), [1000]);
}

#[tokio::test]
async fn whoever_else_signs_is_not_believed() {
    let leaves = vec![leaf(&certificate(&["other.example"], 2), true); 3];
    let log = Arc::new(Mutex::new(Public { key: KeyPair::generate().unwrap(), leaves, size: 3 }));
    let url = public(log).await;
    let other = STANDARD.encode(KeyPair::generate().unwrap().subject_public_key_info());
    let db = testing::sqlite();
    let watched = format!("{url}={other}").parse().unwrap();
    let service = Options { logs: vec![watched], ..Options::new(&db.location) }.open().await;
    let began = Instant::now();
    while service.events("alert.log_failing").await.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(service.edge.log_positions().await.unwrap(), Vec::<u64>::new());
    for bad in ["https://a=b", "https://a=AAAA"] {
        assert!(bad.parse::<hafen_edge::WatchedLog>().is_err(), "{bad}");
    }
}
