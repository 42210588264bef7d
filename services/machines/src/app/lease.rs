//! Leases: who holds one keeps every other writer off the machine.

use hafen_base::{Error, Result};
use hafen_client::wire::Lease;
use hafen_db::store_error;
use hafen_work::{Begun, Once, OnceTx};

use super::machine::{Guard, no_machine};
use crate::Machines;
use crate::store;

impl Machines {
    pub(super) fn new_lease(&self, ttl: i64) -> Lease {
        let mut bytes = [0_u8; 16];
        self.0.random.fill(&mut bytes);
        let nonce = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let ttl = std::time::Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
        Lease { nonce, expires_at: self.0.now().plus(ttl) }
    }

    /// Takes the lease, or renews it for its holder.
    pub async fn lease_take(
        &self,
        project: &str,
        name: &str,
        ttl: i64,
        nonce: Option<&str>,
        repeat: Option<&Once>,
    ) -> Result<Lease> {
        if !(1..=3600).contains(&ttl) {
            return Err(Error::invalid_field("/ttl", "a lease lasts 1 to 3600 seconds"));
        }
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(lease) => return Ok(lease),
            Begun::New(once) => once,
        };
        let row = store::machine::find(&mut *once.tx, project, name)
            .await?
            .ok_or_else(|| no_machine(project, name))?;
        let mut lease = self.new_lease(ttl);
        if row.lease_until > self.0.now() {
            match (row.lease_nonce, nonce) {
                (Some(held), Some(sent)) if held == sent => lease.nonce = held,
                _ => {
                    let until = row.lease_until;
                    return Err(Error::conflict(format!("machine {name:?} is leased until {until}"))
                        .with_code("leased"));
                }
            }
        }
        store::machine::set_lease(&mut once.tx, row.id, &lease.nonce, lease.expires_at).await?;
        once.finish(&lease, &*self.0.clock).await?;
        Ok(lease)
    }

    pub async fn lease_release(&self, project: &str, name: &str, nonce: Option<&str>) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        let guard = Guard { if_match: &|_| Ok(()), lease_nonce: nonce };
        let row = self.machine_for_change(&mut tx, project, name, &guard).await?;
        store::machine::set_lease(&mut tx, row.id, "", hafen_base::Timestamp::default()).await?;
        tx.commit().await.map_err(store_error)
    }
}
