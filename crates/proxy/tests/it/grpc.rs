//! gRPC: messages both ways at a time, trailers, cancellation. Spoken with HTTP/2 itself, as any gRPC library does.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::net::TcpListener;

use crate::http2::connect;
use crate::support::{HOST, Rig, Upstream, answers, limits, nothing, plan};

/// Echoes each message, then ends with a status in trailers.
async fn service() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        assert_eq!(request.headers()["te"], "trailers");
                        let mut body = request.into_body();
                        let response =
                            Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                        let mut out = respond.send_response(response, false).unwrap();
                        while let Some(Ok(chunk)) = body.data().await {
                            let _more = body.flow_control().release_capacity(chunk.len());
                            out.send_data(chunk, false).unwrap();
                        }
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().unwrap());
                        out.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    at
}

fn request() -> Request<()> {
    Request::post(format!("https://{HOST}/shop.Orders/Watch"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

#[tokio::test]
async fn messages_go_both_ways_and_trailers_end_them() {
    let rig = Rig::new(&[service().await]).await;
    let (sender, _connection) = connect(&rig).await;
    for _ in 0..3 {
        let (answer, mut out) = sender.clone().ready().await.unwrap().send_request(request(), false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        // The answer to each comes before the next is sent.
        for message in ["one", "two", "three"] {
            out.send_data(Bytes::from(message), false).unwrap();
            let chunk = tokio::time::timeout(Duration::from_secs(5), body.data()).await.expect("it streams");
            assert_eq!(chunk.unwrap().unwrap(), message);
        }
        out.send_data(Bytes::new(), true).unwrap();
        while body.data().await.is_some() {}
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    }
    let seen = rig.proxy.table().backend("p", "web").seen();
    assert_eq!((seen[0].requests, seen[0].in_flight), (3, 0), "{seen:?}");
}

#[tokio::test]
async fn failures_are_told_as_grpc_tells_them() {
    let rig = Rig::new(&[nothing().await]).await;
    let (sender, _connection) = connect(&rig).await;
    let (answer, _) = sender.ready().await.unwrap().send_request(request(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
}

/// The status that a call with this body ends with, whether it is told or the stream's end means it.
async fn status(rig: &Rig, body: &[u8]) -> String {
    let (sender, _connection) = connect(rig).await;
    let (answer, mut out) = sender.ready().await.unwrap().send_request(request(), false).unwrap();
    let _refused = out.send_data(Bytes::copy_from_slice(body), true);
    let answer = tokio::time::timeout(Duration::from_secs(8), answer).await.expect("it is answered");
    match answer {
        Ok(answer) => answer.headers()["grpc-status"].to_str().unwrap().to_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn an_app_that_speaks_no_grpc_stays_in_use() {
    let upstream = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[upstream.at]).await;
    for _ in 0..10 {
        assert_eq!(status(&rig, b"x").await, "14");
    }
    let seen = rig.proxy.table().backend("p", "web").seen();
    assert!(!seen[0].ejected, "anybody could switch it off: {seen:?}");
    assert_eq!(rig.curl("https", "/", &[]).await.0, "good");
}

#[tokio::test]
async fn calls_have_the_limits_of_other_requests() {
    let mut short = limits();
    short.answer_idle = Duration::from_millis(500);
    let rig = Rig::with(short).await;
    let mut host = plan(&[("/", &[("web", 1)])]);
    host.max_body = 10;
    rig.proxy.table().hosts_set(vec![host]);
    // Takes calls and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.endpoints(&[listener.local_addr().unwrap()]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut kept = Vec::new();
                while let Some(Ok(call)) = connection.accept().await {
                    kept.push(call);
                }
            });
        }
    });
    assert_eq!(status(&rig, b"x").await, "4");
    assert_eq!(status(&rig, b"12345678901").await, "8");
    let seen = rig.proxy.table().backend("p", "web").seen();
    assert_eq!((seen[0].ejected, seen[0].in_flight), (false, 0), "{seen:?}");
}

#[tokio::test]
async fn a_connection_that_is_dead_is_noticed() {
    let mut short = limits();
    short.ping = Duration::from_millis(300);
    let rig = Rig::with(short).await;
    rig.proxy.table().hosts_set(vec![plan(&[("/", &[("web", 1)])])]);
    // Accepts, and neither speaks nor hears: as a machine does that is gone without a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.endpoints(&[listener.local_addr().unwrap()]);
    assert_eq!(status(&rig, b"x").await, "14");
    let seen = rig.proxy.table().backend("p", "web").seen();
    assert_eq!(seen[0].reason, "a connection for calls went dead");
    // One that answers pings may be silent for as long as it likes.
    let at = service().await;
    rig.endpoints(&[at]);
    let (sender, _connection) = connect(&rig).await;
    let (answer, mut out) = sender.ready().await.unwrap().send_request(request(), false).unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert!(tokio::time::timeout(Duration::from_millis(1500), body.data()).await.is_err());
    out.send_data(Bytes::from("hello"), true).unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), "hello");
}
