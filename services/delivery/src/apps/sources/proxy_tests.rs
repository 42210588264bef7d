//! Fetches by a proxy: a tiny one that knows CONNECT alone, and where all names lead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Mutex;

use tokio::net::{TcpListener, TcpStream};

use super::server::{Safe, Server, TOKEN, elsewhere, of, with_token};
use super::*;

struct Connects {
    port: u16,
    /// The head of each request.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Connects {
    /// `lets_in`: what it wants to be shown.
    async fn start(to: u16, lets_in: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, to, lets_in, Arc::clone(&seen)));
            }
        });
        Self { port, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn carry(mut from: TcpStream, to: u16, lets_in: Option<&str>, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match from.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let good = lets_in.is_none_or(|shown| head.contains(&format!("Proxy-Authorization: Basic {shown}\r\n")));
    seen.lock().unwrap().push(head);
    if !good {
        let told = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\n\
                    Content-Length: 0\r\nConnection: close\r\n\r\n";
        let _gone = from.write_all(told.as_bytes()).await;
        return;
    }
    let mut there = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
    from.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _end = tokio::io::copy_bidirectional(&mut from, &mut there).await;
}

fn by(https: String, none: &str) -> Proxy {
    let none = none.to_owned();
    Proxy::of(move |name| match name {
        "https_proxy" => Some(https.clone().into()),
        "no_proxy" => Some(none.clone().into()),
        _ => None,
    })
}

#[tokio::test]
async fn a_source_comes_by_the_proxy_of_the_environment() {
    let server = Server::start().await;
    let proxy = Connects::start(server.port, None).await;
    let mut git = server.company(&Safe::with(TOKEN.as_bytes()));
    // There is no such name but for the proxy.
    let private = with_token(elsewhere(format!("https://git.company.test:{}/private/shop.git", server.port)));
    git.proxy = by(format!("http://127.0.0.1:{}", proxy.port), "localhost");
    assert_eq!(git.resolve(of(&private), None).await.unwrap(), server.commit);
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    for head in &heads {
        assert!(head.starts_with(&format!("CONNECT git.company.test:{} ", server.port)), "{head}");
        assert!(!head.contains("uthorization"), "the token goes through it unseen: {head}");
    }
    // But for hosts of `no_proxy`.
    assert_eq!(git.resolve(of(&server.private()), None).await.unwrap(), server.commit);
    assert_eq!(proxy.heads().len(), heads.len());
}

#[tokio::test]
async fn a_password_of_the_proxy_is_told_to_it_alone() {
    let server = Server::start().await;
    // `ci:proxy/canary`
    let proxy = Connects::start(server.port, Some("Y2k6cHJveHkvY2FuYXJ5")).await;
    let source = elsewhere(format!("https://git.company.test:{}/git/shop.git", server.port));
    let fetch = async |proxy: String| {
        let mut git = server.company(&Arc::new(Safe::default()));
        git.proxy = by(proxy, "");
        tokio::time::timeout(Duration::from_secs(60), git.resolve(of(&source), None))
            .await
            .expect("an answer")
    };
    let at = proxy.port;
    assert_eq!(fetch(format!("http://ci:proxy%2Fcanary@127.0.0.1:{at}")).await.unwrap(), server.commit);
    for (wrong, wanted) in [
        (format!("http://ci:proxy%2Fcanary-of-another@127.0.0.1:{at}"), "he proxy "),
        (format!("http://ci@127.0.0.1:{at}"), "the proxy http://***@127.0.0.1"),
        (format!("http://127.0.0.1:{at}"), "The proxy asks for a user"),
        (format!("http://ci:proxy%2Fcanary@[127.0.0.1:{at}"), "`https_proxy`"),
        ("http://ci:proxy%2Fcanary@127.0.0.1:1".to_owned(), "`https_proxy`"),
    ] {
        let error = fetch(wrong.clone()).await.unwrap_err();
        let text = format!("{error} {error:?} {}", error.cause_chain());
        assert!(text.contains(wanted) && !text.contains("canary"), "{wrong}: {text}");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{wrong}: {text}");
    }
}
