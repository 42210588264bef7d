//! Published ports: connections from outside, led to machines.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::relay::relay;
use crate::{Error, Publication, Result};

/// Connections of one publication at a time.
const MAX_CONNECTIONS: usize = 1000;
/// A backend that takes longer to accept is passed over.
const CONNECT: Duration = Duration::from_secs(3);
/// A backend that did not accept is asked after all others for this long.
const SICK: Duration = Duration::from_secs(5);

/// One published port. Dropping it closes the port and its connections.
pub(super) struct Published {
    id: String,
    host: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    backends: Mutex<Vec<SocketAddrV4>>,
    next: AtomicUsize,
    /// Backends that did not accept, and when: asked last for a while.
    sick: Mutex<HashMap<SocketAddrV4, Instant>>,
    connections: AtomicUsize,
    refused: AtomicU64,
}

impl Published {
    /// Takes over a socket that somebody outside bound and listens on.
    pub(super) fn start(id: String, listener: OwnedFd, backends: Vec<SocketAddrV4>) -> Result<Self> {
        let wrong = |error| Error::io("publish", &id, error);
        if !rustix::net::sockopt::socket_acceptconn(&listener).map_err(|error| wrong(error.into()))? {
            return Err(Error::invalid(format!("the socket for publication {id} does not listen")));
        }
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true).map_err(wrong)?;
        let listener = TcpListener::from_std(listener).map_err(wrong)?;
        let host = listener.local_addr().map_err(wrong)?;
        let shared = Arc::new(Shared { backends: Mutex::new(backends), ..Shared::default() });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { id, host, shared, task })
    }

    pub(super) fn set_backends(&self, backends: Vec<SocketAddrV4>) {
        *self.shared.backends.lock().unwrap_or_else(PoisonError::into_inner) = backends;
    }

    /// Closes the port and its connections; when this returns, the port is free.
    pub(super) async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub(super) fn describe(&self) -> Publication {
        Publication {
            id: self.id.clone(),
            host: self.host,
            backends: self.shared.backends(),
            connections: self.shared.connections.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn backends(&self) -> Vec<SocketAddrV4> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The next backend in turn that accepts.
    async fn connect(&self) -> Option<TcpStream> {
        let backends = self.backends();
        let first = self.next.fetch_add(1, Ordering::Relaxed) % backends.len().max(1);
        let (before, after) = backends.split_at(first);
        let mut turns: Vec<_> = after.iter().chain(before).copied().collect();
        {
            let mut sick = self.sick();
            sick.retain(|_, since| since.elapsed() < SICK);
            // Stable: the order of turns stays within the well and within the sick.
            turns.sort_by_key(|backend| sick.contains_key(backend));
        }
        for backend in turns {
            if let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(backend)).await {
                self.sick().remove(&backend);
                return Some(stream);
            }
            self.sick().insert(backend, Instant::now());
        }
        None
    }

    fn sick(&self) -> MutexGuard<'_, HashMap<SocketAddrV4, Instant>> {
        self.sick.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct Counted(Arc<Shared>);

impl Counted {
    fn enter(shared: &Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if connections.len() < MAX_CONNECTIONS => {
                    let counted = Counted::enter(&shared);
                    connections.spawn(async move {
                        match counted.0.connect().await {
                            Some(backend) => relay(client, backend).await,
                            None => counted.0.refuse(),
                        }
                    });
                }
                // Closed at once: a client that is refused knows, one that waits does not.
                Ok(_) => shared.refuse(),
                // Out of descriptors, or the client was gone already.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
