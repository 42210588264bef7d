//! What a source is made of, by its lock files: a CycloneDX 1.6 document. It says what the lock says and nothing else; the
//! same lock files give the same bytes, so it has no time and no serial number.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::pack::hex;

/// Lock files that are understood, by their name.
pub const LOCK_FILES: &[&str] =
    &["Cargo.lock", "package-lock.json", "poetry.lock", "requirements.txt", "go.sum"];

/// Larger lock files are left aside.
pub const LOCK_MOST: u64 = 32 << 20;

/// One component; by its package URL, which is what makes two the same.
type Components = BTreeMap<String, Value>;

/// The document of these lock files (name and content); none when nothing is known by them.
#[must_use]
pub fn document(name: &str, version: &str, locks: &[(String, Vec<u8>)]) -> Option<Value> {
    let mut components = Components::new();
    for (file, content) in locks {
        let Ok(text) = std::str::from_utf8(content) else { continue };
        match file.rsplit('/').next().unwrap_or(file) {
            "Cargo.lock" => cargo(text, &mut components),
            "package-lock.json" => npm(text, &mut components),
            "poetry.lock" => poetry(text, &mut components),
            "requirements.txt" => requirements(text, &mut components),
            "go.sum" => go(text, &mut components),
            _ => {}
        }
    }
    if components.is_empty() {
        return None;
    }
    Some(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": { "type": "application", "bom-ref": name, "name": name, "version": version } },
        "components": components.into_values().collect::<Vec<_>>(),
    }))
}

fn add(components: &mut Components, kind: &str, name: &str, version: &str, hash: Option<(&str, String)>) {
    if name.is_empty() || version.is_empty() {
        return;
    }
    let url = format!("pkg:{kind}/{}@{}", encoded(name), encoded(version));
    let mut component = json!({
        "type": "library", "bom-ref": url, "name": name, "version": version, "purl": url,
    });
    if let (Some((algorithm, content)), Some(fields)) = (hash, component.as_object_mut()) {
        fields.insert("hashes".into(), json!([{ "alg": algorithm, "content": content }]));
    }
    components.insert(url, component);
}

/// As the specification of package URLs has it: the slash divides names from their namespace.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |done, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            format!("{done}{}", char::from(byte))
        }
        _ => format!("{done}%{byte:02X}"),
    })
}

fn tables(text: &str) -> Vec<toml::Table> {
    let Ok(document) = text.parse::<toml::Table>() else { return Vec::new() };
    let packages = document.get("package").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    packages.into_iter().filter_map(|package| package.as_table().cloned()).collect()
}

fn word<'a>(table: &'a toml::Table, key: &str) -> &'a str {
    table.get(key).and_then(toml::Value::as_str).unwrap_or_default()
}

fn cargo(text: &str, components: &mut Components) {
    for package in tables(text) {
        // What has no source is the workspace's own.
        if word(&package, "source").is_empty() {
            continue;
        }
        let checksum = word(&package, "checksum");
        let hash = (checksum.len() == 64).then(|| ("SHA-256", checksum.to_owned()));
        add(components, "cargo", word(&package, "name"), word(&package, "version"), hash);
    }
}

fn poetry(text: &str, components: &mut Components) {
    for package in tables(text) {
        add(components, "pypi", &python_name(word(&package, "name")), word(&package, "version"), None);
    }
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
            add(components, "pypi", &python_name(name), version, None);
        }
    }
}

fn npm(text: &str, components: &mut Components) {
    let Ok(document) = serde_json::from_str::<Value>(text) else { return };
    let Some(packages) = document.get("packages").and_then(Value::as_object) else { return };
    for (path, package) in packages {
        let field = |name: &str| package.get(name).and_then(Value::as_str).unwrap_or_default();
        let Some((_, name)) = path.rsplit_once("node_modules/") else { continue };
        if package.get("link").is_some() {
            continue;
        }
        let hash = field("integrity").strip_prefix("sha512-").and_then(|text| STANDARD.decode(text).ok());
        let hash = hash.map(|bytes| ("SHA-512", hex(&bytes)));
        add(components, "npm", name, field("version"), hash);
    }
}

fn go(text: &str, components: &mut Components) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(module), Some(version)) = (words.next(), words.next()) else { continue };
        // Those of `…/go.mod` are only looked at to choose versions.
        if version.starts_with('v') && !version.ends_with("/go.mod") {
            add(components, "golang", module, version, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(file: &str, text: &str) -> Vec<String> {
        let locks = [(file.to_owned(), text.as_bytes().to_vec())];
        let Some(document) = document("shop", "abc", &locks) else { return Vec::new() };
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

    #[test]
    fn this_projects_own_lock() {
        let lock = include_str!("../../../Cargo.lock");
        let urls = urls("Cargo.lock", lock);
        let registry = lock.matches("\nsource = \"registry").count();
        assert_eq!(urls.len(), registry);
        assert!(urls.iter().any(|url| url.starts_with("pkg:cargo/tokio@1.")));
    }
}
