//! Templates: an image booted once, captured, and resumed as often as wanted.
//!
//! A template is a directory named by a hash of everything the snapshot depends on. It appears
//! by one rename and never changes; anything else in the cache is a build under way or its
//! ruins. Builders of the same template wait for one another on a lock file, across processes.
//!
//! `ram` is the guest's memory (a sparse file), `state` its devices, `disk.qcow2` what the boot
//! changed on the disk.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom as Seeking};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::time::{Instant, timeout_at};

use crate::args::{self, DISK, LAYOUT, Start};
use crate::durable::{Lock, blocking};
use crate::launch::{self, Inherit};
use crate::process::Process;
use crate::qmp::SocketDir;
use crate::vm::Vm;
use crate::{Boot, Error, Host, Kind, Launch, Net, Result, Spec, User, disk, durable, guest, probe};

const META: &str = "template.json";
const RAM: &str = "ram";
const STATE: &str = "state";
const MIGRATION_SOCKET: &str = "migrate.sock";
/// Device state is about half a mebibyte; a stream beyond this is not one of ours.
const MAX_STATE: u64 = 256 << 20;

/// A captured machine, ready to be resumed.
#[derive(Debug, Clone)]
pub struct Template {
    pub dir: PathBuf,
    /// Names the template; equal keys mean interchangeable snapshots.
    pub key: String,
    memory: Arc<Mutex<Option<Arc<OwnedFd>>>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    key: String,
    /// For people: what the key was made of.
    inputs: Vec<String>,
}

impl Template {
    /// Returns the template for machines like `spec`, building it if need be (one boot: about
    /// 20 s under emulation). `image_digest` is the content address of the image. Safe to call
    /// from several processes; all but one wait. A build that failed or was killed leaves
    /// nothing that a later call could take for a template.
    pub async fn ensure(
        host: &Host,
        spec: &Spec,
        image_digest: &str,
        cache: &Path,
        user: Option<User>,
        patience: Duration,
    ) -> Result<Self> {
        spec.check()?;
        if matches!(spec.boot, Boot::Firmware { .. }) {
            return Err(Error::Invalid(
                "images with their own boot loader have no agent and cannot be templates".into(),
            ));
        }
        let inputs = inputs(host, spec, image_digest);
        let key = key(&inputs);
        if let Some(found) = Self::open(cache, &key)? {
            return Ok(found);
        }
        fs::create_dir_all(cache).map_err(|e| Error::io("create", cache, e))?;
        let _lock = Lock::acquire(&cache.join(format!("{key}.lock"))).await?;
        if let Some(found) = Self::open(cache, &key)? {
            return Ok(found);
        }
        let build = cache.join(format!(".build-{key}"));
        let template_spec = template_spec(spec, &key);
        clear(&build, &template_spec.uuid).await?;
        let deadline = Instant::now() + patience;
        let built = capture(host, &template_spec, &build, user, deadline).await;
        if let Err(error) = built {
            // Also when the disk is full: leave nothing behind.
            clear(&build, &template_spec.uuid).await?;
            return Err(error);
        }
        let meta = serde_json::to_vec_pretty(&Meta { key: key.clone(), inputs })
            .map_err(|e| Error::Invalid(e.to_string()))?;
        durable::write(&build.join(META), 0o644, &meta)?;
        let dir = cache.join(&key);
        // What has the name but is not whole (see `open`) is in the way.
        durable::remove_tree(&dir)?;
        fs::rename(&build, &dir).map_err(|e| Error::io("rename", &dir, e))?;
        durable::sync_parent(&dir)?;
        Self::open(cache, &key)?
            .ok_or_else(|| Error::Conflict(format!("template {key} vanished while it was made")))
    }

    /// The template with this key if it is in the cache and whole.
    pub fn open(cache: &Path, key: &str) -> Result<Option<Self>> {
        let dir = cache.join(key);
        let Some(text) = durable::read(&dir.join(META))? else { return Ok(None) };
        let whole = serde_json::from_slice::<Meta>(&text).is_ok_and(|meta| meta.key == key)
            && [DISK, RAM, STATE].iter().all(|name| dir.join(name).is_file());
        Ok(whole.then(|| Self { dir, key: key.to_owned(), memory: Arc::default() }))
    }

    /// The key that [`Template::ensure`] would use.
    #[must_use]
    pub fn key_for(host: &Host, spec: &Spec, image_digest: &str) -> String {
        key(&inputs(host, spec, image_digest))
    }

    /// The disk under the disks of clones: it must stay as long as any of them.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.dir.join(DISK)
    }

    /// What a resumed QEMU maps: the file itself, or a sealed copy where QEMU insists on
    /// opening its memory writable (before 8.2) and could otherwise change it for all.
    pub(crate) async fn memory(&self, host: &Host) -> Result<(Start, Inherit)> {
        let state = self.dir.join(STATE);
        if host.qemu.has_private_readonly_memory() {
            let start = Start::Resume { memory: self.dir.join(RAM), readonly: true };
            return Ok((start, Inherit::default()));
        }
        let template = self.clone();
        blocking(move || {
            let memory = template.sealed()?.try_clone().map_err(|e| Error::io("share", RAM, e))?;
            let state = File::open(&state).map_err(|e| Error::io("open", &state, e))?;
            let name = format!("/proc/self/fd/{}", args::MEMORY_FD);
            let start = Start::Resume { memory: name.into(), readonly: false };
            Ok((start, Inherit { memory: Some(memory), state: Some(state.into()) }))
        })
        .await
    }

    /// Where the device state is loaded from.
    pub(crate) fn state_uri(&self, host: &Host) -> String {
        if host.qemu.has_file_migration() {
            format!("file:{}", self.dir.join(STATE).display())
        } else {
            format!("fd:{}", args::STATE_FD)
        }
    }

    /// The memory as a file that nobody can write any more; made once per handle.
    fn sealed(&self) -> Result<Arc<OwnedFd>> {
        let mut slot = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = slot.as_ref() {
            return Ok(Arc::clone(memory));
        }
        let path = self.dir.join(RAM);
        let error = |e| Error::io("copy to memory", &path, e);
        let source = File::open(&path).map_err(error)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("hafen-template", flags).map_err(|e| error(e.into()))?;
        let copy = File::from(fd);
        copy_sparse(&source, &copy).map_err(error)?;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&copy, seals).map_err(|e| error(e.into()))?;
        let memory = Arc::new(OwnedFd::from(copy));
        *slot = Some(Arc::clone(&memory));
        Ok(memory)
    }
}

/// Copies the parts of a sparse file that hold data.
fn copy_sparse(mut source: &File, mut target: &File) -> std::io::Result<()> {
    let size = source.metadata()?.len();
    target.set_len(size)?;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(source, Seeking::Data(at)) {
            Ok(data) => data,
            // The rest is a hole.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(source, Seeking::Hole(data))?;
        source.seek(SeekFrom::Start(data))?;
        target.seek(SeekFrom::Start(data))?;
        std::io::copy(&mut std::io::Read::take(source, hole - data), &mut target)?;
        at = hole;
    }
    Ok(())
}

/// Everything a snapshot depends on. A change in any line makes another template.
fn inputs(host: &Host, spec: &Spec, image_digest: &str) -> Vec<String> {
    let mut inputs = vec![
        format!("layout {LAYOUT}"),
        format!("agent {}", guest::version()),
        format!("image {image_digest}"),
        format!("image path {}", spec.image.display()),
        format!("boot {:?}", spec.boot),
        format!("cpus {}", spec.cpus),
        format!("memory {}", spec.memory),
        format!("disk {}", spec.disk),
        format!("qemu {}", host.qemu.build),
        format!("accelerator {:?}", host.accelerator.kind),
    ];
    if host.accelerator.kind == Kind::Kvm {
        inputs.push(format!("host cpu {}", probe::host_cpu()));
    }
    inputs
}

fn key(inputs: &[String]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(input.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The machine that is booted to be captured: like `spec`, but nobody.
fn template_spec(spec: &Spec, key: &str) -> Spec {
    let part = |from: usize, to: usize| key.get(from..to).unwrap_or_default();
    Spec {
        name: "template".into(),
        uuid: format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30)),
        net: Net::None,
        mac: "52:54:00:00:00:01".into(),
        seed: None,
        ..spec.clone()
    }
}

/// Removes the ruins of a build, its process first. Only under the build's lock.
async fn clear(build: &Path, uuid: &str) -> Result<()> {
    if let Some(process) = Process::find(uuid, &build.join(args::PID_FILE)) {
        process.kill();
        process.ended().await?;
    }
    let build = build.to_path_buf();
    blocking(move || durable::remove_tree(&build)).await
}

/// Boots, waits until the guest is quiet, and writes `ram`, `state` and `disk.qcow2`.
async fn capture(host: &Host, spec: &Spec, dir: &Path, user: Option<User>, deadline: Instant) -> Result<()> {
    fs::create_dir(dir).map_err(|e| Error::io("create", dir, e))?;
    let memory = dir.join(RAM);
    let image = (&spec.image, spec.image_format);
    disk::overlay(&host.qemu.img, image.0, image.1, &dir.join(DISK), Some(spec.disk)).await?;
    let file = File::create(&memory).map_err(|e| Error::io("create", &memory, e))?;
    file.set_len(spec.memory).map_err(|e| Error::io("create", &memory, e))?;
    launch::own(&[dir.to_path_buf(), dir.join(DISK), memory.clone()], user)?;

    let vm = Vm::unsaved(host.clone(), dir.to_path_buf(), spec.clone());
    let launch = Launch { user, ..Launch::default() };
    let process = vm.spawn(&Start::Template { memory }, launch, Inherit::default()).await?;
    let captured = async {
        let mut agent = vm.agent(deadline, &process).await?;
        vm.or_death(&process, agent.wait_for_guest(deadline)).await?;
        agent.ask("settle", deadline).await?;
        agent.ask("grow", deadline).await?;
        agent.ask("sync", deadline).await?;
        save(&vm, &process, deadline).await
    }
    .await;
    process.kill();
    process.ended().await?;
    captured.map_err(|error| vm.explain(error))?;
    seal_files(dir)
}

/// Stops the guest, writes its device state and lets QEMU flush and close the disk.
async fn save(vm: &Vm, process: &Process, deadline: Instant) -> Result<()> {
    let sockets = SocketDir::open(&vm.dir)?;
    let socket = vm.dir.join(MIGRATION_SOCKET);
    let listener =
        UnixListener::bind(sockets.path(MIGRATION_SOCKET)).map_err(|e| Error::io("listen on", &socket, e))?;
    // QEMU may run as another user; the directory is closed to all others.
    set_mode(&socket, 0o666)?;
    let mut qmp = vm.qmp(deadline, process).await?;
    let capability = json!([{"capability": "x-ignore-shared", "state": true}]);
    qmp.run("migrate-set-capabilities", json!({"capabilities": capability})).await?;
    qmp.run("stop", json!({})).await?;
    qmp.run("migrate", json!({"uri": format!("unix:{MIGRATION_SOCKET}")})).await?;
    let accepted = timeout_at(deadline, listener.accept()).await;
    let (stream, _) = accepted
        .map_err(|_| Error::timeout("QEMU's device state", Duration::ZERO))?
        .map_err(|e| Error::io("accept on", &socket, e))?;
    let mut state = Vec::new();
    timeout_at(deadline, stream.take(MAX_STATE).read_to_end(&mut state))
        .await
        .map_err(|_| Error::timeout("QEMU's device state", Duration::ZERO))?
        .map_err(|e| Error::io("read from", &socket, e))?;
    qmp.migrated(deadline).await?;
    durable::write(&vm.dir.join(STATE), 0o444, &state)?;
    // Ends QEMU after it has written back and closed the disk.
    let _ = qmp.run("quit", json!({})).await;
    timeout_at(deadline, process.ended()).await.map_err(|_| Error::timeout("QEMU's end", Duration::ZERO))?
}

/// Syncs the files, takes away everybody's right to write and what only the build needed.
fn seal_files(dir: &Path) -> Result<()> {
    let keep = [RAM, STATE, DISK];
    for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
        let path = entry.map_err(|e| Error::io("list", dir, e))?.path();
        let name = path.file_name().unwrap_or_default();
        if keep.iter().any(|kept| name == *kept) {
            let file = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
            file.sync_all().map_err(|e| Error::io("sync", &path, e))?;
            if rustix::process::geteuid().is_root() {
                std::os::unix::fs::chown(&path, Some(0), Some(0))
                    .map_err(|e| Error::io("take back", &path, e))?;
            }
            set_mode(&path, 0o444)?;
        } else {
            fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(dir, Some(0), Some(0)).map_err(|e| Error::io("take back", dir, e))?;
    }
    set_mode(dir, 0o755)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| Error::io("set the mode of", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_sparse_copy_is_equal_and_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let ram = File::create(dir.path().join(RAM)).unwrap();
        ram.set_len(8 << 20).unwrap();
        ram.write_all_at(b"here", 5 << 20).unwrap();
        let template = Template { dir: dir.path().into(), key: "k".into(), memory: Arc::default() };
        let mut copy = File::from(template.sealed().unwrap().try_clone().unwrap());
        let mut bytes = Vec::new();
        copy.seek(SeekFrom::Start(0)).unwrap();
        copy.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 8 << 20);
        assert_eq!(&bytes[5 << 20..(5 << 20) + 4], b"here");
        assert!(copy.write_all(b"x").is_err());
    }

    #[test]
    fn half_a_template_is_none() {
        let cache = tempfile::tempdir().unwrap();
        let dir = cache.path().join("k");
        fs::create_dir(&dir).unwrap();
        assert!(Template::open(cache.path(), "k").unwrap().is_none());
        fs::write(dir.join(META), r#"{"key":"k","inputs":[]}"#).unwrap();
        assert!(Template::open(cache.path(), "k").unwrap().is_none());
        for name in [RAM, STATE, DISK] {
            fs::write(dir.join(name), "").unwrap();
        }
        assert!(Template::open(cache.path(), "k").unwrap().is_some());
    }
}
