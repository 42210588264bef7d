//! Looks at `dist`, which Vite made, and writes a table of its files for `embed.rs`. It runs no npm: who builds with cargo alone gets
//! a binary without a console, and is told what mends that.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let web = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let dist = web.join("dist");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=dist");
    // cargo takes what is not there for changed each time, and would compile this and the binary anew for ever. An empty folder can
    // be watched: what appears in it is noticed, and that it goes. It is an old one, because what is newer than this run counts as
    // changed by it. Where sources may not be written to, it is only slower.
    if !dist.exists() {
        let _read_only = fs::create_dir(&dist)
            .and_then(|()| fs::File::open(&dist))
            .and_then(|folder| folder.set_modified(UNIX_EPOCH));
    }
    let mut files = Vec::new();
    collect(&dist, &mut files)?;
    files.sort();
    if !files.iter().any(|file| file.ends_with("index.html")) {
        files.clear();
        println!(
            "cargo:warning=this hafen will have no console, because web/dist is empty: run `make console` (it needs Node.js 20 \
             or newer and npm), then build again"
        );
    }
    let table = table(&dist, &files)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("assets.rs"), table)?;
    Ok(())
}

/// All files below a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        // Neither `.gitkeep` nor `.vite`: nothing of that is for browsers.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn table(dist: &Path, files: &[PathBuf]) -> Result<String> {
    let beside = |file: &Path, ending: &str| {
        let name = format!("{}.{ending}", file.display());
        files.iter().find(|other| other.as_os_str() == name.as_str())
    };
    let compressed = |file: &Path| {
        let plain = file.with_extension("");
        matches!(file.extension().and_then(|ending| ending.to_str()), Some("br" | "gz"))
            && files.contains(&plain)
    };
    let bytes = |file: &Path| format!("include_bytes!({:?})", file.display().to_string());
    let maybe = |file: Option<&PathBuf>| {
        file.map_or_else(|| "None".to_owned(), |file| format!("Some({})", bytes(file)))
    };
    let mut text = String::from("/// All files of the console, by path.\npub static ASSETS: &[Asset] = &[\n");
    for file in files.iter().filter(|file| !compressed(file)) {
        let path = file.strip_prefix(dist)?.to_str().ok_or("a file of the console has no name in UTF-8")?;
        let mut digest = String::new();
        for byte in Sha256::digest(fs::read(file)?) {
            write!(digest, "{byte:02x}")?;
        }
        writeln!(
            text,
            "    Asset {{ path: {path:?}, content_type: {:?}, digest: {digest:?}, bytes: {}, brotli: {}, gzip: {} }},",
            content_type(path),
            bytes(file),
            maybe(beside(file, "br")),
            maybe(beside(file, "gz")),
        )?;
    }
    text.push_str("];\n");
    Ok(text)
}

/// Of the files that a build of Vite may have.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "ttf" => "font/ttf",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
