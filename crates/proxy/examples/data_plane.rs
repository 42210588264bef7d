//! The data plane alone, before one endpoint: `data_plane ENDPOINT HTTP HTTPS CHAIN KEY [HOSTS]`. For measurements.

use std::sync::Arc;

use async_trait::async_trait;
use hafen_base::{Error, Result, SystemClock, SystemRandom};
use hafen_proxy::{
    BoxStream, Connect, EndpointPlan, HostPlan, Limits, Listeners, Place, Proxy, ProxyConfig, certificates,
    serve,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

struct Nowhere;

#[async_trait]
impl Connect for Nowhere {
    async fn connect(&self, _project: &str, _machine: &str, _port: u16) -> std::io::Result<BoxStream> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

#[tokio::main(worker_threads = 1)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, endpoint, http, https, chain, key, rest @ ..] = arguments.as_slice() else {
        return Err(Error::invalid("data_plane ENDPOINT HTTP HTTPS CHAIN KEY [HOSTS]"));
    };
    let more: u32 = rest.first().and_then(|count| count.parse().ok()).unwrap_or(0);
    let read = |path: &str| std::fs::read_to_string(path).map_err(Error::internal);
    let (http, https) = (TcpListener::bind(http).await, TcpListener::bind(https).await);
    let (http, https) = (http.map_err(Error::internal)?, https.map_err(Error::internal)?);
    let config = ProxyConfig {
        connect: Arc::new(Nowhere),
        challenges: None,
        log: None,
        limits: Limits { client_connections: 100_000, ..Limits::default() },
        clock: Arc::new(SystemClock),
        workers: 0,
        https_port: 443,
    };
    let proxy = Proxy::new(config, &SystemRandom);
    let plan = |host: String| HostPlan {
        host,
        project: "bench".into(),
        paths: vec![("/".into(), vec![("web".into(), 1)])],
        maintenance: false,
        redirect_https: false,
        hsts: 0,
        max_body: 0,
        rate: 0,
    };
    let hosts = (0..more).map(|number| plan(format!("h{number}.localhost")));
    proxy.table().hosts_set(hosts.chain([plan("localhost".into())]).collect());
    let place = Place::Address(endpoint.parse().map_err(Error::internal)?);
    proxy
        .table()
        .backend("bench", "web")
        .set(&[EndpointPlan { id: "one".into(), place, draining: false }], None);
    proxy.certificates().set(vec![("localhost".into(), certificates::read(&read(chain)?, &read(key)?)?)]);
    let (_stop, stopped) = watch::channel(false);
    serve(proxy, Listeners { http: Some(http), https: Some(https) }, stopped).await.map_err(Error::internal)
}
