//! Rotation of a token. It is done only when the old one was seen to fail: a rotation whose old secret still opens something
//! is the break-in that everybody believes to be over.

use std::time::Duration;

use hafen_base::{Error, Result, TokenId};
use hafen_client::wire::{TokenCreated, TokenRotate};
use serde_json::json;

use crate::Identity;
use crate::model::caller::Caller;
use crate::model::secret::Secret;
use crate::store::credential::{self, CredentialRow};

impl Identity {
    /// Gives a new token in place of one, as wide and as long-lived. The old one reads `rotating` until it was presented after
    /// its end and refused, or the platform tried it itself; then `ended`, with the proof.
    pub(crate) async fn token_rotate(
        &self,
        caller: &Caller,
        id: &str,
        body: TokenRotate,
    ) -> Result<TokenCreated> {
        let old = self.token_row(caller, id).await?;
        // A token may rotate itself, and nothing else may be done by one: how a robot renews its own secret.
        if caller.actor.credential != format!("token/{id}") {
            caller.must_be_a_session().or_else(|error| {
                if caller.actor.kind == hafen_base::ActorKind::LocalOperator { Ok(()) } else { Err(error) }
            })?;
        }
        let overlap = body.overlap_minutes.unwrap_or(0);
        let overlap = u64::try_from(overlap).ok().filter(|minutes| *minutes <= 10_080);
        let overlap =
            overlap.ok_or_else(|| Error::invalid_field("/overlap_minutes", "0 to 10080 (a week)"))?;
        let now = self.0.now();
        let row = CredentialRow {
            id: TokenId::generate(now, &*self.0.random).to_string(),
            status: credential::ACTIVE.into(),
            created_at: now,
            expires_at: now.plus(old.expires_at.since(old.created_at)),
            last_used_at: None,
            authenticated_at: now,
            ..old.clone()
        };
        let secret = Secret::generate(old.kind, &*self.0.random);
        let end = now.plus(Duration::from_mins(overlap)).min(old.expires_at);
        let mut tx = self.0.db.write().await?;
        if !credential::rotate(&mut tx, id, &row.id, end).await? || old.expires_at <= now {
            return Err(
                Error::conflict("this token is not active: make a new one").with_code("token_not_active")
            );
        }
        credential::insert(&mut tx, &row, &secret.hash()).await?;
        let data = json!({ "replaced_by": row.id, "ends_at": end });
        self.0.record(&mut tx, "token.rotating", format!("token/{id}"), row.name.clone(), data).await?;
        self.0.commit_rights(tx).await?;
        Ok(TokenCreated { token: row.token(now)?, secret: secret.expose().to_owned() })
    }
}
