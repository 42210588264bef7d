//! The tar of an export (POSIX ustar), written in one way only: a reader makes each header anew and compares, so that not
//! one bit of an archive is without meaning. Any `tar` unpacks it.

/// Headers and padding come in blocks of this size.
pub const TAR_BLOCK: usize = 512;
/// Two empty blocks end an archive.
pub const TAR_END: [u8; 2 * TAR_BLOCK] = [0; 2 * TAR_BLOCK];

/// What is no archive of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a tar archive as `hafen ledger export` writes it: {0}")]
pub struct ArchiveError(pub &'static str);

/// The header of a file, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    File { path: String, size: u64 },
    End,
}

fn put(header: &mut [u8; TAR_BLOCK], at: usize, text: &[u8]) {
    header.iter_mut().skip(at).zip(text).for_each(|(to, from)| *to = *from);
}

/// The header of a plain file, readable by all, from the beginning of time: the same content is the same archive.
///
/// # Errors
/// When the path has over 100 bytes or the file over 8 GiB.
pub fn tar_header(path: &str, size: u64) -> Result<[u8; TAR_BLOCK], ArchiveError> {
    if path.is_empty() || path.len() > 100 || size >= 1 << 33 {
        return Err(ArchiveError("a path has 1 to 100 bytes, a file less than 8 GiB"));
    }
    let mut header = [0; TAR_BLOCK];
    put(&mut header, 0, path.as_bytes());
    put(&mut header, 100, b"0000644\x000000000\x000000000\x00");
    put(&mut header, 124, format!("{size:011o}\0").as_bytes());
    put(&mut header, 136, b"00000000000\x00        0");
    put(&mut header, 257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// How many zero bytes follow a file of this size.
pub fn tar_padding(size: u64) -> usize {
    let block = TAR_BLOCK as u64;
    usize::try_from((block - size % block) % block).unwrap_or(0)
}

/// Reads a header back; refuses every other than `tar_header` would write.
///
/// # Errors
/// When it is another.
pub fn tar_read_header(header: &[u8; TAR_BLOCK]) -> Result<Header, ArchiveError> {
    if header.iter().all(|byte| *byte == 0) {
        return Ok(Header::End);
    }
    let path: Vec<u8> = header.iter().take(100).copied().take_while(|byte| *byte != 0).collect();
    let path = String::from_utf8(path).map_err(|_| ArchiveError("a path is not UTF-8"))?;
    let size = header.get(124..135).and_then(|octal| std::str::from_utf8(octal).ok());
    let size = size
        .and_then(|octal| u64::from_str_radix(octal, 8).ok())
        .ok_or(ArchiveError("a size is no octal number"))?;
    if tar_header(&path, size)? == *header {
        Ok(Header::File { path, size })
    } else {
        Err(ArchiveError("a header is damaged"))
    }
}
