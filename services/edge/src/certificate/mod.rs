//! Certificates: who needs one, when it is renewed, and how it is come by.
//!
//! A row for each host says what is wanted and what there is; `plan` decides, pure. One process at a time works on a host: it leases
//! the row. Keys are sealed before they reach the database, which every process of the edge reads.

pub mod acme;
pub mod authority;
mod hook;
pub mod plan;
pub mod store;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, Result, Timestamp};
use hafen_db::store_error;
use hafen_work::{NewEvent, Next, Reconciler};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::Edge;
use crate::model::{self, Issuer};
use crate::store::revision_next;
use plan::Step;
use store::CertificateRow;

/// One order, with everything that may be slow about it: three calls of a program, two checks, and what is between them.
const LEASE: Duration = Duration::from_secs(900);
/// Orders of this process at a time; of one project, so that nobody's many hosts hold up another's one.
const ORDERS: usize = 8;
const ORDERS_OF_PROJECT: usize = 2;
/// Who found none free looks again.
const SOON: Duration = Duration::from_secs(2);

/// A certificate that was come by.
pub struct Issued {
    /// PEM, the host's own first.
    pub chain: String,
    /// PEM.
    pub key: String,
}

/// What a certificate says of itself.
pub struct Facts {
    pub fingerprint: String,
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Reads the first certificate of a chain.
///
/// # Errors
/// Invalid when it is none.
pub fn facts(chain: &str) -> Result<Facts> {
    let wrong = || Error::invalid("the authority gave no certificate that can be read");
    let der = leaf(chain)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|_| wrong())?;
    let at = |time: i64| Timestamp::from_micros(time.saturating_mul(1_000_000));
    Ok(Facts {
        fingerprint: hex(&Sha256::digest(&der)),
        serial: hex(certificate.raw_serial()),
        not_before: at(certificate.validity().not_before.timestamp()),
        not_after: at(certificate.validity().not_after.timestamp()),
    })
}

/// The first certificate of a chain, in DER.
///
/// # Errors
/// Invalid when there is none.
pub fn leaf(chain: &str) -> Result<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let der = CertificateDer::from_pem_slice(chain.as_bytes());
    der.map(|der| der.to_vec()).map_err(|error| Error::invalid(format!("this chain is no PEM: {error}")))
}

/// The name that a host's key is sealed under.
pub fn sealed_name(host: &str) -> String {
    format!("edge/certificate/{host}")
}

/// The runner's work.
pub struct Issuing(pub Edge);

#[async_trait]
impl Reconciler for Issuing {
    fn name(&self) -> &'static str {
        "edge certificates"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        store::due(&self.0.0.db, self.0.0.now()).await
    }

    async fn reconcile(&self, host: &str) -> Result<Next> {
        let parts = &self.0.0;
        let Some(row) = store::get(&parts.db, host).await? else { return Ok(Next::Done) };
        let wanted = model::issuer(host, parts.acme.is_some());
        match plan::decide(&row, wanted, parts.now()) {
            Step::Nothing => Ok(Next::Done),
            Step::Wait(time) => Ok(Next::After(time)),
            Step::Look => {
                self.0.renewal_look(&row).await?;
                Ok(Next::Now)
            }
            Step::Issue => {
                let mut turn = None;
                if let (Issuer::Acme, Some(config)) = (wanted, &parts.acme) {
                    let paused = store::pause(&parts.db, &config.directory).await?;
                    if paused > parts.now() {
                        return Ok(Next::After(paused.since(parts.now()).min(plan::LONGEST)));
                    }
                    turn = parts.orders.begin(&row.project);
                    if turn.is_none() {
                        return Ok(Next::After(SOON));
                    }
                }
                if !store::lease(&parts.db, host, &parts.process, parts.now(), LEASE).await? {
                    return Ok(Next::After(Duration::from_secs(5)));
                }
                // Another process may have come by one since the row was read.
                let row = store::get(&parts.db, host).await?;
                match row.filter(|row| plan::decide(row, wanted, parts.now()) == Step::Issue) {
                    Some(row) => self.0.issue(&row, wanted).await?,
                    None => store::lease_end(&parts.db, host, &parts.process).await?,
                }
                drop(turn);
                Ok(Next::Now)
            }
        }
    }

    /// More than there are orders at a time: names of the inside, which take no time, do not stand behind them.
    fn parallel(&self) -> usize {
        ORDERS * 4
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Orders under way in this process, by project.
#[derive(Default)]
pub struct Orders(Mutex<HashMap<String, usize>>);

/// An order under way; over when dropped.
struct Turn<'a> {
    orders: &'a Orders,
    project: String,
}

impl Orders {
    fn begin(&self, project: &str) -> Option<Turn<'_>> {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.values().sum::<usize>() >= ORDERS {
            return None;
        }
        let count = orders.entry(project.to_owned()).or_default();
        if *count >= ORDERS_OF_PROJECT {
            return None;
        }
        *count += 1;
        Some(Turn { orders: self, project: project.to_owned() })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut orders = self.orders.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = orders.entry(self.project.clone()) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// A certificate as it is written down.
struct Ready {
    issued: Issued,
    facts: Facts,
    sealed: String,
}

impl Edge {
    /// Tries once; what came of it stands in the row.
    async fn issue(&self, row: &CertificateRow, wanted: Issuer) -> Result<()> {
        let parts = &self.0;
        let issued = match (wanted, &parts.acme) {
            (Issuer::Acme, Some(config)) => acme::order(self, config, row).await,
            _ => parts.authority.issue(&row.host, parts.now(), &*parts.random),
        };
        match issued.and_then(|issued| self.ready(row, issued)) {
            Ok(ready) => self.issued(row, wanted, ready).await,
            Err(error) => self.not_issued(row, wanted, &error).await,
        }
    }

    /// What cannot be used is as good as not issued: asked for again at once, it would be for ever.
    fn ready(&self, row: &CertificateRow, issued: Issued) -> Result<Ready> {
        let parts = &self.0;
        let facts = facts(&issued.chain)?;
        // A pair that does not belong together would be shown to nobody: better the old one.
        hafen_proxy::certificates::read(&issued.chain, &issued.key)?;
        let sealed = parts.key.seal(&sealed_name(&row.host), issued.key.as_bytes(), &*parts.random)?;
        Ok(Ready { issued, facts, sealed })
    }

    async fn issued(&self, row: &CertificateRow, by: Issuer, ready: Ready) -> Result<()> {
        let parts = &self.0;
        let now = parts.now();
        let Ready { issued, facts, sealed } = ready;
        let mut bytes = [0; 2];
        parts.random.fill(&mut bytes);
        let next_try = plan::renewal(facts.not_before, facts.not_after, u16::from_le_bytes(bytes))
            .max(plan::soonest(now, facts.not_before, facts.not_after));
        let mut tx = parts.db.write().await?;
        let revision = revision_next(&mut tx).await?;
        let new = CertificateRow {
            issuer: by.as_str().into(),
            state: "ready".into(),
            reason: String::new(),
            chain: issued.chain,
            issued_at: now,
            sealed,
            fingerprint: facts.fingerprint.clone(),
            serial: facts.serial.clone(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            next_try,
            look_at: if by == Issuer::Acme { now.plus(plan::FIRST_LOOK) } else { Timestamp::default() },
            attempts: 0,
            ..row.clone()
        };
        if !store::update(&mut tx, &new, &parts.process, revision).await? {
            // The host went away meanwhile, or belongs to another project now.
            return Ok(());
        }
        store::issued_insert(&mut tx, &facts.serial, &row.host, now).await?;
        let event = NewEvent {
            project: row.project.clone(),
            kind: "certificate.issued",
            object: format!("certificate/{}", row.host),
            message: format!("{} has a new certificate, good until {}", row.host, facts.not_after),
            data: json!({ "issuer": by.as_str(), "fingerprint": facts.fingerprint, "serial": facts.serial,
                          "not_after": facts.not_after }),
        };
        parts.events.append(&mut tx, event).await?;
        tx.commit().await.map_err(store_error)?;
        parts.events.ring();
        self.tables_sync().await
    }

    async fn not_issued(&self, row: &CertificateRow, by: Issuer, error: &Error) -> Result<()> {
        let parts = &self.0;
        let attempts = row.attempts + 1;
        let mut wait = plan::retry(attempts);
        let too_much = match &parts.acme {
            Some(config) if by == Issuer::Acme && error.code() == acme::TOO_MUCH => {
                Some((config, plan::too_much(&error.cause_chain(), &row.host, parts.now())))
            }
            _ => None,
        };
        if let Some((_, too_much)) = &too_much {
            wait = wait.max(too_much.until.since(parts.now()));
        }
        let reason: String = error.message().chars().filter(|c| !c.is_control()).take(1000).collect();
        tracing::warn!(host = row.host, cause = %error.cause_chain(), "no certificate: {reason}; tried again in {wait:?}");
        let mut tx = parts.db.write().await?;
        if let Some((config, too_much)) = too_much.filter(|(_, too_much)| too_much.of_all) {
            tracing::error!(
                "the authority takes no orders until {}: none is made for any host",
                too_much.until
            );
            store::pause_set(&mut tx, &config.directory, too_much.until).await?;
        }
        let revision = revision_next(&mut tx).await?;
        let new = CertificateRow {
            state: "failed".into(),
            reason: reason.clone(),
            next_try: parts.now().plus(wait),
            attempts,
            ..row.clone()
        };
        if store::update(&mut tx, &new, &parts.process, revision).await? {
            let event = NewEvent {
                project: row.project.clone(),
                kind: "certificate.failed",
                object: format!("certificate/{}", row.host),
                message: format!("no certificate for {}: {reason}", row.host),
                data: json!({ "issuer": by.as_str(), "attempts": attempts, "next_try": new.next_try }),
            };
            parts.events.append(&mut tx, event).await?;
        }
        tx.commit().await.map_err(store_error)?;
        parts.events.ring();
        Ok(())
    }

    /// Asks the authority when it would have the certificate renewed (RFC 9773).
    async fn renewal_look(&self, row: &CertificateRow) -> Result<()> {
        let parts = &self.0;
        let Some(config) = &parts.acme else { return Ok(()) };
        let now = parts.now();
        let (next_try, look_at) = match acme::renewal_window(self, config, row).await {
            Ok(window) => {
                let mut bytes = [0; 2];
                parts.random.fill(&mut bytes);
                let chance = u16::from_le_bytes(bytes);
                let chosen = plan::in_window(row.next_try, window.start, window.end, chance);
                let next_try = plan::in_time(chosen, row.not_before, row.not_after).max(plan::soonest(
                    row.issued_at,
                    row.not_before,
                    row.not_after,
                ));
                if next_try < row.next_try {
                    let why = window.explanation.as_deref().unwrap_or("it did not say why");
                    tracing::info!(
                        host = row.host,
                        why,
                        "the authority would have it renewed sooner: {next_try}"
                    );
                }
                (next_try, now.plus(window.again.clamp(plan::LOOK_LEAST, plan::LOOK_MOST)))
            }
            Err(error) => {
                tracing::debug!(host = row.host, cause = %error.cause_chain(), "no renewal window: {error}");
                (row.next_try, now.plus(plan::LOOK_FAILED))
            }
        };
        let mut tx = parts.db.write().await?;
        store::set_times(&mut tx, &row.host, row.next_try, next_try, look_at).await?;
        tx.commit().await.map_err(store_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_few_orders_at_a_time() {
        let orders = Orders::default();
        let mut held: Vec<Turn<'_>> = (0..ORDERS_OF_PROJECT).map(|_| orders.begin("a").unwrap()).collect();
        assert!(orders.begin("a").is_none(), "the others wait");
        let other = orders.begin("b").unwrap();
        held.pop();
        held.push(orders.begin("a").unwrap());
        drop(other);
        let names: Vec<String> = (0..ORDERS).map(|number| format!("p{number}")).collect();
        held.extend(names.iter().filter_map(|name| orders.begin(name)));
        assert_eq!(held.len(), ORDERS, "nobody has more than there are");
        drop(held);
        assert!(orders.0.lock().unwrap().is_empty());
    }
}
