//! Builds images: from a recipe to a lock, from a lock to packages, from packages to a disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::{sha256, sha256_file};
use crate::durable::{self, Workshop, blocking, make_folder};
use crate::host::{self, Mirror};
use crate::image::{Format, Meta, MetaKind};
use crate::lock::Lock;
use crate::recipe::{Contents, Recipe};
use crate::store::Store;
use crate::{Error, Image, Result, error, packages, resolve, run, tree};

/// A build under load on a slow host; normally it takes a minute.
const BUILD: Duration = Duration::from_secs(3600);
const ROOT: &str = "/dev/vda";

/// What runs in the namespaces of a build.
pub(crate) const SCRIPTS: &[(&str, &str)] = &[
    ("guard.sh", include_str!("scripts/guard.sh")),
    ("build.sh", include_str!("scripts/build.sh")),
    ("essential.sh", include_str!("scripts/essential.sh")),
    ("customize.sh", include_str!("scripts/customize.sh")),
];

impl Store {
    /// Builds the image of a recipe, or finds it. With a lock exactly of its packages; without one, the newest image of
    /// the same recipe is taken if it is here, else the mirror's packages of today. Dropping the future ends the build
    /// and leaves nothing. `progress` is given text for a person, and per cent where known.
    pub async fn build(
        &self,
        recipe: &Recipe,
        lock: Option<&str>,
        progress: impl Fn(String, Option<u8>) + Send + Sync,
    ) -> Result<Image> {
        recipe.check()?;
        let architecture = host::architecture().await?;
        let recipe_key = recipe.key(&architecture)?;
        let lock = lock.map(Lock::parse).transpose()?;
        if let Some(lock) = &lock {
            lock.check_for(recipe, &architecture)?;
        }
        let key = lock.as_ref().map_or(Ok(recipe_key.clone()), |lock| locked_key(&recipe_key, lock))?;
        if let Some(image) = self.find(&key).await? {
            return Ok(image);
        }
        let mut turns = 0_u32;
        let _turn = durable::Lock::wait(&self.lock_path(&key), || {
            if turns.is_multiple_of(50) {
                progress("waiting for another process that builds the same image".into(), None);
            }
            turns += 1;
        })
        .await?;
        if let Some(image) = self.find(&key).await? {
            return Ok(image);
        }
        let _packages = self.use_packages().await?;
        let work = self.work();
        let workshop = blocking(move || Workshop::new(&work)).await?;
        let setting = std::env::var("HAFEN_MIRROR").ok();
        let mirror = Mirror::detect(setting.as_deref(), Path::new("/etc/apt"))?;
        let lock = match lock {
            Some(lock) => lock,
            None => resolve::resolve(recipe, &architecture, &mirror, workshop.path(), &progress).await?,
        };
        let made = self.make(recipe, &lock, &mirror, &workshop, &progress).await?;
        progress("keeping the image".into(), Some(98));
        let digest = made.meta.digest()?;
        // The newest of its recipe, and the one of its lock.
        let keys = [locked_key(&recipe_key, &lock)?, recipe_key];
        let image = self.keep(&made.folder, &digest, &keys).await?;
        progress("the image is ready".into(), Some(100));
        Ok(image)
    }

    /// Shared by all who build: as long as one does, no package is removed from the cache.
    pub(crate) async fn use_packages(&self) -> Result<durable::Lock> {
        let path = self.lock_path("packages");
        loop {
            if let Some(lock) = durable::Lock::attempt(&path, true)? {
                return Ok(lock);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes all files of an image in the workshop.
    pub(crate) async fn make(
        &self,
        recipe: &Recipe,
        lock: &Lock,
        mirror: &Mirror,
        workshop: &Workshop,
        progress: &(impl Fn(String, Option<u8>) + Sync),
    ) -> Result<Made> {
        let namespaces = host::namespaces().await?;
        let place = workshop.path();
        packages::fetch(lock, &self.packages(), mirror, place, progress).await?;
        progress("preparing the packages".into(), Some(20));
        let installed = packages::repository(lock, &self.packages(), &place.join("repository")).await?;
        // The packages once more, the root file system, and the disk.
        let needed = lock.packages.iter().map(|p| p.size).sum::<u64>() + installed * 2 + (64 << 20);
        let free = error::free_space(place).map_err(|e| Error::io("look at", place, e))?;
        if free < needed {
            return Err(Error::NoSpace { needed, free, path: place.to_path_buf() });
        }
        {
            let (recipe, lock, place) = (recipe.clone(), lock.clone(), place.to_path_buf());
            blocking(move || prepare(&recipe, &lock, &place)).await?;
        }
        let id = sha256(lock.text()?.as_bytes());
        let mut command = run::command(namespaces.first().copied().unwrap_or("unshare"));
        command
            .args(namespaces.iter().skip(1))
            .args(["sh", "guard.sh", "sh", "build.sh"])
            .current_dir(place)
            .stdin(std::process::Stdio::piped())
            .env("RELEASE", &lock.release)
            .env("ARCHITECTURE", &lock.architecture)
            .env("PACKAGES", names(lock.packages.iter().map(|p| &p.name), ","))
            .env("SOURCE_DATE_EPOCH", lock.epoch.to_string())
            .env("UUID", uuid(id.get(..32).unwrap_or_default()))
            .env("SEED", uuid(id.get(32..).unwrap_or_default()));
        let built = run::lines(&mut command, place, BUILD, |line| tell(line, progress)).await;
        built.map_err(|error| build_error(error, lock))?;
        let (recipe, lock, place) = (recipe.clone(), lock.clone(), place.to_path_buf());
        blocking(move || finish(&recipe, &lock, &place)).await
    }
}

/// What was made, not yet in the store.
pub(crate) struct Made {
    pub folder: PathBuf,
    pub meta: Meta,
    pub tree: String,
}

fn locked_key(recipe_key: &str, lock: &Lock) -> Result<String> {
    Ok(sha256(format!("{recipe_key} {}", lock.text()?).as_bytes()))
}

fn names<'a>(names: impl Iterator<Item = &'a String>, between: &str) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(between)
}

/// Of 32 hexadecimal digits.
fn uuid(hex: &str) -> String {
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    // Version 8: the meaning of the other bits is ours (RFC 9562, 5.8).
    format!("{}-{}-8{}-8{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

/// Writes what the scripts read. Blocks.
fn prepare(recipe: &Recipe, lock: &Lock, place: &Path) -> Result<()> {
    let quoted = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
    let commands = recipe.base.commands.iter().map(|words| {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        format!("chroot \"$1\" {}\n", words.join(" "))
    });
    let forbidden = recipe.base.forbidden.iter().map(|path| {
        let (path, any) = path.strip_suffix('*').map_or((path.as_str(), ""), |start| (start, "*"));
        format!("rm -rf -- {}{any}\n", quoted(path.trim_start_matches('/')))
    });
    let scripts = SCRIPTS.iter().map(|(name, text)| (*name, (*text).to_owned()));
    for (name, text) in scripts.chain([
        ("commands.sh", commands.collect()),
        ("forbidden.sh", forbidden.collect()),
        ("names", names(lock.packages.iter().map(|p| &p.name), "\n")),
        ("requested", names(lock.requested.iter(), "\n")),
    ]) {
        let path = place.join(name);
        fs::write(&path, text).map_err(|e| Error::io("write", &path, e))?;
    }
    let path = place.join("files.tar");
    archive(recipe, lock.epoch, &path).map_err(|e| Error::io("write", &path, e))
}

/// The files of the recipe, and after them those of the platform.
fn archive(recipe: &Recipe, epoch: u64, path: &Path) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(std::io::BufWriter::new(fs::File::create(path)?));
    let header = |mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(epoch);
        header
    };
    let overridden: BTreeSet<&str> = recipe.base.files.iter().map(|file| file.path.as_str()).collect();
    let own = recipe.files.iter().filter(|(path, _)| !overridden.contains(path.as_str()));
    let own = own.map(|(path, file)| (path.as_str(), file.mode, file.content.as_slice(), None));
    let base = recipe.base.files.iter().map(|file| match &file.contents {
        Contents::Text(text) => (file.path.as_str(), file.mode, text.as_bytes(), None),
        Contents::Link(target) => (file.path.as_str(), 0o777, [].as_slice(), Some(target)),
    });
    for (path, mode, content, link) in own.chain(base) {
        let path = path.trim_start_matches('/');
        let mut header = header(mode);
        if let Some(target) = link {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, path, target)?;
        } else {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content)?;
        }
    }
    std::io::Write::flush(&mut archive.into_inner()?)
}

/// Turns lines of the build into progress.
fn tell(line: &str, progress: &impl Fn(String, Option<u8>)) {
    let steps = [
        ("I: downloading packages", 24, "copying the packages"),
        ("I: extracting archives", 28, "unpacking the base system"),
        ("I: installing essential", 35, "installing the base system"),
        ("I: installing remaining", 45, "installing the packages"),
        ("hafen: putting the files", 80, "putting the files in"),
        ("hafen: running the commands", 82, "running the commands"),
        ("I: cleaning", 84, "cleaning up"),
        ("hafen: making the disk", 86, "making the disk"),
    ];
    if let Some((_, percent, text)) = steps.iter().find(|(start, ..)| line.starts_with(start)) {
        progress((*text).to_owned(), Some(*percent));
    }
}

fn build_error(error: Error, lock: &Lock) -> Error {
    let Error::Tool { message, .. } = error else { return error };
    if message.contains("hafen: no kernel") {
        return Error::Invalid(
            "no package of the image brings a kernel, as linux-image-cloud-amd64 does".into(),
        );
    }
    if message.contains("unmet dependencies") || message.contains("Unable to locate package") {
        return Error::Invalid(format!(
            "the {} locked packages do not go together; remove the lock to resolve anew: {message}",
            lock.packages.len()
        ));
    }
    Error::Tool { program: "mmdebstrap".into(), message }
}

/// Checks what the scripts made and puts it into a folder as it will be in the store. Blocks.
fn finish(recipe: &Recipe, lock: &Lock, place: &Path) -> Result<Made> {
    let installed = durable::read(&place.join("installed"), 4 << 20)?.unwrap_or_default();
    let installed: BTreeSet<String> =
        String::from_utf8_lossy(&installed).lines().map(str::to_owned).collect();
    let wanted: BTreeSet<String> =
        lock.packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
    if let Some(package) = installed.symmetric_difference(&wanted).next() {
        let message = format!("installed other packages than the lock's: {package}");
        return Err(Error::Tool { program: "mmdebstrap".into(), message });
    }
    let tree = tree::read(&place.join("listing"), &place.join("sums"))?;
    let disk = place.join("disk.raw");
    crate::ext4::set_times(&disk, lock.epoch)?;
    let folder = place.join("image");
    make_folder(&folder)?;
    let part = |from: &str, name: &str| {
        let (from, to) = (place.join(from), folder.join(name));
        fs::rename(&from, &to).map_err(|e| Error::io("move", &from, e))?;
        sha256_file(&to)
    };
    let (disk_hash, virtual_size) = part("disk.raw", "disk")?;
    let (kernel, _) = part("kernel", "kernel")?;
    let initrd = if place.join("initrd").exists() { Some(part("initrd", "initrd")?.0) } else { None };
    let meta = Meta {
        kind: MetaKind::Built { kernel, initrd, root: ROOT.to_owned() },
        format: Format::Raw,
        virtual_size,
        disk: disk_hash,
    };
    let recipe = serde_json::to_string(recipe).map_err(|e| Error::Invalid(e.to_string()))?;
    for (name, text) in [
        ("meta.json", meta.text()?),
        ("lock.json", lock.text()?),
        ("recipe.json", recipe),
        ("tree", tree.clone()),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| Error::io("write", &path, e))?;
    }
    Ok(Made { folder, meta, tree })
}
