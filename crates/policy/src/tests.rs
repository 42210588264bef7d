use super::*;

fn who<'a>(kind: ActorKind, roles: &'a [&'a str]) -> Who<'a> {
    Who { kind, roles, scopes: None, strong: true, stepped_up: true }
}

fn policy() -> Policy {
    Policy::new().unwrap()
}

#[test]
fn roles_stand_on_one_another_and_nothing_is_permitted_without_one() {
    let policy = policy();
    let may = |roles: &[&str], action: &str| policy.decide(who(ActorKind::Person, roles), action).allowed;
    for action in ACTIONS {
        let least = match action.group {
            "read" => "viewer",
            "audit" => "auditor",
            "deploy" => "developer",
            "operate" => "operator",
            "maintain" => "maintainer",
            "own" => "owner",
            "self" => continue,
            other => panic!("{other}"),
        };
        let order = ["viewer", "developer", "operator", "maintainer", "owner"];
        for role in order {
            let expected = match least {
                "auditor" => role == "owner",
                least => {
                    order.iter().position(|one| *one == role) >= order.iter().position(|one| *one == least)
                }
            };
            assert_eq!(may(&[role], action.name), expected, "{role} {}", action.name);
        }
        assert_eq!(may(&["auditor"], action.name), matches!(least, "auditor" | "viewer"), "{}", action.name);
        assert!(!may(&[], action.name), "{}", action.name);
        assert!(!may(&["stranger", "Owner", "*"], action.name), "{}", action.name);
    }
    assert!(!may(&["owner"], "machine.explode"), "an unknown action");
    assert!(may(&[], "account.self"), "one's own account needs no role");
}

#[test]
fn what_forbids_wins() {
    let policy = policy();
    let weak = Who { strong: false, ..who(ActorKind::Person, &["owner"]) };
    let answer = policy.decide(weak, "machine.read");
    assert!(!answer.allowed);
    assert_eq!(answer.rules, ["persons-prove-two-factors"]);
    assert!(policy.decide(weak, "account.self").allowed, "or nobody could ever set up a second factor");
    let stale = Who { stepped_up: false, ..who(ActorKind::Person, &["owner"]) };
    assert_eq!(policy.decide(stale, "project.delete").rules, ["danger-asks-again"]);
    assert!(policy.decide(stale, "machine.delete").allowed);
    // Nobody is there to prove a factor for a service account; its token says what it may.
    let scopes = ["machine.*".to_owned(), "read".to_owned()];
    let robot = Who {
        strong: false,
        stepped_up: false,
        scopes: Some(&scopes),
        ..who(ActorKind::ServiceAccount, &["owner"])
    };
    for (action, expected) in [
        ("machine.delete", true),
        ("network.read", true),
        ("network.write", false),
        ("project.delete", false),
    ] {
        assert_eq!(policy.decide(robot, action).allowed, expected, "{action}");
    }
    assert_eq!(policy.decide(robot, "network.write").rules, ["tokens-keep-to-their-scope"]);
    let nothing: [String; 0] = [];
    let robot = Who { scopes: Some(&nothing), ..robot };
    assert!(!policy.decide(robot, "machine.read").allowed);
}

#[test]
fn the_operator_and_the_platform_may_all() {
    let policy = policy();
    for kind in [ActorKind::LocalOperator, ActorKind::Platform] {
        for action in ACTIONS {
            assert!(policy.decide(who(kind, &[]), action.name).allowed, "{kind:?} {}", action.name);
        }
    }
    // Roles are for who has them; the word is no right.
    assert!(!policy.decide(who(ActorKind::Workload, &[]), "machine.read").allowed);
}

#[test]
fn the_answer_names_its_rule() {
    let policy = policy();
    let answer = policy.decide(who(ActorKind::Person, &["operator"]), "machine.reach");
    assert_eq!(answer.rules, ["operators-operate"]);
    assert_eq!(
        answer.tells,
        ["An operator may make, change and reach machines, images and snapshots, and read secrets."]
    );
    let answer = policy.decide(who(ActorKind::Person, &["viewer"]), "machine.reach");
    assert_eq!(*answer, Answer::refused());
}

#[test]
fn an_organisations_own_roles_hold_there_only() {
    let role = |organisation: &str, name: &str, actions: &[&str]| CustomRole {
        organisation: organisation.into(),
        name: name.into(),
        actions: actions.iter().map(|&action| action.into()).collect(),
    };
    let base = policy();
    let roles = [
        role("org-1", "release-captain", &["stack.apply", "stack.plan"]),
        role("org-1", "net", &["network.*", "audit"]),
        role("org-1", "old", &["machine.explode"]),
    ];
    let policy = base.with(&roles).unwrap();
    let ask = |policy: &Policy, held: &str, action: &str| {
        policy.decide(who(ActorKind::Person, &[held]), action).allowed
    };
    let may = |held: &str, action: &str| ask(&policy, held, action);
    assert!(may("org-1/release-captain", "stack.apply"));
    assert!(!may("org-1/release-captain", "machine.read"));
    assert!(!may("org-2/release-captain", "stack.apply"));
    assert!(!may("release-captain", "stack.apply"));
    assert!(may("org-1/net", "network.delete") && may("org-1/net", "ledger.read"));
    assert!(!may("org-1/net", "machine.read") && !may("org-1/old", "machine.read"));
    assert!(may("owner", "project.delete"), "those built in are there still");
    assert!(
        !ask(&base, "org-1/release-captain", "stack.apply"),
        "the policy it was made from knows nothing of it"
    );
    let answer = policy.decide(who(ActorKind::Person, &["org-1/net"]), "network.read");
    assert_eq!(answer.rules, ["role-net"]);
    for bad in [
        role("org-1", "owner", &["machine.read"]),
        role("org-1", "a\"); permit(principal, action, resource);//", &["machine.read"]),
        role("org-1\"", "a", &["machine.read"]),
    ] {
        assert!(base.with(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
    }
    let harmless = role("org-1", "a", &["\"] , resource); permit(principal, action, resource"]);
    assert_eq!(base.with(&[harmless]).unwrap().rules(), base.rules());
}

#[test]
fn words_that_cover_nothing_are_named() {
    let words =
        ["machine.*", "read", "*", "ledger.read", "machine", "machine.explode", "", "reads", "*.read"];
    let words = words.map(str::to_owned);
    assert_eq!(unknown(&words), ["machine", "machine.explode", "", "reads", "*.read"]);
    let names: Vec<&str> = covered(&words[3..4]).map(|action| action.name).collect();
    assert_eq!(names, ["ledger.read"]);
}

#[test]
fn an_answer_that_is_remembered_is_the_answer_of_its_question_only() {
    let policy = policy();
    let scope = ["machine.read".to_owned()];
    for _ in 0..2 {
        for (kind, roles, scopes, expected) in [
            (ActorKind::Person, &["viewer"][..], None, true),
            (ActorKind::Person, &["viewer"], Some(&scope[..]), true),
            (ActorKind::Person, &["viewer"], Some(&[]), false),
            (ActorKind::Person, &[], None, false),
            (ActorKind::LocalOperator, &[], None, true),
            (ActorKind::Person, &["auditor"], None, true),
            (ActorKind::Person, &["auditor", "viewer"], None, true),
            (ActorKind::Person, &["auditor viewer"], None, false),
            (ActorKind::Person, &["auditor\", \"viewer"], None, false),
        ] {
            let who = Who { scopes, ..who(kind, roles) };
            assert_eq!(policy.decide(who, "machine.read").allowed, expected, "{who:?}");
            let weak = Who { strong: false, ..who };
            assert_eq!(policy.decide(weak, "machine.read").allowed, expected && kind != ActorKind::Person);
        }
    }
}

#[test]
fn every_rule_says_what_it_is() {
    let policy = policy();
    let mut names = std::collections::HashSet::new();
    for one in policy.policies.policies() {
        let (name, tells) = policy.named(one.id());
        assert!(!tells.is_empty() && names.insert(name.clone()), "{name}");
    }
    assert!(names.len() >= 10);
}
