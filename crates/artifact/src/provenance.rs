//! Who made an artefact, of what: a SLSA v1 provenance (slsa.dev/spec/v1.0/provenance) in an in-toto statement v1, in a DSSE
//! envelope (github.com/secure-systems-lab/dsse) with an Ed25519 signature.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use hafen_base::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::pack::hex;

/// What the payload of the envelope is.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// What the parameters of a build mean; a name, not a place to fetch from.
pub const BUILD_TYPE: &str = "https://hafen.invalid/build/v1";

/// What is said of one build.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Of the artefact; hexadecimal SHA-256.
    pub digest: &'a str,
    /// As `shop.tar.zst`.
    pub name: &'a str,
    /// As `git+https://…` or the name of a repository here.
    pub source: &'a str,
    pub commit: &'a str,
    /// As the image has it: `sha256-…`.
    pub image: &'a str,
    pub image_digest: &'a str,
    pub run: &'a [String],
    pub output: &'a str,
    /// Variables of the commands: texts, and `{ "secret": NAME }`. No values of secrets.
    pub env: &'a Value,
    /// Which version of which secret it got.
    pub secrets: &'a BTreeMap<String, i64>,
    /// Which platform built it.
    pub builder: &'a str,
    /// Id of the build.
    pub invocation: &'a str,
    pub started: Timestamp,
    pub finished: Timestamp,
}

/// The statement.
#[must_use]
pub fn statement(facts: &Facts<'_>) -> Value {
    let commit = if facts.commit.len() == 64 { "gitCommit256" } else { "gitCommit" };
    let image = facts.image_digest.trim_start_matches("sha256-");
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": facts.name, "digest": { "sha256": facts.digest } }],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "source": facts.source, "commit": facts.commit, "image": facts.image,
                    "run": facts.run, "output": facts.output, "env": facts.env,
                },
                "internalParameters": { "secrets": facts.secrets },
                "resolvedDependencies": [
                    { "uri": facts.source, "digest": { commit: facts.commit } },
                    { "name": format!("image/{}", facts.image), "digest": { "sha256": image } },
                ],
            },
            "runDetails": {
                "builder": { "id": facts.builder },
                "metadata": {
                    "invocationId": facts.invocation,
                    "startedOn": facts.started, "finishedOn": facts.finished,
                },
            },
        },
    })
}

/// A signed payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    pub payload_type: String,
    /// Base 64.
    pub payload: String,
    pub signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// SHA-256 of the public key.
    pub keyid: String,
    /// Base 64.
    pub sig: String,
}

/// What is signed: DSSE's pre-authentication encoding.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// The name of a key.
#[must_use]
pub fn key_id(public: &[u8; 32]) -> String {
    hex(&Sha256::digest(public))
}

/// Signs a statement.
///
/// # Errors
/// Internal.
pub fn sign(statement: &Value, key: &SigningKey) -> Result<Envelope> {
    let payload = serde_json::to_vec(statement).map_err(Error::internal)?;
    let signature = key.sign(&pre_authentication(&payload));
    Ok(Envelope {
        payload_type: PAYLOAD_TYPE.into(),
        payload: STANDARD.encode(&payload),
        signatures: vec![Signature {
            keyid: key_id(key.verifying_key().as_bytes()),
            sig: STANDARD.encode(signature.to_bytes()),
        }],
    })
}

/// The public key in PEM, as other programs read it (RFC 8410).
#[must_use]
pub fn public_pem(key: &SigningKey) -> String {
    const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let mut der = PREFIX.to_vec();
    der.extend_from_slice(key.verifying_key().as_bytes());
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn openssl_verifies_what_was_signed() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let run = ["make dist".to_owned()];
        let facts = Facts {
            digest: &"ab".repeat(32),
            name: "shop.tar.zst",
            source: "git+https://hafen.example.org/git/hello/shop.git",
            commit: &"12".repeat(20),
            image: "builder",
            image_digest: "sha256-cdcd",
            run: &run,
            output: "dist",
            env: &json!({ "MODE": "release", "TOKEN": { "secret": "npm-token" } }),
            secrets: &[("npm-token".to_owned(), 3)].into(),
            builder: "https://hafen.example.org",
            invocation: "b-1",
            started: Timestamp::from_micros(1_790_000_000_000_000),
            finished: Timestamp::from_micros(1_790_000_060_000_000),
        };
        let envelope = sign(&statement(&facts), &key).unwrap();
        let payload = STANDARD.decode(&envelope.payload).unwrap();
        let statement: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(statement["subject"][0]["digest"]["sha256"], "ab".repeat(32));
        assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
        let definition = &statement["predicate"]["buildDefinition"];
        assert_eq!(definition["externalParameters"]["env"]["TOKEN"]["secret"], "npm-token");
        assert_eq!(definition["internalParameters"]["secrets"]["npm-token"], 3);
        let dependencies = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
        assert_eq!(dependencies[0]["digest"]["gitCommit"], "12".repeat(20));
        assert_eq!(dependencies[1]["digest"]["sha256"], "cdcd");
        assert_eq!(
            statement["predicate"]["runDetails"]["metadata"]["startedOn"],
            "2026-09-21T14:13:20.000000Z"
        );

        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        file("key.pem", public_pem(&key).as_bytes());
        file("signed", &pre_authentication(&payload));
        file("signature", &STANDARD.decode(&envelope.signatures[0].sig).unwrap());
        let verify = || {
            Command::new("openssl")
                .args(["pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "signed"])
                .args(["-sigfile", "signature"])
                .current_dir(folder.path())
                .output()
                .unwrap()
        };
        let good = verify();
        assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
        file("signed", &pre_authentication(b"another"));
        assert!(!verify().status.success());
    }
}
