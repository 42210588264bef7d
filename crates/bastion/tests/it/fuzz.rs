//! Packets that no client would send, for a bounded time: nothing panics, nothing stays behind, and it still serves.
//! `HAFEN_FUZZ_SECONDS` (10) and `HAFEN_FUZZ_SEED` (random) say how long and which.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hafen_base::{Random as _, SystemRandom};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::python::python;
use crate::rig::{MACHINE, Rig, until};

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn nothing_that_is_sent_brings_it_down() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name().is_some_and(|name| name.starts_with("tokio")) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
    let seconds = setting("HAFEN_FUZZ_SECONDS").unwrap_or(10);
    let seed = setting("HAFEN_FUZZ_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 4];
        SystemRandom.fill(&mut bytes);
        u32::from_le_bytes(bytes).into()
    });
    eprintln!("HAFEN_FUZZ_SEED={seed}");
    // In clear: before there are keys.
    let mut random = StdRng::seed_from_u64(seed);
    let initial = key_exchange_init(&rig);
    let mut connections = 0;
    let end = Instant::now() + Duration::from_secs(seconds / 2);
    // Once, so that what is allocated once is not taken for a leak.
    while connections < 50 {
        bother(&rig, &mut random, &initial);
        connections += 1;
    }
    let resident_before = resident();
    while Instant::now() < end {
        bother(&rig, &mut random, &initial);
        connections += 1;
    }
    let told = python(&rig, "fuzz", &[&seed.to_string(), &(seconds / 2).to_string()]);
    eprintln!("{connections} connections in clear; {told}");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "HAFEN_FUZZ_SEED={seed}");
    assert_eq!(rig.good("ssh", &[MACHINE, "echo there"]), "there\n");
    until("nothing is open", || rig.gate.seen.lock().unwrap().open.is_empty().then_some(()));
    // What the test itself keeps of refusals is not much.
    let grown = resident().saturating_sub(resident_before);
    assert!(grown < 64 << 20, "{grown} bytes more, HAFEN_FUZZ_SEED={seed}");
}

fn connect(rig: &Rig) -> TcpStream {
    let stream = TcpStream::connect(rig.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream
}

/// A packet in clear (RFC 4253, section 6).
fn frame(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8 + 4;
    let length = u32::try_from(payload.len() + padding + 1).unwrap();
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// The bastion's own first packet, as a well-formed one to start from.
fn key_exchange_init(rig: &Rig) -> Vec<u8> {
    let mut stream = connect(rig);
    stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").unwrap();
    let mut heard = Vec::new();
    let _timeout = stream.read_to_end(&mut heard);
    let start = heard.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    let length = u32::from_be_bytes(heard[start..start + 4].try_into().unwrap()) as usize;
    let padding = usize::from(heard[start + 4]);
    heard[start + 5..start + 4 + length - padding].to_vec()
}

fn bother(rig: &Rig, random: &mut StdRng, initial: &[u8]) {
    let mut stream = connect(rig);
    let mut bytes = Vec::new();
    if random.random_ratio(9, 10) {
        bytes.extend_from_slice(b"SSH-2.0-OpenSSH_9.2p1\r\n");
    }
    if random.random_ratio(1, 2) {
        bytes.extend(frame(initial));
    }
    for _ in 0..random.random_range(1..6) {
        let mut payload = match random.random_range(0..4) {
            0 => initial.to_vec(),
            // A key exchange's first message: a key of the right size.
            1 => [[30].as_slice(), &32_u32.to_be_bytes(), &[9; 32]].concat(),
            2 => vec![21],
            _ => {
                let mut noise = vec![0; random.random_range(1..2000)];
                random.fill_bytes(&mut noise);
                noise
            }
        };
        for _ in 0..random.random_range(0..8) {
            let at = random.random_range(0..payload.len());
            payload[at] = random.random();
        }
        if random.random_ratio(1, 5) {
            payload.truncate(random.random_range(1..=payload.len()));
        }
        let mut packet = frame(&payload);
        if random.random_ratio(1, 5) {
            let at = random.random_range(0..5);
            packet[at] = random.random();
        }
        bytes.extend(packet);
    }
    // It may hang up at any moment.
    let _gone = stream.write_all(&bytes);
    if random.random_ratio(1, 10) {
        let mut heard = [0; 4096];
        let _answer = stream.read(&mut heard);
    }
}
