//! Private sources elsewhere, by the whole product: a token that is missing, one that is read, and its value, which is nowhere.

use serde_json::{Value, json};

use crate::apps::Shop;
use crate::platform::{Platform, text, until};
use crate::vault::{assert_nowhere, set};

const CANARY: &str = "canary+token/of=the.source";

/// Nothing listens there.
fn spec(port: u16) -> Value {
    json!({ "source": { "git": format!("https://127.0.0.1:{port}/shop.git"), "token": { "secret": "shop-source" } },
            "on": "web", "run": "./shop" })
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_token_is_read_with_its_reason_and_lies_nowhere() {
    let shop = Shop::open(Platform::traced());
    let port = free_port();
    let wrong = json!({ "source": { "repository": "shop", "token": { "secret": "shop-source" } }, "on": "web", "run": "./shop" });
    let refused = shop.set(&wrong);
    assert!(text(&refused.stderr).contains("a repository here needs none"), "{}", text(&refused.stderr));
    // It is made, and says what is missing.
    let made = shop.set(&spec(port));
    assert!(made.status.success(), "{}", text(&made.stderr));
    let failed =
        until("the deployment fails", || shop.history().into_iter().find(|one| one["state"] == "failed"));
    let reason = failed["reason"].as_str().unwrap();
    assert!(
        reason.contains("hafen secret set shop-source") && reason.contains("https://127.0.0.1"),
        "{reason}"
    );
    let shown = shop.platform.good(&["app", "show", "shop"]);
    assert!(shown.contains("secret shop-source"), "{shown}");

    set(&shop.platform, "shop-source", CANARY.as_bytes());
    shop.platform.good(&["deploy", "shop", "--no-wait"]);
    let reason = until("the fetch is tried", || {
        let newest = shop.history().into_iter().next()?;
        newest["reason"].as_str().filter(|reason| reason.contains("cannot be fetched")).map(str::to_owned)
    });
    assert!(reason.contains(&format!("https://127.0.0.1:{port}/shop.git cannot be fetched")), "{reason}");
    let read = until("the reading", || {
        let list = shop.platform.json(&["ledger", "list", "--limit", "0"]);
        list["items"].as_array()?.iter().find(|entry| entry["kind"] == "secret.read").cloned()
    });
    let wanted = format!("fetch of the source of app shop from https://127.0.0.1:{port}");
    assert_eq!((&read["object"], &read["what"]["reason"]), (&json!("secret/shop-source"), &json!(wanted)));
    assert_eq!(read["actor_kind"], "platform", "{read}");
    assert_nowhere(&shop.platform, CANARY);
    shop.platform.good(&["app", "cancel", "shop"]);
}
