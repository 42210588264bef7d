//! Databases for tests: SQLite in a temporary folder; PostgreSQL from Debian's package, one cluster per test process,
//! one database per test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Location;

/// A database that goes away with this value.
pub struct TestDb {
    pub location: Location,
    _folder: tempfile::TempDir,
}

/// Both databases, each empty. `name` tells them apart in a failure.
///
/// # Panics
/// When PostgreSQL's server programs are missing or do not start: a test that cannot run must not pass.
pub fn both() -> Vec<(&'static str, TestDb)> {
    vec![("sqlite", sqlite()), ("postgres", postgres())]
}

/// A fresh SQLite folder.
///
/// # Panics
/// When no temporary folder can be made.
#[expect(clippy::expect_used, reason = "test support")]
pub fn sqlite() -> TestDb {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TestDb { location: Location::Sqlite(folder.path().to_owned()), _folder: folder }
}

/// A fresh database in this process's PostgreSQL.
///
/// # Panics
/// When the server does not start.
#[expect(clippy::expect_used, reason = "test support")]
pub fn postgres() -> TestDb {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let cluster = cluster();
    let name = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let socket = cluster.socket.display().to_string();
    let done = command(&cluster.bin.join("createdb"))
        .args(["-h", &socket, "-U", "hafen", &name])
        .status()
        .expect("createdb runs");
    assert!(done.success(), "createdb failed");
    let url = format!("postgres://hafen@localhost/{name}?host={}", socket.replace('/', "%2F"));
    TestDb { location: Location::Postgres(url), _folder: tempfile::tempdir().expect("a temporary folder") }
}

struct Cluster {
    bin: PathBuf,
    socket: PathBuf,
}

/// One cluster for all test processes of a run would need a lock; one per process needs none. nextest runs each test in
/// a process of its own, so the data folder is a copy of a template made once by initdb.
#[expect(clippy::expect_used, reason = "test support")]
#[expect(clippy::zombie_processes, reason = "the shell outlives this process: it cleans up after it")]
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let bin = server_programs();
        let folder = tempfile::Builder::new().prefix("hafen-pg-").tempdir().expect("a temporary folder").keep();
        let data = folder.join("data");
        let root = rustix_is_root();
        if root {
            run(Command::new("chown").args(["nobody", &folder.display().to_string()]));
        }
        run(command(&bin.join("initdb")).args(["-D", &data.display().to_string()]).args([
            "-U",
            "hafen",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]));
        let mut server = command(&bin.join("postgres"));
        server
            .args(["-D", &data.display().to_string(), "-k", &folder.display().to_string()])
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50", "-c", "shared_buffers=16MB"]);
        // A shell as the parent ends the server and removes its folder when this process is gone, however it ends.
        let line = format!(
            "trap '' INT; \"$@\" & server=$!; while kill -0 {} 2>/dev/null && kill -0 $server 2>/dev/null; do sleep 0.5; done; \
             kill -INT $server; wait $server; rm -rf '{}'",
            std::process::id(),
            folder.display()
        );
        let program = server.get_program().to_owned();
        let arguments: Vec<_> = server.get_args().map(std::ffi::OsStr::to_owned).collect();
        Command::new("sh")
            .args(["-c", &line, "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let ready = bin.join("pg_isready");
        for _ in 0..300 {
            let up = Command::new(&ready)
                .args(["-q", "-h", &folder.display().to_string(), "-U", "hafen"])
                .status()
                .is_ok_and(|status| status.success());
            if up {
                return Cluster { bin, socket: folder };
            }
            #[expect(clippy::disallowed_methods, reason = "polling a foreign server in test support")]
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic_missing("PostgreSQL did not answer within 15 s")
    })
}

#[expect(clippy::panic, reason = "test support: a test that cannot run must not pass")]
fn panic_missing(what: &str) -> ! {
    panic!("{what}: apt-get install postgresql")
}

fn server_programs() -> PathBuf {
    let versions = Path::new("/usr/lib/postgresql");
    let found = std::fs::read_dir(versions).ok().and_then(|entries| {
        let mut folders: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .filter(|bin| bin.join("postgres").exists())
            .collect();
        folders.sort();
        folders.pop()
    });
    found.unwrap_or_else(|| panic_missing("no PostgreSQL server under /usr/lib/postgresql"))
}

fn rustix_is_root() -> bool {
    // /proc/self belongs to the effective user.
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// PostgreSQL refuses to run as root; `nobody` does.
fn command(program: &Path) -> Command {
    let mut command = if rustix_is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").stdin(Stdio::null());
    command
}

#[expect(clippy::expect_used, reason = "test support")]
fn run(command: &mut Command) {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
