//! Certificates by name, swapped whole; and the configuration of TLS.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hafen_base::{Error, Result};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What an authority speaks to check a name (RFC 8737).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

type Table = HashMap<Box<str>, Arc<CertifiedKey>>;

/// The certificates that are shown.
#[derive(Debug, Default)]
pub struct Certificates {
    names: ArcSwap<Table>,
    /// Shown to an authority that checks a name, and to nobody else.
    checks: ArcSwap<Table>,
}

/// A chain and its key, ready to be shown.
pub type Shown = Arc<CertifiedKey>;

/// Reads a chain and its key.
///
/// # Errors
/// Invalid when they are no PEM, or not of one another.
pub fn read(chain: &str, key: &str) -> Result<Shown> {
    let wrong =
        |error: &dyn std::fmt::Display| Error::invalid(format!("the certificate cannot be used: {error}"));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| wrong(&error))?;
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|error| wrong(&error))
}

/// What is shown to an authority that checks a name, in DER. It holds an extension that nobody but the authority reads, so that it is
/// not looked into here.
///
/// # Errors
/// Invalid when the key is none.
pub fn read_check(certificate: &[u8], key: &[u8]) -> Result<Shown> {
    let wrong =
        |error: &dyn std::fmt::Display| Error::invalid(format!("the certificate cannot be used: {error}"));
    let key = PrivateKeyDer::try_from(key.to_vec()).map_err(|error| wrong(&error))?;
    let key = provider().key_provider.load_private_key(key).map_err(|error| wrong(&error))?;
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(certificate.to_vec())], key)))
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

impl Certificates {
    /// Sets all certificates, by the names that they are for.
    pub fn set(&self, certificates: Vec<(String, Shown)>) {
        let table = certificates.into_iter().map(|(name, shown)| (name.into(), shown)).collect();
        self.names.store(Arc::new(table));
    }

    /// Sets those for these names, or takes them back; the others stay.
    pub fn change(&self, changes: &[(String, Option<Shown>)]) {
        if changes.is_empty() {
            return;
        }
        self.names.rcu(|table| {
            let mut table = Table::clone(table);
            for (name, shown) in changes {
                match shown {
                    Some(shown) => table.insert(name.as_str().into(), Arc::clone(shown)),
                    None => table.remove(name.as_str()),
                };
            }
            table
        });
    }

    /// Sets what is shown to an authority that checks this name.
    pub fn set_check(&self, name: &str, shown: Option<&Shown>) {
        self.checks.rcu(|table| {
            let mut table = Table::clone(table);
            match shown {
                Some(shown) => table.insert(name.into(), Arc::clone(shown)),
                None => table.remove(name),
            };
            table
        });
    }

    /// Whether there is one for this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<Shown> {
        let names = self.names.load();
        if let Some(shown) = names.get(name) {
            return Some(Arc::clone(shown));
        }
        let (_, rest) = name.split_once('.')?;
        names.get(format!("*.{rest}").as_str()).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Shown> {
        let name = hello.server_name()?.to_ascii_lowercase();
        if hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ACME_TLS)) {
            return self.checks.load().get(name.as_str()).cloned();
        }
        self.find(&name)
    }
}

/// TLS 1.3, and 1.2 with forward secrecy and authenticated encryption only (rustls knows no other).
///
/// # Errors
/// Internal.
pub fn server_config(certificates: Arc<Certificates>) -> Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(Error::internal)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), ACME_TLS.to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(Error::internal)?;
    config.send_tls13_tickets = 1;
    Ok(config)
}
