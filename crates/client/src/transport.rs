//! How a request travels: over TCP, or into a router of this process.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hafen_base::{Actor, Error, Result};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tower::{Service as _, ServiceExt as _};

use crate::Token;
use crate::stream::{self, ByteStream};

/// A body of unknown length.
pub type Body = axum::body::Body;

/// Carries requests whose URI is only path and query.
#[async_trait]
pub trait Transport: Send + Sync {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>>;

    /// Opens a WebSocket at `path` as a byte stream.
    async fn stream(&self, path: &str, token: &Token) -> Result<ByteStream>;
}

/// Over the network, with kept-alive connections.
pub struct HttpTransport {
    base: Uri,
    connector: HttpsConnector<HttpConnector>,
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl HttpTransport {
    /// `url` as `http://127.0.0.1:8080` or `https://hafen.example.org`.
    ///
    /// # Errors
    /// Invalid when it is not such a URL; unavailable when this machine has no certificates to check https by.
    pub fn new(url: &str) -> Result<Self> {
        let base: Uri = url
            .trim_end_matches('/')
            .parse()
            .map_err(|e| Error::invalid(format!("{url:?} is not a URL: {e}")))?;
        let secure = base.scheme_str() == Some("https");
        if !secure && base.scheme_str() != Some("http") || base.authority().is_none() {
            return Err(Error::invalid(format!(
                "{url:?} is not of the form http://host:port or https://host"
            )));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(10)));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(secure)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = legacy::Client::builder(TokioExecutor::new()).build(connector.clone());
        Ok(Self { base, connector, client })
    }

    fn authority(&self) -> &str {
        self.base.authority().map_or("", http::uri::Authority::as_str)
    }

    fn scheme(&self) -> &str {
        self.base.scheme_str().unwrap_or("http")
    }

    fn unreachable(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::unavailable(format!(
            "no Hafen answers at {}: start it with `hafen serve`, or set HAFEN_URL",
            self.base
        ))
        .with_code("unreachable")
        .with_cause(cause)
    }
}

/// The certificates this machine trusts; none are read where they are not needed.
fn tls(secure: bool) -> Result<rustls::ClientConfig> {
    let unusable = |error: &dyn std::fmt::Display| {
        Error::unavailable(format!("the certificates of this machine cannot be used: {error}"))
    };
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    if !secure {
        let nobody = rustls::RootCertStore::empty();
        return Ok(config.with_root_certificates(nobody).with_no_client_auth());
    }
    Ok(config.with_native_roots().map_err(|error| unusable(&error))?.with_no_client_auth())
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        *request.uri_mut() = Uri::builder()
            .scheme(self.scheme())
            .authority(self.authority())
            .path_and_query(path)
            .build()
            .map_err(|e| Error::invalid(format!("bad path {path:?}: {e}")))?;
        let answer = self.client.request(request).await.map_err(|e| self.unreachable(e))?;
        Ok(answer.map(Body::new))
    }

    async fn stream(&self, path: &str, token: &Token) -> Result<ByteStream> {
        let connection =
            self.connector.clone().call(self.base.clone()).await.map_err(|e| self.unreachable(e))?;
        stream::open(TokioIo::new(connection), self.authority(), path, Some(token)).await
    }
}

/// Over the platform's socket on this host, where the kernel says who asks: no token is sent.
pub struct SocketTransport {
    path: PathBuf,
}

impl SocketTransport {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    async fn connect(&self) -> Result<UnixStream> {
        UnixStream::connect(&self.path).await.map_err(|error| {
            let told = format!(
                "no Hafen answers at {}: start it with `hafen serve`, or set HAFEN_URL",
                self.path.display()
            );
            Error::unavailable(told).with_code("unreachable").with_cause(error)
        })
    }
}

#[async_trait]
impl Transport for SocketTransport {
    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let broken = |error| Error::unavailable("the platform broke the connection off").with_cause(error);
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
        // Ends with the answer's body.
        tokio::spawn(connection);
        request.headers_mut().remove(header::AUTHORIZATION);
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("hafen"));
        Ok(sender.send_request(request).await.map_err(broken)?.map(Body::new))
    }

    async fn stream(&self, path: &str, _token: &Token) -> Result<ByteStream> {
        stream::open(self.connect().await?, "hafen", path, None).await
    }
}

/// Straight into a router of this process.
#[derive(Clone)]
pub struct RouterTransport {
    router: axum::Router,
}

/// What a byte stream may hold in either direction before its writer waits.
const PIPE: usize = 64 << 10;

impl RouterTransport {
    pub fn new(router: axum::Router) -> Self {
        Self { router }
    }
}

#[async_trait]
impl Transport for RouterTransport {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let request = request.map(axum::body::Body::new);
        match self.router.clone().oneshot(request).await {
            Ok(answer) => Ok(answer),
            Err(never) => match never {},
        }
    }

    async fn stream(&self, path: &str, token: &Token) -> Result<ByteStream> {
        // A byte stream takes a connection over, so there is one, within the process: the token stays in it.
        let (near, far) = tokio::io::duplex(PIPE);
        let service = TowerToHyperService::new(self.router.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), service)
            .with_upgrades();
        // Ends with the stream; whoever opened it is who acts behind it.
        tokio::spawn(Actor::current().acts(connection));
        stream::open(near, "hafen", path, Some(token)).await
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::WebSocketUpgrade;
    use axum::extract::ws::Message;
    use axum::routing::get;
    use hafen_base::ActorKind;
    use http::HeaderMap;

    use super::*;

    /// Says who asks and by what, then gives back what it gets.
    async fn echo(upgrade: WebSocketUpgrade, headers: HeaderMap) -> axum::response::Response {
        let bearer = headers[header::AUTHORIZATION].to_str().unwrap_or_default().to_owned();
        let said = format!("{} {bearer}", Actor::current().id);
        upgrade.on_upgrade(async move |mut socket| {
            let mut next = Some(Bytes::from(said));
            while let Some(bytes) = next {
                if socket.send(Message::Binary(bytes)).await.is_err() {
                    return;
                }
                next = match socket.recv().await {
                    Some(Ok(Message::Binary(bytes))) if !bytes.is_empty() => Some(bytes),
                    _ => None,
                };
            }
        })
    }

    #[tokio::test]
    async fn a_byte_stream_stays_within_the_process_and_keeps_its_actor() {
        let router = axum::Router::new().route("/echo", get(echo));
        let transport = RouterTransport::new(router);
        let olga = Actor { kind: ActorKind::Person, id: "u-olga".into(), ..Actor::platform() };
        let opened = olga.acts(transport.stream("/echo", &Token::new("inner"))).await;
        let mut stream = opened.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(stream.receiver.recv().await.as_deref(), Some(&b"u-olga Bearer inner"[..]));
        let large = Bytes::from(vec![7; 300_000]);
        assert!(stream.sender.send(large.clone()).await.is_ok());
        assert_eq!(stream.receiver.recv().await, Some(large));
        drop(stream.sender);
        assert_eq!(stream.receiver.recv().await, None, "our end ends it");
        let missing = transport.stream("/nothing", &Token::new("inner")).await;
        assert!(missing.is_err_and(|error| error.kind() == hafen_base::ErrorKind::NotFound));
    }
}
