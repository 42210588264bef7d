//! Every proof of small trees, every mutation of them, and tiles as the reader of nodes.

use hafen_tlog::{
    Hash, Nodes, ProofError, Tile, consistency_proof, empty_root, inclusion_proof, leaf_hash, root,
    root_of_leaves, tile_node, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

pub fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(format!("entry {n}").as_bytes())).collect()
}

/// Everything that is one step away from a proof: a bit of each hash, one more, one fewer, two exchanged.
fn mutations(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        for byte in 0..32 {
            let mut other = proof.to_vec();
            other[at].0[byte] ^= 1 << (byte % 8);
            all.push(other);
        }
        let mut other = proof.to_vec();
        other.remove(at);
        all.push(other);
        if at > 0 && proof[at] != proof[at - 1] {
            let mut other = proof.to_vec();
            other.swap(at, at - 1);
            all.push(other);
        }
    }
    for at in 0..=proof.len() {
        let mut other = proof.to_vec();
        other.insert(at, proof.first().copied().unwrap_or_else(empty_root));
        all.push(other);
    }
    all
}

#[test]
fn inclusion_at_every_size_and_nothing_one_step_away() {
    for size in 0..=15 {
        let leaves = leaves(size);
        let root = root_of_leaves(&leaves);
        for index in 0..size {
            let leaf = &leaves[usize::try_from(index).unwrap()];
            let proof = inclusion_proof(index, size, &leaves[..]).unwrap();
            verify_inclusion(leaf, index, size, &root, &proof).unwrap();
            for other in mutations(&proof) {
                assert!(verify_inclusion(leaf, index, size, &root, &other).is_err(), "{index} of {size}");
            }
            for other in (0..size + 2).filter(|other| *other != index) {
                assert!(
                    verify_inclusion(leaf, other, size, &root, &proof).is_err(),
                    "{index} as {other} of {size}"
                );
            }
            let wrong = leaf_hash(b"another");
            assert_eq!(verify_inclusion(&wrong, index, size, &root, &proof), Err(ProofError::Root));
            assert_eq!(verify_inclusion(leaf, index, size, &wrong, &proof), Err(ProofError::Root));
        }
        assert!(inclusion_proof(size, size, &leaves[..]).is_err());
        assert_eq!(verify_inclusion(&root, size, size, &root, &[]), Err(ProofError::Outside));
    }
}

#[test]
fn consistency_between_all_sizes_and_nothing_one_step_away() {
    let all = leaves(15);
    let root_at = |size: u64| root(size, &all[..]).unwrap();
    for new in 0..=15 {
        for old in 0..=new {
            let proof = consistency_proof(old, new, &all[..]).unwrap();
            let (old_root, new_root) = (root_at(old), root_at(new));
            verify_consistency(old, new, &old_root, &new_root, &proof).unwrap();
            for other in mutations(&proof) {
                assert!(
                    verify_consistency(old, new, &old_root, &new_root, &other).is_err(),
                    "{old} to {new}"
                );
            }
            let wrong = leaf_hash(b"another");
            assert!(verify_consistency(old, new, &wrong, &new_root, &proof).is_err());
            // Every tree begins with the empty one: nothing is said about the new root.
            assert_eq!(verify_consistency(old, new, &old_root, &wrong, &proof).is_ok(), old == 0 && new > 0);
            for other in (1..=16).filter(|other| *other != old && old > 0) {
                assert!(
                    verify_consistency(other, new, &old_root, &new_root, &proof).is_err(),
                    "{other} to {new}"
                );
            }
        }
        assert!(consistency_proof(new + 1, new, &all[..]).is_err());
    }
}

/// Reads nodes from tiles alone, as a client of the log does.
struct Tiles {
    size: u64,
    leaves: Vec<Hash>,
}

impl Tiles {
    fn content(&self, tile: Tile) -> Vec<Hash> {
        let level = tile.level.unwrap();
        let span = 1_u64 << (8 * u32::from(level));
        let first = tile.index * 256;
        (first..first + tile.width)
            .map(|at| {
                let start = usize::try_from(at * span).unwrap();
                root_of_leaves(&self.leaves[start..start + usize::try_from(span).unwrap()])
            })
            .collect()
    }
}

impl Nodes for Tiles {
    type Error = String;

    fn node(&self, level: u8, index: u64) -> Result<Hash, String> {
        let (tile, range) = Tile::of_node(level, index, self.size);
        assert!(tile.is_in(self.size), "{tile} of {}", self.size);
        Ok(tile_node(&self.content(tile)[range]))
    }

    fn outside(&self) -> String {
        "outside".into()
    }
}

#[test]
fn tiles_give_the_same_tree() {
    for size in [1, 255, 256, 257, 511, 700, 1024] {
        let leaves = leaves(size);
        let expected = root_of_leaves(&leaves);
        let tiles = Tiles { size, leaves };
        assert_eq!(root(size, &tiles).unwrap(), expected);
        let (first, last) = (0, size - 1);
        for index in [first, size / 2, last] {
            let proof = inclusion_proof(index, size, &tiles).unwrap();
            verify_inclusion(&tiles.leaves[usize::try_from(index).unwrap()], index, size, &expected, &proof)
                .unwrap();
        }
    }
}

proptest! {
    #[test]
    fn any_two_sizes(a in 0_u64..2000, b in 0_u64..2000, at in 0_u64..2000) {
        let (old, new) = (a.min(b), a.max(b));
        let all = leaves(new);
        let (old_root, new_root) = (root(old, &all[..]).unwrap(), root(new, &all[..]).unwrap());
        let proof = consistency_proof(old, new, &all[..]).unwrap();
        prop_assert_eq!(verify_consistency(old, new, &old_root, &new_root, &proof), Ok(()));
        if new > 0 {
            let index = at % new;
            let proof = inclusion_proof(index, new, &all[..]).unwrap();
            let leaf = &all[usize::try_from(index).unwrap()];
            prop_assert_eq!(verify_inclusion(leaf, index, new, &new_root, &proof), Ok(()));
        }
    }
}
