//! Networks and published ports, through their holders.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use hafen_base::{Error, ErrorKind, NetworkId, PublicationId, Result};
use hafen_client::wire::Egress;
use hafen_netns::{EgressRecord, HostEntry, Network, Notice, Protocol};
use tokio::net::TcpStream;

use super::Parts;
use super::error::from_netns;
use crate::engine::{NetworkConfig, Noticed, PublicationConfig};

/// For a connection into a network.
const DIAL: Duration = Duration::from_secs(5);

impl Parts {
    pub async fn network_ensure(&self, config: &NetworkConfig) -> Result<()> {
        let before = self.network_life(config.id).await;
        let egress = match &config.egress {
            Egress::None => hafen_netns::Egress::None,
            Egress::Logged => hafen_netns::Egress::Logged,
            Egress::Allow(entries) => hafen_netns::Egress::Allow(entries.clone()),
        };
        let network = self
            .networks
            .ensure(&hafen_netns::Config {
                id: config.id.to_string(),
                subnet: config.subnet,
                prefix: config.prefix,
                gateway: config.gateway(),
                domain: config.domain.clone(),
                egress,
            })
            .await
            .map_err(from_netns)?;
        if before.as_deref() != Some(network.generation()) {
            // The interfaces of its machines went with its last life.
            let ids: Vec<_> = self.of_network(config.id).map(|machine| machine.id).collect();
            for id in ids {
                let _nobody = self.notices.send(Noticed::Machine(id));
            }
        }
        self.hosts_sync(config.id).await
    }

    /// A network that runs.
    pub async fn network(&self, id: NetworkId) -> Result<Network> {
        match self.networks.get(&id.to_string()).await {
            Err(hafen_netns::Error::NotFound { .. } | hafen_netns::Error::Holder { .. }) => {
                Err(Error::unavailable(format!("network {id} does not run; it is being made")))
            }
            other => other.map_err(from_netns),
        }
    }

    /// The same, where one that does not run needs nothing.
    pub async fn network_running(&self, id: NetworkId) -> Result<Option<Network>> {
        match self.network(id).await {
            Ok(network) => Ok(Some(network)),
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes whenever the network had to be made anew; none while it does not run.
    pub async fn network_life(&self, id: NetworkId) -> Option<String> {
        let network = self.networks.get(&id.to_string()).await.ok()?;
        Some(network.generation().to_owned())
    }

    /// Makes the names of a network be those of its machines.
    pub async fn hosts_sync(&self, id: NetworkId) -> Result<()> {
        let Some(network) = self.network_running(id).await? else { return Ok(()) };
        let hosts = self
            .of_network(id)
            .map(|machine| {
                let mac = machine.mac.parse().map_err(from_netns)?;
                Ok(HostEntry { name: machine.name, address: machine.address, mac })
            })
            .collect::<Result<_>>()?;
        network.hosts_set(hosts).await.map_err(from_netns)
    }

    fn of_network(&self, id: NetworkId) -> impl Iterator<Item = crate::engine::MachineConfig> {
        let all: Vec<_> = self.configs().values().filter(|config| config.network.id == id).cloned().collect();
        all.into_iter()
    }

    pub async fn dial(&self, network: NetworkId, to: SocketAddrV4) -> Result<TcpStream> {
        self.network(network).await?.dial(to, DIAL).await.map_err(from_netns)
    }

    pub async fn publish(&self, config: &PublicationConfig) -> Result<()> {
        let target = config.network.as_ref().map(|network| network.id);
        let held = self.publication_place(config.id).await?;
        if held.is_some() && held != target {
            self.unpublish(config.id).await?;
        }
        // Without machines there is no network to lead to: the port is closed, as that of a server that is down.
        let Some(id) = target else { return Ok(()) };
        let network = self.network(id).await?;
        network
            .publish(&config.id.to_string(), config.host, config.backends.clone())
            .await
            .map_err(from_netns)?;
        self.publications().insert(config.id, id);
        Ok(())
    }

    pub async fn unpublish(&self, id: PublicationId) -> Result<()> {
        if let Some(place) = self.publication_place(id).await?
            && let Some(network) = self.network_running(place).await?
        {
            network.unpublish(&id.to_string()).await.map_err(from_netns)?;
        }
        self.publications().remove(&id);
        Ok(())
    }

    /// The network that holds a published port: known, or asked for after a restart.
    async fn publication_place(&self, id: PublicationId) -> Result<Option<NetworkId>> {
        if let Some(place) = self.publications().get(&id) {
            return Ok(Some(*place));
        }
        for config in self.networks.list().map_err(from_netns)? {
            let Ok(place) = config.id.parse::<NetworkId>() else { continue };
            let Some(network) = self.network_running(place).await? else { continue };
            let held = network.publications().await.map_err(from_netns)?;
            if held.iter().any(|one| one.id == id.to_string()) {
                self.publications().insert(id, place);
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Passes on what the holders notice.
    pub fn watch_networks(self: &Arc<Self>) {
        let parts = Arc::clone(self);
        let mut notices = self.networks.watch();
        tokio::spawn(async move {
            while let Some((name, notice)) = notices.recv().await {
                let Ok(network) = name.parse::<NetworkId>() else { continue };
                match notice {
                    Notice::Egress(record) => {
                        let (destination, allowed) = (destination(&record), record.allowed);
                        let _nobody = parts.notices.send(Noticed::Egress { network, destination, allowed });
                    }
                    Notice::EgressLost { count } => {
                        tracing::warn!(%network, count, "destinations were not recorded: there were too many at once");
                    }
                    Notice::HolderDied { .. } => {
                        let _nobody = parts.notices.send(Noticed::Network(network));
                    }
                }
            }
        });
    }
}

/// As `mirror.example.org (192.0.2.7) port 443/tcp from 10.64.0.10`.
fn destination(record: &EgressRecord) -> String {
    let protocol = match record.protocol {
        Protocol::Tcp => "tcp".to_owned(),
        Protocol::Udp => "udp".to_owned(),
        Protocol::Icmp => "icmp".to_owned(),
        Protocol::Dns => "lookup".to_owned(),
        Protocol::Other(number) => format!("protocol {number}"),
    };
    let place = match &record.name {
        Some(name) if record.protocol == Protocol::Dns => name.clone(),
        Some(name) => format!("{name} ({})", record.destination),
        None => record.destination.to_string(),
    };
    let port = if record.port == 0 { String::new() } else { format!("port {}/", record.port) };
    format!("{place} {port}{protocol} from {}", record.source)
}
