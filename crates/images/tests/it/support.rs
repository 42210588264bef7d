//! A small recipe, stores that share fetched packages, and processes that are killed with their test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hafen_images::{Base, BaseFile, Contents, Recipe, RecipeFile, Store};
use tempfile::TempDir;

/// For all that takes a build.
pub const PATIENCE: Duration = Duration::from_secs(240);

const SPEAK: &str = r#"[Service]
Type=oneshot
ExecStart=perl -e 'open my $$root, "<", "/"; my $$blocks = pack "Q", 262144; ioctl $$root, 0x40086610, $$blocks or die $$!'
ExecStart=sh -c 'echo "hello: $$(grep " / " /proc/mounts) $$(df -m / | tail -n 1) $$(id -u hello)"'
StandardOutput=tty
TTYPath=/dev/ttyS0
SuccessAction=poweroff-force
FailureAction=poweroff-force
"#;

/// A whole Debian with a kernel, without what would take time and is not looked at.
pub fn recipe() -> Recipe {
    let file = |content: &[u8], mode| RecipeFile { content: content.to_vec(), mode };
    let base = |path: &str, contents| BaseFile { path: path.into(), mode: 0o644, contents };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Recipe {
        distribution: "debian".into(),
        release: "trixie".into(),
        packages: words(&["openssh-server"]),
        files: BTreeMap::from([
            ("/etc/hello world".into(), file(b"hello\0\xff", 0o640)),
            ("/usr/local/bin/hello".into(), file(b"#!/bin/sh\necho hello\n", 0o4755)),
            ("/etc/overridden".into(), file(b"the recipe's", 0o644)),
            // What a package brought is replaced.
            ("/etc/issue".into(), file(b"hello\n", 0o644)),
            // /lib is a link in Debian.
            ("/lib/hello".into(), file(b"hello\n", 0o644)),
            // Speaks on the serial console when it is booted, grows the root as the platform's agent does, and ends.
            ("/etc/systemd/system/speak.service".into(), file(SPEAK.as_bytes(), 0o644)),
        ]),
        base: Base {
            packages: words(&["linux-image-cloud-amd64", "systemd-sysv", "udev"]),
            files: vec![
                base("/etc/overridden", Contents::Text("the platform's".into())),
                base("/etc/systemd/system/sshd-keygen.service", Contents::Link("/dev/null".into())),
                base(
                    "/etc/systemd/system/multi-user.target.wants/speak.service",
                    Contents::Link("/etc/systemd/system/speak.service".into()),
                ),
                base("/etc/fstab", Contents::Text("/dev/vda / ext4 defaults 0 1\n".into())),
                base("/usr/lib/sysusers.d/hello.conf", Contents::Text("u hello - \"it's\" /\n".into())),
            ],
            commands: vec![words(&["systemd-sysusers"]), words(&["sh", "-c", "echo \"it's\" >/etc/said"])],
            forbidden: words(&["/etc/ssh/ssh_host_*", "/var/lib/systemd/random-seed"]),
        },
    }
}

pub fn quiet(_: String, _: Option<u8>) {}

/// A folder that other users can look into.
pub fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("hafen-images-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// A store in a folder, with a home in the same.
pub fn store(dir: &Path) -> Store {
    std::fs::create_dir_all(dir.join("home")).unwrap();
    Store::open(&dir.join("store"), &dir.join("home")).unwrap()
}

/// Packages fetched by earlier runs and tests: images are built anew, but not fetched anew.
pub fn packages() -> PathBuf {
    let root = std::env::var_os("HAFEN_CACHE").map_or_else(|| "/var/cache/hafen-test".into(), PathBuf::from);
    let path = root.join("images-test-packages");
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Copies packages; what is there stays.
pub fn copy_packages(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.extension().is_some_and(|ending| ending == "deb") && !to.exists() {
            let new = to.with_extension(format!("{}.new", std::process::id()));
            std::fs::copy(&path, &new).unwrap();
            std::fs::rename(&new, &to).unwrap();
        }
    }
}

/// The example program, which cargo builds along with tests.
pub fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples/image");
    assert!(path.exists(), "{} is missing: cargo build -p hafen-images --examples", path.display());
    path
}

/// A process that does not outlive its test.
pub struct Process(std::process::Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn stderr(&mut self) -> std::process::ChildStderr {
        self.0.stderr.take().unwrap()
    }

    /// Waits, killing it when it takes too long; gives success, standard output and standard error.
    pub async fn end(mut self) -> (bool, String, String) {
        let (out, err) = (self.0.stdout.take().unwrap(), self.0.stderr.take().unwrap());
        let out = std::thread::spawn(move || std::io::read_to_string(out).unwrap());
        let err = std::thread::spawn(move || std::io::read_to_string(err).unwrap());
        let deadline = Instant::now() + PATIENCE;
        let success = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status.success();
            }
            if Instant::now() > deadline {
                self.kill();
                break false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        (success, out.join().unwrap().trim().to_owned(), err.join().unwrap())
    }
}

impl Process {
    /// The first whole line of its output that has these words; then it is ended.
    pub async fn says(mut self, words: &'static str) -> String {
        let out = self.0.stdout.take().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            use std::io::BufRead;
            for line in std::io::BufReader::new(out).lines() {
                if sender.send(line.unwrap_or_default()).is_err() {
                    return;
                }
            }
        });
        let (deadline, mut before) = (Instant::now() + PATIENCE, String::new());
        loop {
            match lines.try_recv() {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before = before + &line + "\n",
                Err(std::sync::mpsc::TryRecvError::Empty) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(why) => panic!("it never said {words:?} ({why}): {before}"),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what} does not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Processes whose working folder or root is within a folder.
pub fn processes_in(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let inside =
            |link: &str| std::fs::read_link(entry.path().join(link)).is_ok_and(|to| to.starts_with(&folder));
        if inside("cwd") || inside("root") {
            found.push(
                std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " "),
            );
        }
    }
    found
}

/// Names in a folder of the store.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
