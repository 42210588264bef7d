//! Connections to endpoints.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::io::{AsyncRead as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

use crate::backend::{Endpoint, Place};
use crate::proxy::Room;
use crate::wire::{BoxStream, Input, Output};

/// Reaches what is not of this host.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// A connection to a port of a machine.
    ///
    /// # Errors
    /// When nothing accepts it there.
    async fn connect(&self, project: &str, machine: &str, port: u16) -> io::Result<BoxStream>;
}

/// A connection to an endpoint.
pub struct Upstream {
    pub input: Input<ReadHalf<BoxStream>>,
    pub output: Output<WriteHalf<BoxStream>>,
    /// When it last answered.
    pub since: Instant,
    _room: Room,
}

impl Upstream {
    pub fn new(stream: BoxStream, room: Room) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self {
            input: Input::new(read, BytesMut::new()),
            output: Output::new(write),
            since: Instant::now(),
            _room: room,
        }
    }

    /// Whether it ended, or said something that nobody asked for.
    pub fn is_stale(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        !self.input.buffer.is_empty()
            || !matches!(Pin::new(&mut self.input.stream).poll_read(&mut cx, &mut buffer), Poll::Pending)
    }
}

/// Connects to an endpoint.
pub async fn connect(endpoint: &Endpoint, by: &Arc<dyn Connect>, limit: Duration) -> io::Result<BoxStream> {
    let connect = async {
        match &endpoint.place {
            Place::Address(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as BoxStream)
            }
            Place::Machine { project, machine, port } => by.connect(project, machine, *port).await,
        }
    };
    match tokio::time::timeout(limit, connect).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing accepted the connection in time")),
    }
}
