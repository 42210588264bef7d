//! A running platform in a folder of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub struct Platform {
    pub home: tempfile::TempDir,
    serve: Option<Child>,
    arguments: Vec<String>,
    /// Put before every command: who runs it, or where.
    user: Vec<String>,
    /// Put before `serve` in addition.
    stage: Vec<String>,
    cache: PathBuf,
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.kill();
        self.sweep();
    }
}

/// Images and templates of all tests, so that one run builds them once, and the next not at all.
pub fn cache() -> PathBuf {
    match std::env::var_os("HAFEN_CACHE") {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("hafen-cache"),
    }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hafen"));
    for variable in ["HAFEN_URL", "HAFEN_TOKEN", "HAFEN_PROJECT", "HAFEN_DATABASE", "HAFEN_LISTEN"] {
        command.env_remove(variable);
    }
    // Nobody is signed in anywhere else, whoever runs the tests.
    command.env("XDG_CONFIG_HOME", "/nonexistent").stdin(Stdio::null());
    command
}

impl Platform {
    /// On the simulated engine.
    pub fn start(arguments: &[&str]) -> Self {
        let mut all = vec!["--engine", "sim"];
        all.extend(arguments);
        Self::new(&all, Vec::new(), Vec::new(), cache())
    }

    /// On the simulated engine, started by this.
    pub fn staged(arguments: &[&str], stage: Vec<String>) -> Self {
        let all = [&["--engine", "sim"], arguments].concat();
        Self::new(&all, Vec::new(), stage, cache())
    }

    /// On the simulated engine, and it logs all that it can.
    pub fn traced() -> Self {
        let stage = ["env", "HAFEN_LOG=trace"].map(ToOwned::to_owned).to_vec();
        Self::new(&["--engine", "sim"], Vec::new(), stage, cache())
    }

    /// With real machines.
    pub fn real() -> Self {
        Self::new(&["--engine", "qemu"], Vec::new(), Vec::new(), cache())
    }

    /// With real machines and these arguments besides.
    pub fn real_with(arguments: &[&str]) -> Self {
        let mut all = vec!["--engine", "qemu"];
        all.extend(arguments);
        Self::new(&all, Vec::new(), Vec::new(), cache())
    }

    /// With real machines, as a user without rights who may open `/dev/net/tun`. As root this makes such a user, and such a
    /// device in a mount namespace of `serve`'s own; anybody else is that user.
    pub fn ordinary() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::real();
        }
        let name = "hafen-test";
        let exists = Command::new("id").arg(name).output().unwrap().status.success();
        if !exists {
            let made = Command::new("useradd")
                .args(["--create-home", "--shell", "/bin/sh", "--add-subids-for-system", "--system", name])
                .status();
            assert!(made.unwrap().success(), "useradd {name}");
        }
        let words = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        let user = words(&format!("setpriv --reuid {name} --regid {name} --init-groups --"));
        let script = "set -e; d=$(mktemp -d); mount -t tmpfs -o mode=0755 tun $d; mknod -m 0666 $d/tun c 10 200; \
                      mount --bind $d/tun /dev/net/tun; exec \"$@\"";
        let stage = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
        let cache = cache().join("ordinary-user");
        std::fs::create_dir_all(&cache).unwrap();
        let owned = Command::new("chown").arg("-R").arg(name).arg(&cache).status();
        assert!(owned.unwrap().success());
        let platform = Self::build(&["--engine", "qemu"], user, stage.map(ToOwned::to_owned).to_vec(), cache);
        let owned = Command::new("chown").arg(name).arg(platform.home.path()).status();
        assert!(owned.unwrap().success());
        let mut platform = platform;
        platform.restart();
        platform
    }

    /// With real machines, on a host that these words lead to: they come before every command.
    pub fn on(host: Vec<String>) -> Self {
        Self::new(&["--engine", "qemu"], host, Vec::new(), cache())
    }

    fn new(arguments: &[&str], user: Vec<String>, stage: Vec<String>, cache: PathBuf) -> Self {
        let mut platform = Self::build(arguments, user, stage, cache);
        platform.restart();
        platform
    }

    fn build(arguments: &[&str], user: Vec<String>, stage: Vec<String>, cache: PathBuf) -> Self {
        let home = tempfile::Builder::new().prefix("hafen-test-").tempdir().unwrap();
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self { home, serve: None, arguments, user, stage, cache }
    }

    /// The program as this platform's user runs it, after these words.
    fn program(&self, before: &[String]) -> Command {
        let words: Vec<&String> = before.iter().chain(&self.user).collect();
        let plain = program();
        let Some((first, rest)) = words.split_first() else { return self.surround(plain) };
        let mut command = Command::new(first);
        command.args(rest).arg(plain.get_program());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::null());
        self.surround(command)
    }

    fn surround(&self, mut command: Command) -> Command {
        command.env("HAFEN_HOME", self.home.path()).env("HAFEN_CACHE", &self.cache);
        command
    }

    /// Arguments of `serve` from its next start on.
    pub fn add(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
    }

    /// Starts `serve` (again) and waits until it answers.
    pub fn restart(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.home.path().join("serve.log"))
            .unwrap();
        let child = self
            .program(&self.stage)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(&self.arguments)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = child.id();
        self.serve = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
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

    /// Asks it to end, as an init system does, and waits until it has.
    pub fn terminate(&mut self) {
        let mut child = self.serve.take().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.serve.take() {
            // It may have ended by itself.
            let _gone = child.kill();
            let _status = child.wait();
        }
    }

    /// Ends what a failed test leaves: machines and networks outlive a platform, and this home is about to go.
    fn sweep(&self) {
        let home = self.home.path().display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if text(&words).contains(&home)
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                // It may have ended in this moment.
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("serve.log")).unwrap_or_default()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(&[]);
        command.args(arguments).current_dir(self.home.path());
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
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "it never came: {what}");
        pause();
    }
}
