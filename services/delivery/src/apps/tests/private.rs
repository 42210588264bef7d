//! Private sources elsewhere: who may name a token, and what a change of it does.

use hafen_base::{ErrorKind, Result};
use hafen_client::wire::AppSpec;
use serde_json::json;

use super::super::preview::preview_spec;
use super::world::{World, somebody, spec, worlds};

const URL: &str = "https://git.example.org/shop.git";

fn private(url: &str, secret: &str) -> AppSpec {
    spec(&json!({ "source": { "git": url, "token": { "secret": secret } } }))
}

async fn put(world: &World, role: &str, wanted: &AppSpec) -> Result<()> {
    somebody(role).acts(world.apps.app_put("hello", "shop", wanted, &|_| Ok(()))).await.map(drop)
}

#[tokio::test]
async fn who_sends_a_secret_to_a_url_needs_the_right_to_read_it() {
    for world in worlds().await {
        let refused = put(&world, "developer", &private(URL, "read-shop")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
        assert!(
            refused.to_string().contains("\"read-shop\" does not go to https://git.example.org"),
            "{refused}"
        );
        put(&world, "maintainer", &private(URL, "read-shop")).await.unwrap();
        // Others change the rest of it.
        let mut changed = private(URL, "read-shop");
        (changed.run, changed.source.branch) = (Some("./shop --fast".into()), "next".into());
        put(&world, "developer", &changed).await.unwrap();
        // To somebody's own server, another secret, or to a machine where it can be printed.
        let elsewhere = private("https://evil.example.org/shop.git", "read-shop");
        let other = private(URL, "db-password");
        let mut printed = changed.clone();
        printed.env = serde_json::from_value(json!({ "A": { "secret": "read-shop" } })).unwrap();
        for wanted in [elsewhere, other, printed] {
            let refused = put(&world, "developer", &wanted).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Forbidden, "{wanted:?}: {refused}");
        }
        // And what a machine has may not go to a URL by that.
        let mut run = changed.clone();
        run.env = serde_json::from_value(json!({ "A": { "secret": "db-password" } })).unwrap();
        put(&world, "maintainer", &run).await.unwrap();
        run.source.token.as_mut().unwrap().secret = "db-password".into();
        let refused = put(&world, "developer", &run).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
    }
}

#[tokio::test]
async fn a_refused_token_is_told_and_another_one_deploys() {
    for world in worlds().await {
        *world.commits.refuses.lock().unwrap() = Some("refused the token");
        world.put("shop", &private(URL, "read-shop")).await.unwrap();
        world.steps("shop", 3).await;
        assert_eq!(world.states("shop").await, ["failed"]);
        assert_eq!(world.deployment("shop", 1).await.reason, "refused the token read-shop");
        *world.commits.refuses.lock().unwrap() = None;
        world.put("shop", &private(URL, "read-shop-2")).await.unwrap();
        world.steps("shop", 15).await;
        assert_eq!(world.states("shop").await, ["failed", "succeeded"]);
        // What serves is no other for it.
        world.put("shop", &private(URL, "read-shop-3")).await.unwrap();
        world.steps("shop", 3).await;
        assert_eq!(world.states("shop").await.len(), 2);
        assert_eq!(world.app("shop").await.unwrap().spec.source.token.unwrap().secret, "read-shop-3");
        // It fails for a token, and the token is changed: what was asked for is tried again.
        *world.commits.refuses.lock().unwrap() = Some("refused the token");
        world.deploy_ref("shop", "next").await;
        world.steps("shop", 3).await;
        assert_eq!(world.states("shop").await, ["failed", "succeeded", "failed"]);
        *world.commits.refuses.lock().unwrap() = None;
        world.put("shop", &private(URL, "read-shop-4")).await.unwrap();
        world.steps("shop", 15).await;
        assert_eq!(world.states("shop").await, ["failed", "succeeded", "failed", "succeeded"]);
        assert_eq!(world.deployment("shop", 4).await.git_ref.as_deref(), Some("next"));
    }
}

#[test]
fn a_preview_keeps_the_token_that_never_comes_to_a_machine() {
    let mut wanted = private(URL, "read-shop");
    wanted.env = serde_json::from_value(json!({ "A": { "secret": "db-password" } })).unwrap();
    let preview = preview_spec(&wanted, "feature/x");
    assert_eq!(preview.secrets_on_machines().len(), 0);
    assert_eq!(preview.secrets().into_iter().collect::<Vec<_>>(), ["read-shop"]);
}
