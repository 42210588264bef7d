//! Who may do what: one policy in Cedar that reads like prose (`policy.cedar`), the actions it speaks of, and the answer to
//! one question at a time, with the rule that decides.
//!
//! This crate knows neither people nor endpoints: it is told who asks, which roles count at the place in question, and which
//! action is meant. Whatever is not permitted is refused; so is a question it cannot make sense of.

mod actions;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::str::FromStr as _;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use hafen_base::ActorKind;

pub use actions::{ACTIONS, Action, GROUPS, covered, covers, find, unknown};

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
    /// Words that cover actions (`covers`).
    pub actions: Vec<String>,
}

impl CustomRole {
    /// As `Who::roles` names it.
    #[must_use]
    pub fn held(organisation: &str, name: &str) -> String {
        format!("{organisation}/{name}")
    }
}

/// Who asks: all that the policy decides by. Neither a name nor the place stands in it, so that no rule can be made for one
/// person or project, and equal questions have equal answers.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    pub kind: ActorKind,
    /// Those that count at the place in question; an organisation's own by `CustomRole::held`.
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

    /// Whether a rule forbids it, rather than none permitting it.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        !self.allowed && !self.rules.is_empty()
    }
}

/// The policy, ready to be asked.
pub struct Policy {
    policies: PolicySet,
    schema: Schema,
    authorizer: Authorizer,
    entities: Entities,
    actions: HashMap<&'static str, EntityUid>,
    /// Answers given; of this policy, so that they go with it. There are few questions: kinds, sets of roles, actions, three flags.
    given: RwLock<HashMap<String, Arc<Answer>>>,
}

/// Answers that are remembered at most; then it starts anew.
const MOST_GIVEN: usize = 20_000;

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

/// A custom role's rule; none for one that covers nothing. Names are checked, so that nothing of them can be read as policy.
fn rule_of(role: &CustomRole) -> Result<Option<String>, PolicyError> {
    let name = role.name.as_str();
    let good = |text: &str| {
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if !good(name) || !good(&role.organisation) || ROLES.iter().any(|(built_in, _)| *built_in == name) {
        return Err(PolicyError::RoleName(name.to_owned()));
    }
    let actions: Vec<String> =
        covered(&role.actions).map(|action| format!("Hafen::Action::\"{}\"", action.name)).collect();
    if actions.is_empty() {
        return Ok(None);
    }
    let held = CustomRole::held(&role.organisation, name);
    Ok(Some(format!(
        "@id(\"role-{name}\")\n@tells(\"The role {name} of this organisation may do it.\")\n\
         permit (principal in Hafen::Role::\"{held}\", action in [{}], resource);\n",
        actions.join(", ")
    )))
}

fn check(schema: &Schema, policies: &PolicySet) -> Result<(), PolicyError> {
    let checked = Validator::new(schema.clone()).validate(policies, ValidationMode::default());
    if checked.validation_passed() { Ok(()) } else { Err(broken(checked)) }
}

impl Policy {
    /// The built-in policy. It is checked against the schema as a whole: a rule that could never apply, or speaks of what
    /// there is not, is an error.
    ///
    /// # Errors
    /// When it does not hold together.
    pub fn new() -> Result<Self, PolicyError> {
        let schema = Schema::from_cedarschema_str(&schema()).map_err(broken)?.0;
        let policies = PolicySet::from_str(TEXT).map_err(broken)?;
        check(&schema, &policies)?;
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
        let (authorizer, given) = (Authorizer::new(), RwLock::default());
        Ok(Self { policies, schema, authorizer, entities, actions, given })
    }

    /// This policy with the roles that an organisation made for itself. Words that cover no action any more count for nothing.
    ///
    /// # Errors
    /// When a role has a name that is none.
    pub fn with(&self, roles: &[CustomRole]) -> Result<Self, PolicyError> {
        let mut text = TEXT.to_owned();
        for role in roles {
            text.push_str(&rule_of(role)?.unwrap_or_default());
        }
        let policies = PolicySet::from_str(&text).map_err(broken)?;
        check(&self.schema, &policies)?;
        let (schema, entities, actions) = (self.schema.clone(), self.entities.clone(), self.actions.clone());
        let (authorizer, given) = (Authorizer::new(), RwLock::default());
        Ok(Self { policies, schema, authorizer, entities, actions, given })
    }

    /// Whether `who` may do `action`, and which rule decides.
    #[must_use]
    pub fn decide(&self, who: Who<'_>, action: &str) -> Arc<Answer> {
        let in_scope = who.scopes.is_none_or(|scopes| scopes.iter().any(|scope| covers(scope, action)));
        let flags = u8::from(in_scope) | u8::from(who.strong) << 1 | u8::from(who.stepped_up) << 2;
        let question = format!("{} {flags} {action:?} {:?}", kind_name(who.kind), who.roles);
        let given = self.given.read().unwrap_or_else(PoisonError::into_inner).get(&question).cloned();
        if let Some(answer) = given {
            return answer;
        }
        // What cannot be asked is not permitted.
        let answer = Arc::new(self.ask(who, action, in_scope).unwrap_or_else(|_| Answer::refused()));
        let mut given = self.given.write().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= MOST_GIVEN {
            given.clear();
        }
        given.insert(question, Arc::clone(&answer));
        answer
    }

    fn ask(&self, who: Who<'_>, action: &str, in_scope: bool) -> Result<Answer, PolicyError> {
        let Some(action_uid) = self.actions.get(action) else { return Ok(Answer::refused()) };
        let principal = uid(kind_name(who.kind), "asks")?;
        let roles = who.roles.iter().map(|role| uid("Role", role)).collect::<Result<_, _>>()?;
        let entities = self
            .entities
            .clone()
            .add_entities([Entity::new_no_attrs(principal.clone(), roles)], None)
            .map_err(broken)?;
        let context = Context::from_pairs(
            [("in_scope", in_scope), ("strong", who.strong), ("stepped_up", who.stepped_up)]
                .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_bool(value))),
        )
        .map_err(broken)?;
        let request =
            Request::new(principal, action_uid.clone(), uid("Place", "here")?, context, Some(&self.schema))
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

    /// Its rules: name, and what it tells a person.
    #[must_use]
    pub fn rules(&self) -> Vec<(String, String)> {
        let mut rules: Vec<_> = self.policies.policies().map(|policy| self.named(policy.id())).collect();
        rules.sort();
        rules
    }

    fn named(&self, id: &PolicyId) -> (String, String) {
        let said = |key| self.policies.annotation(id, key).unwrap_or_default().to_owned();
        (said("id"), said("tells"))
    }
}

#[cfg(test)]
mod tests;
