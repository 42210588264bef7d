//! Committed documents are current. `HAFEN_UPDATE=1` writes them anew.

use crate::platform::Platform;

/// Asks the running platform with nothing but a socket, as any client could.
fn get(platform: &Platform, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let endpoint: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(platform.home.path().join("api.json")).unwrap())
            .unwrap();
    let address = endpoint["url"].as_str().unwrap().trim_start_matches("http://");
    let token = std::fs::read_to_string(platform.home.path().join("token")).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

#[test]
fn the_committed_openapi_document_is_current() {
    let platform = Platform::start(&[]);
    let document: serde_json::Value = serde_json::from_str(&get(&platform, "/api/v1/openapi.json")).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let text = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/openapi.json");
    if std::env::var_os("HAFEN_UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == text,
        "docs/reference/openapi.json: run make openapi"
    );
    let page = get(&platform, "/api/docs");
    assert!(page.contains("/api/v1/projects/{project}/machines") && !page.contains("<script"));
}
