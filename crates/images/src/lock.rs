//! Locks: every package of an image, exactly. The format is described in the crate's documentation.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::digest::is_sha256;
use crate::recipe::{Recipe, is_package, is_release};
use crate::{Error, Result};

const ABOUT: &str = "Lock of a Hafen image: every Debian package it is made of. Keep it beside the manifest.";
const MAX_SIZE: usize = 4 << 20;
const MAX_PACKAGES: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    pub about: String,
    pub format: u32,
    pub distribution: String,
    pub release: String,
    pub architecture: String,
    /// Seconds since 1970 when the mirror was in this state: the time of all that is in the image.
    pub epoch: u64,
    /// The same for a person, and for the name of a snapshot.
    pub date: String,
    /// What was asked for; the rest are its dependencies.
    pub requested: BTreeSet<String>,
    /// Sorted by name.
    pub packages: Vec<Locked>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Locked {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub archive: Archive,
    /// Below the archive's URL.
    pub path: String,
    pub size: u64,
    pub sha256: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Archive {
    Main,
    Security,
}

impl Lock {
    pub(crate) fn new(
        recipe: &Recipe,
        architecture: &str,
        epoch: u64,
        date: String,
        mut packages: Vec<Locked>,
    ) -> Self {
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            about: ABOUT.into(),
            format: 1,
            distribution: recipe.distribution.clone(),
            release: recipe.release.clone(),
            architecture: architecture.to_owned(),
            epoch,
            date,
            requested: recipe.requested(),
            packages,
        }
    }

    /// The text: JSON with a line per package, so that a comparison of two locks reads as one of packages.
    pub(crate) fn text(&self) -> Result<String> {
        let mut text = String::from("{\n");
        for (key, value) in [
            ("about", json(&self.about)?),
            ("format", json(&self.format)?),
            ("distribution", json(&self.distribution)?),
            ("release", json(&self.release)?),
            ("architecture", json(&self.architecture)?),
            ("epoch", json(&self.epoch)?),
            ("date", json(&self.date)?),
        ] {
            let _ = writeln!(text, "  \"{key}\": {value},");
        }
        let list = |items: Vec<String>| {
            items.iter().map(|item| format!("    {item}")).collect::<Vec<_>>().join(",\n")
        };
        let requested = self.requested.iter().map(json).collect::<Result<_>>()?;
        let packages = self.packages.iter().map(json).collect::<Result<_>>()?;
        let _ = writeln!(text, "  \"requested\": [\n{}\n  ],", list(requested));
        let _ = writeln!(text, "  \"packages\": [\n{}\n  ]\n}}", list(packages));
        Ok(text)
    }

    /// Reads and checks a lock; it comes from a person's file.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| {
            Error::Invalid(format!("the lock cannot be used: {why}; remove it to resolve anew"))
        };
        if text.len() > MAX_SIZE {
            return Err(bad(format!("it has more than {} MiB", MAX_SIZE >> 20)));
        }
        let lock: Self = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        if lock.format != 1 {
            return Err(bad(format!("format {} is not known, 1 is", lock.format)));
        }
        if lock.distribution != "debian" || !is_release(&lock.release) || !is_package(&lock.architecture) {
            return Err(bad("distribution, release or architecture is none".into()));
        }
        // Within ext4's seconds (34 bits).
        if lock.epoch >= 1 << 34 {
            return Err(bad("its time is out of range".into()));
        }
        if lock.packages.is_empty() || lock.packages.len() > MAX_PACKAGES {
            return Err(bad(format!("it has no packages or more than {MAX_PACKAGES}")));
        }
        if lock.packages.windows(2).any(|pair| matches!(pair, [a, b] if a.name >= b.name)) {
            return Err(bad("its packages are not sorted, or one is there twice".into()));
        }
        for package in &lock.packages {
            package.check().map_err(|why| bad(format!("package {:?}: {why}", package.name)))?;
        }
        if let Some(name) = lock.requested.iter().find(|name| lock.package(name).is_none()) {
            return Err(bad(format!("package {name:?} is requested and not there")));
        }
        Ok(lock)
    }

    fn package(&self, name: &str) -> Option<&Locked> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Says why this lock is none of this recipe, if so.
    pub(crate) fn check_for(&self, recipe: &Recipe, architecture: &str) -> Result<()> {
        let bad = |why| {
            Err(Error::Invalid(format!("the lock is of another recipe: {why}; remove it to resolve anew")))
        };
        if (&self.distribution, &self.release) != (&recipe.distribution, &recipe.release) {
            return bad(format!(
                "it is of {} {}, not of {}",
                self.distribution, self.release, recipe.release
            ));
        }
        if self.architecture != architecture {
            return bad(format!("it is of {}, and this host is {architecture}", self.architecture));
        }
        let wanted = recipe.requested();
        if let Some(name) = wanted.difference(&self.requested).next() {
            return bad(format!("it lacks {name}"));
        }
        if let Some(name) = self.requested.difference(&wanted).next() {
            return bad(format!("it has {name}, which is no longer asked for"));
        }
        Ok(())
    }
}

impl Locked {
    fn check(&self) -> Result<(), &'static str> {
        if !is_package(&self.name) {
            return Err("that is no name of a package");
        }
        let version = |c: u8| c.is_ascii_alphanumeric() || b".+-:~".contains(&c);
        if self.version.is_empty() || self.version.len() > 200 || !self.version.bytes().all(version) {
            return Err("its version is none");
        }
        if !is_package(&self.architecture) {
            return Err("its architecture is none");
        }
        // It becomes a part of a URL.
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"/.+-_~%".contains(&c);
        let inside = self.path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if self.path.len() > 500 || !self.path.bytes().all(plain) || !inside {
            return Err("its path is none");
        }
        if !is_sha256(&self.sha256) {
            return Err("its SHA-256 is none");
        }
        if self.size == 0 || self.size > 4 << 30 {
            return Err("its size is out of range");
        }
        Ok(())
    }
}

/// Whether a lock was made for what the recipe asks for now. A lock that cannot be read is an error.
pub fn lock_fits(recipe: &Recipe, lock: &str) -> Result<bool> {
    let lock = Lock::parse(lock)?;
    Ok(lock.check_for(recipe, &lock.architecture).is_ok())
}

/// A value as one line of JSON.
fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::Invalid(format!("cannot be written as JSON: {e}")))
}
