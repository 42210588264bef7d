//! From `git push` to the new version serving, back, and more of it: on real machines, through the command line and the edge,
//! as a user has it. Beside it, what one command on such a machine takes by the platform's own road, of which all of this is made.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hafen_base::{Error, Result};
use hafen_client::Conditions;
use hafen_client::wire::RepositoryCreate;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::Context;
use crate::platform::{Platform, broken};
use crate::report::{Figure, Part};

const HOST: &str = "shop.localhost";
/// Deployments under emulation take their time.
const MOST_RUNS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at what serves.
const LOOK: Duration = Duration::from_millis(20);

const MANIFEST: &str = r#"project = "bench"
[network.net]
[image.plain]
distribution = "debian"
release = "trixie"
packages = []
[machine.web]
count = 2
image = "plain"
memory = "512 MiB"
network = "net"
[app.shop]
source = { repository = "shop" }
build = { image = "plain", run = ["mkdir -p dist", "cp shop.pl version dist"], output = "dist" }
on = "web"
run = "exec perl shop.pl"
port = 9000
replicas = 2
health = { path = "/", interval = "200ms" }
[route."shop.localhost"]
paths = { "/" = { app = "shop" } }
redirect_https = false
"#;

async fn sh(place: &Path, token: &str, script: &str) -> Result<()> {
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(place)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
        .envs([("GIT_COMMITTER_NAME", "A"), ("GIT_COMMITTER_EMAIL", "a@example.org")])
        .envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "http.extraHeader")])
        .env("GIT_CONFIG_VALUE_0", format!("Authorization: Bearer {token}"))
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(broken("sh"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::unavailable(format!("{script}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// What the host answers now.
async fn fetched(port: u16) -> String {
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream
            .write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<String, std::io::Error>(answer)
    };
    // Whatever went wrong: it does not answer yet.
    tokio::time::timeout(Duration::from_secs(5), exchange).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// Until the host answers with this.
async fn serves(port: u16, version: &str) -> Result<()> {
    let began = Instant::now();
    while !fetched(port).await.contains(&format!("shop {version} on")) {
        if began.elapsed() > PATIENCE {
            return Err(Error::unavailable(format!("version {version} never served")));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Until nothing of the app is under way any more.
async fn settled(platform: &Platform) -> Result<()> {
    let (client, began) = (platform.client()?, Instant::now());
    loop {
        let app = client.app_get("bench", "shop").await?;
        if app.state == "running" && app.processes.iter().all(|one| one.state == "healthy") {
            return Ok(());
        }
        if app.state == "failed" || began.elapsed() > PATIENCE {
            return Err(Error::unavailable(format!("the app is {}: {}", app.state, app.reason)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub async fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("delivery");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(broken("a port"))?;
    let port = listener.local_addr().map_err(broken("a port"))?.port();
    drop(listener);
    let platform =
        Platform::start_with(context, "qemu", &["--edge-http", &format!("127.0.0.1:{port}")]).await?;
    let home = platform.home.path().to_owned();
    std::fs::write(home.join("hafen.toml"), MANIFEST).map_err(broken("the manifest"))?;
    platform.timed(&["apply", "--yes"]).await?;
    let body: RepositoryCreate =
        serde_json::from_value(json!({ "name": "shop" })).map_err(Error::internal)?;
    platform.client()?.repository_create("bench", &body, &Conditions::default()).await?;
    let work = home.join("work");
    std::fs::create_dir(&work).map_err(broken("a folder"))?;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello/shop/shop.pl");
    std::fs::copy(source, work.join("shop.pl")).map_err(broken(source))?;
    sh(&work, &platform.token, "git init -q -b main .").await?;
    let commit = |version: String| {
        let push = format!(
            "echo {version} > version; git add -A; git commit -q -m {version}; git push -q {}/git/bench/shop.git HEAD:main",
            platform.url
        );
        let (work, token) = (work.clone(), platform.token.clone());
        async move { sh(&work, &token, &push).await }
    };
    // The first brings the way to each machine, and the template of the builder.
    commit("v0".into()).await?;
    serves(port, "v0").await?;
    settled(&platform).await?;
    let runs = context.runs.min(MOST_RUNS);
    let (mut pushed, mut whole, mut back, mut more, mut command) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 1..=runs {
        let version = format!("v{run}");
        let began = Instant::now();
        commit(version.clone()).await?;
        serves(port, &version).await?;
        pushed.push(began.elapsed());
        settled(&platform).await?;
        whole.push(began.elapsed());
        let began = Instant::now();
        platform.timed(&["rollback", "shop"]).await?;
        serves(port, &format!("v{}", run - 1)).await?;
        back.push(began.elapsed());
        settled(&platform).await?;
        platform.timed(&["app", "scale", "shop", "1"]).await?;
        settled(&platform).await?;
        more.push(platform.timed(&["app", "scale", "shop", "8"]).await?);
        platform.timed(&["app", "scale", "shop", "2"]).await?;
        settled(&platform).await?;
        command.push(platform.timed(&["app", "exec", "shop", "--", "true"]).await?);
        platform.timed(&["deploy", "shop"]).await?;
        settled(&platform).await?;
    }
    platform.timed(&["destroy", "--yes"]).await?;
    for (name, what, values) in [
        ("push_to_serving", "git push to the new version's first answer, with a build", &pushed),
        ("push_to_whole", "git push to nothing but the new version, old processes gone", &whole),
        ("rollback", "hafen rollback, whole, 2 processes", &back),
        ("scale_1_to_8", "hafen app scale, 1 to 8 processes, until they serve", &more),
        ("one_command", "one command where a process is (hafen app exec)", &command),
    ] {
        part.figures.push(Figure::seconds(name, what, values)?);
    }
    part.ratio("rollback_in_commands", "a rollback in such commands", "rollback", "one_command")?;
    Ok(part)
}
