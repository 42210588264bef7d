//! A small recipe, and a store that the tests of one run share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hafen_images::{Base, BaseFile, Contents, Recipe, RecipeFile, Store};

/// Not a machine that boots to SSH, but a whole Debian with a kernel.
pub fn recipe() -> Recipe {
    let file = |content: &[u8], mode| RecipeFile { content: content.to_vec(), mode };
    let base = |path: &str, contents| BaseFile { path: path.into(), mode: 0o644, contents };
    Recipe {
        distribution: "debian".into(),
        release: "trixie".into(),
        packages: vec!["openssh-server".into()],
        files: BTreeMap::from([
            ("/etc/hello world".into(), file(b"hello\0\xff", 0o640)),
            ("/usr/local/bin/hello".into(), file(b"#!/bin/sh\necho hello\n", 0o4755)),
            ("/etc/overridden".into(), file(b"the recipe's", 0o644)),
        ]),
        base: Base {
            packages: vec!["linux-image-cloud-amd64".into(), "systemd".into(), "systemd-sysv".into()],
            files: vec![
                base("/etc/overridden", Contents::Text("the platform's".into())),
                base("/etc/systemd/system/sshd-keygen.service", Contents::Link("/dev/null".into())),
                base("/usr/lib/sysusers.d/hello.conf", Contents::Text("u hello - \"it's\" /\n".into())),
            ],
            commands: vec![
                vec!["systemd-sysusers".into()],
                vec!["sh".into(), "-c".into(), "echo \"it's\" >/etc/said".into()],
            ],
            forbidden: vec!["/etc/ssh/ssh_host_*".into(), "/var/lib/systemd/random-seed".into()],
        },
    }
}

pub fn cache() -> PathBuf {
    let root = std::env::var_os("HAFEN_CACHE").map_or_else(|| "/var/cache/hafen-test".into(), PathBuf::from);
    std::fs::create_dir_all(&root).unwrap();
    root
}

pub fn quiet(_: String, _: Option<u8>) {}

pub fn loud(text: String, percent: Option<u8>) {
    eprintln!("{percent:?} {text}");
}

pub fn store(root: &Path, home: &Path) -> Store {
    std::fs::create_dir_all(home).unwrap();
    Store::open(root, home).unwrap()
}
