//! Foreign images: disks with a boot loader of their own, under BIOS and UEFI, with a cloud-init
//! seed as second disk. Nothing foreign can be fetched here, so the disks are made by hand; what
//! is checked is that the firmware boots them and that they find the seed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use hafen_qemu::{Boot, Error, Format, Launch, Spec, Status, Vm};

use crate::support::{Machine, PATIENCE, host, image};

const USER_DATA: &str = "#cloud-config\n# seed-was-read\n";

fn seed(path: &Path) {
    let seed = hafen_qemu::Seed { meta: "instance-id: m-1\n", user: USER_DATA, ..Default::default() };
    hafen_qemu::write_seed(path, seed).unwrap();
}

async fn wait_for(vm: &Vm, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !vm.serial_tail(1000).unwrap().iter().any(|line| line.contains(text)) {
        assert!(Instant::now() < deadline, "{text:?} is not on the console");
        assert_ne!(vm.status().await, Status::Stopped);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bios_boots_a_disk_that_finds_its_seed() {
    let (host, image) = (host().await, image());
    let machine = Machine::with(&host, &image, |spec, dir| {
        Machine::boot_sector(spec, dir);
        spec.seed = Some(dir.join("seed.img"));
        seed(spec.seed.as_ref().unwrap());
    })
    .await;
    let facts = machine.vm.cold_boot(None, Launch::default(), PATIENCE).await.unwrap();
    assert!(!facts.has_identity, "nobody inside was asked");
    wait_for(&machine.vm, "booted:CIDATA").await;
    assert!(machine.vm.is_born());
    assert!(matches!(machine.vm.status().await, Status::Running { .. }));

    // No agent: questions end in time, and the power button that nobody hears ends in a kill.
    let asked = machine.vm.facts(Duration::from_millis(300)).await;
    assert!(matches!(asked, Err(Error::Timeout { .. })), "{asked:?}");
    assert!(!machine.vm.shutdown(Duration::from_millis(500)).await.unwrap());
    assert_eq!(machine.vm.status().await, Status::Stopped);
}

/// A disk with an EFI system partition whose script reads the seed and then boots the image's
/// Linux kernel as an EFI program.
#[tokio::test(flavor = "multi_thread")]
async fn uefi_boots_a_disk_that_finds_its_seed() {
    let (host, image) = (host().await, image());
    let kernel = fs::read(image.dir.join("kernel")).unwrap();
    let machine = Machine::with(&host, &image, |spec, dir| {
        spec.image = dir.join("esp.raw");
        spec.image_format = Format::Raw;
        spec.boot = Boot::Firmware { uefi: true };
        spec.disk = 64 << 20;
        spec.seed = Some(dir.join("seed.img"));
        seed(spec.seed.as_ref().unwrap());
        esp(&spec.image, &kernel);
    })
    .await;
    machine.vm.cold_boot(None, Launch::default(), PATIENCE).await.unwrap();
    wait_for(&machine.vm, "booted-by-uefi").await;
    wait_for(&machine.vm, "seed-was-read").await;
    wait_for(&machine.vm, "Linux version").await;

    let without = hafen_qemu::Host { uefi_code: None, uefi_vars: None, ..host };
    let spec = Spec { uuid: crate::support::uuid(), ..machine.vm.spec.clone() };
    let vm = Vm::create(&without, &machine.vm.dir.with_file_name("other"), &spec).await.unwrap();
    let tried = vm.cold_boot(None, Launch::default(), PATIENCE).await.unwrap_err();
    assert!(tried.to_string().contains("apt-get install ovmf"), "{tried}");
}

/// A FAT volume that is the whole disk: firmware takes it as an EFI system partition.
fn esp(path: &Path, kernel: &[u8]) {
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(64 << 20).unwrap();
    fatfs::format_volume(&file, fatfs::FormatVolumeOptions::new().volume_label(*b"ESP        ")).unwrap();
    let volume = fatfs::FileSystem::new(&file, fatfs::FsOptions::new()).unwrap();
    let put = |name: &str, text: &[u8]| volume.root_dir().create_file(name).unwrap().write_all(text).unwrap();
    put("linux.efi", kernel);
    put(
        "startup.nsh",
        // The firmware has set up the boot disk only.
        b"echo booted-by-uefi\r\nconnect -r\r\nmap -r\r\n\
          for %d in fs0 fs1 fs2\r\n  if exist %d:\\user-data then\r\n    type %d:\\user-data\r\n  endif\r\nendfor\r\n\
          for %d in fs0 fs1 fs2\r\n  if exist %d:\\linux.efi then\r\n    %d:\\linux.efi console=ttyS0\r\n  endif\r\nendfor\r\n",
    );
}
