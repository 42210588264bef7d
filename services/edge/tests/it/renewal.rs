//! When certificates are renewed, by the word of an authority that has renewal windows (RFC 9773), and without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hafen_base::{Clock, SystemClock, Timestamp};
use hafen_db::{Db, testing};
use hafen_edge::certificate::{self, store};
use rcgen::{PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::acme::shown;
use crate::pebble::Pebble;
use crate::support::{Options, Service, key};

const HOST: &str = "shop.example.org";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The machine's clock, and as much ahead as a test has stepped it. Who sleeps notices.
#[derive(Clone)]
struct Ahead(Arc<watch::Sender<Duration>>);

impl Ahead {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Duration::ZERO)))
    }

    fn step(&self, time: Duration) {
        self.0.send_modify(|ahead| *ahead += time);
    }
}

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(*self.0.borrow())
    }

    async fn sleep(&self, time: Duration) {
        let mut stepped = self.0.subscribe();
        let until = self.now().plus(time);
        while self.now() < until {
            tokio::select! {
                () = SystemClock.sleep(until.since(self.now())) => {}
                _ = stepped.changed() => {}
            }
        }
    }
}

/// A platform with one host, whose certificate has come.
struct Shop {
    service: Service,
    clock: Ahead,
    db: Db,
    /// Of the test.
    name: String,
}

impl Shop {
    async fn open(pebble: &Pebble, name: &str, db: &testing::TestDb) -> Self {
        let clock = Ahead::new();
        let options = Options {
            acme: Some(pebble.config()),
            clock: Arc::new(clock.clone()),
            ..Options::new(&db.location)
        };
        let service = options.open_at([pebble.http, pebble.https]).await;
        let db = Db::open(&db.location, "edge", hafen_edge::store::MIGRATIONS).await.unwrap();
        let shop = Self { service, clock, db, name: name.into() };
        shop.service.route(HOST).await;
        let ready = shop.service.ready(HOST, 60).await;
        assert_eq!(ready["issuer"], "acme", "{name}: {}", pebble.log());
        shop
    }

    async fn row(&self) -> store::CertificateRow {
        store::get(&self.db, HOST).await.unwrap().unwrap()
    }

    async fn until(&self, what: &str, is: impl Fn(&store::CertificateRow) -> bool) -> store::CertificateRow {
        let began = Instant::now();
        loop {
            let row = self.row().await;
            if is(&row) {
                return row;
            }
            assert!(began.elapsed() < MINUTE, "{}: {what}: {}", self.name, row.reason);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets time pass until it has asked for the window.
    async fn looked(&self, after: Duration) -> store::CertificateRow {
        let before = self.row().await.look_at;
        self.clock.step(after);
        self.until("it asks for the window", |row| row.look_at > before).await
    }

    async fn issued(&self) -> usize {
        self.service.events("certificate.issued").await.len()
    }
}

/// How far into its life a certificate is renewed, in percent.
fn share(row: &store::CertificateRow) -> u128 {
    row.next_try.since(row.not_before).as_micros() * 100 / row.not_after.since(row.not_before).as_micros()
}

fn orders(pebble: &Pebble) -> usize {
    pebble.log().matches("Added order").count()
}

/// Whether that is a day before two thirds of its life, a day after, or between.
fn is_in_window(row: &store::CertificateRow) -> bool {
    let middle = row.not_before.plus(row.not_after.since(row.not_before) / 3 * 2);
    // Authorities count the last second of a certificate, too.
    row.next_try.plus(DAY + MINUTE) > middle && row.next_try < middle.plus(DAY + MINUTE)
}

/// Has the authority take a certificate back, by the word of who has its key: whoever it leaked to (RFC 8555, section 7.6).
async fn revoke(pebble: &Pebble, row: &store::CertificateRow) {
    let opened = key().open(&certificate::sealed_name(HOST), &row.sealed).unwrap();
    let pair = rcgen::KeyPair::from_pem(std::str::from_utf8(opened.expose()).unwrap()).unwrap();
    let url = pebble.url("revokeCert").await;
    let (_, answer) = pebble.curl(&[&pebble.url("newNonce").await]).await;
    let nonce = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("replay-nonce").then_some(value.trim())
    });
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    // 4, x, y
    let point = pair.der_bytes();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) });
    let head = json!({ "alg": "ES256", "jwk": jwk, "nonce": nonce.unwrap(), "url": url }).to_string();
    let body =
        json!({ "certificate": encode(&certificate::leaf(&row.chain).unwrap()), "reason": 1 }).to_string();
    let (head, body) = (encode(head.as_bytes()), encode(body.as_bytes()));
    let signature = fixed(&pair.sign(format!("{head}.{body}").as_bytes()).unwrap());
    let jws = json!({ "protected": head, "payload": body, "signature": encode(&signature) }).to_string();
    let (done, answer) =
        pebble.curl(&["-H", "Content-Type: application/jose+json", "--data-binary", &jws, &url]).await;
    assert!(done, "{answer}");
}

/// An ECDSA signature as JOSE has it (RFC 7518, section 3.4), from two DER integers.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut fixed = Vec::new();
    let mut rest = &der[2..];
    while let [2, length, tail @ ..] = rest {
        let (number, after) = tail.split_at(usize::from(*length));
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        fixed.extend(std::iter::repeat_n(0, 32 - number.len()));
        fixed.extend(number);
        rest = after;
    }
    fixed
}

#[tokio::test]
async fn a_window_is_kept_and_one_that_moved_renews_at_once() {
    for (name, db) in testing::both() {
        let pebble = Pebble::start_with_windows().await;
        let shop = Shop::open(&pebble, name, &db).await;
        let first = shop.row().await;
        // Soon it asks, and keeps to what it is told, by which nothing happens for years.
        let looked = shop.looked(2 * MINUTE).await;
        assert!(is_in_window(&looked), "{name}: {}", looked.next_try);
        assert!(looked.look_at > shop.clock.now().plus(5 * HOUR), "{name}: as late as it was told");
        let on_wire = shop.service.certificate(HOST).await;
        assert_eq!(on_wire["next_try"], json!(looked.next_try), "{name}");
        let again = shop.looked(6 * HOUR).await;
        assert_eq!((&again.fingerprint, again.next_try), (&first.fingerprint, looked.next_try), "{name}");
        assert_eq!(shop.issued().await, 1, "{name}");
        let before = shown(&shop.service, HOST).await;
        assert!(before.contains("Pebble"), "{name}: {before}");

        // The key leaked, and the authority takes the certificate back: years before its end there is another.
        let before_orders = orders(&pebble);
        revoke(&pebble, &again).await;
        shop.clock.step(6 * HOUR);
        let second = shop.until("another", |row| row.fingerprint != first.fingerprint).await;
        assert_eq!((second.state.as_str(), shop.issued().await), ("ready", 2), "{name}: {}", pebble.log());
        assert!((62..=70).contains(&share(&second)), "{name}: {}", second.next_try);
        // Each order says which one it replaces, for which it is under no limit; none was made without.
        pebble.says("marked as replaced").await;
        let replacing = pebble.log().matches("is a replacement of").count();
        assert!(replacing > 0 && replacing == orders(&pebble) - before_orders, "{name}: {}", pebble.log());

        // An authority that takes this one back, too, is not asked without end.
        revoke(&pebble, &second).await;
        let looked = shop.looked(2 * MINUTE).await;
        assert_eq!(looked.next_try, second.issued_at.plus(HOUR), "{name}");
        assert_eq!((&looked.fingerprint, shop.issued().await), (&second.fingerprint, 2), "{name}");
        shop.clock.step(HOUR);
        shop.until("a third", |row| row.fingerprint != second.fingerprint).await;
        assert_eq!(shop.issued().await, 3, "{name}");
    }
}

#[tokio::test]
async fn without_a_window_two_thirds_of_a_life_hold() {
    let mut pebble = Pebble::start_with_windows().await;
    let db = testing::sqlite();
    let shop = Shop::open(&pebble, "sqlite", &db).await;
    let first = shop.row().await;
    assert!((62..=70).contains(&share(&first)), "{}", first.next_try);
    // It does not answer at all, and then it knows nothing of this certificate.
    pebble.stop();
    let silent = shop.looked(2 * MINUTE).await;
    assert!(silent.look_at > shop.clock.now().plus(5 * HOUR));
    pebble.again().await;
    let refused = shop.looked(6 * HOUR).await;
    for row in [silent, refused] {
        assert_eq!(
            (&row.fingerprint, row.next_try, row.state.as_str()),
            (&first.fingerprint, first.next_try, "ready")
        );
    }
    let on_wire = shop.service.certificate(HOST).await;
    assert_eq!((&on_wire["state"], &on_wire["reason"]), (&json!("ready"), &Value::Null), "{on_wire}");
    let failed = shop.service.events("certificate.failed").await.len();
    // An authority that was made anew knows neither the account nor what would be replaced: it comes by one all the same.
    // By this clock even the new one's two thirds are over.
    let life = first.not_after.since(first.not_before);
    shop.clock.step(first.next_try.since(shop.clock.now()) + life * 9 / 100);
    shop.until("the account is not known", |row| row.state == "failed").await;
    assert!(shown(&shop.service, HOST).await.contains("Pebble"), "the old one is shown");
    shop.clock.step(MINUTE);
    let second = shop.until("another", |row| row.fingerprint != first.fingerprint).await;
    assert_eq!((second.state.as_str(), shop.issued().await), ("ready", 2), "{}", pebble.log());
    assert!(!pebble.log().contains("is a replacement of"), "{}", pebble.log());
    // There is no third at once.
    assert_eq!(second.next_try, second.issued_at.plus(HOUR));
    let events = shop.service.events("certificate.failed").await;
    assert_eq!(events.len(), failed + 1, "{}", Value::Array(events));
}
