//! Queries of this service, and nothing else. Portable between SQLite and PostgreSQL: optional texts are empty, flags are 0
//! and 1, times are UTC microseconds. Every query that a caller can reach names the organisation: a row of another tenant
//! is not found.

pub mod ceremony;
pub mod credential;
pub mod external;
pub mod factor;
pub mod invitation;
pub mod membership;
pub mod openid;
pub mod organisation;
pub mod person;
pub mod project;
pub mod service_account;
pub mod team;
pub mod workload;

use std::str::FromStr;

use hafen_base::{Error, Result, Timestamp};
use hafen_db::{Migration, Row, sqlx, store_error};
use sqlx::Row as _;

/// Reads run on the reader pool or inside a transaction alike.
pub trait Reads<'c>: sqlx::Executor<'c, Database = sqlx::Any> {}
impl<'c, E: sqlx::Executor<'c, Database = sqlx::Any>> Reads<'c> for E {}

pub const MIGRATIONS: &[Migration] = &[
    hafen_work::MIGRATION,
    hafen_work::ACTOR_MIGRATION,
    Migration {
        name: "20261124_identity",
        sql: "CREATE TABLE organisation (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, second_factor BIGINT NOT NULL, session_hours BIGINT NOT NULL, idle_minutes BIGINT NOT NULL, created_at BIGINT NOT NULL, generation BIGINT NOT NULL);
CREATE TABLE team (id TEXT PRIMARY KEY, organisation TEXT NOT NULL, name TEXT NOT NULL, title TEXT NOT NULL, created_at BIGINT NOT NULL, generation BIGINT NOT NULL, UNIQUE (organisation, name));
CREATE TABLE project (name TEXT PRIMARY KEY, organisation TEXT NOT NULL, team TEXT NOT NULL, created_at BIGINT NOT NULL, generation BIGINT NOT NULL);
CREATE INDEX project_organisation ON project (organisation, name);
CREATE TABLE person (id TEXT PRIMARY KEY, organisation TEXT NOT NULL, login TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, handle TEXT NOT NULL UNIQUE, created_at BIGINT NOT NULL, generation BIGINT NOT NULL, UNIQUE (organisation, login));
CREATE TABLE service_account (id TEXT PRIMARY KEY, organisation TEXT NOT NULL, team TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, status TEXT NOT NULL, created_at BIGINT NOT NULL, generation BIGINT NOT NULL, UNIQUE (organisation, name));
CREATE TABLE membership (id TEXT PRIMARY KEY, organisation TEXT NOT NULL, subject TEXT NOT NULL, scope TEXT NOT NULL, role TEXT NOT NULL, created_at BIGINT NOT NULL, UNIQUE (subject, scope));
CREATE INDEX membership_organisation ON membership (organisation, id);
CREATE TABLE custom_role (organisation TEXT NOT NULL, name TEXT NOT NULL, title TEXT NOT NULL, permissions TEXT NOT NULL, created_at BIGINT NOT NULL, generation BIGINT NOT NULL, PRIMARY KEY (organisation, name));
CREATE TABLE invitation (id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, organisation TEXT NOT NULL, login TEXT NOT NULL, scope TEXT NOT NULL, role TEXT NOT NULL, status TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL);
CREATE INDEX invitation_organisation ON invitation (organisation, id);
CREATE TABLE password (person TEXT PRIMARY KEY, phc TEXT NOT NULL, changed_at BIGINT NOT NULL);
CREATE TABLE totp (person TEXT PRIMARY KEY, sealed TEXT NOT NULL, last_step BIGINT NOT NULL, created_at BIGINT NOT NULL);
CREATE TABLE recovery_code (person TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (person, hash));
CREATE TABLE passkey (id TEXT PRIMARY KEY, person TEXT NOT NULL, credential TEXT NOT NULL UNIQUE, data TEXT NOT NULL, name TEXT NOT NULL, created_at BIGINT NOT NULL, last_used_at BIGINT NOT NULL);
CREATE INDEX passkey_person ON passkey (person, id);
CREATE TABLE device (hash TEXT PRIMARY KEY, person TEXT NOT NULL, created_at BIGINT NOT NULL);
CREATE INDEX device_person ON device (person);
CREATE TABLE credential (id TEXT PRIMARY KEY, kind TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, organisation TEXT NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL, projects TEXT NOT NULL, status TEXT NOT NULL, replaced_by TEXT NOT NULL, proof_by TEXT NOT NULL, proof_at BIGINT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, idle BIGINT NOT NULL, last_used_at BIGINT NOT NULL, strong BIGINT NOT NULL, authenticated_at BIGINT NOT NULL, step_up_until BIGINT NOT NULL, factors TEXT NOT NULL, client TEXT NOT NULL, address TEXT NOT NULL, parent TEXT NOT NULL);
CREATE INDEX credential_subject ON credential (subject, id);
CREATE INDEX credential_parent ON credential (parent);
CREATE INDEX credential_expiry ON credential (expires_at);
CREATE INDEX credential_rotating ON credential (id) WHERE status = 'rotating';
CREATE TABLE ceremony (hash TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, state TEXT NOT NULL, failures BIGINT NOT NULL, expires_at BIGINT NOT NULL);
CREATE INDEX ceremony_expiry ON ceremony (expires_at);
CREATE TABLE throttle (key TEXT PRIMARY KEY, failures BIGINT NOT NULL, last_at BIGINT NOT NULL);
CREATE INDEX throttle_last ON throttle (last_at);
",
    },
    Migration {
        name: "20261125_openid",
        sql: "CREATE TABLE signing_key (kid TEXT PRIMARY KEY, sealed TEXT NOT NULL, public TEXT NOT NULL, signs_from BIGINT NOT NULL, shown_until BIGINT NOT NULL);
CREATE TABLE oauth_client (id TEXT PRIMARY KEY, organisation TEXT NOT NULL, name TEXT NOT NULL, secret TEXT NOT NULL, redirect_uris TEXT NOT NULL, created_at BIGINT NOT NULL);
CREATE INDEX oauth_client_organisation ON oauth_client (organisation, id);
CREATE TABLE oauth_grant (hash TEXT PRIMARY KEY, client TEXT NOT NULL, subject TEXT NOT NULL, redirect_uri TEXT NOT NULL, challenge TEXT NOT NULL, nonce TEXT NOT NULL, scope TEXT NOT NULL, factors TEXT NOT NULL, authenticated_at BIGINT NOT NULL, status TEXT NOT NULL, session TEXT NOT NULL, user_code TEXT NOT NULL, polled_at BIGINT NOT NULL, expires_at BIGINT NOT NULL);
CREATE INDEX oauth_grant_user_code ON oauth_grant (user_code) WHERE user_code <> '';
CREATE INDEX oauth_grant_expiry ON oauth_grant (expires_at);
CREATE TABLE oauth_refresh (hash TEXT PRIMARY KEY, session TEXT NOT NULL, client TEXT NOT NULL, scope TEXT NOT NULL, used BIGINT NOT NULL, expires_at BIGINT NOT NULL);
CREATE INDEX oauth_refresh_expiry ON oauth_refresh (expires_at);
CREATE TABLE workload_trust (id TEXT PRIMARY KEY, organisation TEXT NOT NULL, name TEXT NOT NULL, issuer TEXT NOT NULL, audience TEXT NOT NULL, jwks TEXT NOT NULL, claims TEXT NOT NULL, scopes TEXT NOT NULL, projects TEXT NOT NULL, role TEXT NOT NULL, scope TEXT NOT NULL, created_at BIGINT NOT NULL, generation BIGINT NOT NULL, UNIQUE (organisation, name));
CREATE INDEX workload_trust_issuer ON workload_trust (issuer);
CREATE TABLE used_jwt (hash TEXT PRIMARY KEY, expires_at BIGINT NOT NULL);
CREATE INDEX used_jwt_expiry ON used_jwt (expires_at);
CREATE TABLE identity_provider (id TEXT PRIMARY KEY, organisation TEXT NOT NULL, name TEXT NOT NULL, issuer TEXT NOT NULL, client_id TEXT NOT NULL, sealed TEXT NOT NULL, created_at BIGINT NOT NULL, UNIQUE (organisation, name));
CREATE TABLE external_identity (provider TEXT NOT NULL, subject TEXT NOT NULL, person TEXT NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (provider, subject));
",
    },
    Migration {
        name: "20261125_project_given_up",
        sql: "CREATE TABLE project_given_up (name TEXT PRIMARY KEY, at BIGINT NOT NULL);
",
    },
];

pub fn text(row: &Row, column: &str) -> Result<String> {
    row.try_get(column).map_err(store_error)
}

pub fn number(row: &Row, column: &str) -> Result<i64> {
    row.try_get(column).map_err(store_error)
}

pub fn time(row: &Row, column: &str) -> Result<Timestamp> {
    number(row, column).map(Timestamp::from_micros)
}

/// A time that may be absent, written as 0.
pub fn maybe_time(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    Ok(Some(time(row, column)?).filter(|time| time.micros() != 0))
}

pub fn parsed<T: FromStr>(row: &Row, column: &str) -> Result<T> {
    let text = text(row, column)?;
    text.parse().map_err(|_| Error::internal(format!("column {column} holds {text:?}")))
}

/// A list that may be absent, written as JSON or as an empty text.
pub fn maybe_list(row: &Row, column: &str) -> Result<Option<Vec<String>>> {
    let text = text(row, column)?;
    if text.is_empty() { Ok(None) } else { serde_json::from_str(&text).map(Some).map_err(Error::internal) }
}

pub fn list_text(list: Option<&[String]>) -> Result<String> {
    list.map_or_else(|| Ok(String::new()), |list| serde_json::to_string(list).map_err(Error::internal))
}

pub fn rows<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T>) -> Result<Vec<T>> {
    rows.iter().map(read).collect()
}

/// Rows wanted to know whether there is a further page.
pub fn one_more(limit: hafen_base::PageLimit) -> i64 {
    i64::from(limit.get()) + 1
}
