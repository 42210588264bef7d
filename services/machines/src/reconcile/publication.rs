//! Published ports: spread over the cluster's healthy machines. Every sweep makes sure of all of them.

use std::net::SocketAddrV4;

use async_trait::async_trait;
use hafen_base::{ErrorKind, Result};
use hafen_client::wire::MachineState;
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};
use serde_json::Value;

use super::network_config;
use crate::Machines;
use crate::engine::PublicationConfig;
use crate::model::{WantedState, parse_host};
use crate::store;

pub struct Publications(pub Machines);

#[async_trait]
impl Reconciler for Publications {
    fn name(&self) -> &'static str {
        "machines/publications"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let rows = store::publication::list_everywhere(self.0.0.db.reader()).await?;
        Ok(rows.into_iter().map(|row| row.publication.id.to_string()).collect())
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let parts = &self.0.0;
        let Some(row) = store::publication::get(parts.db.reader(), key).await? else { return Ok(Next::Done) };
        let publication = &row.publication;
        let object = format!("publication/{}", publication.name);
        if row.absent {
            parts.engine.unpublish(publication.id).await?;
            let mut tx = parts.db.write().await?;
            store::publication::delete(&mut tx, publication.id).await?;
            let message = format!("{} is published no more", publication.host);
            self.0
                .event(&mut tx, &publication.project, "publication.destroyed", object, message, Value::Null)
                .await?;
            tx.commit().await.map_err(store_error)?;
            parts.events.ring();
            return Ok(Next::Done);
        }
        let machines =
            store::machine::list_group(parts.db.reader(), &publication.project, &publication.group).await?;
        let network = match machines.first() {
            Some(machine) => store::network::get(parts.db.reader(), &machine.network_id.to_string()).await?,
            None => None,
        };
        let backends: Vec<SocketAddrV4> = machines
            .iter()
            .filter(|machine| {
                machine.healthy
                    && !machine.cordoned
                    && machine.state == MachineState::Started
                    && machine.wanted == WantedState::Started
                    && network.as_ref().is_some_and(|network| network.network.id == machine.network_id)
            })
            .map(|machine| SocketAddrV4::new(machine.address, publication.port))
            .collect();
        let config = PublicationConfig {
            id: publication.id,
            host: parse_host(&publication.host)?,
            network: network.map(|network| network_config(&network.network)).transpose()?,
            backends,
        };
        let outcome = parts.engine.publish(&config).await;
        let backends: Vec<String> = config.backends.iter().map(ToString::to_string).collect();
        let (state, reason, generation, backends) = match &outcome {
            Ok(()) => ("ready", String::new(), publication.generation, &backends),
            // What may work later is tried again; what is published meanwhile goes on as it was.
            Err(error) if error.kind() == ErrorKind::Unavailable && publication.state != "failed" => (
                publication.state.as_str(),
                error.to_string(),
                row.observed_generation,
                &publication.backends,
            ),
            Err(error) => ("failed", error.to_string(), publication.generation, &backends),
        };
        let changed = state != publication.state
            || reason != publication.reason
            || *backends != publication.backends
            || row.observed_generation != generation;
        if changed {
            let mut tx = parts.db.write().await?;
            store::publication::set_seen(&mut tx, publication.id, generation, state, &reason, backends)
                .await?;
            let told = match &outcome {
                Ok(()) => Some((
                    "publication.ready",
                    format!("{} leads to {} machines", publication.host, backends.len()),
                )),
                Err(error) if state == "failed" => {
                    Some(("publication.failed", format!("{} is not published: {error}", publication.host)))
                }
                Err(_) => None,
            };
            if let Some((kind, message)) = told {
                let data = serde_json::json!({ "backends": backends });
                self.0.event(&mut tx, &publication.project, kind, object, message, data).await?;
            }
            tx.commit().await.map_err(store_error)?;
            parts.events.ring();
        }
        outcome.map(|()| Next::Done)
    }
}
