//! Two-way byte streams (a serial console, a connection into a network) as WebSockets of binary frames.
//!
//! WebSockets rather than a bare upgrade, because browsers and proxies know them.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hafen_base::{Error, ErrorKind, Result};
use http::header;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::Token;

/// A two-way stream of bytes. Closing the sender ends our side; `recv` gives `None` once the far side ended.
pub struct ByteStream {
    pub sender: mpsc::Sender<Bytes>,
    pub receiver: mpsc::Receiver<Bytes>,
}

pub(crate) async fn open(tcp: TcpStream, host: &str, path: &str, token: &Token) -> Result<ByteStream> {
    let mut request = format!("ws://{host}{path}")
        .into_client_request()
        .map_err(|e| Error::invalid(format!("bad path {path:?}: {e}")))?;
    let bearer = format!("Bearer {}", token.expose());
    let bearer =
        bearer.parse().map_err(|_| Error::invalid("the token holds characters that no header may carry"))?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let (socket, _answer) = tokio_tungstenite::client_async(request, tcp).await.map_err(refused)?;
    let (mut sink, mut source) = socket.split();
    let (to_far, mut from_near) = mpsc::channel::<Bytes>(16);
    let (to_near, from_far) = mpsc::channel::<Bytes>(16);
    // These two tasks end with either side of the stream; nobody needs to join them.
    tokio::spawn(async move {
        while let Some(bytes) = from_near.recv().await {
            if sink.send(Message::Binary(bytes)).await.is_err() {
                return;
            }
        }
        let _closed = sink.send(Message::Close(None)).await;
    });
    tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            let ended = match message {
                Message::Binary(bytes) => to_near.send(bytes).await.is_err(),
                Message::Close(_) => true,
                _ => false,
            };
            if ended {
                return;
            }
        }
    });
    Ok(ByteStream { sender: to_far, receiver: from_far })
}

fn refused(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Http(answer) => {
            let status = answer.status();
            crate::problem(status, answer.body().as_deref().unwrap_or_default())
        }
        other => Error::new(ErrorKind::Unavailable, "the stream could not be opened").with_cause(other),
    }
}
