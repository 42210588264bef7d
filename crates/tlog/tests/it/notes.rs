//! Notes with every kind of damage; cosignatures; proof files.

use hafen_tlog::{
    AddCheckpoint, Checkpoint, CosignatureSigner, Cosigned, Note, NoteError, ProofFile, Signer, VerifierKey,
    inclusion_proof, leaf_hash, root,
};

use crate::proofs::leaves;

const TEXT: &str = "example.org/log\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

fn signer() -> Signer {
    Signer::new("example.org/log", &[1; 32]).unwrap()
}

#[test]
fn each_byte_of_a_note_counts() {
    let signer = signer();
    let bytes = signer.sign(TEXT).unwrap().to_string().into_bytes();
    Note::parse(&bytes).unwrap().verify(&[signer.verifier()]).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut other = bytes.clone();
            other[at] ^= 1 << bit;
            let believed = Note::parse(&other).and_then(|note| note.verify(&[signer.verifier()]).map(|_| ()));
            assert!(believed.is_err(), "byte {at}, bit {bit}");
        }
        assert!(
            Note::parse(&bytes[..at]).and_then(|note| note.verify(&[signer.verifier()]).map(|_| ())).is_err()
        );
    }
}

#[test]
fn unknown_keys_are_passed_over_and_known_ones_must_fit() {
    let (signer, other) = (signer(), Signer::new("example.org/other", &[2; 32]).unwrap());
    let mut note = signer.sign(TEXT).unwrap();
    note.signatures.extend(other.sign(TEXT).unwrap().signatures);
    assert_eq!(note.verify(&[signer.verifier()]).unwrap(), [signer.verifier()]);
    assert_eq!(note.verify(&[signer.verifier(), other.verifier()]).unwrap().len(), 2);
    assert_eq!(note.verify(&[]), Err(NoteError::Unsigned));

    // A signature by the other key over another text: unknown it is passed over, known it refuses the whole note.
    note.signatures[1] = other.sign("other\n").unwrap().signatures[0].clone();
    assert!(note.verify(&[signer.verifier()]).is_ok());
    let refused = note.verify(&[signer.verifier(), other.verifier()]);
    assert_eq!(refused, Err(NoteError::Signature("example.org/other".into())));

    // The same name and another key is another key.
    let namesake = Signer::new("example.org/log", &[3; 32]).unwrap();
    assert_eq!(note.verify(&[namesake.verifier()]), Err(NoteError::Unsigned));
}

#[test]
fn malformed_notes() {
    let good = signer().sign(TEXT).unwrap().to_string();
    let line = good.lines().last().unwrap();
    let table: Vec<(String, &str)> = vec![
        (String::new(), "no text"),
        ("\n\n".into(), "nothing"),
        (TEXT.into(), "no signature"),
        (format!("{TEXT}\n"), "no signature line"),
        (format!("{TEXT}{line}\n"), "no empty line"),
        (good.trim_end().into(), "no newline at its end"),
        (good.replace('—', "-"), "another dash"),
        (good.replace("— example.org/log ", "—  "), "no name"),
        (good.replace("— example.org/log ", "— a+b "), "a plus in a name"),
        (good.replace("3\n", "3\r\n"), "a control character"),
        (good.replace("3\n", "3\u{85}\n"), "a control character beyond ASCII"),
        (format!("{good}\n"), "a line too many"),
        (format!("{good}— x AAAA\n"), "a signature of nothing but a key id"),
        (format!("{good}— x {}\n", line.split(' ').nth(2).unwrap().trim_end_matches('=')), "no padding"),
        (format!("{TEXT}\n{}", format!("{line}\n").repeat(101)), "too many signatures"),
    ];
    for (text, why) in table {
        assert!(Note::parse(text.as_bytes()).is_err(), "{why}: {text:?}");
    }
    assert!(Note::parse(b"a\xff\n\n\xe2\x80\x94 x AAAAAAAA\n").is_err());
    // A text may hold empty lines: the last one counts.
    let note = signer().sign("a\n\nb\n").unwrap();
    assert_eq!(Note::parse(note.to_string().as_bytes()).unwrap(), note);
    assert!(signer().sign("no newline").is_err() && signer().sign("\0\n").is_err());
}

#[test]
fn malformed_keys() {
    let good = signer().verifier().to_string();
    assert_eq!(&good.parse::<VerifierKey>().unwrap(), signer().verifier());
    let mut parts = good.split('+');
    let (name, id, key) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    for bad in [
        String::new(),
        name.into(),
        format!("{name}+{id}"),
        format!("{name}+{id}+"),
        format!("+{id}+{key}"),
        format!("{name}x+{id}+{key}"),
        format!("{name}+00000000+{key}"),
        format!("{name}+{}+{key}", id.to_uppercase().replace(id, "zzzzzzzz")),
        format!("{name}+{id}+{}", &key[..key.len() - 4]),
        format!("{name}+{id}+AAAA"),
        format!("a b+{id}+{key}"),
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
    assert!(Signer::new("a b", &[0; 32]).is_err() && Signer::new("", &[0; 32]).is_err());
    assert!(!format!("{:?}", signer()).contains("key:"));
}

#[test]
fn cosignatures_carry_their_time() {
    let log = signer();
    let witness = CosignatureSigner::new("witness.example", &[9; 32]).unwrap();
    let mut note = log.sign(TEXT).unwrap();
    note.signatures.push(witness.cosign(TEXT, 1_790_000_000));
    let parsed = Note::parse(note.to_string().as_bytes()).unwrap();
    let key: VerifierKey = witness.verifier().to_string().parse().unwrap();
    assert!(key.is_witness());
    let found = Cosigned::of(&parsed, std::slice::from_ref(&key)).unwrap();
    assert_eq!((found.len(), found[0].time), (1, 1_790_000_000));
    assert_eq!(parsed.verify(&[log.verifier(), &key]).unwrap().len(), 2);

    // Every byte of it, the time included.
    for at in 0..parsed.signatures[1].signature.len() {
        let mut other = parsed.clone();
        other.signatures[1].signature[at] ^= 1;
        assert!(Cosigned::of(&other, std::slice::from_ref(&key)).is_err(), "byte {at}");
    }
    let mut short = parsed.clone();
    short.signatures[1].signature.truncate(5);
    assert!(Cosigned::of(&short, std::slice::from_ref(&key)).is_err());
    // A plain signature is no cosignature, and the log's own key no witness.
    assert!(Cosigned::of(&parsed, &[log.verifier().clone()]).unwrap().is_empty());
}

#[test]
fn proof_files_read_back_and_prove_offline() {
    let all = leaves(11);
    let signer = signer();
    let checkpoint =
        Checkpoint { origin: "example.org/log".into(), size: 11, root: root(11, &all[..]).unwrap() };
    let proof = ProofFile {
        record: b"entry 4".to_vec(),
        index: 4,
        path: inclusion_proof(4, 11, &all[..]).unwrap(),
        checkpoint: signer.sign(&checkpoint.to_string()).unwrap(),
    };
    assert_eq!(leaf_hash(&proof.record), all[4]);
    let text = proof.to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra ZW50cnkgNA==\nindex 4\n"), "{text}");
    let read: ProofFile = text.parse().unwrap();
    assert_eq!(read, proof);
    assert_eq!(read.verify(signer.verifier()).unwrap(), checkpoint);
    for at in 0..text.len() {
        let mut other = text.clone().into_bytes();
        other[at] ^= 1;
        let believed = String::from_utf8(other)
            .map_err(|error| error.to_string())
            .and_then(|text| text.parse::<ProofFile>())
            .and_then(|proof| proof.verify(signer.verifier()));
        assert!(believed.is_err(), "byte {at}");
    }
    for (bad, good) in
        [("", "extra"), ("c2sp", "x2sp"), ("index 4", "index 04"), ("index 4", "index"), ("\n\n", "\n")]
    {
        assert!(
            text.replacen(good, bad, 1).parse::<ProofFile>().is_err()
                || text.replacen(bad, good, 1).parse::<ProofFile>().is_err()
        );
    }
}

#[test]
fn requests_to_witnesses_read_back() {
    let all = leaves(9);
    let checkpoint =
        Checkpoint { origin: "example.org/log".into(), size: 9, root: root(9, &all[..]).unwrap() };
    let request = AddCheckpoint {
        old: 4,
        proof: all[..3].to_vec(),
        checkpoint: signer().sign(&checkpoint.to_string()).unwrap(),
    };
    assert_eq!(request.to_string().parse::<AddCheckpoint>().unwrap(), request);
    let many = AddCheckpoint { proof: vec![all[0]; 64], ..request.clone() };
    assert!(many.to_string().parse::<AddCheckpoint>().unwrap_err().contains("63"));
    for bad in ["", "old 4", "old 04\n\n", "old -1\n\nx", "new 4\n\nx"] {
        assert!(bad.parse::<AddCheckpoint>().is_err(), "{bad:?}");
    }
}
