//! What a caller may see of what spans projects: decided before a handler runs, applied by it in its query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::Timestamp;

/// What a caller may see. There is no default: who forgets to ask shows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permitted {
    /// All tenants, and what is of no project: for who answers for the platform, and between services.
    Everything,
    /// Some projects of one tenant.
    Only(Sight),
}

/// What is seen of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// The organisation, where what it did outside of projects is seen too.
    pub organisation: Option<String>,
    pub projects: Projects,
    /// Names that were another tenant's before: what is older than this is that tenant's still.
    pub since: Arc<BTreeMap<String, Timestamp>>,
}

/// Names of projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projects {
    These(Arc<BTreeSet<String>>),
    /// For the default organisation, whose are also projects that nobody wrote down an owner for.
    AllBut(Arc<BTreeSet<String>>),
}

impl Default for Projects {
    fn default() -> Self {
        Self::These(Arc::default())
    }
}

impl Permitted {
    /// Sees nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self::Only(Sight::default())
    }

    /// Whether there is nothing that could be seen.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Only(Sight { organisation: None, projects: Projects::These(names), .. }) if names.is_empty())
    }

    /// Whether the project, as it is now, may be seen.
    #[must_use]
    pub fn has(&self, project: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(_) if project.is_empty() => false,
            Self::Only(sight) => match &sight.projects {
                Projects::These(names) => names.contains(project),
                Projects::AllBut(names) => !names.contains(project),
            },
        }
    }

    /// Whether what happened in the project at this time may be seen.
    #[must_use]
    pub fn had(&self, project: &str, at: Timestamp) -> bool {
        let since = match self {
            Self::Everything => None,
            Self::Only(sight) => sight.since.get(project),
        };
        self.has(project) && since.is_none_or(|since| at >= *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_no_project_or_of_before_is_not_seen() {
        let at = Timestamp::from_micros;
        let names = |names: &[&str]| Arc::new(names.iter().map(|name| (*name).to_owned()).collect());
        let since = Arc::new(BTreeMap::from([("old".to_owned(), at(5))]));
        let these = Permitted::Only(Sight {
            projects: Projects::These(names(&["a", "old"])),
            since: Arc::clone(&since),
            ..Sight::default()
        });
        let but =
            Permitted::Only(Sight { projects: Projects::AllBut(names(&["b"])), since, ..Sight::default() });
        for (permitted, expected) in [
            (&these, [true, false, false, false, true]),
            (&but, [true, false, false, false, true]),
            (&Permitted::Everything, [true, true, true, true, true]),
            (&Permitted::nothing(), [false; 5]),
        ] {
            let seen = [("a", 1), ("b", 1), ("", 1), ("old", 4), ("old", 5)];
            assert_eq!(
                seen.map(|(project, when)| permitted.had(project, at(when))),
                expected,
                "{permitted:?}"
            );
        }
        assert!(Permitted::nothing().is_nothing() && !these.is_nothing() && !but.is_nothing());
    }
}
