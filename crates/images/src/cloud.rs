//! Cloud images: fetched or copied, checked against the hash that was asked for, looked at before any program opens
//! them, and rewritten, so that nothing but the guest's own bytes gets into the store.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::digest::{is_sha256, sha256, sha256_file};
use crate::durable::{self, Workshop, blocking, make_folder};
use crate::image::{Format, Meta, MetaKind};
use crate::store::Store;
use crate::{Error, Image, Result, run};

/// Debian's have 0.4 GiB, the largest of other houses a few.
const MAX_SIZE: u64 = 32 << 30;
const MAX_VIRTUAL: u64 = 2 << 40;
const FETCH: Duration = Duration::from_secs(4 * 3600);
const CONVERT: Duration = Duration::from_secs(3600);

impl Store {
    /// Takes an image from an `https://` URL or an absolute path, if its SHA-256 is this one; raw or qcow2, not
    /// compressed as a whole. One that was taken before is found by its hash, without a look at the location.
    pub async fn import(
        &self,
        location: &str,
        sha256_wanted: &str,
        progress: impl Fn(String, Option<u8>) + Send + Sync,
    ) -> Result<Image> {
        if !is_sha256(sha256_wanted) {
            return Err(Error::Invalid(format!(
                "{sha256_wanted:?} is no SHA-256: 64 hexadecimal digits in lower case"
            )));
        }
        check_location(location)?;
        let key = sha256(format!("cloud 1 {sha256_wanted}").as_bytes());
        if let Some(image) = self.find(&key).await? {
            return Ok(image);
        }
        let mut turns = 0_u32;
        let _turn = durable::Lock::wait(&self.lock_path(&key), || {
            if turns.is_multiple_of(50) {
                progress("waiting for another process that imports the same image".into(), None);
            }
            turns += 1;
        })
        .await?;
        if let Some(image) = self.find(&key).await? {
            return Ok(image);
        }
        let work = self.work();
        let workshop = blocking(move || Workshop::new(&work)).await?;
        let place = workshop.path();
        let source = place.join("source");
        progress(format!("fetching {location}"), Some(1));
        if location.starts_with("https://") {
            fetch(location, &source, &progress).await?;
        } else {
            let (from, to) = (Path::new(location).to_path_buf(), source.clone());
            blocking(move || copy(&from, &to)).await?;
        }
        progress("checking what was fetched".into(), Some(60));
        let format = {
            let (source, wanted, location) = (source.clone(), sha256_wanted.to_owned(), location.to_owned());
            blocking(move || {
                let (found, _) = sha256_file(&source)?;
                if found != wanted {
                    // The hashes first: a list shows the beginning only.
                    return Err(Error::Refused(format!("its SHA-256 is {found}, not {wanted} ({location})")));
                }
                look(&source)
            })
            .await?
        };
        progress("rewriting the image".into(), Some(70));
        let folder = place.join("image");
        make_folder(&folder)?;
        let disk = folder.join("disk");
        let virtual_size = convert(&source, format, &disk, place).await?;
        let disk_hash = {
            let disk = disk.clone();
            blocking(move || sha256_file(&disk)).await?.0
        };
        let meta = Meta {
            kind: MetaKind::Cloud { source: sha256_wanted.to_owned() },
            format: Format::Qcow2,
            virtual_size,
            disk: disk_hash,
        };
        let path = folder.join("meta.json");
        fs::write(&path, meta.text()?).map_err(|e| Error::io("write", &path, e))?;
        progress("keeping the image".into(), Some(98));
        let image = self.keep(&folder, &meta.digest()?, &[key]).await?;
        progress("the image is ready".into(), Some(100));
        Ok(image)
    }
}

fn check_location(location: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::Invalid(format!("{location:?} is no place of a cloud image: {why}")));
    if location.len() > 2000 || location.chars().any(char::is_control) {
        return bad("it is too long, or has control characters");
    }
    if let Some(rest) = location.strip_prefix("https://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // A password would be stored, shown and logged.
        return if host.is_empty() || host.contains('@') {
            bad("it names no host, or a user")
        } else {
            Ok(())
        };
    }
    if location.starts_with('/') { Ok(()) } else { bad("it is neither an https URL nor an absolute path") }
}

async fn fetch(url: &str, to: &Path, progress: &(impl Fn(String, Option<u8>) + Sync)) -> Result<()> {
    // curl knows its own limit only where the server says the size; the kernel's holds always.
    let mut command = run::command("prlimit");
    command.arg(format!("--fsize={MAX_SIZE}")).args(["curl", "--disable", "--globoff", "--fail", "--silent"]);
    command.args([
        "--show-error",
        "--location",
        "--proto",
        "=https",
        "--proto-redir",
        "=https",
        "--max-redirs",
        "5",
    ]);
    command.args(["--connect-timeout", "30", "--speed-limit", "1024", "--speed-time", "60", "--retry", "2"]);
    command.arg("--max-filesize").arg(MAX_SIZE.to_string()).arg("--output").arg(to).arg("--").arg(url);
    let work = run::output(&mut command, to, FETCH);
    tokio::pin!(work);
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                let size = fs::metadata(to).map_or(0, |found| found.len());
                progress(format!("fetching {url}: {} MiB", size >> 20), None);
            }
        }
    };
    match ended {
        Ok(_) => Ok(()),
        // curl(1): 23 is a failed write, which it does not explain.
        Err(Error::Tool { message, .. }) if message.contains("curl: (23)") => Err(Error::full(to)),
        Err(Error::Tool { message, .. }) if message.contains("curl: (60)") => {
            Err(Error::Refused(format!("{url}: the server's certificate is not trusted; {message}")))
        }
        Err(Error::Tool { message, .. }) if message.contains("No such file") => {
            Err(Error::Missing { what: "the program curl".into(), mend: "apt-get install curl".into() })
        }
        Err(Error::Tool { message, .. }) => {
            Err(Error::Refused(format!("{url} cannot be fetched: {message}")))
        }
        Err(other) => Err(other),
    }
}

/// Blocks.
fn copy(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    // Not to wait for a writer, should it be a pipe.
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0));
    let mut source = options.open(from).map_err(|e| Error::io("open", from, e))?;
    let found = source.metadata().map_err(|e| Error::io("look at", from, e))?;
    if !found.is_file() || found.len() > MAX_SIZE {
        return Err(Error::Refused(format!(
            "{} is no file, or has more than {} GiB",
            from.display(),
            MAX_SIZE >> 30
        )));
    }
    let mut file = File::create(to).map_err(|e| Error::io("create", to, e))?;
    // Bounded, should it grow meanwhile.
    std::io::copy(&mut (&mut source).take(MAX_SIZE), &mut file).map_err(|e| Error::io("write", to, e))?;
    Ok(())
}

/// What an image is, by its own first bytes: no other program looks before this one, because a header can name other
/// files of the host. Blocks.
fn look(path: &Path) -> Result<Format> {
    let refused = |why: &str| Err(Error::Refused(why.to_owned()));
    let mut head = Vec::new();
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let size = file.metadata().map_err(|e| Error::io("look at", path, e))?.len();
    file.take(1024).read_to_end(&mut head).map_err(|e| Error::io("read", path, e))?;
    let u32_at = |at: usize| u32::from_be_bytes(array(&head, at));
    let u64_at = |at: usize| u64::from_be_bytes(array(&head, at));
    if !head.starts_with(b"QFI\xfb") {
        // A disk that a firmware can start has the mark of a boot sector, also under GPT (UEFI 2.10, 5.2.3).
        return if size > 0 && size.is_multiple_of(512) && array(&head, 510) == [0x55, 0xAA] {
            Ok(Format::Raw)
        } else {
            refused(
                "it is neither a qcow2 image nor a raw disk with a boot sector; unpack it before, if it is packed",
            )
        };
    }
    // docs/interop/qcow2.txt of QEMU.
    let version = u32_at(4);
    if !(2..=3).contains(&version) {
        return refused("its version of qcow2 is not known");
    }
    if u64_at(8) != 0 || u32_at(16) != 0 {
        return refused(
            "it has a backing file: an image must be whole; `qemu-img convert -O qcow2` makes one",
        );
    }
    if u64_at(24) > MAX_VIRTUAL {
        return refused("its disk has more than 2 TiB");
    }
    if u32_at(32) != 0 {
        return refused("it is encrypted");
    }
    let incompatible = if version == 3 { u64_at(72) } else { 0 };
    if incompatible & 4 != 0 {
        return refused("its data are in another file");
    }
    // Bits: dirty, corrupt, (external data), compression type, extended L2 entries.
    if incompatible & 2 != 0 || incompatible & !0b1_1011 != 0 {
        return refused("it is marked as corrupt, or has features that are not known");
    }
    Ok(Format::Qcow2)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    virtual_size: u64,
    #[serde(default)]
    backing_filename: Option<String>,
    #[serde(default)]
    encrypted: bool,
}

/// Rewrites an image of a known format; gives its virtual size.
async fn convert(source: &Path, format: Format, to: &Path, place: &Path) -> Result<u64> {
    let name = match format {
        Format::Raw => "raw",
        Format::Qcow2 => "qcow2",
    };
    let refused = |error| match error {
        Error::Tool { message, .. } => Error::Refused(format!("qemu-img cannot read it: {message}")),
        other => other,
    };
    let mut info = run::command("qemu-img");
    info.args(["info", "--output=json", "-f", name]).arg(source);
    let text = run::output(&mut info, place, CONVERT).await.map_err(refused)?;
    let info: Info = serde_json::from_str(&text).map_err(|e| Error::Tool {
        program: "qemu-img".into(),
        message: format!("said what cannot be read: {e}"),
    })?;
    // Once more, by the one that will use it.
    if info.backing_filename.is_some() || info.encrypted || info.virtual_size > MAX_VIRTUAL {
        return Err(Error::Refused("it has a backing file, is encrypted, or has more than 2 TiB".into()));
    }
    let mut command = run::command("qemu-img");
    command.args(["convert", "-f", name, "-O", "qcow2", "-m", "1"]).arg(source).arg(to);
    run::output(&mut command, place, CONVERT).await.map_err(refused)?;
    Ok(info.virtual_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_checked() {
        for good in ["https://cloud.example/a.qcow2", "/srv/a.qcow2"] {
            check_location(good).unwrap();
        }
        for bad in
            ["http://cloud.example/a", "file:///a", "a.qcow2", "https:///a", "https://u:p@h/a", "/a\nb", "-o"]
        {
            assert!(check_location(bad).is_err(), "{bad}");
        }
    }
}
