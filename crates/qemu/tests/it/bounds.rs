//! What bounds a machine from outside: the user it runs as, its control group, a full disk.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use hafen_qemu::cgroup::{Limits, Parent};
use hafen_qemu::{Error, Launch, Status, Template, User, Vm};

use crate::support::{Machine, PATIENCE, banner, cache, host, image, is_root, output};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_has_few_rights_and_fixed_limits() {
    let (host, image) = (host().await, image());
    let machine = Machine::new(&host, &image).await;
    let template = machine.template(&host, &image).await;
    let user = is_root().then_some(User { uid: 64055, gid: 64055 });
    machine.open_up();
    let parent = Parent::detect("hafen-test");
    assert!(parent.is_ok() || !is_root(), "root can make control groups: {parent:?}");
    let launch = Launch { user, limits: parent.as_ref().ok().cloned(), ..Launch::default() };
    machine.vm.resume(&template, &machine.identity(), launch, PATIENCE).await.unwrap();
    banner(machine.ssh).await;
    let pid = machine.vm.status().await.pid().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| {
        let found = status.lines().find(|line| line.starts_with(name)).unwrap();
        found.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(line("NoNewPrivs:"), "1");
    assert_eq!(line("Seccomp:"), "2");
    if user.is_some() {
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(&line(set), 16).unwrap(), 0, "{set}");
        }
        assert_eq!(line("Uid:"), "64055");
        // It can add to its directory and replace nothing of ours there.
        let dir = fs::metadata(&machine.vm.dir).unwrap();
        assert_eq!((dir.uid(), dir.gid(), dir.mode() & 0o7777), (0, 64055, 0o1770));
        for name in ["machine.json", "born", "qemu.log", "lock"] {
            assert_eq!(fs::metadata(machine.vm.dir.join(name)).unwrap().uid(), 0, "{name}");
        }
    }
    for name in ["ram", "state", "disk.qcow2"] {
        let mode = fs::metadata(template.dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o222, 0, "{name}");
    }
    // The tools that read its disk work with its rights.
    machine.vm.snapshot_create("here").await.unwrap();
    machine.vm.kill().await.unwrap();
    machine.vm.snapshot_restore("here").await.unwrap();
    machine.vm.snapshot_delete("here").await.unwrap();

    if parent.is_ok() {
        let groups: Vec<PathBuf> =
            fs::read_to_string(machine.vm.dir.join("cgroups")).unwrap().lines().map(PathBuf::from).collect();
        assert!(!groups.is_empty());
        let value = |names: [&str; 2]| {
            let mut found = groups.iter().flat_map(|group| names.map(|name| group.join(name)));
            let text = found.find_map(|path| fs::read_to_string(path).ok()).unwrap();
            text.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let limits = Limits::of(&host, &machine.vm.spec);
        assert_eq!(value(["memory.max", "memory.limit_in_bytes"]), limits.memory / 4096 * 4096);
        assert_eq!(value(["cpu.max", "cpu.cfs_quota_us"]), 200_000);
        assert_eq!(value(["pids.max", "pids.max"]), u64::from(limits.tasks));
        machine.vm.clone().delete().await.unwrap();
        assert!(groups.iter().all(|group| !group.exists()), "the group goes with the machine");
    }
}

/// The processes of a machine in a group are the machine's; seen while it runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_in_its_group_from_the_start() {
    let Ok(parent) = Parent::detect("hafen-test") else {
        assert!(!is_root(), "root can make control groups");
        return;
    };
    let (host, image) = (host().await, image());
    let machine = Machine::with(&host, &image, Machine::boot_sector).await;
    let launch = Launch { limits: Some(parent), ..Launch::default() };
    machine.vm.cold_boot(None, launch, PATIENCE).await.unwrap();
    let pid = machine.vm.status().await.pid().unwrap().to_string();
    let groups = fs::read_to_string(machine.vm.dir.join("cgroups")).unwrap();
    for group in groups.lines() {
        let inside = fs::read_to_string(Path::new(group).join("cgroup.procs")).unwrap();
        assert!(inside.lines().any(|line| line == pid), "{group}: {inside:?}, not {pid}");
    }
}

/// The name by which this test binary is told to run in a file system of its own.
const SMALL: &str = "HAFEN_TEST_SMALL";

/// Not a test by itself: runs inside [`a_full_disk_is_told_and_loses_nothing`], in a mount
/// namespace where this directory is a small file system.
#[tokio::test(flavor = "multi_thread")]
async fn small() {
    let Some(dir) = std::env::var_os(SMALL).map(PathBuf::from) else { return };
    let (host, image) = (host().await, image());

    let ballast = dir.join("ballast");
    crate::support::run("fallocate", &["-l", "336M", ballast.to_str().unwrap()]);

    // Not even the memory of a template fits.
    let machine = Machine::new(&host, &image).await;
    let templates = dir.join("templates");
    let tried = Template::ensure(&host, &machine.vm.spec, &image.digest, &templates, None, PATIENCE).await;
    assert!(matches!(tried, Err(Error::NoSpace { .. })), "{tried:?}");
    let left: Vec<_> = fs::read_dir(&templates).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.extension().is_some_and(|e| e == "lock")), "{left:?}");

    // A machine whose disk cannot grow halts, says so, and goes on once there is room.
    let template = machine.template(&host, &image).await;
    let vm = Vm::create(&host, &dir.join("machine"), &machine.vm.spec).await.unwrap();
    vm.resume(&template, &machine.identity(), Launch::default(), PATIENCE).await.unwrap();
    banner(machine.ssh).await;
    let before = vm.facts(PATIENCE).await.unwrap();
    let writer = std::thread::spawn({
        let mut ssh = machine.ssh_command("head -c 100M /dev/urandom > big; sync; echo done");
        move || output(&mut ssh)
    });
    let deadline = Instant::now() + PATIENCE;
    loop {
        match vm.status().await {
            Status::Halted { state, .. } if state == "io-error" => break,
            other => assert!(Instant::now() < deadline, "it does not halt on a full disk: {other:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    fs::remove_file(ballast).unwrap();
    vm.unpause().await.unwrap();
    assert!(writer.join().unwrap().contains("done"));
    assert_eq!(vm.facts(PATIENCE).await.unwrap().boot_id, before.boot_id);
    vm.delete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_loses_nothing() {
    // Made here: the template must not be built inside.
    let (host, image) = (host().await, image());
    Machine::new(&host, &image).await.template(&host, &image).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=400M small {path} && exec {} bounds::small --exact --nocapture",
        program.display()
    );
    let mut command = Command::new("unshare");
    // An ordinary user needs a user namespace to mount.
    command.args(if is_root() { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
    command.args(["sh", "-c", &script]).env(SMALL, path).env("HAFEN_CACHE", cache());
    output(&mut command);
}
