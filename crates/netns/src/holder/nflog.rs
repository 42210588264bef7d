//! Reads what the firewall's `log group` statements say: the first bytes of each packet, and the word
//! of the rule. Format: `linux/netfilter/nfnetlink_log.h`; lengths and types in host order, the rest in
//! network order.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::records::{Attempt, Records};
use crate::wire::Protocol;
use crate::{Error, Result};

pub(super) const GROUP: u16 = 1;
/// The words of the rules. Anything else is not ours.
pub(super) const ALLOWED: &str = "allowed";
pub(super) const REFUSED: &str = "refused";

const CONFIG: u16 = 4 << 8 | 1;
const PACKET: u16 = 4 << 8;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;

/// Starts to listen. Gives back a task that ends only on failure.
pub(super) fn start(records: Arc<Records>) -> Result<tokio::task::JoinHandle<()>> {
    let wrong = |error: io::Error| Error::io("listen to", "the firewall's log", error);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))
            .map_err(|error| wrong(error.into()))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0)).map_err(|error| wrong(error.into()))?;
    // A burst of connections must not be lost; the kernel may grant less.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1 << 20);
    // Bind to the group; copy 60 bytes of each packet; hand over after at most 50 ms.
    for attribute in [(1, vec![1]), (2, vec![0, 0, 0, 60, 2, 0]), (4, 5_u32.to_be_bytes().to_vec())] {
        send(&socket, attribute.0, &attribute.1).map_err(wrong)?;
    }
    #[expect(
        deprecated,
        reason = "sound for an OwnedFd, which is never swapped or closed early; the new form is unsafe"
    )]
    let socket = AsyncFd::with_interest(socket, Interest::READABLE).map_err(wrong)?;
    Ok(tokio::spawn(async move {
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = socket.async_io(Interest::READABLE, |socket| {
                Ok(rustix::net::recv(socket, buffer.as_mut_slice(), RecvFlags::empty())?.0)
            });
            match read.await {
                Ok(length) => attempts(buffer.get(..length).unwrap_or_default())
                    .iter()
                    .for_each(|seen| records.add(seen)),
                // The kernel had to drop some.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    records.lose();
                }
                Err(error) => {
                    eprintln!("the firewall's log broke: {error}");
                    return;
                }
            }
        }
    }))
}

fn send(socket: &OwnedFd, attribute: u16, value: &[u8]) -> io::Result<()> {
    let attribute_length = 4 + value.len();
    let length = (16 + 4 + attribute_length).next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(CONFIG.to_ne_bytes());
    // NLM_F_REQUEST
    message.extend(1_u16.to_ne_bytes());
    message.extend([0; 8]);
    // Any family, version 0, the group.
    message.extend([0, 0]);
    message.extend(GROUP.to_be_bytes());
    message.extend(u16::try_from(attribute_length).unwrap_or(u16::MAX).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(value);
    message.resize(length, 0);
    rustix::net::send(socket, &message, SendFlags::empty())?;
    Ok(())
}

/// The attempts in one datagram of the kernel.
fn attempts(mut datagram: &[u8]) -> Vec<Attempt> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (u32_at(datagram, 0), u16_at(datagram, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < 20 || length > datagram.len() {
            break;
        }
        if kind == PACKET {
            found.extend(attempt(datagram.get(20..length).unwrap_or_default()));
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn attempt(mut attributes: &[u8]) -> Option<Attempt> {
    let (mut packet, mut word) = (None, None);
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(4..length)?;
        match kind {
            PAYLOAD => packet = Some(value),
            PREFIX => word = std::str::from_utf8(value).ok().map(|text| text.trim_end_matches('\0')),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let allowed = match word? {
        ALLOWED => true,
        REFUSED => false,
        _ => return None,
    };
    let packet = packet?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source = Ipv4Addr::from_bits(u32_at(packet, 12)?.to_be());
    let destination = Ipv4Addr::from_bits(u32_at(packet, 16)?.to_be());
    let protocol = match packet.get(9)? {
        1 => Protocol::Icmp,
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        other => Protocol::Other(*other),
    };
    let port = match protocol {
        Protocol::Tcp | Protocol::Udp => u16_at(packet, header + 2)?.to_be(),
        _ => 0,
    };
    Some(Attempt { source, destination, port, protocol, allowed })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(word: &str, packet: &[u8]) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 1];
        for (kind, value) in [(PREFIX, [word.as_bytes(), b"\0"].concat()), (PAYLOAD, packet.to_vec())] {
            body.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(&value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = Vec::new();
        message.extend(u32::try_from(16 + body.len()).unwrap().to_ne_bytes());
        message.extend(PACKET.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    #[test]
    fn packets_are_read_and_nonsense_is_not() {
        let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 192, 0, 2, 1];
        packet.extend([0x80, 0, 0x01, 0xbb]);
        let two = [datagram(ALLOWED, &packet), datagram(REFUSED, &packet)].concat();
        let seen = attempts(&two);
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].port, seen[0].protocol, seen[0].allowed), (443, Protocol::Tcp, true));
        assert_eq!(seen[1].destination, Ipv4Addr::new(192, 0, 2, 1));
        assert!(!seen[1].allowed);
        assert!(attempts(&datagram("other", &packet)).is_empty());
        for cut in 0..two.len() {
            // A datagram cut anywhere is read as far as it goes.
            assert!(attempts(&two[..cut]).len() < 2);
        }
        assert!(attempts(&datagram(ALLOWED, &packet[..21])).is_empty());
        assert!(attempts(&[0; 64]).is_empty());
    }
}
