//! Who asks, by what right: what the check of a credential gives, and all that the rest of the platform needs to decide.

use hafen_base::{Actor, ActorKind, Error, ErrorKind, OrganisationId, Result, Timestamp};

use super::role::{self, Owner, Scope};

/// What a request brings.
pub enum Presented<'a> {
    /// The text after `Bearer`.
    Bearer(&'a str),
    /// Of a browser's cookie: a session and nothing else.
    Session(&'a str),
    /// The peer of the local socket, as the kernel names it.
    LocalPeer { uid: u32 },
}

/// What a token is limited to; `None` where it may all that its owner may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Permissions; in the words of the policy.
    pub permissions: Option<Vec<String>>,
    pub projects: Option<Vec<String>>,
}

/// The actions that a caller holds at its organisation by role and scope, as the policy says: the gate puts them beside a
/// request that makes a role.
#[derive(Debug, Clone)]
pub struct Held(pub Vec<&'static str>);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub actor: Actor,
    pub organisation: OrganisationId,
    /// Roles held, and where.
    pub memberships: Vec<(Scope, String)>,
    /// Of a token.
    pub scopes: Option<Vec<String>>,
    /// Projects a token is limited to.
    pub projects: Option<Vec<String>>,
    /// Two factors were proven when this began.
    pub strong: bool,
    pub authenticated_at: Timestamp,
    /// Until when a second factor counts as proven again.
    pub step_up_until: Option<Timestamp>,
    /// Owner of the default organisation, or the local operator: may found organisations and invite their first owners.
    pub platform: bool,
}

impl Caller {
    /// Roles held at the organisation itself.
    pub fn organisation_roles(&self) -> Vec<&str> {
        self.roles_where(|scope| *scope == Scope::Organisation(self.organisation))
    }

    /// Roles that count on a project: those at the project, at the team that owns it, at the organisation.
    pub fn project_roles(&self, project: &str, owner: &Owner) -> Vec<&str> {
        if owner.organisation != self.organisation {
            return Vec::new();
        }
        if self.projects.as_ref().is_some_and(|projects| !projects.iter().any(|name| name == project)) {
            return Vec::new();
        }
        self.roles_where(|scope| match scope {
            Scope::Organisation(id) => *id == owner.organisation,
            Scope::Team(id) => owner.team == Some(*id),
            Scope::Project(name) => name == project,
        })
    }

    fn roles_where(&self, fits: impl Fn(&Scope) -> bool) -> Vec<&str> {
        let mut roles: Vec<&str> =
            self.memberships.iter().filter(|(scope, _)| fits(scope)).map(|(_, role)| role.as_str()).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    /// Whether a second factor was proven a moment ago.
    pub fn stepped_up(&self, now: Timestamp) -> bool {
        self.step_up_until.is_some_and(|until| now < until)
    }

    /// Refuses what tokens and workloads must not do: change how one signs in.
    ///
    /// # Errors
    /// Forbidden.
    pub fn must_be_a_session(&self) -> Result<()> {
        let session = self.actor.kind == ActorKind::Person && self.actor.credential.starts_with("session/");
        if session {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Forbidden, "sign in for this: a token cannot change how a person signs in")
            .with_code("session_required"))
    }

    /// # Errors
    /// Forbidden with the code `step_up_required`, which tells a client to ask for the second factor.
    pub fn must_have_stepped_up(&self, now: Timestamp) -> Result<()> {
        if self.actor.kind == ActorKind::LocalOperator || self.stepped_up(now) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forbidden,
            "prove your second factor again for this: POST /api/v1/step-up, then repeat the request",
        )
        .with_code("step_up_required"))
    }

    /// # Errors
    /// Forbidden unless the caller is owner or maintainer of its organisation.
    pub fn must_administer(&self) -> Result<()> {
        let roles = self.organisation_roles();
        if self.platform || roles.contains(&role::OWNER) || roles.contains(&role::MAINTAINER) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Forbidden, "owners and maintainers of the organisation may do this"))
    }

    /// # Errors
    /// Forbidden.
    pub fn must_be_the_platforms(&self) -> Result<()> {
        if self.platform {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Forbidden, "owners of the platform (the default organisation) may do this"))
    }
}
