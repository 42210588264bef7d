//! What is one app's own stays so: what is said of its builds, and machines that are not its.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::apps::Shop;
use crate::git::remote;
use crate::http::token;
use crate::platform::{Platform, text, until};

fn built(repository: &str, run: &str) -> Value {
    json!({ "source": { "repository": repository }, "on": "web", "run": "./shop",
            "build": { "image": "web", "run": [run], "output": "." } })
}

fn set(shop: &Shop, app: &str, spec: &Value) {
    let file = shop.platform.home.path().join("app.json");
    std::fs::write(&file, spec.to_string()).unwrap();
    shop.platform.good(&["app", "set", app, "--from", file.to_str().unwrap()]);
}

fn build(shop: &Shop, app: &str, number: usize) -> Value {
    until("the build ends", || {
        let all = shop.platform.json(&["build", "list", app]);
        let id = format!("b{number}");
        let found = all["items"].as_array()?.iter().find(|one| one["id"] == id.as_str())?.clone();
        matches!(found["state"].as_str()?, "succeeded" | "failed").then_some(found)
    })
}

/// The repository that the statement of a build names.
fn source(shop: &Shop, app: &str) -> String {
    let envelope = shop.platform.json(&["build", "provenance", app, "b1"]);
    let statement = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let statement: Value = serde_json::from_slice(&statement).unwrap();
    statement["predicate"]["buildDefinition"]["externalParameters"]["source"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_said_of_a_build_is_its_own_apps() {
    let shop = Shop::open(Platform::start(&[]));
    shop.sh("echo page > index.html");
    shop.push("one");
    shop.platform.good(&["repository", "create", "secret-customer"]);
    let other = remote(&shop.platform, &token(&shop.platform), "secret-customer");
    shop.sh(&format!("git push -q {other} HEAD:main"));
    set(&shop, "shop", &built("shop", "make dist"));
    let first = build(&shop, "shop", 1);
    set(&shop, "copy", &built("secret-customer", "make dist"));
    let second = build(&shop, "copy", 1);
    // Two apps that build the same share its bytes, and nothing else.
    assert_eq!(first["artifact"], second["artifact"], "{first} {second}");
    assert!(source(&shop, "shop").ends_with("/git/hello/shop.git"), "{}", source(&shop, "shop"));
    assert!(source(&shop, "copy").ends_with("/git/hello/secret-customer.git"));
    // An app made anew under its name has nothing of the one before.
    shop.platform.good(&["app", "delete", "copy"]);
    until("the app is gone", || {
        (!shop.platform.run(&["app", "show", "copy"]).status.success()).then_some(())
    });
    set(&shop, "copy", &built("shop", "make fail"));
    assert_eq!(build(&shop, "copy", 1)["state"], "failed");
    let none = shop.platform.run(&["build", "provenance", "copy", "b1"]);
    assert!(text(&none.stderr).contains("provenance of build b1"), "{}", text(&none.stderr));
}

#[test]
fn a_machine_that_only_has_a_builders_name_is_left_alone() {
    let shop = Shop::open(Platform::start(&[]));
    let mine = "build-shop-1-1";
    shop.platform.good(&["machine", "create", mine, "--image", "web", "--network", "backend"]);
    shop.push("one");
    set(&shop, "shop", &built("shop", "make dist"));
    let failed = build(&shop, "shop", 1);
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(failed["reason"].as_str().unwrap().contains(mine), "it says which name is taken: {failed}");
    shop.platform.good(&["deploy"]);
    assert_eq!(build(&shop, "shop", 2)["state"], "succeeded");
    // With the last builder its network goes.
    until("the builders are gone", || {
        let networks = shop.platform.good(&["network", "list", "--json"]);
        (!networks.contains("hafen-build")).then_some(())
    });
    let machine = shop.platform.json(&["machine", "show", mine]);
    assert_eq!(
        (machine["state"].as_str(), machine["wanted_state"].as_str()),
        (Some("started"), Some("started"))
    );
}
