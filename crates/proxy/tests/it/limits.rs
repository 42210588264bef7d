//! What one client, or one project, may take of what all share.

use std::time::{Duration, Instant};

use hafen_proxy::HealthPlan;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Rig, Upstream, answers, checked, endpoint, limits, plan, until};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";

/// Reads one whole answer of `answers("good")`.
async fn good(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"good") {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_buf(&mut seen)).await;
        assert!(read.expect("it answers").unwrap() > 0, "{}", String::from_utf8_lossy(&seen));
    }
}

async fn ends(stream: &mut TcpStream, within: Duration) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(within, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn who_says_nothing_is_given_up_soon() {
    let upstream = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[upstream.at]).await;
    for at in [rig.http, rig.https] {
        let mut silent = TcpStream::connect(at).await.unwrap();
        assert!(
            ends(&mut silent, Duration::from_secs(5)).await,
            "it has the time of a head, not that between two"
        );
    }
    // Between two requests there is more time.
    let mut stream = TcpStream::connect(rig.http).await.unwrap();
    stream.write_all(GET).await.unwrap();
    good(&mut stream).await;
    assert!(!ends(&mut stream, rig.proxy.limits().head_time * 2).await);
    stream.write_all(GET).await.unwrap();
    good(&mut stream).await;
}

#[tokio::test]
async fn empty_lines_are_no_way_to_stay() {
    let upstream = Upstream::new(answers("good")).await;
    let mut short = limits();
    short.idle = Duration::from_secs(1);
    let rig = Rig::with(short).await;
    rig.proxy.table().hosts_set(vec![plan(&[("/", &[("web", 1)])])]);
    rig.endpoints(&[upstream.at]);
    let answer = rig.raw(&[&b"\r\n".repeat(9)[..], GET].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut stream = TcpStream::connect(rig.http).await.unwrap();
    stream.write_all(&[&b"\r\n".repeat(8)[..], GET].concat()).await.unwrap();
    good(&mut stream).await;
    let began = Instant::now();
    for _ in 0..7 {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_millis(400), stream.read_to_end(&mut rest)).await;
        if read.is_ok() || stream.write_all(b"\r\n").await.is_err() {
            break;
        }
    }
    let _ended = ends(&mut stream, Duration::from_secs(5)).await;
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn when_all_is_taken_who_waited_longest_makes_room() {
    let upstream = Upstream::new(answers("good")).await;
    let mut few = limits();
    few.connections = 3;
    let rig = Rig::with(few).await;
    rig.proxy.table().hosts_set(vec![plan(&[("/", &[("web", 1)])])]);
    rig.endpoints(&[upstream.at]);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(rig.http).await.unwrap();
        stream.write_all(GET).await.unwrap();
        good(&mut stream).await;
        // One after the other, so that the first is known to be the first.
        assert!(!ends(&mut stream, Duration::from_millis(250)).await);
        held.push(stream);
    }
    let mut new = TcpStream::connect(rig.http).await.unwrap();
    new.write_all(GET).await.unwrap();
    good(&mut new).await;
    assert!(ends(&mut held.remove(0), Duration::from_secs(5)).await, "the first made room");
    for stream in &mut held {
        stream.write_all(GET).await.unwrap();
        good(stream).await;
    }
}

#[tokio::test]
async fn checks_that_hang_hold_up_nobody_elses() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap();
    let rig = Rig::new(&[]).await;
    let many: Vec<_> = (0..300).map(|number| endpoint(&format!("e{number}"), at, false)).collect();
    let slow = HealthPlan { timeout: Duration::from_secs(60), ..checked("/") };
    rig.proxy.table().backend("bad", "web").set(&many, Some(slow));
    let mut open = Vec::new();
    // As many as there will be.
    while let Ok(accepted) = tokio::time::timeout(Duration::from_secs(1), silent.accept()).await {
        open.push(accepted.unwrap());
    }
    let well = Upstream::new(answers("well")).await;
    let backend = rig.proxy.table().backend("p", "web");
    backend.set(&[endpoint("one", well.at, false)], Some(checked("/")));
    until("another project's endpoint is checked", || backend.seen()[0].healthy).await;
    assert!((1..=32).contains(&open.len()), "{} at a time", open.len());
}

#[tokio::test]
async fn an_endpoint_is_checked_once_at_a_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::new(&[]).await;
    let slow = HealthPlan { timeout: Duration::from_secs(2), ..checked("/") };
    let one = endpoint("one", silent.local_addr().unwrap(), false);
    rig.proxy.table().backend("p", "web").set(&[one], Some(slow));
    let first = silent.accept().await.unwrap();
    let began = Instant::now();
    let second = silent.accept().await.unwrap();
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "the next waits for the end of the last: {:?}",
        began.elapsed()
    );
    drop((first, second));
}

#[tokio::test]
async fn stopping_tells_those_that_wait_at_once() {
    let upstream = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[upstream.at]).await;
    let mut stream = TcpStream::connect(rig.http).await.unwrap();
    stream.write_all(GET).await.unwrap();
    good(&mut stream).await;
    let (sender, connection) = crate::http2::connect(&rig).await;
    let request = http::Request::get("https://shop.localhost/").body(()).unwrap();
    let (answer, _) = sender.clone().ready().await.unwrap().send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    let began = Instant::now();
    drop(rig);
    assert!(ends(&mut stream, Duration::from_secs(10)).await);
    let _ended =
        tokio::time::timeout(Duration::from_secs(10), connection).await.expect("it is told").unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_is_heard() {
    // Says no after the head, and closes.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !String::from_utf8_lossy(&head).contains("\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            let _gone = stream.write_all(b"HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\nno").await;
        }
    });
    let rig = Rig::new(&[at]).await;
    for _ in 0..5 {
        let mut stream = TcpStream::connect(rig.http).await.unwrap();
        let head = "POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 800000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..8 {
            let sent = stream.write_all(&vec![b'x'; 100_000]).await;
            assert!(sent.is_ok(), "{sent:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut seen = Vec::new();
        stream.read_to_end(&mut seen).await.unwrap();
        let answer = String::from_utf8_lossy(&seen).into_owned();
        assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn the_end_is_said_over_tls() {
    let upstream = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[upstream.at]).await;
    let line = format!(
        "printf 'GET / HTTP/1.1\\r\\nHost: shop.localhost\\r\\nConnection: close\\r\\n\\r\\n' | \
         openssl s_client -connect {} -servername shop.localhost -ign_eof 2>&1",
        rig.https
    );
    let output = tokio::process::Command::new("sh").args(["-c", &line]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // Without it nobody could tell the end from one that was cut off.
    assert!(said.contains("good") && !said.contains("unexpected eof"), "{said}");
}

#[tokio::test]
async fn a_body_does_not_go_over_a_connection_that_waited() {
    let upstream = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[upstream.at]).await;
    let mut stream = TcpStream::connect(rig.http).await.unwrap();
    stream.write_all(GET).await.unwrap();
    good(&mut stream).await;
    assert!(!ends(&mut stream, Duration::from_millis(1200)).await);
    stream.write_all(b"PUT / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    good(&mut stream).await;
    assert_eq!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn fields_of_the_hop_behind_stay_there() {
    let upstream = Upstream::new(std::sync::Arc::new(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close, X-Hop\r\nX-Hop: secret\r\nX-Kept: yes\r\n\r\nok".to_vec()
    }))
    .await;
    let rig = Rig::new(&[upstream.at]).await;
    for protocol in ["--http1.1", "--http2"] {
        let (said, _) = rig.curl("https", "/", &["-i", protocol]).await;
        assert!(said.contains("x-kept: yes") || said.contains("X-Kept: yes"), "{said}");
        assert!(!said.to_lowercase().contains("x-hop"), "{said}");
    }
}
