//! What a password may be, after NIST SP 800-63B-4, section 3.1.1: length and a blocklist, and no rules of composition, no
//! expiry, no hints. Unicode is normalised, so that a password typed on another keyboard is the same one.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use hafen_base::{Error, Random, Result};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use super::blocklist::{WALKS, WORDS};

/// With a second factor.
pub const SHORTEST: usize = 8;
/// As the only factor.
pub const SHORTEST_ALONE: usize = 15;
/// A bound against abuse only; the standard asks for at least 64.
pub const LONGEST: usize = 256;

/// A password in clear. Does not print.
#[derive(Clone, serde::Deserialize)]
#[serde(transparent)]
pub struct Password(Zeroizing<String>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Password {
    /// NFKC, as the standard and RFC 8265 ask: what looks and is meant the same compares the same.
    fn normal(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.nfkc().collect())
    }

    /// # Errors
    /// Says what is wrong, at `pointer`. `context` are words that an attacker would try for this person.
    pub fn check(&self, pointer: &str, second_factor: bool, context: &[&str]) -> Result<()> {
        let text = self.normal();
        let length = text.chars().count();
        let shortest = if second_factor { SHORTEST } else { SHORTEST_ALONE };
        if length < shortest {
            return Err(Error::invalid_field(
                pointer,
                format!("a password has at least {shortest} characters; several words are easy to remember"),
            ));
        }
        if length > LONGEST {
            return Err(Error::invalid_field(
                pointer,
                format!("a password has at most {LONGEST} characters"),
            ));
        }
        if is_common(&text, context) {
            return Err(Error::invalid_field(
                pointer,
                "this password is one of the first that anybody would try: a common word, a name of this account, a \
                 row of keys or a repetition; take several words that do not belong together",
            )
            .with_code("password_common"));
        }
        Ok(())
    }
}

/// Takes the usual disguises off and looks whether anything is left that would have to be guessed.
fn is_common(text: &str, context: &[&str]) -> bool {
    let lower: String = text.to_lowercase();
    if is_walk(&lower) || is_repetition(&lower) {
        return true;
    }
    let mut words: Vec<String> = WORDS.iter().map(|word| (*word).to_owned()).collect();
    for text in context {
        let text = text.to_lowercase();
        words.extend(
            text.split(|c: char| !c.is_alphanumeric()).map(letters).filter(|word| word.chars().count() >= 3),
        );
        words.push(letters(&text));
    }
    // Digits either stand for letters or around words: both readings are tried.
    is_made_of(&letters(&lower), &words) || is_made_of(&letters(&plain(&lower)), &words)
}

/// `p@ssw0rd` as `password`.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '0' | 'ö' => 'o',
            '1' | '!' | '|' => 'i',
            '3' | '€' => 'e',
            '4' | '@' | 'ä' => 'a',
            '5' | '$' => 's',
            '7' => 't',
            '8' => 'b',
            'ü' => 'u',
            c => c,
        })
        .collect()
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphabetic()).collect()
}

/// Whether the text is nothing but at most three of the words one after the other (five letters may stand beside). Longer
/// chains of words are what we tell people to take.
fn is_made_of(text: &str, words: &[String]) -> bool {
    fn rest_after(text: &str, words: &[String], depth: u8) -> usize {
        if depth == 0 {
            return text.chars().count();
        }
        words
            .iter()
            .filter(|word| !word.is_empty())
            .filter_map(|word| text.strip_prefix(word.as_str()))
            .map(|rest| rest_after(rest, words, depth - 1))
            .min()
            .unwrap_or_else(|| text.chars().count())
    }
    let length = text.chars().count();
    if length == 0 {
        // Digits and signs alone: a date or a number.
        return true;
    }
    let rest = rest_after(text, words, 3);
    rest < length && rest <= 2
}

fn is_walk(text: &str) -> bool {
    // Every step between neighbours goes along a row, but for a few jumps between rows.
    let steps: Vec<(char, char)> = text.chars().zip(text.chars().skip(1)).collect();
    let walked = steps
        .iter()
        .filter(|(from, to)| from == to || WALKS.iter().any(|row| next_to(row, *from, *to)))
        .count();
    steps.len() >= 2 && walked * 10 >= steps.len() * 8
}

fn next_to(row: &str, from: char, to: char) -> bool {
    row.chars().zip(row.chars().skip(1)).any(|(a, b)| (a, b) == (from, to) || (b, a) == (from, to))
}

/// `abcabcabc`, `aaaaaaaa`, `Xy1!Xy1!`.
fn is_repetition(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=chars.len() / 2)
        .any(|unit| unit <= 6 && chars.iter().zip(chars.iter().skip(unit)).all(|(a, b)| a == b))
}

/// What hashing costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// KiB.
    pub memory: u32,
    pub passes: u32,
}

impl Cost {
    /// OWASP's second configuration of argon2id: 19 MiB, two passes, one lane; about 20 ms, and a sign-in of fifty people at
    /// once fits into a gigabyte. RFC 9106's 64 MiB would not gain more than a longer password does.
    pub const STANDARD: Self = Self { memory: 19 * 1024, passes: 2 };
    /// For tests of everything but the hash.
    pub const LOWEST: Self = Self { memory: 64, passes: 1 };

    fn hasher(self) -> Result<Argon2<'static>> {
        let params =
            Params::new(self.memory, self.passes, 1, None).map_err(|e| Error::internal(e.to_string()))?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

/// Hashes; gives the PHC string, which holds parameters and salt.
///
/// # Errors
/// Internal only.
pub fn hash(password: &Password, cost: Cost, random: &dyn Random) -> Result<String> {
    let mut salt = [0_u8; 16];
    random.fill(&mut salt);
    let hash: PasswordHash = cost
        .hasher()?
        .hash_password_with_salt(password.normal().as_bytes(), &salt)
        .map_err(|e| Error::internal(e.to_string()))?;
    Ok(hash.to_string())
}

/// Whether the password is the one of `phc`. The parameters are those of `phc`.
pub fn verify(password: &Password, phc: &str) -> bool {
    let text = password.normal();
    // A longer one cannot have been set, and must not cost more.
    text.chars().count() <= LONGEST
        && PasswordHash::new(phc)
            .is_ok_and(|hash| Argon2::default().verify_password(text.as_bytes(), &hash).is_ok())
}

/// Whether `phc` was made at another cost than this, so that it is made anew at the next sign-in.
pub fn is_outdated(phc: &str, cost: Cost) -> bool {
    !phc.contains(&format!("m={},t={},p=1", cost.memory, cost.passes))
}

#[cfg(test)]
mod tests {
    use hafen_base::SeededRandom;

    use super::*;

    fn check(text: &str) -> Result<()> {
        Password::from(text.to_owned()).check(
            "/password",
            true,
            &["alice.wonder@example.org", "Alice Wonder", "acme"],
        )
    }

    #[test]
    fn what_is_taken_and_what_is_not() {
        let long = "ö".repeat(3) + &"correct pony cell lamp ".repeat(11);
        for good in [
            "trombone kettle ",
            "mJ7#kfP2",
            "Fischers Fritz fischt frische Fische",
            "lampe tisch wolke zebra",
            "пароль-не-простой",
            "correct pony cell lamp",
            "gravel nutmeg ohm",
            "🦀🦀 über den fluss",
            &long[..250],
        ] {
            assert!(check(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "short",
            "1234567",
            "12345678",
            "password",
            "Password1!",
            "P@ssw0rd2024",
            "passwort123",
            "qwertzuiop",
            "asdfghjkl1",
            "aaaaaaaaaaaa",
            "abcabcabcabc",
            "Xy1!Xy1!Xy1!",
            "alice2024!",
            "AliceWonder1",
            "wonder-alice",
            "acme2026!",
            "hafen2026!",
            "1qaz2wsx3edc",
            "20061999",
            "!!!!????",
            "sommer2026",
            "Willkommen01",
            "iloveyou!!",
            "q1w2e3r4t5",
            "adminadmin",
            "87654321",
            "letmein!!",
            "acme-admin-2026",
            &"x1 ".repeat(200),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        let alone = Password::from("fourteen chars".to_owned());
        assert!(alone.check("", true, &[]).is_ok());
        assert!(alone.check("", false, &[]).is_err(), "without a second factor it is too short");
    }

    #[test]
    fn hashes_hold_their_parameters_and_normalise() {
        let random = SeededRandom::new(1);
        let phc = hash(&Password::from("Zürich im Regen".to_owned()), Cost::LOWEST, &random).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{phc}");
        assert!(
            verify(&Password::from("Zu\u{308}rich im Regen".to_owned()), &phc),
            "composed or not is the same"
        );
        assert!(!verify(&Password::from("Zurich im Regen".to_owned()), &phc));
        assert!(!verify(&Password::from("x".repeat(5000)), &phc));
        assert!(!verify(&Password::from("x".to_owned()), "nonsense"));
        assert!(is_outdated(&phc, Cost::STANDARD) && !is_outdated(&phc, Cost::LOWEST));
        assert_eq!(format!("{:?}", Password::from("x".to_owned())), "Password(…)");
    }
}
