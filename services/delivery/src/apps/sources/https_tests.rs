//! Sources from elsewhere, over TLS, with a certificate of a company's authority.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Read as _;

use super::server::{Server, of, sh};
use super::*;

#[tokio::test]
async fn a_source_with_a_certificate_of_a_company() {
    let server = Server::start().await;
    let git = server.git().trusting(&server.path("company.pem")).unwrap();
    for (under, name) in [("git", None), ("git", Some("feature/x")), ("moved", None)] {
        let found = git.resolve(of(&server.at(under)), name).await;
        assert_eq!(found.unwrap(), server.commit, "{under} {name:?}");
    }
    let (mut file, _) = git.archive(of(&server.at("git")), &server.commit, server.home.path()).await.unwrap();
    let mut tar = Vec::new();
    file.read_to_end(&mut tar).unwrap();
    let mut entries = tar::Archive::new(&tar[..]);
    let mut page = String::new();
    let mut entries = entries.entries().unwrap().map(std::result::Result::unwrap);
    let mut found = entries.find(|entry| entry.path_bytes().as_ref() == b"page").expect("the page");
    found.read_to_string(&mut page).unwrap();
    assert_eq!(page, "hello\n");

    // What is pushed later is found later.
    let second = sh(
        server.home.path(),
        "umask 022; cd work; echo again > page; git commit -qam two; git push -q ../repositories/shop.git main; git rev-parse HEAD",
    );
    assert_eq!(git.resolve(of(&server.at("git")), None).await.unwrap(), second);
}

#[tokio::test]
async fn authorities_of_the_host_are_trusted_beside_the_own() {
    let server = Server::start().await;
    // The host knows the company, whatever else is named.
    sh(server.home.path(), "mkdir host; cp company.pem host; openssl rehash host");
    let mut git = server.git().trusting(&server.path("other.pem")).unwrap();
    git.host_roots = server.path("host");
    assert_eq!(git.resolve(of(&server.at("git")), None).await.unwrap(), server.commit);
    for (name, wanted) in [("nothing.pem", "No such file"), ("users", "no certificate in PEM")] {
        let error = server.git().trusting(&server.path(name)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_trusted_private_or_elsewhere_is_refused_and_says_why() {
    let server = Server::start().await;
    let company = || server.git().trusting(&server.path("company.pem")).unwrap();
    let other = server.git().trusting(&server.path("other.pem")).unwrap();
    let by_address = AppSource {
        git: Some(format!("https://127.0.0.1:{}/git/shop.git", server.port)),
        ..server.at("git")
    };
    let unavailable = ErrorKind::Unavailable;
    for (git, source, kind, wanted) in [
        (server.git(), server.at("git"), unavailable, "`hafen serve --git-roots` names"),
        (other, server.at("git"), unavailable, "of an authority that this host knows"),
        // A certificate for another name.
        (company(), by_address, unavailable, "Its certificate must be valid"),
        (company(), server.at("plain"), unavailable, "only https is followed"),
        (company(), server.at("file"), unavailable, "only https is followed"),
        (
            company(),
            server.at("private"),
            ErrorKind::Invalid,
            "asks for a password, so it is private or not there: name a token",
        ),
        (company(), server.at("nowhere"), unavailable, "not found"),
    ] {
        // It asks nobody, and waits for nobody.
        let told = tokio::time::timeout(Duration::from_secs(60), git.resolve(of(&source), None)).await;
        let error = told.expect("an answer").unwrap_err();
        assert_eq!(error.kind(), kind, "{source:?}: {error}");
        let text = error.to_string();
        assert!(text.contains(wanted) && text.contains("https://"), "{source:?}: {text}");
    }
}
