//! Asks machines, a few at a time, each when it is due or somebody wants to know.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, ErrorKind, Result};
use hafen_client::Duplex;
use hafen_client::wire::Machine;
use hafen_db::store_error;
use hafen_remote::{Login, Session};
use hafen_sshca::ssh_key::{Certificate, PrivateKey, PublicKey};
use hafen_sshca::{CHECK_COMMAND, CHECK_USER, HostKey, Place, UserWish};
use hafen_work::{Next, Reconciler};

use super::report::{LIMIT, Report};
use super::step::{Told, Watched};
use super::{event_of, host_name, is_checkable, key, store};
use crate::Access;
use crate::model::PORT;

/// For one check, from the connection to the last byte: a slow machine looks through its whole disk.
const PATIENCE: Duration = Duration::from_secs(180);
/// The certificate of one check, which only begins within it.
const CERTIFICATE: Duration = Duration::from_secs(120);

/// The runner's work.
pub struct Watcher {
    pub access: Access,
    pub every: Duration,
}

#[async_trait]
impl Reconciler for Watcher {
    fn name(&self) -> &'static str {
        "access integrity"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let parts = &self.access.0;
        let mut known = store::schedule(&parts.db).await?;
        let (now, mut due, mut there) = (parts.now(), Vec::new(), HashSet::new());
        for project in parts.platform.project_list().await? {
            let machines = match parts.platform.machine_list(&project.name).await {
                Ok(machines) => machines,
                // It went away meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for machine in machines {
                there.insert(machine.id.to_string());
                let disk = machine.ssh_host_key.clone().unwrap_or_default();
                let is_due = known
                    .get(&machine.id.to_string())
                    .is_none_or(|(known_disk, at)| *known_disk != disk || *at <= now);
                if is_due && is_checkable(&machine) {
                    due.push(key(&machine));
                }
            }
        }
        known.retain(|machine, _| !there.contains(machine));
        if !known.is_empty() {
            let mut tx = parts.db.write().await?;
            for machine in known.keys() {
                store::forget(&mut tx, machine).await?;
            }
            tx.commit().await.map_err(store_error)?;
        }
        Ok(due)
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let parts = &self.access.0;
        let Some((project, id)) = key.split_once('/') else { return Ok(Next::Done) };
        let Some(machine) = self.machine(project, id).await? else { return Ok(Next::Done) };
        let report = tokio::select! {
            report = self.access.report(&machine) => report,
            () = parts.clock.sleep(PATIENCE) => {
                Err(Error::unavailable(format!("it did not answer within {} s", PATIENCE.as_secs())))
            }
        };
        // A machine that was stopped or started anew meanwhile has not failed.
        let same = self.machine(project, id).await?;
        if !same.is_some_and(|now| now.boot_id == machine.boot_id && now.ssh_host_key == machine.ssh_host_key)
        {
            return Ok(Next::Done);
        }
        let disk = machine.ssh_host_key.clone().unwrap_or_default();
        let watched = store::get(&parts.db, id).await?.filter(|watched| watched.disk == disk);
        let mut watched = watched.unwrap_or_else(|| Watched::new(id, &machine.project, &machine.name, &disk));
        let told = match report {
            // Later reports would differ by what cloud-init makes. One that never ends becomes an alert as any failure does.
            Ok(report) if report.setting_up && watched.baseline.is_none() => {
                let error = "it is still being set up: cloud-init has not ended (`cloud-init status --long` there says more)";
                watched.failed(error.into(), parts.now(), self.every)
            }
            Ok(report) => {
                watched.next_at = parts.now().plus(self.spread());
                watched.reported(report, &self.access.known(&machine)?)?
            }
            Err(error) => {
                tracing::debug!(machine = key, cause = %error.cause_chain(), "{error}");
                watched.failed(error.to_string(), parts.now(), self.every)
            }
        };
        self.record(&watched, &told).await?;
        Ok(Next::Done)
    }

    fn parallel(&self) -> usize {
        4
    }

    fn sweep(&self) -> Duration {
        (self.every / 10).clamp(Duration::from_secs(1), Duration::from_secs(30))
    }
}

impl Watcher {
    /// The machine, while it can be asked.
    async fn machine(&self, project: &str, id: &str) -> Result<Option<Machine>> {
        match self.access.0.platform.machine_get(project, id).await {
            Ok(machine) => Ok(Some(machine).filter(is_checkable)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// From nine tenths of the time to all of it, so that machines that were made at once are not asked at once for ever.
    fn spread(&self) -> Duration {
        let mut byte = [0_u8];
        self.access.0.random.fill(&mut byte);
        self.every * 9 / 10 + self.every / 10 * u32::from(byte[0]) / 255
    }

    async fn record(&self, watched: &Watched, told: &[Told]) -> Result<()> {
        let parts = &self.access.0;
        let mut tx = parts.db.write().await?;
        store::put(&mut tx, watched).await?;
        for one in told {
            let (kind, message, data) = event_of(watched, one);
            let object = format!("machine/{}", watched.name);
            self.access.event_of(&mut tx, &watched.project, kind, object, message, data).await?;
        }
        tx.commit().await.map_err(store_error)?;
        if !told.is_empty() {
            parts.events.ring();
        }
        Ok(())
    }
}

impl Access {
    /// Asks a machine for its report.
    async fn report(&self, machine: &Machine) -> Result<Report> {
        let parts = &self.0;
        let (now, random) = (parts.now(), &*parts.random);
        // A key for this one time.
        let pair = HostKey::generate(random)?;
        let wish = UserWish {
            place: Place::Check,
            principals: &[CHECK_USER.to_owned()],
            key_id: "hafen integrity check",
            source_address: None,
            ttl: CERTIFICATE,
        };
        let signed = parts.ca.sign_user(&pair.public_key, &wish, now, random)?;
        let stream = parts.platform.machine_dial(&machine.project, &machine.name, PORT).await?;
        let authority = PublicKey::from_openssh(&parts.ca.host_public()?).map_err(Error::internal)?;
        let login = Login {
            host_authority: authority.key_data().clone(),
            host: host_name(machine),
            host_key: machine.ssh_host_key.clone().unwrap_or_default(),
            user: CHECK_USER.into(),
            key: PrivateKey::from_openssh(&pair.private_key).map_err(Error::internal)?,
            certificate: Certificate::from_openssh(&signed.certificate).map_err(Error::internal)?,
            now,
        };
        let session = Session::open(Box::new(Duplex::from(stream)), login).await?;
        let output = session.output(CHECK_COMMAND, LIMIT).await;
        session.close().await;
        Report::parse(&output?)
    }
}
