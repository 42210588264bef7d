//! Passwords, one-time codes, recovery codes; timing.

use std::time::{Duration, Instant};

use hafen_base::Clock as _;
use hafen_identity::Cost;
use hafen_identity::model::totp::{TotpSecret, step_at};
use serde_json::{Value, json};

use crate::world::{PASSWORD, World, base32};

async fn password(world: &World, login: &str, password: &str) -> crate::world::Answer {
    world.post("/sign-in/password", "", json!({ "login": login, "password": password })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn password_and_code_sign_in_and_each_code_is_good_once() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let step = password(&world, &owner.login, PASSWORD).await.is(200);
        assert_eq!(step["state"], "second_factor", "{name}");
        assert!(step["session"].is_null(), "{name}: a password alone opens nothing");
        let code = world.code(&owner.totp);
        let second = |step: &Value, code: &str| json!({ "ceremony": step["ceremony"], "totp": code });
        assert_eq!(
            world.post("/sign-in/second-factor", "", second(&step, "000000")).await.code(),
            "401 sign_in_failed",
            "{name}"
        );
        let done = world.post("/sign-in/second-factor", "", second(&step, &code)).await.is(200);
        let token = done["session"]["token"].as_str().unwrap();
        assert_eq!(world.get("/whoami", token).await.is(200)["strong"], true, "{name}");
        assert_eq!(
            world.post("/sign-in/second-factor", "", second(&step, &code)).await.code(),
            "401 ceremony_over",
            "{name}"
        );
        let again = password(&world, &owner.login, PASSWORD).await.is(200);
        assert_eq!(
            world.post("/sign-in/second-factor", "", second(&again, &code)).await.code(),
            "401 sign_in_failed",
            "{name}: replayed"
        );

        let recovery = |code: &str| json!({ "ceremony": again["ceremony"], "recovery_code": code });
        let typed = owner.recovery_codes[0].to_uppercase().replace('-', " ");
        world.post("/sign-in/second-factor", "", recovery(&typed)).await.is(200);
        let third = password(&world, &owner.login, PASSWORD).await.is(200);
        let used = json!({ "ceremony": third["ceremony"], "recovery_code": owner.recovery_codes[0] });
        assert_eq!(
            world.post("/sign-in/second-factor", "", used).await.code(),
            "401 sign_in_failed",
            "{name}: used up"
        );

        let (kinds, text) = world.events().await;
        for kind in ["sign_in.succeeded", "sign_in.refused", "recovery_code.used"] {
            assert!(kinds.iter().any(|k| k == kind), "{name}: {kind}");
        }
        assert!(!text.contains(PASSWORD) && !text.contains(token), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_send_the_same_code_at_once_are_one() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let first = password(&world, &owner.login, PASSWORD).await.is(200);
        let second = password(&world, &owner.login, PASSWORD).await.is(200);
        let code = world.code(&owner.totp);
        let body = |step: &Value| json!({ "ceremony": step["ceremony"], "totp": code });
        let (one, two) = tokio::join!(
            world.post("/sign-in/second-factor", "", body(&first)),
            world.post("/sign-in/second-factor", "", body(&second))
        );
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_codes_end_the_ceremony() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    let step = password(&world, &owner.login, PASSWORD).await.is(200);
    let body = |code: &str| json!({ "ceremony": step["ceremony"], "totp": code });
    for _ in 0..5 {
        assert_eq!(
            world.post("/sign-in/second-factor", "", body("000000")).await.code(),
            "401 sign_in_failed"
        );
    }
    let right = body(&world.code(&owner.totp));
    assert_eq!(world.post("/sign-in/second-factor", "", right).await.code(), "401 ceremony_over");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_wrong_and_suspended_get_one_answer() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    let other = world.person(&owner, "viewer", "vera@example.org").await;
    let suspend = Some(json!({ "status": "suspended" }));
    world.send("PATCH", &format!("/people/{}", other.id), &owner.token, suspend).await.is(200);
    let mut answers = Vec::new();
    for (login, secret) in [
        (owner.login.as_str(), "wrong"),
        ("nobody@example.org", PASSWORD),
        (&other.login, PASSWORD),
        (&owner.id, PASSWORD),
    ] {
        let answer = password(&world, login, secret).await;
        assert_eq!(answer.code(), "401 sign_in_failed", "{login}");
        answers.push(answer.body["detail"].clone());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    let tenant = json!({ "organisation": "nobody", "login": owner.login, "password": PASSWORD });
    assert_eq!(world.post("/sign-in/password", "", tenant).await.code(), "401 sign_in_failed");
    let (_, text) = world.events().await;
    assert!(!text.contains("nobody@example.org"), "what was typed is not written down");
}

/// The quickest answers for a known and for an unknown account are alike. The quickest, because whatever else runs on the machine
/// only adds, and asked until they are: what is left is the work itself. Without the hash for the unknown its quickest answer
/// would be a tenth of the other's, however often one asks.
#[tokio::test(flavor = "multi_thread")]
async fn timing_does_not_tell_accounts() {
    let world = World::with_cost(hafen_db::testing::sqlite(), Cost::STANDARD).await;
    let owner = world.owner().await;
    let mut quickest = [Duration::MAX; 2];
    for round in 0..200 {
        for (at, login) in [(0, owner.login.clone()), (1, format!("nobody-{round}@example.org"))] {
            // Time moves on, so that earlier failures do not slow this one.
            world.clock.step(Duration::from_mins(15));
            let from = format!("198.51.{round}.{at}:1000");
            let body = Some(json!({ "login": login, "password": "quite another password" }));
            let begun = Instant::now();
            world.send_from(&from, "POST", "/sign-in/password", "", body).await.is(401);
            quickest[at] = quickest[at].min(begun.elapsed());
        }
        let [known, unknown] = quickest;
        if round >= 10 && known.abs_diff(unknown) < known.max(unknown) / 4 + Duration::from_millis(2) {
            return;
        }
    }
    panic!("known {:?}, unknown {:?}", quickest[0], quickest[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn factors_are_changed_only_with_a_fresh_second_factor() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let token = &owner.token;
        world.clock.step(Duration::from_mins(6));
        let change = json!({ "current": PASSWORD, "new": "gravel nutmeg parade" });
        assert_eq!(
            world.post("/me/password", token, change.clone()).await.code(),
            "403 step_up_required",
            "{name}"
        );
        assert_eq!(world.post("/me/totp", token, json!({})).await.code(), "403 step_up_required", "{name}");
        assert_eq!(
            world.post("/step-up", token, json!({ "totp": "000000" })).await.code(),
            "403 sign_in_failed",
            "{name}"
        );
        let other = world.sign_in(&owner).await["token"].as_str().unwrap().to_owned();
        world.step_up(&owner).await;
        let common = json!({ "current": PASSWORD, "new": "Password2026!" });
        assert_eq!(world.post("/me/password", token, common).await.code(), "400 password_common", "{name}");
        let wrong = json!({ "current": "wrong", "new": "gravel nutmeg parade" });
        assert_eq!(world.post("/me/password", token, wrong).await.code(), "403 sign_in_failed", "{name}");
        world.post("/me/password", token, change).await.is(204);
        assert_eq!(
            world.get("/whoami", &other).await.code(),
            "401 token_revoked",
            "{name}: other sessions end"
        );
        assert_eq!(world.get("/whoami", token).await.status, 200, "{name}: this one stays");
        assert_eq!(password(&world, &owner.login, PASSWORD).await.status, 401, "{name}");

        let begun = world.post("/me/totp", token, json!({})).await.is(200);
        let fresh = base32(begun["secret"].as_str().unwrap());
        assert!(begun["uri"].as_str().unwrap().starts_with("otpauth://totp/Hafen%20default:"), "{name}");
        let confirm = |code: &str| json!({ "ceremony": begun["ceremony"], "totp": code });
        assert_eq!(world.post("/me/totp/confirm", token, confirm("000000")).await.status, 400, "{name}");
        world.post("/me/totp/confirm", token, confirm(&world.code(&fresh))).await.is(204);
        let codes = world.post("/me/recovery-codes", token, json!({})).await.is(200);
        assert_eq!(codes["codes"].as_array().unwrap().len(), 10, "{name}");
        let step = password(&world, &owner.login, "gravel nutmeg parade").await.is(200);
        let old = TotpSecret::from_bytes(owner.totp.clone()).code(step_at(world.clock.now()));
        let body = json!({ "ceremony": step["ceremony"], "totp": old });
        assert_eq!(
            world.post("/sign-in/second-factor", "", body).await.status,
            401,
            "{name}: the old secret is gone"
        );
        let body = json!({ "ceremony": step["ceremony"], "totp": world.code(&fresh) });
        world.post("/sign-in/second-factor", "", body).await.is(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_takes_a_second_factor_and_a_good_password() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let invitation = world.identity.bootstrap_invitation().await.unwrap().unwrap();
    let begun = world.post("/invitations/begin", "", json!({ "token": invitation.expose() })).await.is(200);
    let totp = base32(begun["totp_secret"].as_str().unwrap());
    let body = |password: Option<&str>, code: Option<&str>| json!({ "ceremony": begun["ceremony"], "login": "olga@example.org", "name": "Olga", "password": password, "totp": code });
    let code = world.code(&totp);
    for (password, code, expected) in [
        (None, None, "400 invalid"),
        (Some("short"), Some(code.as_str()), "400 invalid"),
        (Some("olga-example-1"), Some(code.as_str()), "400 password_common"),
        (Some(PASSWORD), None, "400 invalid"),
        (Some(PASSWORD), Some("000000"), "400 invalid"),
    ] {
        let answer = world.post("/invitations/accept", "", body(password, code)).await;
        assert_eq!(answer.code(), expected, "{password:?} {code:?}: {}", answer.body);
    }
    world.post("/invitations/accept", "", body(Some(PASSWORD), Some(&code))).await.is(201);
    world.clock.step(Duration::from_hours(1));
    assert_eq!(
        world.post("/invitations/accept", "", body(Some(PASSWORD), Some(&code))).await.code(),
        "401 invitation_over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_lost_everything_is_reset_and_comes_back_with_its_roles() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let person = world.person(&owner, "developer", "dora@example.org").await;
        let path = format!("/people/{}/reset", person.id);
        world.clock.step(Duration::from_mins(6));
        assert_eq!(world.post(&path, &owner.token, json!({})).await.code(), "403 step_up_required", "{name}");
        world.step_up(&owner).await;
        let invitation =
            world.post(&path, &owner.token, json!({})).await.is(200)["token"].as_str().unwrap().to_owned();
        assert_eq!(world.get("/whoami", &person.token).await.status, 401, "{name}: all ended");
        assert_eq!(password(&world, &person.login, PASSWORD).await.status, 401, "{name}");
        let back = world.accept(&invitation, "ignored@example.org").await;
        assert_eq!((&back.id, &back.login), (&person.id, &person.login), "{name}");
        assert_eq!(
            world.get("/whoami", &back.token).await.is(200)["roles"][0]["role"],
            "developer",
            "{name}"
        );
    }
}
