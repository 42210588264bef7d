//! The data plane's tables, brought to what stands in the database: after each change here, and each second for those of others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::Result;
use hafen_proxy::{EndpointSeen, Proxy, Shown, certificates};
use hafen_work::{Next, Reconciler};
use tokio::sync::Mutex;

use crate::certificate::store::CertificateRow;
use crate::certificate::{self, authority, sealed_name};
use crate::{Edge, model, store};

/// The tables of this process, and what they were brought to.
pub struct Tables {
    proxy: Option<Arc<Proxy>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    revision: i64,
    /// Hosts that an authority checks by TLS.
    checks: HashSet<(String, String)>,
}

impl Tables {
    pub fn new(proxy: Option<Arc<Proxy>>) -> Self {
        Self { proxy, seen: Mutex::default() }
    }

    /// What is known of a backend's endpoints.
    pub fn endpoints(&self, project: &str, backend: &str) -> Vec<EndpointSeen> {
        let known = self.proxy.as_ref().and_then(|proxy| proxy.table().backend_known(project, backend));
        known.map(|backend| backend.seen()).unwrap_or_default()
    }
}

impl Edge {
    /// Brings this process's tables to what stands in the database.
    ///
    /// # Errors
    /// As the database's.
    pub async fn tables_sync(&self) -> Result<()> {
        let parts = &self.0;
        let Some(proxy) = &parts.tables.proxy else { return Ok(()) };
        let mut seen = parts.tables.seen.lock().await;
        if parts.acme.as_ref().is_some_and(|acme| acme.tls_alpn) {
            self.checks_sync(proxy, &mut seen).await?;
        }
        let revision = store::revision(&parts.db).await?;
        if revision == seen.revision {
            return Ok(());
        }
        let table = proxy.table();
        for row in store::backends_since(&parts.db, seen.revision).await? {
            let (endpoints, health) = model::backend_plan(&row.project, &row.spec);
            let backend = table.backend(&row.project, &row.name);
            if row.absent {
                backend.set(&[], None);
            } else {
                backend.set(&endpoints, health);
            }
        }
        let (gone, there): (Vec<_>, Vec<_>) =
            store::routes_since(&parts.db, seen.revision).await?.into_iter().partition(|row| row.absent);
        let plans = there.iter().map(|row| model::host_plan(&row.project, &row.host, &row.spec)).collect();
        let gone: Vec<String> = gone.into_iter().map(|row| row.host).collect();
        table.hosts_change(plans, &gone);
        let rows = certificate::store::since(&parts.db, seen.revision).await?;
        let shown: Vec<_> = rows.iter().map(|row| (row.host.clone(), self.shown(row))).collect();
        proxy.certificates().change(&shown);
        seen.revision = revision;
        Ok(())
    }

    fn shown(&self, row: &CertificateRow) -> Option<Shown> {
        if row.absent || row.chain.is_empty() {
            return None;
        }
        let opened = self.0.key.open(&sealed_name(&row.host), &row.sealed);
        let shown = opened.and_then(|key| certificates::read(&row.chain, key.expose_text()?));
        shown
            .inspect_err(|error| tracing::error!(host = row.host, "its certificate is not shown: {error}"))
            .ok()
    }

    async fn checks_sync(&self, proxy: &Proxy, seen: &mut Seen) -> Result<()> {
        let wanted: HashSet<(String, String)> =
            certificate::store::challenges(&self.0.db, "tls-alpn-01").await?.into_iter().collect();
        for (host, _) in seen.checks.difference(&wanted) {
            proxy.certificates().set_check(host, None);
        }
        for (host, digest) in wanted.difference(&seen.checks) {
            let digest = STANDARD.decode(digest).unwrap_or_default();
            let (certificate, key) = authority::acme_tls(host, &digest)?;
            proxy.certificates().set_check(host, Some(&certificates::read_check(&certificate, &key)?));
        }
        seen.checks = wanted;
        Ok(())
    }
}

/// Reads what other processes wrote.
pub struct Syncing(pub Edge);

#[async_trait]
impl Reconciler for Syncing {
    fn name(&self) -> &'static str {
        "edge tables"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        self.0.tables_sync().await?;
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(1)
    }
}
