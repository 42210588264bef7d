//! The one way out: to an external OpenID provider that an owner configured. Bounded in time and size, follows no redirects,
//! and speaks plain HTTP only to this machine.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hafen_base::{Error, Result};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use url::{Host, Url};

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
}

/// Over the network, by the certificates this machine trusts.
pub struct Network(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Network {
    /// # Errors
    /// Unavailable when the machine has no certificates to trust.
    pub fn new() -> Result<Self> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| {
                Error::unavailable(format!("the certificates of this machine cannot be read: {error}"))
            })?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }
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
        let broken = |what: String| {
            Error::unavailable(format!("the external provider does not answer as it should: {what}"))
        };
        if !is_safe(url) {
            return Err(broken("an address that is not https".into()));
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
        let request = request.body(Full::new(body)).map_err(|error| broken(error.to_string()))?;
        let work = async {
            let answer = self.0.request(request).await.map_err(|error| broken(error.to_string()))?;
            let status = answer.status();
            let bytes = Limited::new(answer.into_body(), LARGEST)
                .collect()
                .await
                .map_err(|error| broken(error.to_string()))?
                .to_bytes();
            if !status.is_success() {
                return Err(broken(format!("status {status}")));
            }
            serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .map_err(|_| broken(format!("nothing within {} s", PATIENCE.as_secs())))?
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
