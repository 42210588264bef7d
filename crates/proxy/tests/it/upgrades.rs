//! WebSockets, through a client and a server that this project did not write.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Rig, Upstream, answers, endpoint, limits, plan, until};

async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() || message.is_binary() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    at
}

#[tokio::test]
async fn a_websocket_goes_through_and_counts_until_it_ends() {
    let at = echo().await;
    let rig = Rig::new(&[at]).await;
    let stream = TcpStream::connect(rig.http).await.unwrap();
    let (mut socket, answer) =
        tokio_tungstenite::client_async("ws://shop.localhost/chat", stream).await.unwrap();
    assert_eq!(answer.status(), 101);
    for size in [5, 70_000, 2_000_000] {
        socket.send(Message::binary(vec![7; size])).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_data().len(), size);
    }
    assert_eq!(rig.in_flight(), 1);
    // Draining lets it go on.
    rig.proxy.table().backend("p", "web").set(&[endpoint("e0", at, true)], None);
    socket.send(Message::text("still there")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "still there");
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    until("it is over", || rig.in_flight() == 0).await;
}

#[tokio::test]
async fn draining_ends_a_websocket_in_the_end() {
    let at = echo().await;
    let mut short = limits();
    short.drain = Duration::from_millis(100);
    let rig = Rig::with(short).await;
    rig.proxy.table().hosts_set(vec![plan(&[("/", &[("web", 1)])])]);
    rig.endpoints(&[at]);
    let stream = TcpStream::connect(rig.http).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://shop.localhost/chat", stream).await.unwrap();
    rig.proxy.table().backend("p", "web").set(&[], None);
    let ended = tokio::time::timeout(Duration::from_secs(5), socket.next()).await;
    assert!(matches!(ended, Ok(None | Some(Err(_)))), "{ended:?}");
}

#[tokio::test]
async fn who_refuses_a_websocket_is_heard() {
    let upstream = Upstream::new(answers("no")).await;
    let rig = Rig::new(&[upstream.at]).await;
    let stream = TcpStream::connect(rig.http).await.unwrap();
    let refused = tokio_tungstenite::client_async("ws://shop.localhost/chat", stream).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("200")));
    // Switching that nobody asked for is no answer.
    let liar =
        Upstream::new(std::sync::Arc::new(|_| b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n".to_vec()))
            .await;
    rig.endpoints(&[liar.at]);
    let answer = rig.raw(b"GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn a_websocket_of_one_direction_is_not_idle() {
    // Says something now and then, and hears nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while socket.send(Message::text("tick")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    });
    let mut short = limits();
    short.answer_idle = Duration::from_millis(500);
    let rig = Rig::with(short).await;
    rig.proxy.table().hosts_set(vec![plan(&[("/", &[("web", 1)])])]);
    rig.endpoints(&[at]);
    let stream = TcpStream::connect(rig.http).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://shop.localhost/chat", stream).await.unwrap();
    for number in 0..12 {
        let next = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.expect("it goes on");
        assert!(next.is_some_and(|message| message.is_ok()), "{number}");
    }
    // One where nothing is said at all ends.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.endpoints(&[silent.local_addr().unwrap()]);
    tokio::spawn(async move {
        let (stream, _) = silent.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while socket.next().await.is_some() {}
    });
    let stream = TcpStream::connect(rig.http).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://shop.localhost/chat", stream).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), socket.next()).await;
    assert!(matches!(ended, Ok(None | Some(Err(_)))), "{ended:?}");
}
