//! What the gate asks beyond the check of a credential: what an organisation owns, the roles it made, and how somebody stands who is
//! not asking just now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hafen_base::{Actor, ActorKind, Error, OrganisationId, Result, Timestamp};
use hafen_client::wire::CustomRole;

use crate::Identity;
use crate::model::caller::Caller;
use crate::model::role::{Owner, Scope};
use crate::store::credential::{self, CredentialRow};
use crate::store::{membership, person, project, service_account, workload};

/// The projects of an organisation.
#[derive(Debug, Default)]
pub struct Holdings {
    /// Those with an owner that is written down.
    pub owned: BTreeMap<String, Owner>,
    /// Names that others own; read for the default organisation only, whose is all that nobody owns.
    pub others: Arc<BTreeSet<String>>,
    /// Names that may have been somebody else's before, and since when they are not.
    pub since: Arc<BTreeMap<String, Timestamp>>,
}

/// Somebody, as found by name.
#[derive(Debug)]
pub struct Found {
    /// As they would ask. Of a person not by a credential: with two factors, the second just proven again.
    pub caller: Caller,
    /// `active`, `suspended`, or of a credential `revoked`, `expired`, `replaced`.
    pub standing: &'static str,
}

impl Identity {
    /// What an organisation owns; good as long as the check of a credential.
    ///
    /// # Errors
    /// As the database's.
    pub async fn holdings(&self, organisation: OrganisationId) -> Result<Arc<Holdings>> {
        let cache = &self.0.cache;
        cache.holdings.get(cache, organisation, self.0.now(), self.read_holdings(organisation)).await
    }

    async fn read_holdings(&self, organisation: OrganisationId) -> Result<Holdings> {
        let db = self.0.db.reader();
        let rows = project::all(db, organisation).await?;
        let (mut others, mut since) = (BTreeSet::new(), BTreeMap::new());
        if organisation == self.0.default {
            // A project may be older here than its owner: until then it was this organisation's all the same.
            others.extend(project::of_others(db, organisation).await?);
            since.extend(project::given_up(db).await?);
        } else {
            since.extend(rows.iter().map(|row| (row.project.clone(), row.created_at)));
        }
        let owned = rows
            .into_iter()
            .map(|row| (row.project, Owner { organisation: row.organisation, team: Some(row.team) }));
        Ok(Holdings { owned: owned.collect(), others: Arc::new(others), since: Arc::new(since) })
    }

    /// The roles an organisation made; good as long as the check of a credential.
    ///
    /// # Errors
    /// As the database's.
    pub async fn own_roles(&self, organisation: OrganisationId) -> Result<Arc<Vec<CustomRole>>> {
        let cache = &self.0.cache;
        let read = membership::role_list(self.0.db.reader(), organisation);
        cache.roles.get(cache, organisation, self.0.now(), read).await
    }

    /// How somebody stands now who asked earlier. None when they are gone or suspended, or the credential they asked with was
    /// revoked; one that ran out ends nothing that it began.
    ///
    /// # Errors
    /// As the database's.
    pub async fn standing(&self, actor: &Actor) -> Result<Option<Caller>> {
        if actor.kind == ActorKind::LocalOperator {
            return Ok(Some(self.local_operator(0)));
        }
        let Ok(organisation) = actor.organisation.parse() else { return Ok(None) };
        let db = self.0.db.reader();
        let row = match actor.credential.split_once('/') {
            Some(("session" | "token", id)) => credential::by_id(db, id).await?,
            _ => None,
        };
        if row.is_some_and(|row| row.status == credential::REVOKED) {
            return Ok(None);
        }
        let found = self.subject_of(organisation, &actor.id).await?;
        Ok(found.filter(|found| found.standing == "active").map(|found| found.caller))
    }

    /// Somebody of the caller's organisation, or of the one named: a person by id or login, a service account or a workload
    /// identity by id or name, a token or session by id.
    ///
    /// # Errors
    /// Not found; as the database's.
    pub async fn find(&self, caller: &Caller, of: Option<&str>, who: &str) -> Result<Found> {
        let organisation = self.tenant(caller, of).await?;
        let missing =
            || Error::not_found(format!("person, service account, workload identity or token {who:?}"));
        if !(who.starts_with("tok-") || who.starts_with("ses-")) {
            return self.subject_of(organisation, who).await?.ok_or_else(missing);
        }
        let row = credential::by_id(self.0.db.reader(), who).await?;
        let row = row.filter(|row| row.organisation == organisation).ok_or_else(missing)?;
        let mut found = self.subject_of(organisation, &row.subject).await?.ok_or_else(missing)?;
        self.limit(&mut found, &row);
        Ok(found)
    }

    fn limit(&self, found: &mut Found, row: &CredentialRow) {
        let now = self.0.now();
        let caller = &mut found.caller;
        let kind = if row.id.starts_with("ses-") { "session" } else { "token" };
        caller.actor.credential = format!("{kind}/{}", row.id);
        caller.platform &= row.scopes.is_none() && row.projects.is_none();
        caller.scopes.clone_from(&row.scopes);
        caller.projects.clone_from(&row.projects);
        caller.strong = row.strong;
        caller.authenticated_at = row.authenticated_at;
        caller.step_up_until = row.step_up_until;
        if found.standing == "active" && !row.opens(now) {
            found.standing = match row.status.as_str() {
                credential::REVOKED => "revoked",
                credential::ROTATING | credential::ENDED => "replaced",
                _ => "expired",
            };
        }
    }

    async fn subject_of(&self, organisation: OrganisationId, key: &str) -> Result<Option<Found>> {
        let db = self.0.db.reader();
        let (kind, id, name, status) = if let Some(found) = person::find(db, organisation, key).await? {
            (ActorKind::Person, found.id.to_string(), found.name, found.status)
        } else if let Some(found) = service_account::find(db, organisation, key).await? {
            (ActorKind::ServiceAccount, found.id.to_string(), found.name, found.status)
        } else {
            let found = workload::list(db, organisation).await?;
            let found = found.into_iter().find(|one| one.id == key || one.name == key);
            let Some(found) = found else { return Ok(None) };
            (ActorKind::Workload, found.id, found.name, person::ACTIVE.to_owned())
        };
        let memberships: Vec<(Scope, String)> = membership::of(db, &id).await?;
        let now = self.0.now();
        let caller = Caller {
            actor: Actor { kind, id, name, organisation: organisation.to_string(), ..Actor::platform() },
            organisation,
            platform: self.owns_the_platform(organisation, &memberships),
            memberships,
            scopes: None,
            projects: None,
            strong: true,
            authenticated_at: now,
            step_up_until: Some(now.plus(std::time::Duration::from_secs(1))),
        };
        let standing = if status == person::ACTIVE { "active" } else { "suspended" };
        Ok(Some(Found { caller, standing }))
    }
}
