//! Which key exchanges a client is offered, by how it announces itself.
//!
//! Traffic that is recorded today and opened by a quantum computer of later is why only a hybrid exchange is offered. One kind
//! of client that is served has none in common with `russh`: OpenSSH 9.0 to 9.8, whose own is sntrup761x25519. They, and
//! nobody else, get curve25519. What a client announces is signed with the exchange (RFC 4253, section 8): nobody between
//! the two can change it to get the weaker one.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hafen_base::Clock;
use russh::kex;
use tokio::net::TcpStream;

/// Clients send their line at once. Who waits for ours first is taken for one that can do what is new.
const PATIENCE: Duration = Duration::from_millis(500);
/// RFC 4253, section 4.2.
const LONGEST_LINE: usize = 255;

/// What russh is told, for both kinds of client.
pub(crate) struct Offers {
    hybrid: Arc<russh::server::Config>,
    /// None when everybody must have a hybrid exchange.
    classical: Option<Arc<russh::server::Config>>,
}

impl Offers {
    /// `protocol` is all else that russh is told.
    pub(crate) fn new(protocol: impl Fn() -> russh::server::Config, post_quantum_only: bool) -> Self {
        let with = |exchanges: &[kex::Name]| {
            let mut all = vec![kex::MLKEM768X25519_SHA256];
            all.extend_from_slice(exchanges);
            all.extend([kex::EXTENSION_SUPPORT_AS_SERVER, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER]);
            let mut protocol = protocol();
            protocol.preferred.kex = Cow::Owned(all);
            Arc::new(protocol)
        };
        let old = [kex::CURVE25519, kex::CURVE25519_PRE_RFC_8731];
        Self { hybrid: with(&[]), classical: (!post_quantum_only).then(|| with(&old)) }
    }

    /// For the client at the other end. Reads nothing away.
    pub(crate) async fn to(&self, stream: &TcpStream, clock: &dyn Clock) -> Arc<russh::server::Config> {
        if let Some(classical) = &self.classical {
            let mut line = [0; LONGEST_LINE];
            let count = tokio::select! {
                // What went wrong is met again by whoever reads.
                count = stream.peek(&mut line) => count.unwrap_or(0),
                () = clock.sleep(PATIENCE) => 0,
            };
            if has_no_hybrid(line.get(..count).unwrap_or_default()) {
                return Arc::clone(classical);
            }
        }
        Arc::clone(&self.hybrid)
    }
}

/// OpenSSH 9.0 to 9.8, on any system. Older ones are not served, newer ones have mlkem768x25519.
fn has_no_hybrid(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"SSH-2.0-OpenSSH_") else { return false };
    let version = rest.strip_prefix(b"for_Windows_").unwrap_or(rest);
    match version {
        [b'9', b'.', b'0'..=b'8', rest @ ..] => !rest.first().is_some_and(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::has_no_hybrid;

    #[test]
    fn only_those_who_need_it_are_known() {
        for (line, needs) in [
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n", true),
            ("SSH-2.0-OpenSSH_9.0\r\n", true),
            ("SSH-2.0-OpenSSH_9.8", true),
            ("SSH-2.0-OpenSSH_for_Windows_9.5\r\n", true),
            ("SSH-2.0-OpenSSH_9.9p1\r\n", false),
            ("SSH-2.0-OpenSSH_9.10\r\n", false),
            ("SSH-2.0-OpenSSH_9.85\r\n", false),
            ("SSH-2.0-OpenSSH_10.0p2 Debian-7\r\n", false),
            ("SSH-2.0-OpenSSH_8.2\r\n", false),
            ("SSH-2.0-paramiko_4.0.0\r\n", false),
            ("SSH-2.0-NotOpenSSH_9.2\r\n", false),
            ("SSH-2.0-OpenSSH_9.", false),
            ("", false),
        ] {
            assert_eq!(has_no_hybrid(line.as_bytes()), needs, "{line:?}");
        }
    }
}
