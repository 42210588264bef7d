//! Certificates: who needs one, when it is renewed, and how it is come by.
//!
//! A row for each host says what is wanted and what there is; `plan` decides, pure. One process at a time works on a host: it leases
//! the row. Keys are sealed before they reach the database, which every process of the edge reads.

pub mod acme;
pub mod authority;
mod hook;
pub mod plan;
pub mod store;

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

/// One order, with everything that may be slow about it.
const LEASE: Duration = Duration::from_secs(300);

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
                if !store::lease(&parts.db, host, &parts.process, parts.now(), LEASE).await? {
                    return Ok(Next::After(Duration::from_secs(5)));
                }
                self.0.issue(&row, wanted).await?;
                Ok(Next::Now)
            }
        }
    }

    fn parallel(&self) -> usize {
        8
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(30)
    }
}

impl Edge {
    /// Tries once; what came of it stands in the row.
    async fn issue(&self, row: &CertificateRow, wanted: Issuer) -> Result<()> {
        let parts = &self.0;
        let issued = match (wanted, &parts.acme) {
            (Issuer::Acme, Some(config)) => acme::order(self, config, row).await,
            _ => parts.authority.issue(&row.host, parts.now(), &*parts.random),
        };
        match issued.and_then(|issued| facts(&issued.chain).map(|facts| (issued, facts))) {
            Ok((issued, facts)) => self.issued(row, wanted, &issued, &facts).await,
            Err(error) => self.not_issued(row, wanted, &error).await,
        }
    }

    async fn issued(&self, row: &CertificateRow, by: Issuer, issued: &Issued, facts: &Facts) -> Result<()> {
        let parts = &self.0;
        let now = parts.now();
        // A pair that does not belong together would be shown to nobody: better the old one.
        hafen_proxy::certificates::read(&issued.chain, &issued.key)?;
        let sealed = parts.key.seal(&sealed_name(&row.host), issued.key.as_bytes(), &*parts.random)?;
        let mut bytes = [0; 2];
        parts.random.fill(&mut bytes);
        let next_try = plan::renewal(facts.not_before, facts.not_after, u16::from_le_bytes(bytes));
        let mut tx = parts.db.write().await?;
        let revision = revision_next(&mut tx).await?;
        let new = CertificateRow {
            issuer: by.as_str().into(),
            state: "ready".into(),
            reason: String::new(),
            chain: issued.chain.clone(),
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
        if !store::update(&mut tx, &new, revision).await? {
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
        let wait = plan::retry(attempts);
        let reason: String = error.message().chars().filter(|c| !c.is_control()).take(1000).collect();
        tracing::warn!(host = row.host, cause = %error.cause_chain(), "no certificate: {reason}; tried again in {wait:?}");
        let mut tx = parts.db.write().await?;
        let revision = revision_next(&mut tx).await?;
        let new = CertificateRow {
            state: "failed".into(),
            reason: reason.clone(),
            next_try: parts.now().plus(wait),
            attempts,
            ..row.clone()
        };
        if store::update(&mut tx, &new, revision).await? {
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
                let at = plan::within(window.start, window.end, u16::from_le_bytes(bytes));
                (at, now.plus(window.again.clamp(plan::LOOK_LEAST, plan::LOOK_MOST)))
            }
            Err(error) => {
                tracing::debug!(host = row.host, "no renewal window: {error}");
                (row.next_try, now.plus(plan::LOOK_MOST))
            }
        };
        let mut tx = parts.db.write().await?;
        store::set_times(&mut tx, &row.host, row.next_try, next_try, look_at).await?;
        tx.commit().await.map_err(store_error)
    }
}
