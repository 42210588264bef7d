//! The console in a real browser: Debian's Chromium walks through every screen of a running platform (`web/e2e`).

use std::path::PathBuf;
use std::process::Command;

use crate::platform::{Platform, text};
use crate::real::turn;

fn web() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../web")
}

/// Runs one of the walks of `web/e2e` over the platform, or the steps of it that `HAFEN_STEPS` names, between commas; its
/// output is the test's.
fn walk(platform: &Platform, which: &str) {
    let modules = web().join("node_modules/playwright-core");
    assert!(modules.exists(), "{} is missing: run `make console` first", modules.display());
    let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
    let endpoint: serde_json::Value = serde_json::from_str(&endpoint).unwrap();
    // Passkeys are bound to a name, never to an address.
    let url = endpoint["url"].as_str().unwrap().replace("127.0.0.1", "localhost");
    let invitation = std::fs::read_to_string(platform.home.path().join("invitation")).unwrap();
    let only = std::env::var("HAFEN_STEPS").unwrap_or_default();
    let output = Command::new("node")
        .arg(web().join("e2e/walk.mjs"))
        .arg(which)
        .args(only.split(',').filter(|step| !step.is_empty()))
        .env("HAFEN_URL", &url)
        .env("HAFEN_INVITATION", invitation.trim())
        .env("HAFEN_PICTURE", PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("console-{which}.png")))
        .output()
        .unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("{said}");
}

#[test]
fn every_screen_in_both_languages_and_colours() {
    // A browser draws with a priority above that of emulated machines, which would be late for what is timed.
    let _turn = turn();
    let shop = crate::apps::Shop::open(Platform::start(&["--deploy-patience", "2"]));
    shop.push("one");
    let spec = serde_json::json!({ "source": { "repository": "shop" }, "on": "web", "run": "./shop", "replicas": 3,
        "health": { "path": "/healthz", "interval_ms": 100 } });
    assert!(shop.set(&spec).status.success());
    shop.settles();
    shop.push("two");
    shop.settles();
    walk(&shop.platform, "steps");
}

#[test]
fn from_a_plan_to_a_shell_and_back_on_real_machines() {
    let _turn = turn();
    walk(&Platform::real(), "real");
}
