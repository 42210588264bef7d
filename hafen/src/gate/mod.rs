//! The gate of the whole platform: who asks (identity), what that is an act of (the table), and whether the policy permits
//! it. Services behind it decide only what a policy on endpoints cannot see.

pub mod endpoints;
pub mod explain;
pub mod rights;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use hafen_base::{Actor, ActorKind, Error, ErrorKind, Projects, Result, Sight};
use hafen_client::Token;
use hafen_http::{
    Access, Admitted, Asked, Gate, Lines, Peer, Permits, Permitted, Roles, Shown, StillPermitted,
};
use hafen_identity::{Caller, Held, Presented};
use hafen_policy::Answer;
use http::Extensions;

use endpoints::{Endpoint, Reach};
use rights::{Place, Rights};

/// Who somebody is, by what they present.
#[derive(Clone)]
struct Door {
    /// The token of the first start, while nobody owns the platform, and the user who owns this home.
    access: Access,
    /// Connections that came with that token.
    lines: Lines,
    operator: u32,
    rights: Rights,
}

impl Door {
    /// Refuses the token of the first start once somebody owns the platform.
    async fn check_bootstrap(&self, bearer: Option<&str>, peer: Option<Peer>) -> Result<()> {
        if !bearer.is_some_and(|bearer| self.access.fits(bearer)) {
            return Ok(());
        }
        // Before the question, so that a connection that passes it here is known when the token ends.
        if let Some(Peer::Tcp(address)) = peer {
            self.lines.mark(address);
        }
        if !self.rights.identity().is_owned().await? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unauthenticated,
            "the token of the first start ended when the first owner accepted the invitation: sign in (`hafen login`); \
             on the platform's host its owner needs none",
        )
        .with_code("bootstrap_over"))
    }

    async fn check(&self, presented: Presented<'_>, peer: Option<Peer>, used: bool) -> Result<Caller> {
        let identity = self.rights.identity();
        let caller =
            if used { identity.authenticate(presented).await } else { identity.still(presented).await };
        let mut caller = caller?;
        caller.actor.address = peer.and_then(Peer::address);
        Ok(caller)
    }

    /// Who shows this. It is `used` where they ask for something; not where what they asked for earlier goes on.
    async fn caller(&self, shown: Shown<'_>, peer: Option<Peer>, used: bool) -> Result<Caller> {
        let bearer = match shown {
            // Neither the token of the first start nor any other ever comes as a cookie.
            Shown::Cookie(session) => return self.check(Presented::Session(session), peer, used).await,
            Shown::Bearer(bearer) => Some(bearer),
            Shown::Nothing => None,
        };
        self.check_bootstrap(bearer, peer).await?;
        if let Some(actor) = self.access.who(bearer, peer) {
            let operator = Presented::LocalPeer { uid: self.operator };
            let mut caller = self.rights.identity().authenticate(operator).await?;
            caller.actor = Actor { organisation: caller.actor.organisation, ..actor };
            return Ok(caller);
        }
        let Some(bearer) = bearer else {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "send a token as `Authorization: Bearer …`, or sign in; on the platform's host its owner needs none",
            ));
        };
        self.check(Presented::Bearer(bearer), peer, used).await
    }
}

/// Everything the gate decides from.
pub struct PlatformGate {
    door: Door,
    table: HashMap<&'static str, Vec<&'static Endpoint>>,
}

/// Asks the gate again for an answer that lasts: whoever asked may have lost the role, or the credential.
struct Again {
    door: Door,
    shown: Kept,
    peer: Option<Peer>,
    action: &'static str,
    /// What is asked in one project, and by whom; else it spans projects.
    within: Option<(String, Actor)>,
}

/// What was shown, for as long as the answer lasts.
enum Kept {
    Nothing,
    Bearer(Token),
    Cookie(Token),
}

impl Kept {
    fn of(shown: Shown<'_>) -> Self {
        match shown {
            Shown::Nothing => Self::Nothing,
            Shown::Bearer(bearer) => Self::Bearer(Token::new(bearer)),
            Shown::Cookie(session) => Self::Cookie(Token::new(session)),
        }
    }

    fn shown(&self) -> Shown<'_> {
        match self {
            Self::Nothing => Shown::Nothing,
            Self::Bearer(bearer) => Shown::Bearer(bearer.expose()),
            Self::Cookie(session) => Shown::Cookie(session.expose()),
        }
    }
}

#[async_trait]
impl Permits for Again {
    async fn permitted(&self, used: bool) -> Result<Permitted> {
        let rights = &self.door.rights;
        let caller = self.door.caller(self.shown.shown(), self.peer, used).await;
        let Some((project, actor)) = &self.within else { return across(rights, &caller?, self.action).await };
        let caller = match caller {
            // A token lasts for minutes, what it opened for hours: one that ran out ends nothing that it began. A browser's session
            // is what the person sees as their being signed in; with it all ends.
            Err(over) if over.code() == "token_expired" && matches!(self.shown, Kept::Bearer(_)) => {
                rights.identity().standing(actor).await?.ok_or(over)?
            }
            caller => caller?,
        };
        let (_, answer) = rights.decide(&caller, self.action, Place::Project(project)).await?;
        if !answer.allowed {
            return Err(refusal(self.action, &answer));
        }
        let projects = Projects::These(Arc::new(BTreeSet::from([project.clone()])));
        Ok(Permitted::Only(Sight { projects, ..Sight::default() }))
    }

    async fn permitted_by(&self, action: &'static str) -> Result<Permitted> {
        let caller = self.door.caller(self.shown.shown(), self.peer, false).await?;
        Ok(self.door.rights.across(&caller, action).await?.unwrap_or_else(|_| Permitted::nothing()))
    }
}

/// What is permitted of what spans projects.
async fn across(rights: &Rights, caller: &Caller, action: &'static str) -> Result<Permitted> {
    rights.across(caller, action).await?.map_err(|answer| refusal(action, &answer))
}

impl PlatformGate {
    /// `operator` is the user who owns the home.
    pub fn new(access: Access, lines: Lines, operator: u32, rights: Rights) -> Self {
        let mut table: HashMap<&'static str, Vec<&'static Endpoint>> = HashMap::new();
        for endpoint in endpoints::all() {
            table.entry(endpoint.route).or_default().push(endpoint);
        }
        Self { door: Door { access, lines, operator, rights }, table }
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

    /// Decides, and gives what the handler is told beside the caller.
    async fn decide(&self, caller: &Caller, endpoint: &Endpoint, asked: &Asked<'_>) -> Result<Extensions> {
        let rights = &self.door.rights;
        let mut told = Extensions::new();
        let place = match endpoint.reach {
            Reach::Across => {
                told.insert(across(rights, caller, endpoint.action).await?);
                told.insert(self.again(endpoint.action, asked, None));
                return Ok(told);
            }
            Reach::Project => {
                let project = part(endpoint.route, asked.path, "{project}").unwrap_or_default();
                // Handlers decode paths; the gate must not take an encoded name for another project than they do.
                if hafen_base::check_label("project", project).is_err() {
                    return Err(Error::not_found(format!("project {project:?}")));
                }
                Place::Project(project)
            }
            Reach::Platform if !caller.platform => Place::Nowhere,
            Reach::Organisation | Reach::Platform => Place::Organisation,
        };
        let action = action(endpoint, asked.query);
        let (roles, answer) = rights.decide(caller, action, place).await?;
        if !answer.allowed {
            return Err(match place {
                // Who holds nothing there is not told that there is something.
                Place::Project(project) if roles.is_empty() => {
                    Error::not_found(format!("project {project:?}"))
                }
                _ => refusal(action, &answer),
            });
        }
        // What of the platform's own host may be named as an endpoint is said by who answers for it.
        let host = caller.platform || caller.actor.kind == ActorKind::LocalOperator;
        if host
            && (endpoint.method, endpoint.route) == ("PUT", "/api/v1/projects/{project}/backends/{backend}")
        {
            told.insert(Permitted::Everything);
        }
        if (endpoint.method, endpoint.route) == ("PUT", "/api/v1/roles/{role}") {
            told.insert(Held(rights.held(caller).await?));
        }
        if let Place::Project(project) = place {
            told.insert(Roles(roles));
            if endpoint.method == "GET" {
                let within = (project.to_owned(), caller.actor.clone());
                told.insert(self.again(endpoint.action, asked, Some(within)));
            }
        }
        Ok(told)
    }

    fn again(
        &self,
        action: &'static str,
        asked: &Asked<'_>,
        within: Option<(String, Actor)>,
    ) -> StillPermitted {
        StillPermitted::new(Arc::new(Again {
            door: self.door.clone(),
            shown: Kept::of(asked.shown),
            peer: asked.peer,
            action,
            within,
        }))
    }
}

/// What is asked. Before a push git asks with the same path as before a fetch; who may not push hears so then, not at the end of it.
fn action(endpoint: &Endpoint, query: Option<&str>) -> &'static str {
    let pushes = query.is_some_and(|query| query.split('&').any(|part| part == "service=git-receive-pack"));
    if endpoint.route == endpoints::GIT_REFERENCES && pushes { "repository.push" } else { endpoint.action }
}

/// The text that stands in a path where the route has `name`.
fn part<'a>(route: &str, path: &'a str, name: &str) -> Option<&'a str> {
    route.split('/').zip(path.split('/')).find_map(|(wanted, found)| (wanted == name).then_some(found))
}

fn refusal(action: &str, answer: &Answer) -> Error {
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
        let caller = self.door.caller(asked.shown, asked.peer, true).await?;
        let mut extensions = match self.endpoint(&asked)? {
            Some(endpoint) => self.decide(&caller, endpoint, &asked).await?,
            None if caller.actor.kind == ActorKind::LocalOperator => Extensions::new(),
            None => return Err(Error::not_found("such path; see /api/docs")),
        };
        let actor = caller.actor.clone();
        extensions.insert(caller);
        Ok(Admitted { actor, extensions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_exist_and_rows_are_single() {
        let mut seen = BTreeSet::new();
        for row in endpoints::all() {
            assert!(hafen_policy::find(row.action).is_some(), "{row:?}");
            assert!(seen.insert((row.route, row.method)), "{row:?} stands twice");
            let of_project =
                row.route.contains("/projects/{project}") || row.route.starts_with("/git/{project}/");
            assert_eq!(row.reach == Reach::Project, of_project, "{row:?}");
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
            let open = hafen_identity::OPEN.contains(&route.as_str())
                || hafen_delivery::OPEN.contains(&route.as_str());
            if open || route == "/health" {
                continue;
            }
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                let method = method.to_ascii_uppercase();
                assert!(table.contains(&(route.as_str(), method.as_str())), "{method} {route}");
                documented.insert((route.clone(), method));
            }
        }
        for (route, method) in table {
            let known = documented.contains(&(route.to_owned(), method.to_owned()));
            let beside = route.starts_with("/ledger/") || route.starts_with("/git/");
            assert!(known || beside, "{method} {route} is no more");
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
