//! One network: what its holder can be asked.

use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::{MAX_BACKENDS, check_id};
use crate::folder::{SOCKET, SocketDir};
use crate::wire::{Reply, Request, Status, Wire};
use crate::{Config, Error, HostEntry, Publication, Result, TapConfig, ports};

/// How long a holder may take for anything; it works in milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// A machine that takes longer to accept is not there.
const MAX_DIAL: Duration = Duration::from_secs(5);

/// A network with a running holder. Cheap to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct Network {
    id: String,
    folder: PathBuf,
    generation: String,
}

impl Network {
    pub(crate) async fn open(id: &str, folder: &Path) -> Result<Self> {
        let mut network = Self { id: id.into(), folder: folder.into(), generation: String::new() };
        network.generation = network.hello().await?.0;
        Ok(network)
    }

    /// The generation of the running holder, and what it was made of.
    pub(crate) async fn hello(&self) -> Result<(String, Config)> {
        match self.ask(&Request::Hello).await? {
            Reply::Hello { generation, config } => Ok((generation, config)),
            other => Err(self.nonsense(&other)),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Names the holder that ran when this value was made. Another generation means that the
    /// holder was replaced: machines with taps of an older one have no network until restarted.
    pub fn generation(&self) -> &str {
        &self.generation
    }

    pub async fn status(&self) -> Result<Status> {
        match self.ask(&Request::Status).await? {
            Reply::Status { status } => Ok(*status),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Replaces all names and leases of the network.
    pub async fn hosts_set(&self, hosts: Vec<HostEntry>) -> Result<()> {
        self.ask(&Request::Hosts { hosts }).await.map(drop)
    }

    /// A new tap for a machine, attached to the bridge; an older one of this machine is removed.
    /// Frames carry a `virtio_net_hdr`. The interface lives as long as its descriptor is open.
    pub async fn tap(&self, tap: &TapConfig) -> Result<OwnedFd> {
        let request = Request::Tap { tap: tap.clone() };
        let (_, fd) = self.ask_with(&request, None, PATIENCE).await?;
        fd.ok_or_else(|| Error::holder(&self.id, "sent no tap"))
    }

    /// Cuts a machine off. One without a tap is fine.
    pub async fn tap_delete(&self, machine: &str) -> Result<()> {
        self.ask(&Request::TapDelete { machine: machine.into() }).await.map(drop)
    }

    /// Connects to a machine from inside of the network. Waits `patience`, at most 5 s.
    pub async fn dial(&self, address: SocketAddrV4, patience: Duration) -> Result<TcpStream> {
        let patience = patience.min(MAX_DIAL);
        let timeout_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Dial { address, timeout_ms };
        let (_, fd) = self.ask_with(&request, None, patience + PATIENCE).await?;
        let fd = fd.ok_or_else(|| Error::holder(&self.id, "sent no connection"))?;
        let stream = std::net::TcpStream::from(fd);
        stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream))
            .map_err(|error| Error::io("use a connection to", address.to_string(), error))
    }

    /// Leads connections to `host` on to the backends, in turn. Where the holder has this
    /// publication already, only its backends change and no connection is lost.
    ///
    /// The port is bound here, on the host's side, and handed over: it keeps working while no
    /// control plane runs.
    pub async fn publish(
        &self,
        id: &str,
        host: SocketAddr,
        backends: Vec<SocketAddrV4>,
    ) -> Result<SocketAddr> {
        check_id("publication id", id)?;
        if backends.len() > MAX_BACKENDS {
            let message = format!("{} backends of publication {id}; at most {MAX_BACKENDS}", backends.len());
            return Err(Error::TooMany { message });
        }
        let known = self.publications().await?.into_iter().find(|known| known.id == id);
        if let Some(known) = known {
            // Port 0 means any: the one it got at first stays.
            if known.host == host || (host.port() == 0 && known.host.ip() == host.ip()) {
                let request = Request::PublishUpdate { id: id.into(), backends };
                self.ask(&request).await?;
                return Ok(known.host);
            }
            self.unpublish(id).await?;
        }
        let listener = TcpListener::bind(host).map_err(|error| not_bound(host, &error))?;
        let bound = listener.local_addr().map_err(|error| Error::io("bind", host.to_string(), error))?;
        let request = Request::Publish { id: id.into(), backends };
        self.ask_with(&request, Some(listener.into()), PATIENCE).await?;
        Ok(bound)
    }

    /// Closes a published port and its connections. One that is not published is fine.
    pub async fn unpublish(&self, id: &str) -> Result<()> {
        self.ask(&Request::Unpublish { id: id.into() }).await.map(drop)
    }

    pub async fn publications(&self) -> Result<Vec<Publication>> {
        match self.ask(&Request::Publications).await? {
            Reply::Publications { publications } => Ok(publications),
            other => Err(self.nonsense(&other)),
        }
    }

    pub(crate) async fn ask(&self, request: &Request) -> Result<Reply> {
        self.ask_with(request, None, PATIENCE).await.map(|(reply, _)| reply)
    }

    pub(crate) async fn connect(&self) -> Result<Wire> {
        let sockets = SocketDir::open(&self.folder)?;
        let stream = UnixStream::connect(sockets.path(SOCKET)).await;
        let stream = stream.map_err(|error| {
            Error::holder(&self.id, format!("does not run ({error}); ensure the network again"))
        })?;
        Ok(Wire::new(stream))
    }

    async fn ask_with(
        &self,
        request: &Request,
        fd: Option<OwnedFd>,
        patience: Duration,
    ) -> Result<(Reply, Option<OwnedFd>)> {
        let mut wire = self.connect().await?;
        let talk = async {
            wire.send(request, fd).await?;
            wire.receive::<Reply>().await
        };
        match timeout(patience, talk).await {
            Err(_) => Err(Error::holder(&self.id, format!("did not answer in {patience:?}"))),
            Ok(Err(error)) => Err(Error::holder(&self.id, format!("cannot be spoken to: {error}"))),
            Ok(Ok(None)) => Err(Error::holder(&self.id, "died before it answered")),
            Ok(Ok(Some((Reply::Failed { error }, _)))) => Err(error),
            Ok(Ok(Some(answer))) => Ok(answer),
        }
    }

    fn nonsense(&self, reply: &Reply) -> Error {
        Error::holder(&self.id, format!("gave another answer than asked for: {reply:?}"))
    }
}

fn not_bound(host: SocketAddr, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let by = ports::owner(host).unwrap_or_else(|| "another program".into());
            Error::PortTaken { address: host.to_string(), by }
        }
        std::io::ErrorKind::AddrNotAvailable => {
            Error::invalid(format!("cannot publish on {host}: this host has no address {}", host.ip()))
        }
        std::io::ErrorKind::PermissionDenied => Error::Missing {
            what: format!("publishing on port {} needs root", host.port()),
            fix: "publish on a port above 1023, or lower net.ipv4.ip_unprivileged_port_start".into(),
        },
        _ => Error::io("publish on", host.to_string(), error),
    }
}
