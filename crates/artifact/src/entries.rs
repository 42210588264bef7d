//! The entries of a tar archive that comes from outside, one by one, in bounded memory.
//!
//! The reader of archives takes whatever stands before an entry (its long name, its PAX records, the map of a sparse file)
//! whole into memory, as long as it says it is. So the bytes that it may take between two entries are counted here.

use std::cell::Cell;
use std::io::{self, Read};

use tar::{Archive, Entry, EntryType};

/// What may stand before one entry: its headers, long names, PAX records. A path has at most 4096 bytes on the systems that
/// releases run on, and an extended attribute at most 64 KiB.
pub const HEADERS_MOST: u64 = 128 << 10;

/// An archive whose bytes are counted.
pub struct Counted<'a> {
    from: &'a mut dyn Read,
    left: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!(
                "what describes an entry (its name, its PAX records) has more than {HEADERS_MOST} bytes"
            )));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.from.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.left.set(left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX)));
        Ok(count)
    }
}

/// Gives each entry to `take`, which may read it; records for the whole archive (PAX `g`) are passed over. What `take`
/// leaves unread is skipped, but for the holes of sparse files, which have no bytes: those are `take`'s to read or refuse.
///
/// # Errors
/// `broken` of what is wrong with the archive; `take`'s own.
pub fn each<E>(
    mut from: impl Read,
    broken: impl Fn(io::Error) -> E,
    mut take: impl FnMut(&mut Entry<'_, Counted<'_>>) -> Result<(), E>,
) -> Result<(), E> {
    let left = Cell::new(HEADERS_MOST);
    let mut archive = Archive::new(Counted { from: &mut from, left: &left });
    for entry in archive.entries().map_err(&broken)? {
        let mut entry = entry.map_err(&broken)?;
        let kind = entry.header().entry_type();
        // Skipped by the archive's reader itself, out of what the next entry's headers may take.
        if !matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            left.set(u64::MAX);
            take(&mut entry)?;
            if kind != EntryType::GNUSparse {
                io::copy(&mut entry, &mut io::sink()).map_err(&broken)?;
            }
        }
        left.set(HEADERS_MOST);
    }
    Ok(())
}
