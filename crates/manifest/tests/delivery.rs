//! Apps and routes as their authors meet them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use hafen_manifest::{Env, Manifest, Target, parse, render, schema};

const GOOD: &str = r#"project = "shop"

[network.backend]

[image.builder]
distribution = "debian"
release = "trixie"
packages = ["make"]

[machine.web]
count = 2
image = "builder"
network = "backend"

[machine.legacy]
image = "builder"
network = "backend"
publish = [{ host = "127.0.0.1:8081", port = 8000 }]

[app.shop]
source = { repository = "shop" }
build = { image = "builder", run = ["make dist"], output = "dist", cache = ["target"], timeout = "10 min", env = { MODE = "release", NPM_TOKEN = { secret = "npm-token" } } }
on = "web"
run = "./shop --port $PORT"
port = 8080
replicas = 4
health = { path = "/healthz", healthy_after = 2 }
strategy = "rolling"
migrate = "./shop migrate"
env = { LOG = "info", DB_PASSWORD = { secret = "db-password" } }
preview = { branches = ["feature/*"], expires = "7 days" }

[app.docs]
source = { git = "https://git.example.org/docs.git", branch = "live", token = { secret = "docs-source" }, username = "ci" }
on = "web"
static = "."

[route."shop.example.org"]
paths = { "/" = "legacy", "/api/orders" = { app = "shop", weight = 20 }, "/docs" = "docs" }
"#;

fn read(_: &str) -> Result<Vec<u8>, String> {
    Err("no such file".into())
}

fn good(text: &str) -> Manifest {
    parse(text, "hafen.toml", &read).unwrap_or_else(|problems| panic!("{}", render(&problems, text, false)))
}

/// `legacy 80, shop 20`
fn targets(targets: &[Target]) -> String {
    let all: Vec<String> =
        targets.iter().map(|target| format!("{} {}", target.backend, target.weight)).collect();
    all.join(", ")
}

#[test]
fn the_example_of_the_reference_is_read() {
    let manifest = good(GOOD);
    let shop = &manifest.apps["shop"];
    assert_eq!((shop.source.repository.as_deref(), shop.source.branch.as_str()), (Some("shop"), "main"));
    let build = shop.build.as_ref().unwrap();
    assert_eq!((build.output.as_str(), build.timeout), ("dist", Duration::from_secs(600)));
    assert_eq!(build.env["MODE"], Env::Text("release".into()));
    assert_eq!(build.env["NPM_TOKEN"], Env::Secret("npm-token".into()));
    assert_eq!((shop.replicas, shop.strategy.as_str()), (4, "rolling"));
    assert_eq!(shop.env["DB_PASSWORD"], Env::Secret("db-password".into()));
    assert_eq!(shop.preview.as_ref().unwrap().expires, Duration::from_secs(7 * 24 * 3600));
    let docs = &manifest.apps["docs"];
    assert_eq!(docs.source.token.as_deref(), Some("docs-source"));
    assert_eq!(docs.source.username.as_deref(), Some("ci"));
    assert_eq!((docs.static_files.as_deref(), docs.port, docs.replicas), (Some("."), 8080, 1));
    let route = &manifest.routes["shop.example.org"];
    assert_eq!(targets(&route.paths["/"]), "legacy 100");
    // One path taken over, a fifth of its requests for now.
    assert_eq!(targets(&route.paths["/api/orders"]), "shop 20, legacy 80");
    assert_eq!(targets(&route.paths["/docs"]), "docs 100");
    assert!(route.redirect_https && !route.maintenance && route.hsts == Duration::from_secs(365 * 24 * 3600));
    assert_eq!(manifest.clusters, [("legacy".to_owned(), 8000)].into());
}

#[test]
fn shares_add_up() {
    let table: &[(&str, &str, &str)] = &[
        (r#"{ "/" = "shop" }"#, "/", "shop 100"),
        (r#"{ "/" = ["shop", "docs"] }"#, "/", "shop 50, docs 50"),
        (r#"{ "/" = [{ app = "shop", weight = 10 }, "docs"] }"#, "/", "shop 10, docs 90"),
        (
            r#"{ "/" = "docs", "/a" = { app = "shop", weight = 50 }, "/a/b" = { app = "shop", weight = 20 } }"#,
            "/a/b",
            "shop 60, docs 40",
        ),
        (r#"{ "/" = "docs", "/a" = { app = "shop", weight = 0 } }"#, "/a", "shop 0, docs 100"),
        (r#"{ "/" = "docs", "/a" = { app = "docs", weight = 30 } }"#, "/a", "docs 100"),
        (r#"{ "/" = ["shop", "docs", "legacy"] }"#, "/", "shop 3333, docs 3333, legacy 3334"),
        (r#"{ "/" = { machines = "web", port = 81, weight = 100 } }"#, "/", "web 100"),
    ];
    let line = GOOD.lines().last().unwrap();
    for (paths, path, expected) in table {
        let manifest = good(&GOOD.replace(line, &format!("paths = {paths}")));
        assert_eq!(targets(&manifest.routes["shop.example.org"].paths[*path]), *expected, "{paths}");
    }
}

/// What is replaced in the good manifest, by what, and `code line:column message` as expected.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("on = \"web\"\nrun", "on = \"wbe\"\nrun", "dangling_name 23:6 there is no section [machine.wbe]"),
    ("on = \"web\"\nrun", "run", "missing_key 20:6 the app needs `on`"),
    (
        "image = \"builder\", run",
        "image = \"bulder\", run",
        "dangling_name 22:19 there is no image \"bulder\"",
    ),
    ("image = \"builder\", run", "run", "missing_key 22:9 the build needs `image`"),
    (
        "source = { repository = \"shop\" }",
        "source = { }",
        "missing_key 21:10 neither `repository` nor `git` is given",
    ),
    (
        "{ repository = \"shop\" }",
        "{ repository = \"shop\", git = \"https://a\" }",
        "two_sources 21:39 a source is either a `repository` or a `git` URL",
    ),
    ("https://git", "http://git", "bad_url 34:18 \"http://git.example.org/docs.git\" is not an https:// URL"),
    ("https://git", "https://me:hunter2@git", "secret_in_manifest 34:18 a manifest holds no credentials"),
    (
        "//git.example.org/",
        "//git.*.org/",
        "bad_url 34:18 \"https://git.*.org/docs.git\" names no host that can be asked",
    ),
    (
        "//git.example.org/",
        "//git:/",
        "bad_url 34:18 \"https://git:/docs.git\" names no host that can be asked",
    ),
    ("token = { secret = \"docs-source\" }, ", "", "missing_key 34:82 a `username` goes with a `token`"),
    (
        "{ secret = \"docs-source\" }",
        "\"glpat-x\"",
        "secret_in_manifest 34:79 a manifest holds no credentials",
    ),
    ("\"docs-source\"", "\"Docs\"", "bad_name 34:90 \"Docs\" cannot be the name of a secret"),
    ("username = \"ci\"", "username = \"c:i\"", "bad_name 34:118 \"c:i\" cannot be the name of a user"),
    (
        "{ repository = \"shop\" }",
        "{ repository = \"shop\", token = { secret = \"x\" } }",
        "two_sources 21:41 a token goes with a `git` URL",
    ),
    ("branch = \"live\"", "branch = \"a..b\"", "bad_name 34:63 \"a..b\" cannot be the name of a branch"),
    ("static = \".\"", "static = \"../x\"", "bad_path 36:10 \"../x\" is no folder of the source"),
    ("static = \".\"", "", "missing_key 33:6 the app needs `run` or `static`"),
    (
        "static = \".\"",
        "static = \".\"\nrun = \"x\"",
        "two_sources 36:10 an app has either `run` or `static`",
    ),
    ("run = \"./shop --port $PORT\"", "run = \" \"", "bad_command 24:7 this is no command"),
    (
        "replicas = 4",
        "replicas = 1001",
        "out_of_range 26:12 `replicas` is 1001; it must be between 0 and 1000",
    ),
    ("path = \"/healthz\"", "path = \"healthz\"", "bad_path 27:19 \"healthz\" is not a path"),
    ("strategy = \"rolling\"", "strategy = \"roling\"", "unknown_value 28:12 `strategy` is \"roling\""),
    ("LOG = \"info\"", "1LOG = \"info\"", "bad_name 30:9 \"1LOG\" cannot be a variable"),
    ("LOG = \"info\"", "PORT = \"80\"", "bad_name 30:9 the platform says itself what PORT is"),
    (
        "LOG = \"info\"",
        "LOG = 7",
        "wrong_type 30:15 `LOG` is an integer; it must be a string or { secret = \"NAME\" }",
    ),
    (
        "secret = \"db-password\"",
        "secrt = \"db-password\"",
        "unknown_key 30:39 a variable has no key `secrt`",
    ),
    ("secret = \"db-password\"", "secret = \"DB\"", "bad_name 30:48 \"DB\" cannot be the name of a secret"),
    (
        "timeout = \"10 min\"",
        "timeout = \"2 days\"",
        "out_of_range 22:98 `timeout` is \"2 days\"; it must be between 1 s and 1 day",
    ),
    (
        "MODE = \"release\"",
        "HAFEN_COMMIT = \"main\"",
        "bad_name 22:116 the platform says itself what HAFEN_COMMIT is",
    ),
    (
        "MODE = \"release\"",
        "MODE = 7",
        "wrong_type 22:123 `MODE` is an integer; it must be a string or { secret = \"NAME\" }",
    ),
    ("secret = \"npm-token\"", "secret = \"NPM\"", "bad_name 22:157 \"NPM\" cannot be the name of a secret"),
    ("secret = \"npm-token\"", "value = \"x\"", "unknown_key 22:148 a variable has no key `value`"),
    (
        "branches = [\"feature/*\"]",
        "branches = []",
        "out_of_range 31:11 0 patterns of branches are given; it must be 1 to 64",
    ),
    (
        "[route.\"shop.example.org\"]",
        "[route.\"Shop.example.org\"]",
        "bad_host 38:8 \"Shop.example.org\" is no host",
    ),
    ("[route.\"shop.example.org\"]", "[route.\"127.0.0.1\"]", "bad_host 38:8 \"127.0.0.1\" is no host"),
    (
        "[route.\"shop.example.org\"]",
        "[route.shop.example.org]",
        "bad_host 38:8 the host \"shop\" is cut off at its first dot",
    ),
    ("paths = {", "path = {", "unknown_key 39:1 a route has no key `path`"),
    (
        "\"/\" = \"legacy\"",
        "\"/\" = \"legcy\"",
        "dangling_name 39:17 there is neither an app nor a cluster \"legcy\"",
    ),
    ("app = \"shop\", weight", "app = \"shap\", weight", "dangling_name 39:51 there is no app \"shap\""),
    ("\"/api/orders\"", "\"/api/orders/\"", "bad_path 39:27 \"/api/orders/\" is not a path of a route"),
    (
        "\"/\" = \"legacy\", ",
        "",
        "weights 39:27 80 % of /api/orders lead nowhere: no shorter path takes them",
    ),
    ("weight = 20 }", "weight = 120 }", "out_of_range 39:68 `weight` is 120; it must be between 0 and 100"),
    (
        "{ app = \"shop\", weight = 20 }",
        "[{ app = \"shop\", weight = 60 }, { app = \"docs\", weight = 60 }]",
        "weights 39:43 the weights are 120 % together; it must be at most 100",
    ),
    (
        "{ app = \"shop\", weight = 20 }",
        "{ weight = 20 }",
        "missing_key 39:43 a target is either an `app` or `machines`",
    ),
    (
        "{ app = \"shop\", weight = 20 }",
        "{ app = \"shop\", port = 1 }",
        "unknown_key 39:66 an app has its port in its section",
    ),
    (
        "\"/docs\" = \"docs\"",
        "\"/docs\" = { machines = \"legacy\", port = 9 }",
        "two_ports 39:97 the cluster \"legacy\" is led to at port 9, and at 8000 elsewhere",
    ),
    (
        "[app.docs]",
        "[app.legacy]\nsource = { repository = \"x\" }\non = \"web\"\nstatic = \".\"\n[route.\"b.example\"]\npaths = { \"/\" = { machines = \"legacy\" } }\n[app.docs]",
        "duplicate_name 38:30 an app and a cluster are both called \"legacy\", and both are led to by that name",
    ),
];

#[test]
fn each_mistake_is_shown_at_its_place() {
    let mut wrong = Vec::new();
    for (from, to, expected) in MISTAKES {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let problems = parse(&text, "hafen.toml", &read).err().unwrap_or_else(|| panic!("accepted: {to}"));
        let shown: Vec<String> = problems
            .iter()
            .map(|problem| {
                format!("{} {}:{} {}", problem.code, problem.line, problem.column, problem.message)
            })
            .collect();
        if !shown.iter().any(|one| one == expected) {
            wrong.push(format!("{to}: expected {expected}\nfound {shown:#?}"));
        }
        assert!(problems.iter().all(|problem| !problem.help.is_empty() && problem.code != "syntax"), "{to}");
        assert!(!render(&problems, &text, false).is_empty());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the schema refers to is there, and every key of a section stands in it.
#[test]
fn the_schema_knows_what_the_reader_knows() {
    let schema = schema();
    for (section, keys) in [
        (
            "app",
            &[
                "source", "build", "on", "run", "static", "port", "replicas", "health", "strategy",
                "migrate", "env", "preview",
            ][..],
        ),
        ("route", &["paths", "maintenance", "redirect_https", "hsts", "max_body", "rate"][..]),
    ] {
        let known = schema["$defs"][section]["properties"].as_object().unwrap();
        assert_eq!(known.len(), keys.len(), "{section}");
        assert!(keys.iter().all(|key| known.contains_key(*key)), "{section}");
    }
    let text = schema.to_string();
    for part in text.split("\"#/$defs/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{name}");
    }
}
