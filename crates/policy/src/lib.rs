//! Who may do what: one policy in Cedar that reads like prose (`policy.cedar`), the actions it speaks of, and the answer to
//! one question at a time, with the rule that decides.
//!
//! This crate knows neither people nor endpoints: it is told who asks, which roles count at the place in question, and which
//! action is meant. Whatever is not permitted is refused; so is a question it cannot make sense of.

mod actions;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use hafen_base::ActorKind;

pub use actions::{ACTIONS, Action, GROUPS, find};

/// The policy as it is written.
pub const TEXT: &str = include_str!("policy.cedar");
const SCHEMA: &str = include_str!("schema.cedarschema");

/// Each role with those it stands on.
pub const ROLES: &[(&str, &[&str])] = &[
    ("owner", &["maintainer", "auditor"]),
    ("maintainer", &["operator"]),
    ("operator", &["developer"]),
    ("developer", &["viewer"]),
    ("auditor", &["viewer"]),
    ("viewer", &[]),
];

/// What is wrong with a policy or a role.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the policy does not hold together: {0}")]
    Policy(String),
    #[error("the role {role:?} names the action {action:?}, which there is not")]
    UnknownAction { role: String, action: String },
    #[error(
        "{0:?} is no name for a role of an organisation: it has 1 to 63 of a-z, 0-9 and '-', and is not one of the built-in ones"
    )]
    RoleName(String),
}

fn broken(error: impl std::fmt::Display) -> PolicyError {
    PolicyError::Policy(error.to_string())
}

/// A role that an organisation made for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRole {
    pub organisation: String,
    pub name: String,
    pub actions: Vec<String>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    pub kind: ActorKind,
    pub id: &'a str,
    /// Those that count at the place in question.
    pub roles: &'a [&'a str],
    /// What a token is limited to; nothing for what has no such limits.
    pub scopes: Option<&'a [String]>,
    /// Signed in with two factors.
    pub strong: bool,
    /// The second factor was proven again a moment ago.
    pub stepped_up: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub allowed: bool,
    /// Names of the rules that decide; none when nothing permits it.
    pub rules: Vec<String>,
    /// What these rules tell a person.
    pub tells: Vec<String>,
}

impl Answer {
    fn refused() -> Self {
        Self { allowed: false, rules: Vec::new(), tells: vec!["No rule permits it.".into()] }
    }
}

/// The policy, ready to be asked.
pub struct Policy {
    policies: PolicySet,
    schema: Schema,
    authorizer: Authorizer,
    entities: Entities,
    actions: HashMap<&'static str, EntityUid>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("actions", &self.actions.len()).finish_non_exhaustive()
    }
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, PolicyError> {
    let name = EntityTypeName::from_str(&format!("Hafen::{kind}")).map_err(broken)?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

const fn kind_name(kind: ActorKind) -> &'static str {
    match kind {
        ActorKind::Person => "Person",
        ActorKind::ServiceAccount => "ServiceAccount",
        ActorKind::Workload => "Workload",
        ActorKind::LocalOperator => "LocalOperator",
        ActorKind::Platform => "Platform",
    }
}

/// The schema with every action in its groups.
fn schema() -> String {
    let mut text = SCHEMA.trim_end().trim_end_matches('}').to_owned();
    for group in GROUPS.iter().chain(&["dangerous"]) {
        let _ = writeln!(text, "  action \"{group}\";");
    }
    for action in ACTIONS {
        let dangerous = if action.dangerous { ", \"dangerous\"" } else { "" };
        let _ = writeln!(
            text,
            "  action \"{}\" in [\"{}\"{dangerous}] appliesTo {{ principal: [Person, ServiceAccount, Workload, LocalOperator, \
             Platform], resource: [Place], context: Asked }};",
            action.name, action.group
        );
    }
    text.push_str("}\n");
    text
}

/// A custom role's rule. Names are checked, so that nothing of them can be read as policy.
fn rule_of(role: &CustomRole) -> Result<String, PolicyError> {
    let name = role.name.as_str();
    let good = |text: &str| {
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if !good(name) || !good(&role.organisation) || ROLES.iter().any(|(built_in, _)| *built_in == name) {
        return Err(PolicyError::RoleName(name.to_owned()));
    }
    let mut actions = Vec::new();
    for action in &role.actions {
        let known = find(action)
            .ok_or_else(|| PolicyError::UnknownAction { role: name.to_owned(), action: action.clone() })?;
        actions.push(format!("Hafen::Action::\"{}\"", known.name));
    }
    let organisation = &role.organisation;
    Ok(format!(
        "@id(\"role-{name}\")\n@tells(\"The role {name} of this organisation may do it.\")\n\
         permit (principal in Hafen::Role::\"{organisation}/{name}\", action in [{}], resource);\n",
        actions.join(", ")
    ))
}

impl Policy {
    /// The built-in policy with the roles that organisations made. It is checked against the schema as a whole: a rule that
    /// could never apply, or speaks of what there is not, is an error.
    ///
    /// # Errors
    /// When it does not hold together; names the rule or role.
    pub fn new(custom: &[CustomRole]) -> Result<Self, PolicyError> {
        let schema = Schema::from_cedarschema_str(&schema()).map_err(broken)?.0;
        let mut text = TEXT.to_owned();
        for role in custom {
            text.push_str(&rule_of(role)?);
        }
        let policies = PolicySet::from_str(&text).map_err(broken)?;
        let checked = Validator::new(schema.clone()).validate(&policies, ValidationMode::default());
        if !checked.validation_passed() {
            return Err(broken(checked));
        }
        let mut list = Vec::new();
        for (role, below) in ROLES {
            let parents = below.iter().map(|name| uid("Role", name)).collect::<Result<_, _>>()?;
            list.push(Entity::new_no_attrs(uid("Role", role)?, parents));
        }
        list.extend(schema.action_entities().map_err(broken)?);
        let entities = Entities::from_entities(list, None).map_err(broken)?;
        let actions = ACTIONS
            .iter()
            .map(|action| Ok((action.name, uid("Action", action.name)?)))
            .collect::<Result<_, PolicyError>>()?;
        Ok(Self { policies, schema, authorizer: Authorizer::new(), entities, actions })
    }

    /// Whether `who` may do `action` at `place` (a project, or the organisation), and which rule decides.
    #[must_use]
    pub fn decide(&self, who: Who<'_>, action: &str, place: &str) -> Answer {
        // What cannot be asked is not permitted.
        self.ask(who, action, place).unwrap_or_else(|_| Answer::refused())
    }

    fn ask(&self, who: Who<'_>, action: &str, place: &str) -> Result<Answer, PolicyError> {
        let Some(action_uid) = self.actions.get(action) else { return Ok(Answer::refused()) };
        let principal = uid(kind_name(who.kind), who.id)?;
        let roles = who.roles.iter().map(|role| uid("Role", role)).collect::<Result<_, _>>()?;
        let entities = self
            .entities
            .clone()
            .add_entities([Entity::new_no_attrs(principal.clone(), roles)], None)
            .map_err(broken)?;
        let in_scope = who.scopes.is_none_or(|scopes| scopes.iter().any(|scope| covers(scope, action)));
        let context = Context::from_pairs(
            [("in_scope", in_scope), ("strong", who.strong), ("stepped_up", who.stepped_up)]
                .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_bool(value))),
        )
        .map_err(broken)?;
        let request =
            Request::new(principal, action_uid.clone(), uid("Place", place)?, context, Some(&self.schema))
                .map_err(broken)?;
        let response = self.authorizer.is_authorized(&request, &self.policies, &entities);
        if response.diagnostics().errors().next().is_some() {
            return Ok(Answer::refused());
        }
        let mut rules: Vec<(String, String)> =
            response.diagnostics().reason().map(|id| self.named(id)).collect();
        rules.sort();
        if rules.is_empty() {
            return Ok(Answer::refused());
        }
        let (rules, tells) = rules.into_iter().unzip();
        Ok(Answer { allowed: response.decision() == Decision::Allow, rules, tells })
    }

    fn named(&self, id: &PolicyId) -> (String, String) {
        let said = |key| self.policies.annotation(id, key).unwrap_or_default().to_owned();
        (said("id"), said("tells"))
    }
}

/// Whether a token's scope covers an action: `machine.create` itself, `machine.*`, or a group of the policy, as `read`.
fn covers(scope: &str, action: &str) -> bool {
    scope == action
        || scope == "*"
        || scope.strip_suffix(".*").is_some_and(|noun| action.split('.').next() == Some(noun))
        || find(action).is_some_and(|known| known.group == scope)
}

#[cfg(test)]
mod tests;
