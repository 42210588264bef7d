//! Connections that can be ended from outside. A check at the beginning of a request says nothing of a stream that goes on for
//! days: when the credential it began with ends, the connection below it is closed.

use std::collections::HashMap;
use std::future::Future as _;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::Peer;

/// The connections there are.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<HashMap<SocketAddr, Known>>>);

struct Known {
    end: CancellationToken,
    marked: bool,
}

impl Lines {
    /// What goes over this connection rests on a credential that may end.
    pub fn mark(&self, peer: SocketAddr) {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&peer) {
            known.marked = true;
        }
    }

    /// Ends all that were marked, with whatever streams they carry.
    pub fn end_marked(&self) {
        for known in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            if known.marked {
                known.end.cancel();
            }
        }
    }

    fn open(&self, stream: TcpStream, peer: SocketAddr) -> Line {
        let end = CancellationToken::new();
        let ended = Box::pin(end.clone().cancelled_owned());
        let known = Known { end: end.clone(), marked: false };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, known);
        Line { stream, peer, end, ended, lines: self.clone() }
    }
}

/// A listener whose connections are `Lines`.
pub struct LineListener {
    listener: TcpListener,
    lines: Lines,
}

impl LineListener {
    pub fn new(listener: TcpListener, lines: Lines) -> Self {
        Self { listener, lines }
    }
}

impl Listener for LineListener {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (self.lines.open(stream, peer), peer)
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, LineListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, LineListener>) -> Self {
        Self::Tcp(*stream.remote_addr())
    }
}

/// One connection.
pub struct Line {
    stream: TcpStream,
    peer: SocketAddr,
    end: CancellationToken,
    /// Wakes a reader that waits; there always is one while a connection is open.
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    lines: Lines,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.peer);
    }
}

fn over() -> Error {
    Error::new(ErrorKind::ConnectionAborted, "the credential this connection began with has ended")
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.end.is_cancelled() {
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if self.end.is_cancelled() {
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
