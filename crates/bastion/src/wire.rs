//! The client's TCP connection: read in large pieces, and its first line kept, which `russh` shows nobody before a client
//! is let in.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;

/// Several of the largest packets, so that a fast client costs few system calls.
const BUFFER: usize = 128 << 10;
/// RFC 4253, section 4.2.
const LONGEST_LINE: usize = 255;

/// The line of identification, once it was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstLine(Arc<Mutex<Vec<u8>>>);

impl FirstLine {
    /// As text that may be logged: printable ASCII, anything else as `?`.
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        line.iter().map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' }).collect()
    }

    /// Adds bytes; true once there is no more to come.
    fn add(&self, more: &[u8]) -> bool {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in more {
            bytes.push(*byte);
            if *byte == b'\n' || bytes.len() >= LONGEST_LINE {
                return true;
            }
        }
        false
    }
}

pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    first: FirstLine,
    heard: bool,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, first: FirstLine) -> Self {
        Self { stream: BufReader::with_capacity(BUFFER, stream), first, heard: false }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let this = self.get_mut();
        let available = ready!(Pin::new(&mut this.stream).poll_fill_buf(cx))?;
        let (bytes, _rest) = available.split_at(available.len().min(buf.remaining()));
        buf.put_slice(bytes);
        let count = bytes.len();
        this.heard = this.heard || this.first.add(bytes);
        Pin::new(&mut this.stream).consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_kept_and_fit_to_log() {
        let line = FirstLine::default();
        assert!(!line.add(b"SSH-2.0-x\x1b[31m"));
        assert!(line.add(b"y\r\nmore"));
        assert_eq!(line.text(), "SSH-2.0-x?[31my");
        let endless = FirstLine::default();
        assert!(endless.add(&[b'a'; 9000]));
        assert_eq!(endless.text().len(), LONGEST_LINE);
    }
}
