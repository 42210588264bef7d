//! Passkeys, with a software authenticator that is not the library's own half.

use hafen_identity::Presented;
use serde_json::{Value, json};
use url::Url;
use webauthn_authenticator_rs::AuthenticatorBackend as _;
use webauthn_authenticator_rs::softpasskey::SoftPasskey;
use webauthn_rs_proto::{CreationChallengeResponse, RequestChallengeResponse};

use crate::world::{Person, World};

/// A device that remembers for whom it made which key: `SoftPasskey` has no memory of that.
pub struct Device {
    soft: SoftPasskey,
    origin: Url,
    known: Option<(Vec<u8>, Vec<u8>)>,
    /// Verifies who holds it, as it is asked to.
    checks: bool,
}

impl Device {
    pub fn new() -> Self {
        Self {
            soft: SoftPasskey::new(true),
            origin: Url::parse("https://hafen.example.org").unwrap(),
            known: None,
            checks: true,
        }
    }

    pub fn create(&mut self, options: &Value) -> Value {
        let options: CreationChallengeResponse = serde_json::from_value(options.clone()).unwrap();
        let mut options = options.public_key;
        let selection = options.authenticator_selection.as_mut().unwrap();
        assert!(selection.require_resident_key, "discoverable");
        assert_eq!(serde_json::to_value(selection.user_verification).unwrap(), "required");
        selection.require_resident_key = false;
        let handle: Vec<u8> = options.user.id.clone();
        let made = self.soft.perform_register(self.origin.clone(), options, 1000).unwrap();
        self.known = Some((made.raw_id.clone(), handle));
        serde_json::to_value(made).unwrap()
    }

    pub fn get(&mut self, options: &Value) -> Value {
        let options: RequestChallengeResponse = serde_json::from_value(options.clone()).unwrap();
        let mut options = options.public_key;
        assert!(options.allow_credentials.is_empty(), "the authenticator says whose it is");
        let (id, handle) = self.known.clone().unwrap();
        let allow = json!([{ "type": "public-key", "id": base64_url(&id) }]);
        options.allow_credentials = serde_json::from_value(allow).unwrap();
        if !self.checks {
            options.user_verification = serde_json::from_value(json!("discouraged")).unwrap();
        }
        let mut proven = self.soft.perform_auth(self.origin.clone(), options, 1000).unwrap();
        proven.response.user_handle = Some(handle);
        serde_json::to_value(proven).unwrap()
    }
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

async fn register(world: &World, person: &Person, device: &mut Device) -> Value {
    world.step_up(person).await;
    let begun = world.post("/me/passkeys/options", &person.token, json!({})).await.is(200);
    let body = json!({ "ceremony": begun["ceremony"], "credential": device.create(&begun["options"]), "name": "Laptop" });
    world.post("/me/passkeys", &person.token, body).await.is(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_signs_in_without_a_name_and_counts_as_two_factors() {
    for (name, database) in hafen_db::testing::both() {
        let world = World::open(database).await;
        let owner = world.owner().await;
        let mut device = Device::new();
        let made = register(&world, &owner, &mut device).await;
        assert_eq!(made["name"], "Laptop", "{name}");
        let begun = world.post("/sign-in/passkey/options", "", json!({})).await.is(200);
        let body = json!({ "ceremony": begun["ceremony"], "credential": device.get(&begun["options"]) });
        let done = world.post("/sign-in/passkey", "", body.clone()).await.is(200);
        let token = done["session"]["token"].as_str().unwrap();
        let caller = world.identity.authenticate(Presented::Bearer(token)).await.unwrap();
        assert!(caller.strong && caller.actor.id == owner.id, "{name}");
        assert_eq!(
            world.post("/sign-in/passkey", "", body).await.code(),
            "401 ceremony_over",
            "{name}: replayed"
        );
        let shown = world.get("/me/passkeys", &owner.token).await.is(200);
        assert!(!shown["items"][0]["last_used_at"].is_null(), "{name}");

        // Step-up by passkey.
        world.clock.step(std::time::Duration::from_mins(6));
        let begun = world.post("/sign-in/passkey/options", "", json!({})).await.is(200);
        let body = json!({ "ceremony": begun["ceremony"], "credential": device.get(&begun["options"]) });
        world.post("/step-up", token, body).await.is(200);

        let path = format!("/me/passkeys/{}", made["id"].as_str().unwrap());
        world.send("DELETE", &path, token, None).await.is(204);
        let begun = world.post("/sign-in/passkey/options", "", json!({})).await.is(200);
        let body = json!({ "ceremony": begun["ceremony"], "credential": device.get(&begun["options"]) });
        assert_eq!(
            world.post("/sign-in/passkey", "", body).await.code(),
            "401 sign_in_failed",
            "{name}: removed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_assertions_are_refused() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let owner = world.owner().await;
    let mut device = Device::new();
    register(&world, &owner, &mut device).await;
    let begin = || async { world.post("/sign-in/passkey/options", "", json!({})).await.is(200) };
    let send = |ceremony: Value, credential: Value| {
        let world = &world;
        async move {
            world
                .post("/sign-in/passkey", "", json!({ "ceremony": ceremony, "credential": credential }))
                .await
        }
    };
    let begun = begin().await;
    device.origin = Url::parse("https://hafen.example.com").unwrap();
    let phished = device.get(&begun["options"]);
    device.origin = Url::parse("https://hafen.example.org").unwrap();
    assert_eq!(
        send(begun["ceremony"].clone(), phished).await.code(),
        "401 sign_in_failed",
        "made for another origin"
    );

    let (first, second) = (begin().await, begin().await);
    let crossed = device.get(&first["options"]);
    assert_eq!(
        send(second["ceremony"].clone(), crossed).await.code(),
        "401 sign_in_failed",
        "another challenge"
    );

    let begun = begin().await;
    let mut changed = device.get(&begun["options"]);
    let mut other = Device::new();
    let person = world.person(&owner, "viewer", "vera@example.org").await;
    register(&world, &person, &mut other).await;
    changed["response"]["userHandle"] = json!(base64_url(&other.known.as_ref().unwrap().1));
    assert_eq!(
        send(begun["ceremony"].clone(), changed).await.code(),
        "401 sign_in_failed",
        "another's handle"
    );

    // A device that does not check who holds it.
    let begun = begin().await;
    device.checks = false;
    let unchecked = device.get(&begun["options"]);
    assert_eq!(
        send(begun["ceremony"].clone(), unchecked).await.code(),
        "401 sign_in_failed",
        "nobody was verified"
    );
    let begun = begin().await;
    assert_eq!(send(begun["ceremony"].clone(), json!({ "nonsense": 1 })).await.code(), "400 invalid");
    let (_, text) = world.events().await;
    assert!(text.contains("sign_in.refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_accepted_with_a_passkey_alone_and_the_last_factor_stays() {
    let world = World::open(hafen_db::testing::sqlite()).await;
    let invitation = world.identity.bootstrap_invitation().await.unwrap().unwrap();
    let begun = world.post("/invitations/begin", "", json!({ "token": invitation.expose() })).await.is(200);
    let ask = json!({ "ceremony": begun["ceremony"], "login": "olga@example.org", "name": "Olga" });
    let options = world.post("/invitations/passkey", "", ask).await.is(200);
    let mut device = Device::new();
    let body = json!({
        "ceremony": begun["ceremony"], "login": "olga@example.org", "name": "Olga", "passkey": device.create(&options["options"]),
    });
    let accepted = world.post("/invitations/accept", "", body).await.is(201);
    assert_eq!(accepted["person"]["factors"], json!(["passkey", "recovery_codes"]));
    let token = accepted["session"]["token"].as_str().unwrap();
    let passkey =
        world.get("/me/passkeys", token).await.is(200)["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        world.send("DELETE", &format!("/me/passkeys/{passkey}"), token, None).await.code(),
        "409 last_factor"
    );
    let begun = world.post("/sign-in/passkey/options", "", json!({})).await.is(200);
    let body = json!({ "ceremony": begun["ceremony"], "credential": device.get(&begun["options"]) });
    world.post("/sign-in/passkey", "", body).await.is(200);
}
