//! One archive from another: the same content gives the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use hafen_base::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::entries;

/// What an archive may hold at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 30, entries: 200_000 }
    }
}

/// What headers and padding may take beside the bytes of files; per entry.
pub const SPOOL_SLACK: u64 = 4096;

/// Zstandard's level: what is deployed is read more often than written, and a build waits for it.
const LEVEL: i32 = 6;
/// A name longer than this is no file's.
const NAME_MOST: usize = 1024;
/// Of all names of an archive together, as they are held in memory.
const NAMES_MOST: usize = 32 << 20;

/// A packed artefact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the compressed file, hexadecimal.
    pub digest: String,
    /// Bytes of the compressed file.
    pub size: u64,
    /// Bytes of the files in it.
    pub unpacked: u64,
    pub files: usize,
}

enum Kind {
    Folder,
    File { executable: bool, at: u64, length: u64 },
    Link(String),
}

/// Reads a tar archive and writes one of the same content, compressed: names sorted, no times, no owners, modes only as
/// executable or not. `spool` is a folder for a temporary file.
///
/// # Errors
/// Invalid when it is no archive or holds what no release may: paths or links that lead outside, devices. Too large. No space.
pub fn pack(from: impl Read, to: &mut File, spool: &Path, limits: Limits) -> Result<Packed> {
    let mut spool = tempfile::tempfile_in(spool).map_err(disk)?;
    let entries = read(from, &mut spool, limits)?;
    let mut hashing = Hashing { to, hash: Sha256::new(), size: 0 };
    let (mut unpacked, mut files) = (0, 0);
    {
        let mut encoder = zstd::Encoder::new(&mut hashing, LEVEL).map_err(disk)?;
        encoder.include_checksum(true).map_err(disk)?;
        let mut builder = Builder::new(encoder);
        for (name, kind) in &entries {
            let mut header = Header::new_gnu();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            match kind {
                Kind::Folder => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(0o755);
                    header.set_size(0);
                    builder.append_data(&mut header, format!("{name}/"), io::empty()).map_err(disk)?;
                }
                Kind::File { executable, at, length } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(if *executable { 0o755 } else { 0o644 });
                    header.set_size(*length);
                    spool.seek(SeekFrom::Start(*at)).map_err(disk)?;
                    let content = BufReader::new(Read::by_ref(&mut spool)).take(*length);
                    builder.append_data(&mut header, name, content).map_err(disk)?;
                    unpacked += length;
                    files += 1;
                }
                Kind::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    builder.append_link(&mut header, name, target).map_err(disk)?;
                }
            }
        }
        let encoder = builder.into_inner().map_err(disk)?;
        encoder.finish().map_err(disk)?;
    }
    let digest = hex(&hashing.hash.finalize());
    Ok(Packed { digest, size: hashing.size, unpacked, files })
}

fn read(from: impl Read, spool: &mut File, limits: Limits) -> Result<BTreeMap<String, Kind>> {
    let mut entries: BTreeMap<String, Kind> = BTreeMap::new();
    let (mut at, mut count) = (0_u64, 0_usize);
    // Names and headers count, too: an archive of nothing but headers ends as well.
    let slack = SPOOL_SLACK.saturating_mul(u64::try_from(limits.entries).unwrap_or(u64::MAX));
    let mut names = 0;
    entries::each(from.take(limits.bytes.saturating_add(slack)), broken, |entry| {
        let kind = entry.header().entry_type();
        count += 1;
        if count > limits.entries {
            return Err(too_large(&format!("it has more than {} files", limits.entries)));
        }
        let name = name(&entry.path_bytes())?;
        let Some(name) = name else { return Ok(()) };
        let found = match kind {
            EntryType::Directory => Kind::Folder,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let length = entry.size();
                if at.saturating_add(length) > limits.bytes {
                    return Err(too_large(&format!("its files have more than {} bytes", limits.bytes)));
                }
                let executable = entry.header().mode().map_err(broken)? & 0o100 != 0;
                let copied = io::copy(entry, spool).map_err(broken)?;
                if copied != length {
                    return Err(broken(io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
                let file = Kind::File { executable, at, length };
                at += length;
                file
            }
            // Another name of a file that came before: it becomes a file of its own.
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = self::name(&target)?.unwrap_or_default();
                match entries.get(&target) {
                    Some(Kind::File { executable, at, length }) => {
                        Kind::File { executable: *executable, at: *at, length: *length }
                    }
                    _ => return Err(refused(&name, "is a hard link to what is not in it")),
                }
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8(target.into_owned())
                    .map_err(|_| refused(&name, "links to what is not UTF-8"))?;
                if !stays_inside(&name, &target) {
                    return Err(refused(&name, &format!("links to {target:?}, which is outside of it")));
                }
                Kind::Link(target)
            }
            _ => return Err(refused(&name, "is neither a file, nor a folder, nor a symbolic link")),
        };
        names += name.len() + if let Kind::Link(target) = &found { target.len() } else { 0 };
        if names > NAMES_MOST {
            return Err(too_large(&format!("its names have more than {NAMES_MOST} bytes")));
        }
        entries.insert(name, found);
        Ok(())
    })?;
    // A file below what is no folder would be written through a link.
    for name in entries.keys() {
        let mut above = name.as_str();
        while let Some((folder, _)) = above.rsplit_once('/') {
            if matches!(entries.get(folder), Some(Kind::File { .. } | Kind::Link(_))) {
                return Err(refused(name, &format!("lies below {folder:?}, which is no folder")));
            }
            above = folder;
        }
    }
    Ok(entries)
}

/// The clean name of an entry; none for the root itself.
fn name(bytes: &[u8]) -> Result<Option<String>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| refused(&String::from_utf8_lossy(bytes), "has a name that is not UTF-8"))?;
    if text.len() > NAME_MOST || text.chars().any(char::is_control) {
        let first: String = text.chars().take(80).collect();
        return Err(refused(&first, "has a name that is too long or holds control characters"));
    }
    if text.starts_with('/') {
        return Err(refused(text, "has an absolute name"));
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(refused(text, "leads outside of it")),
            part => parts.push(part),
        }
    }
    Ok(Some(parts.join("/")).filter(|name| !name.is_empty()))
}

/// Whether a link at `name` stays below the root, by its words alone.
fn stays_inside(name: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.len() > NAME_MOST || target.contains('\0') {
        return false;
    }
    let mut depth = name.matches('/').count();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

struct Hashing<'a> {
    to: &'a mut File,
    hash: Sha256,
    size: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        self.size += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn refused(name: &str, why: &str) -> Error {
    Error::invalid(format!("{name:?} in the archive {why}"))
}

fn too_large(why: &str) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the archive is too large: {why}"))
}

fn broken(error: io::Error) -> Error {
    Error::invalid(format!("the archive cannot be read: {error}")).with_cause(error)
}

pub(crate) fn disk(error: io::Error) -> Error {
    let kind =
        if error.kind() == io::ErrorKind::StorageFull { ErrorKind::NoSpace } else { ErrorKind::Unavailable };
    Error::new(kind, format!("an artefact cannot be written: {error}")).with_cause(error)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn tar(entries: &[(&str, EntryType, &str, u64)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content, time) in entries {
            let mut header = Header::new_gnu();
            // As hostile as bytes can be: the builder's own checks are passed by.
            let bytes = name.as_bytes();
            header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
            header.set_entry_type(*kind);
            header.set_mtime(*time);
            header.set_uid(*time);
            header.set_mode(if name.ends_with("run") { 0o700 } else { 0o664 });
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                let link = content.as_bytes();
                header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, content.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn packed(tar: &[u8], limits: Limits) -> Result<(Packed, Vec<u8>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut file = File::create(&path).unwrap();
        let packed = pack(tar, &mut file, folder.path(), limits)?;
        Ok((packed, std::fs::read(&path).unwrap()))
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let one = tar(&[
            ("./", Directory, "", 7),
            ("./run", Regular, "#!/bin/sh", 7),
            ("./lib/", Directory, "", 7),
            ("./lib/b", Regular, "b", 7),
            ("./lib/a", Regular, "a", 7),
            ("./lib/again", Link, "./lib/a", 7),
            ("./link", Symlink, "lib/a", 7),
        ]);
        let other = tar(&[
            ("link", Symlink, "lib/a", 9),
            ("lib/again", Regular, "a", 9),
            ("lib/a", Regular, "a", 9),
            ("lib/b", Regular, "b", 9),
            ("run", Regular, "#!/bin/sh", 9),
            ("lib", Directory, "", 9),
        ]);
        let (first, bytes) = packed(&one, Limits::default()).unwrap();
        let (second, again) = packed(&other, Limits::default()).unwrap();
        assert_eq!((first.clone(), &bytes), (second, &again));
        assert_eq!((first.files, first.unpacked), (4, 12));
        assert_eq!(first.digest, hex(&Sha256::digest(&bytes)));
        assert_eq!(first.size, bytes.len() as u64);
        // Stock programs read it.
        let folder = tempfile::tempdir().unwrap();
        let plain = zstd::decode_all(&bytes[..]).unwrap();
        std::fs::write(folder.path().join("a.tar"), plain).unwrap();
        let listed = Command::new("tar").args(["-tvf", "a.tar"]).current_dir(folder.path()).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let names: Vec<&str> = listed.lines().map(|line| line.rsplit(":00 ").next().unwrap()).collect();
        assert_eq!(names, ["lib/", "lib/a", "lib/again", "lib/b", "link -> lib/a", "run"], "{listed}");
        assert!(listed.lines().all(|line| line.contains("0/0") && line.contains("1970-01-01")), "{listed}");
        assert!(listed.contains("-rwxr-xr-x") && listed.contains("-rw-r--r--"), "{listed}");
    }

    #[test]
    fn what_no_release_may_hold_is_refused() {
        use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
        for (entries, told) in [
            (vec![("../x", Regular, "", 0)], "outside"),
            (vec![("a/../../x", Regular, "", 0)], "outside"),
            (vec![("/etc/passwd", Regular, "", 0)], "absolute"),
            (vec![("x", Symlink, "/etc/passwd", 0)], "outside"),
            (vec![("x", Symlink, "../y", 0)], "outside"),
            (vec![("a/x", Symlink, "../../y", 0)], "outside"),
            (vec![("x", Symlink, "", 0)], "outside"),
            (vec![("x", Link, "/etc/shadow", 0)], "absolute"),
            (vec![("x", Link, "y", 0)], "hard link"),
            (vec![("x", Char, "", 0)], "neither"),
            (vec![("x", Block, "", 0)], "neither"),
            (vec![("x", Fifo, "", 0)], "neither"),
            (vec![("x\ny", Regular, "", 0)], "control"),
            (vec![("d", Symlink, "e", 0), ("d/x", Regular, "", 0)], "no folder"),
            (vec![("d", Regular, "e", 0), ("d/x/y", Directory, "", 0)], "no folder"),
        ] {
            let error = packed(&tar(&entries), Limits::default()).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
        assert!(packed(b"what is no archive at all", Limits::default()).is_err());
        let cut = tar(&[("x", Regular, "0123456789", 0)]);
        assert!(packed(&cut[..515], Limits::default()).is_err());
    }

    #[test]
    fn limits_hold() {
        let two = tar(&[("a", EntryType::Regular, "12345", 0), ("b", EntryType::Regular, "12345", 0)]);
        for (bytes, entries) in [(9, 2), (10, 1)] {
            let error = packed(&two, Limits { bytes, entries }).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        }
        assert!(packed(&two, Limits { bytes: 10, entries: 2 }).is_ok());
    }

    /// A header that announces bytes, and as many zeros; counts what is read of it.
    struct Announced<'a> {
        header: io::Cursor<Vec<u8>>,
        left: u64,
        read: &'a mut u64,
    }

    impl Read for Announced<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut count = self.header.read(buffer)?;
            if count == 0 {
                count = buffer.len().min(usize::try_from(self.left).unwrap());
                buffer[..count].fill(b'x');
                self.left -= count as u64;
            }
            *self.read += count as u64;
            Ok(count)
        }
    }

    #[test]
    fn what_describes_an_entry_is_bounded() {
        use EntryType::{GNULongLink, GNULongName, XGlobalHeader, XHeader};
        for kind in [GNULongName, GNULongLink, XHeader, XGlobalHeader] {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..1].copy_from_slice(b"x");
            header.set_entry_type(kind);
            header.set_size(256 << 20);
            header.set_cksum();
            let mut read = 0;
            let header = io::Cursor::new(header.as_bytes().to_vec());
            let folder = tempfile::tempdir().unwrap();
            let mut file = File::create(folder.path().join("out")).unwrap();
            let hostile = Announced { header, left: 256 << 20, read: &mut read };
            let error = pack(hostile, &mut file, folder.path(), Limits::default()).unwrap_err();
            assert!(
                error.to_string().contains("PAX records) has more than 131072 bytes"),
                "{kind:?}: {error}"
            );
            assert!(read < 1 << 20, "{kind:?}: {read} bytes were read");
        }
        // As long as a path may be, both of stock programs' ways to write it are read.
        let name = format!("{}/{}", "d".repeat(250), "f".repeat(250));
        for format in ["gnu", "pax"] {
            let folder = tempfile::tempdir().unwrap();
            let (parent, _) = name.split_once('/').unwrap();
            std::fs::create_dir(folder.path().join(parent)).unwrap();
            std::fs::write(folder.path().join(&name), vec![7; 300_000]).unwrap();
            std::os::unix::fs::symlink(&name, folder.path().join("link")).unwrap();
            std::fs::write(folder.path().join("z"), "last").unwrap();
            let made = Command::new("tar")
                .arg(format!("--format={format}"))
                .args(["-c", "-f", "-", "."])
                .current_dir(folder.path())
                .output()
                .unwrap();
            let (packed, _) = packed(&made.stdout, Limits::default()).unwrap();
            assert_eq!((packed.files, packed.unpacked), (2, 300_004), "{format}");
        }
    }

    #[test]
    fn names_are_bounded_together() {
        let mut builder = Builder::new(Vec::new());
        let long = "n".repeat(1000);
        for number in 0..=NAMES_MOST / 1000 {
            let mut header = Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("{long}{number}"), io::empty()).unwrap();
        }
        let error = packed(&builder.into_inner().unwrap(), Limits::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let _either = packed(&bytes, Limits { bytes: 1 << 20, entries: 10 });
        }

        #[test]
        fn links_that_stay_inside_do(name in "[ab/.]{1,8}", target in "[ab/.]{1,8}") {
            // Against the path as a file system would walk it.
            let Ok(Some(name)) = name_of(&name) else { return Ok(()) };
            let mut at: Vec<&str> = name.split('/').collect();
            at.pop();
            let mut left = target.starts_with('/');
            for part in target.split('/') {
                match part {
                    "" | "." => {}
                    ".." => left |= at.pop().is_none(),
                    part => at.push(part),
                }
            }
            prop_assert_eq!(stays_inside(&name, &target), !left);
        }
    }

    fn name_of(text: &str) -> Result<Option<String>> {
        name(text.as_bytes())
    }
}
