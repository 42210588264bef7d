//! The policy as callers see it: its text, its actions, and why it decides as it does.

use axum::Extension;
use axum::extract::State;
use hafen_base::{ActorKind, Error, Result};
use hafen_client::wire::{
    List, Policy, PolicyAction, PolicyAnswer, PolicyPermitted, PolicyRole, PolicyRule, PolicyWho, Problem,
};
use hafen_http::{ApiResult, Json, Query};
use hafen_identity::{Caller, Found, Scope};
use hafen_policy::{ACTIONS, Action, TEXT, find};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rights::{Place, Rights};

/// The routes, to be merged with those of the services.
pub fn router(rights: Rights) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(policy_get))
        .routes(routes!(policy_action_list))
        .routes(routes!(policy_explain))
        .routes(routes!(policy_permitted))
        .with_state(rights)
}

fn wire(action: &Action) -> PolicyAction {
    PolicyAction {
        name: action.name.into(),
        group: action.group.into(),
        dangerous: action.dangerous,
        tells: action.tells.into(),
    }
}

fn rules(rules: impl IntoIterator<Item = (String, String)>) -> Vec<PolicyRule> {
    rules.into_iter().map(|(id, tells)| PolicyRule { id, tells }).collect()
}

/// Show the policy: its text in Cedar, and its rules with those of the roles that the caller's organisation made.
#[utoipa::path(get, path = "/api/v1/policy", tag = "policy", operation_id = "policy_get", responses(
    (status = 200, description = "The policy", body = Policy),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn policy_get(
    State(rights): State<Rights>,
    Extension(caller): Extension<Caller>,
) -> ApiResult<Json<Policy>> {
    let policy = rights.policy_of(caller.organisation).await?;
    Ok(Json(Policy { text: TEXT.into(), rules: rules(policy.rules()) }))
}

/// List every action there is.
#[utoipa::path(get, path = "/api/v1/policy/actions", tag = "policy", operation_id = "policy_action_list", responses(
    (status = 200, description = "All of them", body = List<PolicyAction>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn policy_action_list() -> Json<List<PolicyAction>> {
    Json(List { items: ACTIONS.iter().map(wire).collect(), next_page: None })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    /// `me` (unless given), or with the right to ask (`policy.read`) anybody of the organisation: a person by id or login, a service
    /// account or workload identity by id or name, a token or session by id.
    #[param(min_length = 1, max_length = 255)]
    who: Option<String>,
    /// As `machine.read`.
    #[param(min_length = 1, max_length = 64)]
    action: String,
    /// `project/NAME`, or `organisation` (unless given).
    #[param(pattern = "^(organisation|project/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$")]
    place: Option<String>,
    /// Id or name of another organisation; for owners of the platform.
    organisation: Option<String>,
}

fn place_of(text: Option<&str>) -> Result<Place<'_>> {
    match text {
        None | Some("organisation") => Ok(Place::Organisation),
        Some(text) => {
            let name =
                text.strip_prefix("project/").filter(|name| hafen_base::check_label("project", name).is_ok());
            name.map(Place::Project)
                .ok_or_else(|| Error::invalid_field("/place", "a place is `organisation` or `project/NAME`"))
        }
    }
}

/// Explain whether somebody may do something, and which rule decides.
///
/// A person is taken to have proven two factors, the second just now; a token or session as it stands.
#[utoipa::path(get, path = "/api/v1/policy/explain", tag = "policy", operation_id = "policy_explain", params(ExplainQuery),
    responses(
        (status = 200, description = "The answer", body = PolicyAnswer),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn policy_explain(
    State(rights): State<Rights>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ExplainQuery>,
) -> ApiResult<Json<PolicyAnswer>> {
    let place = place_of(query.place.as_deref())?;
    let action = find(&query.action).ok_or_else(|| {
        Error::not_found(format!("action {:?}; see GET /api/v1/policy/actions", query.action))
    })?;
    let who = query.who.as_deref().unwrap_or("me");
    if who.is_empty() || who.chars().count() > 255 {
        return Err(Error::invalid_field("/who", "1 to 255 characters").into());
    }
    let found = if who == "me" || who == caller.actor.id {
        Found { caller, standing: "active" }
    } else {
        // Before anything is looked for: who may not ask learns of nobody.
        let (_, answer) = rights.decide(&caller, "policy.read", Place::Organisation).await?;
        if !answer.allowed {
            return Err(super::refusal("policy.read", &answer).into());
        }
        rights.identity().find(&caller, query.organisation.as_deref(), who).await?
    };
    Ok(Json(rights.explain(found, action, place).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PermittedQuery {
    /// Name of a project; what spans projects and what is the organisation's unless given.
    #[param(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    project: Option<String>,
}

/// List what the caller may do at one place, decided as the request itself would be: a console shows that and no more.
///
/// In a project: by the roles that count there; 404 where the caller holds none. Without a project: at the organisation, and what
/// spans projects where the caller may do it in some. What is the platform's is listed to who answers for it.
#[utoipa::path(get, path = "/api/v1/policy/permitted", tag = "policy", operation_id = "policy_permitted", params(PermittedQuery),
    responses(
        (status = 200, description = "All of it", body = PolicyPermitted),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn policy_permitted(
    State(rights): State<Rights>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<PermittedQuery>,
) -> ApiResult<Json<PolicyPermitted>> {
    let place = match &query.project {
        None => Place::Organisation,
        Some(name) if hafen_base::check_label("project", name).is_ok() => Place::Project(name),
        Some(_) => return Err(Error::invalid_field("/project", "a project is named as my-project").into()),
    };
    Ok(Json(rights.permitted(&caller, place).await?))
}

impl Rights {
    async fn explain(&self, found: Found, action: &Action, place: Place<'_>) -> Result<PolicyAnswer> {
        let Found { caller, standing } = found;
        let (at, team) = match place {
            Place::Project(name) => {
                let owner = self.identity().project_owner(name).await?;
                let anywhere = caller.actor.kind == ActorKind::LocalOperator;
                if owner.organisation != caller.organisation && !anywhere {
                    return Err(Error::not_found(format!("project {name:?}")));
                }
                (format!("project/{name}"), owner.team)
            }
            Place::Organisation | Place::Nowhere => (format!("organisation/{}", caller.organisation), None),
        };
        let (counted, answer) = self.decide(&caller, action.name, place).await?;
        let counts = |scope: &Scope, role: &str| {
            let here = match (scope, place) {
                (Scope::Organisation(_), _) => true,
                (Scope::Team(id), Place::Project(_)) => team == Some(*id),
                (Scope::Project(name), Place::Project(project)) => name == project,
                _ => false,
            };
            here && counted.iter().any(|one| one == role)
        };
        let roles = caller
            .memberships
            .iter()
            .map(|(scope, role)| PolicyRole {
                role: role.clone(),
                scope: scope.to_string(),
                counts: counts(scope, role),
            })
            .collect();
        let active = standing == "active";
        let decided = answer.rules.iter().cloned().zip(answer.tells.iter().cloned());
        Ok(PolicyAnswer {
            allowed: active && answer.allowed,
            who: PolicyWho {
                kind: caller.actor.kind.as_str().into(),
                id: caller.actor.id,
                name: caller.actor.name,
                organisation: caller.organisation.to_string(),
                credential: caller.actor.credential,
                standing: standing.into(),
            },
            action: wire(action),
            place: at,
            rules: if active { rules(decided) } else { Vec::new() },
            roles,
            scopes: caller.scopes,
            projects: caller.projects,
            step_up: action.dangerous && caller.actor.kind == ActorKind::Person,
        })
    }
}
