//! Who may do what where: the policy, asked with the roles that identity knows of. The gate asks it for every request; SSH
//! access and `policy explain` ask it about somebody who is not asking just now.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use hafen_base::{Actor, Clock, Error, OrganisationId, Permitted, Projects, Result, Sight};
use hafen_client::wire::PolicyPermitted;
use hafen_identity::{Caller, Identity};
use hafen_policy::{ACTIONS, Answer, CustomRole, Policy, ROLES, Who, find};

use super::endpoints::{self, Reach};

/// The policy with the people it is about: cheap to clone.
#[derive(Clone)]
pub struct Rights(Arc<Parts>);

struct Parts {
    identity: Identity,
    clock: Arc<dyn Clock>,
    policy: Arc<Policy>,
    /// Of organisations that made roles: those roles, and the policy with them. Made anew only when the roles are others.
    own: RwLock<HashMap<OrganisationId, Own>>,
}

#[derive(Clone)]
struct Own {
    roles: Vec<CustomRole>,
    policy: Arc<Policy>,
}

/// Bounds memory; then it starts anew.
const MOST_OWN: usize = 1000;

/// Where an action is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    Project(&'a str),
    Organisation,
    /// At what is the platform's, by somebody who does not answer for it: no role counts.
    Nowhere,
}

impl Rights {
    /// # Errors
    /// Internal when the policy does not hold together.
    pub fn new(identity: Identity, clock: Arc<dyn Clock>) -> Result<Self> {
        let policy = Arc::new(Policy::new().map_err(Error::internal)?);
        Ok(Self(Arc::new(Parts { identity, clock, policy, own: RwLock::default() })))
    }

    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The policy that holds for somebody: with the roles of their organisation, where they hold such.
    pub async fn policy(&self, caller: &Caller) -> Result<Arc<Policy>> {
        if caller.memberships.iter().all(|(_, role)| is_built_in(role)) {
            return Ok(Arc::clone(&self.0.policy));
        }
        self.policy_of(caller.organisation).await
    }

    /// The policy of an organisation, with the roles it made.
    pub async fn policy_of(&self, organisation: OrganisationId) -> Result<Arc<Policy>> {
        let read = self.0.identity.own_roles(organisation).await?;
        let tenant = organisation.to_string();
        let same = |own: &Own| {
            let one = |(known, read): (&CustomRole, &hafen_client::wire::CustomRole)| {
                known.name == read.name && known.actions == read.permissions
            };
            own.roles.len() == read.len() && own.roles.iter().zip(read.iter()).all(one)
        };
        let known = self.0.own.read().unwrap_or_else(PoisonError::into_inner).get(&organisation).cloned();
        if let Some(own) = known.filter(same) {
            return Ok(own.policy);
        }
        let roles: Vec<CustomRole> = read
            .iter()
            .map(|role| CustomRole {
                organisation: tenant.clone(),
                name: role.name.clone(),
                actions: role.permissions.clone(),
            })
            .collect();
        let policy = Arc::new(self.0.policy.with(&roles).map_err(Error::internal)?);
        let mut all = self.0.own.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_OWN {
            all.clear();
        }
        all.insert(organisation, Own { roles, policy: Arc::clone(&policy) });
        Ok(policy)
    }

    fn answer(&self, policy: &Policy, caller: &Caller, roles: &[&str], action: &str) -> Arc<Answer> {
        let organisation = caller.organisation.to_string();
        let held: Vec<String> =
            roles
                .iter()
                .map(|role| {
                    if is_built_in(role) { (*role).to_owned() } else { CustomRole::held(&organisation, role) }
                })
                .collect();
        let held: Vec<&str> = held.iter().map(String::as_str).collect();
        let who = Who {
            kind: caller.actor.kind,
            roles: &held,
            scopes: caller.scopes.as_deref(),
            strong: caller.strong,
            stepped_up: caller.stepped_up(self.0.clock.now()),
        };
        policy.decide(who, action)
    }

    /// The roles that count at a place, and the answer.
    pub async fn decide(
        &self,
        caller: &Caller,
        action: &str,
        place: Place<'_>,
    ) -> Result<(Vec<String>, Arc<Answer>)> {
        let roles = match place {
            Place::Project(project) => {
                let owner = self.0.identity.project_owner(project).await?;
                caller.project_roles(project, &owner)
            }
            // A token for some projects holds no role beyond them.
            Place::Organisation if caller.projects.is_some() => Vec::new(),
            Place::Nowhere => Vec::new(),
            Place::Organisation => caller.organisation_roles(),
        };
        let answer = self.answer(&*self.policy(caller).await?, caller, &roles, action);
        Ok((roles.into_iter().map(ToOwned::to_owned).collect(), answer))
    }

    /// What somebody may do at a place, as the gate would decide it.
    ///
    /// # Errors
    /// Not found for a project in which they hold nothing.
    pub async fn permitted(&self, caller: &Caller, place: Place<'_>) -> Result<PolicyPermitted> {
        let (roles, _) = self.decide(caller, "account.self", place).await?;
        let anywhere = caller.actor.kind == hafen_base::ActorKind::LocalOperator;
        let at = match place {
            Place::Project(name) if roles.is_empty() && !anywhere => {
                return Err(Error::not_found(format!("project {name:?}")));
            }
            Place::Project(name) => format!("project/{name}"),
            Place::Organisation | Place::Nowhere => format!("organisation/{}", caller.organisation),
        };
        let policy = self.policy(caller).await?;
        let fresh = Caller { step_up_until: Some(self.0.clock.now().plus(SECOND)), ..caller.clone() };
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let mut permitted = PolicyPermitted { place: at, actions: Vec::new(), step_up: Vec::new() };
        for action in ACTIONS {
            let reach = Reaches::of(action.name);
            if !matches!(place, Place::Project(_)) && reach.platform_only() && !caller.platform {
                continue;
            }
            let may = async |caller: &Caller| {
                let here = self.answer(&policy, caller, &roles, action.name).allowed;
                let across = reach.across && !matches!(place, Place::Project(_));
                Ok::<_, Error>(here || across && self.reaches_some(caller, action.name).await?)
            };
            if may(caller).await? {
                permitted.actions.push(action.name.into());
            } else if may(&fresh).await? {
                permitted.step_up.push(action.name.into());
            }
        }
        Ok(permitted)
    }

    /// Whether somebody may do what spans projects in at least one.
    async fn reaches_some(&self, caller: &Caller, action: &str) -> Result<bool> {
        Ok(self.across(caller, action).await?.is_ok_and(|permitted| !permitted.is_nothing()))
    }

    /// The actions that somebody holds at their organisation by role and scope: what a role they make may grant.
    pub async fn held(&self, caller: &Caller) -> Result<Vec<&'static str>> {
        let roles = if caller.projects.is_some() { Vec::new() } else { caller.organisation_roles() };
        let policy = self.policy(caller).await?;
        // Whether a factor was proven a moment ago says nothing of what is held.
        let fresh = Caller { step_up_until: Some(self.0.clock.now().plus(SECOND)), ..caller.clone() };
        let holds = |action: &str| self.answer(&policy, &fresh, &roles, action).allowed;
        Ok(ACTIONS.iter().map(|action| action.name).filter(|name| holds(name)).collect())
    }

    /// What somebody may see or reach of what spans projects: those in which the policy permits the action.
    ///
    /// Who answers for the platform sees everything. To act is another thing: that goes by roles, which nobody holds in another
    /// tenant's project.
    ///
    /// # Errors
    /// Forbidden, where a rule forbids it or none of the roles held anywhere permits it. Who holds no role sees nothing, which is
    /// no error.
    pub async fn across(
        &self,
        caller: &Caller,
        action: &str,
    ) -> Result<std::result::Result<Permitted, Arc<Answer>>> {
        let policy = self.policy(caller).await?;
        let ask = |roles: &[&str]| self.answer(&policy, caller, roles, action);
        let everywhere = ask(&caller.organisation_roles());
        if caller.actor.kind == hafen_base::ActorKind::LocalOperator && everywhere.allowed {
            return Ok(Ok(Permitted::Everything));
        }
        let looks = find(action).is_some_and(|action| matches!(action.group, "read" | "audit"));
        if caller.platform && looks {
            return Ok(if everywhere.allowed { Ok(Permitted::Everything) } else { Err(everywhere) });
        }
        let holdings = self.0.identity.holdings(caller.organisation).await?;
        let since = Arc::clone(&holdings.since);
        let default = caller.organisation == self.0.identity.default_organisation();
        if caller.projects.is_none() && everywhere.allowed {
            let projects = if default {
                Projects::AllBut(Arc::clone(&holdings.others))
            } else {
                Projects::These(Arc::new(holdings.owned.keys().cloned().collect()))
            };
            let organisation = Some(caller.organisation.to_string());
            return Ok(Ok(Permitted::Only(Sight { organisation, projects, since })));
        }
        let mut names = BTreeSet::new();
        if let Some(limits) = &caller.projects {
            for name in limits {
                let owner = self.0.identity.project_owner(name).await?;
                if ask(&caller.project_roles(name, &owner)).allowed {
                    names.insert(name.clone());
                }
            }
        } else {
            for (name, owner) in &holdings.owned {
                if ask(&caller.project_roles(name, owner)).allowed {
                    names.insert(name.clone());
                }
            }
        }
        if names.is_empty() {
            // With all roles there are, to say why not.
            let mut held: Vec<&str> = caller.memberships.iter().map(|(_, role)| role.as_str()).collect();
            held.sort_unstable();
            held.dedup();
            let answer = ask(&held);
            let holds = !held.is_empty() && caller.projects.is_none();
            if answer.is_forbidden() || !answer.allowed && holds {
                return Ok(Err(answer));
            }
        }
        let projects = Projects::These(Arc::new(names));
        Ok(Ok(Permitted::Only(Sight { organisation: None, projects, since })))
    }
}

/// Where there are endpoints of an action.
#[derive(Debug, Clone, Copy, Default)]
struct Reaches {
    platform: bool,
    across: bool,
    elsewhere: bool,
}

impl Reaches {
    fn of(action: &str) -> Self {
        endpoints::all().filter(|endpoint| endpoint.action == action).fold(Self::default(), |known, one| {
            match one.reach {
                Reach::Platform => Self { platform: true, ..known },
                Reach::Across => Self { across: true, ..known },
                Reach::Project | Reach::Organisation => Self { elsewhere: true, ..known },
            }
        })
    }

    const fn platform_only(self) -> bool {
        self.platform && !self.across && !self.elsewhere
    }
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

fn is_built_in(role: &str) -> bool {
    ROLES.iter().any(|(name, _)| *name == role)
}

#[async_trait]
impl hafen_access::Rights for Rights {
    async fn may_log_in(&self, actor: &Actor, project: &str) -> Result<bool> {
        let Some(caller) = self.0.identity.standing(actor).await? else { return Ok(false) };
        if caller.actor.kind == hafen_base::ActorKind::LocalOperator {
            return Ok(true);
        }
        let (_, answer) = self.decide(&caller, "machine.ssh", Place::Project(project)).await?;
        Ok(answer.allowed)
    }
}

#[async_trait]
impl hafen_delivery::Rights for Rights {
    async fn roles(&self, actor: &Actor, action: &str, project: &str) -> Result<Option<Vec<String>>> {
        let Some(caller) = self.0.identity.standing(actor).await? else { return Ok(None) };
        let (roles, answer) = self.decide(&caller, action, Place::Project(project)).await?;
        Ok(answer.allowed.then_some(roles))
    }
}
