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
use std::io::{Seek, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom as Seeking};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::args::{self, DISK, LAYOUT, Start};
use crate::capture::{self, Part};
use crate::durable::{Lock, blocking};
use crate::launch::Inherit;
pub use crate::sweep::gc;
use crate::{Boot, Error, Host, Kind, Net, Result, Spec, User, disk, durable, guest, probe};

pub(crate) const META: &str = "template.json";
/// In place of it in a directory that is no template any more, only ground under disks.
pub(crate) const RETIRED: &str = "retired.json";
/// Begins the name of a build under way, or of its ruins; the rest is the key.
pub(crate) const BUILD: &str = ".build-";
pub(crate) const RAM: &str = "ram";
pub(crate) const STATE: &str = "state";

/// A captured machine, ready to be resumed.
#[derive(Debug, Clone)]
pub struct Template {
    pub dir: PathBuf,
    /// Names the template; equal keys mean interchangeable snapshots.
    pub key: String,
    memory: Arc<Mutex<Option<Arc<OwnedFd>>>>,
    /// An empty disk over its own, and how large it looks to a guest.
    blank: Arc<OnceLock<(u64, Vec<u8>)>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    key: String,
    /// What the key was made of.
    inputs: Vec<String>,
    /// Without them it is no template, but still known as waste.
    #[serde(default)]
    parts: Vec<Part>,
}

impl Meta {
    /// The digest of the image it was booted from.
    pub(crate) fn image(&self) -> &str {
        self.inputs.iter().find_map(|input| input.strip_prefix("image ")).unwrap_or_default()
    }

    fn is_whole(&self, dir: &Path, key: &str) -> bool {
        let size =
            |name: &str| fs::metadata(dir.join(name)).ok().filter(fs::Metadata::is_file).map(|m| m.len());
        let names: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
        self.key == key
            && self::key(&self.inputs) == key
            && names == [RAM, STATE, DISK]
            && self.parts.iter().all(|part| size(&part.name) == Some(part.size))
    }
}

/// The directories of one key, oldest first: `KEY`, and one more for each that was retired. A
/// directory never gets another disk than it had, because disks of machines stand on it.
fn dirs(cache: &Path, key: &str) -> impl Iterator<Item = PathBuf> {
    (1..).map(move |n| dir_of(cache, key, n)).take_while(|dir| dir.exists())
}

fn dir_of(cache: &Path, key: &str, number: u32) -> PathBuf {
    cache.join(if number == 1 { key.to_owned() } else { format!("{key}-{number}") })
}

/// The name for a new template; under the lock of its key.
fn free_dir(cache: &Path, key: &str) -> Result<PathBuf> {
    let mut number = 1;
    loop {
        let dir = dir_of(cache, key, number);
        if !dir.exists() {
            return Ok(dir);
        }
        if !dir.join(DISK).exists() {
            // Nothing can stand on it.
            durable::remove_tree(&dir)?;
            return Ok(dir);
        }
        number += 1;
    }
}

impl Template {
    /// Returns the template for machines like `spec`, building it if need be (one boot: about
    /// 20 s under emulation). `image_digest` is the content address of the image. Safe to call
    /// from several processes; all but one wait. A build that failed or was killed leaves
    /// nothing that a later call could take for a template. Reads the whole template to find
    /// damage, and the handle keeps its memory ready: call it once and keep the handle.
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
        if let Some(found) = Self::sound(cache, &key).await? {
            return Ok(found);
        }
        fs::create_dir_all(cache).map_err(|e| Error::io("create", cache, e))?;
        let _lock = Lock::acquire(&cache.join(format!("{key}.lock"))).await?;
        if let Some(found) = Self::sound(cache, &key).await? {
            return Ok(found);
        }
        let build = cache.join(format!("{BUILD}{key}"));
        let template_spec = template_spec(spec, &key);
        capture::clear(&build, &template_spec.uuid).await?;
        let built = Self::build(host, &template_spec, &build, &inputs, user, patience).await;
        if let Err(error) = built {
            // Also when the disk is full: leave nothing behind.
            capture::clear(&build, &template_spec.uuid).await?;
            return Err(error);
        }
        let dir = free_dir(cache, &key)?;
        fs::rename(&build, &dir).map_err(|e| Error::io("rename", &dir, e))?;
        durable::sync_parent(&dir)?;
        Self::open(cache, &key)?
            .ok_or_else(|| Error::Conflict(format!("template {key} vanished while it was made")))
    }

    async fn build(
        host: &Host,
        spec: &Spec,
        build: &Path,
        inputs: &[String],
        user: Option<User>,
        patience: Duration,
    ) -> Result<()> {
        let parts = capture::capture(host, spec, build, user, Instant::now() + patience)
            .await
            .map_err(|error| error.within(patience))?;
        let meta = Meta { key: key(inputs), inputs: inputs.to_vec(), parts };
        let meta = serde_json::to_vec_pretty(&meta).map_err(|e| Error::Invalid(e.to_string()))?;
        durable::write(&build.join(META), 0o644, &meta)
    }

    /// The template with this key if it is in the cache and whole: its description leads to
    /// this key and its files are there. Their contents are checked by [`Template::ensure`].
    pub fn open(cache: &Path, key: &str) -> Result<Option<Self>> {
        for dir in dirs(cache, key) {
            let Some(text) = durable::read(&dir.join(META))? else { continue };
            let whole = serde_json::from_slice::<Meta>(&text).is_ok_and(|meta| meta.is_whole(&dir, key));
            if whole {
                return Ok(Some(Self {
                    dir,
                    key: key.to_owned(),
                    memory: Arc::default(),
                    blank: Arc::default(),
                }));
            }
        }
        Ok(None)
    }

    /// The template with this key if it is undamaged; one that is damaged is retired.
    async fn sound(cache: &Path, key: &str) -> Result<Option<Self>> {
        while let Some(found) = Self::open(cache, key)? {
            let template = found.clone();
            if blocking(move || template.is_sound()).await? {
                return Ok(Some(found));
            }
            tracing::warn!(template = %found.dir.display(), "a damaged template is retired and made anew");
            found.retire()?;
        }
        Ok(None)
    }

    fn is_sound(&self) -> Result<bool> {
        let Some(text) = durable::read(&self.dir.join(META))? else { return Ok(false) };
        let Ok(meta) = serde_json::from_slice::<Meta>(&text) else { return Ok(false) };
        for part in meta.parts {
            let path = self.dir.join(&part.name);
            let file = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
            if capture::checksum(&file, false).map_err(|e| Error::io("read", &path, e))? != part.sum {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends its use: the next [`Template::ensure`] makes another. For a template whose clones do
    /// not come up. Its disk stays, because disks of machines stand on it; [`gc`] removes it.
    pub fn retire(&self) -> Result<()> {
        let meta = self.dir.join(META);
        match fs::rename(&meta, self.dir.join(RETIRED)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("retire", &meta, error));
            }
            _ => {}
        }
        for name in [RAM, STATE] {
            let path = self.dir.join(name);
            durable::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
        Ok(())
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

    /// Makes an empty disk over the template's. All of them have the same bytes: `qemu-img`, which takes a twentieth of a
    /// resume to start, makes the first of a handle, and the others are written down as that one was.
    pub(crate) async fn disk_over(&self, img: &Path, path: &Path, size: u64) -> Result<()> {
        if let Some((_, blank)) = self.blank.get().filter(|(of, _)| *of == size) {
            let new = disk::beside(path);
            durable::remove_file(&new).map_err(|e| Error::io("remove", &new, e))?;
            let write = || {
                let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
                file.and_then(|mut file| file.write_all(blank)).map_err(|e| Error::io("write", &new, e))
            };
            return disk::finish(&new, path, write());
        }
        disk::overlay(img, &self.disk(), disk::Format::Qcow2, path, Some(size)).await?;
        // Nobody but the caller could write to it yet.
        let bytes = fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let _kept = self.blank.set((size, bytes));
        Ok(())
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

/// Of the machine that is booted for a key; finds its process again.
pub(crate) fn build_uuid(key: &str) -> String {
    let part = |from: usize, to: usize| key.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
}

/// The machine that is booted to be captured: like `spec`, but nobody.
fn template_spec(spec: &Spec, key: &str) -> Spec {
    Spec {
        name: "template".into(),
        uuid: build_uuid(key),
        net: Net::None,
        mac: "52:54:00:00:00:01".into(),
        seed: None,
        ..spec.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_sparse_copy_is_equal_and_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let ram = File::create(dir.path().join(RAM)).unwrap();
        ram.set_len(8 << 20).unwrap();
        ram.write_all_at(b"here", 5 << 20).unwrap();
        let template = Template {
            dir: dir.path().into(),
            key: "k".into(),
            memory: Arc::default(),
            blank: Arc::default(),
        };
        let mut copy = File::from(template.sealed().unwrap().try_clone().unwrap());
        let mut bytes = Vec::new();
        copy.seek(SeekFrom::Start(0)).unwrap();
        copy.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 8 << 20);
        assert_eq!(&bytes[5 << 20..(5 << 20) + 4], b"here");
        assert!(copy.write_all(b"x").is_err());
    }

    fn template_in(dir: &Path, inputs: &[String]) -> String {
        fs::create_dir(dir).unwrap();
        let mut parts = Vec::new();
        for name in [RAM, STATE, DISK] {
            fs::write(dir.join(name), name).unwrap();
            let file = File::open(dir.join(name)).unwrap();
            let (size, sum) = (file.metadata().unwrap().len(), capture::checksum(&file, false).unwrap());
            parts.push(Part { name: name.into(), size, sum });
        }
        let meta = Meta { key: key(inputs), inputs: inputs.to_vec(), parts };
        fs::write(dir.join(META), serde_json::to_vec(&meta).unwrap()).unwrap();
        meta.key
    }

    #[tokio::test]
    async fn only_whole_sound_templates_of_our_own_are_taken() {
        let cache = tempfile::tempdir().unwrap();
        let cache = cache.path();
        let inputs = ["qemu 7".to_owned()];
        let key = key(&inputs);
        assert!(Template::sound(cache, &key).await.unwrap().is_none());
        template_in(&cache.join(&key), &inputs);
        assert_eq!(Template::sound(cache, &key).await.unwrap().unwrap().dir, cache.join(&key));

        // Damaged without a change of size: retired, and its disk stays where it is.
        fs::write(cache.join(&key).join(RAM), "RAM").unwrap();
        assert!(Template::open(cache, &key).unwrap().is_some());
        assert!(Template::sound(cache, &key).await.unwrap().is_none());
        assert!(cache.join(&key).join(DISK).exists());
        let next = free_dir(cache, &key).unwrap();
        assert_eq!(next, cache.join(format!("{key}-2")));

        // Made under other circumstances and given our name.
        template_in(&next, &["qemu 8".to_owned()]);
        assert!(Template::open(cache, &key).unwrap().is_none());
        fs::remove_dir_all(&next).unwrap();
        template_in(&next, &inputs);
        assert!(Template::sound(cache, &key).await.unwrap().is_some());
        fs::remove_file(next.join(STATE)).unwrap();
        assert!(Template::open(cache, &key).unwrap().is_none(), "half a template");

        assert!(gc(cache, |_| false, false).unwrap() > 0);
        assert_eq!(fs::read_dir(cache).unwrap().count(), 0, "also what was retired");

        // Ruins go, a build under way stays.
        fs::create_dir(cache.join(".build-dead")).unwrap();
        fs::create_dir(cache.join(".build-live")).unwrap();
        fs::create_dir(cache.join(".gone-other")).unwrap();
        let _lock = Lock::acquire(&cache.join("live.lock")).await.unwrap();
        gc(cache, |_| true, false).unwrap();
        let left = |name: &str| cache.join(name).exists();
        assert!(left(".build-live") && !left(".build-dead") && !left(".gone-other"));
    }

    #[test]
    fn another_qemu_accelerator_or_agent_is_another_key() {
        let spec = crate::spec::tests::example();
        let version = crate::Version { major: 7, minor: 2, micro: 22 };
        let qemu = crate::Qemu {
            program: "/usr/bin/qemu".into(),
            img: "/usr/bin/qemu-img".into(),
            version,
            build: "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)".into(),
        };
        let host = Host::with(qemu, crate::Accelerator::tcg());
        let key = Template::key_for(&host, &spec, "sha256:1");
        assert_eq!(key, Template::key_for(&host, &spec, "sha256:1"));
        let mut other = host.clone();
        other.qemu.build = other.qemu.build.replace("u18", "u19");
        assert_ne!(key, Template::key_for(&other, &spec, "sha256:1"), "same version, another build");
        let mut other = host.clone();
        other.accelerator.kind = Kind::Kvm;
        assert_ne!(key, Template::key_for(&other, &spec, "sha256:1"));
        assert_ne!(key, Template::key_for(&host, &spec, "sha256:2"));
        let larger = Spec { memory: spec.memory * 2, ..spec.clone() };
        assert_ne!(key, Template::key_for(&host, &larger, "sha256:1"));
        let inputs = inputs(&host, &spec, "sha256:1");
        assert!(inputs.contains(&format!("agent {}", guest::version())));
    }
}
