//! What an image is to be made of, checked before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::sha256;
use crate::{Error, Result};

/// All files of a recipe together.
pub const MAX_FILES_SIZE: usize = 64 << 20;
/// Packages asked for by name; what they depend on is not counted.
pub const MAX_PACKAGES: usize = 1000;
const MAX_FILES: usize = 4096;

/// Raised with every change of how images are built that is not in the scripts: what an older builder made is not
/// found again.
const BUILDER: u32 = 1;

/// What a person asks for, and what the platform adds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recipe {
    /// `debian`
    pub distribution: String,
    /// A codename, as `trixie`.
    pub release: String,
    /// Names of packages; what they depend on comes with them, what they recommend does not.
    pub packages: Vec<String>,
    /// By absolute path in the guest, owned by root; they replace what packages brought.
    pub files: BTreeMap<String, RecipeFile>,
    pub base: Base,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeFile {
    #[serde(with = "as_hex")]
    pub content: Vec<u8>,
    /// Permission bits, as `0o644`.
    pub mode: u32,
}

/// What every image of the platform has, whatever the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Base {
    pub packages: Vec<String>,
    /// Put in after the recipe's, so that they win.
    pub files: Vec<BaseFile>,
    /// Run in the image's root when all files are there.
    pub commands: Vec<Vec<String>>,
    /// Removed in the end: they would be the same in every machine. A path may end with `*`.
    pub forbidden: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFile {
    pub path: String,
    /// Of no meaning for a link.
    pub mode: u32,
    pub contents: Contents,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contents {
    Text(String),
    /// A symbolic link to this target.
    Link(String),
}

impl Recipe {
    /// Says what is wrong, if anything is.
    pub fn check(&self) -> Result<()> {
        if self.distribution != "debian" {
            return Err(Error::Invalid(format!(
                "distribution {:?} is not known: it is `debian`",
                self.distribution
            )));
        }
        if !is_release(&self.release) {
            return Err(Error::Invalid(format!(
                "{:?} is no release: it is a codename, as `trixie`",
                self.release
            )));
        }
        let packages = self.requested();
        if packages.len() > MAX_PACKAGES {
            return Err(Error::Invalid(format!("{} packages are more than {MAX_PACKAGES}", packages.len())));
        }
        if let Some(bad) = packages.iter().find(|name| !is_package(name)) {
            return Err(Error::Invalid(format!(
                "{bad:?} is no package name: as in `nginx-light`, without a version"
            )));
        }
        if self.files.len() + self.base.files.len() > MAX_FILES {
            return Err(Error::Invalid(format!("more than {MAX_FILES} files")));
        }
        let mut size = 0;
        for (path, file) in &self.files {
            check_path(path)?;
            check_mode(path, file.mode)?;
            size += file.content.len();
        }
        for file in &self.base.files {
            check_path(&file.path)?;
            check_mode(&file.path, file.mode)?;
            size += match &file.contents {
                Contents::Text(text) => text.len(),
                Contents::Link(target)
                    if target.is_empty() || target.contains('\0') || target.len() > 1000 =>
                {
                    return Err(Error::Invalid(format!(
                        "{} links to {target:?}, which is no path",
                        file.path
                    )));
                }
                Contents::Link(target) => target.len(),
            };
        }
        if size > MAX_FILES_SIZE {
            return Err(Error::Invalid(format!(
                "the files have {} MiB, and may have {} MiB together: put large data into a package or fetch it",
                size.div_ceil(1 << 20),
                MAX_FILES_SIZE >> 20
            )));
        }
        let paths: BTreeSet<&str> = self
            .files
            .keys()
            .map(String::as_str)
            .chain(self.base.files.iter().map(|f| f.path.as_str()))
            .collect();
        for path in &paths {
            let mut parent = *path;
            while let Some((before, _)) = parent.rsplit_once('/') {
                if paths.contains(before) {
                    return Err(Error::Invalid(format!("{before:?} cannot be a file and hold {path:?}")));
                }
                parent = before;
            }
        }
        for command in &self.base.commands {
            if command.is_empty() || command.iter().any(|word| word.contains('\0')) {
                return Err(Error::Invalid(format!("{command:?} is no command")));
            }
        }
        for path in &self.base.forbidden {
            check_path(path.trim_end_matches('*'))?;
            // It becomes a pattern of the shell, where nothing but its end may be one.
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
            if !path.strip_suffix('*').unwrap_or(path).chars().all(plain) {
                return Err(Error::Invalid(format!("{path:?} cannot be forbidden: only its end may be `*`")));
            }
        }
        Ok(())
    }

    /// All packages asked for, sorted.
    pub(crate) fn requested(&self) -> BTreeSet<String> {
        self.packages.iter().chain(&self.base.packages).cloned().collect()
    }

    /// Changes with everything that an image depends on but its lock.
    pub(crate) fn key(&self, architecture: &str) -> Result<String> {
        // Maps and sets are in order, so the text is the same for the same recipe.
        let same = Self {
            packages: self.packages.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
            ..self.clone()
        };
        let text = serde_json::to_vec(&(BUILDER, crate::build::SCRIPTS, architecture, &same))
            .map_err(|e| Error::Invalid(format!("a recipe cannot be written down: {e}")))?;
        Ok(sha256(&text))
    }
}

pub(crate) fn is_release(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase())
}

/// Debian Policy 5.6.1; a last `-` would tell apt to remove.
pub(crate) fn is_package(text: &str) -> bool {
    (2..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.ends_with(['-', '.'])
}

fn check_path(path: &str) -> Result<()> {
    let bad = |why| Err(Error::Invalid(format!("{path:?} cannot be a file of an image: {why}")));
    if !path.starts_with('/') {
        return bad("its path is not absolute");
    }
    if path.len() > 1000 {
        return bad("its path has more than 1000 bytes");
    }
    if path.chars().any(char::is_control) {
        return bad("its path has control characters");
    }
    if path.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == ".." || part.len() > 255)
    {
        return bad("a part of its path is empty, `.`, `..` or too long");
    }
    // They are mounted over, there or here.
    if ["/proc/", "/sys/", "/dev/", "/run/", "/tmp/"].iter().any(|place| path.starts_with(place)) {
        return bad("what is there does not last");
    }
    Ok(())
}

fn check_mode(path: &str, mode: u32) -> Result<()> {
    if mode & !0o7777 == 0 {
        Ok(())
    } else {
        Err(Error::Invalid(format!("{path:?} has mode {mode:o}, not within 7777")))
    }
}

/// Bytes as text in JSON: an array of numbers would be four times as long.
mod as_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&crate::digest::hex(bytes))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        text.as_bytes()
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            })
            .collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let file = RecipeFile { content: b"hello\0\xff".to_vec(), mode: 0o644 };
        Recipe {
            distribution: "debian".into(),
            release: "trixie".into(),
            packages: vec!["nginx-light".into(), "g++".into()],
            files: BTreeMap::from([("/etc/hello".into(), file)]),
            base: Base::default(),
        }
    }

    #[test]
    fn a_good_recipe_passes_and_is_kept_whole() {
        recipe().check().unwrap();
        let text = serde_json::to_string(&recipe()).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), recipe());
    }

    #[test]
    fn bad_recipes_are_refused_with_the_reason() {
        let refused = |change: &dyn Fn(&mut Recipe), says: &str| {
            let mut recipe = recipe();
            change(&mut recipe);
            let error = recipe.check().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        let file = |path: &'static str| {
            move |r: &mut Recipe| {
                r.files.insert(path.into(), RecipeFile { content: Vec::new(), mode: 0o644 });
            }
        };
        refused(&|r| r.distribution = "arch".into(), "distribution");
        refused(&|r| r.release = "../x".into(), "release");
        refused(&|r| r.packages.push("nginx; rm".into()), "package name");
        refused(&|r| r.packages.push("nginx-".into()), "package name");
        refused(&|r| r.packages.push("--help".into()), "package name");
        refused(&|r| r.packages = (0..=MAX_PACKAGES).map(|n| format!("p{n}")).collect(), "more than");
        refused(&file("etc/x"), "absolute");
        refused(&file("/etc/../x"), "`..`");
        refused(&file("/etc//x"), "empty");
        refused(&file("/"), "empty");
        refused(&file("/a\nb"), "control");
        refused(&file("/proc/x"), "does not last");
        refused(&file("/etc/hello/x"), "cannot be a file and hold");
        refused(&|r| r.files.values_mut().for_each(|f| f.mode = 0o10644), "mode");
        refused(&|r| r.files.values_mut().for_each(|f| f.content = vec![0; MAX_FILES_SIZE + 1]), "64 MiB");
        refused(&|r| r.base.forbidden.push("/etc/$(x)*".into()), "forbidden");
    }

    #[test]
    fn the_key_knows_what_matters() {
        let key = recipe().key("amd64").unwrap();
        let mut other = recipe();
        other.packages.reverse();
        other.packages.push("g++".into());
        assert_eq!(other.key("amd64").unwrap(), key);
        assert_ne!(other.key("arm64").unwrap(), key);
        other.files.values_mut().for_each(|file| file.mode = 0o755);
        assert_ne!(other.key("amd64").unwrap(), key);
    }
}
