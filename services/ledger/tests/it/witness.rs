//! The witness answers as C2SP says, and this ledger asks it.

use std::sync::Arc;

use hafen_base::{SystemClock, SystemRandom};
use hafen_db::testing;
use hafen_ledger::witness::{Witness, WitnessConfig, WitnessServerConfig};
use hafen_tlog::{
    AddCheckpoint, Checkpoint, Cosigned, Hash, Note, NoteSignature, Signer, consistency_proof, leaf_hash,
    root_of_leaves,
};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::support::{House, Options, Running, backup, restore, until};

fn log() -> Signer {
    Signer::new("log.example/2026", &[4; 32]).unwrap()
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn request(old: u64, new: u64) -> AddCheckpoint {
    let all = leaves(new);
    let checkpoint = Checkpoint { origin: "log.example/2026".into(), size: new, root: root_of_leaves(&all) };
    AddCheckpoint {
        old,
        proof: consistency_proof(old.min(new), new, &all[..]).unwrap(),
        checkpoint: log().sign(&checkpoint.to_string()).unwrap(),
    }
}

fn witness(folder: &std::path::Path) -> Witness {
    let config = WitnessServerConfig {
        folder: folder.to_owned(),
        name: "witness.example".into(),
        logs: vec![log().verifier().clone()],
        clock: Arc::new(SystemClock),
    };
    Witness::open(config, &SystemRandom).unwrap()
}

async fn ask(witness: &Witness, body: String) -> (u16, String, String) {
    let request = http::Request::post("/add-checkpoint").body(axum::body::Body::from(body)).unwrap();
    let answer = witness.router().oneshot(request).await.unwrap();
    let kind = answer
        .headers()
        .get("content-type")
        .map(|kind| kind.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_witness_cosigns_what_continues_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let one = witness(folder.path());
    let (status, _, line) = ask(&one, request(0, 5).to_string()).await;
    assert_eq!(status, 200, "{line}");
    let signature: NoteSignature = line.trim_end().parse().unwrap();
    let mut note = request(0, 5).checkpoint;
    note.signatures.push(signature);
    assert_eq!(Cosigned::of(&note, std::slice::from_ref(one.key())).unwrap().len(), 1);

    // It remembers across restarts.
    let two = witness(folder.path());
    assert_eq!(two.key(), one.key());
    let again = ask(&two, request(0, 9).to_string()).await;
    assert_eq!((again.0, again.1.as_str(), again.2.as_str()), (409, "text/x.tlog.size", "5\n"));
    assert_eq!(ask(&two, request(5, 5).to_string()).await.0, 200, "the same once more");

    let other_history = {
        let mut all = leaves(5);
        all[2] = leaf_hash(b"another");
        let text =
            Checkpoint { origin: "log.example/2026".into(), size: 5, root: root_of_leaves(&all) }.to_string();
        AddCheckpoint { old: 5, proof: Vec::new(), checkpoint: log().sign(&text).unwrap() }
    };
    let stranger = Signer::new("log.example/2026", &[8; 32]).unwrap();
    let unknown = Signer::new("other.example", &[4; 32]).unwrap();
    let text = request(5, 9).checkpoint.text;
    let mut short = request(5, 9);
    short.proof.pop();
    let mut damaged = request(5, 9);
    damaged.checkpoint.signatures[0].signature[0] ^= 1;
    let many = AddCheckpoint { proof: vec![leaf_hash(b""); 64], ..request(5, 9) };
    let table: Vec<(u16, String, &str)> = vec![
        (409, other_history.to_string(), "another root of the same size"),
        (
            403,
            AddCheckpoint { checkpoint: stranger.sign(&text).unwrap(), ..request(5, 9) }.to_string(),
            "another key",
        ),
        (403, damaged.to_string(), "a damaged signature"),
        (
            404,
            AddCheckpoint {
                checkpoint: unknown.sign(&text.replace("log.example/2026", "other.example")).unwrap(),
                ..request(5, 9)
            }
            .to_string(),
            "an unknown log",
        ),
        (422, short.to_string(), "a proof too short"),
        (422, AddCheckpoint { proof: Vec::new(), ..request(5, 9) }.to_string(), "no proof"),
        (400, request(9, 5).to_string(), "an old size beyond the new"),
        (400, many.to_string(), "64 lines of proof"),
        (400, String::new(), "nothing"),
        (400, "old 5\n\nhello".into(), "no note"),
        (400, format!("old 05\n\n{}", request(5, 9).checkpoint), "a leading zero"),
        (400, format!("old 5\n\n{}", log().sign("log.example/2026\n").unwrap()), "no checkpoint"),
        (413, "x".repeat(100_000), "too large"),
    ];
    for (expected, body, why) in table {
        let (status, _, told) = ask(&two, body).await;
        assert_eq!(status, expected, "{why}: {told}");
    }
    assert_eq!(ask(&two, request(5, 9).to_string()).await.0, 200);
    assert_eq!(ask(&two, request(9, 700).to_string()).await.0, 200);
}

/// A witness at a port of its own, for this ledger's key.
async fn serve(witness: &Witness) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = witness.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_asks_and_a_log_rolled_back_with_its_place_apart_is_found() {
    let house = House::new(testing::sqlite()).await;
    // The key is known before the witness is asked: from a first run.
    let running = house.start().await;
    house.things.many(3).await;
    running.signed(3).await;
    let key = running.shards().await[0].key.parse().unwrap();
    running.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let config = WitnessServerConfig {
        folder: folder.path().to_owned(),
        name: "witness.example".into(),
        logs: vec![key],
        clock: Arc::new(SystemClock),
    };
    let server = Witness::open(config, &SystemRandom).unwrap();
    let url = serve(&server).await;
    let asked: WitnessConfig = format!("{}@{url}", server.key()).parse().unwrap();
    let start = async || {
        let options = Options { witnesses: vec![asked.clone()], ..Options::default() };
        Running::with(&house.database.location, house.folder.path(), house.feeds(), options).await
    };
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        }
    };
    let backup = backup(&house.database.location).await;
    copy(&house.folder.path().join("apart"), &backup.path().join("apart"));

    let running = start().await;
    house.things.many(400).await;
    running.signed(403).await;
    until("the cosignature", async || running.shards().await[0].witnesses == ["witness.example"]).await;
    let note = Note::parse(&running.get("/ledger/checkpoint").await.2).unwrap();
    assert_eq!(Cosigned::of(&note, std::slice::from_ref(server.key())).unwrap().len(), 1);
    assert_eq!(running.verify("").await.checkpoint.size, 403);
    running.stop().await;

    // All of it rolled back, the place apart too: only the witness knows.
    restore(&house.database.location, backup.path());
    copy(&backup.path().join("apart"), &house.folder.path().join("apart"));
    let running = start().await;
    until("it stands still", async || {
        running
            .health
            .all()
            .iter()
            .any(|part| part.name == "ledger" && part.detail.contains("witness.example"))
    })
    .await;
    running.stop().await;
    for bad in
        ["x", "x@http://h", &format!("{}@ftp://h", server.key()), &format!("{}@http://h", log().verifier())]
    {
        assert!(bad.parse::<WitnessConfig>().is_err(), "{bad}");
    }
}
