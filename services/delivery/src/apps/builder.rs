//! The machine that a build runs in: made for it, and gone with it.

use std::time::Duration;

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::Conditions;
use hafen_client::wire::{
    BUILD_KEY, BUILD_NETWORK, Egress, MachineCreate, MachineSpec, MachineState, NetworkCreate,
};

use super::Apps;
use super::hands::At;
use super::model::BuildRow;
use crate::store::app as store;

/// For the machine to be there.
const MACHINE: Duration = Duration::from_secs(600);
const MEMORY: i64 = 1 << 30;
const DISK: i64 = 8 << 30;
/// A network of this name is where builds run; its egress is what they may reach.
pub const DECLARED_NETWORK: &str = "build";

impl Apps {
    /// A machine for this build, started.
    pub(super) async fn builder(&self, row: &BuildRow, machine: &str) -> Result<()> {
        let parts = &self.0.delivery.0;
        let platform = &parts.platform;
        let network = match platform.network_get(&row.project, DECLARED_NETWORK).await {
            Ok(_) => DECLARED_NETWORK,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let body = NetworkCreate { name: BUILD_NETWORK.into(), egress: Egress::None, subnet: None };
                let made = platform.network_create(&row.project, &body, &Conditions::default()).await;
                if let Err(error) = made
                    && error.kind() != ErrorKind::Conflict
                {
                    return Err(error);
                }
                BUILD_NETWORK
            }
            Err(error) => return Err(error),
        };
        // Half of the processors: what serves has the others.
        let cpus = std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).clamp(1, 8));
        let body = MachineCreate {
            name: machine.to_owned(),
            spec: MachineSpec {
                image: row.build.image.clone(),
                cpus: i64::try_from(cpus).unwrap_or(1),
                memory: MEMORY,
                disk: DISK,
                network: network.into(),
                address: None,
                user_data: None,
                start: "warm".into(),
            },
            group: None,
            metadata: [(BUILD_KEY.to_owned(), builds_for(row))].into(),
            health: None,
            skip_launch: false,
            skip_registration: true,
            lease_ttl: None,
        };
        let key = Conditions::key(format!("build {} {machine}", row.key()));
        platform.machine_create(&row.project, &body, &key).await?;
        let begun = self.now();
        loop {
            match platform.machine_wait(&row.project, machine, "started", Duration::from_secs(20)).await {
                Ok(there) if there.state == MachineState::Started => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Timeout => {}
                Err(error) => return Err(error),
            }
            if self.now().since(begun) > MACHINE {
                return Err(Error::conflict(format!(
                    "its machine did not start within {} s",
                    MACHINE.as_secs()
                )));
            }
        }
    }

    /// Has a builder's machine deleted; true when it is no more.
    pub(super) async fn builder_gone(&self, row: &BuildRow, machine: &str) -> Result<bool> {
        let platform = &self.0.delivery.0.platform;
        self.0.hands.forget(At { project: &row.project, machine });
        match platform.machine_get(&row.project, machine).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
            Ok(there) if there.state == MachineState::Destroyed => Ok(true),
            // Somebody's own machine that has this name: the builder was never made.
            Ok(there) if there.metadata.get(BUILD_KEY) != Some(&builds_for(row)) => Ok(true),
            Ok(there) if there.wanted_state == "destroyed" => Ok(false),
            Ok(_) => match platform.machine_delete(&row.project, machine, &Conditions::default()).await {
                Ok(_) => Ok(false),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
                Err(error) => Err(error),
            },
        }
    }

    /// The platform's own network for builds goes with the last of them.
    pub(super) async fn network_unneeded(&self, project: &str) -> Result<()> {
        let open = store::builds_open(&self.0.delivery.0.db).await?;
        if open.iter().any(|build| build.project == project) {
            return Ok(());
        }
        match self.0.delivery.0.platform.network_delete(project, BUILD_NETWORK).await {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => Err(error),
            _ => Ok(()),
        }
    }
}

/// What a builder's machine says it is there for.
fn builds_for(row: &BuildRow) -> String {
    format!("{}/{}", row.app, row.id())
}
