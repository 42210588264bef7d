//! Repositories of a running platform, with stock git over HTTP and SSH.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::http::token;
use crate::platform::{Platform, text, until};
use crate::roles::World;

fn url(platform: &Platform) -> String {
    let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
    let endpoint: Value = serde_json::from_str(&endpoint).unwrap();
    endpoint["url"].as_str().unwrap().to_owned()
}

/// As a stock client is told it, with a token for a password.
pub fn remote(platform: &Platform, bearer: &str, repository: &str) -> String {
    let url = url(platform);
    let token = bearer.trim_start_matches("Bearer ");
    format!("http://any:{token}@{}/git/hello/{repository}.git", url.trim_start_matches("http://"))
}

fn git(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(place)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
        .envs([("GIT_COMMITTER_NAME", "A"), ("GIT_COMMITTER_EMAIL", "a@example.org")])
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null());
    command
}

fn good(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// Runs, expects failure, gives what it said.
fn bad(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(!status.success(), "{command:?} went through: {}", text(&stderr));
    text(&stderr)
}

fn commit(place: &Path, file: &str, text: &[u8]) -> String {
    std::fs::write(place.join(file), text).unwrap();
    good(git(place, &["add", "."]));
    good(git(place, &["commit", "-q", "-m", &format!("write {file}")]));
    good(git(place, &["rev-parse", "HEAD"]))
}

fn fresh(platform: &Platform, name: &str) -> PathBuf {
    good(git(platform.home.path(), &["init", "-q", "-b", "main", name]));
    platform.home.path().join(name)
}

/// Events of a kind, oldest first.
fn events(platform: &Platform, kind: &str) -> Vec<Value> {
    let bearer = token(platform);
    let path = "/api/v1/ledger/entries?limit=1000";
    let (_, body) = crate::http::send(platform, "GET", path, Some(&bearer));
    let list: Value = serde_json::from_str(&body).unwrap();
    let entries = list["items"].as_array().unwrap().clone();
    entries.into_iter().filter(|entry| entry.to_string().contains(&format!("\"{kind}\""))).collect()
}

fn fsck(platform: &Platform) {
    let folder = platform.home.path().join("delivery/repositories");
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().extension().is_some_and(|end| end == "git") {
            let done = git(&entry.path(), &["fsck", "--full", "--strict"]).output().unwrap();
            assert!(done.status.success(), "{}", text(&done.stderr));
        }
    }
}

#[test]
fn over_http_by_tokens_and_roles() {
    let world = World::new();
    let platform = &world.platform;
    platform.good(&["repository", "create", "shop", "-p", "hello"]);
    let role = |name: &str| world.account(name, "project/hello", name, &json!({}));
    let (developer, viewer, nobody) = (role("developer"), role("viewer"), role("none"));
    let one = fresh(platform, "one");
    let first = commit(&one, "a.txt", b"a\n");
    let push = |bearer: &str, what: &str| git(&one, &["push", &remote(platform, bearer, "shop"), what]);
    good(push(&developer, "HEAD:refs/heads/main"));
    let clone = |bearer: &str, name: &str| {
        git(platform.home.path(), &["clone", "-q", &remote(platform, bearer, "shop"), name])
    };
    good(clone(&viewer, "two"));
    assert_eq!(good(git(&platform.home.path().join("two"), &["rev-parse", "HEAD"])), first);
    let said = bad(push(&viewer, "HEAD:refs/heads/x"));
    assert!(said.contains("repository.push is not permitted"), "{said}");
    let said = bad(clone(&nobody, "x"));
    assert!(said.contains("not found"), "{said}");
    assert!(!said.contains("shop\" in project"), "{said}");
    for wrong in ["Bearer wrong", &format!("{developer}x")] {
        let said = bad(clone(wrong, "x"));
        assert!(said.contains("Authentication failed"), "{said}");
    }
    // A token for fetching only.
    let reader =
        world.account("reader", "project/hello", "developer", &json!({ "scopes": ["repository.read"] }));
    good(clone(&reader, "three"));
    assert!(bad(push(&reader, "HEAD:refs/heads/x")).contains("is not permitted"));

    // Protected, by role.
    platform.good(&["repository", "protect", "shop", "release/*", "--push", "maintainer", "-p", "hello"]);
    let said = bad(push(&developer, "HEAD:refs/heads/release/1"));
    assert!(said.contains("remote: release/1 is protected (release/*): maintainers push to it"), "{said}");
    good(push(
        &world.account("lead", "project/hello", "maintainer", &json!({})),
        "HEAD:refs/heads/release/1",
    ));
    good(git(&one, &["commit", "-q", "--amend", "-m", "other"]));
    let said =
        bad(git(&one, &["push", "--force", &remote(platform, &developer, "shop"), "HEAD:refs/heads/main"]));
    assert!(said.contains("what it holds is not rewritten"), "{said}");
    good(git(&one, &["reset", "-q", "--hard", &first]));

    // A secret, with file and line.
    let secret = ["gl", "pat-aB3dE5gH7jK9mN1pQ2rS"].concat();
    commit(&one, "prod.env", format!("A=1\nTOKEN={secret}\n").as_bytes());
    let said = bad(push(&developer, "HEAD:refs/heads/main"));
    assert!(said.contains("remote:   prod.env:2: a token of GitLab"), "{said}");
    good(git(&one, &["reset", "-q", "--hard", &first]));

    let shown = platform.json(&["repository", "commits", "shop", "-p", "hello"]);
    assert_eq!(shown["items"][0]["id"], first);
    until("the ledger has it", || (events(platform, "repository.pushed").len() == 2).then_some(()));
    assert_eq!(events(platform, "repository.push_refused").len(), 3);
    let path = "/api/v1/projects/hello/repositories/shop";
    assert_eq!(world.ask("DELETE", path, &developer), "403");
    platform.good(&["repository", "delete", "shop", "--yes", "-p", "hello"]);
    assert!(bad(clone(&developer, "x")).contains("not found"));
}

/// Where the bastion listens.
fn bastion(platform: &Platform) -> u16 {
    let log = platform.log();
    let line = log.lines().rev().find_map(|line| line.strip_prefix("The bastion listens at ")).unwrap();
    line.rsplit_once(':').unwrap().1.trim().parse().unwrap()
}

#[test]
fn over_ssh_by_certificates_and_deploy_keys() {
    let world = World::with(&["--bastion", "127.0.0.1:0"]);
    let platform = &world.platform;
    for name in ["shop", "other"] {
        platform.good(&["repository", "create", name, "-p", "hello"]);
    }
    let folder = platform.home.path().join("ssh");
    platform.good(&["login", "--folder", folder.to_str().unwrap()]);
    let ssh = format!("ssh -F {} -o BatchMode=yes", folder.join("config").display());
    let person = |place: &Path, arguments: &[&str]| {
        let mut command = git(place, arguments);
        command.env("GIT_SSH_COMMAND", &ssh).env("HAFEN_HOME", platform.home.path());
        command
    };
    let one = fresh(platform, "one");
    let first = commit(&one, "a.txt", b"a\n");
    good(person(&one, &["push", "-q", "ssh://git.hafen/hello/shop.git", "HEAD:refs/heads/main"]));
    for (version, name) in [("0", "v0"), ("2", "v2")] {
        let option = format!("protocol.version={version}");
        good(person(platform.home.path(), &["-c", &option, "clone", "-q", "git.hafen:hello/shop", name]));
        assert_eq!(good(git(&platform.home.path().join(name), &["rev-parse", "HEAD"])), first);
    }
    let secret = ["gl", "pat-aB3dE5gH7jK9mN1pQ2rS"].concat();
    commit(&one, "prod.env", format!("TOKEN={secret}\n").as_bytes());
    let said = bad(person(&one, &["push", "ssh://git.hafen/hello/shop.git", "HEAD:refs/heads/main"]));
    assert!(said.contains("remote:   prod.env:1: a token of GitLab"), "{said}");
    good(git(&one, &["reset", "-q", "--hard", &first]));
    let said = bad(person(platform.home.path(), &["clone", "ssh://git.hafen/hello/none.git", "x"]));
    assert!(said.contains("there is no repository"), "{said}");
    let said = bad(person(platform.home.path(), &["clone", "ssh://git.hafen/secret/shop.git", "x"]));
    assert!(said.contains("there is no repository"), "{said}");

    // No shell, no other command, no file.
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.arg("-F").arg(folder.join("config")).args(["-o", "BatchMode=yes"]).args(arguments);
        command.env("HAFEN_HOME", platform.home.path()).stdin(Stdio::null());
        bad(command)
    };
    assert!(run("ssh", &["git.hafen"]).contains("there is no shell"));
    assert!(run("ssh", &["git.hafen", "id"]).contains("git clone, fetch and push"));
    run("scp", &["git.hafen:/etc/passwd", "/dev/null"]);
    run("ssh", &["git.hafen", "git-upload-pack '/hello/../../x.git'"]);

    deploy_keys(&world, &one);
    fsck(platform);
}

fn deploy_keys(world: &World, one: &Path) {
    let platform = &world.platform;
    let home = platform.home.path();
    let port = bastion(platform);
    let key = |name: &str| {
        let path = home.join(name);
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
        assert!(made.unwrap().success());
        path
    };
    let (reads, writes, unknown) = (key("reads"), key("writes"), key("unknown"));
    let public = |key: &Path| format!("{}.pub", key.display());
    platform.good(&["repository", "deploy-key", "add", "shop", "reads", &public(&reads), "-p", "hello"]);
    platform.good(&[
        "repository",
        "deploy-key",
        "add",
        "shop",
        "writes",
        &public(&writes),
        "--write",
        "-p",
        "hello",
    ]);
    let with = |key: &Path, place: &Path, arguments: &[&str]| {
        let mut command = git(place, arguments);
        let ssh = format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            key.display()
        );
        command.env("GIT_SSH_COMMAND", ssh);
        command
    };
    let shop = format!("ssh://git@127.0.0.1:{port}/hello/shop.git");
    let other = format!("ssh://git@127.0.0.1:{port}/hello/other.git");
    good(with(&reads, home, &["clone", "-q", &shop, "by-key"]));
    commit(one, "b.txt", b"b\n");
    let said = bad(with(&reads, one, &["push", &shop, "HEAD:refs/heads/main"]));
    assert!(said.contains("this deploy key may fetch, and not push"), "{said}");
    good(with(&writes, one, &["push", "-q", &shop, "HEAD:refs/heads/main"]));
    for (key, url) in [(&reads, &other), (&writes, &other)] {
        let said = bad(with(key, home, &["clone", url, "x"]));
        assert!(said.contains("there is no repository"), "{said}");
    }
    let said = bad(with(&unknown, home, &["clone", &shop, "x"]));
    assert!(said.contains("Permission denied"), "{said}");
    let said = bad(with(&reads, home, &["clone", &shop.replace("git@", "root@"), "x"]));
    assert!(said.contains("Permission denied"), "{said}");
    // It opens no machine.
    let mut jump = Command::new("ssh");
    jump.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ])
    .args([
        "-i",
        reads.to_str().unwrap(),
        "-p",
        &port.to_string(),
        "-W",
        "web-1.hello.hafen:22",
        "git@127.0.0.1",
    ])
    .stdin(Stdio::null());
    assert!(bad(jump).contains("administratively prohibited"));
    let keys = platform.json(&["repository", "deploy-key", "list", "shop", "-p", "hello"]);
    assert!(keys["items"].as_array().unwrap().iter().all(|key| key["used_at"].is_string()), "{keys}");
    platform.good(&["repository", "deploy-key", "remove", "shop", "reads", "-p", "hello"]);
    assert!(bad(with(&reads, home, &["clone", &shop, "x"])).contains("Permission denied"));
    until("the ledger has it", || {
        let pushed = events(platform, "repository.pushed");
        pushed.iter().any(|entry| entry.to_string().contains("deploy key writes")).then_some(())
    });
}

fn random_file(path: &Path, mebibytes: u64) {
    use std::io::Read as _;
    let source = std::fs::File::open("/dev/urandom").unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    std::io::copy(&mut source.take(mebibytes << 20), &mut file).unwrap();
}

/// A repository with one large file, made quickly: nothing of it is compressed.
fn large(platform: &Platform, name: &str, mebibytes: u64) -> PathBuf {
    let place = fresh(platform, name);
    for (key, value) in
        [("core.compression", "0"), ("core.bigFileThreshold", "1m"), ("pack.compression", "0")]
    {
        good(git(&place, &["config", key, value]));
    }
    random_file(&place.join("large"), mebibytes);
    good(git(&place, &["add", "."]));
    good(git(&place, &["commit", "-q", "-m", "large"]));
    place
}

fn push_of(platform: &Platform, place: &Path) -> Child {
    let url = remote(platform, &token(platform), "shop");
    let mut command = git(place, &["push", &url, "HEAD:refs/heads/main"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_platform_that_dies_in_a_push_finds_it_sound_and_tells_it_once() {
    let mut platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    platform.good(&["repository", "create", "shop"]);
    let place = large(&platform, "one", 48);
    let repositories = platform.home.path().join("delivery/repositories");
    let bytes_in = || {
        let folder = std::fs::read_dir(&repositories).unwrap().flatten();
        let folder =
            folder.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "git"));
        let objects = std::fs::read_dir(folder.unwrap().join("objects")).unwrap().flatten();
        objects.filter(|entry| entry.file_name().to_string_lossy().contains("incoming")).count()
    };
    // Killed while objects come in: nothing of them counts afterwards. What git leaves in quarantine goes later.
    for _ in 0..2 {
        let before = bytes_in();
        let mut push = push_of(&platform, &place);
        until("objects come in", || (bytes_in() > before).then_some(()));
        platform.kill();
        assert!(!push.wait().unwrap().success());
        platform.restart();
        fsck(&platform);
        assert!(platform.json(&["repository", "references", "shop"])["items"].as_array().unwrap().is_empty());
    }
    // Killed at any moment of the rest: it was pushed or not, and if it was, that is told once.
    let mut told = 0;
    for number in 0..4 {
        let commit = commit(&place, "small", format!("{number}").as_bytes());
        let mut push = push_of(&platform, &place);
        crate::platform::rest(std::time::Duration::from_millis(60 + 90 * number));
        platform.kill();
        push.wait().unwrap();
        platform.restart();
        fsck(&platform);
        let references = platform.json(&["repository", "references", "shop"]);
        if references["items"].as_array().unwrap().iter().any(|one| one["target"] == commit) {
            told += 1;
        }
        let count = || events(&platform, "repository.pushed").len();
        until("it is told", || (count() == told).then_some(()));
    }
    let url = remote(&platform, &token(&platform), "shop");
    good(git(&place, &["push", "-q", &url, "HEAD:refs/heads/main", "HEAD:refs/heads/end"]));
    until("the last is told", || (events(&platform, "repository.pushed").len() == told + 1).then_some(()));
    fsck(&platform);
}

#[test]
fn half_a_gibibyte_is_pushed_and_fetched_and_many_push_at_once() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    platform.good(&["repository", "create", "shop"]);
    let place = large(&platform, "one", 512);
    let url = remote(&platform, &token(&platform), "shop");
    // Others work meanwhile.
    let mut push = push_of(&platform, &place);
    let small = fresh(&platform, "small");
    commit(&small, "a.txt", b"a\n");
    let mut pushes: Vec<Child> = (0..8)
        .map(|number| {
            let mut command = git(&small, &["push", &url, &format!("HEAD:refs/heads/b{number}")]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for push in &mut pushes {
        assert!(push.wait().unwrap().success());
    }
    assert!(push.wait().unwrap().success(), "{}", platform.log());
    // It went through, and was never held whole.
    let peak = std::fs::read_to_string(platform_status(&platform)).unwrap();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    let kibibytes: u64 = peak.split(' ').next().unwrap().parse().unwrap();
    assert!(kibibytes < 400 << 10, "hafen had {peak} in memory");
    let clone = platform.home.path().join("back");
    good(git(platform.home.path(), &["clone", "-q", "--no-checkout", "-b", "main", &url, "back"]));
    assert_eq!(good(git(&clone, &["rev-parse", "HEAD"])), good(git(&place, &["rev-parse", "HEAD"])));
    assert_eq!(good(git(&clone, &["rev-parse", "HEAD:large"])), good(git(&place, &["hash-object", "large"])));
    fsck(&platform);
}

fn platform_status(platform: &Platform) -> PathBuf {
    let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
    let endpoint: Value = serde_json::from_str(&endpoint).unwrap();
    PathBuf::from(format!("/proc/{}/status", endpoint["pid"]))
}

#[test]
fn a_hook_is_made_shown_once_and_called() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    let secret =
        platform.good(&["hook", "create", "ci", "--kind", "gitlab", "--app", "shop", "--branch", "main"]);
    let secret = secret.trim();
    let hook = platform.json(&["hook", "show", "ci"]);
    assert!(!hook.to_string().contains(secret));
    let call = |header: &str| {
        let body = json!({ "object_kind": "push", "ref": "refs/heads/main", "after": "a".repeat(40) });
        crate::http::send_form(&platform, "POST", hook["path"].as_str().unwrap(), header, &body.to_string())
    };
    let (head, _) = call("");
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    let (head, body) = call(&format!("X-Gitlab-Token: {secret}\r\nIdempotency-Key: one\r\n"));
    assert!(head.starts_with("HTTP/1.1 202"), "{head} {body}");
    let (_, body) = call(&format!("X-Gitlab-Token: {secret}\r\nIdempotency-Key: one\r\n"));
    assert!(body.contains("repeated"), "{body}");
    assert_eq!(platform.json(&["hook", "deliveries", "ci"])["items"].as_array().unwrap().len(), 1);
    platform.good(&["hook", "delete", "ci"]);
    let (head, _) = call(&format!("X-Gitlab-Token: {secret}\r\n"));
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
}
