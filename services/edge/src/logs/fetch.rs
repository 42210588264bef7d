//! Reads tiles: bounded in size and time, by https, or from this machine.

use std::time::Duration;

use bytes::Bytes;
use hafen_base::{Error, Result};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Fetch(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Fetch {
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
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    pub async fn get(&self, url: &str, most: usize) -> Result<Bytes> {
        let broken =
            |what: &dyn std::fmt::Display| Error::unavailable(format!("{url} cannot be read: {what}"));
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| broken(&error))?;
        if uri.scheme_str() != Some("https") && !is_loopback(&uri) {
            return Err(broken(&"a log is read by https"));
        }
        let request = Request::get(uri).body(Empty::new()).map_err(|error| broken(&error))?;
        let work = async {
            let answer = self.0.request(request).await.map_err(|error| broken(&error))?;
            if !answer.status().is_success() {
                return Err(broken(&answer.status()));
            }
            let body = Limited::new(answer.into_body(), most).collect().await;
            Ok(body.map_err(|error| broken(&error))?.to_bytes())
        };
        tokio::time::timeout(PATIENCE, work).await.map_err(|_| broken(&"it took too long"))?
    }
}
