//! How long a sign-in must wait after failures. Pure.
//!
//! A lock-out is a weapon: whoever knows a name could keep its owner out. So nothing is ever locked; attempts are
//! slowed, and by keys that an attacker cannot share with the victim: the pair of account and address prefix, and the
//! address prefix alone. Over *all* addresses an account is slowed only mildly, against guessing from many places, and a
//! device that its owner signed in from before does not feel it.

use std::net::IpAddr;
use std::time::Duration;

use hafen_base::Timestamp;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// One account from one address prefix.
    Pair,
    /// Everything from one address prefix: an office behind one address has many people.
    Address,
    /// One account from everywhere, for devices that are not known.
    Account,
    /// One known device: a stolen one may not guess freely.
    Device,
}

impl Rule {
    /// Failures that cost nothing, the first wait, the longest wait.
    const fn figures(self) -> (u32, Duration, Duration) {
        match self {
            Self::Pair | Self::Device => (5, Duration::from_secs(1), Duration::from_mins(15)),
            Self::Address => (30, Duration::from_secs(1), Duration::from_mins(15)),
            Self::Account => (50, Duration::from_secs(1), Duration::from_mins(1)),
        }
    }
}

/// Failures count for so long after the last of them.
pub const MEMORY: Duration = Duration::from_hours(24);

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    pub count: u32,
    pub last: Timestamp,
}

/// How long to wait until the next attempt is looked at; `None`: not at all.
pub fn wait(rule: Rule, failures: Failures, now: Timestamp) -> Option<Duration> {
    let since = now.since(failures.last);
    if since >= MEMORY {
        return None;
    }
    let (free, first, longest) = rule.figures();
    let over = failures.count.checked_sub(free)?;
    let delay = first.saturating_mul(1 << over.min(20)).min(longest);
    delay.checked_sub(since).filter(|left| !left.is_zero())
}

/// The part of an address that one holder has: a /24 of IPv4, a /48 of IPv6.
pub fn prefix(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Some(IpAddr::V6(address)) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
        None => "local".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_end() {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let wait = |count, after| {
            wait(Rule::Pair, Failures { count, last: now }, now.plus(Duration::from_secs(after)))
        };
        assert_eq!(wait(0, 0), None);
        assert_eq!(wait(4, 0), None);
        assert_eq!(wait(5, 0), Some(Duration::from_secs(1)));
        assert_eq!(wait(5, 1), None);
        assert_eq!(wait(8, 0), Some(Duration::from_secs(8)));
        assert_eq!(wait(8, 3), Some(Duration::from_secs(5)));
        assert_eq!(wait(u32::MAX, 0), Some(Duration::from_mins(15)), "never longer");
        assert_eq!(wait(u32::MAX, 24 * 3600), None, "forgotten");
    }

    #[test]
    fn an_account_is_never_slowed_for_long_by_others() {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let most = wait(Rule::Account, Failures { count: u32::MAX, last: now }, now);
        assert_eq!(most, Some(Duration::from_mins(1)));
    }

    #[test]
    fn prefixes() {
        for (address, expected) in [
            ("192.0.2.17", "192.0.2.0/24"),
            ("::ffff:192.0.2.17", "192.0.2.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
            ("::1", "0:0:0::/48"),
        ] {
            assert_eq!(prefix(Some(address.parse().unwrap())), expected);
        }
        assert_eq!(prefix(None), "local");
    }
}
