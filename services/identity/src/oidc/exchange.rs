//! Workload identity: a job trades the JWT of its own issuer for a short-lived, limited token (RFC 8693). No secret is stored.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};

use super::{Form, OauthError, OauthResult, token};
use crate::model::jwt::{self, Claims};
use crate::model::secret::{Hash, Kind, Secret};
use crate::store::credential::{self, CredentialRow};
use crate::store::workload;
use crate::{Identity, Origin};
use hafen_client::wire::WorkloadIdentity;

/// At most; never longer than the job's own token.
const LIFE: Duration = Duration::from_hours(1);
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

impl Identity {
    pub(super) async fn exchange(&self, origin: &Origin, form: &Form) -> OauthResult<Value> {
        if !matches!(form.need("subject_token_type")?, JWT | ID_TOKEN) || form.get("actor_token").is_some() {
            return Err(OauthError::new(
                "invalid_request",
                format!("subject_token_type is {JWT}; there are no actor tokens"),
            ));
        }
        let presented = form.need("subject_token")?;
        let checked = self.trusted(presented, form.get("client_id")).await;
        let (trust, claims) = match checked {
            Ok(found) => found,
            Err(error) => {
                // Whose job it claims to be is not written down: nobody vouches for it.
                origin.unknown(None).acts(self.refused(None, "a workload's token was refused")).await?;
                return Err(error);
            }
        };
        let (now, expires) = (self.0.now(), jwt::expires(&claims));
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or("")
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect::<String>();
        let row = CredentialRow {
            name: subject.clone(),
            scopes: trust.scopes.clone(),
            projects: trust.projects.clone(),
            expires_at: now.plus(LIFE).min(expires).max(now.plus(Duration::from_secs(1))),
            ..self.row(Kind::Workload, trust.id.clone(), trust.organisation, false, origin)
        };
        let secret = Secret::generate(Kind::Workload, &*self.0.random);
        let unique = claims
            .get("jti")
            .and_then(Value::as_str)
            .map_or_else(|| presented.to_owned(), |jti| format!("{}\n{jti}", trust.issuer));
        let mut tx = self.0.db.write().await?;
        // Past its end by the leeway that its check allows, so that it cannot come back within it.
        if !workload::trade(&mut tx, &Hash::of(&unique), expires.plus(Duration::from_mins(2))).await? {
            drop(tx);
            origin.unknown(None).acts(self.refused(None, "a workload's token came a second time")).await?;
            return Err(OauthError::new("invalid_grant", "this token was traded already: each is good once"));
        }
        credential::insert(&mut tx, &row, &secret.hash()).await?;
        let actor = token::workload(&trust.id, &subject, trust.organisation, origin);
        let data = json!({ "token": row.id, "subject": subject, "issuer": trust.issuer, "expires_at": row.expires_at });
        let message = format!("{} got a token as {}", subject, trust.name);
        let work = self.0.record(
            &mut tx,
            "workload.signed_in",
            format!("workload-identity/{}", trust.id),
            message,
            data,
        );
        actor.acts(work).await?;
        self.0.commit(tx).await?;
        Ok(json!({
            "access_token": secret.expose(), "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer",
            "expires_in": row.expires_at.since(now).as_secs(),
        }))
    }

    /// The one identity that a JWT is good for.
    async fn trusted(&self, presented: &str, named: Option<&str>) -> OauthResult<(WorkloadIdentity, Claims)> {
        let refused = |why: &str| OauthError::new("invalid_grant", why);
        let issuer = jwt::claimed_issuer(presented).map_err(|jwt::Refused(why)| refused(why))?;
        let trusts = workload::of_issuer(self.0.db.reader(), &issuer).await?;
        let mut why = "nobody here trusts this issuer";
        let mut found = Vec::new();
        let mut away = false;
        for trust in trusts.into_iter().filter(|trust| named.is_none_or(|named| named == trust.id)) {
            let keys = if let Some(given) = &trust.jwks {
                serde_json::from_value::<JwkSet>(given.clone())
                    .map(Arc::new)
                    .map_err(|_| refused("the issuer's keys are broken"))?
            } else {
                let kid = jwt::claimed_key(presented);
                let fetch = &*self.0.fetch;
                let known = self.0.issuers.keys(fetch, &issuer, kid.as_deref(), self.0.now()).await;
                let Ok(keys) = known else {
                    away = true;
                    continue;
                };
                keys
            };
            match jwt::check(presented, &keys, &trust.issuer, &trust.audience, self.0.now()) {
                Ok(claims) if jwt::fits(&claims, trust.claims.iter()) => found.push((trust, claims)),
                Ok(_) => why = "no workload identity fits the claims of this token",
                Err(jwt::Refused(reason)) => why = reason,
            }
        }
        match found.pop() {
            None if away => Err(OauthError {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "temporarily_unavailable",
                description: "the issuer's keys cannot be fetched just now; try again".into(),
            }),
            None => Err(refused(why)),
            Some(_) if !found.is_empty() => Err(OauthError::new(
                "invalid_request",
                "several workload identities fit: name one by client_id",
            )),
            Some(found) => Ok(found),
        }
    }
}
