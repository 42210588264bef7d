//! Who holds which role where, and the roles of an organisation.

use hafen_base::{Error, ErrorKind, MembershipId, OrganisationId, Page, PageLimit, Result, check_label};
use hafen_client::wire::{CustomRole, CustomRolePut, Membership, MembershipCreate};
use hafen_db::Tx;
use hafen_work::{Begun, Once, OnceTx};
use serde_json::json;

use super::{check_title, check_words};
use crate::Identity;
use crate::model::caller::{Caller, Held};
use crate::model::role::{BUILT_IN, OWNER, Scope, may_grant};
use crate::store::{membership, person, project, service_account, team};

impl Identity {
    /// Roles of the caller that count for handing out roles at a scope: those at the organisation, and at the scope itself.
    fn granting_roles<'a>(caller: &'a Caller, organisation: OrganisationId, scope: &Scope) -> Vec<&'a str> {
        if caller.platform && organisation != caller.organisation {
            return vec![OWNER];
        }
        caller
            .memberships
            .iter()
            .filter(|(held, _)| *held == Scope::Organisation(organisation) || held == scope)
            .map(|(_, role)| role.as_str())
            .collect()
    }

    pub(super) fn must_grant(
        caller: &Caller,
        organisation: OrganisationId,
        scope: &Scope,
        role: &str,
    ) -> Result<()> {
        if may_grant(&Self::granting_roles(caller, organisation, scope), role) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "you may not give or take the role {role:?} here: owners may all, maintainers the built-in roles but owner"
            ),
        ))
    }

    /// The scope exists and is the organisation's.
    pub(super) async fn scope(&self, tx: &mut Tx, organisation: OrganisationId, text: &str) -> Result<Scope> {
        let scope: Scope =
            text.parse().map_err(|error: Error| Error::invalid_field("/scope", error.message()))?;
        match &scope {
            Scope::Organisation(id) if *id == organisation => {}
            Scope::Organisation(id) => return Err(Error::not_found(format!("organisation {id}"))),
            Scope::Team(id) => {
                team::get(&mut **tx, organisation, &id.to_string()).await?;
            }
            Scope::Project(name) => {
                let owner = project::find(&mut **tx, name).await?;
                if owner.is_none_or(|owner| owner.organisation != organisation) {
                    return Err(Error::not_found(format!(
                        "project {name:?} that a team of this organisation owns: `hafen project-owner set {name} TEAM` \
                         gives it to one"
                    )));
                }
            }
        }
        Ok(scope)
    }

    /// The role is built in, or the organisation's own.
    pub(super) async fn role(&self, tx: &mut Tx, organisation: OrganisationId, role: &str) -> Result<()> {
        if BUILT_IN.contains(&role) || membership::role_find(&mut **tx, organisation, role).await?.is_some() {
            return Ok(());
        }
        Err(Error::invalid_field(
            "/role",
            format!("there is no role {role:?}: {}, or one of the organisation", BUILT_IN.join(", ")),
        ))
    }

    pub(crate) async fn membership_create(
        &self,
        caller: &Caller,
        of: Option<&str>,
        body: MembershipCreate,
        once: Option<&Once>,
    ) -> Result<Membership> {
        let organisation = self.tenant(caller, of).await?;
        let mut once = match OnceTx::begin(&self.0.db, once).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(once) => once,
        };
        let tx = &mut once.tx;
        let scope = self.scope(tx, organisation, &body.scope).await?;
        let subject = if body.subject.starts_with("sa-") {
            service_account::get(&mut **tx, organisation, &body.subject).await?.id.to_string()
        } else if body.subject.starts_with("u-") {
            person::get(&mut **tx, organisation, &body.subject).await?.id.to_string()
        } else {
            return Err(Error::invalid_field(
                "/subject",
                "the id of a person (u-…) or service account (sa-…)",
            ));
        };
        self.role(tx, organisation, &body.role).await?;
        Self::must_grant(caller, organisation, &scope, &body.role)?;
        if let Some(before) = membership::at(&mut **tx, &subject, &scope.to_string()).await? {
            // To put another in its place is to take it.
            self.must_take(tx, caller, organisation, &before, Some(&body.role)).await?;
        }
        let now = self.0.now();
        let made = Membership {
            id: MembershipId::generate(now, &*self.0.random),
            subject,
            scope: scope.to_string(),
            role: body.role,
            created_at: now,
        };
        membership::put(tx, organisation, &made).await?;
        let (object, message) = (
            format!("membership/{}", made.id),
            format!("{} is {} of {}", made.subject, made.role, made.scope),
        );
        let data = json!({ "subject": made.subject, "scope": made.scope, "role": made.role });
        self.0.record(tx, "membership.given", object, message, data).await?;
        once.finish(&made, &*self.0.clock).await?;
        self.0.events.ring();
        self.0.cache.forget();
        Ok(made)
    }

    async fn must_take(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        organisation: OrganisationId,
        held: &Membership,
        next: Option<&str>,
    ) -> Result<()> {
        let scope: Scope = held.scope.parse()?;
        Self::must_grant(caller, organisation, &scope, &held.role)?;
        if held.role == OWNER
            && scope == Scope::Organisation(organisation)
            && next != Some(OWNER)
            && let Some(row) = person::find(&mut **tx, organisation, &held.subject).await?
        {
            self.must_not_be_the_last_owner(tx, &row).await?;
        }
        Ok(())
    }

    pub(crate) async fn membership_list(
        &self,
        caller: &Caller,
        of: Option<&str>,
        narrow: (&str, &str),
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Membership>> {
        let organisation = self.tenant(caller, of).await?;
        let rows = membership::list(self.0.db.reader(), organisation, narrow, after, limit).await?;
        Ok(limit.page(rows, |row| row.id.to_string()))
    }

    pub(crate) async fn membership_delete(&self, caller: &Caller, of: Option<&str>, id: &str) -> Result<()> {
        let organisation = self.tenant(caller, of).await?;
        let mut tx = self.0.db.write().await?;
        let row = membership::get(&mut *tx, organisation, id).await?;
        self.must_take(&mut tx, caller, organisation, &row, None).await?;
        membership::delete(&mut tx, id).await?;
        let message = format!("{} is no longer {} of {}", row.subject, row.role, row.scope);
        let data = json!({ "subject": row.subject, "scope": row.scope, "role": row.role });
        self.0.record(&mut tx, "membership.taken", format!("membership/{id}"), message, data).await?;
        self.0.commit_rights(tx).await
    }

    pub(crate) async fn role_list(&self, caller: &Caller, of: Option<&str>) -> Result<Vec<CustomRole>> {
        let organisation = self.tenant(caller, of).await?;
        membership::role_list(self.0.db.reader(), organisation).await
    }

    pub(crate) async fn role_put(
        &self,
        caller: &Caller,
        of: Option<&str>,
        name: &str,
        body: CustomRolePut,
        held: Option<&Held>,
    ) -> Result<CustomRole> {
        let organisation = self.tenant(caller, of).await?;
        check_label("role", name).map_err(|message| Error::invalid_field("", message))?;
        if BUILT_IN.contains(&name) {
            return Err(Error::conflict(format!("the role {name:?} is built in; take another name"))
                .with_code("name_taken"));
        }
        Self::must_own(caller, organisation)?;
        let title = check_title("/title", body.title.as_deref().unwrap_or(name), 1)?;
        let permissions = check_words("/permissions", Some(body.permissions), 200)?.unwrap_or_default();
        check_actions(&permissions, held)?;
        let mut tx = self.0.db.write().await?;
        let before = membership::role_find(&mut *tx, organisation, name).await?;
        let role = CustomRole {
            name: name.to_owned(),
            title,
            permissions,
            created_at: before.as_ref().map_or(self.0.now(), |before| before.created_at),
            generation: before.map_or(1, |before| before.generation + 1),
        };
        membership::role_put(&mut tx, organisation, &role).await?;
        let data = json!({ "permissions": role.permissions });
        self.0.record(&mut tx, "role.changed", format!("role/{name}"), role.title.clone(), data).await?;
        self.0.commit_rights(tx).await?;
        Ok(role)
    }

    pub(crate) async fn role_delete(&self, caller: &Caller, of: Option<&str>, name: &str) -> Result<()> {
        let organisation = self.tenant(caller, of).await?;
        let mut tx = self.0.db.write().await?;
        let found = membership::role_find(&mut *tx, organisation, name).await?;
        found.ok_or_else(|| Error::not_found(format!("role {name:?}")))?;
        Self::must_own(caller, organisation)?;
        membership::role_delete(&mut tx, organisation, name).await?;
        self.0.record(&mut tx, "role.deleted", format!("role/{name}"), name.to_owned(), json!({})).await?;
        self.0.commit_rights(tx).await
    }

    fn must_own(caller: &Caller, organisation: OrganisationId) -> Result<()> {
        if Self::granting_roles(caller, organisation, &Scope::Organisation(organisation)).contains(&OWNER) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Forbidden, "only an owner of the organisation may do this"))
    }
}

/// The words of a role cover actions there are, and none that its maker does not hold.
fn check_actions(words: &[String], held: Option<&Held>) -> Result<()> {
    let unknown = hafen_policy::unknown(words);
    if !unknown.is_empty() {
        let message = format!(
            "no action of the policy is meant by {}; an action is named as `machine.read`, all of a kind as `machine.*`, a group as \
             `read`; see GET /api/v1/policy/actions",
            unknown.join(", ")
        );
        return Err(Error::invalid_field("/permissions", message));
    }
    let holds = |name: &str| held.is_some_and(|held| held.0.contains(&name));
    let above: Vec<&str> =
        hafen_policy::covered(words).map(|action| action.name).filter(|name| !holds(name)).collect();
    if above.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Forbidden,
        format!("a role cannot grant what you do not hold yourself: {}", above.join(", ")),
    ))
}
