//! One story, because builds take their time: two processes build at once, the image boots, an ordinary user builds the
//! same from the lock without a network, and verification finds what is wrong.

use std::io::BufRead;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hafen_images::{Error, Format, Image, Kind, Store, lock_fits};

use crate::support::{Process, copy_packages, folder, names, packages, program, quiet, recipe, store, until};

#[tokio::test(flavor = "multi_thread")]
async fn images_are_built_once_boot_and_are_the_same_everywhere() {
    let dir = folder();
    let store = store(dir.path());
    copy_packages(&packages(), &store.root().join("packages"));
    let image = two_processes(dir.path(), &store).await;
    copy_packages(&store.root().join("packages"), &packages());
    well_formed(&image);
    found_again(&store, &image).await;

    // Two at a time, there being two processors.
    tokio::join!(boots(dir.path(), &image), same_for_a_user(dir.path(), &image));
    store.verify(&image.digest, quiet).await.unwrap();
    assert_eq!(names(&store.root().join("work")), [""; 0]);
    damage_is_found(&store, &image).await;
}

async fn two_processes(dir: &Path, store: &Store) -> Image {
    let recipe_path = dir.join("recipe.json");
    std::fs::write(&recipe_path, serde_json::to_string(&recipe()).unwrap()).unwrap();
    let process = |home: &str| {
        std::fs::create_dir_all(dir.join(home)).unwrap();
        let mut command = Command::new(program());
        command.arg(store.root()).arg(dir.join(home)).arg("build").arg(&recipe_path);
        Process::start(&mut command)
    };
    let (home, other) = (process("home"), process("other"));
    let both = tokio::join!(home.end(), other.end());
    let both = [both.0, both.1];
    let words = format!("{}{}", both[0].2, both[1].2);
    assert!(both[0].0 && both[1].0, "{words}");
    assert_eq!(both[0].1, both[1].1);
    assert_eq!(words.matches("installing the packages").count(), 1, "{words}");
    assert!(words.contains("waiting for another process"), "{words}");
    let images = store.list().await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].digest.as_str(), both[0].1);
    images.into_iter().next().unwrap()
}

fn well_formed(image: &Image) {
    use std::os::unix::fs::PermissionsExt;
    let Kind::Built { kernel, initrd: Some(initrd), root } = &image.kind else { panic!("{:?}", image.kind) };
    assert_eq!((root.as_str(), image.format), ("/dev/vda", Format::Raw));
    for path in [kernel, initrd, &image.disk] {
        assert_eq!(
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o444,
            "{}",
            path.display()
        );
    }
    assert_eq!(std::fs::metadata(&image.disk).unwrap().len(), image.virtual_size);
    assert_eq!(image.virtual_size % (1 << 20), 0);
    assert!(image.size_on_disk > 100 << 20 && image.virtual_size < 1 << 30, "{image:?}");
    let checked = Command::new("e2fsck").arg("-fn").arg(&image.disk).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    let tree = std::fs::read_to_string(image.disk.with_file_name("tree")).unwrap();
    let has = |start: &str, rest: &str| {
        let found = tree.lines().find(|line| line.starts_with(&format!("{start} ")));
        let found = found.unwrap_or_else(|| panic!("{start} is missing"));
        assert!(found.contains(rest), "{found}");
    };
    has("/etc/hello\\x20world", "mode=640 user=0 group=0");
    has("/usr/local/bin/hello", "mode=4755");
    has("/etc/overridden", "size=14");
    has("/etc/issue", "size=6");
    has("/usr/lib/hello", "size=6");
    has("/lib", "target=usr/lib");
    has("/etc/said", "size=5");
    has("/etc/machine-id", "size=0");
    has("/etc/systemd/system/sshd-keygen.service", "target=/dev/null");
    for absent in
        ["/etc/ssh/ssh_host", "/boot/vmlinuz", "/dev/", "/var/lib/apt/lists/", "/var/log/dpkg.log", "/root/."]
    {
        let found = tree.lines().find(|line| {
            line.starts_with(absent)
                && !line.starts_with("/root/.bashrc")
                && !line.starts_with("/root/.profile")
                && !line.starts_with("/root/.ssh")
        });
        assert_eq!(found, None);
    }
    assert!(lock_fits(&recipe(), &image.lock).unwrap());
    let mut other = recipe();
    other.packages.push("nginx-light".into());
    assert!(!lock_fits(&other, &image.lock).unwrap());
}

/// Without a lock and with it, at once and without any work.
async fn found_again(store: &Store, image: &Image) {
    let started = Instant::now();
    let told = Mutex::new(0);
    let count = |_, _| *told.lock().unwrap() += 1;
    assert_eq!(&store.build(&recipe(), None, count).await.unwrap(), image);
    assert_eq!(&store.build(&recipe(), Some(&image.lock), count).await.unwrap(), image);
    assert_eq!(store.get(&image.digest).await.unwrap().as_ref(), Some(image));
    assert_eq!(*told.lock().unwrap(), 0);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// As the backing file of a larger disk, which its root then fills.
async fn boots(dir: &Path, image: &Image) {
    let Kind::Built { kernel, initrd: Some(initrd), root } = &image.kind else { panic!("{:?}", image.kind) };
    let disk = dir.join("machine.qcow2");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(&image.disk)
        .arg(&disk)
        .arg("1G")
        .status();
    assert!(made.unwrap().success());
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "pc,accel=tcg", "-cpu", "max", "-m", "512", "-nodefaults", "-display", "none"]);
    command.args(["-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    command.args(["-append", &format!("root={root} rw console=ttyS0 quiet systemd.show_status=no panic=-1")]);
    command.arg("-drive").arg(format!("file={},if=virtio,format=qcow2", disk.display()));
    // Not waited for until it powers off: that it speaks is enough.
    let spoke = Process::start(&mut command).says("hello: ").await;
    let words: Vec<&str> = spoke.split_once("hello: ").unwrap().1.split_whitespace().collect();
    assert_eq!(words[..3], ["/dev/vda", "/", "ext4"], "{spoke}");
    // MiB of the root: of a disk of 1024, less what the file system itself takes.
    assert!(words[7].parse::<u64>().unwrap() > 900, "{spoke}");
    assert!(words.last().unwrap().parse::<u32>().unwrap() < 1000, "{spoke}");
}

/// A user who is nobody here but for subordinate users, in a store of its own.
fn as_user(dir: &Path, subordinates: &str, words: &[&str]) -> Command {
    let etc = dir.join("etc");
    std::fs::create_dir_all(&etc).unwrap();
    let passwd =
        std::fs::read_to_string("/etc/passwd").unwrap() + "hafen-test:x:54321:54321::/nonexistent:/bin/sh\n";
    std::fs::write(etc.join("passwd"), passwd).unwrap();
    std::fs::write(etc.join("subuid"), subordinates).unwrap();
    std::fs::write(etc.join("subgid"), subordinates).unwrap();
    // The host's own files stay as they are: ours are there only for these processes.
    let script = r#"set -e
for name in passwd subuid subgid; do touch "/etc/$name"; mount --bind "etc/$name" "/etc/$name"; done
exec setpriv --reuid 54321 --regid 54321 --clear-groups "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).args(words).current_dir(dir);
    // Nobody answers there: everything must come from the lock and the cache.
    command.env("HAFEN_MIRROR", "http://127.0.0.1:9/debian").env("HOME", "/nonexistent");
    command
}

async fn same_for_a_user(dir: &Path, image: &Image) {
    let dir = &dir.join("user");
    std::fs::create_dir_all(dir.join("home")).unwrap();
    std::fs::copy(program(), dir.join("image")).unwrap();
    std::fs::write(dir.join("lock.json"), &image.lock).unwrap();
    std::fs::write(dir.join("recipe.json"), serde_json::to_string(&recipe()).unwrap()).unwrap();
    copy_packages(&packages(), &dir.join("store/packages"));
    let owned = Command::new("chown").args(["-R", "54321:54321"]).arg(dir).status().unwrap();
    assert!(owned.success());

    let words = ["./image", "store", "home", "build", "recipe.json", "lock.json"];
    let run = async |subordinates: &str| {
        let process = Process::start(&mut as_user(dir, subordinates, &words));
        process.end().await
    };
    let (ended, _, err) = run("").await;
    assert!(!ended && err.contains("Missing") && err.contains("usermod --add-subuids"), "{err}");
    let (ended, digest, err) = run("hafen-test:3000000:65536\n").await;
    assert!(ended, "{err}");
    assert_eq!(digest, image.digest.as_str());
    assert_eq!(names(&dir.join("store/work")), [""; 0]);
}

async fn damage_is_found(store: &Store, image: &Image) {
    let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = image.disk.with_file_name(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let before = bytes.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        (path, before)
    };
    for name in ["disk", "kernel"] {
        let (path, before) = change(name, &|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        let error = store.verify(&image.digest, quiet).await.unwrap_err();
        assert!(matches!(&error, Error::Corrupt { detail, .. } if detail.contains(name)), "{error}");
        std::fs::write(path, before).unwrap();
    }
    change("meta.json", &|bytes| bytes[3] ^= 1);
    assert!(matches!(store.get(&image.digest).await, Err(Error::Corrupt { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_killed_leaves_no_process_and_is_swept() {
    let dir = folder();
    let store = store(dir.path());
    let work = store.root().join("work");
    copy_packages(&packages(), &store.root().join("packages"));
    let path = dir.path().join("recipe.json");
    std::fs::write(&path, serde_json::to_string(&recipe()).unwrap()).unwrap();
    let mut command = Command::new(program());
    command.arg(store.root()).arg(dir.path().join("home")).arg("build").arg(&path);
    let mut process = Process::start(&mut command);
    let words = process.stderr();
    tokio::task::spawn_blocking(move || {
        let mut lines = std::io::BufReader::new(words).lines().map(|line| line.unwrap());
        assert!(lines.any(|line| line.contains("installing the base system")));
        process.kill();
    })
    .await
    .unwrap();
    until("the end of the build's processes", || crate::support::processes_in(&work).is_empty()).await;
    assert_ne!(names(&work), [""; 0]);
    crate::support::store(dir.path());
    assert_eq!(names(&work), [""; 0]);
    assert!(store.list().await.unwrap().is_empty());
}
