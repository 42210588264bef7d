//! Guessing is slowed, and nobody can keep another out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{PASSWORD, World};

fn body(login: &str, password: &str, device: Option<&str>) -> Value {
    json!({ "login": login, "password": password, "device": device })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_guesses_is_slowed_and_the_owner_is_not() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let guess = |from: &'static str, password: &'static str, device: Option<String>| {
            let (world, login) = (&world, owner.login.clone());
            async move {
                world
                    .send_from(
                        from,
                        "POST",
                        "/sign-in/password",
                        "",
                        Some(body(&login, password, device.as_deref())),
                    )
                    .await
            }
        };
        for _ in 0..5 {
            assert_eq!(guess("203.0.113.5:1", "wrong", None).await.status, 401, "{name}");
        }
        let slowed = guess("203.0.113.77:1", PASSWORD, None).await;
        assert_eq!(
            slowed.code(),
            "429 sign_in_throttled",
            "{name}: the whole prefix, and right passwords too"
        );
        assert!(slowed.body["detail"].as_str().unwrap().contains("1 s"), "{name}: {}", slowed.body);
        // The owner, from elsewhere, and from behind the attacker's own address with its device.
        assert_eq!(guess("192.0.2.9:1", PASSWORD, None).await.status, 200, "{name}");
        assert_eq!(guess("203.0.113.5:1", PASSWORD, Some(owner.device.clone())).await.status, 200, "{name}");
        // It ends by itself, and a right password makes it forgotten.
        world.clock.step(Duration::from_secs(1));
        assert_eq!(guess("203.0.113.5:1", PASSWORD, None).await.status, 200, "{name}");
        assert_eq!(guess("203.0.113.5:1", "wrong", None).await.status, 401, "{name}");
        assert_eq!(guess("203.0.113.5:1", PASSWORD, None).await.status, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_from_everywhere_slows_strangers_for_a_minute_at_most_and_the_owners_device_not_at_all() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    for round in 0..60 {
        let from = format!("10.{round}.0.1:1");
        world
            .send_from(&from, "POST", "/sign-in/password", "", Some(body(&owner.login, "wrong", None)))
            .await;
    }
    let fresh = |device: Option<String>| {
        let (world, login) = (&world, owner.login.clone());
        async move {
            world
                .send_from(
                    "192.0.2.200:1",
                    "POST",
                    "/sign-in/password",
                    "",
                    Some(body(&login, PASSWORD, device.as_deref())),
                )
                .await
        }
    };
    assert_eq!(fresh(None).await.status, 429);
    assert_eq!(fresh(Some(owner.device.clone())).await.status, 200);
    assert_eq!(fresh(Some("hafen_dev_nonsense".into())).await.status, 429);
    world.clock.step(Duration::from_mins(1));
    assert_eq!(fresh(None).await.status, 200, "a minute is the longest");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_guesses_at_once_are_counted_before_they_are_looked_at() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let guesses = (0..40).map(|_| {
            world.send_from(
                "203.0.113.5:1",
                "POST",
                "/sign-in/password",
                "",
                Some(body(&owner.login, "wrong", None)),
            )
        });
        let answers = futures::future::join_all(guesses).await;
        let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
        assert!(looked_at <= 5, "{name}: {looked_at} of 40 were compared");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_not_there_are_slowed_alike() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    world.owner().await;
    let guess = || {
        world.send_from(
            "203.0.113.5:1",
            "POST",
            "/sign-in/password",
            "",
            Some(body("nobody@example.org", "wrong", None)),
        )
    };
    for _ in 0..5 {
        assert_eq!(guess().await.status, 401);
    }
    assert_eq!(guess().await.status, 429);
}
