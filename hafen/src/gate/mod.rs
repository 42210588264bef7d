//! The gate of the whole platform: who asks (identity), what that is an act of (the table), and whether the policy permits
//! it. Services behind it decide only what a policy on endpoints cannot see.

pub mod endpoints;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use hafen_base::{Actor, ActorKind, Clock, Error, ErrorKind, Result};
use hafen_http::{Access, Admitted, Asked, Gate, Lines, Peer};
use hafen_identity::{Caller, Identity, Presented};
use hafen_policy::{Answer, Policy, Who};
use http::Extensions;

use endpoints::{Endpoint, Reach};

/// Everything it decides from.
pub struct PlatformGate {
    /// The token of the first start, while nobody owns the platform, and the user who owns this home.
    access: Access,
    /// Connections that came with that token.
    lines: Lines,
    operator: u32,
    identity: Identity,
    policy: Policy,
    clock: Arc<dyn Clock>,
    table: HashMap<&'static str, Vec<&'static Endpoint>>,
}

impl PlatformGate {
    /// # Errors
    /// Internal when the policy does not hold together.
    pub fn new(
        access: Access,
        lines: Lines,
        operator: u32,
        identity: Identity,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let policy = Policy::new(&[]).map_err(Error::internal)?;
        let mut table: HashMap<&'static str, Vec<&'static Endpoint>> = HashMap::new();
        for endpoint in endpoints::all() {
            table.entry(endpoint.route).or_default().push(endpoint);
        }
        Ok(Self { access, lines, operator, identity, policy, clock, table })
    }

    /// Refuses the token of the first start once somebody owns the platform.
    async fn check_bootstrap(&self, asked: &Asked<'_>) -> Result<()> {
        if !asked.bearer.is_some_and(|bearer| self.access.fits(bearer)) {
            return Ok(());
        }
        // Before the question, so that a connection that passes it here is known when the token ends.
        if let Some(Peer::Tcp(address)) = asked.peer {
            self.lines.mark(address);
        }
        if !self.identity.is_owned().await? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unauthenticated,
            "the token of the first start ended when the first owner accepted the invitation: sign in (`hafen login`); \
             on the platform's host its owner needs none",
        )
        .with_code("bootstrap_over"))
    }

    async fn caller(&self, asked: &Asked<'_>) -> Result<Caller> {
        self.check_bootstrap(asked).await?;
        if let Some(actor) = self.access.who(asked.bearer, asked.peer) {
            let mut caller = self.identity.authenticate(Presented::LocalPeer { uid: self.operator }).await?;
            caller.actor = Actor { organisation: caller.actor.organisation, ..actor };
            return Ok(caller);
        }
        let Some(bearer) = asked.bearer else {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "send a token as `Authorization: Bearer …`, or sign in; on the platform's host its owner needs none",
            ));
        };
        let mut caller = self.identity.authenticate(Presented::Bearer(bearer)).await?;
        caller.actor.address = asked.peer.and_then(Peer::address);
        Ok(caller)
    }

    /// What is asked, if the table knows it. A route with other methods only is left to the router, which answers 405.
    fn endpoint(&self, asked: &Asked<'_>) -> Result<Option<&'static Endpoint>> {
        let Some(route) = asked.route else { return Ok(None) };
        let Some(rows) = self.table.get(route) else {
            tracing::error!(
                route,
                "this endpoint does not stand in the authorisation table: nobody may use it"
            );
            return Err(Error::new(ErrorKind::Forbidden, "nobody may use this endpoint"));
        };
        let method = if asked.method == http::Method::HEAD { "GET" } else { asked.method.as_str() };
        Ok(rows.iter().find(|row| row.method == method).copied())
    }

    async fn decide(&self, caller: &Caller, endpoint: &Endpoint, path: &str) -> Result<()> {
        let now = self.clock.now();
        let who = |roles| Who {
            kind: caller.actor.kind,
            id: &caller.actor.id,
            roles,
            scopes: caller.scopes.as_deref(),
            strong: caller.strong,
            stepped_up: caller.stepped_up(now),
        };
        let organisation = caller.organisation.to_string();
        let (roles, place) = match endpoint.reach {
            Reach::Project => {
                let project = part(endpoint.route, path, "{project}").unwrap_or_default();
                // Handlers decode paths; the gate must not take an encoded name for another project than they do.
                if hafen_base::check_label("project", project).is_err() {
                    return Err(Error::not_found(format!("project {project:?}")));
                }
                let owner = self.identity.project_owner(project).await?;
                (caller.project_roles(project, &owner), project)
            }
            // A token for some projects holds no role beyond them.
            Reach::Organisation | Reach::Platform if caller.projects.is_some() => {
                (Vec::new(), &*organisation)
            }
            Reach::Platform if !caller.platform => (Vec::new(), &*organisation),
            Reach::Organisation | Reach::Platform => (caller.organisation_roles(), &*organisation),
        };
        let answer = self.policy.decide(who(&roles), endpoint.action, place);
        if answer.allowed {
            return Ok(());
        }
        // Who holds nothing there is not told that there is something.
        if endpoint.reach == Reach::Project && roles.is_empty() {
            return Err(Error::not_found(format!("project {place:?}")));
        }
        Err(refusal(endpoint, &answer))
    }
}

/// The text that stands in a path where the route has `name`.
fn part<'a>(route: &str, path: &'a str, name: &str) -> Option<&'a str> {
    route.split('/').zip(path.split('/')).find_map(|(wanted, found)| (wanted == name).then_some(found))
}

fn refusal(endpoint: &Endpoint, answer: &Answer) -> Error {
    let action = endpoint.action;
    if answer.rules.iter().any(|rule| rule == "danger-asks-again") {
        return Error::new(
            ErrorKind::Forbidden,
            "prove your second factor again for this: POST /api/v1/step-up, then repeat the request",
        )
        .with_code("step_up_required");
    }
    let tells = answer.tells.join(" ");
    Error::new(ErrorKind::Forbidden, format!("{action} is not permitted. {tells}"))
}

#[async_trait]
impl Gate for PlatformGate {
    async fn admit(&self, asked: Asked<'_>) -> Result<Admitted> {
        // Services call one another behind it, each other's routers.
        if asked.peer.is_none() {
            return Err(Error::new(ErrorKind::Unauthenticated, "this request came by no connection"));
        }
        let caller = self.caller(&asked).await?;
        match self.endpoint(&asked)? {
            Some(endpoint) => self.decide(&caller, endpoint, asked.path).await?,
            None if caller.actor.kind == ActorKind::LocalOperator => {}
            None => return Err(Error::not_found("such path; see /api/docs")),
        }
        let actor = caller.actor.clone();
        let mut extensions = Extensions::new();
        extensions.insert(caller);
        Ok(Admitted { actor, extensions })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn actions_exist_and_rows_are_single() {
        let mut seen = BTreeSet::new();
        for row in endpoints::all() {
            assert!(hafen_policy::find(row.action).is_some(), "{row:?}");
            assert!(seen.insert((row.route, row.method)), "{row:?} stands twice");
            assert_eq!(row.reach == Reach::Project, row.route.contains("/projects/{project}"), "{row:?}");
        }
    }

    /// The committed document, which another test holds against the real one.
    #[test]
    fn every_endpoint_of_the_document_stands_in_the_table() {
        let document = include_str!("../../../docs/reference/openapi.json");
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        let table: BTreeSet<_> = endpoints::all().map(|row| (row.route, row.method)).collect();
        let mut documented = BTreeSet::new();
        for (route, item) in document["paths"].as_object().unwrap() {
            if hafen_identity::OPEN.contains(&route.as_str()) {
                continue;
            }
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                let method = method.to_ascii_uppercase();
                assert!(table.contains(&(route.as_str(), method.as_str())), "{method} {route}");
                documented.insert((route.clone(), method));
            }
        }
        for (route, method) in table {
            let beside = ["/api/v1/status", "/api/v1/openapi.json", "/api/docs"];
            let known = documented.contains(&(route.to_owned(), method.to_owned()));
            assert!(
                known || route.starts_with("/ledger/") || beside.contains(&route),
                "{method} {route} is no more"
            );
        }
    }

    #[test]
    fn parts_are_found_by_place() {
        let route = "/api/v1/projects/{project}/machines/{machine}";
        assert_eq!(part(route, "/api/v1/projects/hello/machines/web-1", "{project}"), Some("hello"));
        assert_eq!(part(route, "/api/v1/projects/hello/machines/web-1", "{machine}"), Some("web-1"));
        assert_eq!(part("/api/v1/projects", "/api/v1/projects", "{project}"), None);
    }
}
