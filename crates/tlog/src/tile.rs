//! Tiles of C2SP `tlog-tiles`: 256 hashes of one level in eight, and bundles of entries.

use std::fmt;
use std::str::FromStr;

use crate::{Hash, root_of_leaves};

/// Hashes of a full tile, and entries of a full bundle.
pub const WIDTH: u64 = 256;

/// The longest entry: its length is written in two bytes.
pub const ENTRY_LIMIT: usize = 65_535;

/// What is no tile, or not the content of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    #[error("{0:?} is not the path of a tile")]
    Path(String),
    #[error("a tile of {width} has {expected} bytes, this one {bytes}")]
    Length { width: u64, expected: u64, bytes: u64 },
    #[error("the bundle of entries breaks off, or holds more than its {0} entries")]
    Bundle(u64),
    #[error("an entry has {0} bytes; {ENTRY_LIMIT} fit")]
    Entry(usize),
}

/// Which tile: `tile/<L>/<N>[.p/<W>]`, or `tile/entries/<N>[.p/<W>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Of hashes; none for a bundle of entries.
    pub level: Option<u8>,
    pub index: u64,
    /// 1 to 256.
    pub width: u64,
}

/// `1234067` as `x001/x234/067`.
fn number(index: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if index >= 1000 {
        groups(index / 1000, f)?;
    }
    write!(f, "{:03}", index % 1000)
}

fn groups(index: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if index >= 1000 {
        groups(index / 1000, f)?;
    }
    write!(f, "x{:03}/", index % 1000)
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "tile/{level}/")?,
            None => f.write_str("tile/entries/")?,
        }
        number(self.index, f)?;
        if self.width < WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for Tile {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        let tile = parse(path).ok_or_else(|| TileError::Path(path.to_owned()))?;
        // One tile has one path: leading zeroes and the like are refused.
        if tile.to_string() == path { Ok(tile) } else { Err(TileError::Path(path.to_owned())) }
    }
}

fn parse(path: &str) -> Option<Tile> {
    let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let level = match kind {
        "entries" => None,
        level => Some(level.parse::<u8>().ok().filter(|level| *level < 64)?),
    };
    let (name, width) = match rest.split_once(".p/") {
        Some((name, width)) => (name, width.parse().ok().filter(|w| (1..WIDTH).contains(w))?),
        None => (rest, WIDTH),
    };
    let mut index: u64 = 0;
    for group in name.split('/') {
        let digits: u64 = group.trim_start_matches('x').parse().ok()?;
        index = index.checked_mul(1000)?.checked_add(digits)?;
    }
    Some(Tile { level, index, width })
}

impl Tile {
    /// All tiles of the tree of `size` leaves, with bundles of entries: level by level, left to right, each once; no empty ones.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        let entries = Self::row(None, size);
        let hashes = (0..8_u8).map_while(move |level| {
            let width = size >> (8 * level);
            (width > 0).then(|| Self::row(Some(level), width))
        });
        entries.chain(hashes.flatten())
    }

    /// Tiles of one level that has `count` hashes.
    fn row(level: Option<u8>, count: u64) -> impl Iterator<Item = Self> {
        (0..count.div_ceil(WIDTH)).map(move |index| Self {
            level,
            index,
            width: (count - index * WIDTH).min(WIDTH),
        })
    }

    /// Whether the tree of `size` leaves holds all of this tile.
    pub fn is_in(&self, size: u64) -> bool {
        let count = size.checked_shr(8 * u32::from(self.level.unwrap_or(0))).unwrap_or(0);
        self.index
            .checked_mul(WIDTH)
            .and_then(|start| start.checked_add(self.width))
            .is_some_and(|end| end <= count)
    }

    /// The tile that holds node `index` of `level`, as wide as it is in a tree of `size` leaves, and the hashes of it that
    /// the node covers.
    pub fn of_node(level: u8, index: u64, size: u64) -> (Self, std::ops::Range<usize>) {
        let (tile_level, above) = (level / 8, level % 8);
        let first = index << above;
        let tile = first / WIDTH;
        let count = size >> (8 * u32::from(tile_level));
        let width = count.saturating_sub(tile * WIDTH).min(WIDTH);
        let start = usize::try_from(first % WIDTH).unwrap_or(0);
        (Self { level: Some(tile_level), index: tile, width }, start..start + (1 << above))
    }

    /// The hashes of a tile's content.
    ///
    /// # Errors
    /// When it is not as long as its width says.
    pub fn hashes(&self, bytes: &[u8]) -> Result<Vec<Hash>, TileError> {
        let expected = self.width * 32;
        let bytes_len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if bytes_len != expected {
            return Err(TileError::Length { width: self.width, expected, bytes: bytes_len });
        }
        let (chunks, _none) = bytes.as_chunks::<32>();
        Ok(chunks.iter().map(|chunk| Hash(*chunk)).collect())
    }
}

/// The hash of a node from the hashes of its tile that it covers.
pub fn tile_node(hashes: &[Hash]) -> Hash {
    root_of_leaves(hashes)
}

/// Adds an entry to a bundle: its length in two bytes, big end first, then itself.
///
/// # Errors
/// When it is too long.
pub fn bundle_push(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), TileError> {
    let length = u16::try_from(entry.len()).map_err(|_| TileError::Entry(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle of `count`.
///
/// # Errors
/// When it does not hold exactly so many.
pub fn bundle_read(mut bytes: &[u8], count: u64) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::new();
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(TileError::Bundle(count))?;
        let (entry, rest) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .ok_or(TileError::Bundle(count))?;
        entries.push(entry);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(entries) } else { Err(TileError::Bundle(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_c2sp() {
        let table = [
            (Some(0), 0, 256, "tile/0/000"),
            (Some(0), 1_234_067, 256, "tile/0/x001/x234/067"),
            (Some(1), 273, 112, "tile/1/273.p/112"),
            (None, 1000, 1, "tile/entries/x001/000.p/1"),
            (Some(63), 0, 255, "tile/63/000.p/255"),
        ];
        for (level, index, width, path) in table {
            let tile = Tile { level, index, width };
            assert_eq!(tile.to_string(), path);
            assert_eq!(path.parse(), Ok(tile));
        }
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/1000",
            "tile/0/x000/001",
            "tile/64/000",
            "tile/00/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/0/xx01/000",
            "tile/-1/000",
            "tile/0/+01",
            "tile/data/000",
            "tile/0/000/../001",
            "tile/entries/000.p/1/2",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(bad.parse::<Tile>().is_err(), "{bad}");
        }
    }

    #[test]
    fn seventy_thousand_leaves() {
        let tiles: Vec<Tile> = Tile::all(70_000).collect();
        let row = |level| -> Vec<&Tile> { tiles.iter().filter(|tile| tile.level == level).collect() };
        for level in [None, Some(0)] {
            let tiles = row(level);
            assert_eq!((tiles.len(), tiles.iter().filter(|tile| tile.width == 256).count()), (274, 273));
            assert_eq!(tiles[273].to_string(), Tile { level, index: 273, width: 112 }.to_string());
        }
        let widths: Vec<u64> = row(Some(1)).iter().map(|tile| tile.width).collect();
        assert_eq!(widths, [256, 17]);
        assert_eq!(row(Some(2)).iter().map(|tile| tile.width).collect::<Vec<_>>(), [1]);
        assert!(row(Some(3)).is_empty());
        assert_eq!(Tile::all(0).count(), 0);
        for tile in tiles {
            assert!(tile.is_in(70_000));
            assert!(!Tile { index: tile.index + 1, ..tile }.is_in(70_000) || tile.width == 256);
        }
    }

    #[test]
    fn bundles_read_back_and_broken_ones_do_not() {
        let entries: [&[u8]; 3] = [b"", b"a", &[7; 300]];
        let mut bundle = Vec::new();
        for entry in entries {
            bundle_push(&mut bundle, entry).unwrap();
        }
        assert_eq!(bundle_read(&bundle, 3).unwrap(), entries);
        for bad in [&bundle[..bundle.len() - 1], &bundle[..1]] {
            assert!(bundle_read(bad, 3).is_err());
        }
        assert!(bundle_read(&bundle, 2).is_err() && bundle_read(&bundle, 4).is_err());
        assert!(bundle_push(&mut bundle, &vec![0; ENTRY_LIMIT + 1]).is_err());
        assert!(bundle_push(&mut bundle, &vec![0; ENTRY_LIMIT]).is_ok());
    }
}
