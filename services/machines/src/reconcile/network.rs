//! Networks: there as wanted, or gone. Every sweep makes sure of all of them, because what carries a network is a process
//! that can die.

use async_trait::async_trait;
use hafen_base::{ErrorKind, Result};
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};
use serde_json::Value;

use super::network_config;
use crate::Machines;
use crate::store;

pub struct Networks(pub Machines);

#[async_trait]
impl Reconciler for Networks {
    fn name(&self) -> &'static str {
        "machines/networks"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let rows = store::network::list_everywhere(self.0.0.db.reader()).await?;
        Ok(rows.into_iter().map(|row| row.network.id.to_string()).collect())
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let parts = &self.0.0;
        let Some(row) = store::network::get(parts.db.reader(), key).await? else { return Ok(Next::Done) };
        let network = &row.network;
        let object = format!("network/{}", network.name);
        if row.absent {
            parts.engine.network_delete(network.id).await?;
            let mut tx = parts.db.write().await?;
            store::network::delete(&mut tx, network.id).await?;
            let message = format!("network {} destroyed", network.name);
            self.0
                .event(&mut tx, &network.project, "network.destroyed", object, message, Value::Null)
                .await?;
            tx.commit().await.map_err(store_error)?;
            parts.events.ring();
            return Ok(Next::Done);
        }
        let outcome = parts.engine.network_ensure(&network_config(network)?).await;
        let (state, reason) = match &outcome {
            Ok(()) => ("ready", String::new()),
            // What may work later is tried again; what never will needs a person.
            Err(error) if error.kind() == ErrorKind::Unavailable && network.state != "failed" => {
                (network.state.as_str(), error.to_string())
            }
            Err(error) => ("failed", error.to_string()),
        };
        let changed = state != network.state
            || reason != network.reason
            || network.observed_generation != network.generation;
        if changed {
            let observed = if outcome.is_ok() { network.generation } else { network.observed_generation };
            let mut tx = parts.db.write().await?;
            store::network::set_seen(&mut tx, network.id, state, &reason, observed).await?;
            if state != network.state {
                let kind = if state == "ready" { "network.ready" } else { "network.failed" };
                let message = format!("network {} is {state} {reason}", network.name);
                self.0
                    .event(&mut tx, &network.project, kind, object, message.trim().to_owned(), Value::Null)
                    .await?;
            }
            tx.commit().await.map_err(store_error)?;
            parts.events.ring();
            for machine in store::machine::ids_unsettled(parts.db.reader(), &network.project).await? {
                parts.wakes.machine.wake(machine);
            }
        }
        outcome.map(|()| Next::Done)
    }
}
