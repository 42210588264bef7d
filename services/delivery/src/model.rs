//! Pure rules: names, and who may move which reference how.

use hafen_client::wire::{ProtectedBranch, PushRole};
use hafen_git::RefUpdate;

/// Who pushes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pusher {
    /// Roles that count at the project.
    pub roles: Vec<String>,
    /// Answers for the platform: whatever a branch asks for, they may.
    pub all: bool,
}

impl Pusher {
    /// Whether they hold this role, or one that stands on it.
    pub fn holds(&self, wanted: &str) -> bool {
        self.all || self.roles.iter().any(|role| stands_on(role, wanted))
    }

    fn may(&self, rule: &ProtectedBranch) -> bool {
        self.all || rule.push.role().is_some_and(|role| self.holds(role))
    }
}

fn stands_on(role: &str, wanted: &str) -> bool {
    role == wanted
        || hafen_policy::ROLES
            .iter()
            .find(|(name, _)| *name == role)
            .is_some_and(|(_, below)| below.iter().any(|below| stands_on(below, wanted)))
}

/// Whether a name fits a pattern: `*` stands for any text within one part of the name.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (patterns, names): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), name.split('/').collect());
    patterns.len() == names.len()
        && patterns.iter().zip(&names).all(|(pattern, name)| part_fits(pattern, name))
}

fn part_fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let Some(last) = pieces.pop() else { return false };
    for piece in pieces {
        match left.find(piece) {
            Some(at) => left = left.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    left.ends_with(last)
}

/// The rule of a branch: the first that fits.
pub fn rule_of<'a>(rules: &'a [ProtectedBranch], branch: &str) -> Option<&'a ProtectedBranch> {
    rules.iter().find(|rule| fits(&rule.pattern, branch))
}

/// What is asked of an update before it can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    May,
    /// It may, if it goes forward.
    IfForward,
    /// With what to do.
    MayNot(String),
}

/// Whether somebody may move a reference.
pub fn judge(update: &RefUpdate, rules: &[ProtectedBranch], default: &str, pusher: &Pusher) -> Judged {
    let name = update.reference.as_str();
    if !hafen_git::check_reference(name) {
        return Judged::MayNot(format!("{name} is no name that is taken here"));
    }
    let Some(branch) = name.strip_prefix("refs/heads/") else {
        if name.starts_with("refs/tags/") || name.starts_with("refs/notes/") {
            return Judged::May;
        }
        return Judged::MayNot(format!("{name}: only branches, tags and notes are kept here"));
    };
    if update.new.is_none() && branch == default {
        return Judged::MayNot(format!(
            "{branch} is the default branch: make another one that first (hafen repository update --default-branch NAME)"
        ));
    }
    let Some(rule) = rule_of(rules, branch) else { return Judged::May };
    if !pusher.may(rule) {
        let who = match rule.push {
            PushRole::Nobody => "nobody pushes to it".to_owned(),
            PushRole::Owner => "owners push to it".to_owned(),
            PushRole::Maintainer => "maintainers push to it".to_owned(),
            PushRole::Operator => "operators push to it".to_owned(),
            PushRole::Developer => "developers push to it".to_owned(),
        };
        return Judged::MayNot(format!(
            "{branch} is protected ({}): {who}. Push another branch: git push origin HEAD:refs/heads/NAME",
            rule.pattern
        ));
    }
    match (&update.old, &update.new) {
        (Some(_), None) if !rule.delete => {
            Judged::MayNot(format!("{branch} is protected ({}): it is not deleted", rule.pattern))
        }
        (Some(_), Some(_)) if !rule.force => Judged::IfForward,
        _ => Judged::May,
    }
}

/// Said of a protected branch that would not go forward.
pub fn not_forward(update: &RefUpdate) -> String {
    let branch = update.reference.strip_prefix("refs/heads/").unwrap_or(&update.reference);
    format!(
        "{branch} is protected: what it holds is not rewritten. Put your work on top of it: git pull --rebase, then push again"
    )
}

/// What changed between what was told and what is.
pub fn changes(told: &[(String, String)], now: &[(String, String)]) -> Vec<RefUpdate> {
    use std::collections::BTreeMap;
    let told: BTreeMap<&str, &str> =
        told.iter().map(|(name, target)| (name.as_str(), target.as_str())).collect();
    let now: BTreeMap<&str, &str> =
        now.iter().map(|(name, target)| (name.as_str(), target.as_str())).collect();
    let mut names: Vec<&str> = told.keys().chain(now.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| told.get(name) != now.get(name))
        .map(|name| RefUpdate {
            reference: name.to_owned(),
            old: told.get(name).map(|target| (*target).to_owned()),
            new: now.get(name).map(|target| (*target).to_owned()),
        })
        .collect()
}

/// As a person writes a reference.
pub fn short(reference: &str) -> &str {
    reference
        .strip_prefix("refs/heads/")
        .or_else(|| reference.strip_prefix("refs/tags/"))
        .unwrap_or(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, push: PushRole, force: bool, delete: bool) -> ProtectedBranch {
        ProtectedBranch { pattern: pattern.into(), push, force, delete }
    }

    fn update(reference: &str, old: bool, new: bool) -> RefUpdate {
        RefUpdate {
            reference: reference.into(),
            old: old.then(|| "a".repeat(40)),
            new: new.then(|| "b".repeat(40)),
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("main", "main", true),
            ("main", "mainly", false),
            ("main", "x/main", false),
            ("release/*", "release/1.0", true),
            ("release/*", "release/1/0", false),
            ("release/*", "release", false),
            ("*", "main", true),
            ("*", "a/b", false),
            ("v*-rc*", "v1-rc2", true),
            ("v*-rc*", "v1-r", false),
            ("*-stable", "a-stable-b", false),
            ("*a*a*", "aa", true),
            ("*a*a*", "a", false),
            ("*/*", "a/b", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn who_may_move_what() {
        let rules = [
            rule("main", PushRole::Developer, false, false),
            rule("release/*", PushRole::Maintainer, false, true),
            rule("wild", PushRole::Developer, true, false),
            rule("frozen", PushRole::Nobody, false, false),
        ];
        let held =
            |roles: &[&str]| Pusher { roles: roles.iter().map(|role| (*role).into()).collect(), all: false };
        let ask = |pusher: &Pusher, reference: &str, old: bool, new: bool| match judge(
            &update(reference, old, new),
            &rules,
            "main",
            pusher,
        ) {
            Judged::May => "may",
            Judged::IfForward => "forward",
            Judged::MayNot(_) => "not",
        };
        let (developer, maintainer, owner) = (held(&["developer"]), held(&["maintainer"]), held(&["owner"]));
        let operator = Pusher { all: true, ..Pusher::default() };
        let own = held(&["org-1/deployer"]);
        for (reference, old, new, expected) in [
            // Developer, maintainer, owner, who answers for the platform, a role of an organisation's own.
            ("refs/heads/topic", true, true, ["may", "may", "may", "may", "may"]),
            ("refs/heads/topic", true, false, ["may", "may", "may", "may", "may"]),
            ("refs/heads/main", false, true, ["may", "may", "may", "may", "not"]),
            ("refs/heads/main", true, true, ["forward", "forward", "forward", "forward", "not"]),
            ("refs/heads/main", true, false, ["not", "not", "not", "not", "not"]),
            ("refs/heads/release/1", true, true, ["not", "forward", "forward", "forward", "not"]),
            ("refs/heads/release/1", true, false, ["not", "may", "may", "may", "not"]),
            ("refs/heads/wild", true, true, ["may", "may", "may", "may", "not"]),
            ("refs/heads/wild", true, false, ["not", "not", "not", "not", "not"]),
            ("refs/heads/frozen", true, true, ["not", "not", "not", "forward", "not"]),
            ("refs/tags/v1", true, true, ["may", "may", "may", "may", "may"]),
            ("refs/notes/commits", false, true, ["may", "may", "may", "may", "may"]),
            ("refs/replace/x", false, true, ["not", "not", "not", "not", "not"]),
            ("refs/heads/-x", false, true, ["not", "not", "not", "not", "not"]),
            ("HEAD", false, true, ["not", "not", "not", "not", "not"]),
        ] {
            let answers = [&developer, &maintainer, &owner, &operator, &own]
                .map(|pusher| ask(pusher, reference, old, new));
            assert_eq!(answers, expected, "{reference} {old} {new}");
        }
    }

    #[test]
    fn what_changed() {
        let refs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(name, target)| ((*name).into(), (*target).into())).collect()
        };
        let told = refs(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let now = refs(&[("a", "1"), ("b", "9"), ("d", "4")]);
        let found: Vec<_> = changes(&told, &now)
            .into_iter()
            .map(|one| (one.reference, one.old.unwrap_or_default(), one.new.unwrap_or_default()))
            .collect();
        let expected = [("b", "2", "9"), ("c", "3", ""), ("d", "", "4")];
        assert_eq!(found, expected.map(|(name, old, new)| (name.to_owned(), old.to_owned(), new.to_owned())));
        assert!(changes(&now, &now).is_empty());
    }
}
