//! A shell on a machine for who has a browser and nothing else.
//!
//! # Why it is built so
//!
//! It is the way that stock `ssh` takes, with the platform in place of the client: a key made for this one session and never
//! written down, a certificate in the person's own name (their key id, their principal, a serial that can be revoked), a connection
//! to port 22 inside the machine's network, a host that proves itself by its certificate. So the machine's own log names the
//! person, and what the bastion knows of a session (`AccessGate`: the list, the ledger, alerts, revocations) is known of this one
//! by the same code.
//!
//! What opened it is asked about again while it lasts: the right to the machine each second (`ways`), and what the caller showed
//! (`StillPermitted`) each other second. Bytes that are typed count as use of that; a shell that is only open does not.
//!
//! A simulated machine has no SSH server. There a few words are understood (`sim`), so that everything but the machine is as it is.

mod api;
mod carry;
mod sim;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hafen_base::{Actor, Error, ErrorKind, Result};
use hafen_bastion::{Person, SessionRecord};
use hafen_client::Duplex;
use hafen_client::wire::{Machine, MachineState};
use hafen_db::store_error;
use hafen_remote::{Ended, Login, Session, Shell, Size, Typed};
use hafen_sshca::ssh_key::{Certificate, PrivateKey, PublicKey};
use hafen_sshca::{HostKey, LOGIN_USER, Place, UserWish, principal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Access;
use crate::app::person;
use crate::gate::AccessGate;
use crate::model::{CertificateRow, PORT};
use crate::ways::Way;

/// The name by which sessions that a killed platform left open are known.
const CARRIER: &str = "shell";
/// The certificate of a session, which only begins within it.
const CERTIFICATE: Duration = Duration::from_secs(120);
/// For a connection to stand, on a host that emulates and is busy.
const CONNECT: Duration = Duration::from_secs(60);

/// How long, how many.
#[derive(Debug, Clone)]
pub struct ShellLimits {
    /// Longest session.
    pub session: Duration,
    /// Without a byte carried.
    pub idle: Duration,
    /// Open at a time, of one person.
    pub of_one: usize,
    pub of_all: usize,
}

impl Default for ShellLimits {
    /// As long as through the bastion.
    fn default() -> Self {
        let bastion = hafen_bastion::Limits::default();
        Self { session: bastion.session, idle: bastion.idle, of_one: 32, of_all: 500 }
    }
}

/// What it is given.
#[derive(Debug, Clone, Default)]
pub struct ShellConfig {
    /// Machines are simulated.
    pub simulated: bool,
    pub limits: ShellLimits,
}

/// Shells on machines: cheap to clone.
#[derive(Clone)]
pub struct Shells(Arc<Parts>);

struct Parts {
    access: Access,
    gate: AccessGate,
    config: ShellConfig,
    numbers: AtomicU64,
    /// How many are open, by whom.
    open: Mutex<HashMap<String, usize>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// One of those that may be open; it is free again with this value.
struct Seat {
    shells: Shells,
    who: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.shells.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.who);
            }
        }
    }
}

/// What is at the other end.
enum Far {
    Machine(Box<Shell>),
    Simulated(sim::Simulated),
}

impl Far {
    async fn run(self, typed: mpsc::Receiver<Typed>, heard: mpsc::Sender<Bytes>) -> Result<Ended> {
        match self {
            Self::Machine(shell) => shell.run(typed, heard).await,
            Self::Simulated(simulated) => Ok(simulated.run(typed, heard).await),
        }
    }
}

/// A shell that stands, and nobody is at it yet.
struct Standing {
    far: Far,
    record: SessionRecord,
    actor: Actor,
    way: Way,
    _seat: Seat,
}

impl Shells {
    /// Closes the sessions that a killed platform left open.
    ///
    /// # Errors
    /// As the database's.
    pub async fn open(access: Access, config: ShellConfig) -> Result<Self> {
        let gate = AccessGate::open(access.clone(), CARRIER).await?;
        Ok(Self(Arc::new(Parts {
            access,
            gate,
            config,
            numbers: AtomicU64::new(1),
            open: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })))
    }

    /// The routes, to be merged with those of the services.
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new().routes(routes!(api::shell)).with_state(self.clone())
    }

    /// Ends them all when `stop` turns true, and waits until that is written down.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        // Nobody who could say so is left, when the sender is gone.
        let _gone = stop.wait_for(|stop| *stop).await.is_err();
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn seat(&self, who: &str) -> Result<Seat> {
        let limits = &self.0.config.limits;
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, all) = (open.get(who).copied().unwrap_or(0), open.values().sum::<usize>());
        if own >= limits.of_one || all >= limits.of_all {
            let most = if own >= limits.of_one { limits.of_one } else { limits.of_all };
            return Err(Error::new(
                ErrorKind::TooMany,
                format!("{most} shells are open already: close some, and try again"),
            ));
        }
        open.insert(who.to_owned(), own + 1);
        Ok(Seat { shells: self.clone(), who: who.to_owned() })
    }

    /// Opens a shell, as who asks.
    async fn stand(&self, project: &str, machine: &str, size: Size, client: &str) -> Result<Standing> {
        let access = &self.0.access;
        let actor = person();
        let seat = self.seat(&actor.id)?;
        let there = access.0.platform.machine_get(project, machine).await?;
        if there.state != MachineState::Started {
            let text = format!("machine {:?} is {}, not started", there.name, there.state.as_str());
            return Err(Error::conflict(text).with_code("not_started"));
        }
        // Watched before anything is opened: a role that is taken in between closes it.
        let way = access.0.ways.open(&actor, project);
        let (key, certificate, serial) = self.certificate(&actor, project).await?;
        let far = if self.0.config.simulated {
            Far::Simulated(sim::Simulated::new(&there.name, size))
        } else {
            let shell = async {
                let session = self.connect(&there, key, certificate).await?;
                session.shell(size).await
            };
            let shell = tokio::select! {
                shell = shell => shell?,
                () = access.0.clock.sleep(CONNECT) => {
                    let text = format!("machine {:?} did not answer within {} s", there.name, CONNECT.as_secs());
                    return Err(Error::unavailable(text));
                }
            };
            Far::Machine(Box::new(shell))
        };
        let address = actor.address.as_deref().and_then(|address| address.parse().ok());
        let client: String = client.chars().filter(|c| !c.is_control()).take(200).collect();
        let record = SessionRecord {
            number: self.0.numbers.fetch_add(1, Ordering::Relaxed),
            person: Person { id: actor.id.clone(), name: actor.name.clone() },
            serial,
            key_id: actor.id.clone(),
            // Who asks at the platform's socket is on its host.
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            client: format!(
                "shell by {}",
                if client.is_empty() { "a client without a name" } else { client.as_str() }
            ),
            host: format!("{}.{}.hafen", there.name, there.project),
            port: PORT,
            opened_at: access.0.now(),
            ended: None,
            sent: 0,
            received: 0,
        };
        Ok(Standing { far, record, actor, way, _seat: seat })
    }

    /// A key and its certificate for one session, written down before anything is opened by it.
    async fn certificate(&self, actor: &Actor, project: &str) -> Result<(PrivateKey, Certificate, u64)> {
        let access = &self.0.access;
        let (now, random) = (access.0.now(), &*access.0.random);
        let pair = HostKey::generate(random)?;
        let principals = [principal(project)];
        let wish = UserWish {
            place: Place::Machine,
            principals: &principals,
            key_id: &actor.id,
            // The machine sees the gateway of its own network.
            source_address: None,
            ttl: CERTIFICATE,
        };
        let signed = access.0.ca.sign_user(&pair.public_key, &wish, now, random)?;
        let row = CertificateRow {
            serial: signed.serial.to_string(),
            place: "machine".into(),
            actor: actor.clone(),
            key_id: actor.id.clone(),
            projects: vec![project.to_owned()],
        };
        let mut tx = access.0.db.write().await?;
        access.certificate_issued(&mut tx, &row, None, CERTIFICATE.as_secs(), signed.until).await?;
        tx.commit().await.map_err(store_error)?;
        access.0.events.ring();
        let key = PrivateKey::from_openssh(&pair.private_key).map_err(Error::internal)?;
        let certificate = Certificate::from_openssh(&signed.certificate).map_err(Error::internal)?;
        Ok((key, certificate, signed.serial))
    }

    async fn connect(&self, there: &Machine, key: PrivateKey, certificate: Certificate) -> Result<Session> {
        let parts = &self.0.access.0;
        let stream = parts.platform.machine_dial(&there.project, &there.name, PORT).await?;
        let authority = PublicKey::from_openssh(&parts.ca.host_public()?).map_err(Error::internal)?;
        let login = Login {
            host_authority: authority.key_data().clone(),
            host: format!("{}.{}.hafen", there.name, there.project),
            host_key: there.ssh_host_key.clone().unwrap_or_default(),
            user: LOGIN_USER.into(),
            key,
            certificate,
            now: parts.now(),
        };
        Session::open(Box::new(Duplex::from(stream)), login).await
    }

    /// Whether a certificate of this session was revoked, which is told to all bastions.
    async fn revoked(&self, serial: u64) {
        let mut known = hafen_bastion::Gate::revocations(&self.0.gate);
        let gone = known.wait_for(|known| known.everything || known.serials.contains(&serial)).await.is_err();
        if gone {
            std::future::pending::<()>().await;
        }
    }
}
