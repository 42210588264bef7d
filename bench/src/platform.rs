//! A running `hafen serve` in a fresh home, and its command line.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hafen_base::{Error, Result};
use hafen_client::{Client, HttpTransport, Token};

use crate::Context;
use crate::report::proc_bytes;

/// Between two looks at something that somebody else changes.
const LOOK: Duration = Duration::from_millis(20);
/// Memory is at rest when it stayed the same for so long: longer than the sweeps of the reconcilers take.
const AT_REST: Duration = Duration::from_secs(6);

pub struct Platform {
    pub home: tempfile::TempDir,
    program: PathBuf,
    serve: Child,
    pub url: String,
    pub token: String,
    /// From the start of the process to its first answer.
    pub started_in: Duration,
}

impl Drop for Platform {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.serve.kill();
        let _status = self.serve.wait();
    }
}

fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    for variable in ["HAFEN_URL", "HAFEN_TOKEN", "HAFEN_PROJECT", "HAFEN_DATABASE", "HAFEN_LISTEN"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

pub fn broken(what: &str) -> impl Fn(std::io::Error) -> Error {
    let what = what.to_owned();
    move |error| Error::unavailable(format!("{what}: {error}"))
}

impl Platform {
    /// Starts the platform and waits for its first answer.
    pub async fn start(context: &Context, engine: &str) -> Result<Self> {
        Self::start_with(context, engine, &[]).await
    }

    /// As `start`, with these arguments besides.
    pub async fn start_with(context: &Context, engine: &str, arguments: &[&str]) -> Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("home-")
            .tempdir_in(&context.scratch)
            .map_err(broken("a home cannot be made"))?;
        let log = std::fs::File::create(home.path().join("serve.log")).map_err(broken("the log"))?;
        let began = Instant::now();
        let mut serve = program(&context.hafen)
            .env("HAFEN_HOME", home.path())
            .args(["serve", "--engine", engine, "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(log.try_clone().map_err(broken("the log"))?)
            .stderr(log)
            .spawn()
            .map_err(broken("hafen serve does not start"))?;
        let pid = serve.id();
        loop {
            let text = std::fs::read_to_string(home.path().join("api.json")).unwrap_or_default();
            let endpoint: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if endpoint.get("pid").and_then(serde_json::Value::as_u64) == Some(u64::from(pid)) {
                let url = endpoint.get("url").and_then(serde_json::Value::as_str).unwrap_or_default();
                let token =
                    std::fs::read_to_string(home.path().join("token")).map_err(broken("the token"))?;
                let mut platform = Self {
                    url: url.to_owned(),
                    token: token.trim().to_owned(),
                    program: context.hafen.clone(),
                    started_in: Duration::ZERO,
                    serve,
                    home,
                };
                platform.client()?.status().await?;
                platform.started_in = began.elapsed();
                return Ok(platform);
            }
            if serve.try_wait().map_err(broken("hafen serve"))?.is_some()
                || began.elapsed() > Duration::from_secs(60)
            {
                let log = std::fs::read_to_string(home.path().join("serve.log")).unwrap_or_default();
                let _gone = serve.kill();
                let _status = serve.wait();
                return Err(Error::unavailable(format!("hafen serve does not answer: {log}")));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Platform {
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(Arc::new(HttpTransport::new(&self.url)?), Token::new(&self.token)))
    }

    /// Runs the command line to its end, throws away what it prints, and gives how long it took.
    pub async fn timed(&self, arguments: &[&str]) -> Result<Duration> {
        let began = Instant::now();
        let output = tokio::process::Command::from(program(&self.program))
            .env("HAFEN_HOME", self.home.path())
            .args(arguments)
            .current_dir(self.home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .await
            .map_err(broken("hafen"))?;
        let took = began.elapsed();
        if output.status.success() {
            return Ok(took);
        }
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::unavailable(format!("hafen {}: {why}", arguments.join(" "))))
    }

    /// What a user writes for a cluster of `count` machines. Gives the file's name in the home.
    pub fn manifest(&self, project: &str, count: u32) -> Result<String> {
        let name = format!("{project}.toml");
        let text = format!(
            "project = \"{project}\"\n\n[network.backend]\negress = \"none\"\n\n[image.web]\ndistribution = \"debian\"\n\
             release = \"trixie\"\npackages = [\"nginx-light\"]\n\n[machine.web]\ncount = {count}\nimage = \"web\"\ncpus = 1\n\
             memory = \"512 MiB\"\ndisk = \"4 GiB\"\nnetwork = \"backend\"\n\
             publish = [{{ host = \"127.0.0.1:8081\", port = 80 }}]\n\
             metadata = {{ team = \"shop\", \"data.categories\" = \"none\" }}\n"
        );
        std::fs::write(self.home.path().join(&name), text).map_err(broken("the manifest"))?;
        Ok(name)
    }

    fn proc(&self, key: &str) -> Result<u64> {
        proc_bytes(&format!("/proc/{}/status", self.serve.id()), key)
            .ok_or_else(|| Error::unavailable("hafen serve ended"))
    }

    /// Resident bytes now.
    pub fn resident(&self) -> Result<u64> {
        self.proc("VmRSS")
    }

    /// The most that was ever resident, in bytes.
    pub fn resident_peak(&self) -> Result<u64> {
        self.proc("VmHWM")
    }

    /// Resident bytes that are the process's own: the kernel may drop pages of files, as of the binary, at any time.
    pub fn resident_own(&self) -> Result<u64> {
        Ok(self.proc("RssAnon")? + self.proc("RssShmem")?)
    }

    /// Resident bytes once they no longer change. A kernel that reclaims idle pages changes them without end: not for ever.
    pub async fn resident_at_rest(&self) -> Result<u64> {
        let (began, mut since) = (Instant::now(), Instant::now());
        let mut last = self.resident()?;
        while since.elapsed() < AT_REST && began.elapsed() < 5 * AT_REST {
            tokio::time::sleep(LOOK).await;
            let now = self.resident()?;
            // A page more or less is the noise of a running process.
            if now.abs_diff(last) > 256 << 10 {
                (since, last) = (Instant::now(), now);
            }
        }
        self.resident()
    }
}

/// Megabytes, as limits are written in.
#[expect(clippy::cast_precision_loss, reason = "memory of a process is far below 2^52 bytes")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
