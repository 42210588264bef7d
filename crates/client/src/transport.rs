//! How a request travels: over TCP, or into a router of this process.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hafen_base::{Actor, Error, Result};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt as _;

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
    client: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl HttpTransport {
    /// `url` as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// Invalid when it is not such a URL.
    pub fn new(url: &str) -> Result<Self> {
        let base: Uri = url
            .trim_end_matches('/')
            .parse()
            .map_err(|e| Error::invalid(format!("{url:?} is not a URL: {e}")))?;
        if base.scheme_str() != Some("http") || base.authority().is_none() {
            return Err(Error::invalid(format!("{url:?} is not of the form http://host:port")));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(10)));
        Ok(Self { base, client: legacy::Client::builder(TokioExecutor::new()).build(connector) })
    }

    fn authority(&self) -> &str {
        self.base.authority().map_or("", http::uri::Authority::as_str)
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

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority(self.authority())
            .path_and_query(path)
            .build()
            .map_err(|e| Error::invalid(format!("bad path {path:?}: {e}")))?;
        let answer = self.client.request(request).await.map_err(|e| self.unreachable(e))?;
        Ok(answer.map(Body::new))
    }

    async fn stream(&self, path: &str, token: &Token) -> Result<ByteStream> {
        let authority = self.authority();
        let tcp = TcpStream::connect(authority).await.map_err(|e| self.unreachable(e))?;
        tcp.set_nodelay(true).map_err(|e| self.unreachable(e))?;
        stream::open(tcp, authority, path, Some(token)).await
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
