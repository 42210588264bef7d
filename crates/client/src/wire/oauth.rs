//! Clients of Hafen as an OpenID provider, and workload identities.

use std::collections::BTreeMap;

use hafen_base::{OrganisationId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OauthClient {
    /// `client_id`
    pub id: String,
    #[schema(value_type = String)]
    pub organisation: OrganisationId,
    pub name: String,
    /// It has a secret, and may introspect.
    pub confidential: bool,
    /// Compared letter by letter; the port of a loopback address is free (RFC 8252).
    pub redirect_uris: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OauthClientCreate {
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    #[serde(default)]
    pub confidential: bool,
    #[serde(default)]
    #[schema(max_items = 20)]
    pub redirect_uris: Vec<String>,
}

/// The only answer that holds the client's secret.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct OauthClientCreated {
    pub client: OauthClient,
    /// Absent for a public client.
    pub secret: Option<String>,
}

/// Jobs of an issuer that are somebody here: they trade their JWT for a token (RFC 8693), and no secret is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadIdentity {
    /// `wi-…`
    pub id: String,
    #[schema(value_type = String)]
    pub organisation: OrganisationId,
    pub name: String,
    /// `iss`, as `https://gitlab.example.org`.
    pub issuer: String,
    /// `aud`
    pub audience: String,
    /// The issuer's keys (RFC 7517), where they were given; otherwise they are fetched from it.
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Value>,
    /// Each must be there and equal; one that ends in `*` is a beginning.
    pub claims: BTreeMap<String, String>,
    pub scopes: Option<Vec<String>>,
    pub projects: Option<Vec<String>>,
    pub role: String,
    /// Where the role is held: `org-…`, `team-…`, `project/NAME`.
    pub scope: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadIdentityCreate {
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub name: String,
    #[schema(min_length = 1, max_length = 500)]
    pub issuer: String,
    #[schema(min_length = 1, max_length = 500)]
    pub audience: String,
    /// The issuer's keys (RFC 7517). Without them they are fetched from the issuer (OpenID Connect Discovery), by https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Value>,
    pub claims: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 200)]
    pub scopes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 1000)]
    pub projects: Option<Vec<String>>,
    #[schema(min_length = 1, max_length = 63)]
    pub role: String,
    #[schema(min_length = 1, max_length = 80)]
    pub scope: String,
}

/// An external OpenID provider that people of an organisation may sign in through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentityProvider {
    /// `idp-…`
    pub id: String,
    #[schema(value_type = String)]
    pub organisation: OrganisationId,
    pub name: String,
    pub issuer: String,
    pub client_id: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// What the page for signing in says of an external provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignInProvider {
    pub id: String,
    pub name: String,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityProviderCreate {
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    #[schema(min_length = 1, max_length = 500)]
    pub issuer: String,
    #[schema(min_length = 1, max_length = 200)]
    pub client_id: String,
    #[schema(min_length = 1, max_length = 200)]
    pub client_secret: String,
}
