//! What the service does: rule, store, event, in one transaction. One file per resource.

mod client;
mod external;
mod factors;
mod invitation;
mod membership;
mod organisation;
mod passkey;
mod people;
mod project;
mod prove;
mod rotation;
mod service_account;
mod session;
mod sign_in;
mod team;
mod token;
mod workload;

use std::net::IpAddr;

use hafen_base::{Actor, ActorKind, Error, OrganisationId, Result};

use crate::Identity;
use crate::model::caller::Caller;
use crate::store;
use crate::store::person::PersonRow;

/// Where a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub address: Option<IpAddr>,
    /// The client, as it names itself.
    pub client: String,
}

impl Origin {
    pub(crate) fn address_text(&self) -> String {
        self.address.map(|address| address.to_canonical().to_string()).unwrap_or_default()
    }

    /// A person who is about to be, or has just been, signed in.
    pub(crate) fn actor(&self, person: &PersonRow, credential: &str) -> Actor {
        Actor {
            kind: ActorKind::Person,
            id: person.id.to_string(),
            name: person.name.clone(),
            organisation: person.organisation.to_string(),
            credential: credential.to_owned(),
            address: self.address.map(|address| address.to_canonical().to_string()),
            request_id: Actor::current().request_id,
            reason: String::new(),
        }
    }
}

impl Identity {
    /// The organisation a request is about: the caller's own. Only the platform's owners may name another; to everybody
    /// else there is none but theirs.
    pub(crate) async fn tenant(&self, caller: &Caller, named: Option<&str>) -> Result<OrganisationId> {
        let Some(key) = named else { return Ok(caller.organisation) };
        let found = store::organisation::find(self.0.db.reader(), key).await?;
        found
            .map(|organisation| organisation.id)
            .filter(|id| *id == caller.organisation || caller.platform)
            .ok_or_else(|| Error::not_found(format!("organisation {key:?}")))
    }
}

/// A title: what people read. No control characters, at most 200.
fn check_title(pointer: &str, text: &str, shortest: usize) -> Result<String> {
    let text = text.trim();
    let length = text.chars().count();
    if length < shortest || length > 200 || text.chars().any(char::is_control) {
        return Err(Error::invalid_field(
            pointer,
            format!("{shortest} to 200 characters, no control characters"),
        ));
    }
    Ok(text.to_owned())
}

/// A list of short words, as permissions and project names are.
fn check_words(pointer: &str, words: Option<Vec<String>>, most: usize) -> Result<Option<Vec<String>>> {
    let Some(mut words) = words else { return Ok(None) };
    let fine = |word: &String| {
        (1..=100).contains(&word.len())
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'*' | b'/'))
    };
    if words.is_empty() || words.len() > most || !words.iter().all(fine) {
        return Err(Error::invalid_field(
            pointer,
            format!("1 to {most} words of a-z, A-Z, 0-9 and .-_:*/; leave it out for no limit"),
        ));
    }
    words.sort_unstable();
    words.dedup();
    Ok(Some(words))
}

fn check_status(status: &str) -> Result<()> {
    if matches!(status, "active" | "suspended") {
        return Ok(());
    }
    Err(Error::invalid_field("/status", "`active` or `suspended`"))
}
