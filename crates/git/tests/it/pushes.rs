//! Pushes and fetches of a stock client.

use std::time::{Duration, Instant};

use hafen_git::{Limits, Repository, Verdict};

use crate::rig::Rig;

fn rig() -> Rig {
    Rig::start(Limits::default(), None)
}

/// Text that does not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

fn until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < deadline, "it never came: {what}");
        #[expect(clippy::disallowed_methods, reason = "waiting for another process")]
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_pushed_is_fetched() {
    let rig = rig();
    let one = rig.clone("one");
    rig.commit(&one, "a.txt", b"a\n");
    rig.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    rig.good(&one, &["tag", "-a", "-m", "first", "v1"]);
    rig.good(&one, &["push", "-q", "origin", "v1"]);
    let two = rig.clone("two");
    assert_eq!(std::fs::read_to_string(two.join("a.txt")).unwrap(), "a\n");
    rig.commit(&two, "b.txt", &noise(300_000, 1));
    rig.good(&two, &["push", "-q", "origin", "main"]);
    rig.good(&one, &["pull", "-q", "origin", "main"]);
    assert_eq!(std::fs::read(one.join("b.txt")).unwrap(), noise(300_000, 1));
    assert_eq!(rig.references(), ["refs/heads/main", "refs/tags/v1"]);
    // Old and new protocol, shallow and partial clones.
    for options in [
        vec!["-c", "protocol.version=0", "clone", "-q"],
        vec!["-c", "protocol.version=2", "clone", "-q"],
        vec!["clone", "-q", "--depth=1"],
        vec!["clone", "-q", "--filter=blob:none"],
    ] {
        let name = format!("clone-{}", options.join("").replace([':', '=', '.'], "-"));
        let mut arguments = options.clone();
        arguments.extend(["ssh://server/hello/shop.git", &name]);
        rig.good(rig.folder.path(), &arguments);
        let place = rig.folder.path().join(&name);
        assert_eq!(std::fs::read(place.join("b.txt")).unwrap(), noise(300_000, 1), "{name}");
    }
    let commit = rig.good(&one, &["rev-parse", "HEAD"]);
    let tag = rig.good(&one, &["rev-parse", "v1^{commit}"]);
    for (name, expected) in
        [("main", &commit), ("v1", &tag), ("refs/heads/main", &commit), (&commit[..12], &commit)]
    {
        assert_eq!(&rig.wait(rig.git.resolve(&rig.repository, name)).unwrap(), expected, "{name}");
    }
    for name in ["nothing", "main~1", "-h", "--help", "HEAD^{tree}", "a..b", ":/write", "0000"] {
        assert!(rig.wait(rig.git.resolve(&rig.repository, name)).is_err(), "{name}");
    }
    let commits = rig.wait(rig.git.commits(&rig.repository, &commit, 0, 10)).unwrap();
    assert_eq!(
        commits.iter().map(|one| one.subject.as_str()).collect::<Vec<_>>(),
        ["write b.txt", "write a.txt"]
    );
    let mut archive = rig.wait(rig.git.archive(&rig.repository, "v1")).unwrap();
    let mut tar = Vec::new();
    while let Some(bytes) = rig.wait(archive.next()).unwrap() {
        tar.extend_from_slice(&bytes);
    }
    assert!(
        tar.windows(5).any(|window| window == b"a.txt") && !tar.windows(5).any(|window| window == b"b.txt")
    );
    // Of each push the gate saw what it moved.
    let seen = rig.gatekeeper.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3);
    assert_eq!((seen[0][0].reference.as_str(), &seen[0][0].old), ("refs/heads/main", &None));
    assert_eq!((seen[2][0].old.as_ref(), seen[2][0].new.as_ref()), (Some(&tag), Some(&commit)));
    rig.assert_sound();
}

#[test]
fn what_is_refused_leaves_nothing() {
    let rig = rig();
    let one = rig.clone("one");
    rig.commit(&one, "a.txt", b"a\n");
    rig.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    rig.refuse(|push| {
        let lines = push.updates.iter().map(|one| format!("not {}", one.reference)).collect();
        Verdict::Refuse(lines)
    });
    rig.commit(&one, "b.txt", b"b\n");
    let said = rig.bad(&one, &["push", "origin", "HEAD:refs/heads/main", "HEAD:refs/heads/other"]);
    for line in ["remote: not refs/heads/main", "remote: not refs/heads/other", "pre-receive hook declined"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(rig.references(), ["refs/heads/main"]);
    let commit = rig.good(&one, &["rev-parse", "HEAD"]);
    assert!(rig.wait(rig.git.resolve(&rig.repository, &commit)).is_err(), "its objects are gone");
    rig.assert_sound();
    // A file in the repository that git would run is not run.
    let hooks = rig.repository.path(&rig.git).join("hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("post-receive");
    std::fs::write(&hook, "#!/bin/sh\ntouch ran\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    rig.refuse(|_| Verdict::Accept);
    rig.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    assert!(!rig.repository.path(&rig.git).join("ran").exists());
}

#[test]
fn a_secret_is_refused_where_it_stands_in_any_commit() {
    let rig = rig();
    let one = rig.clone("one");
    rig.commit(&one, "a.txt", b"a\n");
    rig.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    let token = ["gl", "pat-aB3dE5gH7jK9mN1pQ2rS"].concat();
    std::fs::create_dir(one.join("conf")).unwrap();
    rig.commit(&one, "conf/prod env.yml", format!("a: 1\nb: 2\ntoken: {token}\n").as_bytes());
    // The next commit takes it out again; the history keeps it.
    rig.commit(&one, "conf/prod env.yml", b"a: 1\n");
    let said = rig.bad(&one, &["push", "origin", "HEAD:refs/heads/main"]);
    assert!(said.contains("remote: conf/prod env.yml:3: a token of GitLab"), "{said}");
    rig.good(&one, &["reset", "-q", "--hard", "origin/main"]);
    rig.good(&one, &["commit", "-q", "--allow-empty", "-m", &format!("use {token}")]);
    let said = rig.bad(&one, &["push", "origin", "HEAD:refs/heads/main"]);
    assert!(said.contains("remote: the message of commit"), "{said}");
    rig.good(&one, &["reset", "-q", "--hard", "origin/main"]);
    rig.commit(&one, "test.txt", format!("# hafen:allow-secret: of a test\n{token}\n").as_bytes());
    rig.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    // What is there already is not looked at again.
    rig.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/again"]);
    rig.assert_sound();
}

#[test]
fn a_push_that_is_too_large_is_cut_off() {
    let rig = Rig::start(Limits::default(), Some(1 << 20));
    let one = rig.clone("one");
    rig.commit(&one, "large", &noise(3 << 20, 2));
    let said = rig.bad(&one, &["push", "origin", "HEAD:refs/heads/main"]);
    assert!(said.contains("exceeds maximum allowed size"), "{said}");
    assert!(rig.references().is_empty());
    until("the rest of it goes", || {
        let objects = rig.repository.path(&rig.git).join("objects");
        !std::fs::read_dir(objects)
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("incoming"))
    });
    rig.assert_sound();
}

#[test]
fn killed_pushes_leave_it_sound() {
    let rig = rig();
    let one = rig.clone("one");
    rig.commit(&one, "a.txt", b"a\n");
    rig.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    let before = rig.good(&one, &["rev-parse", "HEAD"]);
    rig.commit(&one, "large", &noise(24 << 20, 3));
    let objects = rig.repository.path(&rig.git).join("objects");
    let incoming = || {
        std::fs::read_dir(&objects)
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("incoming"))
    };
    for wait in [0, 20, 60] {
        let mut push = rig.spawn(&one, &["push", "origin", "HEAD:refs/heads/main"]);
        until("objects come in", &incoming);
        #[expect(clippy::disallowed_methods, reason = "to meet it somewhere else each time")]
        std::thread::sleep(Duration::from_millis(wait));
        let group = rustix::process::Pid::from_raw(i32::try_from(push.id()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        push.wait().unwrap();
        until("what came in is thrown away", || !incoming());
        rig.assert_sound();
    }
    assert_eq!(rig.wait(rig.git.resolve(&rig.repository, "main")).unwrap(), before);
    rig.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    rig.assert_sound();
}

#[test]
fn pushes_at_once_and_one_that_is_late() {
    let rig = rig();
    let one = rig.clone("one");
    rig.commit(&one, "a.txt", b"a\n");
    rig.good(&one, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    let clones: Vec<_> = (0..6).map(|number| rig.clone(&format!("c{number}"))).collect();
    for (number, place) in clones.iter().enumerate() {
        rig.commit(place, &format!("f{number}"), &noise(100_000, number as u64 + 9));
    }
    let pushes: Vec<_> = clones
        .iter()
        .enumerate()
        .map(|(number, place)| rig.spawn(place, &["push", "origin", &format!("HEAD:refs/heads/b{number}")]))
        .collect();
    for mut push in pushes {
        assert!(push.wait().unwrap().success());
    }
    assert_eq!(rig.references().len(), 7);
    // Of those that push to the same branch one wins.
    let pushes: Vec<_> =
        clones.iter().map(|place| rig.spawn(place, &["push", "origin", "HEAD:refs/heads/main"])).collect();
    let won: Vec<bool> = pushes.into_iter().map(|mut push| push.wait().unwrap().success()).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    let late = won.iter().position(|won| !won).unwrap();
    rig.good(&clones[late], &["pull", "-q", "--rebase", "origin", "main"]);
    rig.good(&clones[late], &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    // Tidied up, it is the same.
    let before = rig.references();
    for whole in [false, true] {
        rig.wait(rig.git.tidy(&rig.repository, whole)).unwrap();
        assert_eq!(rig.references(), before);
        assert!(rig.wait(rig.git.packs(&rig.repository)).unwrap() <= 2);
        rig.assert_sound();
    }
    rig.clone("after");
    rig.wait(rig.git.remove(&rig.repository)).unwrap();
    assert!(!rig.repository.path(&rig.git).exists());
}

#[test]
fn a_place_is_waited_for_and_an_idle_client_is_sent_away() {
    let limits = Limits {
        exchanges: 1,
        patience: Duration::from_millis(100),
        idle: Duration::from_millis(500),
        ..Limits::default()
    };
    let rig = Rig::start(limits, None);
    let exchange = || hafen_git::Exchange {
        service: hafen_git::Service::UploadPack,
        rpc: hafen_git::Rpc::Whole,
        protocol: None,
        largest: None,
        gate: None,
    };
    let begun = rig.wait(rig.git.exchange(&rig.repository, exchange())).unwrap();
    let second = rig.wait(rig.git.exchange(&rig.repository, exchange()));
    assert!(second.is_err_and(|error| error.to_string().contains("try again")));
    let (sender, _receiver) = tokio::sync::mpsc::channel(8);
    let ended = rig.wait(begun.carry(Box::pin(futures::stream::pending()), sender));
    assert!(ended.is_err_and(|error| error.to_string().contains("nothing moved")));
    assert!(rig.wait(rig.git.exchange(&rig.repository, exchange())).is_ok());
}

#[test]
fn what_a_signal_has_left_goes_when_it_is_old() {
    let rig = Rig::start(Limits { exchange: Duration::from_secs(1), ..Limits::default() }, None);
    let objects = rig.repository.path(&rig.git).join("objects");
    let left = objects.join("tmp_objdir-incoming-x");
    std::fs::create_dir_all(left.join("pack")).unwrap();
    rig.wait(rig.git.sweep()).unwrap();
    assert!(left.exists(), "it may be somebody's");
    until("it is old", || {
        rig.wait(rig.git.sweep()).unwrap();
        !left.exists()
    });
    assert!(objects.join("pack").exists());
    rig.assert_sound();
}

#[test]
fn a_repository_that_many_make_at_once_is_made_once_and_whole() {
    let rig = Rig::start(Limits { exchange: Duration::from_secs(1), ..Limits::default() }, None);
    for round in 0..10 {
        let repository = Repository::new(&format!("many-{round}")).unwrap();
        let made = (0..16).map(|_| rig.git.ensure(&repository, "main"));
        for made in rig.wait(futures::future::join_all(made)) {
            made.unwrap();
        }
        assert_eq!(rig.wait(rig.git.check(&repository)).unwrap(), None, "it is sound");
        let gone = (0..4).map(|_| rig.git.remove(&repository));
        for gone in rig.wait(futures::future::join_all(gone)) {
            gone.unwrap();
        }
        assert!(!repository.path(&rig.git).exists());
    }
    let folder = rig.folder.path().join("repositories");
    let others = || {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name != "hooks" && name != "repo-1.git").collect::<Vec<_>>()
    };
    assert!(others().is_empty(), "{:?}", others());
    // What processes left that died in the middle: nobody stumbles over it, and it goes.
    for left in ["new-many-1", "new-many-1-abcdef", "gone-many-1", "gone-many-1-abcdef"] {
        std::fs::create_dir_all(folder.join(left).join("objects/pack")).unwrap();
    }
    let repository = Repository::new("many-1").unwrap();
    rig.wait(rig.git.ensure(&repository, "main")).unwrap();
    rig.wait(rig.git.remove(&repository)).unwrap();
    until("they are old", || {
        rig.wait(rig.git.sweep()).unwrap();
        others().is_empty()
    });
}
