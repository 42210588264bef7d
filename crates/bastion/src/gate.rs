//! What the bastion asks, and what it tells.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hafen_base::{Actor, Error, ErrorKind, Result, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::certificate::{CertificateFacts, Client};

/// A connection to a machine's port.
pub trait Target: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Target for T {}

/// A machine that was reached, and the right by which.
pub struct Reached {
    pub target: Box<dyn Target>,
    /// Turns when the right is lost while it is carried: the session ends as revoked.
    pub lost: CancellationToken,
}

impl Reached {
    /// By a right that nothing takes away.
    pub fn for_good(target: impl Target + 'static) -> Self {
        Self { target: Box::new(target), lost: CancellationToken::new() }
    }
}

/// Whom a certificate belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Never changes, never given twice.
    pub id: String,
    /// For people.
    pub name: String,
}

/// Certificates that are good no more though their time has not come. Replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    pub serials: HashSet<u64>,
    pub key_ids: HashSet<String>,
    /// Ids of persons.
    pub persons: HashSet<String>,
    /// Nothing passes: for the hour when nobody knows what was lost.
    pub everything: bool,
}

impl Revocations {
    pub(crate) fn hits(&self, facts: &CertificateFacts, person: Option<&Person>) -> bool {
        self.everything
            || self.serials.contains(&facts.serial)
            || self.key_ids.contains(&facts.key_id)
            || person.is_some_and(|person| self.persons.contains(&person.id))
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The client closed it or went away.
    Client,
    /// The machine closed it.
    Target,
    Revoked,
    /// It lasted as long as a session may.
    TooLong,
    /// Nothing was carried for too long.
    Idle,
    /// The bastion stops.
    Stopping,
}

impl EndReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Target => "target",
            Self::Revoked => "revoked",
            Self::TooLong => "too_long",
            Self::Idle => "idle",
            Self::Stopping => "stopping",
        }
    }
}

/// One connection that was carried to one machine. Never what was in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Unique within this process.
    pub number: u64,
    pub person: Person,
    pub serial: u64,
    pub key_id: String,
    pub address: IpAddr,
    /// The client's line of identification.
    pub client: String,
    /// The name asked for.
    pub host: String,
    pub port: u16,
    pub opened_at: Timestamp,
    /// Set when it is over.
    pub ended: Option<(Timestamp, EndReason)>,
    /// Bytes from the client to the machine.
    pub sent: u64,
    /// Bytes from the machine to the client.
    pub received: u64,
}

/// Something that was not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub address: IpAddr,
    pub client: String,
    /// The user name asked for.
    pub user: String,
    /// Of a certificate whose signature is good; even then it may be another authority's.
    pub key_id: Option<String>,
    pub serial: Option<u64>,
    pub person: Option<Person>,
    /// `certificate`, `key`, `target`, `channel`, `forward`.
    pub what: &'static str,
    /// For an operator; the client is told less.
    pub reason: String,
}

/// The bastion's only way to the rest of the world.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Whose certificate this is. It is good by all rules of `certificate`, and not revoked.
    ///
    /// # Errors
    /// Any: the client is refused.
    async fn admit(&self, facts: &CertificateFacts, client: &Client) -> Result<Person>;

    /// Connects whom this certificate belongs to with a port of what stands under this literal name in the inventory. Resolves
    /// nothing.
    ///
    /// # Errors
    /// Not found and forbidden look alike to the client (administratively prohibited); others are failed connections.
    async fn target(&self, person: &Person, serial: u64, host: &str, port: u16) -> Result<Reached>;

    /// Who acts by this certificate now, and the projects that it names: for what is no machine. Nobody, unless a gate knows.
    ///
    /// # Errors
    /// Any: the client is refused.
    async fn person(&self, _serial: u64, _address: IpAddr) -> Result<(Actor, Vec<String>)> {
        Err(Error::new(ErrorKind::Forbidden, "this bastion leads to machines only"))
    }

    /// A session began: the connection to the machine stands. It goes on only when this succeeds: what cannot be written
    /// down does not happen.
    ///
    /// # Errors
    /// Any: the session is refused.
    async fn opened(&self, record: &SessionRecord) -> Result<()>;

    /// A session is over.
    async fn closed(&self, record: &SessionRecord);

    /// Something was refused.
    async fn refused(&self, refusal: &Refusal);

    /// What is revoked, now and from now on.
    fn revocations(&self) -> watch::Receiver<Arc<Revocations>>;
}
