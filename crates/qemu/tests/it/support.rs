//! A small Debian image, built once per machine, and machines that end with their test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hafen_qemu::guest::{self, Contents};
use hafen_qemu::{Boot, Facts, Format, Host, Identity, Launch, Net, Secret, Spec, Template, Vm};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;

pub const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a command; its words on failure are the test's words.
pub fn run(program: &str, args: &[&str]) -> String {
    output(Command::new(program).args(args))
}

pub fn output(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub struct Image {
    pub dir: PathBuf,
    pub digest: String,
}

/// Where images and templates stay between runs: `HAFEN_CACHE`, or beside this build.
pub fn cache() -> PathBuf {
    let beside = || {
        // <target>/<profile>/{deps,examples}/<this program>
        let program = std::env::current_exe().unwrap();
        program.ancestors().nth(3).unwrap().join("hafen-cache")
    };
    std::env::var_os("HAFEN_CACHE").map_or_else(beside, PathBuf::from)
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
        // What was made for other versions of the guest files, and every template: two builds
        // of one version are not equal here, so that no template fits another build.
        for old in std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()) {
            if old != dir && old.file_name().unwrap().to_string_lossy().starts_with("test-") {
                std::fs::remove_dir_all(old).unwrap();
            }
        }
        hafen_qemu::template::gc(&cache.join("templates"), |_| false, false).unwrap();
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

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

fn random(bytes: usize) -> Vec<u8> {
    use std::io::Read;
    let mut out = vec![0; bytes];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut out).unwrap();
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, b| format!("{text}{b:02x}"))
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
        Self::read(dir)
    }

    fn read(dir: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        Self { host_key: read("host"), host_public: read("host.pub"), ca_public: read("ca.pub") }
    }
}

impl Machine {
    pub async fn new(host: &Host, image: &Image) -> Self {
        Self::with(host, image, |_, _| {}).await
    }

    /// With another description; the path is of a directory for what it needs.
    pub async fn with(host: &Host, image: &Image, change: impl FnOnce(&mut Spec, &Path)) -> Self {
        let dir = tempfile::Builder::new().prefix("hafen-vm-").tempdir().unwrap();
        // Deeper than the longest path of a socket.
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
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
        change(&mut spec, dir.path());
        let keys = Keys::make(dir.path());
        let vm = Vm::create(host, &deep.join("machine"), &spec).await.unwrap();
        Self { vm, ssh, keys, dir }
    }

    /// A machine that boots by BIOS from a disk with this boot sector: it reads the first sector
    /// of the second disk and prints the volume label there (offset 43 of a FAT boot record) on
    /// the first serial port.
    pub fn boot_sector(spec: &mut Spec, dir: &Path) {
        let mut sector = vec![
            0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, // xor ax, ax; mov ds, es, ss, ax
            0xbc, 0x00, 0x7c, 0xb8, 0x01, 0x02, // mov sp, 0x7c00; mov ax, 0x0201 (read one sector)
            0xb9, 0x01, 0x00, 0xba, 0x81, 0x00, // mov cx, 1; mov dx, 0x81 (second disk)
            0xbb, 0x00, 0x80, 0xcd, 0x13, // mov bx, 0x8000; int 0x13
            0xc7, 0x06, 0x31, 0x80, 0x0d, 0x0a, // mov word [0x8031], "\r\n"
            0xc6, 0x06, 0x33, 0x80, 0x00, // mov byte [0x8033], 0
            0xbe, 0x3f, 0x7c, 0xe8, 0x09, 0x00, // mov si, text; call print
            0xbe, 0x2b, 0x80, 0xe8, 0x03, 0x00, // mov si, 0x802b (label); call print
            0xf4, 0xeb, 0xfd, // halt: hlt; jmp halt
            0xac, 0x84, 0xc0, 0x74, 0x06, // print: lodsb; test al, al; jz done
            0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5, // mov dx, 0x3f8; out dx, al; jmp print
            0xc3, // done: ret
        ];
        sector.extend_from_slice(b"booted:\0");
        sector.resize(510, 0);
        sector.extend_from_slice(&[0x55, 0xaa]);
        sector.resize(1 << 20, 0);
        spec.image = dir.join("sector.raw");
        std::fs::write(&spec.image, sector).unwrap();
        spec.image_format = Format::Raw;
        spec.boot = Boot::Firmware { uefi: false };
        spec.disk = 1 << 20;
        spec.memory = 64 << 20;
    }

    /// Lets other users reach the machine's directory, as a launch for one needs.
    pub fn open_up(&self) {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.dir.path(), mode).unwrap();
    }

    pub fn identity(&self) -> Identity {
        identity_of(&self.vm.spec, &self.keys)
    }

    pub async fn template(&self, host: &Host, image: &Image) -> Template {
        let cache = cache().join("qemu").join("templates");
        Template::ensure(host, &self.vm.spec, &image.digest, &cache, None, PATIENCE).await.unwrap()
    }

    pub async fn resume(&self, template: &Template) -> Facts {
        self.try_resume(template, PATIENCE).await.unwrap()
    }

    pub async fn try_resume(&self, template: &Template, patience: Duration) -> hafen_qemu::Result<Facts> {
        self.vm.resume(template, &self.identity(), Launch::default(), patience).await
    }

    pub async fn cold_boot(&self) -> Facts {
        self.vm.cold_boot(Some(&self.identity()), Launch::default(), PATIENCE).await.unwrap()
    }

    /// OpenSSH with the certificate, which checks the host key.
    pub fn ssh_command(&self, command: &str) -> Command {
        let dir = self.dir.path();
        let mut known = self.keys.host_public.split_whitespace();
        let (kind, key) = (known.next().unwrap(), known.next().unwrap());
        std::fs::write(dir.join("known"), format!("[127.0.0.1]:{} {kind} {key}\n", self.ssh.port())).unwrap();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-p", &self.ssh.port().to_string()]);
        for (name, file) in [("UserKnownHostsFile", "known"), ("IdentityFile", "user")] {
            ssh.arg("-o").arg(format!("{name}={}", dir.join(file).display()));
        }
        ssh.args(["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "hafen@127.0.0.1", command]);
        ssh
    }

    pub fn ssh(&self, command: &str) -> String {
        output(&mut self.ssh_command(command))
    }
}

/// The identity of a machine whose keys [`Machine::with`] has put beside its directory.
pub fn identity_beside(vm: &Vm) -> Identity {
    identity_of(&vm.spec, &Keys::read(vm.dir.ancestors().nth(2).unwrap()))
}

fn identity_of(spec: &Spec, keys: &Keys) -> Identity {
    Identity {
        hostname: spec.name.clone(),
        fqdn: format!("{}.test.internal", spec.name),
        machine_id: spec.machine_id.clone(),
        boot_id: uuid(),
        mac: spec.mac.clone(),
        address: Some((Ipv4Addr::new(10, 0, 2, 15), 24)),
        gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
        dns: Some(Ipv4Addr::new(10, 0, 2, 3)),
        search: Some("test.internal".into()),
        mtu: None,
        clock: now(),
        entropy: Secret::new(random(64)),
        host_key: Secret::new(keys.host_key.clone()),
        host_key_public: keys.host_public.clone(),
        host_certificate: None,
        user_ca: keys.ca_public.clone(),
        principals: "restrict,pty role-test\n".into(),
        files: Vec::new(),
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
        let ended = std::thread::spawn(move || tokio::runtime::Runtime::new().unwrap().block_on(vm.kill()));
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
