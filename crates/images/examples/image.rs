//! Builds, verifies and imports by hand, and for tests that need a process of their own.
//!
//! `image STORE HOME build RECIPE.json [LOCK.json]` · `image STORE HOME verify DIGEST` · `image STORE HOME import LOCATION SHA256`
//!
//! Progress goes to standard error, the digest to standard output.

use std::path::Path;
use std::process::ExitCode;

use hafen_images::{Digest, Error, Result, Store};

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words).await {
        Ok(digest) => {
            println!("{digest}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[String]) -> Result<Digest> {
    let progress = |text: String, percent: Option<u8>| match percent {
        Some(percent) => eprintln!("{percent:>3} % {text}"),
        None => eprintln!("      {text}"),
    };
    let usage = || {
        Error::Invalid(
            "usage: image STORE HOME build RECIPE [LOCK] | verify DIGEST | import LOCATION SHA256".into(),
        )
    };
    let read =
        |path: &String| std::fs::read_to_string(path).map_err(|e| Error::Invalid(format!("{path}: {e}")));
    let [store, home, verb, first, rest @ ..] = words else { return Err(usage()) };
    let store = Store::open(Path::new(store), Path::new(home))?;
    match (verb.as_str(), rest) {
        ("build", [] | [_]) => {
            let recipe =
                serde_json::from_str(&read(first)?).map_err(|e| Error::Invalid(format!("{first}: {e}")))?;
            let lock = rest.first().map(read).transpose()?;
            Ok(store.build(&recipe, lock.as_deref(), progress).await?.digest)
        }
        ("verify", []) => {
            let digest = first.parse()?;
            store.verify(&digest, progress).await?;
            Ok(digest)
        }
        ("import", [sha256]) => Ok(store.import(first, sha256, progress).await?.digest),
        _ => Err(usage()),
    }
}
