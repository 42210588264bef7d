//! Roles, and where they are held.

use std::fmt;
use std::str::FromStr;

use hafen_base::{Error, OrganisationId, Result, TeamId, check_label};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The roles every organisation has. Their rights stand in the policy, not here; this service only needs to know who may
/// hand out what.
pub const BUILT_IN: &[&str] = &["owner", "maintainer", "operator", "developer", "auditor", "viewer"];

pub const OWNER: &str = "owner";
pub const MAINTAINER: &str = "maintainer";

/// Where a role is held: an organisation, a team, a project.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    Organisation(OrganisationId),
    /// Holds on the team, and on every project the team owns.
    Team(TeamId),
    /// By name: projects are the machines service's, and their names never change.
    Project(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organisation(id) => id.fmt(f),
            Self::Team(id) => id.fmt(f),
            Self::Project(name) => write!(f, "project/{name}"),
        }
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("project/") {
            check_label("project", name).map_err(Error::invalid)?;
            return Ok(Self::Project(name.to_owned()));
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Organisation(id));
        }
        text.parse().map(Self::Team).map_err(|_| {
            Error::invalid(
                "a scope is the id of an organisation (org-…), of a team (team-…), or project/NAME",
            )
        })
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Who owns a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub organisation: OrganisationId,
    /// Absent for projects that are older than teams; they belong to the default organisation.
    pub team: Option<TeamId>,
}

/// Whether one who holds `held` may give or take `role`.
///
/// An owner may everything. A maintainer may hand out the built-in roles below `owner`: a custom role may stand for more
/// than a maintainer has.
pub fn may_grant(held: &[&str], role: &str) -> bool {
    held.contains(&OWNER) || held.contains(&MAINTAINER) && BUILT_IN.contains(&role) && role != OWNER
}

#[cfg(test)]
mod tests {
    use hafen_base::{SeededRandom, Timestamp};

    use super::*;

    #[test]
    fn scopes_read_back() {
        let (now, random) = (Timestamp::from_micros(1_790_000_000_000_000), SeededRandom::new(1));
        let scopes = [
            Scope::Organisation(OrganisationId::generate(now, &random)),
            Scope::Team(TeamId::generate(now, &random)),
            Scope::Project("hello".into()),
        ];
        for scope in scopes {
            assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
        }
        for bad in ["", "hello", "project/", "project/A", "u-01", "org-1", "project/a/b"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn who_may_grant_what() {
        let table: &[(&[&str], &str, bool)] = &[
            (&["owner"], "owner", true),
            (&["owner"], "release-captain", true),
            (&["maintainer"], "owner", false),
            (&["maintainer"], "maintainer", true),
            (&["maintainer"], "viewer", true),
            (&["maintainer"], "release-captain", false),
            (&["operator", "developer", "auditor", "viewer"], "viewer", false),
            (&["release-captain"], "viewer", false),
            (&[], "viewer", false),
        ];
        for (held, role, expected) in table {
            assert_eq!(may_grant(held, role), *expected, "{held:?} gives {role}");
        }
    }
}
