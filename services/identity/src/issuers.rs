//! The keys of foreign issuers, by OpenID discovery: fetched, remembered, and fetched anew when a token names one we do not know.
//!
//! Everybody may present a token that claims an issuer we trust and a key nobody knows, so what they can make us do is bounded:
//! one fetch per issuer at a time, and not before some seconds have passed since the last. An issuer that does not answer is
//! believed as it was last seen, but not for long: a key it took back must not stay good because it cannot be asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hafen_base::{Error, Result, Timestamp};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use serde_json::Value;
use url::Url;

use crate::fetch::{Fetch, is_loopback};
use crate::model::jwt::algorithms;

/// Fetched anew after so long: within this a key that the issuer took back is good no more.
const FRESH: Duration = Duration::from_mins(10);
/// Without an answer, the last keys are good for so long.
const GOOD: Duration = Duration::from_hours(1);
/// Between two fetches of one issuer's keys, whatever came of the first.
const PAUSE: Duration = Duration::from_secs(30);
/// No issuer has as many.
const MOST: usize = 100;

/// What is known of issuers. Only of those somebody here trusts: nobody else can make it grow.
#[derive(Default)]
pub struct Issuers(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Known>>>>);

#[derive(Default)]
struct Known {
    keys: Option<(Arc<JwkSet>, Timestamp)>,
    tried_at: Option<Timestamp>,
}

impl Issuers {
    /// The keys of a trusted issuer; asked anew when they are old, or `kid` is none of them.
    ///
    /// # Errors
    /// Unavailable when there are none that are still good.
    pub async fn keys(
        &self,
        fetch: &dyn Fetch,
        issuer: &str,
        kid: Option<&str>,
        now: Timestamp,
    ) -> Result<Arc<JwkSet>> {
        let known = Arc::clone(
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(issuer.to_owned()).or_default(),
        );
        // Held while it is fetched: others wait, and then have it.
        let mut known = known.lock().await;
        let wanted = known.keys.as_ref().is_none_or(|(keys, at)| {
            now.since(*at) >= FRESH || kid.is_some_and(|kid| keys.find(kid).is_none())
        });
        let rested = known.tried_at.is_none_or(|at| now.since(at) >= PAUSE);
        let mut failed = None;
        if wanted && rested {
            known.tried_at = Some(now);
            match discover(fetch, issuer).await {
                Ok(keys) => known.keys = Some((Arc::new(keys), now)),
                Err(error) => {
                    tracing::warn!(issuer, "the keys of an issuer could not be fetched: {error}");
                    failed = Some(error);
                }
            }
        }
        match &known.keys {
            Some((keys, at)) if now.since(*at) < GOOD => Ok(Arc::clone(keys)),
            _ => Err(failed.unwrap_or_else(|| Error::unavailable("the issuer's keys could not be fetched"))),
        }
    }
}

/// An issuer whose keys may be fetched: by https; from this machine itself only where the platform was started so.
pub fn check_issuer(issuer: &str, loopback: bool) -> Result<(), &'static str> {
    let Ok(url) = Url::parse(issuer) else { return Err("a URL as https://gitlab.example.org") };
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err("a URL without query, fragment or user");
    }
    match url.scheme() {
        "https" if loopback || !is_loopback(&url) => Ok(()),
        "http" if loopback && is_loopback(&url) => Ok(()),
        _ => Err("an https URL that is not this machine's own; otherwise give its keys (jwks)"),
    }
}

/// Reads an issuer's keys, as OpenID Connect Discovery 1.0 has it.
pub async fn discover(fetch: &dyn Fetch, issuer: &str) -> Result<JwkSet> {
    let document = fetch
        .json(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')), None)
        .await?;
    let field = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or("");
    // A document that speaks for another is somebody's attempt to mix issuers up.
    if field("issuer") != issuer {
        return Err(Error::unavailable("its discovery document names another issuer"));
    }
    let (from, to) = (Url::parse(issuer).map_err(Error::internal)?, Url::parse(field("jwks_uri")));
    let to = to.map_err(|_| Error::unavailable("its discovery document names no jwks_uri"))?;
    // Where the issuer itself is, an owner has said. Where else it sends us must be a public place: what lies beside this
    // platform in its own network is not for others to have asked.
    let keys = if to.origin() == from.origin() {
        fetch.json(to.as_str(), None).await?
    } else {
        fetch.public_json(to.as_str()).await?
    };
    read(&keys)
}

/// The keys of a set that are of a kind we know. One that is not spoils no other (RFC 7517, section 5); a symmetric one is for
/// nobody: what verifies would also forge.
fn read(keys: &Value) -> Result<JwkSet> {
    let found = keys.get("keys").and_then(Value::as_array);
    let found = found.ok_or_else(|| Error::unavailable("its keys are not a JWK set (RFC 7517)"))?;
    if found.len() > MOST {
        return Err(Error::unavailable(format!("it has more than {MOST} keys")));
    }
    let keys: Vec<Jwk> = found
        .iter()
        .filter_map(|key| serde_json::from_value(key.clone()).ok())
        .filter(|key| !algorithms(key).is_empty())
        .collect();
    if keys.is_empty() {
        return Err(Error::unavailable("it has no key of a kind that is known here"));
    }
    Ok(JwkSet { keys })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn issuers_are_elsewhere_and_by_https() {
        for good in
            ["https://gitlab.example.org", "https://login.example.org/tenant/v2.0", "https://10.0.0.5"]
        {
            assert!(check_issuer(good, false).is_ok(), "{good}");
        }
        for bad in [
            "",
            "gitlab.example.org",
            "http://gitlab.example.org",
            "http://127.0.0.1:1",
            "https://127.0.0.1",
            "https://localhost",
            "https://[::1]/",
            "https://a/?x=1",
            "https://a/#x",
            "https://u:p@a",
            "file:///etc",
        ] {
            assert!(check_issuer(bad, false).is_err(), "{bad}");
        }
        assert!(check_issuer("http://127.0.0.1:8080", true).is_ok());
        assert!(check_issuer("http://gitlab.example.org", true).is_err());
    }

    #[test]
    fn a_strange_key_spoils_no_other() {
        let good = json!({ "kty": "EC", "crv": "P-256", "kid": "1", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
        let strange = json!({ "kty": "LWE", "kid": "2" });
        let secret = json!({ "kty": "oct", "kid": "3", "k": "c2VjcmV0" });
        let set = read(&json!({ "keys": [strange, good, secret] })).unwrap();
        assert_eq!(set.keys.len(), 1);
        assert!(set.find("1").is_some());
        for bad in [
            json!({}),
            json!({ "keys": [] }),
            json!({ "keys": [strange] }),
            json!({ "keys": vec![good; 101] }),
        ] {
            assert!(read(&bad).is_err());
        }
    }
}
