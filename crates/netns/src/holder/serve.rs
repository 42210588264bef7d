//! Answers the control socket.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, UnixStream};
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::timeout;

use super::publish::Published;
use super::state::State;
use crate::config::{MAX_BACKENDS, check_machine};
use crate::wire::{Reply, Request, Wire};
use crate::{Error, Result};

/// Connections to the control socket at a time.
const MAX_CONNECTIONS: usize = 512;
/// A caller that does not say what it wants is hung up on.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Shared {
    id: String,
    pub state: Mutex<State>,
    pub stop: Notify,
    room: Semaphore,
}

impl Shared {
    pub(super) fn new(id: String, state: Mutex<State>, stop: Notify) -> Self {
        Self { id, state, stop, room: Semaphore::new(MAX_CONNECTIONS) }
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
    let Ok(Ok(Some((request, fd)))) = timeout(PATIENCE, wire.receive::<Request>()).await else { return };
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
        let config = shared.state.lock().await.config.clone();
        check_machine(&config, *address.ip())?;
        let unreachable = |why: String| Error::Unreachable {
            network: shared.id.clone(),
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
        Request::Unpublish { id } => drop(state.publications.remove(&id)),
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

/// A published port leads into this network and nowhere else.
fn check_backends(state: &State, backends: &[std::net::SocketAddrV4]) -> Result<()> {
    if backends.len() > MAX_BACKENDS {
        return Err(Error::TooMany {
            message: format!("{} backends; at most {MAX_BACKENDS}", backends.len()),
        });
    }
    backends.iter().try_for_each(|backend| check_machine(&state.config, *backend.ip()))
}
