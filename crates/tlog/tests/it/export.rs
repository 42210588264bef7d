//! An export checks out, and no byte of it can be another.

use std::collections::BTreeMap;

use hafen_tlog::{
    Checkpoint, Fault, Files, Hash, Header, Manifest, Signer, TAR_BLOCK, Tile, bundle_push, leaf_hash,
    root_of_leaves, tar_header, tar_padding, tar_read_header, verify_export,
};

struct Memory(BTreeMap<String, Vec<u8>>);

impl Files for Memory {
    fn paths(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.get(path).cloned())
    }
}

fn export(size: u64, signer: &Signer) -> Memory {
    let entries: Vec<Vec<u8>> = (0..size).map(|n| format!("entry {n}").into_bytes()).collect();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let mut files = BTreeMap::new();
    for tile in Tile::all(size) {
        let mut content = Vec::new();
        let first = tile.index * 256;
        for at in first..first + tile.width {
            match tile.level {
                None => bundle_push(&mut content, &entries[usize::try_from(at).unwrap()]).unwrap(),
                Some(level) => {
                    let span = 1_usize << (8 * level);
                    let start = usize::try_from(at).unwrap() * span;
                    content.extend(root_of_leaves(&leaves[start..start + span]).0);
                }
            }
        }
        files.insert(tile.to_string(), content);
    }
    let checkpoint =
        Checkpoint { origin: signer.verifier().name().into(), size, root: root_of_leaves(&leaves) };
    files.insert("checkpoint".into(), signer.sign(&checkpoint.to_string()).unwrap().to_string().into_bytes());
    files.insert("key".into(), format!("{}\n", signer.verifier()).into_bytes());
    let mut manifest = Manifest::default();
    for (path, content) in &files {
        manifest.add(path, content);
    }
    files.insert("manifest".into(), signer.sign(&manifest.to_string()).unwrap().to_string().into_bytes());
    Memory(files)
}

fn signer() -> Signer {
    Signer::new("example.org/log", &[5; 32]).unwrap()
}

#[test]
fn exports_of_many_sizes_check_out() {
    let signer = signer();
    for size in [0, 1, 2, 3, 255, 256, 257, 512, 513, 1000, 65_536, 65_537, 70_000] {
        let mut files = export(size, &signer);
        let verified = verify_export(&files, signer.verifier(), None).unwrap();
        assert_eq!((verified.checkpoint.size, verified.manifest), (size, true));
        // A mere copy of the tiles is as good, but for what only the manifest covers.
        files.0.remove("manifest");
        assert!(!verify_export(&files, signer.verifier(), None).unwrap().manifest);
    }
}

#[test]
fn every_byte_of_every_file_counts() {
    let signer = signer();
    let files = export(5, &signer);
    let mut bytes = 0;
    for path in files.0.keys() {
        for at in 0..files.0[path].len() {
            let mut other = Memory(files.0.clone());
            other.0.get_mut(path).unwrap()[at] ^= 0x10;
            let faults = verify_export(&other, signer.verifier(), None).unwrap_err();
            assert!(faults.iter().any(|fault| fault.path == *path), "{path}, byte {at}: {faults:?}");
            bytes += 1;
        }
    }
    assert!(bytes > 800, "{bytes}");
}

#[test]
fn without_the_manifest_entries_and_tiles_are_still_covered() {
    let signer = signer();
    let mut files = export(300, &signer);
    files.0.remove("manifest");
    for path in files.0.keys().filter(|path| path.starts_with("tile/")) {
        for at in (0..files.0[path].len()).step_by(37) {
            let mut other = Memory(files.0.clone());
            other.0.get_mut(path).unwrap()[at] ^= 1;
            assert!(verify_export(&other, signer.verifier(), None).is_err(), "{path}, byte {at}");
        }
    }
}

#[test]
fn what_is_missing_or_too_much_is_told() {
    let signer = signer();
    let files = export(300, &signer);
    for path in files.0.keys().filter(|path| *path != "manifest") {
        let mut other = Memory(files.0.clone());
        other.0.remove(path);
        let faults = verify_export(&other, signer.verifier(), None).unwrap_err();
        assert!(
            faults.iter().any(|fault| fault.path == *path && fault.what == "it is missing"),
            "{path}: {faults:?}"
        );
    }
    let mut other = Memory(files.0.clone());
    other.0.insert("tile/0/999".into(), vec![0; 8192]);
    let faults = verify_export(&other, signer.verifier(), None).unwrap_err();
    assert_eq!(faults.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>(), ["tile/0/999"]);

    // An entry and its hash exchanged together: the tiles above, and the root, tell.
    let mut other = export(300, &signer);
    let mut bundle = Vec::new();
    for n in 0..256 {
        bundle_push(&mut bundle, format!("entry {}", if n == 7 { 70 } else { n }).as_bytes()).unwrap();
    }
    other.0.insert("tile/entries/000".into(), bundle);
    let faults = verify_export(&other, signer.verifier(), None).unwrap_err();
    let place = |fault: &Fault| (fault.path.clone(), fault.entry);
    assert!(faults.iter().map(place).any(|place| place == ("tile/0/000".into(), Some(7))), "{faults:?}");

    // Another log's key, and no export at all.
    let stranger = Signer::new("example.org/other", &[5; 32]).unwrap();
    assert!(verify_export(&files, stranger.verifier(), None).is_err());
    assert!(verify_export(&Memory(BTreeMap::new()), signer.verifier(), None).is_err());
}

#[test]
fn every_byte_of_a_tar_header_counts() {
    let header = tar_header("tile/entries/000.p/5", 70).unwrap();
    assert_eq!(tar_read_header(&header), Ok(Header::File { path: "tile/entries/000.p/5".into(), size: 70 }));
    for at in 0..TAR_BLOCK {
        let mut other = header;
        other[at] ^= 1;
        assert!(tar_read_header(&other).is_err(), "byte {at}");
    }
    assert_eq!(tar_read_header(&[0; TAR_BLOCK]), Ok(Header::End));
    assert_eq!([0, 1, 511, 512, 513].map(tar_padding), [0, 511, 1, 0, 511]);
    assert!(tar_header(&"x".repeat(101), 0).is_err() && tar_header("x", 1 << 33).is_err());
}
