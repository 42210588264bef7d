//! Reconcilers: read → plan → act → record, one file per resource. They take a key and no other input.

mod check;
mod housekeeping;
mod image;
mod machine;
mod network;
mod publication;
mod snapshot;

use hafen_base::Result;
use tokio::sync::{mpsc, watch};

pub use check::Checks;
pub use housekeeping::Housekeeping;
pub use image::Images;
pub use machine::MachinesReconciler;
pub use network::Networks;
pub use publication::Publications;
pub use snapshot::Snapshots;

use crate::Machines;
use crate::engine::{NetworkConfig, Noticed};
use crate::model::Subnet;
use crate::store;
use hafen_client::wire::Network;

/// A network as the engine takes it.
pub(crate) fn network_config(network: &Network) -> Result<NetworkConfig> {
    let subnet = Subnet::parse(&network.subnet).map_err(hafen_base::Error::internal)?;
    Ok(NetworkConfig {
        id: network.id,
        project: network.project.clone(),
        name: network.name.clone(),
        subnet: subnet.address,
        prefix: subnet.prefix,
        domain: format!("{}.internal", network.project),
        egress: network.egress.clone(),
    })
}

/// Turns what the engine notices into wakes and events, until `stop` turns true.
pub async fn listen(
    machines: Machines,
    mut noticed: mpsc::UnboundedReceiver<Noticed>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let what = tokio::select! {
            _ = stop.changed() => return,
            what = noticed.recv() => what,
        };
        match what {
            None => return,
            Some(Noticed::Machine(id)) => {
                machines.0.wakes.machine.wake(id.to_string());
            }
            Some(Noticed::Network(id)) => {
                machines.0.wakes.network.wake(id.to_string());
            }
            Some(Noticed::Egress { network, destination, allowed }) => {
                if let Err(error) = record_egress(&machines, network, &destination, allowed).await {
                    tracing::warn!(%network, cause = %error.cause_chain(), "an egress record was not written: {error}");
                }
            }
        }
    }
}

async fn record_egress(
    machines: &Machines,
    network: hafen_base::NetworkId,
    destination: &str,
    allowed: bool,
) -> Result<()> {
    let Some(row) = store::network::get(machines.0.db.reader(), &network.to_string()).await? else {
        return Ok(());
    };
    let mut tx = machines.0.db.write().await?;
    let (kind, verb) =
        if allowed { ("network.egress", "reached") } else { ("network.egress_refused", "was refused") };
    let message = format!("network {} {verb} {destination}", row.network.name);
    let data = serde_json::json!({ "destination": destination, "allowed": allowed });
    machines
        .event(&mut tx, &row.network.project, kind, format!("network/{}", row.network.name), message, data)
        .await?;
    tx.commit().await.map_err(hafen_db::store_error)?;
    machines.0.events.ring();
    Ok(())
}
