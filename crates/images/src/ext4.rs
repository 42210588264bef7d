//! Makes a fresh ext4 the same every time: mke2fs copies from the folder it is filled from when each file was last
//! changed and read *there*, which no program can set.
//!
//! Offsets are those of the kernel's documentation of ext4's structures on disk. Only what our own call of mke2fs makes
//! is understood: blocks of 4096 bytes, no `meta_bg`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Error, Result};

const BLOCK: u64 = 4096;
const METADATA_CSUM: u32 = 0x400;
const CSUM_SEED: u32 = 0x2000;
const META_BG: u32 = 0x10;
const BITS_64: u32 = 0x80;
const INODE_UNINIT: u16 = 1;

/// Sets the times of access, change and creation of every inode to `epoch`; of modification where it is later. Blocks.
pub(crate) fn set_times(path: &Path, epoch: u64) -> Result<()> {
    let file =
        OpenOptions::new().read(true).write(true).open(path).map_err(|e| Error::io("open", path, e))?;
    let bad =
        |why: &str| Error::Tool { program: "mke2fs".into(), message: format!("made a disk with {why}") };
    let io = |e| Error::io("read", path, e);
    let superblock = Bytes::read(&file, 1024, 1024).map_err(io)?;
    let incompatible = superblock.u32(0x60);
    if superblock.u16(0x38) != 0xEF53 || superblock.u32(0x18) != 2 || incompatible & META_BG != 0 {
        return Err(bad("an unknown layout"));
    }
    let checksums = superblock.u32(0x64) & METADATA_CSUM != 0;
    let seed = if incompatible & CSUM_SEED != 0 {
        superblock.u32(0x270)
    } else {
        crc32c(!0, superblock.0.get(0x68..0x78).unwrap_or_default())
    };
    let inode_size = usize::from(superblock.u16(0x58));
    let per_group = superblock.u32(0x28);
    let inodes = superblock.u32(0);
    if !(128..=4096).contains(&inode_size) || per_group == 0 || per_group > 1 << 16 {
        return Err(bad("unknown inodes"));
    }
    let wide = incompatible & BITS_64 != 0;
    let descriptor_size = if wide { usize::from(superblock.u16(0xFE)).max(64) } else { 32 };
    for group in 0..inodes.div_ceil(per_group) {
        let at = BLOCK + u64::from(group) * descriptor_size as u64;
        let descriptor = Bytes::read(&file, at, descriptor_size).map_err(io)?;
        if descriptor.u16(0x12) & INODE_UNINIT != 0 {
            continue;
        }
        let high = if wide { descriptor.u32(0x28) } else { 0 };
        let table = (u64::from(high) << 32 | u64::from(descriptor.u32(8))) * BLOCK;
        let mut inodes = Bytes::read(&file, table, per_group as usize * inode_size).map_err(io)?;
        for (number, inode) in (group * per_group + 1..).zip(inodes.0.chunks_exact_mut(inode_size)) {
            let mut inode = Inode(inode);
            if inode.set_times(epoch) && checksums {
                inode.set_checksum(seed, number);
            }
        }
        file.write_all_at(&inodes.0, table).map_err(|e| Error::io("write", path, e))?;
    }
    file.sync_all().map_err(|e| Error::io("sync", path, e))
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn read(file: &File, at: u64, size: usize) -> std::io::Result<Self> {
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, at)?;
        Ok(Self(bytes))
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(array(&self.0, at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(array(&self.0, at))
    }
}

/// Zeroes where there is nothing.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

struct Inode<'a>(&'a mut [u8]);

impl Inode<'_> {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(array(self.0, at))
    }

    fn extra_size(&self) -> usize {
        if self.0.len() > 128 { usize::from(u16::from_le_bytes(array(self.0, 0x80))) } else { 0 }
    }

    /// False for an inode that nothing uses.
    fn set_times(&mut self, epoch: u64) -> bool {
        // No mode: not in use. The journal and the reserve for growth have one.
        if u16::from_le_bytes(array(self.0, 0)) == 0 {
            return false;
        }
        // 32 bits with a sign, and two more in the lowest bits of the extra field; no nanoseconds.
        let low = u32::try_from(epoch & 0xFFFF_FFFF).unwrap_or(0);
        let signed = i64::from(low.cast_signed());
        let extra = u32::try_from((i64::try_from(epoch).unwrap_or(0) - signed) >> 32 & 3).unwrap_or(0);
        let wide = self.extra_size() >= 24;
        // Access, change, creation; modification only where it is later.
        let mut times = vec![(0x08, 0x8C), (0x0C, 0x84), (0x90, 0x94)];
        let modified = i64::from(self.u32(0x10).cast_signed())
            + if wide { i64::from(self.u32(0x88) & 3) << 32 } else { 0 };
        if modified > i64::try_from(epoch).unwrap_or(i64::MAX) {
            times.push((0x10, 0x88));
        }
        for (at, extra_at) in times {
            if at < 0x80 || wide {
                self.put(at, &low.to_le_bytes());
            }
            if wide {
                self.put(extra_at, &extra.to_le_bytes());
            }
        }
        if wide {
            // A nanosecond of modification is the host's, not a package's.
            let seconds = self.u32(0x88) & 3;
            self.put(0x88, &seconds.to_le_bytes());
        }
        true
    }

    fn set_checksum(&mut self, seed: u32, number: u32) {
        let wide = self.extra_size() >= 4;
        self.put(0x7C, &[0; 2]);
        if wide {
            self.put(0x82, &[0; 2]);
        }
        let generation = array::<4>(self.0, 0x64);
        let sum = crc32c(crc32c(crc32c(seed, &number.to_le_bytes()), &generation), self.0);
        let [a, b, c, d] = sum.to_le_bytes();
        self.put(0x7C, &[a, b]);
        if wide {
            self.put(0x82, &[c, d]);
        }
    }
}

/// CRC-32C (Castagnoli) without the final inversion, as ext4 chains it.
fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4, and the check value of the catalogues.
        assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
        assert_eq!(!crc32c(!0, &[0; 32]), 0x8A91_36AA);
    }
}
