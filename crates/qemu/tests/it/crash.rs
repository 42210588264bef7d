//! The control plane dies while a machine runs, and while one starts; two work on one machine;
//! a QEMU that answers nothing.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hafen_qemu::{Error, Launch, Status, Template, Vm};

use crate::support::{Machine, PATIENCE, banner, cache, host, identity_beside, image, run};

/// The name by which this test binary is told to start a machine and wait to be killed.
const STARTER: &str = "HAFEN_TEST_STARTER";

/// Not a test by itself: the control plane that is killed. Does nothing when run with the others.
#[tokio::test(flavor = "multi_thread")]
async fn starter() {
    let Some(dir) = std::env::var_os(STARTER) else { return };
    let host = host().await;
    let vm = Vm::open(&host, dir.as_ref()).unwrap().unwrap();
    let key = Template::key_for(&host, &vm.spec, &image().digest);
    let template = Template::open(&cache().join("qemu/templates"), &key).unwrap().unwrap();
    vm.resume(&template, &identity_beside(&vm), Launch::default(), PATIENCE).await.unwrap();
    std::fs::write(vm.dir.join("started"), "").unwrap();
    std::future::pending::<()>().await;
}

fn start(machine: &Machine) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::starter", "--exact", "--nocapture"])
        .env(STARTER, &machine.vm.dir)
        .env("HAFEN_CACHE", cache())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Kills the control plane as soon as this file is in the machine's directory.
async fn kill_at(machine: &Machine, mut starter: Child, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !machine.vm.dir.join(name).exists() {
        assert!(Instant::now() < deadline, "the starter does not get to {name}");
        assert!(starter.try_wait().unwrap().is_none(), "the starter failed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    starter.kill().unwrap();
    starter.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_outlives_its_starter() {
    let (host, image) = (host().await, image());
    let machine = Machine::new(&host, &image).await;
    machine.template(&host, &image).await;
    kill_at(&machine, start(&machine), "started").await;

    let adopted = Vm::open(&host, &machine.vm.dir).unwrap().unwrap();
    assert!(matches!(adopted.status().await, Status::Running { .. }));
    assert!(adopted.is_born() && !adopted.is_starting());
    let facts = adopted.facts(PATIENCE).await.unwrap();
    assert!(facts.has_identity);
    banner(machine.ssh).await;
    assert_eq!(adopted.facts(PATIENCE).await.unwrap().boot_id, facts.boot_id);

    // Death is noticed by who did not start it, too; here it dies without our doing.
    let pid = adopted.status().await.pid().unwrap();
    let watch = tokio::spawn({
        let adopted = adopted.clone();
        async move { adopted.wait_exit().await }
    });
    run("kill", &["-KILL", &pid.to_string()]);
    tokio::time::timeout(Duration::from_secs(20), watch).await.unwrap().unwrap().unwrap();
    assert_eq!(adopted.status().await, Status::Stopped);
    adopted.kill().await.unwrap();
    adopted.wait_exit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_cut_off_is_told_and_begun_anew() {
    let (host, image) = (host().await, image());
    let machine = Machine::new(&host, &image).await;
    let template = machine.template(&host, &image).await;
    kill_at(&machine, start(&machine), "qemu.pid").await;
    let vm = Vm::open(&host, &machine.vm.dir).unwrap().unwrap();
    let old = vm.status().await.pid();
    assert!(old.is_some(), "QEMU outlives its starter at every moment");
    assert!(vm.is_starting() && !vm.is_born());

    // Two come to mend it at once: one starts it, the other finds it running.
    let (one, two) =
        tokio::join!(machine.try_resume(&template, PATIENCE), machine.try_resume(&template, PATIENCE));
    let refused = match (one, two) {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
        both => panic!("{both:?}"),
    };
    assert!(matches!(refused, Error::Conflict(_)), "{refused}");
    assert!(vm.is_born() && !vm.is_starting());
    assert_ne!(vm.status().await.pid(), old);
    assert!(vm.facts(PATIENCE).await.unwrap().has_identity);

    // A QEMU that answers nothing holds nobody up, and can be ended.
    let pid = vm.status().await.pid().unwrap();
    run("kill", &["-STOP", &pid.to_string()]);
    assert_eq!(vm.status().await, Status::Silent { pid });
    let asked = vm.facts(Duration::from_millis(200)).await;
    assert!(matches!(asked, Err(Error::Timeout { .. })), "{asked:?}");
    vm.kill().await.unwrap();
    assert_eq!(vm.status().await, Status::Stopped);

    // Its process id now belongs to somebody else: not to be taken for the machine.
    std::fs::write(vm.dir.join("qemu.pid"), std::process::id().to_string()).unwrap();
    assert_eq!(vm.status().await, Status::Stopped);
    vm.kill().await.unwrap();
}
