//! The authorisation table: every endpoint, the action it is, and how far it reaches. What stands not here is refused; a
//! test holds it against the API document.

/// How far an endpoint reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The project in its path: roles at the project, at the team that owns it, and at the organisation count.
    Project,
    /// The caller's organisation: roles held there count, and the service shows nothing of another.
    Organisation,
    /// Spans projects: the handler is told in which the policy permits the action, and keeps to them (`Permitted`).
    Across,
    /// All tenants: only for those who answer for the platform.
    Platform,
}

/// One endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    pub method: &'static str,
    pub route: &'static str,
    pub action: &'static str,
    pub reach: Reach,
}

const fn project(method: &'static str, route: &'static str, action: &'static str) -> Endpoint {
    Endpoint { method, route, action, reach: Reach::Project }
}

const fn organisation(method: &'static str, route: &'static str, action: &'static str) -> Endpoint {
    Endpoint { method, route, action, reach: Reach::Organisation }
}

const fn across(method: &'static str, route: &'static str, action: &'static str) -> Endpoint {
    Endpoint { method, route, action, reach: Reach::Across }
}

const fn platform(method: &'static str, route: &'static str, action: &'static str) -> Endpoint {
    Endpoint { method, route, action, reach: Reach::Platform }
}

/// Machines and stacks.
const PROJECTS: &[Endpoint] = &[
    across("GET", "/api/v1/projects", "project.read"),
    project("GET", "/api/v1/projects/{project}", "project.read"),
    project("PUT", "/api/v1/projects/{project}", "project.write"),
    project("DELETE", "/api/v1/projects/{project}", "project.delete"),
    project("GET", "/api/v1/projects/{project}/networks", "network.read"),
    project("POST", "/api/v1/projects/{project}/networks", "network.write"),
    project("GET", "/api/v1/projects/{project}/networks/{network}", "network.read"),
    project("PATCH", "/api/v1/projects/{project}/networks/{network}", "network.write"),
    project("DELETE", "/api/v1/projects/{project}/networks/{network}", "network.delete"),
    project("GET", "/api/v1/projects/{project}/images", "image.read"),
    project("POST", "/api/v1/projects/{project}/images", "image.write"),
    project("GET", "/api/v1/projects/{project}/images/{image}", "image.read"),
    project("DELETE", "/api/v1/projects/{project}/images/{image}", "image.delete"),
    project("POST", "/api/v1/projects/{project}/images/{image}/verify", "image.write"),
    platform("POST", "/api/v1/images/gc", "image.gc"),
    project("GET", "/api/v1/projects/{project}/machines", "machine.read"),
    project("POST", "/api/v1/projects/{project}/machines", "machine.write"),
    project("GET", "/api/v1/projects/{project}/machines/{machine}", "machine.read"),
    project("PUT", "/api/v1/projects/{project}/machines/{machine}", "machine.write"),
    project("PATCH", "/api/v1/projects/{project}/machines/{machine}", "machine.write"),
    project("DELETE", "/api/v1/projects/{project}/machines/{machine}", "machine.delete"),
    project("GET", "/api/v1/projects/{project}/machines/{machine}/wait", "machine.read"),
    project("GET", "/api/v1/projects/{project}/machines/{machine}/instances", "machine.read"),
    project("GET", "/api/v1/projects/{project}/machines/{machine}/serial", "machine.read"),
    project("GET", "/api/v1/projects/{project}/machines/{machine}/console", "machine.reach"),
    project("GET", "/api/v1/projects/{project}/machines/{machine}/dial", "machine.reach"),
    project("POST", "/api/v1/projects/{project}/machines/{machine}/lease", "machine.write"),
    project("DELETE", "/api/v1/projects/{project}/machines/{machine}/lease", "machine.write"),
    project("POST", "/api/v1/projects/{project}/machines/{machine}/start", "machine.run"),
    project("POST", "/api/v1/projects/{project}/machines/{machine}/stop", "machine.run"),
    project("POST", "/api/v1/projects/{project}/machines/{machine}/restart", "machine.run"),
    project("POST", "/api/v1/projects/{project}/machines/{machine}/resize", "machine.write"),
    project("POST", "/api/v1/projects/{project}/machines/{machine}/rebuild", "machine.rebuild"),
    project("GET", "/api/v1/projects/{project}/machines/{machine}/snapshots", "snapshot.read"),
    project("POST", "/api/v1/projects/{project}/machines/{machine}/snapshots", "snapshot.write"),
    project("DELETE", "/api/v1/projects/{project}/machines/{machine}/snapshots/{snapshot}", "snapshot.write"),
    project(
        "POST",
        "/api/v1/projects/{project}/machines/{machine}/snapshots/{snapshot}/restore",
        "machine.rebuild",
    ),
    project("GET", "/api/v1/projects/{project}/publications", "publication.read"),
    project("GET", "/api/v1/projects/{project}/publications/{publication}", "publication.read"),
    project("PUT", "/api/v1/projects/{project}/publications/{publication}", "publication.write"),
    project("DELETE", "/api/v1/projects/{project}/publications/{publication}", "publication.write"),
    project("POST", "/api/v1/projects/{project}/ssh-certificates", "access.connect"),
    project("POST", "/api/v1/projects/{project}/plans", "stack.plan"),
    project("GET", "/api/v1/projects/{project}/applies", "stack.read"),
    project("POST", "/api/v1/projects/{project}/applies", "stack.apply"),
    project("GET", "/api/v1/projects/{project}/applies/{apply}", "stack.read"),
    project("POST", "/api/v1/projects/{project}/applies/{apply}/cancel", "stack.apply"),
    project("GET", "/api/v1/projects/{project}/applies/{apply}/wait", "stack.read"),
    project("GET", "/api/v1/projects/{project}/stack", "stack.read"),
    project("GET", "/api/v1/projects/{project}/drift", "stack.read"),
    across("GET", "/api/v1/operations", "operation.read"),
    across("GET", "/api/v1/operations/{operation}", "operation.read"),
    across("GET", "/api/v1/operations/{operation}/wait", "operation.read"),
    across("POST", "/api/v1/operations/{operation}/cancel", "operation.cancel"),
    across("GET", "/api/v1/events", "event.read"),
    across("GET", "/api/v1/changes", "event.read"),
];

/// Identity. What a caller may do to others there is decided once more by the service, which sees whom it is about.
const IDENTITY: &[Endpoint] = &[
    organisation("GET", "/api/v1/whoami", "account.self"),
    organisation("GET", "/api/v1/me/passkeys", "account.self"),
    organisation("POST", "/api/v1/me/passkeys", "account.self"),
    organisation("POST", "/api/v1/me/passkeys/options", "account.self"),
    organisation("DELETE", "/api/v1/me/passkeys/{passkey}", "account.self"),
    organisation("POST", "/api/v1/me/password", "account.self"),
    organisation("POST", "/api/v1/me/recovery-codes", "account.self"),
    organisation("POST", "/api/v1/me/totp", "account.self"),
    organisation("POST", "/api/v1/me/totp/confirm", "account.self"),
    organisation("POST", "/api/v1/step-up", "account.self"),
    organisation("GET", "/api/v1/sessions", "account.self"),
    organisation("POST", "/api/v1/sessions/end-others", "account.self"),
    organisation("DELETE", "/api/v1/sessions/{session}", "account.self"),
    organisation("GET", "/api/v1/tokens", "account.self"),
    organisation("POST", "/api/v1/tokens", "account.self"),
    organisation("GET", "/api/v1/tokens/{token}", "account.self"),
    organisation("DELETE", "/api/v1/tokens/{token}", "account.self"),
    organisation("POST", "/api/v1/tokens/{token}/rotate", "account.self"),
    organisation("GET", "/api/v1/organisations", "people.read"),
    platform("POST", "/api/v1/organisations", "organisation.write"),
    organisation("GET", "/api/v1/organisations/{organisation}", "people.read"),
    organisation("PATCH", "/api/v1/organisations/{organisation}", "organisation.write"),
    organisation("GET", "/api/v1/people", "people.read"),
    organisation("GET", "/api/v1/people/{person}", "people.read"),
    organisation("PATCH", "/api/v1/people/{person}", "people.write"),
    organisation("POST", "/api/v1/people/{person}/reset", "people.write"),
    organisation("GET", "/api/v1/invitations", "people.read"),
    organisation("POST", "/api/v1/invitations", "people.write"),
    organisation("DELETE", "/api/v1/invitations/{invitation}", "people.write"),
    organisation("GET", "/api/v1/memberships", "people.read"),
    organisation("POST", "/api/v1/memberships", "team.write"),
    organisation("DELETE", "/api/v1/memberships/{membership}", "team.write"),
    organisation("GET", "/api/v1/teams", "people.read"),
    organisation("POST", "/api/v1/teams", "team.write"),
    organisation("GET", "/api/v1/teams/{team}", "people.read"),
    organisation("PATCH", "/api/v1/teams/{team}", "team.write"),
    organisation("DELETE", "/api/v1/teams/{team}", "team.write"),
    organisation("GET", "/api/v1/project-owners", "people.read"),
    organisation("GET", "/api/v1/project-owners/{project}", "people.read"),
    organisation("PUT", "/api/v1/project-owners/{project}", "team.write"),
    organisation("DELETE", "/api/v1/project-owners/{project}", "team.write"),
    organisation("GET", "/api/v1/roles", "people.read"),
    organisation("PUT", "/api/v1/roles/{role}", "organisation.write"),
    organisation("DELETE", "/api/v1/roles/{role}", "organisation.write"),
    organisation("GET", "/api/v1/service-accounts", "people.read"),
    organisation("POST", "/api/v1/service-accounts", "token.write"),
    organisation("GET", "/api/v1/service-accounts/{account}", "people.read"),
    organisation("PATCH", "/api/v1/service-accounts/{account}", "token.write"),
    organisation("GET", "/api/v1/oauth-clients", "people.read"),
    organisation("POST", "/api/v1/oauth-clients", "organisation.write"),
    organisation("DELETE", "/api/v1/oauth-clients/{client}", "organisation.write"),
    organisation("GET", "/api/v1/identity-providers", "people.read"),
    organisation("POST", "/api/v1/identity-providers", "organisation.write"),
    organisation("DELETE", "/api/v1/identity-providers/{provider}", "organisation.write"),
    organisation("GET", "/api/v1/workload-identities", "people.read"),
    organisation("POST", "/api/v1/workload-identities", "token.write"),
    organisation("GET", "/api/v1/workload-identities/{workload}", "people.read"),
    organisation("DELETE", "/api/v1/workload-identities/{workload}", "token.write"),
];

/// The ledger. Its tree is of all tenants; entries and their proofs are shown to whom they concern.
const LEDGER: &[Endpoint] = &[
    platform("GET", "/ledger/checkpoint", "ledger.read"),
    platform("GET", "/ledger/tile/{*tile}", "ledger.read"),
    platform("GET", "/ledger/{shard}/checkpoint", "ledger.read"),
    platform("GET", "/ledger/{shard}/tile/{*tile}", "ledger.read"),
    across("GET", "/api/v1/ledger/entries", "ledger.read"),
    across("GET", "/api/v1/ledger/entries/{shard}/{position}", "ledger.read"),
    across("GET", "/api/v1/ledger/entries/{shard}/{position}/proof", "ledger.read"),
    across("GET", "/api/v1/ledger/shards", "ledger.read"),
    platform("POST", "/api/v1/ledger/shards", "ledger.erase"),
    platform("POST", "/api/v1/ledger/erasures", "ledger.erase"),
    platform("GET", "/api/v1/ledger/export", "ledger.read"),
];

/// SSH access.
const ACCESS: &[Endpoint] = &[
    across("POST", "/api/v1/access/grants", "machine.ssh"),
    platform("POST", "/api/v1/access/revocations", "access.revoke"),
    across("GET", "/api/v1/access/sessions", "access.read"),
    organisation("GET", "/api/v1/me/ssh-sessions", "account.self"),
    organisation("GET", "/api/v1/me/ssh-certificates", "account.self"),
    organisation("DELETE", "/api/v1/me/ssh-certificates/{serial}", "account.self"),
    across("GET", "/api/v1/access/events", "access.read"),
    across("GET", "/api/v1/access/alerts", "access.read"),
    platform("GET", "/api/v1/access/revocation-list", "access.read"),
    project("GET", "/api/v1/projects/{project}/machines/{machine}/shell", "machine.ssh"),
    project("GET", "/api/v1/projects/{project}/machines/{machine}/integrity", "machine.read"),
    project("POST", "/api/v1/projects/{project}/machines/{machine}/integrity/check", "access.check"),
    project("POST", "/api/v1/projects/{project}/machines/{machine}/integrity/accept", "access.accept"),
];

/// Where git asks first, before a fetch and before a push.
pub const GIT_REFERENCES: &str = "/git/{project}/{repository}/info/refs";

/// Repositories and hooks. What a push may change is decided once more by the service, which sees the branches.
const DELIVERY: &[Endpoint] = &[
    project("GET", GIT_REFERENCES, "repository.read"),
    project("POST", "/git/{project}/{repository}/git-upload-pack", "repository.read"),
    project("POST", "/git/{project}/{repository}/git-receive-pack", "repository.push"),
    project("GET", "/api/v1/projects/{project}/repositories", "repository.read"),
    project("POST", "/api/v1/projects/{project}/repositories", "repository.create"),
    project("GET", "/api/v1/projects/{project}/repositories/{repository}", "repository.read"),
    project("PUT", "/api/v1/projects/{project}/repositories/{repository}", "repository.write"),
    project("DELETE", "/api/v1/projects/{project}/repositories/{repository}", "repository.delete"),
    project("GET", "/api/v1/projects/{project}/repositories/{repository}/commits", "repository.read"),
    project("GET", "/api/v1/projects/{project}/repositories/{repository}/references", "repository.read"),
    project("GET", "/api/v1/projects/{project}/repositories/{repository}/deploy-keys", "repository.read"),
    project("POST", "/api/v1/projects/{project}/repositories/{repository}/deploy-keys", "repository.write"),
    project(
        "DELETE",
        "/api/v1/projects/{project}/repositories/{repository}/deploy-keys/{key}",
        "repository.write",
    ),
    project("GET", "/api/v1/projects/{project}/hooks", "hook.read"),
    project("POST", "/api/v1/projects/{project}/hooks", "hook.write"),
    project("GET", "/api/v1/projects/{project}/hooks/{hook}", "hook.read"),
    project("DELETE", "/api/v1/projects/{project}/hooks/{hook}", "hook.write"),
    project("GET", "/api/v1/projects/{project}/hooks/{hook}/deliveries", "hook.read"),
];

/// Secrets.
const VAULT: &[Endpoint] = &[
    project("GET", "/api/v1/projects/{project}/secrets", "secret.list"),
    project("POST", "/api/v1/projects/{project}/secrets", "secret.write"),
    project("GET", "/api/v1/projects/{project}/secrets/{secret}", "secret.list"),
    project("DELETE", "/api/v1/projects/{project}/secrets/{secret}", "secret.delete"),
    project("POST", "/api/v1/projects/{project}/secrets/{secret}/versions", "secret.write"),
    project("DELETE", "/api/v1/projects/{project}/secrets/{secret}/versions/{version}", "secret.delete"),
    project("POST", "/api/v1/projects/{project}/secrets/{secret}/read", "secret.read"),
];

/// The edge.
const EDGE: &[Endpoint] = &[
    project("GET", "/api/v1/projects/{project}/routes", "route.read"),
    project("GET", "/api/v1/projects/{project}/routes/{host}", "route.read"),
    project("PUT", "/api/v1/projects/{project}/routes/{host}", "route.write"),
    project("DELETE", "/api/v1/projects/{project}/routes/{host}", "route.write"),
    project("GET", "/api/v1/projects/{project}/backends", "backend.read"),
    project("GET", "/api/v1/projects/{project}/backends/{backend}", "backend.read"),
    project("PUT", "/api/v1/projects/{project}/backends/{backend}", "backend.write"),
    project("DELETE", "/api/v1/projects/{project}/backends/{backend}", "backend.write"),
    project("GET", "/api/v1/projects/{project}/certificates", "certificate.read"),
    project("GET", "/api/v1/projects/{project}/certificates/{host}", "certificate.read"),
    project("POST", "/api/v1/projects/{project}/certificates/{host}", "certificate.renew"),
    organisation("GET", "/api/v1/edge/authority", "account.self"),
];

/// Apps, their builds, releases and deployments.
const APPS: &[Endpoint] = &[
    project("GET", "/api/v1/projects/{project}/apps", "app.read"),
    project("GET", "/api/v1/projects/{project}/apps/{app}", "app.read"),
    project("PUT", "/api/v1/projects/{project}/apps/{app}", "app.write"),
    project("DELETE", "/api/v1/projects/{project}/apps/{app}", "app.delete"),
    project("POST", "/api/v1/projects/{project}/apps/{app}/scale", "app.deploy"),
    project("POST", "/api/v1/projects/{project}/apps/{app}/restart", "app.deploy"),
    project("POST", "/api/v1/projects/{project}/apps/{app}/rollback", "app.deploy"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/logs", "app.logs"),
    project("POST", "/api/v1/projects/{project}/apps/{app}/exec", "app.exec"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/builds", "build.read"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/builds/{build}", "build.read"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/builds/{build}/log", "build.read"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/builds/{build}/provenance", "build.read"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/builds/{build}/sbom", "build.read"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/releases", "release.read"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/deployments", "deployment.read"),
    project("POST", "/api/v1/projects/{project}/apps/{app}/deployments", "app.deploy"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/deployments/{deployment}", "deployment.read"),
    project("GET", "/api/v1/projects/{project}/apps/{app}/deployments/{deployment}/log", "app.logs"),
    project("POST", "/api/v1/projects/{project}/apps/{app}/deployments/{deployment}/cancel", "app.deploy"),
];

/// The platform itself.
const PLATFORM: &[Endpoint] = &[
    platform("GET", "/api/v1/status", "platform.read"),
    organisation("GET", "/api/v1/policy", "account.self"),
    organisation("GET", "/api/v1/policy/actions", "account.self"),
    organisation("GET", "/api/v1/policy/explain", "account.self"),
    organisation("GET", "/api/v1/policy/permitted", "account.self"),
    organisation("GET", "/api/v1/openapi.json", "account.self"),
    organisation("GET", "/api/docs", "account.self"),
];

/// All of it.
pub fn all() -> impl Iterator<Item = &'static Endpoint> {
    [PROJECTS, IDENTITY, LEDGER, ACCESS, DELIVERY, APPS, VAULT, EDGE, PLATFORM].into_iter().flatten()
}
