//! What stands beside Hafen in the same run: the disk's own commits, and a web server with nothing to compute.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hafen_base::{Error, Result};

use crate::Context;
use crate::platform::broken;

fn missing(program: &str) -> Error {
    Error::unavailable(format!("{program} is missing: run scripts/packages-bench"))
}

/// `count` transactions of one row each by SQLite's own shell, with the settings of Hafen: what durable writes cost here
/// before any of our code runs.
pub fn sqlite_commits(context: &Context, count: u32) -> Result<Duration> {
    let folder = tempfile::tempdir_in(&context.scratch).map_err(broken("a folder cannot be made"))?;
    let mut sql = String::from(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);\n",
    );
    let value = "x".repeat(1000);
    for id in 0..count {
        sql.extend(["INSERT INTO t VALUES (", &id.to_string(), ", '", &value, "');\n"]);
    }
    let mut shell = Command::new("sqlite3")
        .arg(folder.path().join("t.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|_| missing("sqlite3"))?;
    let began = Instant::now();
    if let Some(mut stdin) = shell.stdin.take() {
        stdin.write_all(sql.as_bytes()).map_err(broken("sqlite3"))?;
    }
    let ended = shell.wait().map_err(broken("sqlite3"))?;
    if ended.success() { Ok(began.elapsed()) } else { Err(Error::unavailable("sqlite3 failed")) }
}

/// nginx with static files: what a web server answers that computes nothing.
pub struct Nginx {
    child: Child,
    pub url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers, which SIGKILL would leave behind.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let _status = self.child.wait();
    }
}

/// Installed, or unpacked beside the benchmark: the package would start a server on port 80.
fn nginx_program(context: &Context) -> PathBuf {
    let unpacked = context.scratch.join("nginx/usr/sbin/nginx");
    if unpacked.exists() { unpacked } else { "nginx".into() }
}

impl Nginx {
    /// Serves `files`: path below `/` and content.
    pub async fn start(context: &Context, files: &[(String, Vec<u8>)]) -> Result<Self> {
        let folder = tempfile::tempdir_in(&context.scratch).map_err(broken("a folder cannot be made"))?;
        let root = folder.path().join("root");
        for (path, content) in files {
            let file = root.join(path.trim_start_matches('/'));
            let parent = file.parent().unwrap_or(&root);
            std::fs::create_dir_all(parent).map_err(broken("a folder"))?;
            std::fs::write(&file, content).map_err(broken("a file"))?;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(broken("a port"))?;
        let port = listener.local_addr().map_err(broken("a port"))?.port();
        drop(listener);
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let at = folder.path().display();
        let text = format!(
            "{user} daemon off; worker_processes auto; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 2048; }}\n\
             http {{ access_log off; default_type application/json; keepalive_requests 1000000000; sendfile on;\n\
             client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u;\n\
             scgi_temp_path {at}/s;\n\
             server {{ listen 127.0.0.1:{port}; root {at}/root; }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, text).map_err(broken("nginx.conf"))?;
        let child = Command::new(nginx_program(context))
            .args([
                "-p",
                &at.to_string(),
                "-c",
                &file.display().to_string(),
                "-e",
                &format!("{at}/error.log"),
            ])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|_| missing("nginx"))?;
        let mut nginx = Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder };
        let began = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if nginx.child.try_wait().map_err(broken("nginx"))?.is_some()
                || began.elapsed() > Duration::from_secs(20)
            {
                return Err(Error::unavailable("nginx does not answer"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(nginx)
    }
}

/// What wrk saw.
#[derive(Debug, serde::Deserialize)]
pub struct Load {
    pub per_second: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// Answers that were none, or none of 2xx.
    pub errors: u64,
}

/// Asks for `paths` in turn, `connections` requests in flight at any time. One thread of wrk is enough on two cores: with
/// more it would take the processor from what it measures.
pub fn wrk(
    folder: &Path,
    url: &str,
    token: &str,
    paths: &[String],
    connections: u32,
    seconds: u32,
) -> Result<Load> {
    let list = paths.iter().map(|path| format!("\"{path}\"")).collect::<Vec<_>>().join(",\n");
    let script = format!(
        "local paths = {{ {list} }}\n\
         local headers = {{ [\"Authorization\"] = \"Bearer {token}\" }}\n\
         local at = 0\n\
         function request() at = at % #paths + 1; return wrk.format(\"GET\", paths[at], headers) end\n\
         function done(s, l, r)\n\
           local e = s.errors\n\
           io.write(string.format('\\n{{\"per_second\":%f,\"p50\":%f,\"p99\":%f,\"errors\":%d}}\\n',\n\
             s.requests / s.duration * 1e6, l:percentile(50) / 1e3, l:percentile(99) / 1e3,\n\
             e.connect + e.read + e.write + e.status + e.timeout))\n\
         end\n"
    );
    let file = folder.join("wrk.lua");
    std::fs::write(&file, script).map_err(broken("wrk.lua"))?;
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--timeout", "10s", "-s"])
        .arg(&file)
        .arg(url)
        .output()
        .map_err(|_| missing("wrk"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{'));
    let load: Load = line.and_then(|line| serde_json::from_str(line).ok()).ok_or_else(|| {
        Error::unavailable(format!("wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr)))
    })?;
    if load.errors > 0 {
        return Err(Error::unavailable(format!("{} of the answers of {url} were errors", load.errors)));
    }
    Ok(load)
}
