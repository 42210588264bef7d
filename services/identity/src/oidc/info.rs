//! Discovery, keys, userinfo, revocation, introspection.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_base::ErrorKind;
use hafen_http::{ApiError, Verbatim};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{Form, OauthError, OauthResult, has_scope};
use crate::Identity;
use crate::check::Look;
use crate::model::secret::Hash;
use crate::store::credential::CredentialRow;
use crate::store::{credential, openid, person};

pub async fn discovery(State(identity): State<Identity>) -> axum::Json<Value> {
    let issuer = identity.issuer();
    axum::Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "userinfo_endpoint": format!("{issuer}/oauth/userinfo"),
        "jwks_uri": format!("{issuer}/oauth/jwks"),
        "device_authorization_endpoint": format!("{issuer}/oauth/device-authorization"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "scopes_supported": super::SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "amr", "sid", "at_hash", "name", "preferred_username", "email"],
        "authorization_response_iss_parameter_supported": true,
        "ui_locales_supported": ["de", "en"],
        "request_uri_parameter_supported": false,
    }))
}

pub async fn jwks(State(identity): State<Identity>) -> Response {
    match identity.jwks().await {
        Ok(keys) => ([(header::CACHE_CONTROL, "public, max-age=3600")], axum::Json(keys)).into_response(),
        Err(error) => ApiError::from(error).into_response(),
    }
}

pub async fn userinfo(State(identity): State<Identity>, headers: HeaderMap) -> Response {
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    match identity.userinfo(text.strip_prefix("Bearer ").unwrap_or("")).await {
        Ok(claims) => ([(header::CACHE_CONTROL, "no-store")], axum::Json(claims)).into_response(),
        Err(error) => {
            let status = if error.code == "insufficient_scope" {
                StatusCode::FORBIDDEN
            } else {
                StatusCode::UNAUTHORIZED
            };
            let challenge = format!("Bearer realm=\"hafen\", error=\"{}\"", error.code);
            let mut answer =
                (status, axum::Json(json!({ "error": error.code, "error_description": error.description })))
                    .into_response();
            if let Ok(value) = HeaderValue::from_str(&challenge) {
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, value);
            }
            answer.extensions_mut().insert(Verbatim);
            answer
        }
    }
}

impl Identity {
    async fn userinfo(&self, token: &str) -> OauthResult<Value> {
        let (row, open) = self
            .access(token)
            .await?
            .ok_or_else(|| OauthError::new("invalid_token", "no access token of this platform"))?;
        if !open {
            return Err(OauthError::new("invalid_token", "this access token has ended"));
        }
        if !has_scope(&row.name, "openid") {
            return Err(OauthError::new("insufficient_scope", "the scope openid is needed"));
        }
        let person = person::by_id(self.0.db.reader(), &row.subject).await?;
        let person = person.ok_or_else(|| OauthError::new("invalid_token", "this person is gone"))?;
        let mut claims = serde_json::Map::from_iter([("sub".to_owned(), json!(person.id))]);
        if has_scope(&row.name, "profile") {
            claims.insert("name".into(), json!(person.name));
            claims.insert("preferred_username".into(), json!(person.login));
        }
        if has_scope(&row.name, "email") && person.login.contains('@') {
            claims.insert("email".into(), json!(person.login));
        }
        Ok(Value::Object(claims))
    }

    /// An access token's row, and whether it opens anything.
    async fn access(&self, token: &str) -> OauthResult<Option<(CredentialRow, bool)>> {
        let row = credential::by_hash(self.0.db.reader(), &Hash::of(token))
            .await?
            .filter(|row| !row.parent.is_empty());
        let Some(row) = row else { return Ok(None) };
        // By the same road as a request, so that both always agree.
        let open = match self.check_hash(&Hash::of(token), Look::Tried).await {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::Unauthenticated => false,
            Err(error) => return Err(error.into()),
        };
        Ok(Some((row, open)))
    }

    async fn revoke(&self, headers: &HeaderMap, bytes: &Bytes) -> OauthResult<()> {
        let form = Form::body(headers, bytes)?;
        let client = self.client_of(headers, &form).await?;
        let hash = Hash::of(form.need("token")?);
        let mut tx = self.0.db.write().await?;
        let refresh = openid::refresh(&mut tx, &hash)
            .await?
            .filter(|row| row.client == client.shown.id)
            .map(|row| row.session);
        let access = credential::by_hash(&mut *tx, &hash)
            .await?
            .filter(|row| row.client == client.shown.id && !row.parent.is_empty());
        // With a refresh token goes its session and all that hangs on it; an access token goes alone.
        let Some(id) = refresh.or(access.map(|row| row.id)) else { return Ok(()) };
        credential::revoke(&mut tx, &id).await?;
        let data = json!({ "client": client.shown.id });
        self.0
            .record(&mut tx, "client.revoked", format!("credential/{id}"), "ended by its client".into(), data)
            .await?;
        self.0.commit_rights(tx).await?;
        Ok(())
    }

    async fn introspect(&self, headers: &HeaderMap, bytes: &Bytes) -> OauthResult<Value> {
        let form = Form::body(headers, bytes)?;
        let client = self.client_of(headers, &form).await?;
        if !client.shown.confidential {
            return Err(OauthError::new("invalid_client", "introspection is for confidential clients"));
        }
        let found = self.access(form.need("token")?).await?;
        // Of one's own tenant only: of others nothing is told.
        let Some((row, true)) = found.filter(|(row, _)| row.organisation == client.shown.organisation) else {
            return Ok(json!({ "active": false }));
        };
        Ok(json!({
            "active": true, "scope": row.name, "client_id": row.client, "sub": row.subject, "token_type": "Bearer", "iss": self.issuer(),
            "exp": row.expires_at.millis() / 1000, "iat": row.created_at.millis() / 1000,
        }))
    }
}

pub async fn revoke(State(identity): State<Identity>, headers: HeaderMap, bytes: Bytes) -> Response {
    match identity.revoke(&headers, &bytes).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error.into_response(),
    }
}

pub async fn introspect(State(identity): State<Identity>, headers: HeaderMap, bytes: Bytes) -> Response {
    match identity.introspect(&headers, &bytes).await {
        Ok(body) => ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response(),
        Err(error) => error.into_response(),
    }
}
