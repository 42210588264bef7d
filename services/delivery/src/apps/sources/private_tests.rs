//! Private sources elsewhere: who gets the token, and where its value is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::server::{SECRET, Safe, Server, TOKEN, of, sh, with_token};
use super::*;

/// As it is, as a header has it, as a URL has it.
fn forms() -> [String; 3] {
    [
        TOKEN.to_owned(),
        STANDARD.encode(format!("git:{TOKEN}")),
        "canary%2Btoken%2Fof%3Dthe.company".to_owned(),
    ]
}

#[tokio::test]
async fn a_private_source_opens_with_its_token() {
    let server = Server::start().await;
    // As an editor leaves it.
    let vault = Safe::with(format!("{TOKEN}\n").as_bytes());
    let git = server.company(&vault);
    assert_eq!(git.resolve(of(&server.private()), None).await.unwrap(), server.commit);
    git.archive(of(&server.private()), &server.commit, server.home.path()).await.unwrap();
    // By a redirect within that host, too.
    let renamed = with_token(server.at("renamed"));
    assert_eq!(git.resolve(of(&renamed), None).await.unwrap(), server.commit);
    let reading =
        format!("platform {SECRET}: fetch of the source of app shop from https://localhost:{}", server.port);
    assert_eq!(
        *vault.readings.lock().unwrap(),
        [reading.clone(), reading],
        "what is there is not fetched again"
    );
    server.log("host.log", "git 200 /private/").await;

    // Another user has another password.
    vault.set(b"a-password");
    let deploy = AppSource { username: Some("deploy".into()), ..server.private() };
    assert_eq!(git.resolve(of(&deploy), None).await.unwrap(), server.commit);
    server.log("host.log", "deploy 200 /private/").await;
}

#[tokio::test]
async fn the_next_fetch_uses_the_next_version() {
    let server = Server::start().await;
    let vault = Safe::with(b"one-that-has-ended");
    let git = server.company(&vault);
    let refused = git.resolve(of(&server.private()), None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    vault.set(TOKEN.as_bytes());
    assert_eq!(git.resolve(of(&server.private()), None).await.unwrap(), server.commit);
    vault.set(b"one-that-has-ended");
    assert_eq!(git.resolve(of(&server.private()), None).await.unwrap_err().kind(), ErrorKind::Invalid);
    // What is here already needs none.
    git.archive(of(&server.private()), &server.commit, server.home.path()).await.unwrap();
}

#[tokio::test]
async fn what_opens_nothing_is_refused_with_what_to_do() {
    let server = Server::start().await;
    for (value, source, kind, wanted) in [
        (
            &b"a-wrong-canary"[..],
            server.private(),
            ErrorKind::Invalid,
            "refused the token, the secret \"shop-source\"",
        ),
        (
            TOKEN.as_bytes(),
            AppSource { username: Some("deploy".into()), ..server.private() },
            ErrorKind::Invalid,
            "another `username`",
        ),
        (TOKEN.as_bytes(), server.at("private"), ErrorKind::Invalid, "name a token for it in the app"),
        (TOKEN.as_bytes(), with_token(server.at("nowhere")), ErrorKind::Unavailable, "may not read it"),
        (b"", server.private(), ErrorKind::Conflict, "it has no characters"),
        (b"a-canary\nof-two-lines", server.private(), ErrorKind::Conflict, "line breaks"),
        (b"a-canary\xff", server.private(), ErrorKind::Conflict, "it is no text"),
        (&[b'x'; 5000], server.private(), ErrorKind::Conflict, "more than 4096 bytes"),
    ] {
        let git = server.company(&Safe::with(value));
        let told = tokio::time::timeout(Duration::from_secs(60), git.resolve(of(&source), None)).await;
        let error = told.expect("an answer").unwrap_err();
        assert_eq!(error.kind(), kind, "{source:?}: {error}");
        let text = format!("{error} {} {error:?}", error.cause_chain());
        assert!(text.contains(wanted) && text.contains("https://localhost"), "{source:?}: {text}");
        assert!(!text.contains("canary"), "{text}");
    }
    let none = server.company(&Arc::new(Safe::default()));
    let error = none.resolve(of(&server.private()), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("hafen secret set shop-source"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_another_host_does_not_take_the_token_along() {
    let server = Server::start().await;
    let git = server.company(&Safe::with(TOKEN.as_bytes()));
    // What is open there is fetched, as ever.
    assert_eq!(git.resolve(of(&with_token(server.at("beside"))), None).await.unwrap(), server.commit);
    // What is closed there asks for a password, and gets none.
    let error = git.resolve(of(&with_token(server.at("closed"))), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let there = format!("leads to https://127.0.0.1:{}", server.beside);
    assert!(error.to_string().contains(&there) && error.to_string().contains("name the address"), "{error}");
    // Nor when it asks late.
    let error = git.resolve(of(&with_token(server.at("halved"))), None).await.unwrap_err();
    assert!(error.to_string().contains(&there), "{error}");
    server.log("beside.log", "401 /half/shop.git/git-upload-pack").await;
    // This one leads there only when it has seen the token.
    let walled = git.resolve(of(&with_token(server.at("walled"))), None).await.unwrap_err();
    assert!(walled.to_string().contains("name the address"), "{walled}");
    assert!(forms().iter().all(|form| !walled.to_string().contains(form)), "{walled}");
    server.log("host.log", "git 302 /walled/").await;
    let sent = server.log("beside.log", "401 /private/").await;
    assert!(sent.iter().all(|line| line.starts_with("- ") && line.ends_with("[-]")), "{sent:?}");
}

#[tokio::test]
async fn a_server_that_says_the_token_again_brings_it_into_no_message() {
    let server = Server::start().await;
    let git = server.company(&Safe::with(TOKEN.as_bytes()));
    let error = git.resolve(of(&with_token(server.at("echo"))), None).await.unwrap_err();
    let text = format!("{error} {error:?} {}", error.cause_chain());
    assert!(text.contains("you sent Basic ***") && text.contains("which is git:***"), "{text}");
    assert!(forms().iter().all(|form| !text.contains(form)), "{text}");
}

/// Command lines of all processes that hold one of these, by their ids.
fn processes(words: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // One that ends in this moment has none any more.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if words.iter().any(|word| line.contains(word)) {
            found.push((name, line));
        }
    }
    found
}

#[tokio::test]
async fn the_value_is_in_no_argument_and_no_file() {
    let server = Server::start().await;
    let git = server.company(&Safe::with(TOKEN.as_bytes()));
    let done = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&done);
    let helper = format!("credential.https://localhost:{}.helper", server.port);
    let watch = tokio::task::spawn_blocking(move || {
        let (mut shown, mut held) = (Vec::new(), false);
        while !over.load(Ordering::Relaxed) {
            shown.extend(processes(&forms()));
            for (id, _) in processes(std::slice::from_ref(&helper)) {
                let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
                held |= environment.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
            }
        }
        (shown, held)
    });
    let source = with_token(server.at("slow"));
    let found = git.resolve(of(&source), None).await;
    done.store(true, Ordering::Relaxed);
    let (shown, held) = watch.await.unwrap();
    assert_eq!(found.unwrap(), server.commit);
    assert_eq!(shown, Vec::new());
    assert!(held, "it was looked at while git had it");
    let (mut refused, wrong) = (server.company(&Safe::with(b"canary-that-is-wrong")), server.private());
    refused.copies = Copies::new(server.path("others"));
    refused.resolve(of(&wrong), None).await.unwrap_err();
    for form in forms().iter().map(String::as_str).chain(["canary-that-is-wrong"]) {
        // By a file: the words that are looked for are in no argument of grep's either.
        std::fs::write(std::env::temp_dir().join(format!("hafen-words-{}", server.port)), form).unwrap();
        let words = std::env::temp_dir().join(format!("hafen-words-{}", server.port));
        let holders = sh(server.home.path(), &format!("grep -rlaF -f {} . || true", words.display()));
        std::fs::remove_file(words).unwrap();
        assert_eq!(holders, "", "{form}");
    }
}

#[tokio::test]
async fn an_app_without_the_token_has_nothing_of_what_was_fetched_with_it() {
    let server = Server::start().await;
    let git = server.company(&Safe::with(TOKEN.as_bytes()));
    git.resolve(of(&server.private()), None).await.unwrap();
    let error = git.archive(of(&server.at("private")), &server.commit, server.home.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    // Both copies are kept for as long as somebody names them.
    let used = [("hello".to_owned(), server.private())];
    git.keep(&used).await.unwrap();
    assert_eq!(std::fs::read_dir(server.path("copies")).unwrap().count(), 1);
    git.archive(of(&server.private()), &server.commit, server.home.path()).await.unwrap();
}
