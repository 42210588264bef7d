//! Workload identity: a job's JWT is traded once, by table.

use std::process::Command;
use std::time::Duration;

use hafen_base::Clock as _;
use hafen_identity::Presented;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::world::{Answer, World};

const ISSUER: &str = "https://gitlab.example.org";

/// A GitLab that signs with RSA, as GitLab does, and with P-256.
struct Issuer {
    rsa: EncodingKey,
    ec: EncodingKey,
    jwks: Value,
}

impl Issuer {
    fn new() -> Self {
        // A key in the repository would be one that scanners find; Debian's openssl makes a fresh one.
        let openssl = |arguments: &[&str]| {
            let done = Command::new("openssl")
                .args(arguments)
                .output()
                .expect("openssl is among the packages of tests");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            done.stdout
        };
        let rsa = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
        let ec = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        let (rsa, ec) = (EncodingKey::from_rsa_pem(&rsa).unwrap(), EncodingKey::from_ec_pem(&ec).unwrap());
        let jwk = |key: &EncodingKey, algorithm, kid: &str| {
            let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
            jwk["kid"] = json!(kid);
            jwk
        };
        let jwks = json!({ "keys": [
            jwk(&rsa, Algorithm::RS256, "rsa"), jwk(&ec, Algorithm::ES256, "ec"),
            { "kty": "oct", "kid": "oct", "alg": "HS256", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA" },
        ] });
        Self { rsa, ec, jwks }
    }

    fn sign(&self, kid: &str, claims: &Value) -> String {
        let (algorithm, key) =
            if kid == "ec" { (Algorithm::ES256, &self.ec) } else { (Algorithm::RS256, &self.rsa) };
        encode(&Header { kid: Some(kid.into()), ..Header::new(algorithm) }, claims, key).unwrap()
    }
}

fn seconds(world: &World) -> i64 {
    world.clock.now().micros() / 1_000_000
}

fn claims(world: &World, jti: &str) -> Value {
    let now = seconds(world);
    json!({
        "iss": ISSUER, "aud": "https://hafen.example.org", "sub": "project_path:acme/shop:ref_type:branch:ref:main", "jti": jti,
        "iat": now, "nbf": now - 5, "exp": now + 600, "project_path": "acme/shop", "ref": "main", "ref_protected": "true", "job_id": "17",
    })
}

async fn trade(world: &World, jwt: &str) -> Answer {
    let pairs = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", jwt),
    ];
    world.form("/oauth/token", "", &pairs).await
}

async fn trusting(world: &World, issuer: &Issuer) -> (crate::world::Person, Value) {
    let owner = world.owner().await;
    world.post("/teams", &owner.token, json!({ "name": "web" })).await.is(201);
    world.send("PUT", "/project-owners/shop", &owner.token, Some(json!({ "team": "web" }))).await.is(200);
    let body = json!({
        "name": "gitlab-shop", "issuer": ISSUER, "audience": "https://hafen.example.org", "jwks": issuer.jwks,
        "claims": { "project_path": "acme/shop", "ref_protected": "true", "sub": "project_path:acme/*" },
        "scopes": ["delivery.release"], "projects": ["shop"], "role": "developer", "scope": "project/shop",
    });
    let made = world.post("/workload-identities", &owner.token, body).await.is(201);
    (owner, made)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_trades_its_token_for_a_short_and_limited_one() {
    for (name, database) in hafen_db::testing::both() {
        let (world, issuer) = (World::open(database).await, Issuer::new());
        let (owner, trust) = trusting(&world, &issuer).await;
        for kid in ["rsa", "ec"] {
            let jwt = issuer.sign(kid, &claims(&world, kid));
            let answer = trade(&world, &jwt).await.is(200);
            assert_eq!(answer["expires_in"], 600, "{name}: no longer than the job's own");
            let token = answer["access_token"].as_str().unwrap();
            let caller = world.identity.authenticate(Presented::Bearer(token)).await.unwrap();
            assert_eq!(caller.actor.kind.as_str(), "workload", "{name}");
            assert_eq!(
                (&caller.actor.id, caller.strong, caller.platform),
                (&trust["id"].as_str().unwrap().to_owned(), false, false),
                "{name}"
            );
            assert_eq!(caller.scopes.as_deref(), Some(&["delivery.release".to_owned()][..]), "{name}");
            let project = world.identity.project_owner("shop").await.unwrap();
            assert_eq!(caller.project_roles("shop", &project), ["developer"], "{name}");
            assert_eq!(
                world.post("/tokens", token, json!({ "name": "x" })).await.status,
                400,
                "{name}: it makes no tokens"
            );
            let again = trade(&world, &jwt).await;
            assert_eq!(
                (again.status.as_u16(), &again.body["error"]),
                (400, &json!("invalid_grant")),
                "{name}: replayed"
            );
            let (_, text) = world.events().await;
            assert!(!text.contains(&jwt) && !text.contains(token), "{name}");
        }
        let jwt = issuer.sign("ec", &claims(&world, "last"));
        let token = trade(&world, &jwt).await.is(200)["access_token"].as_str().unwrap().to_owned();
        world.send("DELETE", "/workload-identities/gitlab-shop", &owner.token, None).await.is(204);
        assert_eq!(
            world.get("/whoami", &token).await.status,
            401,
            "{name}: no longer trusted, it ends at once"
        );
        assert_eq!(trade(&world, &issuer.sign("ec", &claims(&world, "after"))).await.status, 400, "{name}");
    }
}

fn raw(header: &Value, claims: &Value, signature: &str) -> String {
    use base64::Engine as _;
    let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_foreign_tokens_are_refused_each_with_a_reason() {
    let (world, issuer, stranger) =
        (World::open(hafen_db::testing::sqlite()).await, Issuer::new(), Issuer::new());
    trusting(&world, &issuer).await;
    let good = claims(&world, "j");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let now = seconds(&world);
    // The public key as an HMAC secret, in the forms that libraries were caught with.
    let public = issuer.jwks["keys"][0]["n"].as_str().unwrap();
    let confused = |kid: &str, secret: &[u8]| {
        encode(
            &Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) },
            &good,
            &EncodingKey::from_secret(secret),
        )
        .unwrap()
    };
    let signed = issuer.sign("ec", &good);
    let (head, tail) = signed.split_at(signed.rfind('.').unwrap());
    let critical = Header { kid: Some("ec".into()), ..Header::new(Algorithm::ES256) };
    let critical = {
        let mut header = serde_json::to_value(&critical).unwrap();
        header["crit"] = json!(["exp"]);
        raw(&header, &good, &tail[1..])
    };
    let mut wrong_alg =
        serde_json::to_value(Header { kid: Some("rsa".into()), ..Header::new(Algorithm::ES256) }).unwrap();
    wrong_alg["alg"] = json!("ES256");
    let table: Vec<(&str, String, &str)> = vec![
        ("alg none", raw(&json!({ "alg": "none", "kid": "ec" }), &good, ""), "algorithm"),
        ("alg None", raw(&json!({ "alg": "None", "kid": "ec" }), &good, ""), "algorithm"),
        ("no alg", raw(&json!({ "kid": "ec" }), &good, "x"), "algorithm"),
        ("HMAC under the modulus", confused("rsa", public.as_bytes()), "algorithm"),
        (
            "HMAC under the JWKS's symmetric key",
            confused("oct", b"secret-secret-secret-secret-secret"),
            "algorithm",
        ),
        ("ES256 under an RSA key", raw(&wrong_alg, &good, &tail[1..]), "algorithm"),
        ("no kid", raw(&json!({ "alg": "ES256" }), &good, &tail[1..]), "names no key"),
        (
            "kid unknown",
            issuer.sign("ec", &good).replacen(
                head.split('.').next().unwrap(),
                raw(&json!({ "alg": "ES256", "kid": "x" }), &json!({}), "").split('.').next().unwrap(),
                1,
            ),
            "not one of this issuer's",
        ),
        (
            "kid a path",
            raw(&json!({ "alg": "ES256", "kid": "../../dev/null" }), &good, "x"),
            "not one of this issuer's",
        ),
        ("crit", critical, "critical"),
        ("b64", raw(&json!({ "alg": "ES256", "kid": "ec", "b64": false }), &good, &tail[1..]), "critical"),
        ("a stranger's key under our kid", stranger.sign("ec", &good), "signature"),
        (
            "jwk in the header",
            raw(
                &json!({ "alg": "ES256", "kid": "ec", "jwk": stranger.jwks["keys"][1] }),
                &good,
                stranger.sign("ec", &good).rsplit('.').next().unwrap(),
            ),
            "signature",
        ),
        ("no signature", format!("{head}."), "signature"),
        (
            "claims changed",
            {
                let other = issuer.sign("ec", &with("project_path", json!("evil/shop")));
                format!("{}.{}", other.rsplit_once('.').unwrap().0, &tail[1..])
            },
            "signature",
        ),
        ("wrong audience", issuer.sign("ec", &with("aud", json!("https://other.example"))), "audience"),
        ("no audience", issuer.sign("ec", &without("aud")), "aud"),
        (
            "wrong issuer",
            issuer.sign("ec", &with("iss", json!("https://gitlab.evil.example"))),
            "trusts this issuer",
        ),
        ("no issuer", issuer.sign("ec", &without("iss")), "names no issuer"),
        ("issuer a list", issuer.sign("ec", &with("iss", json!([ISSUER]))), "names no issuer"),
        ("expired", issuer.sign("ec", &with("exp", json!(now - 61))), "expired"),
        ("no expiry", issuer.sign("ec", &without("exp")), "exp"),
        ("expiry a text", issuer.sign("ec", &with("exp", json!("never"))), "exp"),
        ("for ever", issuer.sign("ec", &with("exp", json!(now + 10_000_000))), "longer than a day"),
        ("not yet valid", issuer.sign("ec", &with("nbf", json!(now + 120))), "not valid yet"),
        ("issued tomorrow", issuer.sign("ec", &with("iat", json!(now + 86_400))), "not valid yet"),
        ("nbf a text", issuer.sign("ec", &with("nbf", json!("x"))), "not valid yet"),
        ("no subject", issuer.sign("ec", &without("sub")), "sub"),
        ("another project", issuer.sign("ec", &with("project_path", json!("acme/shop2"))), "fits the claims"),
        ("unprotected branch", issuer.sign("ec", &with("ref_protected", json!("false"))), "fits the claims"),
        ("a claim is missing", issuer.sign("ec", &without("ref_protected")), "fits the claims"),
        (
            "a claim is a list",
            issuer.sign("ec", &with("project_path", json!(["acme/shop"]))),
            "fits the claims",
        ),
        ("oversized", issuer.sign("ec", &with("padding", json!("x".repeat(20_000)))), "too long"),
        ("encrypted (five parts)", "a.b.c.d.e".into(), "compact"),
        ("two parts", head.into(), "compact"),
        ("garbage", "not a token".into(), "compact"),
        ("not base64", "ä.ö.ü".into(), "compact"),
    ];
    for (what, jwt, reason) in table {
        let answer = trade(&world, &jwt).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body["error"].as_str()),
            (400, Some("invalid_grant")),
            "{what}: {}",
            answer.body
        );
        let description = answer.body["error_description"].as_str().unwrap();
        assert!(description.contains(reason), "{what}: {description}");
    }
    // The leeway is for clocks, and a JWT is no token of the API.
    trade(&world, &issuer.sign("ec", &with("exp", json!(now - 30)))).await.is(200);
    assert_eq!(
        world.identity.authenticate(Presented::Bearer(&signed)).await.unwrap_err().code(),
        "unauthenticated"
    );
    let access = "urn:ietf:params:oauth:token-type:access_token";
    let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    let other = world
        .form(
            "/oauth/token",
            "",
            &[("grant_type", grant), ("subject_token_type", access), ("subject_token", &signed)],
        )
        .await;
    assert_eq!(other.body["error"], "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_without_conditions_or_above_ones_own_rights_is_not_made() {
    let (world, issuer) = (World::open(hafen_db::testing::sqlite()).await, Issuer::new());
    let owner = world.owner().await;
    let maintainer = world.person(&owner, "maintainer", "max@example.org").await;
    let body = |claims: Value, role: &str, jwks: Value| json!({ "name": "x", "issuer": ISSUER, "audience": "a", "jwks": jwks, "claims": claims, "role": role, "scope": owner.organisation });
    let good = json!({ "sub": "x" });
    for (token, claims, role, jwks, expected) in [
        (&owner.token, json!({}), "viewer", issuer.jwks.clone(), 400),
        (&owner.token, json!({ "sub": "*" }), "viewer", issuer.jwks.clone(), 400),
        (&owner.token, good.clone(), "viewer", json!({ "keys": [] }), 400),
        (&owner.token, good.clone(), "viewer", json!("x"), 400),
        (&owner.token, good.clone(), "nonsense", issuer.jwks.clone(), 400),
        (&maintainer.token, good.clone(), "owner", issuer.jwks.clone(), 403),
        (&maintainer.token, good.clone(), "viewer", issuer.jwks.clone(), 201),
    ] {
        let answer = world.post("/workload-identities", token, body(claims, role, jwks)).await;
        assert_eq!(answer.status.as_u16(), expected, "{role}: {}", answer.body);
    }
    world.clock.step(Duration::from_mins(6));
    let late =
        world.post("/workload-identities", &owner.token, body(good, "viewer", issuer.jwks.clone())).await;
    assert_eq!(late.code(), "403 step_up_required");
}
