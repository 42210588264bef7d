//! One-time passwords by time: RFC 6238 with HMAC-SHA-1, six digits and steps of 30 seconds, which is what every
//! authenticator app speaks.

use hafen_base::{Random, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const STEP: u64 = 30;
/// A phone's clock may be off by one step either way (RFC 6238, section 5.2).
const SKEW: u64 = 1;

/// The shared secret: 160 bits, as RFC 4226 recommends. Does not print.
#[derive(Clone)]
pub struct TotpSecret(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

impl TotpSecret {
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = Zeroizing::new(vec![0_u8; 20]);
        random.fill(&mut bytes);
        Self(bytes)
    }

    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// As `base32` wrote it.
    pub fn from_base32(text: &str) -> Option<Self> {
        let mut bytes = Vec::new();
        let (mut word, mut bits) = (0_u32, 0_u32);
        for c in text.bytes() {
            let digit = match c {
                b'A'..=b'Z' => c - b'A',
                b'2'..=b'7' => c - b'2' + 26,
                _ => return None,
            };
            word = word << 5 | u32::from(digit);
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from(word >> bits & 255).ok()?);
            }
        }
        Some(Self::from_bytes(bytes))
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As apps take it by hand (RFC 4648 base 32, no padding).
    pub fn base32(&self) -> Zeroizing<String> {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut text = Zeroizing::new(String::new());
        for chunk in self.0.chunks(5) {
            let mut word = [0_u8; 8];
            for (to, from) in word.iter_mut().skip(3).zip(chunk) {
                *to = *from;
            }
            let number = u64::from_be_bytes(word);
            let digits = (chunk.len() * 8).div_ceil(5);
            for at in 0..digits {
                let digit = number >> (35 - 5 * at) & 31;
                text.push(ALPHABET.get(usize::try_from(digit).unwrap_or(0)).copied().unwrap_or(b'A') as char);
            }
        }
        text
    }

    /// The line that a QR code holds.
    pub fn uri(&self, account: &str, organisation: &str) -> Zeroizing<String> {
        let escape = |text: &str| -> String {
            url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
        };
        Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30",
            issuer = escape(&format!("Hafen {organisation}")),
            account = escape(account),
            secret = *self.base32(),
        ))
    }

    /// The code at a step.
    pub fn code(&self, step: u64) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.0) else { return String::new() };
        mac.update(&step.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        let offset = usize::from(digest.last().copied().unwrap_or(0) & 15);
        let word = digest.iter().skip(offset).take(4).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
    }

    /// The step that `code` is right for, later than `last`: a code is good once, and so are those before it.
    pub fn check(&self, code: &str, now: Timestamp, last: u64) -> Option<u64> {
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let current = step_at(now);
        (current.saturating_sub(SKEW)..=current + SKEW)
            .filter(|step| *step > last)
            .find(|step| self.code(*step).as_bytes().ct_eq(code.as_bytes()).into())
    }
}

pub fn step_at(now: Timestamp) -> u64 {
    now.millis() / 1000 / STEP
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rfc() -> TotpSecret {
        TotpSecret::from_bytes(b"12345678901234567890".to_vec())
    }

    #[test]
    fn the_table_of_rfc_6238() {
        // Appendix B gives eight digits; six of them are the last six.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(rfc().code(seconds / 30), code, "{seconds}");
        }
        assert_eq!(*rfc().base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(*TotpSecret::from_bytes(b"fo".to_vec()).base32(), "MZXQ");
        assert_eq!(TotpSecret::from_base32(&rfc().base32()).unwrap().expose(), rfc().expose());
    }

    #[test]
    fn a_code_is_good_once_and_for_one_step_around() {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let step = step_at(now);
        let code = rfc().code(step);
        assert_eq!(rfc().check(&code, now, 0), Some(step));
        assert_eq!(rfc().check(&format!("{} {}", &code[..3], &code[3..]), now, 0), Some(step));
        assert_eq!(rfc().check(&code, now, step), None, "used");
        assert_eq!(rfc().check(&code, now.plus(Duration::from_secs(30)), 0), Some(step));
        assert_eq!(rfc().check(&code, now.plus(Duration::from_secs(90)), 0), None, "too late");
        assert_eq!(rfc().check(&rfc().code(step + 2), now, 0), None, "too early");
        for bad in ["", "12345", "1234567", "abcdef", "１２３４５６"] {
            assert_eq!(rfc().check(bad, now, 0), None, "{bad}");
        }
    }
}
