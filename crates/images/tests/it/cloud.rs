//! Cloud images: taken if they are what they should be, refused if they could reach anything else.

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use hafen_images::{Error, Format, Kind};

use crate::support::{Process, folder, names, program, quiet, store};

/// A raw disk with a boot sector and data that do not compress, and its SHA-256.
pub fn disk(dir: &Path, name: &str, size: u64) -> (PathBuf, String) {
    let path = dir.join(name);
    let mut random = std::io::Read::take(std::fs::File::open("/dev/urandom").unwrap(), size);
    let mut file = std::fs::File::create(&path).unwrap();
    std::io::copy(&mut random, &mut file).unwrap();
    file.seek(std::io::SeekFrom::Start(510)).unwrap();
    file.write_all(&[0x55, 0xAA]).unwrap();
    let hash = sha256(&path);
    (path, hash)
}

fn sha256(path: &Path) -> String {
    let out = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(out.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}

fn run(program: &str, dir: &Path, words: &[&str]) {
    let out = Command::new(program).args(words).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_taken_by_their_hash() {
    let dir = folder();
    let store = store(dir.path());
    let (raw, raw_hash) = disk(dir.path(), "raw", 3 << 20);
    run("qemu-img", dir.path(), &["convert", "-O", "qcow2", "raw", "packed.qcow2"]);
    let packed = dir.path().join("packed.qcow2");
    for (path, hash) in [(&raw, raw_hash.clone()), (&packed, sha256(&packed))] {
        let image = store.import(path.to_str().unwrap(), &hash, quiet).await.unwrap();
        assert_eq!((&image.kind, image.format, image.virtual_size), (&Kind::Cloud, Format::Qcow2, 3 << 20));
        assert_eq!(image.lock, "");
        // The same bytes for the guest.
        run("qemu-img", dir.path(), &["compare", "-q", image.disk.to_str().unwrap(), raw.to_str().unwrap()]);
        store.verify(&image.digest, quiet).await.unwrap();
        // Found by its hash, wherever it was.
        let again = store.import("/nowhere", &hash, quiet).await.unwrap();
        assert_eq!(again, image);
    }
    let image = store.import("/nowhere", &raw_hash, quiet).await.unwrap();
    let mut bytes = std::fs::read(&image.disk).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&image.disk, bytes).unwrap();
    let error = store.verify(&image.digest, quiet).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert_eq!(names(&store.root().join("work")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_images_are_refused() {
    let dir = folder();
    let store = store(dir.path());
    let (raw, _) = disk(dir.path(), "raw", 1 << 20);
    let make = |words: &[&str]| run("qemu-img", dir.path(), words);
    make(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw.to_str().unwrap(), "backing"]);
    make(&["create", "-q", "-f", "qcow2", "-o", "data_file=elsewhere", "data", "1M"]);
    make(&["create", "-q", "-f", "qcow2", "luks", "1M"]);
    // As qemu-img would write it, which refuses to when the host is too busy to measure how hard the key may be.
    let mut luks = std::fs::read(dir.path().join("luks")).unwrap();
    luks[32..36].copy_from_slice(&2_u32.to_be_bytes());
    std::fs::write(dir.path().join("luks"), luks).unwrap();
    make(&["create", "-q", "-f", "qcow2", "huge", "3T"]);
    make(&["create", "-q", "-f", "vmdk", "other", "1M"]);
    std::fs::write(dir.path().join("text"), "# a script\n".repeat(1000)).unwrap();
    std::fs::write(dir.path().join("empty"), "").unwrap();
    // A header alone, cut off.
    let whole = std::fs::read(dir.path().join("huge")).unwrap();
    let mut cut = whole[..100].to_vec();
    cut[24..32].copy_from_slice(&(1_u64 << 20).to_be_bytes());
    std::fs::write(dir.path().join("cut"), cut).unwrap();
    for (name, says) in [
        ("backing", "backing file"),
        ("data", "another file"),
        ("luks", "encrypted"),
        ("huge", "2 TiB"),
        ("other", "neither"),
        ("text", "neither"),
        ("empty", "neither"),
        ("cut", "qemu-img"),
    ] {
        let path = dir.path().join(name);
        let error = store.import(path.to_str().unwrap(), &sha256(&path), quiet).await.unwrap_err();
        assert!(matches!(&error, Error::Refused(text) if text.contains(says)), "{name}: {error:?}");
    }
    let zero = "0".repeat(64);
    let error = store.import(raw.to_str().unwrap(), &zero, quiet).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(text) if text.contains("SHA-256")), "{error:?}");
    let error = store.import(dir.path().to_str().unwrap(), &zero, quiet).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(text) if text.contains("no file")), "{error:?}");
    let error = store.import("/nowhere", &zero, quiet).await.unwrap_err();
    assert!(matches!(&error, Error::Io { .. }), "{error:?}");
    for (location, hash) in
        [("http://127.0.0.1/x", zero.as_str()), ("raw", &zero), (raw.to_str().unwrap(), "abc")]
    {
        let error = store.import(location, hash, quiet).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
    assert!(store.list().await.unwrap().is_empty());
    assert_eq!(names(&store.root().join("work")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_over_https_from_servers_that_are_trusted() {
    let dir = folder();
    let store = store(dir.path());
    let (path, hash) = disk(dir.path(), "cloud.img", 1 << 20);
    run(
        "openssl",
        dir.path(),
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            "key",
            "-out",
            "certificate",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ],
    );
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("openssl");
    server.args([
        "s_server",
        "-quiet",
        "-WWW",
        "-accept",
        &format!("127.0.0.1:{port}"),
        "-key",
        "key",
        "-cert",
        "certificate",
    ]);
    let _server = Process::start(server.current_dir(dir.path()));
    crate::support::until("a server that answers", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;

    let url = format!("https://localhost:{port}/cloud.img");
    let error = store.import(&url, &hash, quiet).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(text) if text.contains("not trusted")), "{error:?}");
    let import = async |url: &str| {
        let mut command = Command::new(program());
        command.arg(store.root()).arg(dir.path().join("home")).args(["import", url, &hash]);
        let process = Process::start(command.env("CURL_CA_BUNDLE", dir.path().join("certificate")));
        process.end().await
    };
    let (ended, _, err) = import(&format!("https://localhost:{port}/absent")).await;
    assert!(!ended && err.contains("Refused"), "{err}");
    let (ended, digest, err) = import(&url).await;
    assert!(ended, "{err}");
    let image = store.get(&digest.parse().unwrap()).await.unwrap().unwrap();
    run("qemu-img", dir.path(), &["compare", "-q", image.disk.to_str().unwrap(), path.to_str().unwrap()]);
}
