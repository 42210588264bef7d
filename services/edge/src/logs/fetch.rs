//! Reads tiles: bounded in size and time, by https, or from this machine.

use std::io::{self, Read as _};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use hafen_base::{Error, Result};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderValue, Request, StatusCode, Uri};
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

/// A few bytes can become very many: no more than `most` of them do.
fn unzip(bytes: &[u8], most: usize) -> io::Result<Bytes> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes).take(most as u64 + 1).read_to_end(&mut plain)?;
    if plain.len() > most {
        return Err(io::Error::other("it is too large"));
    }
    Ok(plain.into())
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

    /// A tile of which so many entries or hashes are of use. One that is not full is taken away by a log once it is (C2SP
    /// static-ct-api, "Partial tiles"): then the full one begins with it.
    pub async fn tile(&self, base: &str, path: &str, width: u64, most: usize) -> Result<Bytes> {
        let url = format!("{base}/{path}");
        let full = path.strip_suffix(&format!(".p/{width}"));
        match (self.ask(&url, most).await?, full) {
            (Some(bytes), _) => Ok(bytes),
            (None, Some(full)) => self.get(&format!("{base}/{full}"), most).await,
            (None, None) => Err(Error::unavailable(format!("{url} cannot be read: it is not there"))),
        }
    }

    pub async fn get(&self, url: &str, most: usize) -> Result<Bytes> {
        let found = self.ask(url, most).await?;
        found.ok_or_else(|| Error::unavailable(format!("{url} cannot be read: it is not there")))
    }

    /// None where there is nothing.
    async fn ask(&self, url: &str, most: usize) -> Result<Option<Bytes>> {
        let broken =
            |what: &dyn std::fmt::Display| Error::unavailable(format!("{url} cannot be read: {what}"));
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| broken(&error))?;
        if uri.scheme_str() != Some("https") && !is_loopback(&uri) {
            return Err(broken(&"a log is read by https"));
        }
        // Logs may send nothing else (C2SP static-ct-api, "Monitoring APIs").
        let request = Request::get(uri).header(ACCEPT_ENCODING, "gzip").body(Empty::new());
        let request = request.map_err(|error| broken(&error))?;
        let work = async {
            let answer = self.0.request(request).await.map_err(|error| broken(&error))?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            if !answer.status().is_success() {
                return Err(broken(&answer.status()));
            }
            let coding = answer.headers().get(CONTENT_ENCODING).cloned();
            let body = Limited::new(answer.into_body(), most).collect().await;
            let bytes = body.map_err(|error| broken(&error))?.to_bytes();
            match coding.as_ref().map(HeaderValue::as_bytes) {
                None | Some(b"identity") => Ok(Some(bytes)),
                Some(b"gzip" | b"x-gzip") => unzip(&bytes, most).map(Some).map_err(|error| broken(&error)),
                Some(_) => Err(broken(&"it is encoded by what was not asked for")),
            }
        };
        tokio::time::timeout(PATIENCE, work).await.map_err(|_| broken(&"it took too long"))?
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_unfolds_has_a_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        let small = encoder.finish().unwrap();
        assert!(small.len() < 2000);
        assert_eq!(unzip(&small, 1 << 20).unwrap().len(), 1 << 20);
        assert!(unzip(&small, (1 << 20) - 1).is_err());
        assert!(unzip(b"no gzip", 100).is_err());
    }
}
