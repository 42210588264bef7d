//! Roots and proofs, made from the hashes of complete subtrees (RFC 6962, section 2.1).
//!
//! A node is named by its level (0 are the leaves) and its place among the nodes of that level; it covers the leaves
//! `index << level` to `(index + 1) << level`. Only nodes that are complete are ever asked for, so a reader may keep them
//! for good: they never change while the log grows.

use crate::{Hash, empty_root, node_hash};

/// Gives hashes of complete nodes.
pub trait Nodes {
    /// What goes wrong; a proof that asks for what the tree does not hold gives it too.
    type Error;

    /// The hash of node `index` of `level`.
    ///
    /// # Errors
    /// As the reader's.
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;

    /// The error for a proof about leaves beyond the tree.
    fn outside(&self) -> Self::Error;
}

/// The level of the largest complete subtree that begins at `start` and ends at or before `end`.
fn level_at(start: u64, end: u64) -> u8 {
    let fits = (end - start).ilog2();
    let aligned = if start == 0 { 63 } else { start.trailing_zeros() };
    u8::try_from(fits.min(aligned)).unwrap_or(63)
}

/// The hash over leaves `start..end`, where `start` is a multiple of the least power of two not below `end - start`.
fn range<N: Nodes + ?Sized>(start: u64, end: u64, nodes: &N) -> Result<Hash, N::Error> {
    let mut parts = Vec::new();
    let mut at = start;
    while at < end {
        let level = level_at(at, end);
        parts.push(nodes.node(level, at >> level)?);
        at += 1 << level;
    }
    // Subtrees grow smaller to the right; each joins with what is right of it.
    let Some(mut hash) = parts.pop() else { return Ok(empty_root()) };
    while let Some(left) = parts.pop() {
        hash = node_hash(&left, &hash);
    }
    Ok(hash)
}

/// The root of the first `size` leaves.
///
/// # Errors
/// As the reader's.
pub fn root<N: Nodes + ?Sized>(size: u64, nodes: &N) -> Result<Hash, N::Error> {
    range(0, size, nodes)
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The path of leaf `index` in the tree of `size` leaves: from the leaf's sibling up (RFC 6962, section 2.1.1).
///
/// # Errors
/// `outside` when there is no such leaf, else as the reader's.
pub fn inclusion_proof<N: Nodes + ?Sized>(index: u64, size: u64, nodes: &N) -> Result<Vec<Hash>, N::Error> {
    if index >= size {
        return Err(nodes.outside());
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range(middle, end, nodes)?);
            end = middle;
        } else {
            path.push(range(start, middle, nodes)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// That the tree of `old` leaves is the beginning of the one of `new` (RFC 6962, section 2.1.2). Empty when `old` is 0 or
/// `new`.
///
/// # Errors
/// `outside` when `old` is larger than `new`, else as the reader's.
pub fn consistency_proof<N: Nodes + ?Sized>(old: u64, new: u64, nodes: &N) -> Result<Vec<Hash>, N::Error> {
    if old > new {
        return Err(nodes.outside());
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    // Down to the subtree whose end is the end of the old tree.
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(range(middle, end, nodes)?);
            end = middle;
        } else {
            path.push(range(start, middle, nodes)?);
            start = middle;
        }
    }
    // A verifier holds the hash of the old tree itself, and needs this part of it only when it is not all of it.
    if start > 0 {
        path.push(range(start, end, nodes)?);
    }
    path.reverse();
    Ok(path)
}

/// A tree in memory: for small logs and for tests.
impl Nodes for [Hash] {
    type Error = ();

    fn node(&self, level: u8, index: u64) -> Result<Hash, ()> {
        let start = usize::try_from(index << level).map_err(|_| ())?;
        let leaves = self.get(start..start + (1 << level)).ok_or(())?;
        Ok(root_of_leaves(leaves))
    }

    fn outside(&self) {}
}

/// The root over these leaf hashes.
pub fn root_of_leaves(leaves: &[Hash]) -> Hash {
    let mut peaks: Vec<(u8, Hash)> = Vec::new();
    for leaf in leaves {
        let mut peak = (0, *leaf);
        while let Some((_, left)) = peaks.pop_if(|(level, _)| *level == peak.0) {
            peak = (peak.0 + 1, node_hash(&left, &peak.1));
        }
        peaks.push(peak);
    }
    let Some((_, mut hash)) = peaks.pop() else { return empty_root() };
    while let Some((_, left)) = peaks.pop() {
        hash = node_hash(&left, &hash);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf_hash;

    /// The roots of certificate-transparency's reference tests, over these eight leaves.
    #[test]
    fn the_roots_of_rfc_6962() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        for (size, expected) in roots.iter().enumerate() {
            let hex =
                |hash: Hash| hash.0.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
            assert_eq!(hex(root_of_leaves(&hashes[..size])), *expected, "{size}");
            assert_eq!(hex(root(size as u64, &hashes[..]).unwrap()), *expected, "{size}");
        }
    }
}
