//! `pymerkle` (PyPI), an implementation in another language by other people, agrees on roots and both kinds of proofs.

use std::path::Path;
use std::process::Command;

use hafen_tlog::{Hash, consistency_proof, inclusion_proof, root};

use crate::proofs::leaves;

/// Prints for the sizes 1..=40: the root; each leaf's path; paths between sizes.
const SCRIPT: &str = r#"
import sys
from pymerkle import InmemoryTree
SIZE = 40
tree = InmemoryTree(algorithm="sha256")
for n in range(SIZE):
    tree.append_entry(f"entry {n}".encode())
def path(proof):
    # pymerkle serialises the first node of the path with the rest; inclusion paths begin with the leaf itself.
    return " ".join(proof.serialize()["path"])
for size in range(1, SIZE + 1):
    print("root", size, tree.get_state(size).hex())
    for index in range(1, size + 1):
        print("inclusion", size, index, path(tree.prove_inclusion(index, size)))
    for old in range(1, size + 1):
        print("consistency", size, old, path(tree.prove_consistency(old, size)))
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

#[test]
fn pymerkle_agrees_on_roots_and_proofs() {
    let output = Command::new(python()).args(["-c", SCRIPT]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all = leaves(40);
    let mut counts = [0; 3];
    for line in text.lines() {
        let mut words = line.split(' ');
        let kind = words.next().unwrap();
        let size: u64 = words.next().unwrap().parse().unwrap();
        let rest: Vec<&str> = words.collect();
        match kind {
            "root" => {
                assert_eq!(rest, [hex(&root(size, &all[..]).unwrap())], "{size}");
                counts[0] += 1;
            }
            "inclusion" => {
                let index = rest[0].parse::<u64>().unwrap() - 1;
                let mut ours = vec![hex(&all[usize::try_from(index).unwrap()])];
                ours.extend(inclusion_proof(index, size, &all[..]).unwrap().iter().map(hex));
                assert_eq!(rest[1..], ours, "{index} of {size}");
                counts[1] += 1;
            }
            "consistency" => {
                let old: u64 = rest[0].parse().unwrap();
                let ours: Vec<String> = consistency_proof(old, size, &all[..]).unwrap().iter().map(hex).collect();
                // It always writes the first node, which RFC 6962 leaves out where the verifier has it.
                let theirs: Vec<String> = rest[1..].iter().map(ToString::to_string).collect();
                assert!(theirs.ends_with(&ours), "{old} to {size}: {theirs:?} {ours:?}");
                counts[2] += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(counts, [40, 820, 820]);
}
