//! Who may name a secret in an app.

use hafen_base::{ActorKind, Error, ErrorKind, Result};
use hafen_client::wire::AppSpec;

use super::{Apps, actor};

impl Apps {
    /// Whoever says what an app runs can have it print its secrets: to name one that it does not have yet takes the right to
    /// read secrets. The token of its source comes to no machine, so that it is not had there; and who could send it to another
    /// URL would read it there.
    pub(super) async fn secrets_may_be_named(
        &self,
        project: &str,
        before: Option<&AppSpec>,
        wanted: &AppSpec,
    ) -> Result<()> {
        let known = before.map(AppSpec::secrets_on_machines).unwrap_or_default();
        let new = wanted.secrets_on_machines().into_iter().find(|secret| !known.contains(secret));
        let token = wanted.source.token.as_ref().filter(|token| {
            before.is_none_or(|before| {
                before.source.token.as_ref() != Some(token) || before.source.git != wanted.source.git
            })
        });
        let what = match (new, token) {
            (Some(new), _) => format!("the app has no secret {new:?} yet: who gives it one"),
            (None, Some(token)) => {
                let url = wanted.source.git.as_deref().unwrap_or_default();
                format!(
                    "the secret {:?} does not go to {url} as the app's token yet: who sends it there",
                    token.secret
                )
            }
            (None, None) => return Ok(()),
        };
        let by = actor();
        // The first is by somebody's earlier wish; the second has the key to all secrets at hand.
        if matches!(by.kind, ActorKind::Platform | ActorKind::LocalOperator) {
            return Ok(());
        }
        match self.0.delivery.0.rights.roles(&by, "secret.read", project).await? {
            Some(_) => Ok(()),
            None => Err(Error::new(
                ErrorKind::Forbidden,
                format!(
                    "{what} needs the permission secret.read; somebody who has it can name the secret in the app, which others \
                     may change afterwards"
                ),
            )),
        }
    }
}
