//! Apps on real machines: systemd units that serve pages, built in a machine of their own.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::apps::{Shop, healthy};
use crate::edge::{curl, edge};
use crate::git::remote;
use crate::http::token;
use crate::load::Load;
use crate::platform::{Platform, text};
use crate::real::{ssh, turn, until};

/// A web server in Perl, which every Debian has: it says its version, and is well unless a file says otherwise.
const SERVER: &str = r#"use strict; use Socket; $| = 1;
socket(my $s, AF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in($ENV{PORT}, INADDR_ANY)) or die "port $ENV{PORT}: $!"; listen($s, 512) or die;
open my $v, '<', 'version' or die; my $version = <$v>; chomp $version;
print "version $version listens at $ENV{PORT}\n";
for (1 .. 3) { last unless fork }
while (1) {
    accept(my $c, $s) or next; my $r = '';
    while ($r !~ /\r\n\r\n/) { sysread($c, $r, 4096, length $r) or last }
    my $bad = $r =~ m{^GET /healthz} && $version =~ /broken/;
    print "asked for health, and is $version\n" if $bad;
    my $b = $bad ? "no database" : "$version $ENV{LOG}, a secret of ${\length $ENV{DB_PASSWORD}}\n";
    syswrite $c, "HTTP/1.1 " . ($bad ? '503 Service Unavailable' : '200 OK') . "\r\nContent-Length: " . length($b) . "\r\nConnection: close\r\n\r\n$b";
    close $c;
}
"#;

/// Known to the app alone.
const CANARY: &str = "canary-of-the-harbour-4711";
/// Finds it, and not the command that looks for it.
const PATTERN: &str = "canary-[o]f-the-harbour-4711";
/// Known to the builds alone.
const BUILD_CANARY: &str = "canary-of-the-shipyard-2718";
const BUILD_PATTERN: &str = "canary-[o]f-the-shipyard-2718";

fn page(shop: &Shop, machine: &str, port: i64) -> String {
    let mut dial = shop.platform.command(&["dial", machine, &port.to_string()]);
    let mut dial = dial.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    dial.stdin.take().unwrap().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    text(&dial.wait_with_output().unwrap().stdout)
}

fn settles(shop: &Shop) -> Value {
    until("the app settles", &shop.platform, || {
        let app = shop.app();
        let over = !matches!(app["state"].as_str().unwrap(), "deploying" | "degraded");
        (over && app["observed_generation"] == app["generation"]).then_some(app)
    })
}

fn every_page(shop: &Shop, app: &Value, wanted: &str) {
    // One that drains still says what it said.
    for process in app["processes"].as_array().unwrap().iter().filter(|one| one["state"] == "healthy") {
        let told = page(shop, process["machine"].as_str().unwrap(), process["port"].as_i64().unwrap());
        assert!(told.contains(wanted), "{process}: {told}");
    }
}

fn version(shop: &Shop, version: &str) -> String {
    std::fs::write(shop.platform.home.path().join("work/server.pl"), SERVER).unwrap();
    shop.sh(&format!("echo '{version}' > version; printf 'dist:\\n\\tmkdir -p dist; cp server.pl version dist\\n' > Makefile"));
    shop.push(version)
}

#[test]
fn from_a_commit_to_pages_and_back() {
    let _turn = turn();
    let shop = Shop::open(Platform::real_with(&["--deploy-patience", "40", "--edge-https", "127.0.0.1:0"]));
    version(&shop, "v1");
    crate::vault::set(&shop.platform, "db-password", CANARY.as_bytes());
    crate::vault::set(&shop.platform, "build-token", BUILD_CANARY.as_bytes());
    // On the builder itself: in no file of the source, the cache or the system, no command line, no journal.
    let search = format!(
        "for place in . /etc /var /usr/local /opt /tmp /root /home /run/systemd; do \
         sudo grep -rl {BUILD_PATTERN} $place 2>/dev/null && echo IT LEAKS || :; done; \
         sudo grep -la {BUILD_PATTERN} /proc/[0-9]*/cmdline 2>/dev/null && echo IT LEAKS || :; \
         sudo journalctl -b | grep {BUILD_PATTERN} && echo IT LEAKS || :; echo searched"
    );
    let spec = json!({
        "source": { "repository": "shop" }, "on": "web", "replicas": 3,
        "build": { "image": "web", "output": "dist", "cache": ["cache"],
                   "env": { "MODE": "it's release", "TOKEN": { "secret": "build-token" } },
                   "run": ["mkdir -p dist cache", "cat cache/seen || echo nothing yet", "cp version cache/seen",
                           "env | grep -c DB_PASSWORD || true", "echo \"$MODE, the token is $TOKEN\"",
                           "printf %s \"$TOKEN\" | cmp - \"$CREDENTIALS_DIRECTORY/TOKEN\"",
                           "stat -c '%a %U' $CREDENTIALS_DIRECTORY $CREDENTIALS_DIRECTORY/TOKEN",
                           "printf %s \"$TOKEN\" | sha256sum | cut -c 1-64 > dist/token.sha256",
                           search, "cp server.pl version dist"] },
        "run": "exec perl server.pl", "migrate": "echo migrated $(cat version)",
        "health": { "path": "/healthz", "interval_ms": 300 }, "env": { "LOG": "it's on", "DB_PASSWORD": { "secret": "db-password" } },
    });
    let output = shop.set(&spec);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let app = settles(&shop);
    assert_eq!(app["state"], "running", "{app} {:?}", shop.history());
    assert_eq!(healthy(&app).len(), 3, "{app}");
    every_page(&shop, &app, &format!("v1 it's on, a secret of {}", CANARY.len()));
    in_its_box(&shop, &app);
    the_build_kept_its_secret(&shop);
    // The value is where the process finds it, and nowhere else.
    let everywhere = format!(
        "sudo grep -rl {PATTERN} /etc /var /usr/local /opt /tmp /root /home /run/systemd/system 2>/dev/null; \
         sudo grep -rl {BUILD_PATTERN} /etc /var /usr/local /opt /tmp /root /home /run 2>/dev/null; \
         sudo grep -la {PATTERN} /proc/[0-9]*/cmdline 2>/dev/null; sudo journalctl -b | grep {PATTERN}; true"
    );
    for machine in ["web-1", "web-2"] {
        let found = ssh(&shop.platform, machine, &everywhere);
        assert_eq!(found, "", "{machine}");
    }

    // A second version, by being pushed, while requests go on over https.
    shop.platform.good(&["route", "set", "shop.localhost", "/=shop"]);
    until("the certificate", &shop.platform, || {
        let shown = shop.platform.json(&["certificate", "show", "shop.localhost"]);
        (shown["state"] == "ready").then_some(())
    });
    let load = Load::begin(&shop.platform, "shop.localhost");
    let begun = Instant::now();
    version(&shop, "v2");
    until("the second version serves", &shop.platform, || load.told().last.starts_with("v2").then_some(()));
    println!("from push to the first answer of it over https: {:?}", begun.elapsed());
    let app = settles(&shop);
    assert_eq!((app["state"].as_str(), app["release"].as_i64()), (Some("running"), Some(2)), "{app}");
    every_page(&shop, &app, "v2");
    // The build found what the last one left in its cache, and no secret.
    let log = shop.platform.good(&["build", "log", "shop", "b2"]);
    assert!(log.contains("\nv1\n") && log.contains("\n0\n"), "{log}");
    assert!(log.contains("\nsearched\n") && !leaks(&log), "{log}");

    // A broken third rolls back by itself, and says why.
    version(&shop, "v3 broken");
    let output = shop.platform.run(&["deploy"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for wanted in ["503 Service Unavailable", "no database", "asked for health, and is v3 broken"] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    until("it is rolled back", &shop.platform, || {
        (shop.history()[0]["state"] == "rolled_back").then_some(())
    });
    every_page(&shop, &settles(&shop), "v2");

    // Back to the first, in seconds: nothing is built, nothing is carried.
    let begun = Instant::now();
    shop.platform.good(&["rollback"]);
    let took = begun.elapsed();
    println!("rollback of 3 processes: {took:?}");
    assert!(took.as_secs() < 60, "{took:?}");
    every_page(&shop, &settles(&shop), "v1");
    let told = load.told();
    println!("{} answered under a rolling deployment, a broken one and a rollback", told.answered);
    assert!(told.failed.is_empty() && told.answered > 100, "{told:?}");

    // A machine is lost.
    shop.platform.good(&["machine", "delete", "web-2"]);
    until("all serve on the other", &shop.platform, || {
        (healthy(&shop.app()) == vec![("web-1".to_owned(), 1); 3]).then_some(())
    });
    every_page(&shop, &shop.app(), "v1");
    let told = load.end();
    println!("{} answered in all", told.answered);
    assert!(told.failed.is_empty() && told.last.contains("v1"), "{told:?}");

    // Nothing of it stays, and the platform wrote the value down nowhere in clear.
    shop.platform.good(&["app", "delete", "shop"]);
    let left = ssh(
        &shop.platform,
        "web-1",
        &format!(
            "sudo grep -rl {PATTERN} /run /etc /var 2>/dev/null; \
             ls /etc/systemd/system /var/lib/hafen /run /app 2>&1 | grep -e app-shop -e apps; true"
        ),
    );
    assert_eq!(left, "");
    // Disks and memory of machines were looked through from within.
    let found = std::process::Command::new("grep")
        .args([
            "-rlF",
            "-e",
            CANARY,
            "-e",
            BUILD_CANARY,
            "--exclude=*.qcow2",
            "--exclude=*.raw",
            "--exclude-dir=machines",
        ])
        .arg(shop.platform.home.path())
        .output()
        .unwrap();
    assert_eq!(
        (text(&found.stdout), found.status.code()),
        (String::new(), Some(1)),
        "{}",
        text(&found.stderr)
    );
    let machines = shop.platform.json(&["machine", "list"]);
    assert_eq!(machines["items"].as_array().unwrap().len(), 1, "{machines}");
    shop.platform.good(&["destroy", "--yes"]);
}

/// Whether the search found something; the command itself, which the log tells as well, has the words in it.
fn leaks(log: &str) -> bool {
    log.lines().any(|line| line == "IT LEAKS")
}

/// What was told of the secret of the first build, and what it left.
fn the_build_kept_its_secret(shop: &Shop) {
    let log = shop.platform.good(&["build", "log", "shop", "b1"]);
    for wanted in ["\nit's release, the token is ***\n", "\n700 hafen\n600 hafen\n", "\nsearched\n"] {
        assert!(log.contains(wanted), "{wanted}: {log}");
    }
    assert!(!leaks(&log) && !log.contains(BUILD_CANARY), "{log}");
    let hash = shop.sh(&format!("printf %s {BUILD_CANARY} | sha256sum | cut -c 1-64"));
    let left = shop.platform.good(&["app", "exec", "shop", "--", "cat token.sha256"]);
    assert_eq!(left.trim(), hash, "the build had it");
    let reads = shop.platform.json(&["ledger", "list", "--limit", "0"]).to_string();
    assert!(reads.contains("build b1 of app shop at commit"), "{reads}");
}

/// What a process can see and do.
fn in_its_box(shop: &Shop, app: &Value) {
    let exec = |command: &str| {
        let output = shop.platform.run(&["app", "exec", "shop", "--", command]);
        format!("{}{}", text(&output.stdout), text(&output.stderr))
    };
    let told = exec(
        "id -u; pwd; ls; echo $PORT; touch here 2>&1; touch /etc/here 2>&1; ls -A /var/lib/hafen; ls /home/hafen 2>&1; echo x > /tmp/mine && echo wrote",
    );
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].parse::<u32>().unwrap() > 60_000, "a user of its own: {told}");
    assert_eq!(lines[1..5], ["/app", "server.pl", "token.sha256", "version"], "{told}");
    assert!(told.matches("Read-only file system").count() == 2 && told.contains("wrote"), "{told}");
    assert!(!told.contains("releases") && !told.contains("processes"), "{told}");
    let log = shop.platform.good(&["app", "logs", "shop"]);
    assert!(log.contains("web-1 | ") && log.contains("version v1 listens at 8080"), "{log}");
    // It is started again when it ends.
    let id = app["processes"][0]["id"].as_str().unwrap();
    let unit =
        format!("app-shop.{}.service", id.split_once("-d").map(|(_, rest)| format!("d{rest}")).unwrap());
    let machine = app["processes"][0]["machine"].as_str().unwrap();
    let main = |shop: &Shop| ssh(&shop.platform, machine, &format!("systemctl show -P MainPID {unit}"));
    let before = main(shop);
    ssh(&shop.platform, machine, &format!("sudo kill -KILL {before}"));
    until("it is started again", &shop.platform, || {
        let now = main(shop);
        (now != before && now != "0").then_some(())
    });
    let score =
        ssh(&shop.platform, machine, &format!("sudo systemd-analyze security --no-pager {unit} | tail -1"));
    println!("{score}");
    assert!(score.contains("OK") || score.contains("SAFE"), "{score}");
}

/// Files only, and no build: the platform's own server of files; blue and green change places.
#[test]
fn static_files_are_served_without_a_web_server() {
    let _turn = turn();
    let shop = Shop::open(Platform::real_with(&["--deploy-patience", "600", "--edge-https", "127.0.0.1:0"]));
    shop.sh(
        "mkdir -p public/sub; echo '<h1>hello</h1>' > public/index.html; echo sub > public/sub/index.html",
    );
    shop.push("one");
    let spec = json!({ "source": { "repository": "shop" }, "on": "web", "static": "public", "replicas": 2,
                       "strategy": "blue-green", "preview": { "branches": ["feature/*"], "expires_ms": 86_400_000 } });
    assert!(shop.set(&spec).status.success());
    let app = settles(&shop);
    assert_eq!(app["state"], "running", "{app} {:?}", shop.history());
    let place = &app["processes"][0];
    let told = page(&shop, place["machine"].as_str().unwrap(), place["port"].as_i64().unwrap());
    assert!(
        told.starts_with("HTTP/1.1 200 OK") && told.contains("<h1>hello</h1>") && told.contains("text/html"),
        "{told}"
    );
    shop.sh("echo '<h1>again</h1>' > public/index.html");
    shop.push("two");
    let app = until("the second is whole", &shop.platform, || {
        let app = shop.app();
        (app["state"] == "running" && app["release"] == 2).then_some(app)
    });
    every_page(&shop, &app, "<h1>again</h1>");
    a_command_ends_with_its_caller(&shop, &app);
    a_branch_has_a_page_of_its_own(&shop);
    every_page(&shop, &shop.app(), "<h1>again</h1>");
    // It is none of the stack's, which does not take the machines from under it.
    let told = text(&shop.platform.run(&["destroy", "--yes"]).stderr);
    assert!(told.contains("delete that app first"), "{told}");
    shop.platform.good(&["app", "delete", "shop"]);
    shop.platform.good(&["destroy", "--yes"]);
}

/// What somebody runs where a process is: how it ended is told, and it does not go on without them.
fn a_command_ends_with_its_caller(shop: &Shop, app: &Value) {
    // Those of the release before may still drain.
    let serves = |one: &&Value| one["state"] == "healthy" && one["release"] == app["release"];
    let process = app["processes"].as_array().unwrap().iter().find(serves).unwrap();
    let (id, machine) = (process["id"].as_str().unwrap(), process["machine"].as_str().unwrap());
    let exec = |command| shop.platform.command(&["app", "exec", "shop", "--process", id, "--", command]);
    let ended = exec("cat; echo out; exit 7").output().unwrap();
    assert_eq!(
        (ended.status.code(), text(&ended.stdout).as_str()),
        (Some(7), "out\n"),
        "{}",
        text(&ended.stderr)
    );
    // Its unit, itself and the script that begins and watches it.
    let left = || {
        let look = "systemctl list-units --all --no-legend 'exec-shop.*'; grep -la '4711081[5]' /proc/[0-9]*/cmdline; true";
        ssh(&shop.platform, machine, look)
    };
    assert_eq!(left(), "");
    let mut call = exec("exec sleep 47110815").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the command runs", &shop.platform, || left().contains("running").then_some(()));
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &call.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let begun = Instant::now();
    call.wait().unwrap();
    until("it ends with its caller", &shop.platform, || left().is_empty().then_some(()));
    println!("a command whose caller left was gone after {:?}", begun.elapsed());
}

/// A preview on the machines, by https through the edge, for as long as its branch is there.
fn a_branch_has_a_page_of_its_own(shop: &Shop) {
    let begun = Instant::now();
    let platform = &shop.platform;
    let remote = remote(platform, &token(platform), "shop");
    let root = platform.home.path().join("root.pem");
    std::fs::write(&root, platform.good(&["certificate", "authority"])).unwrap();
    let (name, host) = ("shop-feature-new", "shop-feature-new.hello.localhost");
    let at = edge(platform, "https");
    let ask = || {
        let url = format!("https://{host}:{}/", at.port());
        text(&curl(at, &url, host, &root, &["-i"]).1.stdout)
    };
    shop.sh(&format!(
        "git checkout -q -b feature/new; echo '<h1>preview</h1>' > public/index.html; git commit -qam preview; \
         git push -q {remote} HEAD:refs/heads/feature/new; git checkout -q main"
    ));
    let told = until("the branch answers by its own host", platform, || {
        Some(ask()).filter(|told| told.contains("<h1>preview</h1>"))
    });
    assert!(told.contains(" 200"), "{told}");
    let shown = platform.json(&["app", "show", name]);
    assert_eq!((shown["state"].as_str(), healthy(&shown).len()), (Some("running"), 1), "{shown}");
    let machine = shown["processes"][0]["machine"].as_str().unwrap();
    let units = format!(
        "systemctl list-units --all --no-legend '*{name}*'; find /etc/systemd/system -name '*{name}*'"
    );
    let units_there = ssh(platform, machine, &units);
    assert!(units_there.contains("running") && units_there.contains("/etc/systemd/system/"), "{units_there}");
    println!("a preview from its push to its page: {:?}", begun.elapsed());

    shop.sh(&format!("git push -q {remote} :refs/heads/feature/new"));
    until("it goes with its branch", platform, || {
        let apps = platform.json(&["app", "list"])["items"].as_array().unwrap().len();
        (apps == 1 && !platform.good(&["route", "list"]).contains(host)).then_some(())
    });
    let left =
        format!("{units}; sudo find /var/lib/hafen /run/hafen-apps -name '*{name}*' 2>/dev/null; true");
    assert_eq!(ssh(platform, machine, &left), "");
    let told = ask();
    assert!(!told.contains("preview") && !told.contains(" 200"), "{told}");
    println!("a preview from its push until it is gone: {:?}", begun.elapsed());
}
