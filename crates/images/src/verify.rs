//! Whether an image is what it was, and what its lock makes of it.

use std::path::Path;

use crate::build::Made;
use crate::digest::sha256_file;
use crate::durable::{self, Workshop, blocking};
use crate::host::{self, Mirror};
use crate::image::{Meta, MetaKind};
use crate::lock::Lock;
use crate::recipe::Recipe;
use crate::store::Store;
use crate::{Digest, Error, Result, tree};

/// Twice the largest files, being hexadecimal, and the rest.
const MAX_RECIPE: u64 = 192 << 20;
const MAX_TREE: u64 = 512 << 20;

impl Store {
    /// Compares the bytes in the store with what was recorded, then, of a built image, builds it again from its lock and
    /// compares every file. Nothing in the store changes but the package cache.
    pub async fn verify(
        &self,
        digest: &Digest,
        progress: impl Fn(String, Option<u8>) + Send + Sync,
    ) -> Result<()> {
        progress("reading the image".into(), Some(0));
        let (meta, image) = self.load(digest).await?.ok_or_else(|| Error::NotFound(digest.clone()))?;
        let folder = self.folder(digest);
        let read = {
            let (meta, folder, digest) = (meta.clone(), folder.clone(), digest.clone());
            blocking(move || check_parts(&meta, &folder, &digest)).await
        };
        read?;
        if matches!(meta.kind, MetaKind::Cloud { .. }) {
            progress("the image is what was imported".into(), Some(100));
            return Ok(());
        }
        let damaged = |detail: String| Error::Corrupt { digest: digest.clone(), detail };
        let recipe = durable::read(&folder.join("recipe.json"), MAX_RECIPE)?.unwrap_or_default();
        let recipe: Recipe =
            serde_json::from_slice(&recipe).map_err(|e| damaged(format!("recipe.json: {e}")))?;
        recipe.check()?;
        let lock = Lock::parse(&image.lock).map_err(|e| damaged(format!("lock.json: {e}")))?;
        lock.check_for(&recipe, &host::architecture().await?)?;
        let stored = durable::read(&folder.join("tree"), MAX_TREE)?.unwrap_or_default();

        let _packages = self.use_packages().await?;
        let work = self.work();
        let workshop = blocking(move || Workshop::new(&work)).await?;
        let setting = std::env::var("HAFEN_MIRROR").ok();
        let mirror = Mirror::detect(setting.as_deref(), Path::new("/etc/apt"))?;
        let made = self.make(&recipe, &lock, &mirror, &workshop, &progress).await?;
        compare(digest, &meta, &String::from_utf8_lossy(&stored), &made)?;
        progress("the rebuild is the same, bit by bit".into(), Some(100));
        Ok(())
    }
}

/// Blocks.
fn check_parts(meta: &Meta, folder: &Path, digest: &Digest) -> Result<()> {
    for (name, recorded) in meta.parts() {
        let (found, _) = sha256_file(&folder.join(name))?;
        if found != recorded {
            let detail =
                format!("the SHA-256 of {name} is {found}, and was {recorded}; `image build` makes it anew");
            return Err(Error::Corrupt { digest: digest.clone(), detail });
        }
    }
    Ok(())
}

fn compare(digest: &Digest, stored: &Meta, tree: &str, made: &Made) -> Result<()> {
    let differs = |path: &str, detail: String| {
        Err(Error::Differs { digest: digest.clone(), path: path.to_owned(), detail })
    };
    if let Some((path, detail)) = tree::first_difference(tree, &made.tree) {
        return differs(&path, detail);
    }
    let rebuilt = made.meta.parts();
    for (name, hash) in stored.parts() {
        let other = rebuilt.iter().find(|(part, _)| *part == name).map(|(_, hash)| *hash);
        if other == Some(hash) {
            continue;
        }
        let why = match (name, other) {
            ("disk", _) => {
                "the same files in another layout: is this host's e2fsprogs another than the builder's?"
                    .into()
            }
            (_, None) => "the rebuild has none".into(),
            (_, Some(other)) => format!("SHA-256 {hash} is {other} in the rebuild"),
        };
        return differs(name, why);
    }
    if *stored == made.meta { Ok(()) } else { differs("meta.json", "the rebuild has another shape".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Format;

    #[test]
    fn a_rebuild_that_differs_says_where() {
        let digest = Digest::of(b"x");
        let meta = |disk: &str, initrd: Option<&str>| Meta {
            kind: MetaKind::Built {
                kernel: "k".into(),
                initrd: initrd.map(str::to_owned),
                root: "/dev/vda".into(),
            },
            format: Format::Raw,
            virtual_size: 1,
            disk: disk.into(),
        };
        let tree = "/a type=f mode=644\n";
        let rebuilt = |meta, tree: &str| Made { folder: "/x".into(), meta, tree: tree.to_owned() };
        let stored = meta("d", Some("i"));
        compare(&digest, &stored, tree, &rebuilt(stored.clone(), tree)).unwrap();
        for (made, at, says) in [
            (rebuilt(meta("e", Some("i")), "/a type=f mode=600\n"), "/a", "mode=644 is mode=600"),
            (rebuilt(meta("e", Some("i")), tree), "disk", "layout"),
            (rebuilt(meta("d", Some("j")), tree), "initrd", "SHA-256 i is j"),
            (rebuilt(meta("d", None), tree), "initrd", "none"),
            (rebuilt(Meta { virtual_size: 2, ..stored.clone() }, tree), "meta.json", "shape"),
        ] {
            let error = compare(&digest, &stored, tree, &made).unwrap_err();
            let Error::Differs { path, detail, .. } = &error else { panic!("{error:?}") };
            assert!(path == at && detail.contains(says), "{error}");
        }
    }
}
