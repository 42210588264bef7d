//! Which endpoint answers: failures, checks, draining.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Rig, Upstream, answers, checked, endpoint, nothing, plan, read_all, until};

const GET: &[u8] = b"GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.0\r\nHost: shop.localhost\r\nContent-Length: 2\r\n\r\nhi";

fn body(answer: &str) -> &str {
    answer.split("\r\n\r\n").nth(1).unwrap_or("")
}

#[tokio::test]
async fn where_nothing_listens_another_answers() {
    let good = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[nothing().await, good.at, nothing().await]).await;
    for request in [GET, POST].repeat(10) {
        assert_eq!(body(&rig.raw(request).await), "good");
    }
    let seen = rig.proxy.table().backend("p", "web").seen();
    assert!(seen.iter().any(|one| one.ejected || !one.reason.is_empty()), "{seen:?}");
    rig.endpoints(&[nothing().await]);
    let answer = rig.raw(GET).await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("request e-"), "{answer}");
}

#[tokio::test]
async fn only_what_may_be_sent_twice_is() {
    let bad = Upstream::new(Arc::new(|_| Vec::new())).await;
    let good = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[bad.at, good.at]).await;
    for _ in 0..10 {
        assert_eq!(body(&rig.raw(GET).await), "good");
    }
    // It heard the request, and nobody knows what it did.
    rig.endpoints(&[bad.at]);
    let before = bad.count();
    let answer = rig.raw(POST).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert_eq!(bad.count(), before + 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_nobodys_fault() {
    // Answers one request of each connection, and closes it without a word a moment later.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _request = stream.read(&mut buffer).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood").await.unwrap();
            });
        }
    });
    let rig = Rig::new(&[at]).await;
    let mut client = TcpStream::connect(rig.http).await.unwrap();
    let requests = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".repeat(50);
    client.write_all(&[&requests[..], GET].concat()).await.unwrap();
    let answer = read_all(&mut client).await;
    assert_eq!(answer.matches("200 OK").count(), 51, "{answer}");
    for _ in 0..20 {
        assert_eq!(body(&rig.raw(POST).await), "good");
    }
}

#[tokio::test]
async fn no_answer_is_told_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::new(&[silent.local_addr().unwrap()]).await;
    let answer = rig.raw(GET).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    let broken = Upstream::new(Arc::new(|_| b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())).await;
    rig.endpoints(&[broken.at]);
    let answer = rig.raw(GET).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    // One that breaks off within is broken off for the client, too, and is no shorter answer.
    let short = Upstream::new(Arc::new(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nab".to_vec()
    }))
    .await;
    rig.endpoints(&[short.at]);
    let (_, output) = rig.curl("https", "/", &["--http1.1"]).await;
    assert!(!output.status.success());
    let (_, output) = rig.curl("https", "/", &["--http2"]).await;
    assert!(!output.status.success());
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_endpoint() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::new(&[silent.local_addr().unwrap()]).await;
    let mut client = TcpStream::connect(rig.http).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").await.unwrap();
    let (mut accepted, _) = silent.accept().await.unwrap();
    until("it is under way", || rig.in_flight() == 1).await;
    drop(client);
    until("it is over", || rig.in_flight() == 0).await;
    let mut buffer = Vec::new();
    accepted.read_to_end(&mut buffer).await.unwrap();
    assert!(buffer.starts_with(b"GET / "), "the endpoint is told, too");
}

#[tokio::test]
async fn checks_decide_who_answers() {
    let well = Arc::new(AtomicBool::new(true));
    let rule = {
        let well = Arc::clone(&well);
        Arc::new(move |request: &str| {
            if request.starts_with("GET /healthz") && !well.load(Ordering::SeqCst) {
                return b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
            }
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none".to_vec()
        })
    };
    let (one, two) = (Upstream::new(rule).await, Upstream::new(answers("two")).await);
    let rig = Rig::new(&[]).await;
    let backend = rig.proxy.table().backend("p", "web");
    let plans = [endpoint("one", one.at, false), endpoint("two", two.at, false)];
    backend.set(&plans, Some(checked("/healthz")));
    until("both are healthy", || backend.seen().iter().all(|seen| seen.healthy)).await;
    well.store(false, Ordering::SeqCst);
    until("one is not", || !backend.seen()[0].healthy).await;
    for _ in 0..10 {
        assert_eq!(body(&rig.raw(GET).await), "two");
    }
    assert!(backend.seen()[0].reason.contains("500"), "{:?}", backend.seen());
    well.store(true, Ordering::SeqCst);
    until("one is again", || backend.seen()[0].healthy).await;
    drop(two);
    until("two is not", || !backend.seen()[1].healthy).await;
    for _ in 0..10 {
        assert_eq!(body(&rig.raw(GET).await), "one");
    }
}

#[tokio::test]
async fn who_drains_ends_what_it_began() {
    // Answers only when it is told to.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old = listener.local_addr().unwrap();
    let new = Upstream::new(answers("new")).await;
    let rig = Rig::new(&[]).await;
    let backend = rig.proxy.table().backend("p", "web");
    rig.proxy.table().hosts_set(vec![plan(&[("/", &[("web", 1)])])]);
    backend.set(&[endpoint("old", old, false)], None);
    let mut client = TcpStream::connect(rig.http).await.unwrap();
    client.write_all(GET).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    backend.set(&[endpoint("old", old, true), endpoint("new", new.at, false)], None);
    for _ in 0..10 {
        assert_eq!(body(&rig.raw(GET).await), "new");
    }
    assert_eq!(backend.seen()[0].in_flight, 1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold").await.unwrap();
    assert_eq!(body(&read_all(&mut client).await), "old");
    until("it drained", || backend.seen()[0].in_flight == 0).await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
}
