//! Records: what stands in the tree, and what stands beside it. Pure.
//!
//! A record is a line of JSON with these fields in this order, all always present (docs/reference/ledger.md). It is made
//! once and kept to the byte; nothing ever writes it anew. Persons stand in it by pseudonyms made with a key of their own,
//! and by commitments to what is known of them. Without key and salt both are noise.

use hafen_base::{Actor, ActorKind, Timestamp};
use hafen_client::wire::{LedgerWhat, LedgerWho};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The longest text that goes into a record as it is; what is longer is cut. No name of ours comes near.
const LONGEST: usize = 1024;

/// What is to be written down.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// Who says so, and its number there: together unique.
    pub service: String,
    pub seq: i64,
    pub happened: Timestamp,
    pub actor: Actor,
    pub kind: String,
    pub outcome: String,
    pub project: String,
    /// As `machine/web-1`. An object `person/ID` is written by its pseudonym.
    pub object: String,
    pub message: String,
    pub data: Value,
}

/// The record, field by field. The order is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub v: u8,
    pub shard: String,
    pub at: Timestamp,
    pub happened: Timestamp,
    pub service: String,
    pub seq: i64,
    pub kind: String,
    pub outcome: String,
    pub project: String,
    pub object: String,
    pub organisation: String,
    pub actor_kind: String,
    pub actor: String,
    pub credential: String,
    pub address: String,
    pub request: String,
    /// Commitments, in hex; empty when there is nothing to commit to.
    pub who: String,
    pub what: String,
}

/// What lies beside a record: payloads as JSON and their salts in hex.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    pub who: String,
    pub who_salt: String,
    pub what: String,
    pub what_salt: String,
}

/// A person in one shard: a random key, and the pseudonym it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pseudonym {
    pub key: [u8; 32],
    pub text: String,
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
        text
    })
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// `SHA-256(salt ‖ payload)` in hex: with 32 random bytes of salt it says nothing of the payload, and can be checked with
/// `sha256sum`.
pub fn commitment(salt: &[u8], payload: &str) -> String {
    hex(&Sha256::new().chain_update(salt).chain_update(payload).finalize())
}

impl Pseudonym {
    pub fn new(key: [u8; 32], person: &str) -> Self {
        let mut pseudonym = Self { key, text: String::new() };
        pseudonym.text = pseudonym.of("p", person);
        pseudonym
    }

    /// The pseudonym of something of this person: `a` address, `c` credential. 128 bits, so that none is met twice.
    fn of(&self, prefix: &str, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(prefix.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        let bytes = mac.finalize().into_bytes();
        format!("{prefix}-{}", hex(bytes.get(..16).unwrap_or_default()))
    }
}

fn cut(text: &str) -> String {
    text.char_indices().nth(LONGEST).and_then(|(end, _)| text.get(..end)).unwrap_or(text).to_owned()
}

/// Whether this actor is somebody whose doings are personal data. A service account is one too: it may be one person's.
pub fn is_somebody(actor: &Actor) -> bool {
    actor.kind != ActorKind::Platform
}

/// The person an object stands for.
pub fn person_of(object: &str) -> Option<&str> {
    object.strip_prefix("person/").filter(|id| !id.is_empty())
}

/// Makes the record and what lies beside it. `actor` and `object` are the pseudonyms of the actor and of the person who is
/// the object; `salts` two fresh salts.
pub fn record(
    new: &NewEntry,
    shard: &str,
    at: Timestamp,
    actor: Option<&Pseudonym>,
    object: Option<&Pseudonym>,
    salts: [[u8; 32]; 2],
) -> (Record, Personal) {
    let [who_salt, what_salt] = salts;
    let mut personal = Personal::default();
    let mut who = String::new();
    if actor.is_some() {
        let payload = LedgerWho {
            id: new.actor.id.clone(),
            name: new.actor.name.clone(),
            credential: new.actor.credential.clone(),
            address: new.actor.address.clone().unwrap_or_default(),
        };
        // A struct of texts always writes.
        personal.who = serde_json::to_string(&payload).unwrap_or_default();
        personal.who_salt = hex(&who_salt);
        who = commitment(&who_salt, &personal.who);
    }
    let payload =
        LedgerWhat { reason: new.actor.reason.clone(), message: new.message.clone(), data: new.data.clone() };
    let mut what = String::new();
    if !(payload.reason.is_empty() && payload.message.is_empty() && payload.data.is_null()) {
        personal.what = serde_json::to_string(&payload).unwrap_or_default();
        personal.what_salt = hex(&what_salt);
        what = commitment(&what_salt, &personal.what);
    }
    let record = Record {
        v: 1,
        shard: shard.to_owned(),
        at,
        happened: new.happened,
        service: cut(&new.service),
        seq: new.seq,
        kind: cut(&new.kind),
        outcome: cut(&new.outcome),
        project: cut(&new.project),
        object: object.map_or_else(|| cut(&new.object), |person| format!("person/{}", person.text)),
        organisation: cut(&new.actor.organisation),
        actor_kind: new.actor.kind.as_str().to_owned(),
        actor: actor.map(|person| person.text.clone()).unwrap_or_default(),
        credential: actor.map(|person| person.of("c", &new.actor.credential)).unwrap_or_default(),
        address: actor
            .zip(new.actor.address.as_deref())
            .map(|(person, address)| person.of("a", address))
            .unwrap_or_default(),
        request: cut(&new.actor.request_id),
        who,
        what,
    };
    (record, personal)
}

/// Checks payloads against the commitments of their record.
pub fn personal_fits(record: &Record, personal: &Personal) -> bool {
    let fits = |commitment_: &str, salt: &str, payload: &str| {
        payload.is_empty() && salt.is_empty()
            || unhex(salt).is_some_and(|salt| commitment(&salt, payload) == commitment_)
    };
    fits(&record.who, &personal.who_salt, &personal.who)
        && fits(&record.what, &personal.what_salt, &personal.what)
}

/// Project and object of a call's path: `/api/v1/projects/hello/machines/web-1/restart` is about `machine/web-1` of `hello`.
pub fn about(path: &str) -> (String, String) {
    let rest = path.strip_prefix("/api/v1/").unwrap_or(path.trim_start_matches('/'));
    let mut parts = rest.split('/').filter(|part| !part.is_empty()).peekable();
    let mut project = "";
    if parts.peek() == Some(&"projects") {
        parts.next();
        project = parts.next().unwrap_or("");
    }
    let object = match (parts.next(), parts.next()) {
        (Some(noun), Some(name)) => format!("{}/{name}", singular(noun)),
        (Some(noun), None) => singular(noun),
        (None, _) => format!("project/{project}"),
    };
    (project.to_owned(), object)
}

fn singular(noun: &str) -> String {
    match noun.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None if noun == "people" => "person".to_owned(),
        None => noun.strip_suffix('s').filter(|_| !noun.ends_with("ss")).unwrap_or(noun).to_owned(),
    }
}

/// The year of an instant, as shards are named.
pub fn year(at: Timestamp) -> String {
    at.to_string().chars().take(4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> NewEntry {
        NewEntry {
            service: "machines".into(),
            seq: 7,
            happened: Timestamp::from_micros(1_790_000_000_000_000),
            actor: Actor {
                kind: ActorKind::Person,
                id: "u-1".into(),
                name: "Ada Lovelace".into(),
                organisation: "o-1".into(),
                credential: "session/ses-1".into(),
                address: Some("192.0.2.7".into()),
                request_id: "r-1".into(),
                reason: "ticket 12".into(),
            },
            kind: "machine.created".into(),
            outcome: "done".into(),
            project: "hello".into(),
            object: "machine/web-1".into(),
            message: "Ada made web-1".into(),
            data: Value::Null,
        }
    }

    #[test]
    fn a_record_is_this_line_and_names_nobody() {
        let person = Pseudonym::new([1; 32], "u-1");
        let at = Timestamp::from_micros(1_790_000_000_500_000);
        let (record, personal) = record(&entry(), "2026", at, Some(&person), None, [[2; 32], [3; 32]]);
        let text = serde_json::to_string(&record).unwrap();
        let expected = "{\"v\":1,\"shard\":\"2026\",\"at\":\"2026-09-21T14:13:20.500000Z\",\"happened\":\"2026-09-21T14:13:20.000000Z\",\
            \"service\":\"machines\",\"seq\":7,\"kind\":\"machine.created\",\"outcome\":\"done\",\"project\":\"hello\",\
            \"object\":\"machine/web-1\",\"organisation\":\"o-1\",\"actor_kind\":\"person\",\"actor\":\"p-";
        assert!(text.starts_with(expected), "{text}");
        for clear in ["Ada", "u-1", "192.0.2.7", "ses-1", "ticket"] {
            assert!(!text.contains(clear), "{clear}: {text}");
        }
        assert!(personal_fits(&record, &personal));
        assert!(personal_fits(&record, &Personal::default()), "erased");
        for part in 0..4 {
            let mut other = personal.clone();
            let text = [&mut other.who, &mut other.who_salt, &mut other.what, &mut other.what_salt];
            text.into_iter().nth(part).unwrap().replace_range(0..1, "9");
            assert!(!personal_fits(&record, &other), "part {part}");
        }
    }

    #[test]
    fn another_key_is_another_pseudonym() {
        let (one, two) = (Pseudonym::new([1; 32], "u-1"), Pseudonym::new([2; 32], "u-1"));
        assert_ne!(one.text, two.text);
        assert_eq!(one.text.len(), 34);
        assert_ne!(one.of("a", "x"), one.of("c", "x"));
        assert_eq!(one.of("a", ""), "");
    }

    #[test]
    fn the_object_of_a_path() {
        let table = [
            ("/api/v1/projects/hello/machines/web-1/restart", "hello", "machine/web-1"),
            ("/api/v1/projects/hello/machines", "hello", "machine"),
            ("/api/v1/projects/hello", "hello", "project/hello"),
            ("/api/v1/projects/hello/applies/op-1/cancel", "hello", "apply/op-1"),
            ("/api/v1/people/u-1", "", "person/u-1"),
            ("/api/v1/ledger/erasures", "", "ledger/erasures"),
            ("/login", "", "login"),
        ];
        for (path, project, object) in table {
            assert_eq!(about(path), (project.to_owned(), object.to_owned()), "{path}");
        }
    }

    #[test]
    fn hex_reads_back() {
        assert_eq!(unhex(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        assert_eq!((unhex("0"), unhex("zz")), (None, None));
    }
}
