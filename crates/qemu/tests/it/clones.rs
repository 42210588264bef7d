//! Two clones of one template share nothing that must be a machine's own.

use crate::support::{Machine, banner, host, image};

#[tokio::test(flavor = "multi_thread")]
async fn clones_differ_in_all_that_must_be_their_own() {
    let (host, image) = (host().await, image());
    let (one, two) = (Machine::new(&host, &image).await, Machine::new(&host, &image).await);
    let template = one.template(&host, &image).await;
    let (first, second) = (one.resume(&template).await, two.resume(&template).await);
    banner(one.ssh).await;
    banner(two.ssh).await;

    assert_eq!(first.machine_id, one.vm.spec.machine_id);
    assert_eq!(second.machine_id, two.vm.spec.machine_id);
    assert_eq!(first.hostname, one.vm.spec.name);
    assert_ne!(first.boot_id, second.boot_id);

    // Each of these commands prints something that no two machines may share.
    for command in [
        "cat /etc/machine-id",
        "cat /proc/sys/kernel/random/boot_id",
        "head -c 32 /dev/urandom | base64",
        "cat /proc/sys/kernel/random/uuid",
        "cat /sys/class/net/eth0/address",
        "hostname",
        "cat /etc/ssh/ssh_host_ed25519_key.pub",
        "sudo sha256sum /var/lib/systemd/random-seed",
        "ls /var/log/journal /run/log/journal 2>/dev/null | grep -xE '[0-9a-f]{32}'",
        "sudo journalctl --quiet --lines=1 --output=export | grep ^_MACHINE_ID=",
        // Of a process that was started before the machine had its identity, and of a new one.
        "sudo dmesg | grep -i reseeded; cat /proc/sys/kernel/random/uuid",
    ] {
        eprintln!("{command}: {}", one.ssh(command));
        assert_ne!(one.ssh(command), two.ssh(command), "{command} is shared by two clones");
    }
    assert_eq!(one.ssh("cat /sys/class/net/eth0/address").trim(), one.vm.spec.mac);
    assert_eq!(one.ssh("hostname -f").trim(), format!("{}.test.internal", one.vm.spec.name));
}
