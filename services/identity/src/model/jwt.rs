//! Foreign JWTs: what is looked at, in which order, and why. Pure: keys, time and expectations are handed in.
//!
//! The header is the sender's: it never decides how it is checked. The key it names must be one we hold, and the key's own
//! type says which algorithms fit; so `none` and an HMAC under a public key are refused before any cryptography. What the
//! header calls critical and we do not know is refused (RFC 7515, section 4.1.11). RFC 8725 is the list behind this.

use hafen_base::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

/// Far above what any issuer sends.
pub const LONGEST: usize = 16 << 10;
/// Clocks differ by so many seconds.
const LEEWAY: i64 = 60;
/// No token that is traded lives longer than a day: one that does is not a job's.
const LIFE: i64 = 24 * 3600;

pub type Claims = Map<String, Value>;

/// Why a JWT is refused; for its sender, who should be able to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub &'static str);

fn part(text: &str) -> Option<Map<String, Value>> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The issuer a JWT claims, unchecked: only to find the keys to check it by.
pub fn claimed_issuer(jwt: &str) -> Result<String, Refused> {
    if jwt.len() > LONGEST {
        return Err(Refused("the token is too long"));
    }
    let mut parts = jwt.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused("not a signed JWT in compact form"));
    };
    let claims = part(payload).ok_or(Refused("not a signed JWT in compact form"))?;
    claims.get("iss").and_then(Value::as_str).map(str::to_owned).ok_or(Refused("the token names no issuer"))
}

/// The key a JWT claims, unchecked: only to see whether we have it.
pub fn claimed_key(jwt: &str) -> Option<String> {
    let header = jwt.split('.').next().and_then(part)?;
    header.get("kid").and_then(Value::as_str).map(str::to_owned)
}

/// The algorithms a key is for. Symmetric keys are for none: what verifies would also forge.
pub fn algorithms(key: &Jwk) -> &'static [Algorithm] {
    match &key.algorithm {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[Algorithm::ES384],
        AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA],
        _ => &[],
    }
}

/// Checks signature, issuer, audience and times.
pub fn check(
    jwt: &str,
    keys: &JwkSet,
    issuer: &str,
    audience: &str,
    now: Timestamp,
) -> Result<Claims, Refused> {
    if claimed_issuer(jwt)? != issuer {
        return Err(Refused("another issuer"));
    }
    let header = jwt.split('.').next().and_then(part).ok_or(Refused("not a signed JWT in compact form"))?;
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Refused("the header has critical extensions that are not known here"));
    }
    let kid = header.get("kid").and_then(Value::as_str).ok_or(Refused("the header names no key"))?;
    let key =
        keys.find(kid).ok_or(Refused("the key is not one of this issuer's, as far as is known here"))?;
    let wanted = header.get("alg").and_then(Value::as_str).unwrap_or("none");
    let algorithm = wanted.parse::<Algorithm>().ok().filter(|one| algorithms(key).contains(one));
    let algorithm = algorithm.ok_or(Refused("the algorithm does not belong to this key"))?;
    let decoding = DecodingKey::from_jwk(key).map_err(|_| Refused("the issuer's key is broken"))?;
    let mut validation = Validation::new(algorithm);
    // Times are checked below by the clock that was handed in.
    validation.validate_exp = false;
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    let token = jsonwebtoken::decode::<Claims>(jwt, &decoding, &validation).map_err(|error| {
        use jsonwebtoken::errors::ErrorKind;
        Refused(match error.kind() {
            ErrorKind::InvalidSignature => "the signature is wrong",
            ErrorKind::InvalidAudience => "another audience",
            ErrorKind::InvalidIssuer => "another issuer",
            ErrorKind::MissingRequiredClaim(_) => "iss, aud, exp and sub are needed",
            _ => "not a JWT that can be checked",
        })
    })?;
    times(&token.claims, now)?;
    Ok(token.claims)
}

fn times(claims: &Claims, now: Timestamp) -> Result<(), Refused> {
    let now = now.micros().div_euclid(1_000_000);
    let seconds =
        |name: &str| claims.get(name).and_then(|value| value.as_i64().or_else(|| value.as_f64().map(floor)));
    let expires = seconds("exp").ok_or(Refused("exp is not a number"))?;
    if now >= expires.saturating_add(LEEWAY) {
        return Err(Refused("the token has expired"));
    }
    if expires > now.saturating_add(LIFE) {
        return Err(Refused("the token lives for longer than a day"));
    }
    for name in ["nbf", "iat"] {
        if claims.contains_key(name) && seconds(name).is_none_or(|at| at > now.saturating_add(LEEWAY)) {
            return Err(Refused("the token is not valid yet"));
        }
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates, and what saturates is refused as too far away"
)]
fn floor(value: f64) -> i64 {
    value.floor() as i64
}

/// When it expires.
pub fn expires(claims: &Claims) -> Timestamp {
    let seconds = claims.get("exp").and_then(Value::as_f64).map_or(0, floor);
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

/// Whether claims meet conditions: each is there and equal, or begins so where the condition ends in `*`.
pub fn fits<'a>(claims: &Claims, mut conditions: impl Iterator<Item = (&'a String, &'a String)>) -> bool {
    conditions.all(|(name, wanted)| {
        let found = match claims.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return false,
        };
        match wanted.strip_suffix('*') {
            Some(start) => found.starts_with(start),
            None => found == *wanted,
        }
    })
}
