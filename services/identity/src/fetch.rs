//! The one way out: to external OpenID providers and issuers that an owner configured, and where they say that their keys are.
//! Bounded in time and size, follows no redirects, and speaks plain HTTP only to this machine.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hafen_base::{Error, Result};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use url::{Host, Url};

use crate::public::{PublicNames, is_public};

const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: usize = 1 << 20;

/// Asks another server. A trait so that a platform without egress can have none.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// GET; or POST of a form, with a Basic authorization.
    ///
    /// # Errors
    /// Unavailable, with what went wrong.
    async fn json(&self, url: &str, form: Option<(String, String)>) -> Result<Value>;

    /// GET of an address that somebody else named: by https, and only where it is on the internet.
    ///
    /// # Errors
    /// As `json`.
    async fn public_json(&self, url: &str) -> Result<Value>;
}

/// Over the network, by the certificates this machine trusts.
pub struct Network {
    anywhere: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    public: Client<HttpsConnector<HttpConnector<PublicNames>>, Full<Bytes>>,
}

impl Network {
    /// # Errors
    /// Unavailable when the machine has no certificates to trust.
    pub fn new() -> Result<Self> {
        let unusable = |error: &dyn std::fmt::Display| {
            Error::unavailable(format!("the certificates of this machine cannot be used: {error}"))
        };
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_native_roots()
            .map_err(|error| unusable(&error))?
            .with_no_client_auth();
        let connector = || HttpsConnectorBuilder::new().with_tls_config(config.clone());
        let mut names = HttpConnector::new_with_resolver(PublicNames);
        names.enforce_http(false);
        let public = connector().https_only().enable_http1().wrap_connector(names);
        let anywhere = connector().https_or_http().enable_http1().build();
        let client = || Client::builder(TokioExecutor::new());
        Ok(Self { anywhere: client().build(anywhere), public: client().build(public) })
    }
}

/// This machine itself.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn broken(what: impl std::fmt::Display) -> Error {
    Error::unavailable(format!("the other server does not answer as it should: {what}"))
}

/// Sends and reads a whole answer in time.
async fn ask<C>(client: &Client<C, Full<Bytes>>, request: Request<Full<Bytes>>) -> Result<Value>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let work = async {
        let answer = client.request(request).await.map_err(broken)?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(broken)?.to_bytes();
        if !status.is_success() {
            return Err(broken(format!("status {status}")));
        }
        serde_json::from_slice(&bytes).map_err(broken)
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .map_err(|_| broken(format!("nothing within {} s", PATIENCE.as_secs())))?
}

/// https, or http on a loopback address.
pub fn is_safe(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    url.scheme() == "https" && url.host().is_some() || url.scheme() == "http" && loopback
}

#[async_trait]
impl Fetch for Network {
    async fn json(&self, url: &str, form: Option<(String, String)>) -> Result<Value> {
        if !is_safe(url) {
            return Err(broken("an address that is not https"));
        }
        let mut request = Request::builder().uri(url).header(header::ACCEPT, "application/json");
        let body = match form {
            None => Bytes::new(),
            Some((basic, form)) => {
                request = request
                    .method(Method::POST)
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .header(header::AUTHORIZATION, format!("Basic {basic}"));
                Bytes::from(form)
            }
        };
        let request = request.body(Full::new(body)).map_err(broken)?;
        ask(&self.anywhere, request).await
    }

    async fn public_json(&self, url: &str) -> Result<Value> {
        let parsed = Url::parse(url).map_err(broken)?;
        // An address that needs no look-up is checked here, a name where it is looked up.
        let fine = match parsed.host() {
            Some(Host::Ipv4(address)) => is_public(address.into()),
            Some(Host::Ipv6(address)) => is_public(address.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        };
        if parsed.scheme() != "https" || !fine {
            return Err(broken("it names an address that is not https, or not a public one"));
        }
        let request = Request::builder().uri(url).header(header::ACCEPT, "application/json");
        ask(&self.public, request.body(Full::new(Bytes::new())).map_err(broken)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["https://login.example.org/x", "http://127.0.0.1:4750", "http://[::1]:1/"] {
            assert!(is_safe(good), "{good}");
        }
        for bad in [
            "",
            "http://login.example.org",
            "http://localhost/",
            "file:///etc/passwd",
            "ftp://127.0.0.1/",
            "http://10.0.0.1/",
        ] {
            assert!(!is_safe(bad), "{bad}");
        }
    }
}
