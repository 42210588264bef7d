//! The nouns of identity on the command line: each verb, for a person and for a program.

use serde_json::Value;

use crate::people::{accept, first_owner};
use crate::platform::{Platform, text, until};

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

struct Office(Platform);

impl Office {
    /// For a person, and expects these words; once more for a program.
    fn both(&self, line: &str, expected: &[&str]) -> Value {
        let human = self.0.good(&words(line));
        for word in expected {
            assert!(human.contains(word), "{line}: {word} is missing in\n{human}");
        }
        self.json(line)
    }

    fn json(&self, line: &str) -> Value {
        self.0.json(&words(line))
    }

    /// The id of what a line makes.
    fn id(&self, line: &str) -> String {
        self.json(line)["id"].as_str().unwrap().to_owned()
    }

    fn fails(&self, code: i32, line: &str) -> String {
        let output = self.0.run(&words(line));
        assert_eq!(output.status.code(), Some(code), "{line}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn items(&self, line: &str) -> Vec<Value> {
        let list = self.json(line);
        assert!(list["next_page"].is_null(), "{list}");
        list["items"].as_array().unwrap().clone()
    }
}

#[test]
fn organisations_teams_and_roles() {
    let office = Office(Platform::start(&[]));
    office.both("organisation list", &["NAME", "default"]);
    assert_eq!(office.json("organisation create acme --title Acme")["title"], "Acme");
    office.both("organisation show acme", &["policy second factor  true", "Acme"]);
    let changed = office.json("organisation update acme --session-hours 8");
    assert_eq!(
        (&changed["policy"]["session_hours"], &changed["policy"]["idle_minutes"]),
        (&8.into(), &60.into())
    );
    let changed = office.json("organisation update acme --second-factor optional --title A");
    assert_eq!((&changed["policy"]["second_factor"], &changed["title"]), (&false.into(), &"A".into()));
    assert_eq!(changed["policy"]["session_hours"], 8);
    assert!(office.fails(2, "organisation update acme").contains("nothing to change"));

    let team = office.id("team create web");
    assert_eq!(office.json("team create shop --organisation acme")["name"], "shop");
    office.both("team list", &["web", &team]);
    assert_eq!(office.items("team list --organisation acme").len(), 1);
    office.both("team show web", &[&team]);
    office.both("project-owner set hello web", &["project", "hello", &team]);
    office.both("project-owner list", &["hello"]);
    assert_eq!(office.items("project-owner list")[0]["team"], team);
    assert!(office.fails(1, "team delete web").contains("error:"));
    assert!(office.0.good(&words("team delete shop --organisation acme")).contains("deleted"));
    assert!(office.items("team list --organisation acme").is_empty());

    office.both(
        "role set releaser --permission machine.read --permission stack.apply",
        &["machine.read,stack.apply"],
    );
    office.both("role list", &["releaser"]);
    assert_eq!(office.json("role delete releaser")["status"], "deleted");
    assert!(office.items("role list").is_empty());
}

#[test]
fn people_members_and_sessions() {
    let office = Office(Platform::start(&[]));
    let owner = first_owner(&office.0);
    office.0.good(&["team", "create", "web"]);
    office.0.good(&["project-owner", "set", "hello", "web"]);

    // The secret alone on stdout, so that a script can hand it on.
    let output =
        office.0.run(&words("invite create --role developer --at-team web --login dora@example.org"));
    let secret = text(&output.stdout);
    assert!(
        output.status.success() && secret.starts_with("hafen_") && secret.lines().count() == 1,
        "{secret}"
    );
    assert!(
        text(&output.stderr).contains("dora@example.org") && !text(&output.stderr).contains(secret.trim())
    );
    accept(&office.0, &secret, "dora@example.org");
    let made = office.json("invite create --role viewer");
    assert!(made["invitation"]["scope"].as_str().unwrap().starts_with("org-"), "{made}");
    let id = made["invitation"]["id"].as_str().unwrap().to_owned();
    office.both("invite list", &["accepted", "open", &id]);
    assert_eq!(office.0.good(&["invite", "withdraw", &id]).trim(), "withdrawn");
    assert!(office.items("invite list").iter().any(|one| one["status"] == "withdrawn"));

    office.both("person list", &["dora@example.org", "olga", "totp"]);
    let dora = office.both("person show dora@example.org", &["active"])["id"].as_str().unwrap().to_owned();
    assert_eq!(office.json("person suspend dora@example.org")["status"], "suspended");
    office.both("person activate dora@example.org", &["active"]);
    assert!(office.json("person reset dora@example.org")["token"].as_str().unwrap().starts_with("hafen_"));

    let held = office.items("member list --subject dora@example.org");
    assert_eq!((held.len(), &held[0]["role"]), (1, &"developer".into()));
    let member = office.id("member add dora@example.org --role operator --at-project hello");
    office.both("member add dora@example.org --role viewer", &["viewer", &dora]);
    office.both("member list --at-project hello", &["project/hello", "operator"]);
    assert_eq!(office.items("member list --at-project hello").len(), 1);
    assert_eq!(office.items("member list --at-team web").len(), 1);
    assert_eq!(office.json(&format!("member remove {member}"))["status"], "removed");
    assert!(office.items("member list --at-project hello").is_empty());
    assert!(office.fails(1, "member add nobody --role viewer").contains("nobody"));

    // The owner's own, seen by the host; and by the owner with a second session.
    office.both("session list --subject olga", &["password,totp"]);
    let session = office.items("session list --subject olga")[0]["id"].as_str().unwrap().to_owned();
    let as_owner = |line: &str| {
        let mut command = office.0.command(&words(line));
        command.env("HAFEN_TOKEN", &owner.token);
        command.output().unwrap()
    };
    assert!(as_owner("session revoke --others").status.success());
    let own = as_owner("session list --json");
    let own: Value = serde_json::from_slice(&own.stdout).unwrap();
    assert_eq!(
        (&own["items"][0]["id"], &own["items"][0]["current"]),
        (&session.clone().into(), &true.into())
    );
    assert!(as_owner(&format!("session revoke {session}")).status.success());
    assert!(!as_owner("whoami").status.success());
    office.both("whoami", &["local operator", "owner of org-"]);
}

#[test]
fn robots_tokens_and_what_is_trusted() {
    let office = Office(Platform::start(&[]));
    office.0.manifest(1, "");
    office.0.good(&["apply", "--yes"]);
    office.0.good(&["team", "create", "web"]);
    office.0.good(&["project-owner", "set", "hello", "web"]);
    let robot = office.id("service-account create deployer --team web --description ships");
    office.both("service-account list", &["deployer", "ships"]);
    office.both("service-account show deployer", &[&robot]);
    assert_eq!(office.json("service-account suspend deployer")["status"], "suspended");
    office.both("service-account activate deployer", &["active"]);
    office.json("member add deployer --role operator --at-project hello");

    let line =
        "token create ci --service-account deployer --permission machine.read --only-project hello --days 1";
    let made = office.json(line);
    let token = made["token"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&made["token"]["scopes"][0], &made["token"]["projects"][0]),
        (&"machine.read".into(), &"hello".into())
    );
    let as_robot = |secret: &str| {
        let mut command = office.0.command(&["machine", "list", "-p", "hello"]);
        command.env("HAFEN_TOKEN", secret).output().unwrap()
    };
    let secret = made["secret"].as_str().unwrap();
    let seen = as_robot(secret);
    assert!(seen.status.success() && text(&seen.stdout).contains("web-1"), "{}", text(&seen.stderr));
    office.both("token list --subject deployer", &["machine.read", &token]);
    office.both(&format!("token show {token}"), &["active"]);
    let rotated = office.json(&format!("token rotate {token}"));
    assert!(!as_robot(secret).status.success());
    // The platform tries it itself where nobody else does; here somebody did.
    let ended =
        || Some(office.json(&format!("token show {token}"))).filter(|token| token["status"] == "ended");
    assert_eq!(until("the old one was seen to fail", ended)["proof"]["by"], "presented");
    let next = rotated["token"]["id"].as_str().unwrap();
    assert_eq!(office.0.good(&["token", "revoke", next]).trim(), "revoked");
    assert!(!as_robot(rotated["secret"].as_str().unwrap()).status.success());
    // Printed alone for a script, once.
    let output = office.0.run(&words("token create other --service-account deployer"));
    assert!(text(&output.stdout).starts_with("hafen_sat_") && text(&output.stdout).lines().count() == 1);

    let keys = office.0.home.path().join("jwks.json");
    let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    let jwks = serde_json::json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y }] });
    std::fs::write(&keys, jwks.to_string()).unwrap();
    let line = format!(
        "workload create shop --issuer https://gitlab.example.org --audience https://hafen.example.org --claim ref=main \
         --claim project_path=acme/* --jwks {} --role developer --at-project hello --only-project hello",
        keys.display()
    );
    let made = office.json(&line);
    assert_eq!((&made["claims"]["ref"], &made["scope"]), (&"main".into(), &"project/hello".into()));
    office.both("workload list", &["shop", "project_path=acme/*,ref=main"]);
    office.both("workload show shop", &["https://gitlab.example.org"]);
    assert_eq!(office.json("workload delete shop")["status"], "deleted");
    assert!(office.fails(2, &line.replace("ref=main", "ref")).contains("NAME=VALUE"));

    let secret = office.0.home.path().join("secret");
    std::fs::write(&secret, "of the client\n").unwrap();
    let line = format!(
        "identity-provider create Office --issuer https://login.example.org --client-id hafen --client-secret-file {}",
        secret.display()
    );
    let provider = office.json(&line);
    assert!(!provider.to_string().contains("of the client"), "{provider}");
    let provider = provider["id"].as_str().unwrap();
    office.both("identity-provider list", &["https://login.example.org", provider]);
    assert_eq!(office.json(&format!("identity-provider delete {provider}"))["status"], "deleted");
    assert!(office.items("identity-provider list").is_empty());
}
