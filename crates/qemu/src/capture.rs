//! Makes a template: boots a machine that is nobody, waits until it is at rest, and writes its
//! memory, devices and disk.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, SeekFrom as Seeking};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::time::{Instant, timeout_at};

use crate::args::{self, DISK, Start};
use crate::durable::blocking;
use crate::launch::{self, Inherit};
use crate::process::Process;
use crate::qmp::SocketDir;
use crate::start::share_dir;
use crate::template::{RAM, STATE};
use crate::vm::Vm;
use crate::{Error, Host, Launch, Result, Spec, User, disk, durable};

const MIGRATION_SOCKET: &str = "migrate.sock";
/// Device state is about half a mebibyte; a stream beyond this is not one of ours.
const MAX_STATE: u64 = 256 << 20;

/// A file of a template, by which damage to it is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub name: String,
    pub size: u64,
    pub sum: u64,
}

/// Removes the ruins of a build, its process first. Only under the build's lock.
pub(crate) async fn clear(build: &Path, uuid: &str) -> Result<()> {
    if let Some(process) = Process::find(uuid, &build.join(args::PID_FILE)) {
        process.kill();
        process.ended().await?;
    }
    let build = build.to_path_buf();
    blocking(move || durable::remove_tree(&build)).await
}

/// Boots, waits until the guest is quiet, and writes `ram`, `state` and `disk.qcow2`.
pub(crate) async fn capture(
    host: &Host,
    spec: &Spec,
    dir: &Path,
    user: Option<User>,
    deadline: Instant,
) -> Result<Vec<Part>> {
    fs::create_dir(dir).map_err(|e| Error::io("create", dir, e))?;
    let memory = dir.join(RAM);
    let image = (&spec.image, spec.image_format);
    disk::overlay(&host.qemu.img, image.0, image.1, &dir.join(DISK), Some(spec.disk)).await?;
    let file = File::create(&memory).map_err(|e| Error::io("create", &memory, e))?;
    reserve(&file, spec.memory).map_err(|e| Error::io("create", &memory, e))?;
    launch::own(&[dir.join(DISK), memory.clone()], user)?;
    share_dir(dir, user)?;

    let vm = Vm::unsaved(host.clone(), dir.to_path_buf(), spec.clone());
    let launch = Launch { user, ..Launch::default() };
    let process = vm.spawn(&Start::Template { memory }, launch, Inherit::default()).await?;
    let captured = async {
        let mut agent = vm.agent(deadline, &process).await?;
        let rest = async {
            agent.wait_for_guest(deadline).await?;
            for verb in ["settle", "grow", "sync"] {
                agent.ask(verb, deadline).await?;
            }
            Ok(())
        };
        vm.or_death(&process, rest).await?;
        save(&vm, &process, deadline).await
    }
    .await;
    process.kill();
    process.ended().await?;
    captured.map_err(|error| vm.explain(error))?;
    let dir = dir.to_path_buf();
    blocking(move || seal(&dir)).await
}

/// Stops the guest, writes its device state and lets QEMU flush and close the disk.
async fn save(vm: &Vm, process: &Process, deadline: Instant) -> Result<()> {
    let sockets = SocketDir::open(&vm.dir)?;
    let socket = vm.dir.join(MIGRATION_SOCKET);
    let listener =
        UnixListener::bind(sockets.path(MIGRATION_SOCKET)).map_err(|e| Error::io("listen on", &socket, e))?;
    // QEMU may run as another user; the directory is closed to all others.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))
        .map_err(|e| Error::io("open up", &socket, e))?;
    let mut qmp = vm.qmp(deadline, process).await?;
    let capability = json!([{"capability": "x-ignore-shared", "state": true}]);
    qmp.run("migrate-set-capabilities", json!({"capabilities": capability})).await?;
    qmp.run("stop", json!({})).await?;
    qmp.run("migrate", json!({"uri": format!("unix:{MIGRATION_SOCKET}")})).await?;
    let accepted = timeout_at(deadline, listener.accept()).await;
    let (stream, _) = accepted
        .map_err(|_| Error::timeout("QEMU's device state", Duration::ZERO))?
        .map_err(|e| Error::io("accept on", &socket, e))?;
    let mut state = Vec::new();
    timeout_at(deadline, stream.take(MAX_STATE).read_to_end(&mut state))
        .await
        .map_err(|_| Error::timeout("QEMU's device state", Duration::ZERO))?
        .map_err(|e| Error::io("read from", &socket, e))?;
    qmp.migrated(deadline).await?;
    durable::write(&vm.dir.join(STATE), 0o444, &state)?;
    // Ends QEMU after it has written back and closed the disk.
    let _ = qmp.run("quit", json!({})).await;
    timeout_at(deadline, process.ended()).await.map_err(|_| Error::timeout("QEMU's end", Duration::ZERO))?
}

/// Takes the room for the whole memory now: a full disk is then an error here. Later it would
/// be a signal that ends QEMU in the middle of a write to its memory.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(size),
        Err(error) => Err(error.into()),
    }
}

/// Syncs the files, takes away everybody's right to write and what only the build needed. QEMU's
/// user could put anything in this directory; only what is a plain file is taken from it.
fn seal(dir: &Path) -> Result<Vec<Part>> {
    let keep = [RAM, STATE, DISK];
    for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
        let entry = entry.map_err(|e| Error::io("list", dir, e))?;
        if keep.iter().all(|kept| entry.file_name() != *kept) {
            fs::remove_file(entry.path()).map_err(|e| Error::io("remove", entry.path(), e))?;
        }
    }
    let root = rustix::process::geteuid().is_root();
    let mut parts = Vec::new();
    for name in keep {
        let path = dir.join(name);
        let sealed = || -> io::Result<Part> {
            // The state is closed to writing already; only holes need it.
            let writes = name == RAM;
            let file = durable::open_plain_as(&path, fs::OpenOptions::new().read(true).write(writes))?;
            let sum = checksum(&file, writes)?;
            if root {
                std::os::unix::fs::fchown(&file, Some(0), Some(0))?;
            }
            file.set_permissions(fs::Permissions::from_mode(0o444))?;
            file.sync_all()?;
            Ok(Part { name: name.to_owned(), size: file.metadata()?.len(), sum })
        };
        parts.push(sealed().map_err(|e| Error::io("seal", &path, e))?);
    }
    if root {
        std::os::unix::fs::chown(dir, Some(0), Some(0)).map_err(|e| Error::io("take back", dir, e))?;
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(|e| Error::io("open up", dir, e))?;
    Ok(parts)
}

/// A sum over a file that finds damage, not forgery: each 64-bit word times an odd number of its
/// place, so that no single changed word goes unnoticed, and zeros count nothing, so that holes
/// need not be read. `dig` makes holes of blocks of zeros.
pub(crate) fn checksum(mut file: &File, dig: bool) -> io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let size = file.metadata()?.len();
    let mut block = vec![0; usize::try_from(BLOCK).unwrap_or_default()];
    let (mut sum, mut at) = (0_u64, 0);
    while at < size {
        at = match rustix::fs::seek(file, Seeking::Data(at)) {
            Ok(data) => data / BLOCK * BLOCK,
            // The rest is a hole.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        file.seek(SeekFrom::Start(at))?;
        block.fill(0);
        let length = usize::try_from((size - at).min(BLOCK)).unwrap_or_default();
        file.read_exact_at(block.get_mut(..length).unwrap_or_default(), at)?;
        let (mut any, mut place) = (0, at / 8);
        for word in block.as_chunks::<8>().0 {
            let word = u64::from_le_bytes(*word);
            any |= word;
            let odd = place.wrapping_mul(0x9e37_79b9_7f4a_7c16) | 1;
            sum = sum.wrapping_add(word.wrapping_mul(odd));
            place += 1;
        }
        if any == 0 && dig {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Saves room only.
            let _ = rustix::fs::fallocate(file, flags, at, BLOCK);
        }
        at += BLOCK;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_shows_in_the_sum_and_zeros_cost_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let file = open();
        reserve(&file, 4 << 20).unwrap();
        file.write_all_at(b"something", 3 << 20).unwrap();
        file.write_all_at(&[0; 4096], 1 << 20).unwrap();
        file.sync_all().unwrap();
        let sum = checksum(&file, false).unwrap();
        assert_eq!(checksum(&file, true).unwrap(), sum);
        assert_eq!(checksum(&open(), false).unwrap(), sum);
        file.write_all_at(b"t", (3 << 20) + 7).unwrap();
        assert_ne!(checksum(&file, false).unwrap(), sum);
        file.write_all_at(b"g", (3 << 20) + 8).unwrap();
        file.write_all_at(b"n", (3 << 20) + 7).unwrap();
        assert_eq!(checksum(&file, false).unwrap(), sum);
        file.write_all_at(b"x", 5000).unwrap();
        assert_ne!(checksum(&file, false).unwrap(), sum);
    }
}
