//! What the bastion asks and tells, answered from this service's store and the inventory of the machines service.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Actor, Error, ErrorKind, Result, SshSessionId, Timestamp};
use hafen_bastion::{CertificateFacts, Client, Gate, Person, Reached, Refusal, Revocations, SessionRecord};
use hafen_client::wire::AccessSession;
use hafen_client::{ByteStream, Duplex};
use hafen_db::store_error;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use crate::model::{CertificateRow, PORT, machine_of};
use crate::ways::Way;
use crate::{Access, store};

/// The same refusal of the same address is written down once in this time, so that who knocks all day fills no log.
const QUIET: Duration = Duration::from_secs(60);
/// Addresses whose refusals are held back at a time.
const QUIET_MOST: usize = 10_000;

/// The gate of one bastion.
pub struct AccessGate {
    access: Access,
    /// Tells the sessions of one bastion from another's.
    bastion: String,
    sessions: Mutex<HashMap<u64, AccessSession>>,
    /// What was seen before, so that an ordinary connection writes nothing.
    seen: Mutex<HashSet<(String, &'static str, String)>>,
    quiet: Mutex<HashMap<(IpAddr, &'static str), Timestamp>>,
}

impl AccessGate {
    /// Closes the sessions that a bastion of this name left open when it died.
    ///
    /// # Errors
    /// As the database's.
    pub async fn open(access: Access, bastion: &str) -> Result<Self> {
        let mut tx = access.0.db.write().await?;
        let lost = store::sessions_lost(&mut tx, bastion, access.0.now()).await?;
        if lost > 0 {
            let message = format!("{lost} SSH sessions ended with the bastion that carried them");
            let data = json!({ "sessions": lost });
            access
                .event(&mut tx, "access.sessions_lost", format!("bastion/{bastion}"), message, data)
                .await?;
        }
        tx.commit().await.map_err(store_error)?;
        access.0.events.ring();
        Ok(Self {
            access,
            bastion: bastion.to_owned(),
            sessions: Mutex::default(),
            seen: Mutex::default(),
            quiet: Mutex::default(),
        })
    }

    /// An alert for each of these that this person was never seen with.
    pub(crate) async fn first_seen(&self, actor: &Actor, things: &[(&'static str, &str)]) -> Result<()> {
        let new: Vec<_> = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            things
                .iter()
                .map(|(what, value)| (actor.id.clone(), *what, (*value).to_owned()))
                .filter(|key| !seen.contains(key))
                .collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        let mut tx = self.access.0.db.write().await?;
        for (person, what, value) in &new {
            if store::seen(&mut tx, person, what, value, self.access.0.now()).await? {
                let message = format!("{} was not seen with this {what} before: {value}", actor.name);
                let data = json!({ "person": person, "what": what, "value": value });
                let project = if *what == "machine" { project_of(value) } else { "" };
                self.access
                    .event_of(&mut tx, project, "alert.first_seen", format!("person/{person}"), message, data)
                    .await?;
            }
        }
        tx.commit().await.map_err(store_error)?;
        self.access.0.events.ring();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
        Ok(())
    }

    /// Who a session belongs to, also when the certificate was revoked since.
    async fn actor(&self, serial: u64, address: IpAddr) -> Result<Actor> {
        let row = store::certificate(&self.access.0.db, serial).await?;
        let actor = row.map_or_else(Actor::platform, |row| row.actor);
        Ok(at_bastion(actor, serial, address))
    }

    /// The certificate at the bastion, unless it was revoked.
    async fn good(&self, serial: u64) -> Result<CertificateRow> {
        let row = store::certificate_good(&self.access.0.db, serial).await?;
        row.filter(|row| row.place == "bastion")
            .ok_or_else(|| forbidden("this certificate is revoked, or nobody was given it here"))
    }

    /// Whether this refusal is news.
    fn is_news(&self, refusal: &Refusal) -> bool {
        let now = self.access.0.now();
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        if quiet.len() >= QUIET_MOST {
            quiet.retain(|_, until| *until > now);
            if quiet.len() >= QUIET_MOST {
                return false;
            }
        }
        let key = (refusal.address, refusal.what);
        if quiet.get(&key).is_some_and(|until| *until > now) {
            return false;
        }
        quiet.insert(key, now.plus(QUIET));
        true
    }
}

/// The project that a machine is in, by its literal name; empty for what is none.
fn project_of(host: &str) -> &str {
    machine_of(host).map_or("", |(_, project)| project)
}

/// Who acts, through this certificate, from there.
fn at_bastion(actor: Actor, serial: u64, address: IpAddr) -> Actor {
    Actor {
        credential: format!("certificate/{serial}"),
        address: Some(address.to_string()),
        request_id: String::new(),
        reason: String::new(),
        ..actor
    }
}

fn forbidden(message: &str) -> Error {
    Error::new(ErrorKind::Forbidden, message)
}

#[async_trait]
impl Gate for AccessGate {
    async fn admit(&self, facts: &CertificateFacts, client: &Client) -> Result<Person> {
        let row = self.good(facts.serial).await?;
        if row.key_id != facts.key_id {
            return Err(forbidden("this certificate is not the one of its serial"));
        }
        let actor = at_bastion(row.actor.clone(), facts.serial, client.address);
        let things = [("address", client.address.to_string()), ("client", client.version.clone())];
        let things: Vec<_> = things.iter().map(|(what, value)| (*what, value.as_str())).collect();
        actor.clone().acts(self.first_seen(&actor, &things)).await?;
        Ok(Person { id: row.actor.id, name: row.actor.name })
    }

    async fn target(&self, person: &Person, serial: u64, host: &str, port: u16) -> Result<Reached> {
        let (machine, project) =
            machine_of(host).ok_or_else(|| Error::not_found("such machine in the inventory"))?;
        if port != PORT {
            return Err(forbidden("only port 22 of machines is reached through the bastion"));
        }
        let row = self.good(serial).await?;
        if row.actor.id != person.id || !row.projects.iter().any(|one| one == project) {
            return Err(forbidden("this person's certificate is not for that project"));
        }
        // Watched before it is asked about: a role that is taken in between closes it.
        let way = self.access.0.ways.open(&row.actor, project);
        if !self.access.0.rights.may_log_in(&row.actor, project).await? {
            return Err(forbidden("this person's roles do not permit SSH to that project any more"));
        }
        // By its name: an id would find it, too, and is not what its host certificate says.
        let there = self.access.0.platform.machine_get(project, machine).await?;
        if there.name != machine {
            return Err(Error::not_found("such machine in the inventory"));
        }
        let stream = self.access.0.platform.machine_dial(project, machine, port).await?;
        let lost = way.lost();
        Ok(Reached { target: Box::new(Carrier::new(stream, Some(way))), lost })
    }

    async fn person(&self, serial: u64, address: IpAddr) -> Result<(Actor, Vec<String>)> {
        let row = self.good(serial).await?;
        Ok((Actor { address: Some(address.to_string()), ..row.actor }, row.projects))
    }

    async fn opened(&self, record: &SessionRecord) -> Result<()> {
        let parts = &self.access.0;
        let actor = self.actor(record.serial, record.address).await?;
        let session = AccessSession {
            id: SshSessionId::generate(record.opened_at, &*parts.random).to_string(),
            person: record.person.id.clone(),
            name: record.person.name.clone(),
            serial: record.serial.to_string(),
            key_id: record.key_id.clone(),
            address: record.address.to_string(),
            client: record.client.clone(),
            host: record.host.clone(),
            port: record.port,
            opened_at: record.opened_at,
            ended_at: None,
            end_reason: String::new(),
            sent: 0,
            received: 0,
        };
        let written = async {
            let mut tx = parts.db.write().await?;
            let project = project_of(&session.host);
            store::session_insert(&mut tx, &self.bastion, &session, project).await?;
            let message = format!("{} opened an SSH session to {}", session.name, session.host);
            let data = serde_json::to_value(&session).map_err(Error::internal)?;
            let object = format!("session/{}", session.id);
            self.access.event_of(&mut tx, project, "access.session_opened", object, message, data).await?;
            tx.commit().await.map_err(store_error)?;
            parts.events.ring();
            self.first_seen(&actor, &[("machine", &session.host)]).await
        };
        actor.clone().acts(written).await?;
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(record.number, session);
        Ok(())
    }

    async fn closed(&self, record: &SessionRecord) {
        let parts = &self.access.0;
        let session = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&record.number);
        let Some(mut session) = session else { return };
        let (ended_at, reason) = record.ended.map_or((parts.now(), ""), |(at, reason)| (at, reason.as_str()));
        session.ended_at = Some(ended_at);
        session.end_reason = reason.into();
        session.sent = i64::try_from(record.sent).unwrap_or(i64::MAX);
        session.received = i64::try_from(record.received).unwrap_or(i64::MAX);
        let written = async {
            let mut tx = parts.db.write().await?;
            store::session_end(&mut tx, &session).await?;
            let seconds = ended_at.since(session.opened_at).as_secs();
            let message = format!(
                "the SSH session of {} to {} ended after {seconds} s ({reason}): {} bytes in, {} bytes out",
                session.name, session.host, session.sent, session.received
            );
            let data = serde_json::to_value(&session).map_err(Error::internal)?;
            let (project, object) = (project_of(&session.host), format!("session/{}", session.id));
            self.access.event_of(&mut tx, project, "access.session_closed", object, message, data).await?;
            tx.commit().await.map_err(store_error)
        };
        let written: Result<()> = match self.actor(record.serial, record.address).await {
            Ok(actor) => actor.acts(written).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => parts.events.ring(),
            // The next start of this bastion closes it as lost.
            Err(error) => {
                tracing::error!(cause = %error.cause_chain(), "the end of a session is not written down: {error}");
            }
        }
    }

    async fn refused(&self, refusal: &Refusal) {
        if !self.is_news(refusal) {
            return;
        }
        let who = refusal.person.as_ref().map_or(refusal.user.as_str(), |person| &person.name);
        let message = format!(
            "refused at the bastion: {} ({}) from {}: {}",
            who, refusal.what, refusal.address, refusal.reason
        );
        let data = json!({
            "what": refusal.what, "reason": refusal.reason, "user": refusal.user, "address": refusal.address,
            "client": refusal.client, "key_id": refusal.key_id, "serial": refusal.serial.map(|serial| serial.to_string()),
            "person": refusal.person.as_ref().map(|person| &person.id),
        });
        let written = async {
            let mut tx = self.access.0.db.write().await?;
            self.access
                .event(&mut tx, "alert.refused", format!("address/{}", refusal.address), message, data)
                .await?;
            tx.commit().await.map_err(store_error)
        };
        // Of somebody who was let in before, it is seen by the auditors of their organisation.
        let actor = match (&refusal.person, refusal.serial) {
            (Some(_), Some(serial)) => self.actor(serial, refusal.address).await,
            _ => Ok(Actor::platform()),
        };
        let written: Result<()> = match actor {
            Ok(actor) => actor.acts(written).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => self.access.0.events.ring(),
            Err(error) => {
                tracing::error!(cause = %error.cause_chain(), "a refusal is not written down: {error}");
            }
        }
    }

    fn revocations(&self) -> watch::Receiver<Arc<Revocations>> {
        self.access.0.revocations.subscribe()
    }
}

/// A connection to a machine, and by whose rights it is open.
pub(crate) struct Carrier {
    duplex: Duplex,
    /// Watched for as long as it is carried.
    _way: Option<Way>,
}

impl Carrier {
    pub(crate) fn new(stream: ByteStream, way: Option<Way>) -> Self {
        Self { duplex: stream.into(), _way: way }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.duplex).poll_read(cx, buf)
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.duplex).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.duplex).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.duplex).poll_shutdown(cx)
    }
}
