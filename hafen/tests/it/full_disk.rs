//! A full disk is told as such (507), loses nothing, and is over when there is room again.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::platform::{Platform, text};

/// Set in the process that has a small file system of its own.
const INSIDE: &str = "HAFEN_TEST_FULL_DISK";

#[test]
fn a_full_disk_is_a_507_and_loses_nothing() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let folder = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=24m hafen-test \"$TMPDIR\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(this)
        .args(["full_disk::a_full_disk_is_a_507_and_loses_nothing", "--exact", "--nocapture"])
        .env("TMPDIR", folder.path())
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}\n{}", text(&output.stderr));
}

fn inside() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let filler = platform.home.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    // In ever smaller pieces, until not one byte more fits.
    let mut piece = 1 << 20;
    while piece > 0 {
        if file.write_all(&vec![0; piece]).is_err() {
            piece /= 2;
        }
    }
    let create = |number: u32| {
        let name = format!("more-{number}");
        platform.run(&[
            "machine",
            "create",
            &name,
            "--image",
            "web",
            "--network",
            "backend",
            "-p",
            "hello",
            "--no-wait",
        ])
    };
    // What is still free inside of files that are there already is used up first.
    let mut made = 0;
    let refused = loop {
        let output = create(made);
        if !output.status.success() {
            break output;
        }
        made += 1;
        assert!(made < 500, "the disk does not get full");
    };
    let why = text(&refused.stderr);
    assert!(why.contains("is full"), "{why}");
    let count = |platform: &Platform| {
        platform.json(&["machine", "list", "-p", "hello"])["items"].as_array().unwrap().len()
    };
    assert_eq!(count(&platform), 1 + made as usize);
    assert_eq!(platform.json(&["machine", "show", "web-1", "-p", "hello"])["state"], "started");

    drop(file);
    std::fs::remove_file(&filler).unwrap();
    let output = create(made);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for number in 0..=made {
        platform.good(&["machine", "wait", &format!("more-{number}"), "-p", "hello"]);
    }
    assert_eq!(count(&platform), 2 + made as usize);
}
