//! When a certificate is asked for: pure.

use std::time::Duration;

use hafen_base::Timestamp;

use super::store::CertificateRow;
use crate::model::Issuer;

/// What is to be done about a host's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Nothing,
    Issue,
    /// Ask when it shall be renewed.
    Look,
    Wait(Duration),
}

/// Windows of renewal are asked for soon after a certificate came, and then as often as the authority says, within these.
pub const FIRST_LOOK: Duration = Duration::from_secs(60);
pub const LOOK_LEAST: Duration = Duration::from_secs(60);
pub const LOOK_MOST: Duration = Duration::from_secs(24 * 3600);
/// Where the authority gave none, as RFC 9773 has it (section 4.3.3).
pub const LOOK_FAILED: Duration = Duration::from_secs(6 * 3600);
/// Rows are looked at again at least so often, whatever they say.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// Whether the certificate is of a public authority, good still, and none is configured that could give another: one that nobody
/// outside trusts in its place would take the host away from everybody. A start without the option is a slip more often than a wish.
pub fn is_kept(row: &CertificateRow, wanted: Issuer, now: Timestamp) -> bool {
    wanted == Issuer::Internal
        && row.issuer == Issuer::Acme.as_str()
        && !row.chain.is_empty()
        && row.not_after > now
}

pub fn decide(row: &CertificateRow, wanted: Issuer, now: Timestamp) -> Step {
    if is_kept(row, wanted, now) {
        return Step::Wait(row.not_after.since(now).min(LONGEST));
    }
    let other = row.issuer != wanted.as_str() && row.attempts == 0;
    if row.next_try <= now || other {
        return Step::Issue;
    }
    let looks = row.state == "ready" && wanted == Issuer::Acme && row.look_at > Timestamp::default();
    if looks && row.look_at <= now {
        return Step::Look;
    }
    let due = if looks { row.next_try.min(row.look_at) } else { row.next_try };
    Step::Wait(due.since(now).min(LONGEST))
}

/// When it is renewed, unless the authority says otherwise: after two thirds of its life, a little sooner or later by chance, so that
/// those that came together do not go together.
pub fn renewal(from: Timestamp, until: Timestamp, chance: u16) -> Timestamp {
    let life = until.since(from);
    within(from.plus(life * 62 / 100), from.plus(life * 70 / 100), chance)
}

/// A time that an authority would have a certificate renewed at, but early enough that it does not end before: a window may be
/// anything.
pub fn in_time(at: Timestamp, from: Timestamp, until: Timestamp) -> Timestamp {
    at.min(from.plus(until.since(from) * 90 / 100))
}

/// The moment of a window: the one that was chosen before, while it lies within. Chosen anew at every look, most certificates would
/// go at the window's begin, which is what windows are there to prevent.
pub fn in_window(chosen: Timestamp, start: Timestamp, end: Timestamp, chance: u16) -> Timestamp {
    if start <= chosen && chosen < end { chosen } else { within(start, end, chance) }
}

/// A certificate is renewed no sooner than this, whatever an authority or the clock says. An authority that would have each new one
/// renewed at once, or a clock that is years ahead, would lead to orders without end.
pub fn soonest(issued_at: Timestamp, from: Timestamp, until: Timestamp) -> Timestamp {
    issued_at.plus(ASKED_AGAIN.min(until.since(from) / 2))
}

/// A certificate of a public authority is not asked for again before this has passed.
pub const ASKED_AGAIN: Duration = Duration::from_secs(3600);
/// For how long at least nothing is asked of an authority that said that it was too much.
pub const PAUSE: Duration = Duration::from_secs(3600);
const PAUSE_MOST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an authority's word that it was too much (RFC 8555, section 6.6) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch {
    pub until: Timestamp,
    /// It is of the account, and so of every host; else of this one's names.
    pub of_all: bool,
}

/// Reads it from what the authority says to people, which names the names that a limit is of, and mostly the time.
pub fn too_much(detail: &str, host: &str, now: Timestamp) -> TooMuch {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let mut names = std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, rest)| rest));
    let of_name = names.any(|name| name.contains('.') && detail.contains(name));
    let told = detail.split("etry after ").nth(1).and_then(|rest| {
        let (day, time) = (rest.get(..10)?, rest.get(11..19)?);
        serde_json::from_value::<Timestamp>(format!("{day}T{time}Z").into()).ok()
    });
    let until = told.unwrap_or_default().max(now.plus(PAUSE)).min(now.plus(PAUSE_MOST));
    TooMuch { until, of_all: !of_name }
}

/// A moment between two, by chance.
pub fn within(start: Timestamp, end: Timestamp, chance: u16) -> Timestamp {
    start.plus(end.since(start) * u32::from(chance) / u32::from(u16::MAX))
}

/// How long to wait after so many tries that failed: authorities count failures.
pub fn retry(attempts: i64) -> Duration {
    let doubled = u32::try_from(attempts.clamp(1, 12) - 1).unwrap_or(0);
    (Duration::from_secs(10) * 2_u32.pow(doubled)).min(Duration::from_secs(6 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(issuer: &str, state: &str, next_try: i64, look_at: i64, attempts: i64) -> CertificateRow {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        CertificateRow {
            issuer: issuer.into(),
            state: state.into(),
            next_try: at(next_try),
            look_at: at(look_at),
            attempts,
            ..CertificateRow::default()
        }
    }

    #[test]
    fn decisions() {
        let now = Timestamp::from_micros(1000 * 1_000_000);
        let wait = |seconds| Step::Wait(Duration::from_secs(seconds));
        for (row, wanted, step) in [
            (row("internal", "pending", 1000, 0, 0), Issuer::Internal, Step::Issue),
            (row("acme", "ready", 1500, 0, 0), Issuer::Acme, wait(500)),
            (row("acme", "ready", 999_999, 0, 0), Issuer::Acme, wait(3600)),
            (row("acme", "ready", 1500, 1000, 0), Issuer::Acme, Step::Look),
            (row("acme", "ready", 1500, 1100, 0), Issuer::Acme, wait(100)),
            (row("acme", "failed", 1500, 1000, 2), Issuer::Acme, wait(500)),
            (row("acme", "failed", 1000, 0, 2), Issuer::Acme, Step::Issue),
            // An authority was configured since, or is no more.
            (row("internal", "ready", 9000, 0, 0), Issuer::Acme, Step::Issue),
            (row("internal", "failed", 1010, 0, 1), Issuer::Acme, wait(10)),
        ] {
            assert_eq!(decide(&row, wanted, now), step, "{row:?}");
        }
    }

    #[test]
    fn a_public_certificate_is_kept_without_an_authority() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let public = |next_try| CertificateRow {
            chain: "PEM".into(),
            not_after: at(2000),
            ..row("acme", "ready", next_try, 0, 0)
        };
        for next_try in [0, 1000, 1500] {
            let wait = Step::Wait(Duration::from_secs(1000));
            assert_eq!(decide(&public(next_try), Issuer::Internal, at(1000)), wait);
        }
        assert_eq!(decide(&public(0), Issuer::Internal, at(2000)), Step::Issue, "it is good no more");
        assert_eq!(decide(&public(0), Issuer::Acme, at(1000)), Step::Issue);
        let none = CertificateRow { chain: String::new(), ..public(0) };
        assert_eq!(decide(&none, Issuer::Internal, at(1000)), Step::Issue, "there is nothing to keep");
    }

    #[test]
    fn what_is_too_much_is_of_one_or_of_all() {
        let now: Timestamp = serde_json::from_str("\"2026-11-28T12:00:00Z\"").unwrap();
        let hours = |count: u64| now.plus(Duration::from_secs(count * 3600));
        let account = "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-11-28 15:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/#new-orders-per-account";
        assert_eq!(too_much(account, "shop.example.org", now), TooMuch { until: hours(3), of_all: true });
        let name = "too many certificates (50) already issued for \"example.org\" in the last 168h0m0s, retry after 2026-11-28 12:10:00 UTC: see https://x";
        assert_eq!(too_much(name, "*.shop.example.org", now), TooMuch { until: hours(1), of_all: false });
        assert_eq!(too_much("slow down", "shop.example.org", now), TooMuch { until: hours(1), of_all: true });
        let far = "retry after 2099-01-01 00:00:00 UTC";
        assert_eq!(too_much(far, "a.b", now).until, hours(7 * 24));
        assert_eq!(too_much("retry after \u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}", "a.b", now).until, hours(1));
    }

    #[test]
    fn windows_end_before_the_certificate() {
        let at = |day: i64| Timestamp::from_micros(day * 86_400_000_000);
        assert_eq!(in_time(at(60), at(0), at(90)), at(60));
        assert_eq!(in_time(at(300), at(0), at(90)), at(81));
    }

    #[test]
    fn a_moment_is_chosen_once_for_a_window() {
        let at = |day: i64| Timestamp::from_micros(day * 86_400_000_000);
        for (chosen, start, end, moment) in [
            (at(60), at(59), at(61), at(60)),
            // It moved, or was not asked for before.
            (at(61), at(59), at(61), at(59)),
            (at(60), at(1), at(2), at(1)),
            (at(60), at(70), at(72), at(70)),
        ] {
            assert_eq!(in_window(chosen, start, end, 0), moment, "{chosen} in {start} to {end}");
        }
        assert_eq!(in_window(at(60), at(1), at(2), u16::MAX), at(2));
    }

    #[test]
    fn no_order_follows_another_at_once() {
        let minutes = |count: i64| Timestamp::from_micros(count * 60_000_000);
        assert_eq!(soonest(minutes(10), minutes(0), minutes(90 * 1440)), minutes(70));
        assert_eq!(
            soonest(minutes(10), minutes(0), minutes(20)),
            minutes(20),
            "short ones are renewed before their end"
        );
        // The clock is years ahead of the authority's.
        assert_eq!(soonest(minutes(9_000_000), minutes(0), minutes(90 * 1440)), minutes(9_000_060));
    }

    #[test]
    fn renewals_spread() {
        let at = |day: i64| Timestamp::from_micros(day * 86_400_000_000);
        let (first, last) = (renewal(at(0), at(90), 0), renewal(at(0), at(90), u16::MAX));
        assert!(first >= at(55) && first < at(56) && last <= at(63) && last > at(62), "{first} {last}");
        assert_eq!(within(at(5), at(4), 77), at(5));
        let waits: Vec<u64> = [1, 2, 3, 50].into_iter().map(|n| retry(n).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 20_480]);
    }
}
