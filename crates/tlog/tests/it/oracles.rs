//! Other people's implementations agree: `ct-merkle`, `tlog_tiles`, `signed_note`.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use hafen_tlog::{Checkpoint, Hash, Note, Signer, Tile, consistency_proof, inclusion_proof, root};
use sha2::Sha256;
use signed_note::{StandardVerifier, VerifierList};

use crate::proofs::leaves;

#[test]
fn ct_merkle_makes_the_same_roots_and_proofs() {
    let all = leaves(70);
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for size in 0..=70_u64 {
        if size > 0 {
            tree.push(format!("entry {}", size - 1).into_bytes());
        }
        assert_eq!(tree.root().as_bytes().as_slice(), root(size, &all[..]).unwrap().0, "{size}");
        for index in 0..size {
            let ours: Vec<u8> =
                inclusion_proof(index, size, &all[..]).unwrap().iter().flat_map(|hash| hash.0).collect();
            assert_eq!(
                tree.prove_inclusion(usize::try_from(index).unwrap()).as_bytes(),
                ours,
                "{index} of {size}"
            );
        }
        for old in 1..size {
            let ours: Vec<u8> =
                consistency_proof(old, size, &all[..]).unwrap().iter().flat_map(|hash| hash.0).collect();
            let theirs = tree.prove_consistency(usize::try_from(size - old).unwrap());
            assert_eq!(theirs.as_bytes(), ours, "{old} to {size}");
        }
    }
}

#[test]
fn tlog_tiles_checks_our_proofs_and_names_the_same_tiles() {
    let all = leaves(300);
    let theirs = |hash: &Hash| tlog_tiles::Hash(hash.0);
    for size in [1_u64, 2, 3, 7, 8, 255, 256, 257, 300] {
        let head = root(size, &all[..]).unwrap();
        for index in [0, size / 3, size - 1] {
            let proof: Vec<_> = inclusion_proof(index, size, &all[..]).unwrap().iter().map(theirs).collect();
            let leaf = theirs(&all[usize::try_from(index).unwrap()]);
            tlog_tiles::check_record(&proof, size, theirs(&head), index, leaf).unwrap();
        }
        for old in [1, size / 2 + 1, size] {
            let old_head = theirs(&root(old, &all[..]).unwrap());
            let proof: Vec<_> = consistency_proof(old, size, &all[..]).unwrap().iter().map(theirs).collect();
            tlog_tiles::check_tree(&proof, size, theirs(&head), old, old_head).unwrap();
        }
    }
    for tile in Tile::all(70_000) {
        let width = u32::try_from(tile.width).unwrap();
        let other =
            tlog_tiles::Tile::new(8, tile.level.unwrap_or(0), tile.index, width, tile.level.is_none());
        // Theirs writes the height, and "data" for the entries, as Go's sumdb does.
        let path = other.path().replacen("tile/8/", "tile/", 1).replacen("tile/data/", "tile/entries/", 1);
        assert_eq!(tile.to_string(), path);
    }
    let ours = Checkpoint { origin: "example.org/log".into(), size: 300, root: root(300, &all[..]).unwrap() };
    let other = tlog_tiles::Checkpoint::from_bytes(ours.to_string().as_bytes()).unwrap();
    assert_eq!((other.origin(), other.size(), other.hash().0), ("example.org/log", 300, ours.root.0));
}

#[test]
fn signed_note_verifies_ours_and_we_verify_theirs() {
    let signer = Signer::new("example.org/log", &[7; 32]).unwrap();
    let note = signer.sign("example.org/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    let verifier = StandardVerifier::new(&signer.verifier().to_string()).unwrap();
    let theirs = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
    let (verified, unverified) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));

    // The example of golang.org/x/mod/sumdb/note.
    let skey = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let mut theirs = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&signed_note::StandardSigner::new(skey).unwrap()]).unwrap();
    let ours = Note::parse(&theirs.to_bytes()).unwrap();
    let key = vkey.parse().unwrap();
    assert_eq!(ours.verify(&[&key]).unwrap(), [&key]);
    assert_eq!(key.to_string(), vkey);
    assert_eq!(ours.to_string().as_bytes(), theirs.to_bytes());
}
