//! Finds secrets in text: private keys and tokens whose form tells what they are. Pure.
//!
//! Only forms are looked for that are hardly ever anything else, so that a finding can refuse a push: a prefix that its maker
//! chose for this purpose, an alphabet, a length, and where one is known, a checksum. Samples of documentation (`EXAMPLE`, one
//! letter over and over) are none.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// Where a line says so, on it or on the line before, a finding is meant to be there.
pub const ALLOW: &str = "hafen:allow-secret";

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// From 1.
    pub line: usize,
    /// For a person: "a private key (PEM)".
    pub what: &'static str,
    /// Whether the text says that it is meant to be there.
    pub allowed: bool,
}

struct Rule {
    what: &'static str,
    pattern: &'static str,
    /// Beyond the pattern: whether what was found is one.
    is_one: fn(&[u8]) -> bool,
}

const fn rule(what: &'static str, pattern: &'static str, is_one: fn(&[u8]) -> bool) -> Rule {
    Rule { what, pattern, is_one }
}

/// Forms, with where they are written down.
const RULES: &[Rule] = &[
    // RFC 7468, RFC 1421 (headers), PROTOCOL.key of OpenSSH; also as a string in JSON or source, where the ends of lines are
    // written `\n`. A heading without a key is none.
    rule(
        "a private key (PEM)",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\\r|\\n|\s|[A-Za-z-]+: ?[^\n\\]{1,100})*[A-Za-z0-9+/=]{24}",
        varied,
    ),
    // PuTTY's appendix "PPK file format".
    rule(
        "a private key (PuTTY)",
        r"PuTTY-User-Key-File-[0-9]: [a-z0-9@.-]{3,40}\s{1,2}Encryption: ",
        anything,
    ),
    // age's specification: Bech32.
    rule("a private key (age)", r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}", varied),
    rule("a token of Hafen", r"hafen_[a-z]{3}_[0-9A-Za-z]{49}", hafen_checksum),
    rule("a token of Hafen", r"hafen_[0-9a-f]{64}", varied),
    // GitHub: "About authentication to GitHub", token formats.
    rule("a token of GitHub", r"gh[pousr]_[0-9A-Za-z]{36}", varied),
    rule("a token of GitHub", r"github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}", varied),
    // GitLab: "Token overview", prefixes.
    rule(
        "a token of GitLab",
        r"gl(?:pat|ptt|dt|rt|rtr|cbt|soat|ft|imt|agent|oas|wt|ffct)-[0-9A-Za-z_-]{20}",
        varied,
    ),
    rule("a token of Slack", r"xox[abeprs]-[0-9A-Za-z-]{20}", varied),
    rule("a token of Slack", r"xapp-[0-9]-[0-9A-Z]{8,14}-[0-9]{8,14}-[0-9a-f]{32}", varied),
    rule(
        "a webhook of Slack",
        r"hooks\.slack\.com/services/T[0-9A-Z]{7,12}/B[0-9A-Z]{7,12}/[0-9A-Za-z]{24}",
        varied,
    ),
    // AWS: "IAM identifiers"; the id comes with its secret, and ends with it.
    rule("an access key of AWS", r"(?:AKIA|ASIA)[A-Z2-7]{16}", varied),
    rule("a live key of Stripe", r"[sr]k_live_[0-9A-Za-z]{24}", varied),
    rule("a key of Google's APIs", r"AIza[0-9A-Za-z_-]{35}", varied),
    rule("a client secret of Google", r"GOCSPX-[0-9A-Za-z_-]{28}", varied),
    rule("a token of npm", r"npm_[0-9A-Za-z]{36}", varied),
    // PyPI: macaroons that begin with the name of the site, in base 64.
    rule("a token of PyPI", r"pypi-AgE(?:IcHlwaS5vcmc|NdGVzdC5weXBpLm9yZw)[0-9A-Za-z_-]{50}", varied),
    rule("a token of Docker Hub", r"dckr_(?:pat|oat)_[0-9A-Za-z_-]{27}", varied),
    rule("a token of DigitalOcean", r"do[por]_v1_[0-9a-f]{64}", varied),
    rule("a key of SendGrid", r"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}", varied),
    rule("a token of HashiCorp Vault", r"hv[sb]\.[0-9A-Za-z_-]{90}", varied),
    rule("a key of Anthropic", r"sk-ant-[a-z0-9]{3,8}-[0-9A-Za-z_-]{80}", varied),
    rule("a key of OpenAI", r"sk-[0-9A-Za-z_-]{20,80}T3BlbkFJ[0-9A-Za-z_-]{20}", varied),
    rule("a token of Hugging Face", r"hf_[0-9A-Za-z]{34}", varied),
];

/// All forms at once, and each alone.
static FORMS: LazyLock<Option<Forms>> = LazyLock::new(Forms::new);

struct Forms {
    all: Regex,
    single: Vec<Regex>,
}

impl Forms {
    /// None when a pattern is none: a test sees to it that they are.
    fn new() -> Option<Self> {
        let all: Vec<String> = RULES.iter().map(|rule| format!("(?:{})", rule.pattern)).collect();
        let bytes = |pattern: &str| {
            regex::bytes::RegexBuilder::new(pattern).unicode(false).size_limit(64 << 20).build().ok()
        };
        let single = RULES.iter().map(|rule| bytes(&format!("\\A(?:{})", rule.pattern)));
        Some(Self { all: bytes(&all.join("|"))?, single: single.collect::<Option<_>>()? })
    }
}

/// The secrets in a text, at most so many.
#[must_use]
pub fn find(text: &[u8], most: usize) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(forms) = &*FORMS else { return found };
    let mut at = 0;
    let (mut line, mut counted) = (1, 0);
    while found.len() < most {
        let Some(hit) = forms.all.find_at(text, at) else { break };
        // The next may begin inside of what only looked like one.
        at = hit.start() + 1;
        let Some(what) = kind(forms, text, hit.start()) else { continue };
        line += newlines(text.get(counted..hit.start()).unwrap_or_default());
        counted = hit.start();
        // One key is one finding, however it goes on.
        at = hit.end();
        found.push(Finding { line, what, allowed: is_allowed(text, hit.start()) });
    }
    found
}

/// What stands at this place, if it is one.
fn kind(forms: &Forms, text: &[u8], start: usize) -> Option<&'static str> {
    // The middle of a longer word is no token: `…_AKIA…` in a checksum.
    let inside = start.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|byte| {
        byte.is_ascii_alphanumeric() && !(text.get(start) == Some(&b'-') || escaped(text, start))
    });
    if inside {
        return None;
    }
    let rest = text.get(start..)?;
    RULES.iter().zip(&forms.single).find_map(|(rule, form)| {
        let hit = form.find(rest)?;
        (rule.is_one)(hit.as_bytes()).then_some(rule.what)
    })
}

/// Whether the letter before belongs to `\n`, `\t` and the like in a string.
fn escaped(text: &[u8], start: usize) -> bool {
    start.checked_sub(2).and_then(|at| text.get(at)) == Some(&b'\\')
}

fn newlines(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').count() - 1
}

/// Whether the line of this place, or the one before it, says that it is meant.
fn is_allowed(text: &[u8], at: usize) -> bool {
    let (before, after) = text.split_at_checked(at).unwrap_or((text, b""));
    let mut ends = before.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let _own_line = ends.next();
    // A file of one endless line has no lines to say so.
    let from = ends.next().unwrap_or(0).max(at.saturating_sub(8 << 10));
    let to = after.iter().take(8 << 10).position(|byte| *byte == b'\n').unwrap_or(after.len().min(8 << 10));
    let lines = text.get(from..at + to).unwrap_or_default();
    lines.windows(ALLOW.len()).any(|window| window == ALLOW.as_bytes())
}

fn anything(_: &[u8]) -> bool {
    true
}

/// Not a sample: many different letters, and not the word of documentation.
fn varied(hit: &[u8]) -> bool {
    let tail = hit.get(hit.len().saturating_sub(20)..).unwrap_or(hit);
    let mut seen = [false; 256];
    for byte in tail {
        if let Some(one) = seen.get_mut(usize::from(*byte)) {
            *one = true;
        }
    }
    let different = seen.iter().filter(|one| **one).count();
    different >= 8 && !hit.ends_with(b"EXAMPLE")
}

/// The last six characters are the CRC-32 of what stands before them, in base 62: as identity makes them.
fn hafen_checksum(hit: &[u8]) -> bool {
    const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let Some((signed, check)) = hit.split_last_chunk::<6>() else { return false };
    let mut rest = !signed.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
            },
        )
    });
    check.iter().rev().all(|digit| {
        let wanted = BASE62.get((rest % 62) as usize);
        rest /= 62;
        wanted == Some(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters that no scanner of this file takes for a secret: they stand here in parts.
    const LETTERS: &str = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zZ";

    fn letters(count: usize) -> String {
        LETTERS.chars().cycle().take(count).collect()
    }

    fn hexadecimal(count: usize) -> String {
        "0123456789abcdef".chars().cycle().take(count).collect()
    }

    fn upper(count: usize) -> String {
        "QZ2AB3CD4EF5GH6J".chars().cycle().take(count).collect()
    }

    fn pem(label: &str) -> String {
        let (five, key) = ("-".repeat(5), letters(64));
        format!("{five}BEGIN {label}{five}\n{key}\n{key}\n{five}END {label}{five}\n")
    }

    /// As identity makes them.
    fn hafen_token() -> String {
        let signed = format!("hafen_{}_{}", "pat", letters(43));
        let digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut crc = u32::MAX;
        for byte in signed.bytes() {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        let mut rest = !crc;
        let mut check = Vec::new();
        for _ in 0..6 {
            check.push(digits.as_bytes()[(rest % 62) as usize]);
            rest /= 62;
        }
        check.reverse();
        format!("{signed}{}", String::from_utf8(check).unwrap())
    }

    #[test]
    fn every_form_is_found() {
        let bech = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".chars().cycle().take(58).collect::<String>();
        for (secret, what) in [
            (pem("PRIVATE KEY"), "a private key (PEM)"),
            (pem("RSA PRIVATE KEY"), "a private key (PEM)"),
            (pem("EC PRIVATE KEY"), "a private key (PEM)"),
            (pem("ENCRYPTED PRIVATE KEY"), "a private key (PEM)"),
            (pem("OPENSSH PRIVATE KEY"), "a private key (PEM)"),
            (pem("PGP PRIVATE KEY BLOCK").replacen('\n', "\nVersion: 1\n\n", 1), "a private key (PEM)"),
            (
                pem("RSA PRIVATE KEY").replacen(
                    '\n',
                    "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\n",
                    1,
                ),
                "a private key (PEM)",
            ),
            (pem("PRIVATE KEY").replace('\n', "\\n"), "a private key (PEM)"),
            (pem("PRIVATE KEY").replace('\n', "\r\n"), "a private key (PEM)"),
            (
                ["PuTTY-User-Key-", "File-3: ssh-ed25519\nEncryption: none\n"].concat(),
                "a private key (PuTTY)",
            ),
            (
                ["PuTTY-User-Key-", "File-2: ssh-rsa\r\nEncryption: aes256-cbc\r\n"].concat(),
                "a private key (PuTTY)",
            ),
            (["AGE-SECRET-", "KEY-1", &bech].concat(), "a private key (age)"),
            (hafen_token(), "a token of Hafen"),
            (["hafen", "_", &hexadecimal(64)].concat(), "a token of Hafen"),
            (["gh", "p_", &letters(36)].concat(), "a token of GitHub"),
            (["gh", "s_", &letters(36)].concat(), "a token of GitHub"),
            (["github", "_pat_", &letters(22), "_", &letters(59)].concat(), "a token of GitHub"),
            (["gl", "pat-", &letters(20)].concat(), "a token of GitLab"),
            (["gl", "rt-", &letters(20)].concat(), "a token of GitLab"),
            (["xox", "b-", "123456789012-", &letters(24)].concat(), "a token of Slack"),
            (["xapp", "-1-", &upper(11), "-1234567890-", &hexadecimal(32)].concat(), "a token of Slack"),
            (
                ["https://hooks.slack", ".com/services/T", &upper(9), "/B", &upper(9), "/", &letters(24)]
                    .concat(),
                "a webhook of Slack",
            ),
            (["AK", "IA", &upper(16)].concat(), "an access key of AWS"),
            (["sk_", "live_", &letters(24)].concat(), "a live key of Stripe"),
            (["AI", "za", &letters(35)].concat(), "a key of Google's APIs"),
            (["GOC", "SPX-", &letters(28)].concat(), "a client secret of Google"),
            (["np", "m_", &letters(36)].concat(), "a token of npm"),
            (["pypi-", "AgEIcHlwaS5vcmc", &letters(60)].concat(), "a token of PyPI"),
            (["dckr_", "pat_", &letters(27)].concat(), "a token of Docker Hub"),
            (["dop", "_v1_", &hexadecimal(64)].concat(), "a token of DigitalOcean"),
            (["S", "G.", &letters(22), ".", &letters(43)].concat(), "a key of SendGrid"),
            (["hv", "s.", &letters(90)].concat(), "a token of HashiCorp Vault"),
            (["sk-", "ant-api03-", &letters(93)].concat(), "a key of Anthropic"),
            (["sk-", &letters(20), "T3Blb", "kFJ", &letters(20)].concat(), "a key of OpenAI"),
            (["h", "f_", &letters(34)].concat(), "a token of Hugging Face"),
        ] {
            // At the beginning, in a file, in quotes, at the end.
            for text in [secret.clone(), format!("a\nb\nkey = \"{secret}\"\n"), format!("\n\nx={secret}")] {
                let found = find(text.as_bytes(), 10);
                let line = if text.starts_with(&secret) { 1 } else { 3 };
                assert_eq!(found, [Finding { line, what, allowed: false }], "{what}: {}", text.len());
            }
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        let five = "-".repeat(5);
        let mut wrong = hafen_token().into_bytes();
        let last = wrong.len() - 1;
        wrong[last] = if wrong[last] == b'A' { b'B' } else { b'A' };
        for text in [
            // Headings and patterns, as in the source of a scanner.
            format!("{five}BEGIN PRIVATE KEY{five}"),
            format!("\"{five}BEGIN RSA PRIVATE KEY{five}\" => true,\n"),
            format!("{five}BEGIN PUBLIC KEY{five}\n{}\n", letters(64)),
            format!("{five}BEGIN CERTIFICATE{five}\n{}\n", letters(64)),
            // Samples.
            ["gh", "p_", &"x".repeat(36)].concat(),
            ["AK", "IAIOSFODNN7", "EXAMPLE"].concat(),
            // Too short, or the middle of something longer.
            ["gh", "p_", &letters(20)].concat(),
            ["abcAK", "IA", &upper(16)].concat(),
            ["sk_", "test_", &letters(24)].concat(),
            String::from_utf8(wrong).unwrap(),
            "hafen_home and npm_config_registry".into(),
            hexadecimal(400),
        ] {
            assert_eq!(find(text.as_bytes(), 10), [], "{text}");
        }
    }

    #[test]
    fn who_means_it_says_so() {
        let token = ["gl", "pat-", &letters(20)].concat();
        for (text, allowed) in [
            (format!("{token} # hafen:allow-secret\n"), true),
            (format!("# hafen:allow-secret\n{token}\n"), true),
            (format!("# hafen:allow-secret: of a test\r\nx = '{token}'"), true),
            (format!("# hafen:allow-secret\n\n{token}\n"), false),
            (format!("{token}\n# hafen:allow-secret\n"), false),
        ] {
            let found = find(text.as_bytes(), 10);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].allowed, allowed, "{text}");
        }
        let three = format!("{token}\n{token}\n# hafen:allow-secret\n{token}\n");
        let found = find(three.as_bytes(), 10);
        assert_eq!(
            found.iter().map(|one| (one.line, one.allowed)).collect::<Vec<_>>(),
            [(1, false), (2, false), (4, true)]
        );
        assert_eq!(find(three.as_bytes(), 2).len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_looked_through(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000)) {
            let _ = find(&text, 10);
        }

        #[test]
        fn a_token_is_found_wherever_it_stands(
            before in "[ -~\n]{0,200}", after in "[ -~\n]{0,200}"
        ) {
            let token = ["gl", "pat-", &letters(20)].concat();
            let text = format!("{before}\n{token}\n{after}");
            let found = find(text.as_bytes(), 1000);
            let line = before.matches('\n').count() + 2;
            proptest::prop_assert!(found.iter().any(|one| one.line == line));
        }
    }
}
