//! Images, and the templates that are made of them.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{Error, Result};
use hafen_client::wire::ImageSource;
use hafen_images::{Base, BaseFile, Contents, Digest, Image, Recipe, RecipeFile, lock_fits};
use hafen_qemu::guest;
use hafen_qemu::template;

use tokio::time::Instant;

use super::Parts;
use super::error::{from_images, from_qemu};
use crate::engine::{BuiltImage, ImageRequest, Progress};

/// How long an image counts as new: its row is written within milliseconds.
const FRESH: Duration = Duration::from_secs(60);

/// For cloud-init, where an image has it: names, keys and addresses are the agent's matter.
const CLOUD_INIT: &str = "# The platform's agent gives the machine its name, keys and address.\n\
    datasource_list: [NoCloud, None]\nnetwork: {config: disabled}\npreserve_hostname: true\nssh_deletekeys: false\n\
    ssh_genkeytypes: []\nmanage_etc_hosts: false\n";

impl Parts {
    /// An image that machines are made of.
    pub async fn image(&self, digest: &str) -> Result<Image> {
        let digest: Digest = digest.parse().map_err(from_images)?;
        let image = self.images.get(&digest).await.map_err(from_images)?;
        image.ok_or_else(|| {
            Error::unavailable(format!(
                "image {digest} is not in the store of this host; build it again: hafen image build"
            ))
        })
    }

    pub async fn image_ensure(&self, request: &ImageRequest, progress: Progress) -> Result<BuiltImage> {
        let report = move |text: String, percent: Option<u8>| progress(text, percent);
        let image = match &request.source {
            ImageSource::Debian { .. } => {
                let recipe = recipe(&request.source)?;
                let lock = match request.lock.as_deref() {
                    Some(lock) if !lock_fits(&recipe, lock).map_err(from_images)? => {
                        report(
                            "the packages asked for are not those of the lock: resolving anew".into(),
                            None,
                        );
                        None
                    }
                    lock => lock,
                };
                self.images.build(&recipe, lock, report).await
            }
            ImageSource::Cloud { location, sha256, .. } => self.images.import(location, sha256, report).await,
        }
        .map_err(from_images)?;
        self.images.hold(&image.digest).await.map_err(from_images)?;
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.insert(image.digest.to_string(), Instant::now());
        Ok(BuiltImage {
            digest: image.digest.to_string(),
            size: i64::try_from(image.size_on_disk).unwrap_or(i64::MAX),
            lock: image.lock,
        })
    }

    pub async fn image_verify(&self, digest: &str, progress: Progress) -> Result<()> {
        let digest = digest.parse().map_err(from_images)?;
        self.images.verify(&digest, move |text, percent| progress(text, percent)).await.map_err(from_images)
    }

    pub async fn image_gc(&self, keep: &[String], dry_run: bool) -> Result<(Vec<String>, i64)> {
        // What a machine stands on stays, whatever the caller believes.
        let used: Vec<String> = self.configs().values().map(|config| config.image.clone()).collect();
        let fresh: Vec<String> = {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            fresh.retain(|_, made| made.elapsed() < FRESH);
            fresh.keys().cloned().collect()
        };
        let keep =
            keep.iter().chain(&used).chain(&fresh).map(|one| one.parse()).collect::<Result<Vec<Digest>, _>>();
        let keep = keep.map_err(from_images)?;
        let (removed, mut freed) = self.images.gc(&keep, dry_run).await.map_err(from_images)?;
        let removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
        let all = self.images.list().await.map_err(from_images)?;
        let left = |digest: &str| {
            all.iter().any(|image| image.digest.as_str() == digest)
                && !removed.iter().any(|gone| gone == digest)
        };
        freed += template::gc(&self.templates, left, dry_run).map_err(from_qemu)?;
        Ok((removed, i64::try_from(freed).unwrap_or(i64::MAX)))
    }
}

fn recipe(source: &ImageSource) -> Result<Recipe> {
    let ImageSource::Debian { release, packages, files } = source else {
        return Err(Error::invalid("only Debian images are built"));
    };
    let mut contents = BTreeMap::new();
    for (path, file) in files {
        let wrong = |what: &str| Error::invalid_field("/source/files", format!("{path}: {what}"));
        let content = STANDARD.decode(&file.content).map_err(|_| wrong("the content is not base 64"))?;
        let mode = u32::from_str_radix(&file.mode, 8).map_err(|_| wrong("the mode is not octal"))?;
        contents.insert(path.clone(), RecipeFile { content, mode });
    }
    Ok(Recipe {
        distribution: "debian".into(),
        release: release.clone(),
        packages: packages.clone(),
        files: contents,
        base: base(),
    })
}

/// What the platform puts into every image.
fn base() -> Base {
    let mut files: Vec<BaseFile> = guest::files()
        .into_iter()
        .map(|file| BaseFile {
            path: file.path.into(),
            mode: file.mode,
            contents: match file.contents {
                guest::Contents::Text(text) => Contents::Text(text.into()),
                guest::Contents::Link(target) => Contents::Link(target.into()),
            },
        })
        .collect();
    files.push(BaseFile {
        path: "/etc/cloud/cloud.cfg.d/90-hafen.cfg".into(),
        mode: 0o644,
        contents: Contents::Text(CLOUD_INIT.into()),
    });
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Base {
        packages: words(guest::packages()),
        files,
        commands: guest::commands().iter().map(|command| words(command)).collect(),
        forbidden: words(guest::forbidden()),
    }
}
