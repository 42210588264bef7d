//! One direction of a connection with a buffer and a time limit: what both sides of an exchange are read and written through.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::chunked::{Chunked, Step};
use crate::timer::Timer;

/// A stream of either side.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
pub type BoxStream = Box<dyn Stream>;

/// What a read makes room for: little at first, more while the other side sends as much as there is room for.
const READ: usize = 4 * 1024;
const READ_MOST: usize = 64 * 1024;
/// What is gathered before it is written.
pub const GATHER: usize = 16 * 1024;

/// Why a direction cannot go on.
#[derive(Debug)]
pub enum Broken {
    /// Ended where it should have gone on.
    Closed,
    /// Took too long.
    Slow,
    /// Not HTTP as it should be.
    Bad(&'static str),
    /// A body larger than is taken.
    TooLarge,
    Io(io::Error),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection was closed"),
            Self::Slow => f.write_str("nothing came in time"),
            Self::Bad(why) => f.write_str(why),
            Self::TooLarge => f.write_str("the body is too large"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// The reading half.
pub struct Input<R> {
    pub stream: R,
    pub buffer: BytesMut,
    room: usize,
    timer: Timer,
}

impl<R: AsyncRead + Unpin> Input<R> {
    pub fn new(stream: R, buffer: BytesMut) -> Self {
        Self { stream, buffer, room: READ, timer: Timer::default() }
    }

    /// Reads some more; 0 at the end.
    pub async fn fill(&mut self, limit: Duration) -> Result<usize, Broken> {
        self.buffer.reserve(self.room);
        let read = self.stream.read_buf(&mut self.buffer);
        match self.timer.run(limit, read).await {
            None => Err(Broken::Slow),
            Some(Ok(count)) => {
                if count >= self.room {
                    self.room = (self.room * 2).min(READ_MOST);
                }
                Ok(count)
            }
            Some(Err(error)) => Err(Broken::Io(error)),
        }
    }
}

/// The writing half.
pub struct Output<W> {
    pub stream: W,
    pub buffer: BytesMut,
    timer: Timer,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    pub fn new(stream: W) -> Self {
        Self { stream, buffer: BytesMut::new(), timer: Timer::default() }
    }

    /// Writes what was gathered.
    pub async fn flush(&mut self, limit: Duration) -> Result<(), Broken> {
        let Self { stream, buffer, timer } = self;
        let write = async {
            while buffer.has_remaining() {
                if stream.write_buf(buffer).await? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
            stream.flush().await
        };
        Self::judge(timer.run(limit, write).await)
    }

    /// Gathers small pieces, writes large ones after what was gathered.
    pub async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), Broken> {
        if self.buffer.len() + bytes.len() <= GATHER {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        if self.buffer.has_remaining() {
            self.flush(limit).await?;
        }
        if bytes.len() <= GATHER {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.straight(bytes, limit).await
    }

    /// Writes without gathering.
    pub async fn straight(&mut self, bytes: &[u8], limit: Duration) -> Result<(), Broken> {
        let stream = &mut self.stream;
        // A reader that is slow but reads gets its limit anew with each piece.
        for piece in bytes.chunks(64 * 1024) {
            Self::judge(self.timer.run(limit, stream.write_all(piece)).await)?;
        }
        Ok(())
    }

    pub async fn close(&mut self, limit: Duration) {
        let _gone = self.timer.run(limit, self.stream.shutdown()).await;
    }

    fn judge(outcome: Option<io::Result<()>>) -> Result<(), Broken> {
        match outcome {
            None => Err(Broken::Slow),
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Broken::Io(error)),
        }
    }
}

/// How a body is framed, and how much of it is still to come.
#[derive(Debug)]
pub enum Body {
    Length(u64),
    Chunked(Chunked),
    /// Until the connection ends.
    Close,
}

impl Body {
    pub const fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_over(),
            Self::Close => false,
        }
    }

    /// What of the body stands at the beginning of the buffer. The caller takes data off with `took`.
    pub fn peek<R>(&mut self, input: &mut Input<R>) -> Result<Step, Broken> {
        let there = input.buffer.len();
        let step = |count: usize| if count == 0 { Step::More } else { Step::Data(count) };
        Ok(match self {
            Self::Length(0) => Step::End,
            Self::Length(left) => step(usize::try_from(*left).map_or(there, |left| left.min(there))),
            Self::Chunked(chunked) => chunked.step(&mut input.buffer)?,
            Self::Close => step(there),
        })
    }

    /// Reads some more; false where the body ends by that.
    pub async fn fill<R: AsyncRead + Unpin>(
        &self,
        input: &mut Input<R>,
        limit: Duration,
    ) -> Result<bool, Broken> {
        match (input.fill(limit).await?, self) {
            (0, Self::Close) => Ok(false),
            (0, _) => Err(Broken::Closed),
            _ => Ok(true),
        }
    }

    /// Waits for data; none at the end.
    pub async fn next<R: AsyncRead + Unpin>(
        &mut self,
        input: &mut Input<R>,
        limit: Duration,
    ) -> Result<Option<usize>, Broken> {
        loop {
            match self.peek(input)? {
                Step::Data(count) => return Ok(Some(count)),
                Step::End => return Ok(None),
                Step::More => {
                    if !self.fill(input, limit).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Takes off data that was there.
    pub fn took<R>(&mut self, input: &mut Input<R>, count: usize) {
        input.buffer.advance(count);
        match self {
            Self::Length(left) => *left = left.saturating_sub(count as u64),
            Self::Chunked(chunked) => chunked.took(count),
            Self::Close => {}
        }
    }
}
