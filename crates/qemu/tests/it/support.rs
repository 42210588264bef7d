//! A small Debian image, built once per machine, and machines that end with their test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hafen_qemu::guest::{self, Contents};
use hafen_qemu::{Boot, Format, Host, Identity, Launch, Net, Secret, Spec, Template, Vm};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;

pub const PATIENCE: Duration = Duration::from_secs(180);

/// Runs a command; its words on failure are the test's words.
pub fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap();
    assert!(
        out.status.success(),
        "{program} {args:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub struct Image {
    pub dir: PathBuf,
    pub digest: String,
}

pub fn cache() -> PathBuf {
    std::env::var_os("HAFEN_CACHE").map_or_else(|| "/var/cache/hafen-test".into(), PathBuf::from)
}

/// The image of this version of the guest files; built by the first who asks.
pub fn image() -> Image {
    let digest = format!("test-{}", guest::version());
    let cache = cache().join("qemu");
    let dir = cache.join(&digest);
    std::fs::create_dir_all(&cache).unwrap();
    let lock = std::fs::File::create(cache.join("image.lock")).unwrap();
    lock.lock().unwrap();
    if !dir.join("image.qcow2").exists() {
        let build = cache.join(".build");
        let _ = std::fs::remove_dir_all(&build);
        std::fs::create_dir_all(&build).unwrap();
        build_image(&build, &cache);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::rename(&build, &dir).unwrap();
    }
    Image { dir, digest }
}

fn build_image(dir: &Path, cache: &Path) {
    // Debian is fetched once; the guest files of this version are put on top.
    let packages = format!("{},nginx-light", guest::packages().join(","));
    let mut hash = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(&packages, &mut hash);
    let tar = cache.join(format!("debian-{:x}.tar", std::hash::Hasher::finish(&hash)));
    if !tar.exists() {
        let new = cache.join(".debian.tar");
        run(
            "mmdebstrap",
            &[
                "--variant=apt",
                "--format=tar",
                &format!("--include={packages}"),
                "trixie",
                new.to_str().unwrap(),
            ],
        );
        std::fs::rename(new, &tar).unwrap();
    }
    let root = dir.join("root");
    std::fs::create_dir(&root).unwrap();
    run("tar", &["-C", root.to_str().unwrap(), "-xpf", tar.to_str().unwrap()]);
    for file in guest::files() {
        let path = root.join(file.path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&path);
        match file.contents {
            Contents::Link(target) => symlink(target, &path).unwrap(),
            Contents::Text(text) => {
                std::fs::write(&path, text).unwrap();
                let mode = std::fs::Permissions::from_mode(file.mode);
                std::fs::set_permissions(&path, mode).unwrap();
            }
        }
    }
    for command in guest::commands() {
        let mut args = vec![root.to_str().unwrap()];
        args.extend_from_slice(command);
        run("chroot", &args);
    }
    for entry in std::fs::read_dir(root.join("etc/ssh")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("ssh_host_") {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::write(root.join("etc/machine-id"), "").unwrap();
    for entry in std::fs::read_dir(root.join("boot")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("vmlinuz") {
            std::fs::copy(&path, dir.join("kernel")).unwrap();
        } else if name.starts_with("initrd") {
            std::fs::copy(&path, dir.join("initrd")).unwrap();
        }
    }
    let raw = dir.join("image.raw");
    let (raw, root_text) = (raw.to_str().unwrap(), root.to_str().unwrap());
    run("truncate", &["-s", "1G", raw]);
    run("mke2fs", &["-q", "-t", "ext4", "-d", root_text, raw]);
    let new = dir.join("new.qcow2");
    run("qemu-img", &["convert", "-O", "qcow2", raw, new.to_str().unwrap()]);
    std::fs::remove_file(raw).unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::rename(new, dir.join("image.qcow2")).unwrap();
}

/// The host, probed once per test binary.
pub async fn host() -> Host {
    static HOST: OnceCell<Host> = OnceCell::const_new();
    HOST.get_or_init(|| async { Host::detect().await.unwrap() }).await.clone()
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

fn random(bytes: usize) -> Vec<u8> {
    use std::io::Read;
    let mut out = vec![0; bytes];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut out).unwrap();
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn uuid() -> String {
    let h = hex(&random(16));
    format!("{}-{}-4{}-8{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..])
}

/// A machine with a directory of its own; killed and removed when the test ends in any way.
pub struct Machine {
    pub vm: Vm,
    pub ssh: SocketAddr,
    pub keys: Keys,
    dir: tempfile::TempDir,
}

/// A user CA with a certificate for the login user, and a host key.
#[derive(Clone)]
pub struct Keys {
    pub host_key: String,
    pub host_public: String,
    pub ca_public: String,
}

impl Keys {
    fn make(dir: &Path) -> Self {
        let key = |name: &str| {
            let path = dir.join(name);
            let path = path.to_str().unwrap();
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path]);
        };
        for name in ["host", "ca", "user"] {
            key(name);
        }
        let (ca, user) = (dir.join("ca"), dir.join("user.pub"));
        let (ca, user) = (ca.to_str().unwrap(), user.to_str().unwrap());
        run("ssh-keygen", &["-q", "-s", ca, "-I", "t", "-n", "role-test", "-V", "-1h:+1h", user]);
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        Self { host_key: read("host"), host_public: read("host.pub"), ca_public: read("ca.pub") }
    }
}

impl Machine {
    pub async fn new(host: &Host, image: &Image) -> Self {
        Self::with(host, image, |_| {}).await
    }

    pub async fn with(host: &Host, image: &Image, change: impl FnOnce(&mut Spec)) -> Self {
        let dir = tempfile::Builder::new().prefix("hafen-vm-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ssh = SocketAddr::from(([127, 0, 0, 1], port));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut spec = Spec {
            name: format!("test-{number}"),
            uuid: uuid(),
            cpus: 1,
            memory: 512 << 20,
            disk: 4 << 30,
            image: image.dir.join("image.qcow2"),
            image_format: Format::Qcow2,
            boot: Boot::Kernel {
                kernel: image.dir.join("kernel"),
                initrd: Some(image.dir.join("initrd")),
                root: "/dev/vda".into(),
            },
            net: Net::User { forward: vec![(ssh, 22)], restrict: false },
            mac: format!("52:54:00:ab:{:02x}:{:02x}", number >> 8, number & 255),
            machine_id: hex(&random(16)),
            seed: None,
        };
        change(&mut spec);
        let keys = Keys::make(dir.path());
        let vm = Vm::create(host, &dir.path().join("machine"), &spec).await.unwrap();
        Self { vm, ssh, keys, dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn identity(&self) -> Identity {
        Identity {
            hostname: self.vm.spec.name.clone(),
            fqdn: format!("{}.test.internal", self.vm.spec.name),
            machine_id: self.vm.spec.machine_id.clone(),
            boot_id: uuid(),
            mac: self.vm.spec.mac.clone(),
            address: Some((Ipv4Addr::new(10, 0, 2, 15), 24)),
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            dns: Some(Ipv4Addr::new(10, 0, 2, 3)),
            search: Some("test.internal".into()),
            mtu: None,
            clock: now(),
            entropy: Secret::new(random(64)),
            host_key: Secret::new(self.keys.host_key.clone()),
            host_key_public: self.keys.host_public.clone(),
            host_certificate: None,
            user_ca: self.keys.ca_public.clone(),
            principals: "restrict,pty role-test\n".into(),
            files: Vec::new(),
        }
    }

    pub async fn template(&self, host: &Host, image: &Image) -> Template {
        let cache = cache().join("qemu").join("templates");
        Template::ensure(host, &self.vm.spec, &image.digest, &cache, None, PATIENCE).await.unwrap()
    }

    pub async fn resume(&self, template: &Template) -> hafen_qemu::Facts {
        self.vm.resume(template, &self.identity(), Launch::default(), PATIENCE).await.unwrap()
    }

    /// Runs a command by OpenSSH with the certificate; checks the host key.
    pub fn ssh(&self, command: &str) -> String {
        let dir = self.dir.path();
        let mut known = self.keys.host_public.split_whitespace();
        let line =
            format!("[127.0.0.1]:{} {} {}\n", self.ssh.port(), known.next().unwrap(), known.next().unwrap());
        std::fs::write(dir.join("known"), line).unwrap();
        let option = |name: &str, file: &str| format!("{name}={}", dir.join(file).display());
        run(
            "ssh",
            &[
                "-F",
                "none",
                "-p",
                &self.ssh.port().to_string(),
                "-o",
                &option("UserKnownHostsFile", "known"),
                "-o",
                &option("IdentityFile", "user"),
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "BatchMode=yes",
                "hafen@127.0.0.1",
                command,
            ],
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let vm = self.vm.clone();
        if std::thread::panicking() {
            for line in vm.serial_tail(30).unwrap_or_default() {
                eprintln!("{}: {line}", vm.spec.name);
            }
        }
        // A runtime of its own: the test's may be the one that panics.
        let ended = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(vm.kill())
        });
        let _ = ended.join();
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge: tests are the caller who knows the time")]
pub fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
}

/// Connects until an SSH server greets.
pub async fn banner(address: SocketAddr) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let attempt = async {
            let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
            let mut bytes = [0; 64];
            let n = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut bytes)).await;
            let text = String::from_utf8_lossy(&bytes[..n.ok()?.ok()?]).into_owned();
            text.starts_with("SSH-2.0").then_some(text)
        };
        if let Some(text) = attempt.await {
            return text;
        }
        assert!(Instant::now() < deadline, "no SSH banner at {address}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
