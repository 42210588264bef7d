//! Two-way byte streams (a serial console, a connection into a network) as WebSockets of binary frames.
//!
//! WebSockets rather than a bare upgrade, because browsers and proxies know them.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hafen_base::{Error, ErrorKind, Result};
use http::header;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::Token;

/// A two-way stream of bytes. Closing the sender ends our side; `recv` gives `None` once the far side ended.
pub struct ByteStream {
    pub sender: mpsc::Sender<Bytes>,
    pub receiver: mpsc::Receiver<Bytes>,
}

/// Without a token, for a connection that itself says who asks.
pub(crate) async fn open<S>(
    connection: S,
    host: &str,
    path: &str,
    token: Option<&Token>,
) -> Result<ByteStream>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = format!("ws://{host}{path}")
        .into_client_request()
        .map_err(|e| Error::invalid(format!("bad path {path:?}: {e}")))?;
    if let Some(token) = token {
        let bearer = format!("Bearer {}", token.expose()).parse();
        let bearer =
            bearer.map_err(|_| Error::invalid("the token holds characters that no header may carry"))?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    let (socket, _answer) = tokio_tungstenite::client_async(request, connection).await.map_err(refused)?;
    let (mut sink, mut source) = socket.split();
    let (to_far, mut from_near) = mpsc::channel::<Bytes>(16);
    let (to_near, from_far) = mpsc::channel::<Bytes>(16);
    let (heard_all, mut far_ended) = oneshot::channel::<()>();
    // These two tasks end with either side of the stream; nobody needs to join them.
    tokio::spawn(async move {
        loop {
            let bytes = tokio::select! {
                bytes = from_near.recv() => bytes,
                _ = &mut far_ended => break,
            };
            // An empty frame says that our side is at its end, and that we still listen: a close would end both.
            let (last, frame) = bytes.map_or((true, Bytes::new()), |bytes| (false, bytes));
            if (last || !frame.is_empty()) && sink.send(Message::Binary(frame)).await.is_err() {
                return;
            }
            if last {
                let _ended = far_ended.await;
                break;
            }
        }
        let _closed = sink.send(Message::Close(None)).await;
    });
    tokio::spawn(async move {
        let _heard_all = heard_all;
        loop {
            let message = tokio::select! {
                message = source.next() => message,
                () = to_near.closed() => return,
            };
            match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if to_near.send(bytes).await.is_err() {
                        return;
                    }
                }
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(_)) => {}
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
