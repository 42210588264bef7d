//! Builds that cannot be, are given up, or find the disk full.

use std::path::Path;
use std::process::Command;

use hafen_images::{Error, Recipe, Store};
use tokio::sync::Notify;

use crate::support::{
    Process, copy_packages, folder, names, packages, processes_in, program, quiet, recipe, store, until,
};

fn left(store: &Store) -> Vec<String> {
    let mut left = names(&store.root().join("work"));
    left.extend(names(&store.root().join("images")));
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said() {
    let dir = folder();
    let store = store(dir.path());
    let fails = async |change: &dyn Fn(&mut Recipe), lock: Option<&str>| {
        let mut recipe = recipe();
        change(&mut recipe);
        let error = store.build(&recipe, lock, quiet).await.unwrap_err();
        assert_eq!(left(&store), [""; 0]);
        error
    };
    let error = fails(&|r| r.packages.push("no-such-package".into()), None).await;
    assert!(matches!(&error, Error::Unsolvable(text) if text.contains("no-such-package")), "{error:?}");
    let error = fails(&|r| r.packages.push("mail-transport-agent".into()), None).await;
    assert!(matches!(&error, Error::Unsolvable(text) if text.contains("mail-transport-agent")), "{error:?}");
    let error = fails(&|r| r.release = "potato".into(), None).await;
    assert!(matches!(&error, Error::Invalid(text) if text.contains("potato")), "{error:?}");
    let error = fails(&|_| (), Some("{}")).await;
    assert!(matches!(&error, Error::Invalid(text) if text.contains("lock")), "{error:?}");
}

/// Bytes of packages are made up: a package that is not what its lock says never gets as far as being installed.
fn lock(size: u64, path: &str) -> String {
    let names = ["linux-image-cloud-amd64", "openssh-server", "systemd-sysv", "udev"];
    let package = |name: &&str| {
        format!(
            r#"{{"name":"{name}","version":"1","architecture":"amd64","archive":"main","path":"{path}","size":{size},"sha256":"{}"}}"#,
            "0".repeat(64)
        )
    };
    let packages = names.iter().map(package).collect::<Vec<_>>().join(",\n");
    let requested = names.map(|name| format!("{name:?}")).join(",");
    format!(
        r#"{{"about":"","format":1,"distribution":"debian","release":"trixie","architecture":"amd64","epoch":1,"date":"","requested":[{requested}],"packages":[{packages}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_the_mirror_lost_are_named() {
    let dir = folder();
    let store = store(dir.path());
    let error =
        store.build(&recipe(), Some(&lock(10, "pool/main/gone_1_amd64.deb")), quiet).await.unwrap_err();
    let Error::Gone { packages, cache } = &error else { panic!("{error:?}") };
    assert_eq!((packages.len(), packages[0].as_str()), (4, "linux-image-cloud-amd64 1"));
    assert_eq!(cache, &store.root().join("packages"));
    assert!(error.to_string().contains("snapshot"), "{error}");
    // The lock of another recipe.
    let mut other = recipe();
    other.packages.push("nginx-light".into());
    let error = store.build(&other, Some(&lock(10, "pool/x.deb")), quiet).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(text) if text.contains("it lacks nginx-light")), "{error:?}");
    for bad in ["../../etc/passwd", "/etc/passwd", "a b", "a\\\"b", ""] {
        let error = store.build(&recipe(), Some(&lock(10, bad)), quiet).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid(text) if text.contains("lock")), "{bad}: {error:?}");
    }
    assert_eq!(left(&store), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_without_an_answer_and_mirrors_in_folders_are_told_apart() {
    let dir = folder();
    let store = store(dir.path());
    std::fs::write(dir.path().join("recipe.json"), serde_json::to_string(&recipe()).unwrap()).unwrap();
    std::fs::write(dir.path().join("lock.json"), lock(10, "pool/x.deb")).unwrap();
    let build = async |mirror: &str, lock: &[&str]| {
        let mut command = Command::new(program());
        command.args(["store", "home", "build", "recipe.json"]).args(lock).current_dir(dir.path());
        let process = Process::start(command.env("HAFEN_MIRROR", mirror));
        let (ended, _, err) = process.end().await;
        assert!(!ended);
        err.lines().last().unwrap_or_default().to_owned()
    };
    let error = build("http://127.0.0.1:9/debian", &[]).await;
    assert!(error.starts_with("Mirror("), "{error}");
    let error = build("http://127.0.0.1:9/debian", &["lock.json"]).await;
    assert!(error.starts_with("Mirror("), "{error}");
    let error = build(&format!("file://{}", dir.path().display()), &["lock.json"]).await;
    assert!(error.starts_with("Gone {"), "{error}");
    let error = build("nonsense", &[]).await;
    assert!(error.starts_with("Invalid(") && error.contains("HAFEN_MIRROR"), "{error}");
    assert_eq!(left(&store), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_given_up_leaves_nothing() {
    let dir = folder();
    let store = store(dir.path());
    copy_packages(&packages(), &store.root().join("packages"));
    let far = Notify::new();
    let recipe = recipe();
    let build = store.build(&recipe, None, |text, _| {
        if text == "installing the base system" {
            far.notify_one();
        }
    });
    tokio::select! {
        ended = build => panic!("it ended before it was given up: {ended:?}"),
        () = far.notified() => {}
    }
    let work = store.root().join("work");
    until("the end of the build's processes", || processes_in(&work).is_empty()).await;
    until("an empty workshop", || names(&work).is_empty()).await;
    assert_eq!(left(&store), [""; 0]);
}

/// A file system of its own, gone with the test.
struct Small(tempfile::TempDir);

impl Small {
    fn new(mebibytes: u32) -> Self {
        let dir = folder();
        let size = format!("size={mebibytes}m,mode=755");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status();
        assert!(mounted.unwrap().success());
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing() {
    let small = Small::new(1500);
    let store = store(small.path());
    copy_packages(&packages(), &store.root().join("packages"));
    let (before, hash) = crate::cloud::disk(small.path(), "before", 1 << 20);
    let before = store.import(before.to_str().unwrap(), &hash, quiet).await.unwrap();

    // Full in the middle of a build.
    let fill = small.path().join("fill");
    let recipe = recipe();
    let error = store.build(&recipe, None, |text, _| {
        if text == "installing the base system" {
            // Until nothing more goes in.
            let mut file = std::fs::File::create(&fill).unwrap();
            let full = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        }
    });
    let error = error.await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    assert!(error.is_transient());
    assert_eq!(names(&store.root().join("work")), [""; 0]);

    // Nearly full before it begins: refused with the figures, before any work.
    let size = std::fs::metadata(&fill).unwrap().len();
    let full = std::fs::File::options().write(true).open(&fill).unwrap();
    let free = rustix::fs::statvfs(small.path()).unwrap();
    full.set_len(size + free.f_bavail * free.f_frsize - (200 << 20)).unwrap();
    rustix::fs::fallocate(&full, rustix::fs::FallocateFlags::empty(), 0, full.metadata().unwrap().len())
        .unwrap();
    let error = store.build(&recipe, None, quiet).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { needed, free, .. } if needed > free && free > 0), "{error:?}");

    // Full while a cloud image is copied.
    let elsewhere = folder();
    let (path, hash) = crate::cloud::disk(elsewhere.path(), "large", 400 << 20);
    let error = store.import(path.to_str().unwrap(), &hash, quiet).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");

    assert_eq!(names(&store.root().join("work")), [""; 0]);
    assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&before));
    store.verify(&before.digest, quiet).await.unwrap();
    drop(full);
    std::fs::remove_file(&fill).unwrap();
    store.import(path.to_str().unwrap(), &hash, quiet).await.unwrap();
}
