//! Any one byte of an export that is another one is found, with its place.

use hafen_db::testing;
use hafen_ledger::{ExportFiles, PersonalCheck};
use hafen_tlog::{Files as _, verify_export};

use crate::support::{House, person};

/// Writes one byte in its place: a file that is written anew costs a sync on some file systems.
fn put(path: &std::path::Path, at: usize, byte: u8) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[byte], at as u64).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_byte_of_a_small_log_counts() {
    let house = House::new(testing::sqlite()).await;
    let running = house.start().await;
    for n in 0..3 {
        house
            .things
            .happens(person("u-1", "Ada"), "machine.created", &format!("machine/m-{n}"), "made")
            .await;
    }
    running.signed(3).await;
    let (file, key) = running.export("personal=true").await;
    let bytes = std::fs::read(file.path()).unwrap();
    let check = |path: &std::path::Path| match ExportFiles::open(path) {
        Err(error) => Err(error.message().to_owned()),
        Ok(files) => verify_export(&files, &key, Some(&PersonalCheck))
            .map(|_| ())
            .map_err(|faults| faults[0].path.clone()),
    };
    check(file.path()).unwrap();

    // The archive, byte by byte.
    for (at, byte) in bytes.iter().enumerate() {
        put(file.path(), at, byte ^ (1 << (at % 8)));
        assert!(check(file.path()).is_err(), "byte {at} of the archive");
        put(file.path(), at, *byte);
    }
    let other = tempfile::NamedTempFile::new().unwrap();
    for end in [0, 1, 511, 512, bytes.len() - 513, bytes.len() - 1] {
        std::fs::write(other.path(), &bytes[..end]).unwrap();
        assert!(check(other.path()).is_err(), "cut off at {end}");
    }
    std::fs::write(other.path(), [&bytes[..], &[0; 512]].concat()).unwrap();
    assert!(check(other.path()).is_err(), "something follows");

    // Unpacked by the tar of everybody, file by file, byte by byte; and the file is named.
    let folder = tempfile::tempdir().unwrap();
    let unpacked =
        std::process::Command::new("tar").arg("-xf").arg(file.path()).arg("-C").arg(folder.path()).status();
    assert!(unpacked.unwrap().success());
    check(folder.path()).unwrap();
    let paths = ExportFiles::open(folder.path()).unwrap().paths();
    assert!(paths.iter().any(|path| path == "personal/000.p/3"), "{paths:?}");
    for path in &paths {
        let full = folder.path().join(path);
        let good = std::fs::read(&full).unwrap();
        for (at, byte) in good.iter().enumerate() {
            put(&full, at, byte ^ (1 << (at % 8)));
            assert!(check(folder.path()).is_err(), "{path}, byte {at}");
            if at == 0 {
                assert_eq!(check(folder.path()).unwrap_err(), *path);
            }
            put(&full, at, *byte);
        }
    }
    check(folder.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_personal_payloads_an_export_names_nobody() {
    let house = House::new(testing::sqlite()).await;
    let running = house.start().await;
    house.things.happens(person("u-1", "Ada Lovelace"), "machine.created", "machine/m", "Ada made it").await;
    running.signed(1).await;
    let (file, _) = running.export("").await;
    let text = String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned();
    assert!(text.contains("machine/m") && !text.contains("Ada") && !text.contains("u-1"), "{text}");
}
