//! Listeners, and the threads that serve what they accept.
//!
//! Each worker is a thread with a runtime of its own: a connection, its endpoint's connection and their timers stay on one
//! thread, so that no request wakes another. One accepts for all, and gives each connection to whoever has least to do.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::certificates::{self, ACME_TLS};
use crate::clients::Connection;
use crate::head::Peer;
use crate::proxy::Proxy;
use crate::{health, http1, http2};

/// After the stop requests under way have so long to end.
const LEAVE: Duration = Duration::from_secs(4);

/// Where it listens.
pub struct Listeners {
    pub http: Option<TcpListener>,
    pub https: Option<TcpListener>,
}

struct Accepted {
    stream: std::net::TcpStream,
    address: IpAddr,
    tls: bool,
    counted: Connection,
    one: Counted,
}

/// One connection of a worker; over when dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Worker {
    give: mpsc::UnboundedSender<Accepted>,
    count: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

/// Serves until `stop` turns true.
///
/// # Errors
/// When threads cannot be started.
pub async fn serve(
    proxy: Arc<Proxy>,
    listeners: Listeners,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let config = certificates::server_config(Arc::clone(proxy.certificates())).map_err(io::Error::other)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let workers = (0..proxy.workers())
        .map(|number| worker(&proxy, &acceptor, number))
        .collect::<io::Result<Vec<Worker>>>()?;
    let checks = tokio::spawn(health::run(Arc::clone(&proxy), stop.clone()));
    let accepting = async {
        tokio::join!(
            accept(&proxy, listeners.http, false, &workers),
            accept(&proxy, listeners.https, true, &workers)
        );
    };
    tokio::select! {
        () = accepting => {}
        () = stopped(&mut stop) => {}
    }
    proxy.stop();
    let began = Instant::now();
    let busy = |workers: &[Worker]| workers.iter().any(|worker| worker.count.load(Ordering::Relaxed) > 0);
    while busy(&workers) && began.elapsed() < LEAVE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let threads: Vec<_> = workers
        .into_iter()
        .map(|worker| {
            drop(worker.give);
            worker.thread
        })
        .collect();
    let ended =
        tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok())).await;
    if !ended.unwrap_or(false) {
        tracing::error!("a thread of the edge died");
    }
    checks.abort();
    Ok(())
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn accept(proxy: &Proxy, listener: Option<TcpListener>, tls: bool, workers: &[Worker]) {
    let Some(listener) = listener else { return std::future::pending().await };
    let limits = proxy.limits();
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No descriptors, mostly: others end, and give theirs back.
                tracing::warn!("the edge cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let counts = workers.iter().map(|worker| worker.count.load(Ordering::Relaxed));
        // Who waits for nothing in particular makes room for who comes; where all are busy, who comes does not get in.
        if counts.sum::<usize>() >= limits.connections && !proxy.waiting.oldest_end() {
            continue;
        }
        let address = address.ip().to_canonical();
        let Some(counted) = proxy.clients.connect(address, limits.client_connections) else { continue };
        let Some(worker) = workers.iter().min_by_key(|worker| worker.count.load(Ordering::Relaxed)) else {
            continue;
        };
        let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else { continue };
        worker.count.fetch_add(1, Ordering::Relaxed);
        let one = Counted(Arc::clone(&worker.count));
        if worker.give.send(Accepted { stream, address, tls, counted, one }).is_err() {
            tracing::error!("a thread of the edge is gone");
        }
    }
}

fn worker(proxy: &Arc<Proxy>, acceptor: &TlsAcceptor, number: usize) -> io::Result<Worker> {
    let (give, mut take) = mpsc::unbounded_channel::<Accepted>();
    let count = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (proxy, acceptor) = (Arc::clone(proxy), acceptor.clone());
    let thread = std::thread::Builder::new().name(format!("edge-{number}")).spawn(move || {
        runtime.block_on(async move {
            while let Some(accepted) = take.recv().await {
                tokio::spawn(connection(Arc::clone(&proxy), acceptor.clone(), number, accepted));
            }
        });
    })?;
    Ok(Worker { give, count, thread })
}

async fn connection(proxy: Arc<Proxy>, acceptor: TlsAcceptor, worker: usize, accepted: Accepted) {
    let Accepted { stream, address, tls, counted, one } = accepted;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let text = address.to_string().into();
    if !tls {
        http1::serve(proxy, Peer { address, text, tls: None, worker }, stream).await;
    } else if let Ok(Ok(stream)) =
        tokio::time::timeout(proxy.limits().head_time, acceptor.accept(stream)).await
    {
        let session = stream.get_ref().1;
        let name = session.server_name().unwrap_or_default().to_ascii_lowercase().into();
        let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
        let peer = Peer { address, text, tls: Some(name), worker };
        match protocol.as_deref() {
            // The handshake was all that was asked for.
            Some(protocol) if protocol == ACME_TLS => {}
            Some(b"h2") => http2::serve(proxy, peer, stream).await,
            _ => http1::serve(proxy, peer, stream).await,
        }
    }
    drop((counted, one));
}
