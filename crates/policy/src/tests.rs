use super::*;

fn who<'a>(kind: ActorKind, roles: &'a [&'a str]) -> Who<'a> {
    Who { kind, id: "u-1", roles, scopes: None, strong: true, stepped_up: true }
}

fn policy() -> Policy {
    Policy::new(&[]).unwrap()
}

#[test]
fn roles_stand_on_one_another_and_nothing_is_permitted_without_one() {
    let policy = policy();
    let may =
        |roles: &[&str], action: &str| policy.decide(who(ActorKind::Person, roles), action, "hello").allowed;
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
    let answer = policy.decide(weak, "machine.read", "hello");
    assert!(!answer.allowed);
    assert_eq!(answer.rules, ["persons-prove-two-factors"]);
    assert!(
        policy.decide(weak, "account.self", "hello").allowed,
        "or nobody could ever set up a second factor"
    );
    let stale = Who { stepped_up: false, ..who(ActorKind::Person, &["owner"]) };
    assert_eq!(policy.decide(stale, "project.delete", "hello").rules, ["danger-asks-again"]);
    assert!(policy.decide(stale, "machine.delete", "hello").allowed);
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
        assert_eq!(policy.decide(robot, action, "hello").allowed, expected, "{action}");
    }
    assert_eq!(policy.decide(robot, "network.write", "hello").rules, ["tokens-keep-to-their-scope"]);
    let nothing: [String; 0] = [];
    let robot = Who { scopes: Some(&nothing), ..robot };
    assert!(!policy.decide(robot, "machine.read", "hello").allowed);
}

#[test]
fn the_operator_and_the_platform_may_all() {
    let policy = policy();
    for kind in [ActorKind::LocalOperator, ActorKind::Platform] {
        for action in ACTIONS {
            assert!(policy.decide(who(kind, &[]), action.name, "hello").allowed, "{kind:?} {}", action.name);
        }
    }
    // Roles are for who has them; the word is no right.
    assert!(!policy.decide(who(ActorKind::Workload, &[]), "machine.read", "hello").allowed);
}

#[test]
fn the_answer_names_its_rule() {
    let policy = policy();
    let answer = policy.decide(who(ActorKind::Person, &["operator"]), "machine.reach", "hello");
    assert_eq!(answer.rules, ["operators-operate"]);
    assert_eq!(answer.tells, ["An operator may make, change and reach machines, images and snapshots."]);
    let answer = policy.decide(who(ActorKind::Person, &["viewer"]), "machine.reach", "hello");
    assert_eq!(answer, Answer::refused());
}

#[test]
fn an_organisations_own_roles_hold_there_only() {
    let role = |organisation: &str, name: &str, actions: &[&str]| CustomRole {
        organisation: organisation.into(),
        name: name.into(),
        actions: actions.iter().map(|&action| action.into()).collect(),
    };
    let policy = Policy::new(&[role("org-1", "release-captain", &["stack.apply", "stack.plan"])]).unwrap();
    let may =
        |held: &str, action: &str| policy.decide(who(ActorKind::Person, &[held]), action, "hello").allowed;
    assert!(may("org-1/release-captain", "stack.apply"));
    assert!(!may("org-1/release-captain", "machine.read"));
    assert!(!may("org-2/release-captain", "stack.apply"));
    assert!(!may("release-captain", "stack.apply"));
    for bad in [
        role("org-1", "owner", &[]),
        role("org-1", "a\"); permit(principal, action, resource);//", &[]),
        role("org-1\"", "a", &[]),
        role("org-1", "a", &["machine.explode"]),
        role("org-1", "a", &["\"] , resource); permit(principal, action, resource"]),
    ] {
        assert!(Policy::new(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
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
