//! Listens, counts who is there, watches over each connection, and ends it when its time has come.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hafen_base::{Clock, Error, Result};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, Certificate, PrivateKey};
use russh::{Disconnect, MethodKind, MethodSet, Preferred, SshId, cipher, compression, mac};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::certificate::Rules;
use crate::connection::{Handler, State};
use crate::gate::{EndReason, Gate, Revocations};
use crate::git::Git;
use crate::offer::Offers;
use crate::wire::{FirstLine, Wire};

/// What the bastion is given.
pub struct BastionConfig {
    /// Ed25519.
    pub host_key: PrivateKey,
    /// For the host key, so that clients know the bastion by its authority.
    pub host_certificate: Option<Certificate>,
    /// Public keys of the authorities of users.
    pub authorities: Vec<KeyData>,
    pub clock: Arc<dyn Clock>,
    pub limits: Limits,
    /// Serves git; nobody does where there is none.
    pub git: Option<Arc<dyn Git>>,
    /// OpenSSH 9.0 to 9.8 is offered a key exchange that a quantum computer may open later; with this, nobody is.
    pub post_quantum_only: bool,
}

/// How much, how many, how long.
#[derive(Debug, Clone)]
pub struct Limits {
    pub connections: usize,
    /// Of one IPv4 address, or one IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// From the connection until somebody is let in.
    pub authentication: Duration,
    /// Longest session: certificates end, connections do not end by themselves.
    pub session: Duration,
    /// Without a byte carried.
    pub idle: Duration,
    /// Open at a time on one connection.
    pub channels: usize,
    /// For a gate to answer or a machine to be reached.
    pub dial: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2000,
            connections_per_address: 200,
            authentication: Duration::from_secs(30),
            session: Duration::from_secs(12 * 3600),
            idle: Duration::from_secs(3600),
            channels: 64,
            dial: Duration::from_secs(15),
        }
    }
}

/// What all connections share.
pub(crate) struct Shared {
    pub gate: Arc<dyn Gate>,
    pub git: Option<Arc<dyn Git>>,
    pub clock: Arc<dyn Clock>,
    pub limits: Limits,
    pub rules: Rules,
    pub numbers: AtomicU64,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The SSH server.
#[derive(Debug)]
pub struct Bastion;

impl Bastion {
    /// Serves until `stop` turns true; then ends what is open, and returns once all of it was told to the gate.
    ///
    /// # Errors
    /// Invalid when a key is not Ed25519.
    pub async fn serve(
        listener: TcpListener,
        config: BastionConfig,
        gate: Arc<dyn Gate>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        if config.host_key.algorithm() != Algorithm::Ed25519
            || config.authorities.iter().any(|key| key.ed25519().is_none())
        {
            return Err(Error::invalid("the bastion takes Ed25519 keys only"));
        }
        let offers = Arc::new(Offers::new(|| protocol(&config), config.post_quantum_only));
        let shared = Arc::new(Shared {
            gate,
            git: config.git,
            clock: config.clock,
            limits: config.limits,
            rules: Rules { authorities: config.authorities },
            numbers: AtomicU64::new(1),
            counts: Mutex::default(),
        });
        let tasks = TaskTracker::new();
        while !*stop.borrow_and_update() {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let address = peer.ip().to_canonical();
                    let Some(place) = Place::take(&shared, address) else {
                        tracing::warn!(%address, "too many connections: one is turned away");
                        continue;
                    };
                    let (offers, shared, stop) = (Arc::clone(&offers), Arc::clone(&shared), stop.clone());
                    tasks.spawn(async move {
                        if let Err(error) = carry(stream, address, &offers, shared, stop).await {
                            tracing::debug!(%address, "{error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Mostly too many open files: others end, then it goes on.
                    tracing::warn!("no connection can be taken: {error}");
                    shared.clock.sleep(Duration::from_millis(200)).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

/// Algorithms without known weakness only (`ssh-audit` is the judge), and what they are used for.
fn protocol(config: &BastionConfig) -> russh::server::Config {
    // The client's order decides. Most begin with ChaCha20 and put AES-CTR before AES-GCM, both of which are slower than
    // AES-GCM wherever the processor has AES: so they are left out, or offered only where it has not.
    let ciphers = if aes_in_hardware() {
        vec![cipher::AES_256_GCM]
    } else {
        vec![cipher::CHACHA20_POLY1305, cipher::AES_256_GCM]
    };
    russh::server::Config {
        // Nothing of versions: who attacks need not be told which.
        server_id: SshId::Standard("SSH-2.0-Hafen".into()),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        auth_rejection_time: Duration::from_millis(300),
        // Clients begin with "none" to hear what there is.
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![config.host_key.clone()],
        certificates: config.host_certificate.iter().cloned().collect(),
        limits: russh::Limits::default(),
        window_size: 8 << 20,
        maximum_packet_size: 32 << 10,
        // As many packets of the largest kind as the window holds. While a machine does not read, the connection is not
        // read either, which is what holds the client back; what is kept in memory for it stays below this.
        channel_buffer_size: 256,
        event_buffer_size: 64,
        preferred: Preferred {
            // `Offers` says which.
            kex: Vec::new().into(),
            key: vec![Algorithm::Ed25519].into(),
            host_key_certificates: Vec::new().into(),
            cipher: ciphers.into(),
            mac: vec![mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM].into(),
            compression: vec![compression::NONE].into(),
        },
        max_auth_attempts: 6,
        // The true limit is ours (`Limits::idle`, counted in bytes carried); this ends writes that nobody takes.
        inactivity_timeout: Some(config.limits.idle.max(Duration::from_secs(120))),
        keepalive_interval: Some(Duration::from_secs(30)),
        keepalive_max: 3,
        nodelay: true,
    }
}

#[cfg(target_arch = "x86_64")]
fn aes_in_hardware() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn aes_in_hardware() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn aes_in_hardware() -> bool {
    false
}

/// A counted place among the connections; given back when dropped.
struct Place {
    shared: Arc<Shared>,
    network: IpAddr,
}

impl Place {
    fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let network = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        };
        let mut counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let here = counts.by_address.get(&network).copied().unwrap_or(0);
        if counts.all >= shared.limits.connections || here >= shared.limits.connections_per_address {
            return None;
        }
        counts.all += 1;
        counts.by_address.insert(network, here + 1);
        Some(Self { shared: Arc::clone(shared), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        let left = counts.by_address.get(&self.network).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            counts.by_address.remove(&self.network);
        } else {
            counts.by_address.insert(self.network, left);
        }
    }
}

/// One connection from its beginning to its end.
async fn carry(
    stream: TcpStream,
    address: IpAddr,
    offers: &Offers,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let broken = |error: std::io::Error| Error::unavailable("the connection broke").with_cause(error);
    stream.set_nodelay(true).map_err(broken)?;
    // A second handle on the same socket: the one that closes it whatever the protocol does.
    let socket = stream.into_std().map_err(broken)?;
    let closer = socket.try_clone().map_err(broken)?;
    let stream = TcpStream::from_std(socket).map_err(broken)?;

    let mut revocations = shared.gate.revocations();
    revocations.mark_unchanged();
    let russh = offers.to(&stream, &*shared.clock).await;
    let first = FirstLine::default();
    let state = Arc::new(State::new(Arc::clone(&shared), address, first.clone()));
    let wire = Wire::new(stream, first);
    let handler = Handler::new(Arc::clone(&state));
    let mut session = tokio::select! {
        session = russh::server::run_stream(russh, wire, handler) => session
            .map_err(|error| Error::invalid("it does not speak SSH").with_cause(error))?,
        () = shared.clock.sleep(shared.limits.authentication) => return Ok(()),
        () = told(&mut stop) => return Ok(()),
    };
    let reason = loop {
        let now = shared.clock.now();
        let (due, reason) = state.due();
        if due <= now {
            break Some(reason);
        }
        tokio::select! {
            ended = &mut session => {
                if let Err(error) = ended {
                    tracing::debug!(%address, "{error}");
                }
                break None;
            }
            () = shared.clock.sleep(due.since(now)) => {}
            () = state.admission() => {}
            () = changed(&mut revocations) => {}
            () = told(&mut stop) => break Some(EndReason::Stopping),
        }
        if state.is_revoked(&revocations.borrow_and_update()) {
            break Some(EndReason::Revoked);
        }
    };
    if let Some(reason) = reason {
        state.end(reason);
        let goodbye = session.handle();
        let goodbye = goodbye.disconnect(Disconnect::ByApplication, farewell(reason).into(), String::new());
        // As far as it is heard. A session that hangs on its client does not hear it, and is closed all the same.
        tokio::select! {
            _ = goodbye => {
                let grace = shared.clock.sleep(Duration::from_millis(500));
                tokio::select! {
                    _ = &mut session => {}
                    () = grace => {}
                }
            }
            () = shared.clock.sleep(Duration::from_secs(1)) => {}
        }
    }
    // An error means that it is closed already.
    let _closed = closer.shutdown(Shutdown::Both);
    state.finish().await;
    Ok(())
}

fn farewell(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Revoked => "your access was revoked",
        EndReason::TooLong => "this session lasted as long as a session may: connect again",
        EndReason::Idle => "nothing was sent for a long time",
        EndReason::Stopping => "the bastion stops: connect again in a moment",
        EndReason::Client | EndReason::Target => "closed",
    }
}

async fn told(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left to say it.
        std::future::pending::<()>().await;
    }
}

async fn changed(revocations: &mut watch::Receiver<Arc<Revocations>>) {
    if revocations.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
