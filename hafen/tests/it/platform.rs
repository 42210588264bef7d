//! A running platform in a folder of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub struct Platform {
    pub home: tempfile::TempDir,
    serve: Option<Child>,
    arguments: Vec<String>,
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hafen"));
    for variable in ["HAFEN_URL", "HAFEN_TOKEN", "HAFEN_PROJECT", "HAFEN_DATABASE", "HAFEN_LISTEN"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

impl Platform {
    pub fn start(arguments: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("hafen-test-").tempdir().unwrap();
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut platform = Self { home, serve: None, arguments };
        platform.restart();
        platform
    }

    /// Starts `serve` (again) and waits until it answers.
    pub fn restart(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.home.path().join("serve.log"))
            .unwrap();
        let child = program()
            .env("HAFEN_HOME", self.home.path())
            .args(["serve", "--engine", "sim", "--listen", "127.0.0.1:0"])
            .args(&self.arguments)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = child.id();
        self.serve = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let endpoint = std::fs::read_to_string(self.home.path().join("api.json")).unwrap_or_default();
            if endpoint.contains(&format!("\"pid\": {pid}")) && self.run(&["status"]).status.success() {
                return;
            }
            let ended = self.serve.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "serve does not answer: {}", self.log());
            pause();
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.serve.take() {
            // It may have ended by itself.
            let _gone = child.kill();
            let _status = child.wait();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("serve.log")).unwrap_or_default()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.env("HAFEN_HOME", self.home.path()).args(arguments).current_dir(self.home.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs, expects success, gives what it printed.
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// Runs with `--json`, expects success, gives the value.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        serde_json::from_str(&self.good(&all)).unwrap()
    }

    /// Writes a manifest of `count` machines and gives its path.
    pub fn manifest(&self, count: u32, more: &str) -> PathBuf {
        let path = self.home.path().join("hafen.toml");
        let text = format!(
            "project = \"hello\"\n[network.backend]\n[image.web]\ndistribution = \"debian\"\nrelease = \"trixie\"\n\
             packages = [\"nginx-light\"]\n[machine.web]\ncount = {count}\nimage = \"web\"\nnetwork = \"backend\"\n\
             publish = [{{ host = \"127.0.0.1:8081\", port = 80 }}]\nhealth = {{ http = \"/\", interval = \"200ms\" }}\n{more}"
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Between two looks at something that somebody else changes.
pub fn pause() {
    rest(Duration::from_millis(20));
}

#[expect(clippy::disallowed_methods, reason = "polling another process, or meeting it at a random moment")]
pub fn rest(time: Duration) {
    std::thread::sleep(time);
}

/// Waits until `check` gives something.
pub fn until<T>(what: &str, check: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "it never came: {what}");
        pause();
    }
}
