//! Requests that two readers could understand differently, and clients that are slow on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hafen_proxy::Challenges;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{Rig, Upstream, echoes, limits, plan, read_all};

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("nothing")
}

#[tokio::test]
async fn what_is_doubtful_is_refused_and_reaches_nobody() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    let long = format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\n{}\r\n", "X: y\r\n".repeat(120));
    let post =
        |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: shop.localhost\r\n{fields}\r\n{body}");
    let get = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let cases = [
        (
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"),
            "400",
        ),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\nX"), "400"),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), "400"),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), "400"),
        (post("Content-Length: 5, 5\r\n", "hello"), "400"),
        (post("Content-Length: +5\r\n", "hello"), "400"),
        (post("Content-Length: 0x5\r\n", "hello"), "400"),
        (post("Content-Length: -1\r\n", "hello"), "400"),
        (post("Content-Length: 99999999999999999999\r\n", "hello"), "400"),
        (post("Content-Length:\r\n", "hello"), "400"),
        (post("Content-Length : 5\r\n", "hello"), "400"),
        (post("Content-Length: 5\n", "hello"), "400"),
        (post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), "501"),
        (post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), "501"),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding\r\n : chunked\r\n", "0\r\n\r\n"), "400"),
        (post("X: a\r\n b\r\n", ""), "400"),
        (post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: chunked\r\n", "5\r\nhelloXX0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\nhello"), "400"),
        (post("Transfer-Encoding: chunked\r\n", "z\r\n"), "400"),
        (post("X\0Y: z\r\n", ""), "400"),
        (post("X: a\0b\r\n", ""), "400"),
        (post("X: a\rb\r\n", ""), "400"),
        (post("Expect: 200-ok\r\nContent-Length: 0\r\n", ""), "417"),
        (get("Host: shop.localhost\r\nHost: other.localhost\r\n"), "400"),
        (get(""), "400"),
        (get("Host: a/b\r\n"), "400"),
        (get("Host: shop.localhost:x\r\n"), "400"),
        (get("Host: shop@localhost\r\n"), "400"),
        (get("X: y\r\n"), "400"),
        ("GET http://other.localhost/ HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".into(), "400"),
        ("GET /../x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".into(), "400"),
        ("GET /a/%2e%2e/x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".into(), "400"),
        ("GET /%00 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".into(), "400"),
        ("GET /a#b HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".into(), "400"),
        ("GET x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".into(), "400"),
        ("GET  / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1 \r\nHost: shop.localhost\r\n\r\n".into(), "400"),
        ("GET / HTTP/2.0\r\nHost: shop.localhost\r\n\r\n".into(), "505"),
        (
            "GET / HTTP/1.0\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "400",
        ),
        ("CONNECT shop.localhost:80 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".into(), "405"),
        ("TRACE / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".into(), "405"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "505"),
        ("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".into(), "400"),
        (long, "431"),
        (many, "431"),
    ];
    for (request, wanted) in cases {
        let answer = rig.raw(request.as_bytes()).await;
        let shown: String = request.chars().take(200).collect();
        assert_eq!(status(&answer), wanted, "{shown:?}\n{answer}");
        assert!(answer.contains("connection: close") && answer.contains("request e-"), "{shown:?}\n{answer}");
    }
    // One with a body that is wrong only further on reaches the endpoint, but never as a whole request.
    assert_eq!(upstream.count(), 0, "{:?}", upstream.requests.lock().unwrap());
}

#[tokio::test]
async fn what_a_client_says_of_itself_goes_no_further() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    let answer = rig
        .raw(
            b"GET /a?b HTTP/1.1\r\nhOST: Shop.Localhost\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
              X-Real-IP: 6.6.6.6\r\nX-Request-Id: mine\r\nProxy: http://evil\r\nConnection: close, X-Hop\r\nX-Hop: secret\r\n\
              TE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nKeep-Alive: 5\r\nX-Kept: yes\r\nCookie: a=b\r\n\r\n",
        )
        .await;
    assert_eq!(status(&answer), "200", "{answer}");
    let seen = upstream.requests.lock().unwrap()[0].to_lowercase();
    for gone in [
        "6.6.6.6",
        "x-hop",
        "secret",
        "h2c",
        "http2-settings",
        "te:",
        "keep-alive",
        "proxy:",
        ": mine",
        "connection",
    ] {
        assert!(!seen.contains(gone), "{gone}\n{seen}");
    }
    for there in [
        "get /a?b http/1.1\r\n",
        "host: shop.localhost\r\n",
        "x-kept: yes",
        "cookie: a=b",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "forwarded: for=127.0.0.1;proto=http;host=\"shop.localhost\"\r\n",
        "x-request-id: e-",
    ] {
        assert!(seen.contains(there), "{there}\n{seen}");
    }
    let records = rig.records.0.lock().unwrap().clone();
    assert_eq!(records, ["127.0.0.0 h1 GET shop.localhost /a 200 e0"]);
}

#[tokio::test]
async fn requests_of_one_connection_are_told_apart() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    let answer = rig
        .raw(
            b"\r\nPOST /one HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: x\r\n\r\n\
              POST /two HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3\r\n\r\nabc\
              GET /three HTTP/1.1\r\nHost: shop.localhost\r\n\r\nGET /four HTTP/1.0\r\nHost: shop.localhost\r\n\r\n",
        )
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 4, "{answer}");
    let seen = upstream.requests.lock().unwrap().clone();
    let lines: Vec<&str> = seen.iter().map(|request| request.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        ["POST /one HTTP/1.1", "POST /two HTTP/1.1", "GET /three HTTP/1.1", "GET /four HTTP/1.1"]
    );
    assert!(
        seen[0].ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n") && seen[1].ends_with("\r\n\r\nabc"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn slow_clients_are_given_up() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    // A byte now and then: the head as a whole has its time.
    let began = Instant::now();
    let mut stream = TcpStream::connect(rig.http).await.unwrap();
    for byte in b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
        if stream.write_all(&[*byte]).await.is_err() || began.elapsed() > Duration::from_secs(5) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        if began.elapsed() > Duration::from_millis(900) {
            break;
        }
    }
    let answer = read_all(&mut stream).await;
    assert_eq!(status(&answer), "408", "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // A body that stands still.
    let began = Instant::now();
    let answer = rig.raw(b"POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 100\r\n\r\nabc").await;
    assert_eq!(status(&answer), "408", "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(rig.in_flight(), 0);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    let mut host = plan(&[("/", &[("web", 1)])]);
    host.max_body = 10;
    rig.proxy.table().hosts_set(vec![host]);
    let ok = rig.raw(b"POST / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789").await;
    assert_eq!(status(&ok), "200");
    let told =
        rig.raw(b"POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 11\r\n\r\n0123456789a").await;
    assert_eq!(status(&told), "413", "{told}");
    let untold =
        rig.raw(b"POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n").await;
    assert_eq!(status(&untold), "413", "{untold}");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_requests() {
    let upstream = Upstream::new(echoes()).await;
    let mut few = limits();
    few.client_connections = 3;
    let rig = Rig::with(few).await;
    let mut host = plan(&[("/", &[("web", 1)])]);
    host.rate = 5;
    rig.proxy.table().hosts_set(vec![host]);
    rig.endpoints(&[upstream.at]);
    let request = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".repeat(20);
    let mut stream = TcpStream::connect(rig.http).await.unwrap();
    stream.write_all(&[&request[..], b"GET / HTTP/1.0\r\n\r\n"].concat()).await.unwrap();
    let answer = read_all(&mut stream).await;
    let (good, many) = (answer.matches("200 OK").count(), answer.matches("429 Too Many").count());
    assert!((5..8).contains(&good) && good + many == 20, "{good} {many}");
    drop(stream);
    let held = [TcpStream::connect(rig.http).await.unwrap(), TcpStream::connect(rig.http).await.unwrap()];
    let third = TcpStream::connect(rig.http).await.unwrap();
    // The fourth is closed at once, whichever that is: a request over it gets nothing.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        if rig.raw(b"GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n").await.is_empty() {
            break;
        }
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    drop((held, third));
}

/// Counts what it is asked, which costs a query each.
#[derive(Default)]
struct Asked(AtomicUsize);

#[async_trait]
impl Challenges for Asked {
    async fn http01(&self, _host: &str, token: &str) -> Option<String> {
        self.0.fetch_add(1, Ordering::SeqCst);
        (token == "good").then(|| "proof".to_owned())
    }
}

#[tokio::test]
async fn challenges_are_looked_up_for_own_hosts_and_not_for_ever() {
    let upstream = Upstream::new(echoes()).await;
    let asked = Arc::new(Asked::default());
    let rig = Rig::challenged(limits(), Some(Arc::clone(&asked) as Arc<dyn Challenges>)).await;
    rig.proxy.table().hosts_set(vec![plan(&[("/", &[("web", 1)])])]);
    rig.endpoints(&[upstream.at]);
    let ask = |host: &str, token: &str| {
        format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    };
    let close = "GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n";
    let answer = rig.raw((ask("shop.localhost", "good") + close).as_bytes()).await;
    assert!(answer.contains("proof"), "{answer}");
    rig.raw((ask("nobody.localhost", "x").repeat(50) + close).as_bytes()).await;
    assert_eq!(asked.0.load(Ordering::SeqCst), 1, "no such host");
    rig.raw((ask("shop.localhost", "x").repeat(200) + close).as_bytes()).await;
    let count = asked.0.load(Ordering::SeqCst);
    assert!((10..60).contains(&count), "{count}");
}
