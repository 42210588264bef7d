//! Several homes share a store: what one of them needs is never removed by another.

use hafen_images::{Error, Image, Store};

use crate::support::{folder, names, quiet};

async fn import(store: &Store, dir: &std::path::Path, name: &str) -> Image {
    let (path, hash) = crate::cloud::disk(dir, name, 1 << 20);
    store.import(path.to_str().unwrap(), &hash, quiet).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_no_home_holds_is_removed() {
    let dir = folder();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    std::fs::create_dir(&one).unwrap();
    std::fs::create_dir(&two).unwrap();
    let root = dir.path().join("store");
    let (a, b) = (Store::open(&root, &one).unwrap(), Store::open(&root, &two).unwrap());
    let kept = import(&a, dir.path(), "kept").await;
    let shared = import(&a, dir.path(), "shared").await;
    let free = import(&a, dir.path(), "free").await;
    b.hold(&shared.digest).await.unwrap();
    std::fs::write(root.join("packages").join(format!("{}.deb", "0".repeat(64))), vec![1; 8192]).unwrap();

    let keep = [kept.digest.clone()];
    let (removed, freed) = a.gc(&keep, true).await.unwrap();
    assert_eq!(removed, std::slice::from_ref(&free.digest));
    assert_eq!(a.list().await.unwrap().len(), 3);
    let before = freed;
    let (removed, freed) = a.gc(&keep, false).await.unwrap();
    assert_eq!((removed, freed), (vec![free.digest.clone()], before));
    assert!(freed > (1 << 20) + 8192);
    assert_eq!(a.get(&free.digest).await.unwrap(), None);
    assert!(matches!(a.hold(&free.digest).await, Err(Error::NotFound(_))));
    assert_eq!(names(&root.join("packages")), [""; 0]);
    assert_eq!(names(&root.join("work")), [""; 0]);

    // What was let go of is another's alone now, and its to remove; what is found again is held again.
    assert_eq!(a.list().await.unwrap().len(), 2);
    assert_eq!(b.gc(&[], true).await.unwrap().0, std::slice::from_ref(&shared.digest));
    let (path, hash) = crate::cloud::disk(dir.path(), "again", 1 << 20);
    let again = b.import(path.to_str().unwrap(), &hash, quiet).await.unwrap();
    a.import("/nowhere", &hash, quiet).await.unwrap();
    assert_eq!(b.gc(&[], false).await.unwrap().0, std::slice::from_ref(&shared.digest));
    assert!(a.get(&again.digest).await.unwrap().is_some());

    // A home that is gone holds nothing.
    std::fs::remove_dir(&one).unwrap();
    let mut removed = b.gc(&[], false).await.unwrap().0;
    removed.sort();
    let mut all = vec![again.digest, kept.digest];
    all.sort();
    assert_eq!(removed, all);
    assert_eq!(names(&root.join("images")), [""; 0]);
    assert_eq!(names(&root.join("holds")), [""; 0]);
    assert_eq!(names(&root.join("index")), [""; 0]);
}
