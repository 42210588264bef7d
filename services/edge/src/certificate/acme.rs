//! Certificates from an authority that speaks ACME (RFC 8555), with its renewal windows (RFC 9773).

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hafen_base::{Error, Result, Timestamp};
use hafen_db::store_error;
use http::Request;
use http_body_util::Limited;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, CertificateIdentifier,
    ChallengeType, HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::store::CertificateRow;
use super::{Issued, hook, leaf, store};
use crate::Edge;
use crate::state::AcmeConfig;

const LARGEST: usize = 1 << 20;
/// So much of what an authority writes for people gets into the log.
const EXPLANATION: usize = 500;
/// One answer of the authority.
const PATIENCE: Duration = Duration::from_secs(30);
/// Until it has checked a name, or issued.
const CHECKED: Duration = Duration::from_secs(90);
/// Challenges are answered for so long; then they are forgotten whatever became of them.
const ANSWERED: Duration = Duration::from_secs(600);
/// Other processes that share the certificates have read a challenge by then.
const SHARED: Duration = Duration::from_secs(2);

struct Http(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Http {
    fn new(roots: Option<&Path>) -> Result<Self> {
        let unusable = |error: &dyn std::fmt::Display| {
            Error::unavailable(format!("the certificates to know the authority by cannot be used: {error}"))
        };
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| unusable(&error))?;
        let config = match roots {
            None => builder.with_native_roots().map_err(|error| unusable(&error))?.with_no_client_auth(),
            Some(path) => {
                let mut store = rustls::RootCertStore::empty();
                let found = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
                for root in found {
                    store.add(root.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
                }
                builder.with_root_certificates(store).with_no_client_auth()
            }
        };
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

type Answer = std::result::Result<BytesResponse, instant_acme::Error>;

impl HttpClient for Http {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move {
            let other = |error: Box<dyn std::error::Error + Send + Sync>| instant_acme::Error::Other(error);
            let answer = tokio::time::timeout(PATIENCE, answer).await.map_err(|error| other(error.into()))?;
            let answer = answer.map_err(|error| other(error.into()))?;
            Ok(BytesResponse::from(answer.map(|body| Limited::new(body, LARGEST))))
        })
    }
}

fn is_too_much(error: &instant_acme::Error) -> bool {
    matches!(error, instant_acme::Error::Api(problem)
        if problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:rateLimited"))
}

fn said(what: &str, error: instant_acme::Error) -> Error {
    let words = match &error {
        instant_acme::Error::Api(problem) => {
            format!(
                "the authority refused {what}: {}",
                problem.detail.as_deref().unwrap_or("without a reason")
            )
        }
        other => format!("the authority could not be asked for {what}: {other}"),
    };
    let too_much = is_too_much(&error);
    let told = Error::unavailable(words).with_cause(error);
    if too_much { told.with_code(TOO_MUCH) } else { told }
}

/// The code of an error by which the authority says that it was too much.
pub const TOO_MUCH: &str = "too_many_orders";

/// The account of this platform there, made at the first order.
async fn account(edge: &Edge, config: &AcmeConfig) -> Result<Account> {
    let parts = &edge.0;
    // The first orders come together: they would make an account each, of which an authority allows a few.
    let _one = parts.account.lock().await;
    let name = format!("edge/account/{}", config.directory);
    let http = || Http::new(config.roots.as_deref()).map(|http| Account::builder_with_http(Box::new(http)));
    if let Some(sealed) = store::account(&parts.db, &config.directory).await? {
        let opened = parts.key.open(&name, &sealed)?;
        let credentials: AccountCredentials =
            serde_json::from_slice(opened.expose()).map_err(Error::internal)?;
        return http()?.from_credentials(credentials).await.map_err(|error| said("an account", error));
    }
    let contact = config.contact.as_ref().map(|mail| format!("mailto:{mail}"));
    let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = http()?
        .create(&new, config.directory.clone(), None)
        .await
        .map_err(|error| said("an account", error))?;
    let text = serde_json::to_vec(&credentials).map_err(Error::internal)?;
    let sealed = parts.key.seal(&name, &text, &*parts.random)?;
    let mut tx = parts.db.write().await?;
    store::account_put(&mut tx, &config.directory, &sealed).await?;
    tx.commit().await.map_err(store_error)?;
    Ok(account)
}

/// Orders a certificate. Whatever becomes of it, nothing of the challenges is left.
pub async fn order(edge: &Edge, config: &AcmeConfig, row: &CertificateRow) -> Result<Issued> {
    let account = account(edge, config).await?;
    let mut records = Vec::new();
    let issued = ordered(edge, config, row, &account, &mut records).await;
    for (name, value) in records {
        if let Some(program) = &config.dns_hook
            && let Err(error) = hook::run(program, "remove", &name, &value).await
        {
            tracing::warn!(host = row.host, "a TXT record is left: {error}");
        }
    }
    let mut tx = edge.0.db.write().await?;
    store::challenges_end(&mut tx, &row.host).await?;
    tx.commit().await.map_err(store_error)?;
    edge.tables_sync().await?;
    if let Err(error) = &issued
        && error.cause_chain().contains("accountDoesNotExist")
    {
        // The authority was made anew: so is the account, at the next try.
        let mut tx = edge.0.db.write().await?;
        store::account_forget(&mut tx, &config.directory).await?;
        tx.commit().await.map_err(store_error)?;
    }
    issued
}

async fn new_order(account: &Account, row: &CertificateRow) -> Result<Order> {
    let names = [Identifier::Dns(row.host.clone())];
    if row.issuer == "acme"
        && !row.chain.is_empty()
        && let Ok(der) = leaf(&row.chain)
        && let Ok(replaced) = CertificateIdentifier::try_from(&CertificateDer::from(der))
    {
        // Not every authority knows renewals, and none has one replaced twice: then it is an order like any other.
        match account.new_order(&NewOrder::new(&names).replaces(replaced)).await {
            Ok(order) => return Ok(order),
            // A second order would only add to it.
            Err(error) if is_too_much(&error) => return Err(said("a certificate", error)),
            Err(error) => tracing::debug!(host = row.host, "no order that replaces: {error}"),
        }
    }
    account.new_order(&NewOrder::new(&names)).await.map_err(|error| said("a certificate", error))
}

async fn ordered(
    edge: &Edge,
    config: &AcmeConfig,
    row: &CertificateRow,
    account: &Account,
    records: &mut Vec<(String, String)>,
) -> Result<Issued> {
    let kind = match (&config.dns_hook, row.host.starts_with("*."), config.tls_alpn) {
        (Some(_), ..) => ChallengeType::Dns01,
        (None, true, _) => {
            return Err(Error::conflict(format!(
                "{} has a star, which is proven by DNS only: name a program with --acme-dns-hook",
                row.host
            )));
        }
        (None, false, true) => ChallengeType::TlsAlpn01,
        (None, false, false) => ChallengeType::Http01,
    };
    let mut order = new_order(account, row).await?;
    let retry = RetryPolicy::default().timeout(CHECKED);
    let mut authorizations = order.authorizations();
    while let Some(next) = authorizations.next().await {
        let mut authorization = next.map_err(|error| said("a challenge", error))?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            _ => return Err(Error::unavailable("the authority gave a challenge that is over")),
        }
        let mut challenge = authorization.challenge(kind.clone()).ok_or_else(|| {
            Error::conflict(format!("the authority does not check {} by {kind:?}", row.host))
        })?;
        let proof = challenge.key_authorization();
        let mut tx = edge.0.db.write().await?;
        let until = edge.0.now().plus(ANSWERED);
        match kind {
            ChallengeType::Http01 => {
                store::challenge_put(&mut tx, &row.host, "http-01", &challenge.token, proof.as_str(), until)
                    .await?;
            }
            ChallengeType::TlsAlpn01 => {
                let digest = STANDARD.encode(proof.digest().as_ref());
                store::challenge_put(&mut tx, &row.host, "tls-alpn-01", &challenge.token, &digest, until)
                    .await?;
            }
            _ => {}
        }
        tx.commit().await.map_err(store_error)?;
        if let (ChallengeType::Dns01, Some(program)) = (&kind, &config.dns_hook) {
            let name = format!("_acme-challenge.{}", row.host.strip_prefix("*.").unwrap_or(&row.host));
            records.push((name.clone(), proof.dns_value()));
            hook::run(program, "add", &name, &proof.dns_value()).await?;
        }
        if kind == ChallengeType::TlsAlpn01 {
            edge.tables_sync().await?;
            edge.0.clock.sleep(SHARED).await;
        }
        challenge.set_ready().await.map_err(|error| said("a check", error))?;
    }
    let status = order.poll_ready(&retry).await.map_err(|error| said("a check", error))?;
    if status != OrderStatus::Ready {
        let why = reason(&mut order).await;
        return Err(Error::unavailable(format!("the authority could not check {}: {why}", row.host)));
    }
    let pair = KeyPair::generate().map_err(Error::internal)?;
    let mut params = CertificateParams::new(vec![row.host.clone()]).map_err(Error::internal)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&pair).map_err(Error::internal)?;
    order.finalize_csr(request.der()).await.map_err(|error| said("the certificate", error))?;
    let chain = order.poll_certificate(&retry).await.map_err(|error| said("the certificate", error))?;
    Ok(Issued { chain, key: pair.serialize_pem() })
}

/// What the authority found wrong with the challenges.
async fn reason(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await
            && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            return problem.detail.clone().unwrap_or_else(|| problem.to_string());
        }
    }
    "it did not say why".into()
}

/// When a certificate shall be renewed.
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
    /// When to ask again.
    pub again: Duration,
    /// A page that the authority names for why it is this one.
    pub explanation: Option<String>,
}

/// Asks for the window of the row's certificate.
pub async fn renewal_window(edge: &Edge, config: &AcmeConfig, row: &CertificateRow) -> Result<Window> {
    let account = account(edge, config).await?;
    let der = CertificateDer::from(leaf(&row.chain)?);
    let id = CertificateIdentifier::try_from(&der).map_err(Error::invalid)?;
    let (info, again) = account.renewal_info(&id).await.map_err(|error| said("a renewal window", error))?;
    let window = info.suggested_window;
    if window.end <= window.start {
        // RFC 9773, section 4.2: as if it had not answered.
        return Err(Error::unavailable("the authority gave a renewal window that ends before it begins"));
    }
    let at =
        |time: time::OffsetDateTime| Timestamp::from_micros(time.unix_timestamp().saturating_mul(1_000_000));
    let explanation = info.explanation_url.map(|text| {
        let text = text.chars().filter(|letter| !letter.is_control());
        text.take(EXPLANATION).collect()
    });
    Ok(Window { start: at(window.start), end: at(window.end), again, explanation })
}
