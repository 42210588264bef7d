//! Grants and revocations: rule → store → event, in one transaction.

use std::sync::PoisonError;
use std::time::Duration;

use hafen_base::{Actor, ActorKind, Error, Permitted, Result, Timestamp};
use hafen_client::wire::{
    AccessCertificate, AccessGrant, AccessGrantCreate, AccessSession, OwnCertificate, Revocation,
    RevocationCreate,
};
use hafen_db::{Tx, store_error};
use hafen_sshca::{LOGIN_USER, Place, Signed, UserWish, principal};
use hafen_work::NewEvent;
use serde_json::{Value, json};

use crate::model::{CertificateRow, bastion_user};
use crate::store::{self, Which};
use crate::{Access, krl};

/// A machine reads every principal of a certificate, OpenSSH takes at most 256 of them.
const MOST_PROJECTS: usize = 200;

/// Who asks. Until the platform knows people, whoever holds its token is its operator.
pub(crate) fn person() -> Actor {
    let actor = Actor::current();
    if actor.kind != ActorKind::Platform {
        return actor;
    }
    Actor { kind: ActorKind::LocalOperator, id: "operator".into(), name: "operator".into(), ..actor }
}

fn not_a_page() -> Error {
    Error::invalid_field("/page", "not a page token; start again without one")
}

/// Where a certificate stands in the list of its person's.
pub(crate) fn certificate_key(one: &OwnCertificate) -> String {
    format!("{} {}", one.valid_before.micros(), one.serial)
}

impl Access {
    pub(crate) async fn event(
        &self,
        tx: &mut Tx,
        kind: &'static str,
        object: String,
        message: String,
        data: Value,
    ) -> Result<()> {
        self.event_of(tx, "", kind, object, message, data).await
    }

    /// Of a project.
    pub(crate) async fn event_of(
        &self,
        tx: &mut Tx,
        project: &str,
        kind: &'static str,
        object: String,
        message: String,
        data: Value,
    ) -> Result<()> {
        let event = NewEvent { project: project.to_owned(), kind, object, message, data };
        self.0.events.append(tx, event).await.map(drop)
    }

    /// Two certificates for one key, for the projects in which the caller may log in.
    pub(crate) async fn grant_create(
        &self,
        permitted: &Permitted,
        body: &AccessGrantCreate,
    ) -> Result<AccessGrant> {
        if !(1..=3600).contains(&body.ttl) || body.public_key.len() > 4096 {
            return Err(Error::invalid(
                "certificates last 1 to 3600 seconds, and their public key has at most 4 KiB",
            ));
        }
        let ttl = Duration::from_secs(u64::try_from(body.ttl).unwrap_or(1));
        let actor = person();
        let projects = self.0.platform.project_list().await?.into_iter().map(|project| project.name);
        let projects: Vec<String> = projects.filter(|project| permitted.has(project)).collect();
        if projects.len() > MOST_PROJECTS {
            return Err(Error::conflict(format!(
                "a certificate names at most {MOST_PROJECTS} projects, and you may log in to {}: ask with a token for some of them",
                projects.len()
            )));
        }
        if projects.is_empty() {
            return Err(Error::conflict(
                "there is no project whose machines you may log in to; a developer's role in one permits it",
            ));
        }
        let (now, random) = (self.0.now(), &*self.0.random);
        let key_id = actor.id.clone();
        let user = bastion_user(&actor);
        let source = actor.address.clone();
        let source_reason = match &source {
            Some(_) => String::new(),
            None => "the request came without an address that could be told from others".to_owned(),
        };
        let bastion_principals = [user.clone()];
        let bastion = UserWish {
            place: Place::Bastion,
            principals: &bastion_principals,
            key_id: &key_id,
            source_address: source.as_deref(),
            ttl,
        };
        let machine_principals: Vec<String> = projects.iter().map(|project| principal(project)).collect();
        let machine = UserWish {
            place: Place::Machine,
            principals: &machine_principals,
            // Each network has a gateway of its own, which is what its machines see: an address for all there is not.
            source_address: None,
            ..bastion
        };
        let signed_bastion = self.0.ca.sign_user(&body.public_key, &bastion, now, random)?;
        let signed_machine = self.0.ca.sign_user(&body.public_key, &machine, now, random)?;
        let valid_before = signed_bastion.until;

        let mut tx = self.0.db.write().await?;
        for (place, signed) in [("bastion", &signed_bastion), ("machine", &signed_machine)] {
            let row = CertificateRow {
                serial: signed.serial.to_string(),
                place: place.into(),
                actor: actor.clone(),
                key_id: key_id.clone(),
                projects: projects.clone(),
            };
            let from = source.as_deref().filter(|_| place == "bastion");
            self.certificate_issued(&mut tx, &row, from, ttl.as_secs(), valid_before).await?;
        }
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        let wire =
            |signed: Signed, user: &str, principals: &[String], source: Option<String>, reason: &str| {
                AccessCertificate {
                    certificate: signed.certificate,
                    user: user.into(),
                    serial: signed.serial.to_string(),
                    principals: principals.to_vec(),
                    source_address: source,
                    source_reason: reason.into(),
                }
            };
        Ok(AccessGrant {
            bastion: wire(signed_bastion, &user, &bastion_principals, source, &source_reason),
            machine: wire(
                signed_machine,
                LOGIN_USER,
                &machine_principals,
                None,
                "machines see the gateway of their own network, which differs from network to network",
            ),
            host_ca: self.0.ca.host_public()?,
            bastion_address: self.0.bastion_address.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            valid_before,
        })
    }

    /// Writes a certificate down, before anybody has it. `from` is the address that it is bound to.
    pub(crate) async fn certificate_issued(
        &self,
        tx: &mut Tx,
        row: &CertificateRow,
        from: Option<&str>,
        seconds: u64,
        valid_before: Timestamp,
    ) -> Result<()> {
        store::certificate_insert(tx, row, valid_before, self.0.now()).await?;
        let (place, who) = (&row.place, &row.actor);
        let message =
            format!("SSH certificate {} for the {place} issued to {} for {seconds} s", row.serial, who.name);
        let data = json!({ "serial": row.serial, "place": place, "person": who.id, "projects": row.projects,
                           "source_address": from, "valid_before": valid_before });
        self.event(tx, "access.certificate_issued", format!("certificate/{}", row.serial), message, data)
            .await
    }

    pub(crate) async fn revoke(&self, body: &RevocationCreate) -> Result<Revocation> {
        let which = match (&body.serial, &body.person, body.everything) {
            (Some(serial), None, false) if serial.parse::<u64>().is_ok() => Which::Serial(serial),
            (Some(_), None, false) => {
                return Err(Error::invalid_field("/serial", "a serial is a decimal number"));
            }
            (None, Some(person), false) if !person.is_empty() => Which::Person(person),
            (None, None, true) => Which::Everything,
            _ => return Err(Error::invalid("say exactly one of serial, person and everything")),
        };
        if body.reason.trim().is_empty() || body.reason.len() > 500 {
            return Err(Error::invalid_field("/reason", "say why, in 1 to 500 characters"));
        }
        self.revoked_by(which, &body.reason).await
    }

    async fn revoked_by(&self, which: Which<'_>, reason: &str) -> Result<Revocation> {
        let mut tx = self.0.db.write().await?;
        let certificates = store::revoke(&mut tx, which, self.0.now()).await?;
        if certificates == 0 && matches!(which, Which::Serial(_) | Which::Own { .. }) {
            return Err(Error::not_found("a certificate of this serial that is still good"));
        }
        let (object, whose) = match which {
            Which::Serial(serial) | Which::Own { serial, .. } => {
                (format!("certificate/{serial}"), format!("certificate {serial}"))
            }
            Which::Person(person) => (format!("person/{person}"), format!("all certificates of {person}")),
            Which::Everything => ("certificate/*".to_owned(), "all certificates".to_owned()),
        };
        let message = format!("revoked {whose}: {reason}");
        let data = json!({ "certificates": certificates, "reason": reason });
        self.event(&mut tx, "access.revoked", object, message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        // This process at once; others within their second.
        self.revocations_read().await?;
        Ok(Revocation { certificates })
    }

    pub(crate) async fn session_list(
        &self,
        permitted: &Permitted,
        below: &str,
        limit: u32,
    ) -> Result<Vec<AccessSession>> {
        store::session_list(&self.0.db, permitted, below, limit).await
    }

    /// The caller's own, also where they may see nobody else's.
    pub(crate) async fn own_sessions(
        &self,
        below: &str,
        open: bool,
        limit: u32,
    ) -> Result<Vec<AccessSession>> {
        store::sessions_of(&self.0.db, &person().id, below, open, limit).await
    }

    pub(crate) async fn own_certificates(&self, below: &str, limit: u32) -> Result<Vec<OwnCertificate>> {
        let below = match below.split_once(' ') {
            Some((until, serial)) => (until.parse().map_err(|_| not_a_page())?, serial),
            None if below.is_empty() => (i64::MAX, ""),
            None => return Err(not_a_page()),
        };
        store::certificates_of(&self.0.db, &person().id, below, limit).await
    }

    /// Also without the right to revoke others'.
    pub(crate) async fn own_certificate_revoke(&self, serial: &str) -> Result<()> {
        // An empty one would be all of them.
        if serial.parse::<u64>().is_err() {
            return Err(Error::invalid("a serial is a decimal number"));
        }
        let person = person();
        let which = Which::Own { serial, person: &person.id };
        self.revoked_by(which, "by who it was issued to").await.map(drop)
    }

    /// The serials that are revoked, as OpenSSH reads them.
    pub(crate) async fn revocation_list(&self) -> Result<Vec<u8>> {
        let serials = store::revoked(&self.0.db).await?;
        let version = u64::try_from(self.0.events.last().await?).unwrap_or(0);
        krl::revocation_list(&self.0.ca.user_public()?, &serials, version, self.0.now())
    }
}
