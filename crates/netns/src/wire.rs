//! What is said over a holder's control socket: one line of JSON each way per connection, and
//! file descriptors beside it (`SCM_RIGHTS`). Both sides are this program, possibly of different
//! versions: fields are only ever added.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

use hafen_base::Timestamp;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::{Config, Error, HostEntry, Publication, TapConfig};

/// 4,096 hosts fit well; anything longer is not ours.
const MAX_LINE: usize = 4 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Who is there: cheap, unlike [`Request::Status`].
    Hello,
    Configure {
        config: Config,
    },
    Hosts {
        hosts: Vec<HostEntry>,
    },
    /// Answered with the tap's descriptor.
    Tap {
        tap: TapConfig,
    },
    TapDelete {
        machine: String,
    },
    /// Answered with a connected socket.
    Dial {
        address: SocketAddrV4,
        timeout_ms: u64,
    },
    /// Comes with a listening socket.
    Publish {
        id: String,
        backends: Vec<SocketAddrV4>,
    },
    /// Answers [`Error::NotFound`] when the holder does not have it.
    PublishUpdate {
        id: String,
        backends: Vec<SocketAddrV4>,
    },
    Unpublish {
        id: String,
    },
    Publications,
    Status,
    /// Turns the connection into a stream of [`Batch`], each answered by an [`Ack`].
    Watch,
    Stop,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Reply {
    Done,
    Hello { generation: String, config: Config },
    Publications { publications: Vec<Publication> },
    Status { status: Box<Status> },
    Failed { error: Error },
}

/// What a holder says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Changes whenever another holder took over: taps of the old one are dead then.
    pub generation: String,
    pub pid: u32,
    pub config: Config,
    pub taps: Vec<TapConfig>,
    pub hosts: usize,
    /// Packets dropped because they bore an address that is not their card's.
    pub spoofed_packets: u64,
    /// Protections that are off, and other things that do not work, each in a sentence. Empty is good.
    pub degraded: Vec<String>,
}

/// A destination that a machine reached or tried to reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressRecord {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// 0 where the protocol has none.
    pub port: u16,
    pub protocol: Protocol,
    /// The name that a machine asked for and that led to this address, if one is known.
    pub name: Option<String>,
    pub allowed: bool,
    /// How often, between `first` and `last`.
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
    Icmp,
    /// A lookup that was passed on to the outside, or refused: a lookup is a way out too. The
    /// destination is 0.0.0.0.
    Dns,
    Other(u8),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub records: Vec<EgressRecord>,
    /// Records lost since the last batch, because there were too many.
    pub lost: u64,
    pub upto: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ack {
    pub upto: u64,
    pub lost: u64,
}

/// One end of a control connection.
pub(crate) struct Wire {
    stream: UnixStream,
    buffer: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Wire {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), fds: Vec::new() }
    }

    pub(crate) async fn send<T: Serialize>(&mut self, message: &T, fd: Option<OwnedFd>) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let mut sent = 0;
        if let Some(fd) = fd {
            sent = self.stream.async_io(Interest::WRITABLE, || send_fd(&self.stream, &line, &fd)).await?;
        }
        self.stream.write_all(line.get(sent..).unwrap_or_default()).await
    }

    /// The next message, and the descriptor that came with it. Nothing: the other side closed.
    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut seen = 0;
        loop {
            let fresh = self.buffer.get(seen..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n').map(|at| seen + at) {
                let rest = self.buffer.split_off(at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(Some((serde_json::from_slice(&line)?, self.fds.pop())));
            }
            seen = self.buffer.len();
            if seen > MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
            }
            // Not read into the buffer itself: this may be dropped while it waits.
            let mut chunk = vec![0; 16 << 10];
            let fds = &mut self.fds;
            let stream = &self.stream;
            let got = stream.async_io(Interest::READABLE, || receive_fds(stream, &mut chunk, fds)).await?;
            if got == 0 {
                return Ok(None);
            }
            self.buffer.extend_from_slice(chunk.get(..got).unwrap_or_default());
        }
    }
}

fn send_fd(stream: &UnixStream, line: &[u8], fd: &OwnedFd) -> io::Result<usize> {
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

fn receive_fds(stream: &UnixStream, chunk: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(stream, &mut [IoSliceMut::new(chunk)], &mut ancillary, flags)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            // One descriptor per message is the protocol; more would be an attempt to fill our table.
            fds.extend(received.take(1));
        }
    }
    fds.truncate(1);
    Ok(got.bytes)
}
