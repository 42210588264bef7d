//! Who there is and what they may do: one noun per resource of the identity API.
//!
//! Each command is one call, written down as an `Ask`; how it is made and shown stands once, in `ask`.

use hafen_base::Result;
use http::Method;
use serde_json::{Value, json};

use super::ask::{Ask, Show, part, words};
use super::context::{Context, client, usage};
use super::identity_verbs::{
    At, IdentityCommand, IdentityProviderVerb, InviteVerb, MemberVerb, Noun, Of, OrganisationVerb,
    PersonVerb, ProjectOwnerVerb, RoleVerb, SecondFactor, ServiceAccountVerb, SessionVerb, TeamVerb,
    TokenVerb, WorkloadCreate, WorkloadVerb,
};

const PERSON: &[&str] = &["id", "login", "name", "status", "factors"];
const ACCOUNT: &[&str] = &["id", "name", "team", "status", "description"];
const TOKEN: &[&str] = &["id", "name", "status", "expires_at", "last_used_at", "scopes", "projects"];

/// Nouns whose rows and changes are alike.
fn list(path: &str, columns: &'static [&'static str]) -> Ask {
    Ask::new(Method::GET, path, Show::List(columns))
}

/// Of a list that has no pages.
fn all(path: &str, columns: &'static [&'static str]) -> Ask {
    Ask::new(Method::GET, path, Show::All(columns))
}

fn show(path: &str) -> Ask {
    Ask::new(Method::GET, path, Show::One)
}

fn delete(path: &str, done: &'static str) -> Ask {
    Ask::new(Method::DELETE, path, Show::Done(done))
}

fn post(path: &str, body: Value, show: Show) -> Ask {
    Ask::new(Method::POST, path, show).body(body)
}

fn status(path: &str, status: &str) -> Ask {
    Ask::new(Method::PATCH, path, Show::One).body(json!({ "status": status }))
}

pub async fn run(context: &Context, command: IdentityCommand) -> Result<()> {
    let client = client()?;
    match command {
        IdentityCommand::Organisation(verb) => organisation(context, verb).await,
        IdentityCommand::Team(Noun { of, verb }) => {
            let ask = match verb {
                TeamVerb::List => list("/teams", &["id", "name", "title"]),
                TeamVerb::Show { team } => show(&format!("/teams/{}", part(&team))),
                TeamVerb::Create { name, title } => {
                    post("/teams", json!({ "name": name, "title": title }), Show::One)
                }
                TeamVerb::Delete { team } => delete(&format!("/teams/{}", part(&team)), "deleted"),
            };
            ask.of(of.organisation).run(context, &client).await
        }
        IdentityCommand::Person(Noun { of, verb }) => {
            let path = |person: &str| format!("/people/{}", part(person));
            let ask = match verb {
                PersonVerb::List => list("/people", PERSON),
                PersonVerb::Show { person } => show(&path(&person)),
                PersonVerb::Suspend { person } => status(&path(&person), "suspended"),
                PersonVerb::Activate { person } => status(&path(&person), "active"),
                PersonVerb::Reset { person } => {
                    post(&format!("{}/reset", path(&person)), Value::Null, Show::Invitation)
                }
            };
            ask.of(of.organisation).run(context, &client).await
        }
        IdentityCommand::Invite(Noun { of, verb }) => {
            let ask = match verb {
                InviteVerb::List => {
                    list("/invitations", &["id", "login", "role", "scope", "status", "expires_at"])
                }
                InviteVerb::Create { role, login, hours } => {
                    let scope = role.at.scope(&client, of.organisation.as_deref()).await?;
                    let body = json!({ "scope": scope, "role": role.role, "login": login, "hours": hours });
                    post("/invitations", body, Show::Invitation)
                }
                InviteVerb::Withdraw { invitation } => {
                    delete(&format!("/invitations/{}", part(&invitation)), "withdrawn")
                }
            };
            ask.of(of.organisation).run(context, &client).await
        }
        IdentityCommand::Member(Noun { of, verb }) => member(context, of, verb).await,
        IdentityCommand::ServiceAccount(Noun { of, verb }) => {
            let path = |account: &str| format!("/service-accounts/{}", part(account));
            let ask = match verb {
                ServiceAccountVerb::List => list("/service-accounts", ACCOUNT),
                ServiceAccountVerb::Show { account } => show(&path(&account)),
                ServiceAccountVerb::Create { name, team, description } => {
                    let body = json!({ "name": name, "team": team, "description": description });
                    post("/service-accounts", body, Show::One)
                }
                ServiceAccountVerb::Suspend { account } => status(&path(&account), "suspended"),
                ServiceAccountVerb::Activate { account } => status(&path(&account), "active"),
            };
            ask.of(of.organisation).run(context, &client).await
        }
        IdentityCommand::Token(verb) => token(verb).run(context, &client).await,
        IdentityCommand::Session(verb) => {
            let ask = match verb {
                SessionVerb::List { subject } => list(
                    "/sessions",
                    &["id", "client", "address", "factors", "current", "last_used_at", "expires_at"],
                )
                .narrow("subject", subject),
                SessionVerb::Revoke { session: Some(session), .. } => {
                    delete(&format!("/sessions/{}", part(&session)), "revoked")
                }
                SessionVerb::Revoke { session: None, .. } => {
                    post("/sessions/end-others", json!({}), Show::Done("all other sessions are revoked"))
                }
            };
            ask.run(context, &client).await
        }
        IdentityCommand::ProjectOwner(Noun { of, verb }) => {
            let ask = match verb {
                ProjectOwnerVerb::List => list("/project-owners", &["project", "team", "organisation"]),
                ProjectOwnerVerb::Set { project_name, team } => {
                    let path = format!("/project-owners/{}", part(&project_name));
                    Ask::new(Method::PUT, &path, Show::One).body(json!({ "team": team }))
                }
            };
            ask.of(of.organisation).run(context, &client).await
        }
        IdentityCommand::Role(Noun { of, verb }) => {
            let path = |role: &str| format!("/roles/{}", part(role));
            let ask = match verb {
                RoleVerb::List => all("/roles", &["name", "title", "permissions"]),
                RoleVerb::Set { role, permissions, title } => Ask::new(Method::PUT, &path(&role), Show::One)
                    .body(json!({ "title": title, "permissions": permissions })),
                RoleVerb::Delete { role } => delete(&path(&role), "deleted"),
            };
            ask.of(of.organisation).run(context, &client).await
        }
        IdentityCommand::Workload(Noun { of, verb }) => workload(context, of, verb).await,
        IdentityCommand::IdentityProvider(Noun { of, verb }) => {
            let ask = match verb {
                IdentityProviderVerb::List => {
                    all("/identity-providers", &["id", "name", "issuer", "client_id"])
                }
                IdentityProviderVerb::Create { name, issuer, client_id, client_secret_file } => {
                    let secret = super::ask::secret(&client_secret_file)?;
                    let body = json!({ "name": name, "issuer": issuer, "client_id": client_id, "client_secret": secret });
                    post("/identity-providers", body, Show::One)
                }
                IdentityProviderVerb::Delete { provider } => {
                    delete(&format!("/identity-providers/{}", part(&provider)), "deleted")
                }
            };
            ask.of(of.organisation).run(context, &client).await
        }
    }
}

async fn organisation(context: &Context, verb: OrganisationVerb) -> Result<()> {
    let client = client()?;
    let path = |organisation: &str| format!("/organisations/{}", part(organisation));
    let ask = match verb {
        OrganisationVerb::List => list("/organisations", &["id", "name", "title"]),
        OrganisationVerb::Show { organisation } => show(&path(&organisation)),
        OrganisationVerb::Create { name, title } => {
            post("/organisations", json!({ "name": name, "title": title }), Show::One)
        }
        OrganisationVerb::Update { organisation, title, second_factor, session_hours, idle_minutes } => {
            let mut body = json!({ "title": title });
            let changes = [
                ("second_factor", second_factor.map(|said| json!(said == SecondFactor::Required))),
                ("session_hours", session_hours.map(|hours| json!(hours))),
                ("idle_minutes", idle_minutes.map(|minutes| json!(minutes))),
            ];
            let mut ask = Ask::new(Method::PATCH, &path(&organisation), Show::One);
            if changes.iter().any(|(_, value)| value.is_some()) {
                // The policy is changed as a whole: what is not named stays, and nobody else's change is lost.
                let now: Value = client.get(&format!("/api/v1{}", path(&organisation))).await?;
                let mut policy = now.get("policy").cloned().unwrap_or_default();
                for (name, value) in changes {
                    if let (Some(value), Some(policy)) = (value, policy.as_object_mut()) {
                        policy.insert(name.to_owned(), value);
                    }
                }
                if let Some(body) = body.as_object_mut() {
                    body.insert("policy".to_owned(), policy);
                }
                ask = ask.at_generation(now.get("generation").and_then(Value::as_i64));
            } else if title.is_none() {
                return Err(usage(
                    "nothing to change: say --title, --second-factor, --session-hours or --idle-minutes",
                ));
            }
            ask.body(body)
        }
    };
    ask.run(context, &client).await
}

async fn member(context: &Context, of: Of, verb: MemberVerb) -> Result<()> {
    let client = client()?;
    let organisation = of.organisation.as_deref();
    let ask = match verb {
        MemberVerb::List { subject, at } => {
            let subject = match subject {
                Some(subject) => Some(super::ask::subject(&client, organisation, &subject).await?),
                None => None,
            };
            let scope = if at.is_said() { Some(at.scope(&client, organisation).await?) } else { None };
            list("/memberships", &["id", "subject", "role", "scope"])
                .narrow("subject", subject)
                .narrow("scope", scope)
        }
        MemberVerb::Add { subject, role } => {
            let subject = super::ask::subject(&client, organisation, &subject).await?;
            let scope = role.at.scope(&client, organisation).await?;
            let body = json!({ "subject": subject, "scope": scope, "role": role.role });
            post("/memberships", body, Show::One)
        }
        MemberVerb::Remove { membership } => {
            delete(&format!("/memberships/{}", part(&membership)), "removed")
        }
    };
    ask.of(of.organisation).run(context, &client).await
}

fn token(verb: TokenVerb) -> Ask {
    let path = |token: &str| format!("/tokens/{}", part(token));
    match verb {
        TokenVerb::List { subject } => list("/tokens", TOKEN).narrow("subject", subject),
        TokenVerb::Show { token } => show(&path(&token)),
        TokenVerb::Create { name, service_account, limits, days } => {
            let body = json!({
                "name": name, "service_account": service_account, "scopes": words(limits.permissions),
                "projects": words(limits.projects), "days": days,
            });
            post("/tokens", body, Show::Secret("secret"))
        }
        TokenVerb::Rotate { token, overlap_minutes } => {
            let body = json!({ "overlap_minutes": overlap_minutes });
            post(&format!("{}/rotate", path(&token)), body, Show::Secret("secret"))
        }
        TokenVerb::Revoke { token } => delete(&path(&token), "revoked"),
    }
}

async fn workload(context: &Context, of: Of, verb: WorkloadVerb) -> Result<()> {
    let client = client()?;
    let path = |workload: &str| format!("/workload-identities/{}", part(workload));
    let ask = match verb {
        WorkloadVerb::List => {
            all("/workload-identities", &["id", "name", "issuer", "claims", "role", "scope"])
        }
        WorkloadVerb::Show { workload } => show(&path(&workload)),
        WorkloadVerb::Create(create) => {
            let WorkloadCreate { name, issuer, audience, claims, jwks, role, limits } = *create;
            let jwks = jwks.map(|file| super::ask::json_file(&file)).transpose()?;
            let scope = role.at.scope(&client, of.organisation.as_deref()).await?;
            let claims: serde_json::Map<String, Value> =
                claims.into_iter().map(|(name, value)| (name, value.into())).collect();
            let body = json!({
                "name": name, "issuer": issuer, "audience": audience, "claims": claims, "jwks": jwks, "role": role.role,
                "scope": scope, "scopes": words(limits.permissions), "projects": words(limits.projects),
            });
            post("/workload-identities", body, Show::One)
        }
        WorkloadVerb::Delete { workload } => delete(&path(&workload), "deleted"),
    };
    ask.of(of.organisation).run(context, &client).await
}

impl At {
    fn is_said(&self) -> bool {
        self.team.is_some() || self.project_name.is_some()
    }

    async fn scope(&self, client: &hafen_client::Client, organisation: Option<&str>) -> Result<String> {
        super::ask::scope(client, organisation, self.team.as_deref(), self.project_name.as_deref()).await
    }
}
