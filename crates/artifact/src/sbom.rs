//! What a source is made of, by its lock files: a CycloneDX 1.6 document. It says what the lock says and nothing else; the
//! same lock files give the same bytes, so it has no time and no serial number.
//!
//! Lock files are as hostile as any file of a source: what is read of them is bounded and read in one pass. Whoever relies
//! on the list must not take it for whole when it is not, so what was left out is said in it, in CycloneDX's own words: a
//! composition that is `incomplete`, and a property `hafen:left-out` for each reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{Error, Result};
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};
use tar::EntryType;

use crate::entries;
use crate::pack::hex;

/// Lock files that are understood, by their name.
pub const LOCK_FILES: &[&str] =
    &["Cargo.lock", "package-lock.json", "poetry.lock", "requirements.txt", "go.sum"];

/// Bytes of all lock files of a source together.
pub const LOCKS_MOST: u64 = 32 << 20;
/// Lock files of a source.
pub const FILES_MOST: usize = 64;
pub const COMPONENTS_MOST: usize = 50_000;
/// Bytes of a component's name, its version, its hash as the lock file has it (base 64 of SHA-512 has 88).
const NAME_MOST: usize = 512;
const VERSION_MOST: usize = 256;
const INTEGRITY_MOST: usize = 128;
/// Bytes of one package in a lock file of TOML, the list of its files included.
const TABLE_MOST: usize = 1 << 20;
/// Reasons that are told.
const REASONS_MOST: usize = 20;

/// The lock files of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locks {
    /// Name and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Why the list made of them lacks something; empty when it does not.
    pub left_out: Vec<String>,
}

impl Locks {
    /// Finds them in a tar archive, which is read to its end.
    ///
    /// # Errors
    /// Invalid when it is no archive, or one whose names have more bytes than any file system's.
    pub fn read(tar: impl Read) -> Result<Self> {
        let broken = |error: io::Error| {
            Error::invalid(format!("the source's archive cannot be read: {error}")).with_cause(error)
        };
        let (mut locks, mut bytes) = (Self::default(), 0_u64);
        entries::each(tar, broken, |entry| {
            // Git makes no others.
            if !matches!(entry.header().entry_type(), EntryType::Regular) {
                return Ok(());
            }
            let path = entry.path_bytes();
            let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            if !LOCK_FILES.iter().any(|known| known.as_bytes() == file) {
                return Ok(());
            }
            let name = String::from_utf8_lossy(&path).into_owned();
            bytes = bytes.saturating_add(entry.size());
            if locks.files.len() >= FILES_MOST {
                locks.left_out.push(format!("there are more than {FILES_MOST} lock files"));
            } else if bytes > LOCKS_MOST {
                let name = short(&name);
                locks.left_out.push(format!("{name}: the lock files have more than {LOCKS_MOST} bytes"));
            } else {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).map_err(broken)?;
                locks.files.push((name, content));
            }
            locks.left_out.truncate(REASONS_MOST);
            Ok(())
        })?;
        Ok(locks)
    }
}

/// A text from outside, for a message.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect()
}

/// What was found so far.
#[derive(Default)]
struct Components {
    /// By its package URL, which is what makes two the same.
    found: BTreeMap<String, Value>,
    left_out: BTreeSet<String>,
    /// The lock file that is read.
    file: String,
}

/// The document of these lock files; none when nothing is known by them, and nothing was left out.
#[must_use]
pub fn document(name: &str, version: &str, locks: &Locks) -> Option<Value> {
    let mut components =
        Components { left_out: locks.left_out.iter().cloned().collect(), ..Components::default() };
    for (file, content) in &locks.files {
        components.file = short(file);
        let Ok(text) = std::str::from_utf8(content) else {
            components.lacks("is no UTF-8");
            continue;
        };
        match file.rsplit('/').next().unwrap_or(file) {
            "Cargo.lock" => cargo(text, &mut components),
            "package-lock.json" => npm(text, &mut components),
            "poetry.lock" => poetry(text, &mut components),
            "requirements.txt" => requirements(text, &mut components),
            "go.sum" => go(text, &mut components),
            _ => {}
        }
    }
    if components.found.is_empty() && components.left_out.is_empty() {
        return None;
    }
    let mut document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": { "type": "application", "bom-ref": name, "name": name, "version": version } },
        "components": components.found.into_values().collect::<Vec<_>>(),
    });
    if !components.left_out.is_empty() {
        let reasons = components.left_out.into_iter();
        let reasons: Vec<Value> =
            reasons.map(|reason| json!({ "name": "hafen:left-out", "value": reason })).collect();
        if let Some(fields) = document.as_object_mut() {
            fields
                .insert("compositions".into(), json!([{ "aggregate": "incomplete", "assemblies": [name] }]));
            fields.insert("properties".into(), Value::Array(reasons));
        }
    }
    Some(document)
}

/// Why a document is not the whole list; empty when it is.
#[must_use]
pub fn left_out(document: &Value) -> Vec<&str> {
    let properties = document.get("properties").and_then(Value::as_array);
    properties.into_iter().flatten().filter_map(|one| one.get("value").and_then(Value::as_str)).collect()
}

impl Components {
    /// Something of the lock file is not in the list.
    fn lacks(&mut self, why: &str) {
        if self.left_out.len() < REASONS_MOST {
            self.left_out.insert(format!("{}: {why}", self.file));
        }
    }

    fn add(&mut self, kind: &str, name: &str, version: &str, hash: Option<(&str, String)>) {
        if name.is_empty() || version.is_empty() {
            return;
        }
        if name.len() > NAME_MOST || version.len() > VERSION_MOST {
            return self.lacks(&format!(
                "a name of more than {NAME_MOST} bytes, or a version of more than {VERSION_MOST}"
            ));
        }
        let url = format!("pkg:{kind}/{}@{}", encoded(name), encoded(version));
        if self.found.len() >= COMPONENTS_MOST && !self.found.contains_key(&url) {
            return self.lacks(&format!("there are more than {COMPONENTS_MOST} components"));
        }
        let mut component = json!({
            "type": "library", "bom-ref": url, "name": name, "version": version, "purl": url,
        });
        if let (Some((algorithm, content)), Some(fields)) = (hash, component.as_object_mut()) {
            fields.insert("hashes".into(), json!([{ "alg": algorithm, "content": content }]));
        }
        self.found.insert(url, component);
    }
}

/// As the specification of package URLs has it: the slash divides names from their namespace.
fn encoded(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                done.push(char::from(byte));
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(done, "%{byte:02X}");
            }
        }
    }
    done
}

/// The packages of a lock file that a program wrote in TOML, one after the other: the whole as one document would take many
/// times its size in memory.
fn tables(text: &str, components: &mut Components, mut take: impl FnMut(&toml::Table, &mut Components)) {
    const BEGIN: &str = "[[package]]";
    let starts = text.match_indices(BEGIN).filter(|(at, _)| {
        let before = text.get(..*at).unwrap_or_default();
        before.is_empty() || before.ends_with('\n')
    });
    let mut starts = starts.map(|(at, _)| at + BEGIN.len()).peekable();
    if starts.peek().is_none() && !has_no_packages(text) {
        components.lacks("is not understood");
    }
    while let Some(start) = starts.next() {
        let end = starts.peek().map_or(text.len(), |next| next - BEGIN.len());
        let table = text.get(start..end).unwrap_or_default();
        if table.len() > TABLE_MOST {
            components.lacks(&format!("a package of more than {TABLE_MOST} bytes"));
            continue;
        }
        // Tables of their own come after the package's own fields.
        let own = table.find("\n[").and_then(|end| table.get(..end)).unwrap_or(table);
        match own.parse::<toml::Table>() {
            Ok(table) => take(&table, components),
            Err(_) => components.lacks("a package that is not understood"),
        }
    }
}

/// Whether it is a good lock file of a project that uses nothing.
fn has_no_packages(text: &str) -> bool {
    let table =
        Some(text).filter(|text| text.len() <= TABLE_MOST).and_then(|text| text.parse::<toml::Table>().ok());
    table
        .is_some_and(|table| table.get("package").is_none_or(|all| all.as_array().is_some_and(Vec::is_empty)))
}

fn word<'a>(table: &'a toml::Table, key: &str) -> &'a str {
    table.get(key).and_then(toml::Value::as_str).unwrap_or_default()
}

fn cargo(text: &str, components: &mut Components) {
    tables(text, components, |package, components| {
        // What has no source is the workspace's own.
        if word(package, "source").is_empty() {
            return;
        }
        let checksum = word(package, "checksum");
        let hash = (checksum.len() == 64).then(|| ("SHA-256", checksum.to_owned()));
        components.add("cargo", word(package, "name"), word(package, "version"), hash);
    });
}

fn poetry(text: &str, components: &mut Components) {
    tables(text, components, |package, components| {
        components.add("pypi", &python_name(word(package, "name")), word(package, "version"), None);
    });
}

/// PEP 503.
fn python_name(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

fn requirements(text: &str, components: &mut Components) {
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or(line).split(';').next().unwrap_or(line).trim();
        // Only what is pinned says what is used.
        let Some((name, version)) = line.split_once("==") else { continue };
        let name = name.split('[').next().unwrap_or(name).trim();
        let version = version.split_whitespace().next().unwrap_or_default();
        if !name.starts_with(['#', '-']) {
            components.add("pypi", &python_name(name), version, None);
        }
    }
}

/// What is read of a package in npm's lock file.
#[derive(Deserialize)]
struct NpmPackage<'a> {
    #[serde(borrow)]
    version: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    integrity: Option<std::borrow::Cow<'a, str>>,
    link: Option<IgnoredAny>,
}

/// Takes packages as they come, so that none is held but what goes into the list.
struct NpmPackages<'a>(&'a mut Components);

impl<'de> serde::de::DeserializeSeed<'de> for NpmPackages<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for NpmPackages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packages by their folder")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((path, package)) = map.next_entry::<String, NpmPackage<'de>>()? {
            let Some((_, name)) = path.rsplit_once("node_modules/") else { continue };
            if package.link.is_some() {
                continue;
            }
            let integrity = package.integrity.as_deref().and_then(|text| text.strip_prefix("sha512-"));
            let integrity = integrity.filter(|text| text.len() <= INTEGRITY_MOST);
            let hash = integrity.and_then(|text| STANDARD.decode(text).ok());
            let hash = hash.map(|bytes| ("SHA-512", hex(&bytes)));
            self.0.add("npm", name, package.version.as_deref().unwrap_or_default(), hash);
        }
        Ok(())
    }
}

/// The whole lock file, of which only `packages` is read.
struct NpmLock<'a>(&'a mut Components);

impl<'de> Visitor<'de> for NpmLock<'_> {
    /// Whether there are packages.
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a lock file of npm")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == "packages" {
                map.next_value_seed(NpmPackages(&mut *self.0))?;
                found = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

fn npm(text: &str, components: &mut Components) {
    let read = serde_json::Deserializer::from_str(text).deserialize_map(NpmLock(&mut *components));
    if !matches!(read, Ok(true)) {
        components.lacks("is not understood: `packages` (lock file version 2 or 3) is read of it");
    }
}

fn go(text: &str, components: &mut Components) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(module), Some(version)) = (words.next(), words.next()) else { continue };
        // Those of `…/go.mod` are only looked at to choose versions.
        if version.starts_with('v') && !version.ends_with("/go.mod") {
            components.add("golang", module, version, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks(file: &str, text: &str) -> Locks {
        Locks { files: vec![(file.to_owned(), text.as_bytes().to_vec())], left_out: Vec::new() }
    }

    fn urls(file: &str, text: &str) -> Vec<String> {
        let Some(document) = document("shop", "abc", &locks(file, text)) else { return Vec::new() };
        let components = document["components"].as_array().unwrap();
        components.iter().map(|one| one["purl"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn lock_files_are_read() {
        let cargo = "version = 4\n[[package]]\nname = \"shop\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n\
                     source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"0123\"\n";
        assert_eq!(urls("Cargo.lock", cargo), ["pkg:cargo/serde@1.0.0"]);
        let npm = r#"{"lockfileVersion":3,"packages":{"":{"name":"shop"},"node_modules/@vue/x":{"version":"3.1.0","integrity":"sha512-AAEC"},
                     "node_modules/a/node_modules/b":{"version":"2.0.0"},"node_modules/here":{"link":true}}}"#;
        assert_eq!(urls("web/package-lock.json", npm), ["pkg:npm/%40vue/x@3.1.0", "pkg:npm/b@2.0.0"]);
        let poetry = "[[package]]\nname = \"Flask_Cors\"\nversion = \"4.0\"\n";
        assert_eq!(urls("poetry.lock", poetry), ["pkg:pypi/flask-cors@4.0"]);
        let pip = "# a comment\nDjango==5.0 ; python_version > '3'\nrequests[socks]==2.1 --hash=sha256:00\nloose>=1\n-r other.txt\n";
        assert_eq!(urls("requirements.txt", pip), ["pkg:pypi/django@5.0", "pkg:pypi/requests@2.1"]);
        let go = "golang.org/x/net v0.1.0 h1:aa=\ngolang.org/x/net v0.1.0/go.mod h1:bb=\n";
        assert_eq!(urls("go.sum", go), ["pkg:golang/golang.org/x/net@v0.1.0"]);
        for nonsense in ["", "{", "[[package]]\nname = 3", "\0"] {
            for file in LOCK_FILES {
                assert!(urls(file, nonsense).is_empty(), "{file} {nonsense:?}");
            }
        }
    }

    /// What a document says that it lacks.
    fn lacks(file: &str, text: &str) -> Vec<String> {
        let Some(document) = document("shop", "abc", &locks(file, text)) else { return Vec::new() };
        let reasons: Vec<String> = left_out(&document).into_iter().map(str::to_owned).collect();
        let aggregate = document["compositions"][0]["aggregate"].as_str();
        assert_eq!(aggregate, (!reasons.is_empty()).then_some("incomplete"));
        reasons
    }

    #[test]
    fn hostile_lock_files_end_soon_and_the_list_says_what_it_lacks() {
        // One name of four million bytes that are all escaped.
        let long = "/ä".repeat(1_400_000);
        let npm = format!(
            r#"{{"packages":{{"node_modules/{long}":{{"version":"1"}},"node_modules/b":{{"version":"2"}}}}}}"#
        );
        assert_eq!(urls("package-lock.json", &npm), ["pkg:npm/b@2"]);
        assert_eq!(
            lacks("web/package-lock.json", &npm),
            ["web/package-lock.json: a name of more than 512 bytes, or a version of more than 256"]
        );
        // A hash that is none is no reason to leave a component out.
        let hash = format!(
            r#"{{"packages":{{"node_modules/b":{{"version":"2","integrity":"sha512-{}"}}}}}}"#,
            "A".repeat(4_000_000)
        );
        assert_eq!(urls("package-lock.json", &hash), ["pkg:npm/b@2"]);
        let cargo = |name: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"1\"\nsource = \"x\"\n");
        assert_eq!(lacks("Cargo.lock", &cargo(&"n".repeat(500_000))).len(), 1);
        assert_eq!(
            lacks("Cargo.lock", &cargo(&"n".repeat(2_000_000))),
            ["Cargo.lock: a package of more than 1048576 bytes"]
        );
        let broken = format!("{}[[package]]\nname = \n{}", cargo("a"), cargo("b"));
        assert_eq!(urls("Cargo.lock", &broken), ["pkg:cargo/a@1", "pkg:cargo/b@1"]);
        assert_eq!(lacks("Cargo.lock", &broken), ["Cargo.lock: a package that is not understood"]);
        let lines: Vec<String> =
            (0..=COMPONENTS_MOST).map(|at| format!("example.org/m{at} v1.0.0 h1:x")).collect();
        let go = lines.join("\n");
        assert_eq!(urls("go.sum", &go).len(), COMPONENTS_MOST);
        assert_eq!(lacks("go.sum", &go), ["go.sum: there are more than 50000 components"]);
        let old = r#"{"lockfileVersion":1,"dependencies":{"a":{"version":"1"}}}"#;
        assert_eq!(lacks("package-lock.json", old).len(), 1);
        // Nothing is said of a list that is whole.
        assert!(lacks("Cargo.lock", &cargo("a")).is_empty());
        assert!(lacks("Cargo.lock", "version = 4\n").is_empty());
    }

    #[test]
    fn lock_files_are_found_up_to_a_limit() {
        let archive = |files: &[(&str, usize)]| {
            let mut builder = tar::Builder::new(Vec::new());
            for (name, size) in files {
                let mut header = tar::Header::new_gnu();
                header.set_size(*size as u64);
                header.set_mode(0o644);
                builder.append_data(&mut header, name, &vec![b'\n'; *size][..]).unwrap();
            }
            builder.into_inner().unwrap()
        };
        let most = usize::try_from(LOCKS_MOST).unwrap();
        let found =
            Locks::read(&archive(&[("a/go.sum", 5), ("page", 1 << 20), ("b/go.sum", 7)])[..]).unwrap();
        let names: Vec<(&str, usize)> =
            found.files.iter().map(|(name, content)| (name.as_str(), content.len())).collect();
        assert_eq!((names, found.left_out), (vec![("a/go.sum", 5), ("b/go.sum", 7)], vec![]));
        let found = Locks::read(&archive(&[("a/go.sum", most), ("b/go.sum", 1)])[..]).unwrap();
        assert_eq!(found.files.len(), 1);
        assert!(found.left_out[0].starts_with("b/go.sum: the lock files have more than"), "{found:?}");
        // An empty list that says why is better than none.
        let document =
            document("shop", "abc", &Locks { files: Vec::new(), left_out: found.left_out }).unwrap();
        assert_eq!(document["compositions"][0]["aggregate"], "incomplete");
        let many: Vec<String> = (0..=FILES_MOST).map(|at| format!("{at}/go.sum")).collect();
        let many: Vec<(&str, usize)> = many.iter().map(|name| (name.as_str(), 1)).collect();
        let found = Locks::read(&archive(&many)[..]).unwrap();
        assert_eq!((found.files.len(), found.left_out.len()), (FILES_MOST, 1));
    }

    #[test]
    fn this_projects_own_lock() {
        let lock = include_str!("../../../Cargo.lock");
        let urls = urls("Cargo.lock", lock);
        let registry = lock.matches("\nsource = \"registry").count();
        assert_eq!(urls.len(), registry);
        assert!(urls.iter().any(|url| url.starts_with("pkg:cargo/tokio@1.")));
    }
}
