//! The routes: tiles and checkpoints as C2SP has them, filters, pages, proofs, bad input.

use hafen_db::testing;
use hafen_tlog::{Checkpoint, Note, ProofFile, Tile, VerifierKey, bundle_read, leaf_hash, root_of_leaves};

use crate::support::{House, person};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_tiles_can_rebuild_the_tree() {
    let house = House::new(testing::sqlite()).await;
    let running = house.start().await;
    let (status, _, body) = running.get("/ledger/checkpoint").await;
    assert_eq!(status, 404, "{}", String::from_utf8_lossy(&body));
    house.things.many(700).await;
    running.signed(700).await;
    let shard = running.shards().await.remove(0);
    let key: VerifierKey = shard.key.parse().unwrap();
    for prefix in ["/ledger".to_owned(), format!("/ledger/{}", shard.name)] {
        let (status, headers, body) = running.get(&format!("{prefix}/checkpoint")).await;
        assert_eq!((status.as_u16(), headers["cache-control"].to_str().unwrap()), (200, "no-cache"));
        let note = Note::parse(&body).unwrap();
        note.verify(&[&key]).unwrap();
        let checkpoint: Checkpoint = note.text.parse().unwrap();
        assert_eq!((checkpoint.size, checkpoint.origin.as_str()), (700, shard.origin.as_str()));
        let mut leaves = Vec::new();
        for tile in Tile::all(700) {
            let (status, headers, body) = running.get(&format!("{prefix}/{tile}")).await;
            assert_eq!(status, 200, "{tile}");
            assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
            match tile.level {
                None => leaves.extend(bundle_read(&body, tile.width).unwrap().into_iter().map(leaf_hash)),
                Some(_) => assert_eq!(tile.hashes(&body).unwrap().len() as u64, tile.width),
            }
        }
        assert_eq!(root_of_leaves(&leaves), checkpoint.root);
    }
    // A narrower tile is still there, a wider one not yet, and nothing else at all.
    assert_eq!(running.get("/ledger/tile/0/002.p/100").await.0, 200);
    for path in [
        "0/002.p/189",
        "0/002",
        "0/003.p/1",
        "1/000",
        "2/000.p/1",
        "0/000.p/256",
        "0/0",
        "x",
        "entries/002",
        "0/../0/000",
        "64/000",
    ] {
        assert_eq!(running.get(&format!("/ledger/tile/{path}")).await.0, 404, "{path}");
    }
    assert_eq!(running.get("/ledger/1999/checkpoint").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_pages_and_proofs() {
    for (backend, database) in testing::both() {
        let house = House::new(database).await;
        let running = house.start().await;
        for n in 0..5 {
            house
                .things
                .happens(person("u-1", "Ada"), "machine.created", &format!("machine/m-{n}"), "")
                .await;
            house
                .things
                .happens(person("u-2", "Bob"), "machine.deleted", &format!("machine/m-{n}"), "")
                .await;
        }
        running.signed(10).await;
        let count = async |query: &str| running.entries(query).await.len();
        let table = [
            ("", 10),
            ("actor=u-1", 5),
            ("actor=Bob", 5),
            ("actor=nobody", 0),
            ("object=machine/m-3", 2),
            ("actor=u-1&object=machine/m-3", 1),
            ("project=hello", 10),
            ("project=other", 0),
            ("organisation=o-1", 10),
            ("organisation=o-2", 0),
            ("kind=machine.created", 5),
            ("kind=machine.*", 10),
            ("kind=mach_ne.*", 0),
            ("kind=%25*", 0),
            ("from=2020-01-01T00:00:00Z&until=2021-01-01T00:00:00Z", 0),
            ("from=2020-01-01T00:00:00Z", 10),
            ("until=2020-01-01T00:00:00Z", 0),
            ("limit=3", 10),
            ("limit=3&order=newest&actor=u-2", 5),
        ];
        for (query, expected) in table {
            assert_eq!(count(query).await, expected, "{backend} {query}");
        }
        let newest = running.entries("limit=3&order=newest").await;
        assert!(newest.iter().zip((0..10).rev()).all(|(entry, at)| entry.position == at), "{backend}");
        let long = format!("kind={}", "x".repeat(256));
        for bad in
            [&*long, "limit=0", "limit=1001", "order=x", "page=x", "from=yesterday", "unknown=1", "actor=%00"]
        {
            let (status, _, body) = running.get(&format!("/api/v1/ledger/entries?{bad}")).await;
            assert_eq!(status, 400, "{backend} {bad}: {}", String::from_utf8_lossy(&body));
        }

        let shard = running.shards().await.remove(0);
        let key: VerifierKey = shard.key.parse().unwrap();
        for position in 0..10 {
            let path = format!("/api/v1/ledger/entries/{}/{position}", shard.name);
            let entry = running.json(&path).await;
            let (_, _, proof) = running.get(&format!("{path}/proof")).await;
            let proof: ProofFile = String::from_utf8(proof).unwrap().parse().unwrap();
            assert_eq!(proof.verify(&key).unwrap().size, 10);
            assert_eq!(proof.record, entry["record"].as_str().unwrap().as_bytes());
        }
        for path in [
            "2026x/0",
            &format!("{}/10", shard.name),
            &format!("{}/-1", shard.name),
            &format!("{}/x", shard.name),
        ] {
            assert_eq!(
                running.get(&format!("/api/v1/ledger/entries/{path}")).await.0,
                404,
                "{backend} {path}"
            );
            assert_eq!(
                running.get(&format!("/api/v1/ledger/entries/{path}/proof")).await.0,
                404,
                "{backend} {path}"
            );
        }
        for (path, body, status) in [
            ("erasures", r#"{"person": "nobody", "reason": "x"}"#, 404),
            ("erasures", r#"{"person": "u-1", "reason": " "}"#, 400),
            ("erasures", r#"{"person": "u-1"}"#, 400),
            ("shards", r#"{"reason": "x"}"#, 409),
            ("shards", r#"{"reason": 1}"#, 400),
        ] {
            let (told, _, text) = running.request("POST", &format!("/api/v1/ledger/{path}"), body).await;
            assert_eq!(told, status, "{backend} {path} {body}: {}", String::from_utf8_lossy(&text));
        }
        assert_eq!(running.get("/api/v1/ledger/export?shard=1999").await.0, 404);
        running.stop().await;
    }
}
