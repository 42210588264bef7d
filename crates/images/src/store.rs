//! The folder that images live in: finding, keeping and holding them. Its layout is in the crate's documentation.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::sha256;
use crate::durable::{self, Lock, blocking, make_folder};
use crate::image::{self, Meta};
use crate::{Digest, Error, Image, Result};

const MAX_PATH: u64 = 4096;

/// The images of all homes that share a cache, as seen by one of them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    root: Arc<Path>,
    holder: Arc<Path>,
}

impl Store {
    /// Opens the store, makes it if need be, and removes what processes that died left of their work. All that is built
    /// or imported is held for `holder`, a folder that exists as long as it needs its images: a home.
    pub fn open(root: &Path, holder: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|e| Error::io("find", root, e))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@=,".contains(&byte);
        if !root.as_os_str().as_encoded_bytes().iter().copied().all(plain) {
            // apt and mmdebstrap are told of places in lines of words.
            return Err(Error::Invalid(format!(
                "{} cannot be the store of images: its path may have letters, digits and /._-+@=, only",
                root.display()
            )));
        }
        for part in ["images", "holds", "index", "packages", "work", "locks"] {
            make_folder(&root.join(part))?;
        }
        let holder = fs::canonicalize(holder).map_err(|e| Error::io("find", holder, e))?;
        let store = Self { root: root.into(), holder: holder.into() };
        durable::sweep(&store.work())?;
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    pub(crate) fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }

    pub(crate) fn folder(&self, digest: &Digest) -> PathBuf {
        self.root.join("images").join(digest.as_str())
    }

    pub(crate) fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(format!("{name}.lock"))
    }

    /// For moments in which images come, go or are held; never kept while something is built.
    pub(crate) async fn exclusive(&self) -> Result<Lock> {
        Lock::wait(&self.lock_path("store"), || ()).await
    }

    /// The image of this digest, if it is there. One that is damaged at first sight is an error.
    pub async fn get(&self, digest: &Digest) -> Result<Option<Image>> {
        Ok(self.load(digest).await?.map(|(_, image)| image))
    }

    pub(crate) async fn load(&self, digest: &Digest) -> Result<Option<(Meta, Image)>> {
        let (folder, digest) = (self.folder(digest), digest.clone());
        blocking(move || image::load(&folder, &digest)).await
    }

    /// All images, by digest. Damaged ones are left out: [`Self::get`] and [`Self::verify`] tell of them.
    pub async fn list(&self) -> Result<Vec<Image>> {
        let digests = self.digests().await?;
        let mut images = Vec::new();
        for digest in digests {
            if let Ok(Some(image)) = self.get(&digest).await {
                images.push(image);
            }
        }
        Ok(images)
    }

    pub(crate) async fn digests(&self) -> Result<Vec<Digest>> {
        let folder = self.root.join("images");
        blocking(move || {
            let entries = fs::read_dir(&folder).map_err(|e| Error::io("list", &folder, e))?.flatten();
            let mut digests: Vec<Digest> =
                entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
            digests.sort();
            Ok(digests)
        })
        .await
    }

    /// Says that the holder needs this image: no other home's [`Self::gc`] removes it then.
    pub async fn hold(&self, digest: &Digest) -> Result<()> {
        let lock = self.exclusive().await?;
        if !self.folder(digest).is_dir() {
            return Err(Error::NotFound(digest.clone()));
        }
        self.hold_locked(&lock, digest)
    }

    pub(crate) fn hold_locked(&self, _lock: &Lock, digest: &Digest) -> Result<()> {
        let path = self.hold_path(digest);
        if path.exists() {
            return Ok(());
        }
        make_folder(path.parent().unwrap_or(&self.root))?;
        durable::write(&path, self.holder.as_os_str().as_encoded_bytes())
    }

    fn hold_path(&self, digest: &Digest) -> PathBuf {
        let name = sha256(self.holder.as_os_str().as_encoded_bytes());
        self.root.join("holds").join(digest.as_str()).join(name)
    }

    /// Whether any home holds this image, this one left out unless `own`. Homes that are gone hold nothing. Blocks.
    pub(crate) fn is_held(&self, _lock: &Lock, digest: &Digest, own: bool) -> Result<bool> {
        use std::os::unix::ffi::OsStrExt;
        let folder = self.root.join("holds").join(digest.as_str());
        let mine = self.hold_path(digest);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("list", &folder, error)),
        };
        for entry in entries {
            let path = entry.map_err(|e| Error::io("list", &folder, e))?.path();
            if path.extension().is_some_and(|ending| ending == "new") || (!own && path == mine) {
                continue;
            }
            let holder = durable::read(&path, MAX_PATH)?.unwrap_or_default();
            // One that cannot be looked at is taken to be there: better an image too many.
            if Path::new(std::ffi::OsStr::from_bytes(&holder)).try_exists().unwrap_or(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn let_go(&self, _lock: &Lock, digest: &Digest) -> Result<()> {
        let path = self.hold_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// The image that was last made from what `key` stands for; it is held from now on.
    pub(crate) async fn find(&self, key: &str) -> Result<Option<Image>> {
        let lock = self.exclusive().await?;
        let Some(text) = durable::read(&self.root.join("index").join(key), MAX_PATH)? else {
            return Ok(None);
        };
        let Ok(digest) = String::from_utf8_lossy(&text).trim().parse::<Digest>() else { return Ok(None) };
        // A damaged image is made again.
        match self.get(&digest).await {
            Ok(Some(image)) => {
                self.hold_locked(&lock, &digest)?;
                Ok(Some(image))
            }
            Ok(None) | Err(Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a finished folder into the store, under all `keys`, and holds it. One that is there already stays, unless
    /// it is damaged: then the new one takes its place, and the old one is left to the workshop.
    pub(crate) async fn keep(&self, finished: &Path, digest: &Digest, keys: &[String]) -> Result<Image> {
        let made = finished.to_path_buf();
        blocking(move || seal(&made)).await?;
        let lock = self.exclusive().await?;
        let folder = self.folder(digest);
        let there = match self.get(digest).await {
            Ok(there) => there.is_some(),
            Err(Error::Corrupt { .. }) => {
                let aside = finished.with_extension("damaged");
                fs::rename(&folder, &aside).map_err(|e| Error::io("move", &folder, e))?;
                false
            }
            Err(error) => return Err(error),
        };
        // Held before it is there: no moment in which a collection could find it free.
        self.hold_locked(&lock, digest)?;
        if !there {
            fs::rename(finished, &folder).map_err(|e| Error::io("move", &folder, e))?;
            durable::sync(&self.root.join("images"))?;
        }
        for key in keys {
            durable::write(&self.root.join("index").join(key), digest.as_str().as_bytes())?;
        }
        self.get(digest).await?.ok_or_else(|| Error::NotFound(digest.clone()))
    }
}

/// Makes all files of a folder last, readable by everybody, and writable by nobody. Blocks.
fn seal(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let entries = fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?;
    for entry in entries {
        let path = entry.map_err(|e| Error::io("list", folder, e))?.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444))
            .map_err(|e| Error::io("change the mode of", &path, e))?;
        durable::sync(&path)?;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .map_err(|e| Error::io("change the mode of", folder, e))?;
    durable::sync(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_needs_a_plain_path_and_a_home() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["with space", "quo\"te", "ümlaut"] {
            assert!(
                matches!(Store::open(&dir.path().join(bad), dir.path()), Err(Error::Invalid(_))),
                "{bad}"
            );
        }
        assert!(Store::open(&dir.path().join("store"), &dir.path().join("absent")).is_err());
        Store::open(&dir.path().join("store"), dir.path()).unwrap();
    }

    /// Engines are called from tasks that move between threads.
    #[test]
    fn all_work_may_move_between_threads() {
        fn check<T: Send>(_: &T) {}
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), dir.path()).unwrap();
        let (recipe, digest) = (crate::Recipe::default(), Digest::of(b"x"));
        let progress = |_: String, _: Option<u8>| ();
        check(&store.build(&recipe, None, progress));
        check(&store.import("/x", "x", progress));
        check(&store.verify(&digest, progress));
        check(&store.gc(&[], true));
        check(&store.hold(&digest));
        check(&store.list());
    }
}
