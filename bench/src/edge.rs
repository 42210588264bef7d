//! Requests through the edge, beside nginx and Caddy as reverse proxies before the same endpoint, with the same certificate's kind
//! and the same versions of TLS; handshakes; and ten thousand routes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use hafen_base::{Error, Result};
use hafen_client::Conditions;
use hafen_client::wire::{BackendPut, EndpointPut, EndpointState, ProjectPut, RoutePut, RouteTarget};

use crate::Context;
use crate::peer::Nginx;
use crate::platform::{Platform, broken, megabytes};
use crate::report::{Figure, Part, proc_bytes};

const SECONDS: u32 = 5;
const CONNECTIONS: u32 = 64;
const ROUTES: u32 = 10_000;
const HOST: &str = "localhost";
const NAMES: [[&str; 5]; 3] = [
    ["edge_h1", "edge_h1_p99", "edge_h2", "edge_h2_p99", "edge_handshakes"],
    ["nginx_h1", "nginx_h1_p99", "nginx_h2", "nginx_h2_p99", "nginx_handshakes"],
    ["caddy_h1", "caddy_h1_p99", "caddy_h2", "caddy_h2_p99", "caddy_handshakes"],
];
const WHAT: [(&str, &str); 5] = [
    ("HTTP/1.1 over TLS, 64 connections", "/s"),
    ("HTTP/1.1 over TLS: p99", "ms"),
    ("HTTP/2, 64 connections of 8 streams", "/s"),
    ("HTTP/2: p99", "ms"),
    ("new TLS connections, one request each", "/s"),
];

fn missing(program: &str) -> Error {
    Error::unavailable(format!("{program} is missing: run scripts/packages-bench"))
}

/// A proxy of others.
struct Peer {
    child: Child,
    https: u16,
    version: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _status = self.child.wait();
    }
}

fn free() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(broken("a port"))?;
    Ok(listener.local_addr().map_err(broken("a port"))?.port())
}

fn version(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

/// Installed, or unpacked beside the benchmark.
fn program(context: &Context, name: &str, path: &str) -> std::path::PathBuf {
    let unpacked = context.scratch.join(name).join(path);
    if unpacked.exists() { unpacked } else { name.into() }
}

async fn answers(port: u16) -> Result<()> {
    let began = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if began.elapsed() > Duration::from_secs(20) {
            return Err(Error::unavailable("a peer does not answer"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// A key of the kind that the edge has, and a certificate for the host.
fn certificate(folder: &Path) -> Result<()> {
    let done = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", &format!("/CN={HOST}"), "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .stderr(Stdio::null())
        .status()
        .map_err(|_| missing("openssl"))?;
    if done.success() { Ok(()) } else { Err(Error::unavailable("openssl makes no certificate")) }
}

impl Peer {
    async fn nginx(context: &Context, folder: &Path, endpoint: &str) -> Result<Self> {
        let at = folder.display();
        let https = free()?;
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "{user} daemon off; worker_processes auto; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000;\n\
             client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             upstream web {{ server {endpoint}; keepalive 128; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{https} ssl http2; server_name {HOST};\n\
             ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;\n\
             location / {{ proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; }} }} }}\n"
        );
        std::fs::write(folder.join("proxy.conf"), text).map_err(broken("nginx"))?;
        let program = program(context, "nginx", "usr/sbin/nginx");
        let child = Command::new(&program)
            .args([
                "-p",
                &at.to_string(),
                "-c",
                &format!("{at}/proxy.conf"),
                "-e",
                &format!("{at}/nginx.log"),
            ])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|_| missing("nginx"))?;
        let peer = Self { child, https, version: version(&program, "-v") };
        answers(https).await?;
        Ok(peer)
    }

    async fn caddy(context: &Context, folder: &Path, endpoint: &str) -> Result<Self> {
        let at = folder.display();
        let https = free()?;
        let text = format!(
            "{{\n admin off\n auto_https off\n storage file_system {at}/caddy\n}}\nhttps://{HOST}:{https} {{\n bind 127.0.0.1\n \
             tls {at}/cert.pem {at}/key.pem\n reverse_proxy {endpoint}\n}}\n"
        );
        std::fs::write(folder.join("Caddyfile"), text).map_err(broken("caddy"))?;
        let program = program(context, "caddy", "usr/bin/caddy");
        let child = Command::new(&program)
            .args(["run", "--config", &format!("{at}/Caddyfile"), "--adapter", "caddyfile"])
            .env("HOME", folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| missing("caddy"))?;
        let peer = Self { child, https, version: version(&program, "version") };
        answers(https).await?;
        Ok(peer)
    }

    /// Of the process and those it started.
    fn resident(&self) -> u64 {
        let pid = self.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let all = children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([pid]);
        all.filter_map(|pid| proc_bytes(&format!("/proc/{pid}/status"), "VmRSS")).sum()
    }
}

/// What h2load saw.
#[derive(Debug, Clone, Copy)]
struct Load {
    per_second: f64,
    /// Milliseconds.
    p99: f64,
}

/// Requests of HTTP/1.1 or HTTP/2 over TLS, `CONNECTIONS` of them open; `streams` requests at a time in each.
fn load(folder: &Path, port: u16, http1: bool, streams: u32, host: &str) -> Result<Load> {
    let log = folder.join("h2load.log");
    let _none = std::fs::remove_file(&log);
    let mut command = Command::new("h2load");
    if http1 {
        command.arg("--h1");
    }
    let output = command
        .args(["-t1", "-c", &CONNECTIONS.to_string(), "-m", &streams.to_string(), "-D", &SECONDS.to_string()])
        .args(["--warm-up-time", "1", "--connect-to", &format!("127.0.0.1:{port}")])
        .arg(format!("--log-file={}", log.display()))
        .arg(format!("https://{host}:{port}/"))
        .output()
        .map_err(|_| missing("h2load"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let broken_off = || Error::unavailable(format!("h2load: {said}"));
    if !said.contains(" 0 failed, 0 errored, 0 timeout") || !said.contains(" 0 3xx, 0 4xx, 0 5xx") {
        return Err(broken_off());
    }
    let line = said.lines().find(|line| line.starts_with("finished in"));
    let rate =
        line.and_then(|line| line.split(", ").find_map(|part| part.strip_suffix(" req/s")?.parse().ok()));
    let text = std::fs::read_to_string(&log).map_err(broken("h2load's log"))?;
    let mut times: Vec<u32> =
        text.lines().filter_map(|line| line.rsplit('\t').next()?.parse().ok()).collect();
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied();
    match (rate, p99) {
        (Some(per_second), Some(p99)) => Ok(Load { per_second, p99: f64::from(p99) / 1e3 }),
        _ => Err(broken_off()),
    }
}

/// New connections a second, each with a full handshake and one request.
fn handshakes(folder: &Path, port: u16) -> Result<f64> {
    let script = folder.join("close.lua");
    std::fs::write(
        &script,
        "wrk.headers[\"Connection\"] = \"close\"\nwrk.headers[\"Host\"] = \"localhost\"\n",
    )
    .map_err(broken("close.lua"))?;
    let output = Command::new("wrk")
        .args(["-t1", "-c32", &format!("-d{SECONDS}s"), "-s"])
        .arg(&script)
        .arg(format!("https://{HOST}:{port}/"))
        .output()
        .map_err(|_| missing("wrk"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    rate.filter(|_| !said.contains("Non-2xx")).ok_or_else(|| Error::unavailable(format!("wrk: {said}")))
}

fn target(backend: &str) -> RoutePut {
    let targets = vec![RouteTarget { backend: backend.into(), weight: 100 }];
    RoutePut {
        paths: [("/".to_owned(), targets)].into(),
        maintenance: false,
        redirect_https: true,
        hsts: 0,
        max_body: 0,
        rate: 0,
    }
}

pub async fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("edge");
    let folder = tempfile::tempdir_in(&context.scratch).map_err(broken("a folder cannot be made"))?;
    let at = folder.path();
    certificate(at)?;
    let body = vec![b'x'; 1024];
    let origin = Nginx::start(context, &[("index.html".to_owned(), body)]).await?;
    let endpoint = origin.url.trim_start_matches("http://").to_owned();
    let (http, https) = (free()?, free()?);
    let listen = [format!("127.0.0.1:{http}"), format!("127.0.0.1:{https}")];
    let [plain, secure] = &listen;
    let platform =
        Platform::start_with(context, "sim", &["--edge-http", plain, "--edge-https", secure]).await?;
    let client = platform.client()?;
    client.project_put("bench", &ProjectPut::default()).await?;
    let one = EndpointPut {
        id: "origin".into(),
        machine: None,
        port: None,
        address: Some(endpoint.clone()),
        state: EndpointState::Active,
    };
    let backend = BackendPut { health: None, endpoints: vec![one], generation: None };
    client.backend_put("bench", "web", &backend, &Conditions::default()).await?;
    client.route_put("bench", HOST, &target("web"), &Conditions::default()).await?;
    while client.certificate_get("bench", HOST).await?.state != "ready" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = platform.resident_at_rest().await?;
    let nginx = Peer::nginx(context, at, &endpoint).await?;
    let caddy = Peer::caddy(context, at, &endpoint).await?;
    part.fact("nginx", nginx.version.clone());
    part.fact("caddy", caddy.version.clone());
    part.fact("connections", CONNECTIONS.to_string());
    part.fact("tls", "1.3, P-256 certificate, for all three");

    let ports = [("edge", https), ("nginx", nginx.https), ("caddy", caddy.https)];
    let mut seen: [[Vec<f64>; 5]; 3] = Default::default();
    for _ in 0..context.runs {
        // In turns, so that a noisy moment of the host falls on all.
        for ((_, port), seen) in ports.iter().zip(&mut seen) {
            let one = load(at, *port, true, 1, HOST)?;
            let two = load(at, *port, false, 8, HOST)?;
            let values = [one.per_second, one.p99, two.per_second, two.p99, handshakes(at, *port)?];
            for (list, value) in seen.iter_mut().zip(values) {
                list.push(value);
            }
        }
    }
    for (((who, _), names), lists) in ports.iter().zip(NAMES).zip(&seen) {
        for ((name, (what, unit)), list) in names.into_iter().zip(WHAT).zip(lists) {
            part.figures.push(Figure::new(name, &format!("{who}: {what}"), unit, list)?);
        }
    }
    part.ratio("nginx_to_edge_h1", "nginx's rate to ours, HTTP/1.1", "nginx_h1", "edge_h1")?;
    part.ratio("nginx_to_edge_h2", "nginx's rate to ours, HTTP/2", "nginx_h2", "edge_h2")?;
    part.ratio(
        "nginx_to_edge_handshakes",
        "nginx's handshakes to ours",
        "nginx_handshakes",
        "edge_handshakes",
    )?;
    for figure in &mut part.figures {
        if matches!(figure.name, "nginx_to_edge_h1" | "nginx_to_edge_h2") {
            *figure = figure.clone().at_most(1.0);
        }
    }
    let grown = platform.resident()?.saturating_sub(before);
    part.figures.push(Figure::new(
        "edge_memory",
        "edge: memory that the load left",
        "MB",
        &[megabytes(grown)],
    )?);
    part.figures.push(Figure::new("nginx_memory", "nginx: memory", "MB", &[megabytes(nginx.resident())])?);
    part.figures.push(Figure::new("caddy_memory", "caddy: memory", "MB", &[megabytes(caddy.resident())])?);
    drop((nginx, caddy));
    routes(context, &mut part, &platform, at, https).await?;
    Ok(part)
}

/// Ten thousand hosts: what they take, what one more takes, and whether anybody notices.
async fn routes(
    context: &Context,
    part: &mut Part,
    platform: &Platform,
    at: &Path,
    https: u16,
) -> Result<()> {
    let client = platform.client()?;
    let before = platform.resident_at_rest().await?;
    let began = Instant::now();
    let puts = (0..ROUTES).map(|number| {
        let client = client.clone();
        async move {
            let host = format!("h{number}.bench.localhost");
            client.route_put("bench", &host, &target("web"), &Conditions::default()).await
        }
    });
    let mut puts = futures::stream::iter(puts).buffer_unordered(16);
    while let Some(put) = puts.next().await {
        put?;
    }
    part.figures.push(Figure::new(
        "routes_put",
        "10,000 routes by API",
        "s",
        &[began.elapsed().as_secs_f64()],
    )?);
    let last = format!("h{}.bench.localhost", ROUTES - 1);
    while client.certificate_get("bench", &last).await?.state != "ready" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let grown = platform.resident_at_rest().await?.saturating_sub(before);
    part.figures.push(Figure::new(
        "routes_memory",
        "10,000 routes with certificates: memory",
        "MB",
        &[megabytes(grown)],
    )?);
    let (mut changes, mut p99s) = (Vec::new(), Vec::new());
    for run in 0..context.runs {
        let began = Instant::now();
        let body = RoutePut { hsts: run + 1, ..target("web") };
        client.route_put("bench", "h77.bench.localhost", &body, &Conditions::default()).await?;
        changes.push(began.elapsed());
        p99s.push(load(at, https, true, 1, HOST)?.p99);
    }
    part.figures.push(Figure::seconds(
        "route_change",
        "a change of one among 10,000, until it holds",
        &changes,
    )?);
    part.figures.push(Figure::new(
        "routes_p99",
        "edge: HTTP/1.1 over TLS with 10,000 routes: p99",
        "ms",
        &p99s,
    )?);
    part.ratio("routes_p99_ratio", "p99 with 10,000 routes to p99 with one", "routes_p99", "edge_h1_p99")
}
