//! A machine's life: it is rebooted, snapshotted, resized, spoken to; what fails leaves nothing.

use std::time::{Duration, Instant};

use hafen_qemu::{Error, Launch, Spec, Status, Vm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Machine, PATIENCE, banner, host, image};

#[tokio::test(flavor = "multi_thread")]
async fn a_used_machine_boots_cold_reboots_and_goes_down() {
    let (host, image) = (host().await, image());
    let machine = Machine::new(&host, &image).await;
    let template = machine.template(&host, &image).await;
    let first = machine.resume(&template).await;
    banner(machine.ssh).await;
    machine.ssh("echo kept > kept; sync");
    let again = machine.try_resume(&template, PATIENCE).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "it runs already");
    assert!(machine.vm.shutdown(PATIENCE).await.unwrap(), "the guest powers off by itself");
    let again = machine.try_resume(&template, PATIENCE).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "it has a life of its own");

    let second = machine.cold_boot().await;
    assert_ne!(first.boot_id, second.boot_id);
    assert_eq!((&first.machine_id, &first.host_key), (&second.machine_id, &second.host_key));
    banner(machine.ssh).await;
    assert_eq!(machine.ssh("cat kept").trim(), "kept");

    // A reboot that no host attends to: the disk remembers who the machine is.
    machine.vm.reboot(PATIENCE).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let third = loop {
        match machine.vm.facts(Duration::from_secs(5)).await {
            Ok(facts) if facts.boot_id != second.boot_id && facts.has_identity => break facts,
            _ => assert!(Instant::now() < deadline, "the guest does not come back"),
        }
    };
    assert_eq!(third.host_key, second.host_key);
    banner(machine.ssh).await;
    assert_eq!(machine.ssh("cat kept").trim(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_brings_the_disk_back() {
    let (host, image) = (host().await, image());
    let machine = Machine::new(&host, &image).await;
    let template = machine.template(&host, &image).await;
    machine.resume(&template).await;
    banner(machine.ssh).await;
    machine.ssh("echo before > state; sync");
    machine.vm.snapshot_create("one").await.unwrap();
    machine.vm.snapshot_create("one").await.unwrap();
    machine.ssh("echo after > state; sync");
    let restore = machine.vm.snapshot_restore("one").await;
    assert!(matches!(restore, Err(Error::Conflict(_))), "not while it runs");
    machine.vm.kill().await.unwrap();
    machine.vm.snapshot_create("two").await.unwrap();
    let names = |list: Vec<hafen_qemu::Snapshot>| list.into_iter().map(|s| s.name).collect::<Vec<_>>();
    assert_eq!(names(machine.vm.snapshot_list().await.unwrap()), ["one", "two"]);
    machine.vm.snapshot_restore("one").await.unwrap();
    assert!(machine.vm.snapshot_restore("none").await.is_err());

    // Stopped, it may also be given more.
    let spec = Spec { cpus: 2, memory: 640 << 20, disk: 5 << 30, ..machine.vm.spec.clone() };
    let vm = Vm::create(&host, &machine.vm.dir, &spec).await.unwrap();
    vm.cold_boot(Some(&machine.identity()), Launch::default(), PATIENCE).await.unwrap();
    banner(machine.ssh).await;
    assert_eq!(machine.ssh("cat state").trim(), "before");
    assert_eq!(machine.ssh("nproc").trim(), "2");
    let size: u64 = machine.ssh("df -B1 --output=size / | tail -1").trim().parse().unwrap();
    assert!(size > 4 << 30, "the file system grew with the disk: {size}");
    vm.snapshot_delete("one").await.unwrap();
    vm.snapshot_delete("one").await.unwrap();
    assert_eq!(names(vm.snapshot_list().await.unwrap()), ["two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_speaks_and_the_log_keeps_it() {
    let (host, image) = (host().await, image());
    let machine = Machine::new(&host, &image).await;
    let template = machine.template(&host, &image).await;
    machine.resume(&template).await;
    let mut console = machine.vm.console().await.unwrap();
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    let deadline = Instant::now() + PATIENCE;
    let mut asked = Instant::now();
    // The prompt may come before or after we connect; ask until the answer is there.
    while !seen.contains("sum=42") {
        assert!(Instant::now() < deadline, "no answer on the console: {seen}");
        let read = tokio::time::timeout(Duration::from_millis(500), console.read(&mut bytes)).await;
        match read {
            Ok(n) => seen.push_str(&String::from_utf8_lossy(&bytes[..n.unwrap()])),
            Err(_) if asked.elapsed() > Duration::from_secs(3) || !seen.contains("sum=") => {
                console.write_all(b"\necho sum=$((40 + 2))\n").await.unwrap();
                asked = Instant::now();
            }
            Err(_) => {}
        }
    }
    drop(console);
    logged(&machine, "sum=42").await;
    // The log is kept short while QEMU goes on writing to it.
    machine.vm.serial_trim(300).unwrap();
    assert!(std::fs::metadata(machine.vm.dir.join("serial.log")).unwrap().len() <= 300);
    let mut console = machine.vm.console().await.unwrap();
    console.write_all(b"\necho more=$((50 + 5))\n").await.unwrap();
    logged(&machine, "more=55").await;
}

async fn logged(machine: &Machine, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !machine.vm.serial_tail(200).unwrap().iter().any(|line| line.contains(text)) {
        assert!(Instant::now() < deadline, "{:?}", machine.vm.serial_tail(200));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_to_start_leaves_nothing_and_says_why() {
    let (host, image) = (host().await, image());
    let machine = Machine::with(&host, &image, |spec, _| {
        // Somebody else's port: QEMU itself must refuse.
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        std::mem::forget(taken);
        spec.net = hafen_qemu::Net::User { forward: vec![(address, 22)], restrict: false };
    })
    .await;
    let template = machine.template(&host, &image).await;
    let tried = machine.try_resume(&template, PATIENCE).await;
    let message = tried.unwrap_err().to_string();
    assert!(message.contains("Could not set up host forwarding"), "{message}");
    assert_eq!(machine.vm.status().await, Status::Stopped);
    assert!(!machine.vm.is_born());

    // A template whose memory does not fit its state is not resumed half-way.
    let too_soon = machine.try_resume(&template, Duration::ZERO).await;
    assert!(too_soon.is_err());
    assert_eq!(machine.vm.status().await, Status::Stopped);
    machine.vm.clone().delete().await.unwrap();
    assert!(!machine.vm.dir.exists());
    machine.vm.clone().delete().await.unwrap();
}
