//! `pymerkle` (`PyPI`), an implementation in another language by other people, agrees on roots and both kinds of proofs.

use std::path::Path;
use std::process::Command;

use hafen_tlog::{Hash, consistency_proof, inclusion_proof, root};

use crate::proofs::leaves;

/// Builds the same tree, compares our roots and inclusion paths with its own, and verifies our consistency proofs.
const SCRIPT: &str = r#"
import json, sys
from pymerkle import InmemoryTree, verify_consistency
from pymerkle.proof import MerkleProof
tree = InmemoryTree(algorithm="sha256")
for n in range(40):
    tree.append_entry(f"entry {n}".encode())
counts = {"root": 0, "inclusion": 0, "consistency": 0}
for line in open(sys.argv[1]):
    one = json.loads(line)
    kind, size = one["kind"], one["size"]
    if kind == "root":
        assert tree.get_state(size).hex() == one["root"], one
    elif kind == "inclusion":
        assert tree.prove_inclusion(one["index"] + 1, size).serialize()["path"] == one["path"], one
    else:
        proof = MerkleProof("sha256", True, size, one["rule"], one["subset"], [bytes.fromhex(h) for h in one["path"]])
        verify_consistency(tree.get_state(one["old"]), tree.get_state(size), proof)
    counts[kind] += 1
print(counts["root"], counts["inclusion"], counts["consistency"])
"#;

/// A virtual environment with the package of this version, made once.
fn python() -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pymerkle-6.1.0");
    let python = folder.join("bin/python");
    if !folder.join("ready").exists() {
        // A run that broke off leaves half an environment.
        let _absent = std::fs::remove_dir_all(&folder);
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status().unwrap();
        assert!(made.success(), "no virtual environment: apt-get install python3-venv");
        let installed = Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "pymerkle==6.1.0"])
            .status()
            .unwrap();
        assert!(installed.success(), "pymerkle cannot be installed");
        std::fs::write(folder.join("ready"), "").unwrap();
    }
    python
}

fn hex(hash: &Hash) -> String {
    hash.0.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A proof between two sizes with the directions that pymerkle wants written out: for each hash whether it joins from the
/// left, which is also whether the old tree holds it. They follow from the sizes (RFC 9162, section 2.1.4.2).
fn directions(old: u64, new: u64, old_root: &Hash, proof: &[Hash]) -> (Vec<Hash>, Vec<bool>) {
    let mut path = proof.to_vec();
    if old.is_power_of_two() || old == new {
        path.insert(0, *old_root);
    }
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let mut left = vec![true];
    for _ in 1..path.len() {
        let from_left = at & 1 == 1 || at == last;
        left.push(from_left);
        while from_left && at & 1 == 0 && at != 0 {
            at >>= 1;
            last >>= 1;
        }
        at >>= 1;
        last >>= 1;
    }
    (path, left)
}

#[test]
fn pymerkle_agrees_on_roots_and_proofs() {
    use std::io::Write as _;
    let all = leaves(40);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for size in 1..=40_u64 {
        let head = root(size, &all[..]).unwrap();
        writeln!(file, "{}", serde_json::json!({"kind": "root", "size": size, "root": hex(&head)})).unwrap();
        for index in 0..size {
            let mut path = vec![hex(&all[usize::try_from(index).unwrap()])];
            path.extend(inclusion_proof(index, size, &all[..]).unwrap().iter().map(hex));
            let line = serde_json::json!({"kind": "inclusion", "size": size, "index": index, "path": path});
            writeln!(file, "{line}").unwrap();
        }
        for old in 1..=size {
            let proof = consistency_proof(old, size, &all[..]).unwrap();
            let (path, left) = directions(old, size, &root(old, &all[..]).unwrap(), &proof);
            let subset: Vec<u8> = left.iter().map(|left| u8::from(*left)).collect();
            // Its rule of a hash says from which side the next one joins.
            let mut rule: Vec<u8> = subset[1..].to_vec();
            rule.push(0);
            let path: Vec<String> = path.iter().map(hex).collect();
            let line = serde_json::json!({"kind": "consistency", "size": size, "old": old, "path": path,
                "rule": rule, "subset": subset});
            writeln!(file, "{line}").unwrap();
        }
    }
    let output = Command::new(python()).args(["-c", SCRIPT]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "40 820 820\n");
}
