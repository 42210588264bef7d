//! The token endpoint.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hafen_base::{Actor, ActorKind, OrganisationId, SessionId, TokenId};
use hafen_db::Tx;
use http::{HeaderMap, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Form, OauthError, OauthResult, has_scope};
use crate::model::secret::{Hash, Kind, Secret};
use crate::store::credential::{self, CredentialRow};
use crate::store::openid::{self, ClientRow, GrantRow, RefreshRow};
use crate::store::person::{self, PersonRow};
use crate::{Identity, Origin};

/// Of an access token: short, since a refresh is cheap.
pub const ACCESS: Duration = Duration::from_mins(15);
/// A client's session ends after so long without a refresh, and in any case.
const IDLE: Duration = Duration::from_hours(30 * 24);
const LONGEST: Duration = Duration::from_hours(90 * 24);

pub async fn token(
    State(identity): State<Identity>,
    origin: Origin,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    match identity.token(&origin, &headers, &bytes).await {
        Ok(body) => ([(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], axum::Json(body))
            .into_response(),
        Err(error) => error.into_response(),
    }
}

fn invalid(text: &str) -> OauthError {
    OauthError::new("invalid_grant", text)
}

/// Whom a grant is for, and how it was proven.
struct Granted<'a> {
    client: &'a ClientRow,
    person: &'a PersonRow,
    session: &'a str,
    scope: &'a str,
    grant: Option<&'a GrantRow>,
    strong: bool,
}

impl Identity {
    async fn token(&self, origin: &Origin, headers: &HeaderMap, bytes: &Bytes) -> OauthResult<Value> {
        let form = Form::body(headers, bytes)?;
        match form.need("grant_type")? {
            "authorization_code" => {
                let client = self.client_of(headers, &form).await?;
                let hash = Hash::of(form.need("code")?);
                self.redeem(origin, &client, &hash, Some(&form)).await
            }
            "urn:ietf:params:oauth:grant-type:device_code" => {
                let client = self.client_of(headers, &form).await?;
                let hash = Hash::of(form.need("device_code")?);
                self.device_poll(&client, &hash).await?;
                self.redeem(origin, &client, &hash, None).await
            }
            "refresh_token" => {
                let client = self.client_of(headers, &form).await?;
                self.refresh(origin, &client, form.need("refresh_token")?, form.get("scope")).await
            }
            "urn:ietf:params:oauth:grant-type:token-exchange" => self.exchange(origin, &form).await,
            _ => Err(OauthError::new(
                "unsupported_grant_type",
                "authorization_code, refresh_token, device_code or token-exchange",
            )),
        }
    }

    /// Trades a code (with `form`, which proves possession) or a device code for a session of the client.
    async fn redeem(
        &self,
        origin: &Origin,
        client: &ClientRow,
        hash: &Hash,
        form: Option<&Form>,
    ) -> OauthResult<Value> {
        let now = self.0.now();
        let mut tx = self.0.db.write().await?;
        let grant = openid::grant(&mut tx, hash).await?.filter(|grant| grant.client == client.shown.id);
        let grant = grant.ok_or_else(|| invalid("this code is unknown, or another client's"))?;
        if grant.status == "used" {
            // Somebody has it who should not: nobody knows which of the two, so both lose it.
            self.end_stolen(tx, &grant.session, "an authorization code came a second time").await?;
            return Err(invalid("this code was used before; what came of it has ended"));
        }
        if grant.status != "granted"
            || now >= grant.expires_at
            || grant.user_code.is_empty() != form.is_some()
        {
            return Err(invalid("this code is over"));
        }
        if let Some(form) = form {
            let verifier = form.need("code_verifier")?;
            let fits = (43..=128).contains(&verifier.len())
                && bool::from(
                    URL_SAFE_NO_PAD
                        .encode(Sha256::digest(verifier))
                        .as_bytes()
                        .ct_eq(grant.challenge.as_bytes()),
                );
            if !fits || form.get("redirect_uri") != Some(&grant.redirect_uri) {
                return Err(invalid("code_verifier or redirect_uri do not belong to this code"));
            }
        }
        let person =
            person::by_id(&mut *tx, &grant.subject).await?.filter(|person| person.status == person::ACTIVE);
        let person = person.ok_or_else(|| invalid("this person is gone or suspended"))?;
        let session = SessionId::generate(now, &*self.0.random).to_string();
        if !openid::grant_use(&mut tx, hash, &session).await? {
            return Err(invalid("this code was used before"));
        }
        let strong = grant.factors.contains("passkey") || grant.factors.contains(' ');
        // Nobody holds the secret of this session: it is there to be seen and ended.
        let row = CredentialRow {
            id: session.clone(),
            expires_at: now.plus(LONGEST),
            idle: i64::try_from(IDLE.as_micros()).unwrap_or(i64::MAX),
            factors: grant.factors.clone(),
            client: client.shown.name.clone(),
            authenticated_at: grant.authenticated_at,
            ..self.row(Kind::Session, person.id.to_string(), person.organisation, strong, origin)
        };
        credential::insert(&mut tx, &row, &Secret::generate(Kind::Session, &*self.0.random).hash()).await?;
        let granted = Granted {
            client,
            person: &person,
            session: &session,
            scope: &grant.scope,
            grant: Some(&grant),
            strong,
        };
        let data = json!({ "client": client.shown.id, "session": session, "scope": grant.scope });
        let work = self.record_for(&mut tx, "client.granted", &person, data);
        origin.actor(&person, &format!("session/{session}")).acts(work).await?;
        let answer = self.issue(&mut tx, origin, &granted).await?;
        self.0.commit(tx).await?;
        Ok(answer)
    }

    async fn record_for(
        &self,
        tx: &mut Tx,
        kind: &'static str,
        person: &PersonRow,
        data: Value,
    ) -> hafen_base::Result<()> {
        self.0.record(tx, kind, format!("person/{}", person.id), "a client got tokens".into(), data).await
    }

    async fn end_stolen(&self, mut tx: Tx, session: &str, why: &str) -> OauthResult<()> {
        credential::revoke(&mut tx, session).await?;
        self.0
            .record(&mut tx, "session.stolen", format!("session/{session}"), why.to_owned(), json!({}))
            .await?;
        self.0.commit_rights(tx).await?;
        Ok(())
    }

    /// Trades a refresh token for the next of its line.
    async fn refresh(
        &self,
        origin: &Origin,
        client: &ClientRow,
        presented: &str,
        scope: Option<&str>,
    ) -> OauthResult<Value> {
        let (now, hash) = (self.0.now(), Hash::of(presented));
        let mut tx = self.0.db.write().await?;
        let row = openid::refresh(&mut tx, &hash).await?.filter(|row| row.client == client.shown.id);
        let row = row.ok_or_else(|| invalid("this refresh token is unknown, or another client's"))?;
        if row.used {
            self.end_stolen(tx, &row.session, "a refresh token came a second time").await?;
            return Err(invalid("this refresh token was used before; its session has ended: sign in again"));
        }
        let session = credential::by_id(&mut *tx, &row.session)
            .await?
            .filter(|session| session.opens(now) && now < row.expires_at);
        let session = session.ok_or_else(|| invalid("this session has ended: sign in again"))?;
        let person =
            person::by_id(&mut *tx, &session.subject).await?.filter(|person| person.status == person::ACTIVE);
        let person = person.ok_or_else(|| invalid("this person is gone or suspended"))?;
        let narrowed = scope.map(super::known_scopes);
        let scope = narrowed.as_deref().unwrap_or(&row.scope);
        if scope.split(' ').any(|one| !has_scope(&row.scope, one)) {
            return Err(OauthError::new("invalid_scope", "a refresh cannot give more than there was"));
        }
        openid::refresh_use(&mut tx, &hash).await?;
        credential::used(&mut tx, &row.session, now).await?;
        let granted = Granted {
            client,
            person: &person,
            session: &row.session,
            scope,
            grant: None,
            strong: session.strong,
        };
        let answer = self.issue(&mut tx, origin, &granted).await?;
        self.0.commit(tx).await?;
        Ok(answer)
    }

    /// Access token, and refresh and ID token where the scope asks for them.
    async fn issue(&self, tx: &mut Tx, origin: &Origin, granted: &Granted<'_>) -> OauthResult<Value> {
        let now = self.0.now();
        let access = Secret::generate(Kind::Access, &*self.0.random);
        let api = has_scope(granted.scope, "api");
        let row = CredentialRow {
            name: granted.scope.to_owned(),
            client: granted.client.shown.id.clone(),
            parent: granted.session.to_owned(),
            // Without the scope `api` it opens nothing but userinfo.
            scopes: if api { None } else { Some(Vec::new()) },
            expires_at: now.plus(ACCESS),
            ..self.row(
                Kind::Access,
                granted.person.id.to_string(),
                granted.person.organisation,
                granted.strong,
                origin,
            )
        };
        credential::insert(tx, &row, &access.hash()).await?;
        let mut answer = json!({
            "access_token": access.expose(), "token_type": "Bearer", "expires_in": ACCESS.as_secs(), "scope": granted.scope,
        });
        if has_scope(granted.scope, "offline_access") {
            let refresh = Secret::generate(Kind::Refresh, &*self.0.random);
            let row = RefreshRow {
                session: granted.session.to_owned(),
                client: granted.client.shown.id.clone(),
                scope: granted.scope.to_owned(),
                used: false,
                expires_at: now.plus(IDLE),
            };
            openid::refresh_insert(tx, &refresh.hash(), &row).await?;
            put(&mut answer, "refresh_token", json!(refresh.expose()));
        }
        if has_scope(granted.scope, "openid") {
            put(&mut answer, "id_token", json!(self.id_token(granted, access.expose()).await?));
        }
        Ok(answer)
    }

    async fn id_token(&self, granted: &Granted<'_>, access: &str) -> OauthResult<String> {
        let seconds = self.0.now().millis() / 1000;
        let half = Sha256::digest(access).iter().take(16).copied().collect::<Vec<u8>>();
        let mut claims = json!({
            "iss": self.issuer(), "sub": granted.person.id, "aud": granted.client.shown.id, "iat": seconds, "exp": seconds + 3600,
            "sid": granted.session, "at_hash": URL_SAFE_NO_PAD.encode(half),
        });
        if let Some(grant) = granted.grant {
            put(&mut claims, "auth_time", json!(grant.authenticated_at.millis() / 1000));
            // RFC 8176.
            let mut amr: Vec<&str> = grant
                .factors
                .split(' ')
                .map(|factor| match factor {
                    "password" => "pwd",
                    "passkey" => "hwk",
                    _ => "otp",
                })
                .collect();
            if granted.strong {
                amr.push("mfa");
            }
            put(&mut claims, "amr", json!(amr));
            if !grant.nonce.is_empty() {
                put(&mut claims, "nonce", json!(grant.nonce));
            }
        }
        Ok(self.sign(&claims).await?)
    }

    /// A credential with nothing special about it.
    pub(super) fn row(
        &self,
        kind: Kind,
        subject: String,
        organisation: OrganisationId,
        strong: bool,
        origin: &Origin,
    ) -> CredentialRow {
        let now = self.0.now();
        CredentialRow {
            id: TokenId::generate(now, &*self.0.random).to_string(),
            kind,
            subject,
            organisation,
            name: String::new(),
            scopes: None,
            projects: None,
            status: credential::ACTIVE.into(),
            replaced_by: String::new(),
            proof: None,
            created_at: now,
            expires_at: now.plus(ACCESS),
            idle: 0,
            last_used_at: Some(now),
            strong,
            authenticated_at: now,
            step_up_until: None,
            factors: String::new(),
            client: String::new(),
            address: origin.address_text(),
            parent: String::new(),
        }
    }
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(name.to_owned(), value);
    }
}

/// The actor of a workload.
pub(super) fn workload(subject: &str, name: &str, organisation: OrganisationId, origin: &Origin) -> Actor {
    Actor {
        kind: ActorKind::Workload,
        id: subject.to_owned(),
        name: name.to_owned(),
        organisation: organisation.to_string(),
        address: origin.address.map(|address| address.to_canonical().to_string()),
        request_id: Actor::current().request_id,
        ..Actor::platform()
    }
}
