use crate::support::{loud, recipe, store};

#[tokio::test(flavor = "multi_thread")]
async fn scratch() {
    let dir = std::path::Path::new("/tmp/x/store");
    let store = store(dir, dir);
    let started = std::time::Instant::now();
    let image = store.build(&recipe(), None, loud).await.unwrap();
    eprintln!("{image:?} {:?}", started.elapsed());
    store.verify(&image.digest, loud).await.unwrap();
    eprintln!("{:?}", started.elapsed());
}
