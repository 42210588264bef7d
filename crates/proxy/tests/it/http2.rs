//! HTTP/2: what a client that means ill can try.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::support::{HOST, Rig, Upstream, answers, echoes, limits, plan, until};

type Driver = tokio::task::JoinHandle<Result<(), h2::Error>>;

pub async fn connect(rig: &Rig) -> (SendRequest<Bytes>, Driver) {
    connect_with(rig, &h2::client::Builder::new()).await
}

/// A connection over TLS, with nothing said yet.
pub async fn connect_tls(rig: &Rig) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(rig.root.path()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(rig.https).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

async fn connect_with(rig: &Rig, builder: &h2::client::Builder) -> (SendRequest<Bytes>, Driver) {
    let (sender, connection) = builder.handshake(connect_tls(rig).await).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://{HOST}{path}")).body(()).unwrap()
}

async fn text(mut body: h2::RecvStream) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _more = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_request_becomes_one_of_http_1() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    let (sender, _connection) = connect(&rig).await;
    let mut request = get("/a?b");
    for (name, value) in [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x_y", "z"),
        ("x-kept", "yes"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let (answer, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = text(answer.into_body()).await;
    assert!(seen.starts_with("GET /a?b HTTP/1.1\r\nhost: shop.localhost\r\n"), "{seen}");
    assert!(seen.contains("cookie: a=1; b=2\r\n") && seen.contains("x-kept: yes"), "{seen}");
    assert!(!seen.contains("6.6.6.6") && !seen.contains("x_y"), "{seen}");
}

#[tokio::test]
async fn hosts_and_paths_that_do_not_fit_are_refused() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    let (sender, _connection) = connect(&rig).await;
    let host = |request: &mut Request<()>, value: &str| {
        request.headers_mut().append("host", value.parse().unwrap());
    };
    let mut other = get("/");
    host(&mut other, "other.localhost");
    let mut twice = get("/");
    host(&mut twice, HOST);
    host(&mut twice, HOST);
    let mut lengths = get("/");
    lengths.headers_mut().append("content-length", "5, 5".parse().unwrap());
    for (request, wanted) in [
        (other, 400),
        (twice, 400),
        (lengths, 400),
        (get("/a/../b"), 400),
        (get("/%2e%2e/b"), 400),
        (Request::builder().method("TRACE").uri(format!("https://{HOST}/")).body(()).unwrap(), 405),
        (Request::get("https://nobody.localhost/").body(()).unwrap(), 404),
    ] {
        let shown = format!("{request:?}");
        let sent = sender.clone().ready().await.unwrap().send_request(request, true);
        match sent.unwrap().0.await {
            Ok(answer) => assert_eq!(answer.status(), wanted, "{shown}"),
            // What the protocol itself forbids is a reset.
            Err(error) => assert!(error.is_reset(), "{shown} {error}"),
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection_and_leaves_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::new(&[silent.local_addr().unwrap()]).await;
    let (sender, connection) = connect(&rig).await;
    let mut sent = 0;
    for _ in 0..20_000 {
        let Ok(mut ready) = sender.clone().ready().await else { break };
        let Ok((answer, mut stream)) = ready.send_request(get("/"), false) else { break };
        stream.send_reset(h2::Reason::CANCEL);
        drop(answer);
        sent += 1;
        tokio::task::yield_now().await;
    }
    let ended =
        tokio::time::timeout(Duration::from_secs(10), connection).await.expect("it is ended").unwrap();
    let error = ended.unwrap_err();
    assert!(error.is_go_away() || error.is_io(), "{error:?} after {sent}");
    until("nothing is under way", || rig.in_flight() == 0).await;
    // Others are served meanwhile.
    let good = Upstream::new(answers("good")).await;
    rig.endpoints(&[good.at]);
    let (said, _) = rig.curl("https", "/", &["--http2"]).await;
    assert_eq!(said, "good");
}

#[tokio::test]
async fn fields_beyond_the_limit_are_refused() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    let (sender, _connection) = connect(&rig).await;
    let mut request = get("/");
    for number in 0..200 {
        let name: http::HeaderName = format!("x-{number}").parse().unwrap();
        request.headers_mut().append(name, "y".repeat(400).parse().unwrap());
    }
    let (answer, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
    match answer.await {
        Ok(answer) => assert_eq!(answer.status(), 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn who_makes_no_room_for_answers_does_not_stay() {
    let upstream = Upstream::new(answers("good")).await;
    let mut short = limits();
    (short.idle, short.write) = (Duration::from_millis(500), Duration::from_millis(500));
    let rig = Rig::with(short).await;
    rig.proxy.table().hosts_set(vec![plan(&[("/", &[("web", 1)])])]);
    rig.endpoints(&[upstream.at]);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let (sender, connection) = connect_with(&rig, &builder).await;
    let mut answers = Vec::new();
    for _ in 0..100 {
        let (answer, _) = sender.clone().ready().await.unwrap().send_request(get("/"), true).unwrap();
        answers.push(answer.await.unwrap());
    }
    // The client answers pings, keeps its streams, and reads nothing.
    let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
    assert!(ended.is_ok(), "it is still there");
    assert_eq!(rig.in_flight(), 0);
    drop(answers);
}

#[tokio::test]
async fn many_fields_are_too_many_however_small() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    let (sender, _connection) = connect(&rig).await;
    for (count, wanted) in [(90, 200), (120, 431)] {
        let mut request = get("/");
        for number in 0..count {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            request.headers_mut().append(name, "y".parse().unwrap());
        }
        let (answer, _) = sender.clone().ready().await.unwrap().send_request(request, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), wanted, "{count}");
    }
}
