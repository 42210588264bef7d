//! Answers the control socket.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, UnixStream};
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::timeout;

use super::publish::Published;
use super::records::Records;
use super::state::State;
use crate::config::{MAX_BACKENDS, check_machine};
use crate::wire::{Ack, Batch, Reply, Request, Wire};
use crate::{Config, Error, Result};

/// Connections to the control socket at a time.
const MAX_CONNECTIONS: usize = 512;
/// A caller that does not say what it wants is hung up on.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Shared {
    /// Addresses never change while a holder lives: dialling needs no lock, others may hold it long.
    config: Config,
    pub state: Mutex<State>,
    pub stop: Notify,
    room: Semaphore,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        let config = state.config.clone();
        Self { config, state: Mutex::new(state), stop: Notify::new(), room: Semaphore::new(MAX_CONNECTIONS) }
    }
}

/// Serves one connection to its end.
pub(super) async fn connection(shared: Arc<Shared>, stream: UnixStream) {
    let Ok(_room) = shared.room.acquire().await else { return };
    // The socket's mode says the same; this also holds where somebody changed it.
    let allowed = rustix::net::sockopt::socket_peercred(&stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid());
    if !allowed {
        return;
    }
    let mut wire = Wire::new(stream);
    let (request, fd) = match timeout(PATIENCE, wire.receive::<Request>()).await {
        Ok(Ok(Some(asked))) => asked,
        Ok(Err(error)) => {
            // A control plane of another version may ask for what is not known here.
            let error = Error::holder(&shared.config.id, format!("does not understand: {error}"));
            let _ = timeout(PATIENCE, wire.send(&Reply::Failed { error }, None)).await;
            return;
        }
        Ok(Ok(None)) | Err(_) => return,
    };
    if let Request::Watch = request {
        let records = shared.state.lock().await.records.clone();
        // Ends when the watcher hangs up.
        let _ = watch(wire, &records).await;
        return;
    }
    let (reply, fd) = match answer(&shared, request, fd).await {
        Ok(answer) => answer,
        Err(error) => (Reply::Failed { error }, None),
    };
    let _ = timeout(PATIENCE, wire.send(&reply, fd)).await;
}

async fn answer(
    shared: &Arc<Shared>,
    request: Request,
    fd: Option<OwnedFd>,
) -> Result<(Reply, Option<OwnedFd>)> {
    // Dialling waits for machines: nothing else may wait for it.
    if let Request::Dial { address, timeout_ms } = request {
        check_machine(&shared.config, *address.ip())?;
        let unreachable = |why: String| Error::Unreachable {
            network: shared.config.id.clone(),
            address: address.to_string(),
            why,
        };
        let patience = Duration::from_millis(timeout_ms.min(5000));
        let connect = async { TcpSocket::new_v4()?.connect(address.into()).await?.into_std() };
        let stream = timeout(patience, connect)
            .await
            .map_err(|_| unreachable(format!("no answer in {patience:?}")))?
            .map_err(|error| unreachable(error.to_string()))?;
        return Ok((Reply::Done, Some(stream.into())));
    }
    let mut state = shared.state.lock().await;
    match request {
        Request::Hello => {
            let (generation, config) = (state.generation.clone(), state.config.clone());
            return Ok((Reply::Hello { generation, config }, None));
        }
        Request::Configure { config } => state.configure(config).await?,
        Request::Hosts { hosts } => state.hosts_set(hosts).await?,
        Request::Tap { tap } => return Ok((Reply::Done, Some(state.tap(tap).await?))),
        Request::TapDelete { machine } => state.tap_delete(&machine).await?,
        Request::Publish { id, backends } => {
            state.may_publish(&id)?;
            check_backends(&state, &backends)?;
            let listener = fd.ok_or_else(|| Error::invalid("no listening socket came along"))?;
            let published = Published::start(id.clone(), listener, backends)?;
            state.publications.insert(id, published);
        }
        Request::PublishUpdate { id, backends } => {
            check_backends(&state, &backends)?;
            let missing = || Error::NotFound { what: format!("publication {id}") };
            state.publications.get(&id).ok_or_else(missing)?.set_backends(backends);
        }
        Request::Unpublish { id } => {
            if let Some(published) = state.publications.remove(&id) {
                published.close().await;
            }
        }
        Request::Publications => {
            let mut publications: Vec<_> = state.publications.values().map(Published::describe).collect();
            publications.sort_by(|a, b| a.id.cmp(&b.id));
            return Ok((Reply::Publications { publications }, None));
        }
        Request::Status => return Ok((Reply::Status { status: Box::new(state.status().await?) }, None)),
        Request::Stop => shared.stop.notify_one(),
        Request::Watch | Request::Dial { .. } => {}
    }
    Ok((Reply::Done, None))
}

/// Hands over records until the other side hangs up. What it did not acknowledge is kept.
async fn watch(mut wire: Wire, records: &Records) -> std::io::Result<()> {
    // An empty batch first: whoever watches knows that it is heard.
    wire.send(&Batch { records: Vec::new(), lost: 0, upto: 0 }, None).await?;
    let mut after = match wire.receive::<Ack>().await? {
        Some((ack, _)) => ack.upto,
        None => return Ok(()),
    };
    loop {
        // Registered before looking, so that nothing that comes in between is overslept.
        let more = records.more.notified();
        let Some(batch) = records.batch(after) else {
            tokio::select! {
                () = more => {}
                // Nothing is due: this can only be the end.
                _ = wire.receive::<Ack>() => return Ok(()),
            }
            // What repeats at once becomes one record.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        wire.send(&batch, None).await?;
        let Some((ack, _)) = wire.receive::<Ack>().await? else { return Ok(()) };
        records.taken(ack.upto, ack.lost);
        after = ack.upto;
    }
}

/// A published port leads into this network and nowhere else.
fn check_backends(state: &State, backends: &[std::net::SocketAddrV4]) -> Result<()> {
    if backends.len() > MAX_BACKENDS {
        return Err(Error::TooMany {
            message: format!("{} backends; at most {MAX_BACKENDS}", backends.len()),
        });
    }
    backends.iter().try_for_each(|backend| check_machine(&state.config, *backend.ip()))
}
