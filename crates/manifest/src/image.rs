//! `[image.NAME]`: built from packages, or a cloud image with its digest; and content, given or named.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::DeTable;

use crate::parse::ReadFile;
use crate::reader::Reader;
use crate::{File, Image};

/// Bytes of one file that a manifest names.
const MAX_SOURCE: usize = 8 << 20;
/// Bytes of all of them: one large file can be named many times.
const MAX_SOURCES: usize = 64 << 20;
/// Packages of an image, characters of a location; as the API has it.
const MAX_PACKAGES: usize = 900;
const MAX_LOCATION: usize = 2048;

/// `[image.NAME]`; `span` is its name.
pub(crate) fn image<'t>(
    reader: &mut Reader<'t>,
    table: &DeTable<'t>,
    span: Range<usize>,
    read: ReadFile<'_>,
) -> Option<Image> {
    let built = ["distribution", "release", "packages", "files"];
    let cloud = ["url", "file", "sha256", "firmware"];
    if cloud.iter().any(|key| table.contains_key(*key)) {
        reader.keys(table, "a cloud image", &cloud);
        let url = reader.string(table, "url", "\"https://…\"");
        let path = reader.string(table, "file", "\"/srv/image.qcow2\"");
        let location = match (url, path) {
            (Some((url, span)), None) => {
                if !url.starts_with("https://")
                    || url.len() > MAX_LOCATION
                    || url.chars().any(char::is_control)
                {
                    reader.error(
                        "bad_url",
                        span,
                        format!("{url:?} is not an https:// URL"),
                        "write url = \"https://…\"",
                    );
                }
                url.to_owned()
            }
            (None, Some((path, span))) => {
                if !path.starts_with('/') || path.len() > MAX_LOCATION || path.chars().any(char::is_control) {
                    let help = "write file = \"/srv/image.qcow2\": a path on the platform's host";
                    reader.error("bad_path", span, format!("{path:?} is not an absolute path"), help);
                }
                path.to_owned()
            }
            (Some((_, span)), Some(_)) => {
                reader.error(
                    "two_sources",
                    span,
                    "an image has either `url` or `file`",
                    "remove one of them",
                );
                return None;
            }
            (None, None) => {
                reader.error(
                    "missing_key",
                    span,
                    "a cloud image needs `url` or `file`",
                    "write url = \"https://…\"",
                );
                return None;
            }
        };
        let Some((sha256, at)) = reader.string(table, "sha256", "\"64 hexadecimal digits\"") else {
            if table.get("sha256").is_none() {
                let help =
                    "write sha256 = \"…\" (sha256sum of the file): an image that may change is no image";
                reader.error("missing_key", span, "a cloud image needs its `sha256`", help);
            }
            return None;
        };
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            let help = "it is 64 hexadecimal digits, as sha256sum prints them";
            reader.error("bad_digest", at, format!("{sha256:?} is not a SHA-256"), help);
        }
        let firmware = reader.one_of(table, "firmware", &["bios", "uefi"]).unwrap_or_else(|| "bios".into());
        return Some(Image::Cloud { location, sha256: sha256.to_lowercase(), firmware });
    }
    reader.keys(table, "an image", &[&built[..], &cloud[..]].concat());
    reader.one_of(table, "distribution", &["debian"]);
    for key in ["distribution", "release"] {
        if table.get(key).is_none() {
            let help = "write distribution = \"debian\" and release = \"trixie\"";
            reader.error("missing_key", span.clone(), format!("the image needs `{key}`"), help);
        }
    }
    let release = reader.one_of(table, "release", &["trixie", "bookworm"]).unwrap_or_default();
    let packages = reader.strings(table, "packages", "[\"nginx-light\"]");
    if packages.len() > MAX_PACKAGES {
        let message = format!("{} packages are named; at most {MAX_PACKAGES} are taken", packages.len());
        reader.error("too_many", span, message, "name what you need; dependencies come by themselves");
    }
    for (package, span) in &packages {
        // Debian Policy 5.6.1.
        let good = (2..=128).contains(&package.len())
            && package.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
            && package.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if !good {
            let help = "a package name has lower case letters, digits, '+', '-' and '.'";
            reader.error(
                "bad_package",
                span.clone(),
                format!("{package:?} is not the name of a Debian package"),
                help,
            );
        }
    }
    let mut files = BTreeMap::new();
    if let Some(value) = table.get("files")
        && let Some(table) = reader.table(value, "files", "{ \"/etc/motd\" = { source = \"motd\" } }")
    {
        for (key, value) in table {
            let path = key.get_ref().to_string();
            let inside = path.starts_with('/')
                && path.len() < 1024
                && !path.chars().any(char::is_control)
                && path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
            if !inside {
                let help = "write an absolute path without '.' and '..', as \"/etc/motd\"";
                reader.error("bad_path", key.span(), format!("{path:?} is not a path in the image"), help);
            }
            if let Some(inner) = reader.table(value, &path, "{ source = \"motd\" }") {
                reader.keys(inner, "a file", &["source", "content", "mode"]);
                let mode = match reader.string(inner, "mode", "\"0644\"") {
                    Some((mode, span)) if !is_mode(mode) => {
                        reader.error(
                            "bad_mode",
                            span,
                            format!("{mode:?} is not a mode"),
                            "write it octal, as \"0644\"",
                        );
                        "0644".to_owned()
                    }
                    Some((mode, _)) => mode.to_owned(),
                    None => "0644".to_owned(),
                };
                if let Some(content) = content(reader, inner, value.span(), read) {
                    files.insert(path, File { content, mode });
                }
            }
        }
    }
    let packages = packages.into_iter().map(|(package, _)| package).collect();
    Some(Image::Debian { release, packages, files })
}

/// Three or four octal digits.
fn is_mode(text: &str) -> bool {
    (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b))
}

/// `{ source = "file" }` or `{ content = "text" }`.
pub(crate) fn content<'t>(
    reader: &mut Reader<'t>,
    table: &DeTable<'t>,
    span: Range<usize>,
    read: ReadFile<'_>,
) -> Option<Vec<u8>> {
    let text = reader.string(table, "content", "\"…\"").map(|(text, _)| text.as_bytes().to_vec());
    let Some((name, at)) = reader.string(table, "source", "\"hello.conf\"") else {
        if text.is_none() {
            let help = "write source = \"FILE\" or content = \"…\"";
            reader.error("missing_key", span, "neither `source` nor `content` is given", help);
        }
        return text;
    };
    if text.is_some() {
        reader.error("two_sources", at, "either `source` or `content`, not both", "remove one of them");
        return None;
    }
    // Confined to the manifest's folder: a manifest from elsewhere must not read the reader's files.
    let confined = !name.starts_with('/')
        && !name.is_empty()
        && !name.chars().any(char::is_control)
        && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !confined {
        let help = "name a file in the manifest's folder or below it, without '.' and '..'";
        reader.error("bad_path", at, format!("{name:?} does not lie beside the manifest"), help);
        return None;
    }
    if reader.taken > MAX_SOURCES {
        // Said once, where it was exceeded.
        return None;
    }
    match read(name) {
        Ok(bytes) if bytes.len() <= MAX_SOURCE => {
            reader.taken += bytes.len();
            if reader.taken <= MAX_SOURCES {
                return Some(bytes);
            }
            let message = format!("with {name:?} the files of this manifest exceed {MAX_SOURCES} bytes");
            reader.error(
                "too_large",
                at,
                message,
                "put large files into a package or fetch them at run time",
            );
            None
        }
        Ok(bytes) => {
            let message = format!("{name:?} has {} bytes; at most {MAX_SOURCE} are taken", bytes.len());
            reader.error(
                "too_large",
                at,
                message,
                "put large files into a package or fetch them at run time",
            );
            None
        }
        Err(why) => {
            reader.error(
                "no_file",
                at,
                format!("{name:?} cannot be read: {why}"),
                "put the file beside the manifest",
            );
            None
        }
    }
}
