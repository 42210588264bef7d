//! Networks.

use hafen_base::{Error, NetworkId, Page, PageLimit, Result, check_label};
use hafen_client::wire::{Network, NetworkCreate, NetworkPatch};
use hafen_db::{Tx, store_error};
use hafen_work::{Begun, Once, OnceTx};
use serde_json::Value;

use super::no_project;
use crate::Machines;
use crate::model::{Problems, Subnet, check_egress};
use crate::store;
use crate::store::network::NetworkRow;

fn no_network(project: &str, name: &str) -> Error {
    Error::not_found(format!("network {name:?} in project {project:?}"))
}

impl Machines {
    pub async fn network_create(
        &self,
        project: &str,
        body: NetworkCreate,
        repeat: Option<&Once>,
    ) -> Result<Network> {
        let mut problems = Problems::default();
        if let Err(message) = check_label("network", &body.name) {
            problems.add("/name", message);
        }
        check_egress(&mut problems, &body.egress);
        let wanted = body.subnet.as_deref().map(Subnet::parse).transpose();
        if let Err(message) = &wanted {
            problems.add("/subnet", message.clone());
        }
        problems.finish()?;
        let wanted = wanted.unwrap_or_default();
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(network) => return Ok(network),
            Begun::New(once) => once,
        };
        let tx = &mut once.tx;
        store::project::find(&mut **tx, project).await?.ok_or_else(|| no_project(project))?;
        let subnet = self.choose_subnet(tx, wanted).await?;
        let now = self.0.now();
        let network = Network {
            id: NetworkId::generate(now, &*self.0.random),
            project: project.to_owned(),
            name: body.name.clone(),
            egress: body.egress.clone(),
            subnet: subnet.to_string(),
            state: "creating".into(),
            reason: String::new(),
            created_at: now,
            generation: 1,
            observed_generation: 0,
        };
        if !store::network::insert(tx, &network).await? {
            return Err(Error::conflict(format!(
                "there is a network {:?} in project {project} already",
                body.name
            )));
        }
        let message = format!("network {} is to be {subnet}", network.name);
        self.event(tx, project, "network.created", format!("network/{}", network.name), message, Value::Null)
            .await?;
        once.finish(&network, &*self.0.clock).await?;
        self.0.events.ring();
        self.0.wakes.network.wake(network.id.to_string());
        Ok(network)
    }

    /// The wanted subnet, or the first free automatic one. Subnets are unique over the platform, so that networks could be
    /// joined later and a person can tell them apart in a log.
    async fn choose_subnet(&self, tx: &mut Tx, wanted: Option<Subnet>) -> Result<Subnet> {
        let taken: Vec<(Subnet, String)> = store::network::list_everywhere(&mut **tx)
            .await?
            .into_iter()
            .filter_map(|row| {
                Subnet::parse(&row.network.subnet).ok().map(|subnet| (subnet, row.network.name))
            })
            .collect();
        if let Some(wanted) = wanted {
            return match taken.iter().find(|(subnet, _)| subnet.overlaps(wanted)) {
                Some((subnet, name)) => Err(Error::conflict(format!(
                    "{wanted} overlaps {subnet} of network {name:?}; choose another"
                ))),
                None => Ok(wanted),
            };
        }
        (0..Subnet::AUTOMATIC)
            .map(Subnet::automatic)
            .find(|candidate| !taken.iter().any(|(subnet, _)| subnet.overlaps(*candidate)))
            .ok_or_else(|| Error::conflict("all automatic subnets are in use; give a `subnet`"))
    }

    pub async fn network_view(&self, project: &str, name: &str) -> Result<Network> {
        self.project_must_exist(project).await?;
        let row = store::network::find(self.0.db.reader(), project, name).await?;
        row.map(|row| row.network).ok_or_else(|| no_network(project, name))
    }

    pub async fn network_list(&self, project: &str, after: &str, limit: PageLimit) -> Result<Page<Network>> {
        self.project_must_exist(project).await?;
        let rows =
            store::network::list(self.0.db.reader(), project, after, i64::from(limit.get()) + 1).await?;
        Ok(limit.page(rows.into_iter().map(|row| row.network).collect(), |network| network.name.clone()))
    }

    async fn network_of(&self, tx: &mut Tx, project: &str, name: &str) -> Result<NetworkRow> {
        store::network::find(&mut **tx, project, name).await?.ok_or_else(|| no_network(project, name))
    }

    /// Changes egress in place. `check` may refuse by generation (`If-Match`).
    pub async fn network_patch(
        &self,
        project: &str,
        name: &str,
        body: &NetworkPatch,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<Network> {
        let mut problems = Problems::default();
        check_egress(&mut problems, &body.egress);
        problems.finish()?;
        let mut tx = self.0.db.write().await?;
        let row = self.network_of(&mut tx, project, name).await?;
        check(row.network.generation)?;
        if row.absent {
            return Err(Error::conflict(format!("network {name:?} is being destroyed")));
        }
        let id = row.network.id;
        if row.network.egress != body.egress {
            store::network::set_egress(&mut tx, id, &body.egress).await?;
            let data = serde_json::to_value(&body.egress).map_err(Error::internal)?;
            let message = format!("egress of network {name} changes");
            self.event(&mut tx, project, "network.changed", format!("network/{name}"), message, data).await?;
        }
        let row = self.network_of(&mut tx, project, name).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        self.0.wakes.network.wake(id.to_string());
        Ok(row.network)
    }

    pub async fn network_delete(
        &self,
        project: &str,
        name: &str,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<Network> {
        let mut tx = self.0.db.write().await?;
        let mut row = self.network_of(&mut tx, project, name).await?;
        check(row.network.generation)?;
        let machines = store::network::machine_count(&mut tx, row.network.id).await?;
        if machines > 0 {
            return Err(Error::conflict(format!(
                "{machines} machines are in network {name:?}: delete them first"
            )));
        }
        if !row.absent {
            store::network::want_absent(&mut tx, row.network.id).await?;
            row = self.network_of(&mut tx, project, name).await?;
        }
        tx.commit().await.map_err(store_error)?;
        self.0.wakes.network.wake(row.network.id.to_string());
        Ok(row.network)
    }
}
