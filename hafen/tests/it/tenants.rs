//! What a caller sees of what spans projects, roles that an organisation made, and why the policy decides as it does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::send_body;
use crate::platform::{Platform, text, until};
use crate::roles::World;

const LISTS: [&str; 6] = ["projects", "operations", "events", "changes", "ledger/entries", "access/sessions"];

fn url(platform: &Platform) -> String {
    let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
    let endpoint: Value = serde_json::from_str(&endpoint).unwrap();
    endpoint["url"].as_str().unwrap().to_owned()
}

/// All pages of a list; no page but the last may be short.
fn all(world: &World, token: &str, path: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut page) = (Vec::new(), String::new());
    loop {
        let list = world.make_as(Some(token), "GET", &format!("/{path}?limit={limit}{page}"), &json!({}));
        let found = list["items"].as_array().unwrap();
        items.extend(found.iter().cloned());
        let Some(next) = list["next_page"].as_str() else { return items };
        assert_eq!(found.len(), limit, "{path}: a short page tells that others have something there");
        page = format!("&page={next}");
    }
}

fn projects_of(items: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = items
        .iter()
        .map(|item| item["project"].as_str().or(item["name"].as_str()).unwrap_or_default().to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn quota(world: &World, project: &str, machines: i64) {
    let quota = json!({ "machines": machines, "cpus": 100, "memory": 1_i64 << 40, "disk": 1_i64 << 42 });
    world.make("PUT", &format!("/projects/{project}"), &json!({ "quota": quota }));
}

fn status(world: &World, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let (head, answer) =
        send_body(&world.platform, method, &format!("/api/v1{path}"), Some(token), &body.to_string());
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(&answer).unwrap_or_default())
}

fn organisation(world: &World) -> String {
    world.make("GET", "/whoami", &json!({}))["organisation"].as_str().unwrap().to_owned()
}

/// Another organisation with its owner's token.
fn tenant(world: &World) -> (String, String) {
    let made = world.make("POST", "/organisations", &json!({ "name": "tenant" }));
    let id = made["id"].as_str().unwrap().to_owned();
    let body = json!({ "scope": id, "role": "owner" });
    let invited = world.make("POST", &format!("/invitations?organisation={id}"), &body);
    let (token, _) = world.person(invited["token"].as_str().unwrap(), "tina");
    (id, token)
}

#[test]
fn lists_show_what_one_may_see_and_tell_nothing_of_the_rest() {
    let world = World::new();
    let (id, tina) = tenant(&world);
    let default = organisation(&world);
    for name in ["a", "b", "free", "z"] {
        world.make("PUT", &format!("/projects/{name}"), &json!({}));
    }
    // A tenant's project: its name is taken first. One that is taken can be noticed, whose it is cannot.
    world.make_as(Some(&tina), "POST", "/teams", &json!({ "name": "shop" }));
    let own = json!({ "team": "shop" });
    for taken in ["hello", "free"] {
        let (code, told) = status(&world, "PUT", &format!("/project-owners/{taken}"), &tina, &own);
        assert_eq!((code, &told["code"]), (409, &json!("name_taken")), "{told}");
        for path in [format!("/projects/{taken}"), format!("/projects/{taken}/machines")] {
            assert_eq!(status(&world, "GET", &path, &tina, &json!({})).0, 404, "{path}");
        }
        let (code, taken) = status(&world, "PUT", &format!("/projects/{taken}"), &tina, &json!({}));
        let (other, nowhere) = status(&world, "PUT", "/projects/nowhere", &tina, &json!({}));
        assert_eq!((code, other), (404, 404));
        assert_eq!(taken["title"], nowhere["title"], "{taken} {nowhere}");
    }
    world.make_as(Some(&tina), "PUT", "/project-owners/shop", &own);
    world.make_as(Some(&tina), "PUT", "/projects/shop", &json!({}));

    let viewer = world.account("viewer", "project/hello", "viewer", &json!({}));
    let auditor = world.account("auditor", "project/hello", "auditor", &json!({}));
    let everywhere = world.account("everywhere", &default, "viewer", &json!({}));
    let books = world.account("books", &default, "auditor", &json!({}));
    let nobody = world.account("nobody", &default, "none", &json!({}));
    let narrow = world.account("narrow", &default, "viewer", &json!({ "projects": ["hello", "shop", "a"] }));
    let reader = world.account("reader", &default, "owner", &json!({ "scopes": ["machine.read"] }));

    let names = |token: &str, path: &str, limit: usize| projects_of(&all(&world, token, path, limit));
    for (token, expected) in [
        (&viewer, &["hello"][..]),
        (&everywhere, &["a", "b", "free", "hello", "z"]),
        (&narrow, &["a", "hello"]),
        (&tina, &["shop"]),
        (&nobody, &[]),
        (&world.operator, &["a", "b", "free", "hello", "shop", "z"]),
    ] {
        for limit in [1, 2, 100] {
            assert_eq!(names(token, "projects", limit), expected);
        }
        let seen: Vec<&str> = if expected.is_empty() { vec![] } else { expected.to_vec() };
        assert_eq!(names(token, "events", 1000), seen, "events");
        let changes = all(&world, token, "changes", 1000);
        let of_projects = projects_of(&changes).into_iter().filter(|name| !name.is_empty());
        assert_eq!(of_projects.collect::<Vec<_>>(), seen, "changes");
        // What people do to accounts is for who audits.
        let audits = token == &tina || token == &world.operator;
        let accounts = changes.iter().any(|change| change["service"] == "identity");
        assert_eq!(accounts, audits, "{changes:?}");
        let seen: Vec<&str> = seen.into_iter().filter(|name| *name == "hello").collect();
        assert_eq!(names(token, "operations", 1), seen, "operations");
    }
    // A list is asked for with a right to it, or by who holds nothing and sees nothing.
    assert_eq!(world.ask("GET", "/api/v1/projects", &reader), "403");
    assert_eq!(world.ask("GET", "/api/v1/ledger/entries", &viewer), "403");
    for path in LISTS {
        assert_eq!(all(&world, &nobody, path, 10).len(), 0, "{path}");
    }

    // What one may not see cannot be asked for by its id either.
    let operation = all(&world, &viewer, "operations", 10)[0]["id"].as_str().unwrap().to_owned();
    for (token, expected) in [(&viewer, 200), (&tina, 404), (&nobody, 404)] {
        for end in ["", "/wait?timeout=1"] {
            let path = format!("/operations/{operation}{end}");
            assert_eq!(status(&world, "GET", &path, token, &json!({})).0, expected, "{path}");
        }
    }
    let cancel = format!("/operations/{operation}/cancel");
    assert_eq!(status(&world, "POST", &cancel, &viewer, &json!({})).0, 403);
    assert_eq!(status(&world, "POST", &cancel, &tina, &json!({})).0, 404);

    ledger(&world, &tina, &id, [&auditor, &books]);
    taken_over(&world, &tina, &everywhere);
}

/// Who audits what: a project, the default organisation, a tenant.
fn ledger(world: &World, tina: &str, id: &str, [auditor, books]: [&str; 2]) {
    let entries = |token: &str| all(world, token, "ledger/entries", 1000);
    until("the ledger has followed", || {
        let kinds: Vec<Value> = entries(tina).iter().map(|entry| entry["kind"].clone()).collect();
        (kinds.contains(&json!("project.created")) && kinds.contains(&json!("team.created"))).then_some(())
    });
    for entry in entries(tina) {
        let fits = entry["project"] == "shop" || entry["project"] == "" && entry["organisation"] == id;
        assert!(fits, "{entry}");
    }
    let of_hello = entries(auditor);
    assert_eq!(projects_of(&of_hello), ["hello"]);
    let of_default = entries(books);
    assert!(of_default.len() > of_hello.len());
    assert!(of_default.iter().all(|entry| entry["project"] != "shop" && entry["organisation"] != id));
    let one = &of_hello[0];
    let path = format!("/ledger/entries/{}/{}", one["shard"].as_str().unwrap(), one["position"]);
    for (token, expected) in [(auditor, 200), (books, 200), (tina, 404)] {
        assert_eq!(status(world, "GET", &path, token, &json!({})).0, expected);
    }
    until("it is signed", || {
        (status(world, "GET", &format!("{path}/proof"), &world.operator, &json!({})).0 == 200).then_some(())
    });
    for (token, expected) in [(auditor, 200), (tina, 404)] {
        assert_eq!(status(world, "GET", &format!("{path}/proof"), token, &json!({})).0, expected);
    }
    assert_eq!(world.ask("GET", "/api/v1/ledger/export", tina), "403", "it is of all tenants");
}

/// A project that is gone gives its name free; what happened under it stays its tenant's.
fn taken_over(world: &World, tina: &str, everywhere: &str) {
    let (code, told) = status(world, "DELETE", "/project-owners/shop", tina, &json!({}));
    assert_eq!(code, 409, "it is still there: {told}");
    assert_eq!(status(world, "DELETE", "/projects/shop", tina, &json!({})).0, 204);
    assert_eq!(status(world, "DELETE", "/project-owners/shop", tina, &json!({})).0, 204);
    world.make("PUT", "/projects/shop", &json!({}));
    let of_shop = |token: &str| {
        let all = all(world, token, "events", 1000);
        all.into_iter().filter(|event| event["project"] == "shop").collect::<Vec<_>>()
    };
    assert_eq!(of_shop(&world.operator).len(), 3, "created, deleted, created");
    assert_eq!(of_shop(everywhere).len(), 1, "the default organisation's only");
    assert_eq!(of_shop(tina).len(), 0, "and nothing of it is the tenant's any more");
}

/// Reads events as they come, until one is what is looked for or the stream ends.
pub struct Stream(pub BufReader<TcpStream>);

impl Stream {
    fn open(platform: &Platform, token: &str, header: &str) -> Self {
        Self::of("events", platform, token, header)
    }

    pub fn of(what: &str, platform: &Platform, token: &str, header: &str) -> Self {
        let address = url(platform).trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!(
            "GET /api/v1/{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: text/event-stream\r\nAuthorization: {token}\r\n{header}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        Self(BufReader::new(stream))
    }

    fn until(&mut self, project: &str, what: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "it ended before {what}");
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(data).unwrap();
            let found = event["project"] == project && event["data"].to_string().contains(what);
            seen.push(event);
            if found {
                return seen;
            }
        }
    }
}

#[test]
fn a_stream_of_events_goes_by_the_role_while_it_lasts() {
    let world = World::new();
    world.make("PUT", "/projects/other", &json!({}));
    let viewer = world.account("viewer", "project/hello", "viewer", &json!({}));
    let mut stream = Stream::open(&world.platform, &viewer, "");
    let mut changes = Stream::of("changes", &world.platform, &viewer, "");
    let mut line = String::new();
    while line != ": from now on\n" {
        line.clear();
        assert!(changes.0.read_line(&mut line).unwrap() > 0, "it has begun");
    }
    for (project, machines) in [("other", 301), ("hello", 302), ("other", 303), ("hello", 304)] {
        quota(&world, project, machines);
    }
    let seen = stream.until("hello", "304");
    assert_eq!(projects_of(&seen), ["hello"]);
    // Read on from the middle: the same filter.
    let last = seen[seen.len() - 2]["seq"].as_i64().unwrap();
    let mut again = Stream::open(&world.platform, &viewer, &format!("Last-Event-ID: {last}\r\n"));
    assert_eq!(again.until("hello", "304").len(), 1);

    // The role is taken, then the token: nothing comes after the one, the stream ends with the other.
    let account =
        world.make("GET", "/service-accounts/viewer", &json!({}))["id"].as_str().unwrap().to_owned();
    let held = world.make("GET", &format!("/memberships?subject={account}"), &json!({}));
    let path = format!("/memberships/{}", held["items"][0]["id"].as_str().unwrap());
    assert_eq!(status(&world, "DELETE", &path, &world.operator, &json!({})).0, 204);
    quota(&world, "hello", 305);
    let tokens = world.make("GET", "/tokens?subject=viewer", &json!({}));
    let path = format!("/tokens/{}", tokens["items"][0]["id"].as_str().unwrap());
    assert_eq!(status(&world, "DELETE", &path, &world.operator, &json!({})).0, 204);
    quota(&world, "hello", 306);
    let mut rest = String::new();
    stream.0.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("data: "), "{rest}");
    let mut told = String::new();
    changes.0.read_to_string(&mut told).unwrap();
    let told: Vec<Value> =
        told.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    assert_eq!((projects_of(&told), told.len()), (vec!["hello".to_owned()], 2), "{told:?}");
}

/// Somebody with a token and certificates in a folder of their own.
struct Client<'a> {
    world: &'a World,
    token: String,
    folder: tempfile::TempDir,
}

impl Client<'_> {
    fn login(&self) -> std::process::Output {
        let folder = self.folder.path().to_str().unwrap();
        let mut command = self.world.platform.command(&["login", "--folder", folder]);
        self.env(&mut command);
        command.output().unwrap()
    }

    fn env(&self, command: &mut Command) {
        command.env("HAFEN_URL", url(&self.world.platform));
        command.env("HAFEN_TOKEN", self.token.trim_start_matches("Bearer "));
    }

    /// Connects to port 22 of a machine through the bastion, and says nothing.
    fn connect(&self, machine: &str) -> Child {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(self.folder.path().join("config")).args(["-o", "BatchMode=yes", "-W"]);
        command.arg(format!("{machine}:22")).arg("bastion.hafen");
        command.env("HAFEN_HOME", self.world.platform.home.path()).env_remove("SSH_AUTH_SOCK");
        self.env(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn refused(&self, machine: &str) {
        let output = self.connect(machine).wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains("administratively prohibited"),
            "{machine}: {said}"
        );
    }

    fn principals(&self) -> String {
        let certificate = self.folder.path().join("machine-cert.pub");
        let output = Command::new("ssh-keygen").arg("-Lf").arg(certificate).output().unwrap();
        text(&output.stdout)
    }
}

#[test]
fn ssh_goes_by_the_role_and_ends_with_it() {
    let world = World::with(&["--bastion", "127.0.0.1:0"]);
    world.make("PUT", "/projects/other", &json!({}));
    let client = |name: &str, scope: &str, role: &str| Client {
        world: &world,
        token: world.account(name, scope, role, &json!({})),
        folder: tempfile::tempdir().unwrap(),
    };
    let team = world.make("GET", "/teams", &json!({}))["items"][0]["id"].as_str().unwrap().to_owned();
    let developer = client("developer", "project/hello", "developer");
    let member = client("member", &team, "developer");
    let viewer = client("viewer", "project/hello", "viewer");
    let refused = viewer.login();
    assert!(text(&refused.stderr).contains("machine.ssh is not permitted"), "{}", text(&refused.stderr));
    for one in [&developer, &member] {
        let output = one.login();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let shown = one.principals();
        assert!(shown.contains("project-hello") && !shown.contains("project-other"), "{shown}");
        one.refused("web-1.other.hafen");
    }

    let sessions = || world.make("GET", "/access/sessions", &json!({}))["items"].as_array().unwrap().clone();
    let open = |count: usize| {
        until("the session is open", || {
            let open = sessions().iter().filter(|one| one["ended_at"].is_null()).count();
            (open == count).then_some(())
        });
    };
    let ends = |mut session: Child, what: &str| {
        let lost = Instant::now();
        until(what, || session.try_wait().unwrap());
        assert!(lost.elapsed() < Duration::from_secs(5), "{what}: {:?}", lost.elapsed());
    };
    let first = developer.connect("web-1.hello.hafen");
    open(1);
    let second = member.connect("web-1.hello.hafen");
    open(2);

    // A bastion of its own process asks the platform for the same.
    let mut bastion = world.platform.command(&["bastion", "--listen", "127.0.0.1:0"]);
    let mut bastion = bastion.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(bastion.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().rsplit_once(':').unwrap().1.to_owned();
    let path = developer.folder.path().join("config");
    let config = std::fs::read_to_string(&path).unwrap();
    let old = config.lines().find(|line| line.starts_with("  Port ")).unwrap();
    std::fs::write(&path, config.replace(old, &format!("  Port {port}"))).unwrap();
    let apart = developer.connect("web-1.hello.hafen");
    open(3);

    // The role is taken from one, and the project from the other's team.
    let account =
        world.make("GET", "/service-accounts/developer", &json!({}))["id"].as_str().unwrap().to_owned();
    let body = json!({ "subject": account, "scope": "project/hello", "role": "viewer" });
    world.make("POST", "/memberships", &body);
    ends(first, "the session of who is a viewer now");
    ends(apart, "the session through a bastion of its own process");
    developer.refused("web-1.hello.hafen");
    open(1);
    world.make("POST", "/teams", &json!({ "name": "others" }));
    world.make("PUT", "/project-owners/hello", &json!({ "team": "others" }));
    ends(second, "the session of a team that owns it no more");
    member.refused("web-1.hello.hafen");
    until("their ends are written down", || {
        sessions().iter().all(|one| one["end_reason"] == "revoked").then_some(())
    });
    assert_eq!(sessions().len(), 3);
    bastion.kill().unwrap();
    bastion.wait().unwrap();
}

#[test]
fn an_organisations_own_roles_hold_and_grant_no_more_than_their_maker_holds() {
    let world = World::new();
    let default = organisation(&world);
    let put = |token: &str, words: &[&str]| {
        let body = json!({ "permissions": words });
        let (code, told) = status(&world, "PUT", "/roles/captain", token, &body);
        (code, told["detail"].as_str().unwrap_or_default().to_owned())
    };
    let (code, told) = put(&world.operator, &["machine.run", "machine.explode", "fly"]);
    assert!(code == 400 && told.contains("fly, machine.explode;"), "{code} {told}");
    assert_eq!(put(&world.operator, &["machine.run"]).0, 200);
    let captain = world.account("captain", "project/hello", "captain", &json!({}));
    let machines = "/api/v1/projects/hello/machines";
    assert_eq!(world.ask("POST", &format!("{machines}/9/start"), &captain), "yes");
    assert_eq!(world.ask("GET", machines, &captain), "403");
    assert_eq!(world.ask("GET", "/api/v1/projects", &captain), "403");
    // It is changed, and holds so at once; taken back, as well.
    assert_eq!(put(&world.operator, &["machine.*", "project.read"]).0, 200);
    assert_eq!(world.ask("GET", machines, &captain), "yes");
    assert_eq!(projects_of(&all(&world, &captain, "projects", 10)), ["hello"]);
    assert_eq!(put(&world.operator, &["machine.run"]).0, 200);
    assert_eq!(world.ask("GET", machines, &captain), "403");

    // An owner's token that is limited makes no role beyond its limits; a tenant's role of that name is another.
    let scopes = json!({ "scopes": ["organisation.write", "machine.read"] });
    let limited = world.account("limited", &default, "owner", &scopes);
    let (code, told) = put(&limited, &["machine.read", "machine.delete"]);
    assert!(code == 403 && told.contains("what you do not hold yourself: machine.delete"), "{code} {told}");
    assert_eq!(put(&limited, &["machine.read"]).0, 200);
    let maintainer = world.account("maintainer", &default, "maintainer", &json!({}));
    assert_eq!(put(&maintainer, &["machine.read"]).0, 403);
    let (_, tina) = tenant(&world);
    assert_eq!(put(&tina, &["*"]).0, 200);
    assert_eq!(world.ask("DELETE", &format!("{machines}/9"), &captain), "403");
    assert_eq!(world.make_as(Some(&tina), "GET", "/roles", &json!({}))["items"].as_array().unwrap().len(), 1);
}

#[test]
fn the_policy_explains_itself() {
    let world = World::new();
    let platform = &world.platform;
    world.account("dev", "project/hello", "developer", &json!({ "scopes": ["machine.*"] }));
    let why = |words: &[&str]| platform.json(&[&["policy", "explain"], words].concat());
    let rules = |answer: &Value| {
        answer["rules"].as_array().unwrap().iter().map(|rule| rule["id"].clone()).collect::<Vec<_>>()
    };
    let answer = why(&["dev", "machine.ssh", "hello"]);
    assert_eq!(
        (&answer["allowed"], rules(&answer)),
        (&json!(true), vec![json!("developers-deploy")]),
        "{answer}"
    );
    assert!(answer["rules"][0]["tells"].as_str().unwrap().starts_with("A developer may"), "{answer}");
    assert_eq!(answer["roles"], json!([{ "role": "developer", "scope": "project/hello", "counts": true }]));
    let answer = why(&["dev", "machine.delete", "hello"]);
    assert_eq!((&answer["allowed"], rules(&answer)), (&json!(false), vec![]), "{answer}");
    let answer = why(&["dev", "machine.ssh", "organisation"]);
    assert_eq!(
        (&answer["allowed"], &answer["roles"][0]["counts"]),
        (&json!(false), &json!(false)),
        "{answer}"
    );
    // A token has limits, and an end.
    let tokens = world.make("GET", "/tokens?subject=dev", &json!({}));
    let token = tokens["items"][0]["id"].as_str().unwrap();
    assert_eq!(why(&[token, "machine.ssh", "hello"])["allowed"], true);
    let answer = why(&[token, "stack.apply", "hello"]);
    let forbids = answer["rules"].to_string().contains("tokens-keep-to-their-scope");
    assert!(answer["allowed"] == false && forbids && answer["scopes"] == json!(["machine.*"]), "{answer}");
    assert_eq!(status(&world, "DELETE", &format!("/tokens/{token}"), &world.operator, &json!({})).0, 204);
    let answer = why(&[token, "machine.ssh", "hello"]);
    assert_eq!(
        (&answer["allowed"], &answer["who"]["standing"]),
        (&json!(false), &json!("revoked")),
        "{answer}"
    );
    let told = platform.good(&["policy", "explain", "dev", "machine.ssh", "hello"]);
    assert!(told.starts_with("allowed: machine.ssh in project/hello\n"), "{told}");
    assert!(
        told.contains("rule   developers-deploy: A developer may")
            && told.contains("role   developer at project/hello\n"),
        "{told}"
    );
    let rules = why(&["me", "ledger.erase", "organisation"])["rules"].to_string();
    assert!(rules.contains("the-local-operator-may-all"), "{rules}");

    // Of oneself everybody asks; of others who may audit, and of other tenants nobody.
    let viewer = world.account("viewer", "project/hello", "viewer", &json!({}));
    let ask = |token: &str, query: &str| {
        status(&world, "GET", &format!("/policy/explain?{query}"), token, &json!({})).0
    };
    assert_eq!(ask(&viewer, "action=machine.read&place=project/hello"), 200);
    assert_eq!(ask(&viewer, "who=dev&action=machine.read&place=project/hello"), 403);
    assert_eq!(ask(&viewer, "who=nobody-there&action=machine.read"), 403);
    let (_, tina) = tenant(&world);
    assert_eq!(ask(&tina, "who=dev&action=machine.read"), 404);
    assert_eq!(ask(&tina, "action=machine.read&place=project/hello"), 404);
    assert_eq!(ask(&tina, "who=tina&action=people.write"), 200);
    assert_eq!(ask(&world.operator, "action=machine.explode"), 404);
    for bad in ["who=me", "action=machine.read&place=hello", "action=machine.read&who="] {
        assert_eq!(ask(&world.operator, bad), 400, "{bad}");
    }
    let wrong = platform.run(&["policy", "explain", "dev", "machine.explode", "hello"]);
    assert!(text(&wrong.stderr).contains("no action \"machine.explode\""), "{}", text(&wrong.stderr));

    let actions = platform.json(&["policy", "actions"]);
    assert!(
        actions["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "machine.ssh" && one["group"] == "deploy")
    );
    assert!(platform.good(&["policy", "actions"]).contains("log in to machines by SSH"));
    assert!(platform.good(&["policy", "show"]).contains("@id(\"viewers-read\")"));
    world.make("PUT", "/roles/captain", &json!({ "permissions": ["machine.run"] }));
    assert!(platform.json(&["policy", "show"])["rules"].to_string().contains("role-captain"));
}
