//! An independent client (Authlib, from `PyPI`) completes each flow against a real listener, and checks what it gets itself.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hafen_base::{Clock as _, SystemClock, SystemRandom};
use hafen_identity::model::totp::{TotpSecret, step_at};
use hafen_identity::{Cost, Identity, IdentityConfig};
use hafen_work::Health;
use serde_json::json;

use crate::world::{PASSWORD, base32, served};

#[tokio::test(flavor = "multi_thread")]
async fn authlib_completes_each_flow() {
    let database = hafen_db::testing::sqlite();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // The machine's clock: Authlib checks times by it.
    let identity = Identity::open(IdentityConfig {
        location: database.location.clone(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        health: Health::default(),
        key: hafen_seal::MasterKey::generate(&hafen_base::SystemRandom),
        public_url: url.clone(),
        cost: Cost::LOWEST,
        local_operator: None,
        fetch: Arc::new(hafen_identity::Network::new().unwrap()),
        machines: None,
        loopback_issuers: false,
    })
    .await
    .unwrap();
    let router = served(&identity);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let invitation = identity.bootstrap_invitation().await.unwrap().unwrap();
    let scripts = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts"));
    let work = std::env::var_os("CARGO_TARGET_TMPDIR")
        .map_or_else(|| std::env::temp_dir().join("hafen-authlib"), PathBuf::from);
    let input = json!({ "url": url, "invitation": invitation.expose(), "password": PASSWORD });
    let mut command = Command::new(scripts.join("authlib"));
    command.arg(&work).arg(input.to_string());
    let done =
        tokio::time::timeout(Duration::from_mins(5), tokio::task::spawn_blocking(move || command.output()))
            .await;
    let output = done.expect("within five minutes").unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    for flow in [
        "code flow ok",
        "refresh ok",
        "reuse refused ok",
        "device flow ok",
        "revocation ok",
        "introspection ok",
        "id token ok",
    ] {
        assert!(out.contains(flow), "{flow} is missing: {out}\n{err}");
    }
    // The codes that the script makes are ours as well: both follow RFC 6238.
    let _same = TotpSecret::from_bytes(base32("GEZDGNBVGY3TQOJQ")).code(step_at(SystemClock.now()));
    server.abort();
}
