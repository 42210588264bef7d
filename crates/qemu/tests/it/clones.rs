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

    let (mine, others) = (own(&one), own(&two));
    assert_eq!(mine.len(), OWN.len());
    for ((command, mine), others) in OWN.iter().zip(&mine).zip(&others) {
        assert!(!mine.is_empty(), "{command} prints nothing");
        assert_ne!(mine, others, "{command} is shared by two clones");
    }
    assert_eq!(mine[MAC], one.vm.spec.mac);
    assert_eq!(mine[FQDN], format!("{}.test.internal", one.vm.spec.name));
    assert_eq!(mine[JOURNALS], one.vm.spec.machine_id, "a journal under a foreign id");

    // The kernel's first TCP sequence numbers are a keyed hash of the addresses plus the time in
    // units of 64 ns. With one key for both machines, the same connection would differ by time
    // alone.
    let numbers = |machine: &Machine| -> Vec<i128> {
        let text = machine.ssh(&format!("sudo perl -e '{FIRST_SEQUENCE}'"));
        text.split_whitespace().map(|word| word.parse().unwrap()).collect()
    };
    let (first, second) = (numbers(&one), numbers(&two));
    let by_time_alone = first.chunks(2).zip(second.chunks(2)).all(|(a, b)| {
        let (sequence, time) = (b[0] - a[0], b[1] - a[1]);
        let off = (sequence - time / 64).rem_euclid(1 << 32);
        // 50 ms between looking at the clock and connecting
        off.min((1 << 32) - off) < 50_000_000 / 64
    });
    assert!(!by_time_alone, "{first:?} {second:?}");

    // The kernel was told by the hypervisor, too, that it is a copy.
    assert!(one.ssh("sudo dmesg").contains("crng reseeded due to virtual machine fork"));
}

/// Each of these commands prints something that no two machines may share.
const OWN: [&str; 10] = [
    "cat /sys/class/net/eth0/address",
    "hostname -f",
    // Waits for the first entry: the journal begins anew once the machine is itself.
    "timeout 60 sh -c 'until sudo journalctl -q -n1 -o export | grep ^_MACHINE_ID=; do sleep 0.2; done' >&2
     find /var/log/journal /run/log/journal -mindepth 1 -maxdepth 1 -type d -printf '%f\\n' | sort -u",
    "cat /etc/machine-id",
    "cat /proc/sys/kernel/random/boot_id",
    "hostname",
    "head -c 32 /dev/urandom | base64",
    "cat /proc/sys/kernel/random/uuid",
    "cat /etc/ssh/ssh_host_ed25519_key.pub",
    "sudo sha256sum /var/lib/systemd/random-seed",
];
const MAC: usize = 0;
const FQDN: usize = 1;
const JOURNALS: usize = 2;

/// What the commands print in this machine.
fn own(machine: &Machine) -> Vec<String> {
    let text = machine.ssh(&OWN.join("\necho ---\n"));
    text.split("---\n").map(|part| part.trim().to_owned()).collect()
}

/// Connects twice over loopback between fixed ports, with a raw socket that sees the packets.
/// Prints the sequence number of each first packet and the time before it in nanoseconds.
const FIRST_SEQUENCE: &str = r#"use Socket;
socket(my $raw, 17, SOCK_RAW, unpack("S", pack("n", 3))) or die;
for my $port (4001, 4002) {
    socket(my $server, AF_INET, SOCK_STREAM, 0) or die;
    bind($server, sockaddr_in($port + 10, INADDR_LOOPBACK)) or die;
    listen($server, 1) or die;
    socket(my $client, AF_INET, SOCK_STREAM, 0) or die;
    bind($client, sockaddr_in($port, INADDR_LOOPBACK)) or die;
    my $time = pack("q q", 0, 0);
    syscall(228, 0, $time);
    connect($client, sockaddr_in($port + 10, INADDR_LOOPBACK)) or die;
    while (defined recv($raw, my $frame, 2000, 0)) {
        next unless length $frame > 54 && unpack("x12 n", $frame) == 0x800;
        next unless unpack("x23 C", $frame) == 6 && unpack("x34 n", $frame) == $port;
        my ($seconds, $nanos) = unpack("q q", $time);
        print unpack("x38 N", $frame), " ", $seconds * 1_000_000_000 + $nanos, "\n";
        last;
    }
}"#;
