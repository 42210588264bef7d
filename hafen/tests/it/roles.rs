//! Who may do what, over HTTP: every endpoint of the document as every role, held against the committed table. And what a
//! table does not show: tenants, limited tokens, encoded paths.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::http::{send_body, token};
use crate::people::totp;
use crate::platform::Platform;

const ROLES: [&str; 7] = ["owner", "maintainer", "operator", "developer", "auditor", "viewer", "none"];

pub struct World {
    pub platform: Platform,
    pub operator: String,
}

impl World {
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(arguments: &[&str]) -> Self {
        let platform = Platform::start(arguments);
        platform.manifest(1, "");
        platform.good(&["apply", "--yes"]);
        let operator = token(&platform);
        let world = Self { platform, operator };
        world.make("POST", "/teams", &json!({ "name": "web" }));
        world.make("PUT", "/project-owners/hello", &json!({ "team": "web" }));
        world
    }

    /// As the operator.
    pub fn make(&self, method: &str, path: &str, body: &Value) -> Value {
        self.make_as(Some(&self.operator), method, path, body)
    }

    pub fn make_as(&self, token: Option<&str>, method: &str, path: &str, body: &Value) -> Value {
        let (head, answer) =
            send_body(&self.platform, method, &format!("/api/v1{path}"), token, &body.to_string());
        assert!(head.starts_with("HTTP/1.1 20"), "{method} {path} {body}: {head} {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// The token of a new service account that holds `role` at `scope`.
    pub fn account(&self, name: &str, scope: &str, role: &str, limits: &Value) -> String {
        let account = self.make("POST", "/service-accounts", &json!({ "name": name, "team": "web" }));
        if role != "none" {
            let body = json!({ "subject": account["id"], "scope": scope, "role": role });
            self.make("POST", "/memberships", &body);
        }
        let mut body = json!({ "name": name, "service_account": name, "days": 1 });
        body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        format!("Bearer {}", self.make("POST", "/tokens", &body)["secret"].as_str().unwrap())
    }

    /// Somebody who accepts an invitation: the session's token, and a recovery code.
    pub fn person(&self, invitation: &str, login: &str) -> (String, String) {
        let begun = self.make_as(None, "POST", "/invitations/begin", &json!({ "token": invitation }));
        let body = json!({
            "ceremony": begun["ceremony"], "login": login, "name": "Somebody", "password": "a harbour of many ships",
            "totp": totp(begun["totp_secret"].as_str().unwrap()),
        });
        let accepted = self.make_as(None, "POST", "/invitations/accept", &body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (format!("Bearer {}", text(&accepted["session"]["token"])), text(&accepted["recovery_codes"][0]))
    }

    /// `yes` when the gate let it through, whatever came of it there; else how it refused.
    pub fn ask(&self, method: &str, path: &str, token: &str) -> &'static str {
        let (head, body) = send_body(&self.platform, method, path, Some(token), "{}");
        let told: Value = serde_json::from_str(&body).unwrap_or_default();
        let detail = told["detail"].as_str().unwrap_or_default();
        if head.starts_with("HTTP/1.1 403") && detail.contains("is not permitted") {
            "403"
        } else if head.starts_with("HTTP/1.1 404") && detail == "there is no project \"hello\"" {
            "404"
        } else {
            assert!(
                !head.starts_with("HTTP/1.1 401") && !head.starts_with("HTTP/1.1 5"),
                "{method} {path}: {head} {body}"
            );
            "yes"
        }
    }
}

/// The endpoints with their paths filled in. Nothing but the project exists, so that nothing is changed by those who may.
fn endpoints(world: &World) -> Vec<(String, String, String)> {
    let (_, document) = send_body(&world.platform, "GET", "/api/v1/openapi.json", Some(&world.operator), "");
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut list = Vec::new();
    for (route, item) in document["paths"].as_object().unwrap() {
        let open = item.as_object().unwrap().values().any(|operation| operation["security"] == json!([]));
        if open {
            continue;
        }
        let path = route.replace("/projects/{project}", "/projects/hello");
        let path: Vec<&str> =
            path.split('/').map(|part| if part.starts_with('{') { "9" } else { part }).collect();
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            list.push((method.to_ascii_uppercase(), route.clone(), path.join("/")));
        }
    }
    list.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    assert!(list.len() > 110, "{}", list.len());
    list
}

/// Who made something is told by id; the command line shows the name to those who may see who belongs.
#[test]
fn who_made_it_is_named_to_those_who_may_know() {
    let world = World::new();
    let account = |name: &str, role: &str| world.account(name, "project/hello", role, &json!({}));
    let (maker, viewer) = (account("shipwright", "maintainer"), account("guest", "viewer"));
    let body = json!({ "name": "ci", "kind": "gitlab", "app": "shop" });
    let made = world.make_as(Some(&maker), "POST", "/projects/hello/hooks", &body);
    let id = made["hook"]["created_by"].as_str().unwrap();
    assert!(id.starts_with("sa-"), "{made}");
    let seen = |token: &str, arguments: &[&str]| {
        let mut command = world.platform.command(arguments);
        let output = command.env("HAFEN_TOKEN", token.trim_start_matches("Bearer ")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for arguments in [&["hook", "list", "-p", "hello"][..], &["hook", "show", "ci", "-p", "hello"]] {
        for (token, named) in [(&world.operator, true), (&maker, true), (&viewer, false)] {
            let text = seen(token, arguments);
            assert_eq!((text.contains("shipwright"), text.contains(id)), (named, !named), "{text}");
        }
    }
    assert!(seen(&world.operator, &["hook", "show", "ci", "-p", "hello", "--json"]).contains(id));
}

#[test]
fn the_committed_table_is_what_the_platform_answers() {
    let world = World::new();
    let endpoints = endpoints(&world);
    let mut text = String::from(
        "# Who may do what\n\nMade by a test (`hafen/tests/it/roles.rs`) that asks every endpoint as every role, by the token of a service account, and held against what the\n\
         platform answers. `yes`: let through; `403`: refused; `404`: as if there were no such project. A person besides proves two factors, and proves one again for\n\
         what cannot be undone. Lists across projects show what is of the projects in\n\
         which the caller holds a role that permits it; what is of all tenants is for owners of the platform.\n",
    );
    let organisation = world.make("GET", "/whoami", &json!({}))["organisation"].as_str().unwrap().to_owned();
    for (title, scope) in [("project", "project/hello"), ("organisation", organisation.as_str())] {
        let tokens = ROLES.map(|role| world.account(&format!("{title}-{role}"), scope, role, &json!({})));
        let _ = write!(
            text,
            "\n## The role is held at the {title}\n\n| endpoint | {} |\n|---|{}\n",
            ROLES.join(" | "),
            "---|".repeat(ROLES.len())
        );
        for (method, route, path) in &endpoints {
            let answers = tokens.each_ref().map(|token| world.ask(method, path, token));
            let _ = writeln!(text, "| `{method} {route}` | {} |", answers.join(" | "));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/authorisation.md");
    if std::env::var_os("HAFEN_UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    for (committed, answered) in committed.lines().zip(text.lines()) {
        assert_eq!(committed, answered, "an endpoint answers otherwise; if that is meant: HAFEN_UPDATE=1");
    }
    assert_eq!(committed.lines().count(), text.lines().count());
    assert_eq!(
        world.platform.json(&["machine", "list"])["items"].as_array().unwrap().len(),
        1,
        "nothing was done"
    );
}

#[test]
fn limits_of_tokens_hold() {
    let world = World::new();
    let organisation = world.make("GET", "/whoami", &json!({}))["organisation"].as_str().unwrap().to_owned();
    let machines = "/api/v1/projects/hello/machines";

    // An owner's token for another project opens neither this one nor what is of no project.
    let elsewhere = world.account("elsewhere", &organisation, "owner", &json!({ "projects": ["other"] }));
    assert_eq!(world.ask("GET", machines, &elsewhere), "404");
    assert_eq!(world.ask("GET", "/api/v1/people", &elsewhere), "403");
    for path in ["/projects", "/events", "/operations", "/ledger/entries", "/access/sessions"] {
        let seen = world.make_as(Some(&elsewhere), "GET", path, &json!({}));
        assert_eq!(seen["items"], json!([]), "{path}");
    }
    let here = world.account("here", &organisation, "owner", &json!({ "projects": ["hello"] }));
    assert_eq!(world.ask("GET", machines, &here), "yes");
    assert_eq!(world.ask("GET", "/api/v1/people", &here), "403");

    let reader = world.account("reader", &organisation, "owner", &json!({ "scopes": ["machine.read"] }));
    assert_eq!(world.ask("GET", machines, &reader), "yes");
    assert_eq!(world.ask("POST", machines, &reader), "403");
    assert_eq!(world.ask("GET", "/api/v1/projects/hello/networks", &reader), "403");

    // A name that is written another way is no other project to the gate than to the handler.
    let member = world.account("member", "project/hello", "viewer", &json!({}));
    for path in [
        "/api/v1/projects/%68ello/machines",
        "/api/v1/projects/HELLO/machines",
        "/api/v1/projects//hello/machines",
    ] {
        let (head, body) = send_body(&world.platform, "GET", path, Some(&member), "");
        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head} {body}");
    }

    // Ended, it opens nothing at once.
    let tokens = world.make("GET", "/tokens?subject=member", &json!({}));
    let id = tokens["items"][0]["id"].as_str().unwrap();
    let (head, _) =
        send_body(&world.platform, "DELETE", &format!("/api/v1/tokens/{id}"), Some(&world.operator), "");
    assert!(head.starts_with("HTTP/1.1 20"), "{head}");
    let (head, _) = send_body(&world.platform, "GET", machines, Some(&member), "");
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
}

#[test]
fn the_first_owner_and_the_owner_of_another_tenant() {
    let world = World::new();
    let file = world.platform.home.path().join("invitation");
    let invitation = std::fs::read_to_string(&file).unwrap();
    let (owner, code) = world.person(invitation.trim(), "olga");
    assert_eq!(world.ask("GET", "/api/v1/projects/hello/machines", &owner), "yes");
    assert_eq!(world.ask("GET", "/api/v1/events", &owner), "yes", "an owner of the platform");
    let again = json!({ "token": invitation.trim() });
    let (head, _) = send_body(&world.platform, "POST", "/api/v1/invitations/begin", None, &again.to_string());
    assert!(head.starts_with("HTTP/1.1 401"), "it is good once: {head}");

    // Who has just proven two factors may do what cannot be undone; a token of theirs, which proves none, may not.
    let delete =
        |token: &str| send_body(&world.platform, "DELETE", "/api/v1/projects/hello", Some(token), "");
    let (head, body) = delete(&owner);
    assert!(head.starts_with("HTTP/1.1 409"), "the project still has machines: {head} {body}");
    let made = world.make_as(Some(&owner), "POST", "/tokens", &json!({ "name": "script", "days": 1 }));
    let script = format!("Bearer {}", made["secret"].as_str().unwrap());
    assert_eq!(world.ask("DELETE", "/api/v1/projects/hello/machines/9", &script), "yes");
    let (head, body) = delete(&script);
    assert!(head.starts_with("HTTP/1.1 403") && body.contains("step_up_required"), "{head} {body}");
    world.make_as(Some(&owner), "POST", "/step-up", &json!({ "recovery_code": code }));

    let tenant = world.make_as(Some(&owner), "POST", "/organisations", &json!({ "name": "tenant" }));
    let id = tenant["id"].as_str().unwrap();
    let body = json!({ "scope": id, "role": "owner" });
    let invited = world.make_as(Some(&owner), "POST", &format!("/invitations?organisation={id}"), &body);
    let (theirs, _) = world.person(invited["token"].as_str().unwrap(), "tina");
    assert_eq!(world.ask("GET", "/api/v1/teams", &theirs), "yes");
    for path in ["", "/machines", "/machines/web-1", "/stack", "/drift", "/machines/web-1/serial"] {
        assert_eq!(world.ask("GET", &format!("/api/v1/projects/hello{path}"), &theirs), "404", "{path}");
    }
    for path in ["projects", "events", "operations", "ledger/entries", "access/sessions"] {
        let seen = world.make_as(Some(&theirs), "GET", &format!("/{path}?limit=1000"), &json!({}));
        assert!(!seen.to_string().contains("hello"), "{path}: {seen}");
    }
    assert_eq!(world.ask("GET", "/ledger/checkpoint", &theirs), "403");
    let people = world.make_as(Some(&theirs), "GET", "/people", &json!({}));
    assert_eq!(people["items"].as_array().unwrap().len(), 1, "{people}");

    // Who did what stands in the ledger, once it is read.
    let entries = world.platform.json(&["ledger", "list", "--limit", "0"]);
    let kinds: Vec<&Value> =
        entries["items"].as_array().unwrap().iter().map(|entry| &entry["kind"]).collect();
    let stepped = kinds.iter().any(|kind| *kind == "step_up.succeeded");
    assert!(stepped, "{kinds:?}");

    // A platform with an owner invites nobody.
    let mut platform = world.platform;
    platform.kill();
    platform.restart();
    assert!(!file.exists());
}

/// What a console shows by `policy/permitted`, the API does; and what it does not show, the API refuses.
#[test]
fn what_is_said_to_be_permitted_is() {
    let world = World::new();
    let of = |token: &str, query: &str| {
        let path = format!("/api/v1/policy/permitted{query}");
        let (head, body) = send_body(&world.platform, "GET", &path, Some(token), "");
        (head, serde_json::from_str::<Value>(&body).unwrap())
    };
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let endpoints = [
        ("machine.read", "GET", "/projects/hello/machines/9"),
        ("machine.run", "POST", "/projects/hello/machines/9/start"),
        ("machine.delete", "DELETE", "/projects/hello/machines/9"),
        ("machine.reach", "GET", "/projects/hello/machines/9/console"),
        ("network.write", "PATCH", "/projects/hello/networks/9"),
        ("secret.read", "POST", "/projects/hello/secrets/9/read"),
        ("hook.write", "DELETE", "/projects/hello/hooks/9"),
    ];
    for role in ROLES {
        let token = world.account(role, "project/hello", role, &json!({}));
        let (head, answer) = of(&token, "?project=hello");
        if role == "none" {
            assert!(head.starts_with("HTTP/1.1 404"), "{head}");
        } else {
            assert_eq!(answer["place"], "project/hello");
            let actions = names(&answer["actions"]);
            for (action, method, path) in &endpoints {
                let may = world.ask(method, &format!("/api/v1{path}"), &token) == "yes";
                assert_eq!(actions.iter().any(|one| one == action), may, "{role} {action}: {answer}");
            }
            assert_eq!(actions.iter().any(|one| one == "project.delete"), role == "owner");
            assert_eq!(answer["step_up"], json!([]), "no person");
        }
        // Beside projects: what spans them, where there is one to see.
        let (_, beside) = of(&token, "");
        let actions = names(&beside["actions"]);
        for (action, roles) in [
            ("account.self", &ROLES[..]),
            ("project.read", &ROLES[..6]),
            ("machine.ssh", &ROLES[..4]),
            ("ledger.read", &["owner", "auditor"]),
            ("people.read", &[]),
            ("image.gc", &[]),
            ("access.revoke", &[]),
        ] {
            let listed = actions.iter().any(|one| one == action);
            assert_eq!(listed, roles.contains(&role), "{role} {action}: {beside}");
        }
    }
    let (_, all) = of(&world.operator, "");
    assert!(names(&all["actions"]).contains(&"image.gc".to_owned()) && all["step_up"] == json!([]), "{all}");
    assert!(of(&world.operator, "?project=Hello").0.starts_with("HTTP/1.1 400"));

    // A person who proves two factors, and one again for what cannot be undone.
    let invitation = std::fs::read_to_string(world.platform.home.path().join("invitation")).unwrap();
    let (session, _) = world.person(invitation.trim(), "olga");
    let (_, fresh) = of(&session, "?project=hello");
    assert!(names(&fresh["actions"]).contains(&"project.delete".to_owned()), "{fresh}");
    assert_eq!(fresh["step_up"], json!([]), "proven a moment ago");
    let token = world.make_as(Some(&session), "POST", "/tokens", &json!({ "name": "mine", "days": 1 }));
    let (_, later) = of(&format!("Bearer {}", token["secret"].as_str().unwrap()), "?project=hello");
    assert!(!names(&later["actions"]).contains(&"project.delete".to_owned()), "{later}");
    assert!(names(&later["step_up"]).contains(&"project.delete".to_owned()), "{later}");
}
