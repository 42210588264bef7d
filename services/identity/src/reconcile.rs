//! What happens without a request: uses are written down, ends of replaced tokens are proven, what is over is forgotten.

use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, Result};
use hafen_work::{Next, Reconciler};

use crate::Identity;
use crate::check::Look;
use crate::store::{ceremony, credential, openid};

/// Writes down when credentials were used last.
pub struct Uses(pub Identity);

#[async_trait]
impl Reconciler for Uses {
    fn name(&self) -> &'static str {
        "identity-uses"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        Ok(self.0.0.cache.uses())
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let Some(at) = self.0.0.cache.use_of(key) else { return Ok(Next::Done) };
        let mut tx = self.0.0.db.write().await?;
        credential::used(&mut tx, key, at).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        self.0.0.cache.use_written(key, at);
        Ok(Next::Done)
    }
}

/// Tries replaced tokens after their end. Somebody who presents one proves it as well, and sooner.
pub struct Ends(pub Identity);

/// So long after its end the platform tries a token itself.
const GRACE: Duration = Duration::from_secs(5);

#[async_trait]
impl Reconciler for Ends {
    fn name(&self) -> &'static str {
        "identity-ends"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let now = self.0.0.now();
        let until =
            hafen_base::Timestamp::from_micros(now.micros() - i64::try_from(GRACE.as_micros()).unwrap_or(0));
        credential::unproven(self.0.0.db.reader(), until).await
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let Some(hash) = credential::hash_of(self.0.0.db.reader(), key).await? else { return Ok(Next::Done) };
        match self.0.check_hash(&hash, Look::Tried).await {
            Err(error) if error.kind() == hafen_base::ErrorKind::Unauthenticated => {
                self.0.prove_end(key, "platform").await?;
                Ok(Next::Done)
            }
            Err(error) => Err(error),
            // It must not be: shows in the log until somebody looks.
            Ok(_) => Err(Error::internal(format!("{key} was replaced, is over, and still opens"))),
        }
    }
}

/// Forgets what is over.
pub struct Tidying(pub Identity);

#[async_trait]
impl Reconciler for Tidying {
    fn name(&self) -> &'static str {
        "identity-tidying"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        Ok(vec!["all".into()])
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        let now = self.0.0.now();
        let mut tx = self.0.0.db.write().await?;
        ceremony::tidy(&mut tx, now).await?;
        credential::tidy(&mut tx, now).await?;
        openid::tidy(&mut tx, now).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        self.0.keys_rotate().await?;
        hafen_work::Once::forget_old(&self.0.0.db, now).await?;
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_mins(10)
    }
}
