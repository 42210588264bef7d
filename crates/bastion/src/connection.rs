//! One client: what it asks for, and what it gets.

mod handler;

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hafen_base::{Error, ErrorKind, Result, Timestamp};
use russh::keys::ssh_key::Certificate;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

use crate::certificate::{CertificateFacts, Client};
use crate::gate::{EndReason, Person, Reached, Refusal, Revocations, SessionRecord};
use crate::git::GitCaller;
use crate::relay::{self, Carried};
use crate::server::Shared;
use crate::wire::FirstLine;

pub(crate) use handler::Handler;

/// The user of keys that open repositories, as with other forges.
const GIT_USER: &str = "git";

/// Who was let in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    facts: CertificateFacts,
    person: Person,
    at: Timestamp,
}

/// What the connection's tasks share.
pub(crate) struct State {
    shared: Arc<Shared>,
    address: IpAddr,
    first: FirstLine,
    began: Timestamp,
    admitted: OnceLock<Admitted>,
    /// A key that opens repositories and nothing else, and when it was let in.
    key: OnceLock<(String, Timestamp)>,
    admission: Notify,
    ending: watch::Sender<Option<EndReason>>,
    /// When a byte was last carried.
    active: AtomicI64,
    channels: AtomicUsize,
    tasks: TaskTracker,
}

impl State {
    pub(crate) fn new(shared: Arc<Shared>, address: IpAddr, first: FirstLine) -> Self {
        let began = shared.clock.now();
        Self {
            shared,
            address,
            first,
            began,
            admitted: OnceLock::new(),
            key: OnceLock::new(),
            admission: Notify::new(),
            ending: watch::Sender::new(None),
            active: AtomicI64::new(began.micros()),
            channels: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
        }
    }

    /// When the connection must end unless something happens, and why.
    pub(crate) fn due(&self) -> (Timestamp, EndReason) {
        let limits = &self.shared.limits;
        let since = self.admitted.get().map(|admitted| admitted.at);
        let Some(since) = since.or_else(|| self.key.get().map(|(_, at)| *at)) else {
            return (self.began.plus(limits.authentication), EndReason::Idle);
        };
        let longest = since.plus(limits.session);
        let idle = Timestamp::from_micros(self.active.load(Ordering::Relaxed)).plus(limits.idle);
        if longest <= idle { (longest, EndReason::TooLong) } else { (idle, EndReason::Idle) }
    }

    /// Waits until somebody is let in.
    pub(crate) async fn admission(&self) {
        self.admission.notified().await;
    }

    pub(crate) fn is_revoked(&self, revocations: &Revocations) -> bool {
        self.admitted.get().is_some_and(|admitted| revocations.hits(&admitted.facts, Some(&admitted.person)))
    }

    pub(crate) fn end(&self, reason: EndReason) {
        self.ending.send_replace(Some(reason));
    }

    /// Waits until every session was told to the gate.
    pub(crate) async fn finish(&self) {
        // Whatever still dials or carries has nobody left to do it for.
        self.ending.send_if_modified(|ending| {
            let open = ending.is_none();
            ending.get_or_insert(EndReason::Client);
            open
        });
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn touch(&self) {
        self.active.store(self.shared.clock.now().micros(), Ordering::Relaxed);
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(&self) -> EndReason {
        let mut ending = self.ending.subscribe();
        let reason = ending.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        reason.unwrap_or(EndReason::Client)
    }

    fn client(&self) -> Client {
        Client { address: self.address, version: self.first.text() }
    }

    async fn refused(
        &self,
        user: &str,
        certificate: Option<&Certificate>,
        what: &'static str,
        reason: String,
    ) {
        let admitted = self.admitted.get();
        let user = admitted.map_or(user, |admitted| &admitted.facts.user);
        tracing::info!(address = %self.address, user, what, reason, "refused");
        let refusal = Refusal {
            address: self.address,
            client: self.first.text(),
            user: printable(user),
            key_id: certificate
                .map(|certificate| printable(certificate.key_id()))
                .or_else(|| admitted.map(|admitted| admitted.facts.key_id.clone())),
            serial: certificate
                .map(Certificate::serial)
                .or_else(|| admitted.map(|admitted| admitted.facts.serial)),
            person: admitted.map(|admitted| admitted.person.clone()),
            what,
            reason,
        };
        self.shared.gate.refused(&refusal).await;
    }

    async fn admit(&self, user: &str, certificate: &Certificate) -> Result<()> {
        let shared = &self.shared;
        let client = self.client();
        let facts = shared
            .rules
            .check(certificate, user, &client, shared.clock.now())
            .map_err(|fault| Error::new(ErrorKind::Forbidden, fault.to_string()))?;
        let person = tokio::select! {
            person = shared.gate.admit(&facts, &client) => person?,
            () = shared.clock.sleep(shared.limits.dial) => {
                return Err(Error::unavailable("nobody could say in time whose certificate this is"));
            }
        };
        if shared.gate.revocations().borrow().hits(&facts, Some(&person)) {
            return Err(Error::new(ErrorKind::Forbidden, "revoked"));
        }
        let now = shared.clock.now();
        self.active.store(now.micros(), Ordering::Relaxed);
        // A second sign-in on one connection does not happen: the protocol is over with it after the first.
        let _first = self.admitted.set(Admitted { facts, person, at: now });
        self.admission.notify_one();
        Ok(())
    }

    /// Lets a key in that opens repositories.
    async fn admit_key(&self, fingerprint: String) -> Result<bool> {
        let shared = &self.shared;
        let Some(git) = &shared.git else { return Ok(false) };
        let known = tokio::select! {
            known = git.knows(&fingerprint) => known?,
            () = shared.clock.sleep(shared.limits.dial) => return Ok(false),
        };
        if known {
            let now = shared.clock.now();
            self.active.store(now.micros(), Ordering::Relaxed);
            let _first = self.key.set((fingerprint, now));
            self.admission.notify_one();
        }
        Ok(known)
    }

    /// Who wants git, by what they were let in with.
    async fn git_caller(&self) -> Result<GitCaller> {
        if let Some((fingerprint, _)) = self.key.get() {
            return Ok(GitCaller::Key { fingerprint: fingerprint.clone(), address: self.address });
        }
        let admitted = self.admitted.get();
        let admitted = admitted.ok_or_else(|| Error::new(ErrorKind::Forbidden, "nobody was let in"))?;
        let (actor, projects) = self.shared.gate.person(admitted.facts.serial, self.address).await?;
        Ok(GitCaller::Person { actor, projects })
    }

    /// A place among the channels, or none.
    fn channel_place(self: &Arc<Self>) -> Option<ChannelPlace> {
        let most = self.shared.limits.channels;
        let taken = self
            .channels
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < most).then_some(count + 1));
        taken.is_ok().then(|| ChannelPlace(Arc::clone(self)))
    }

    async fn target(&self, admitted: &Admitted, host: &str, port: u16) -> Result<Reached> {
        tokio::select! {
            target = self.shared.gate.target(&admitted.person, admitted.facts.serial, host, port) => target,
            () = self.shared.clock.sleep(self.shared.limits.dial) => {
                Err(Error::unavailable("the machine did not answer in time"))
            }
            _ = self.ended() => Err(Error::unavailable("the client went away")),
        }
    }
}

struct ChannelPlace(Arc<State>);

impl Drop for ChannelPlace {
    fn drop(&mut self) {
        self.0.channels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Names come from the network: what is no printable ASCII stands as `?`, and long ones are cut.
fn printable(text: &str) -> String {
    text.chars().take(255).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

/// Connects, tells the gate, carries, tells the gate.
async fn open(state: Arc<State>, channel: Channel<Msg>, host: String, port: u16, reply: ChannelOpenHandle) {
    let Some(admitted) = state.admitted.get() else {
        return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    };
    let Reached { target, lost } = match state.target(admitted, &host, port).await {
        Ok(reached) => reached,
        Err(error) => {
            // Whether a machine is not there or not for this person is told to nobody.
            let hidden = matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::Unauthenticated
            );
            if hidden {
                let reason = format!("{}:{port}: {error}", printable(&host));
                state.refused("", None, "target", reason).await;
                return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            }
            tracing::info!(host = printable(&host), port, cause = %error.cause_chain(), "{error}");
            return reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
    };
    let shared = &state.shared;
    let mut record = SessionRecord {
        number: shared.numbers.fetch_add(1, Ordering::Relaxed),
        person: admitted.person.clone(),
        serial: admitted.facts.serial,
        key_id: admitted.facts.key_id.clone(),
        address: state.address,
        client: state.first.text(),
        host,
        port,
        opened_at: shared.clock.now(),
        ended: None,
        sent: 0,
        received: 0,
    };
    if let Err(error) = shared.gate.opened(&record).await {
        tracing::error!(cause = %error.cause_chain(), "a session is refused, as it cannot be written down: {error}");
        return reply.reject(ChannelOpenFailure::ConnectFailed).await;
    }
    state.touch();
    reply.accept().await;
    let carried = Carried::default();
    let (mut incoming, outgoing) = channel.split();
    let reason = tokio::select! {
        reason = relay::carry(&mut incoming, &outgoing, target, &carried, &state) => reason,
        reason = state.ended() => reason,
        () = lost.cancelled() => EndReason::Revoked,
    };
    drop(incoming);
    tokio::select! {
        // When the connection is gone, so is the channel.
        _ = outgoing.close() => {}
        _ = state.ended() => {}
    }
    record.ended = Some((shared.clock.now(), reason));
    record.sent = carried.sent.load(Ordering::Relaxed);
    record.received = carried.received.load(Ordering::Relaxed);
    shared.gate.closed(&record).await;
}
