//! Connections that are carried just now, each with the right it goes by. A right that is lost closes them: roles are taken and
//! projects change hands while somebody is in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hafen_base::Actor;
use tokio_util::sync::CancellationToken;

use crate::Rights;

/// All of this process.
#[derive(Default)]
pub struct Ways {
    next: AtomicU64,
    open: Arc<Mutex<HashMap<u64, Open>>>,
}

struct Open {
    actor: Actor,
    project: String,
    lost: CancellationToken,
}

impl Open {
    fn goes_by(&self, actor: &Actor, project: &str) -> bool {
        self.actor.id == actor.id && self.actor.credential == actor.credential && self.project == project
    }
}

/// One of them; it is forgotten with this value.
pub struct Way {
    number: u64,
    lost: CancellationToken,
    all: Weak<Mutex<HashMap<u64, Open>>>,
}

impl Way {
    /// Turns when the right is lost.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(all) = self.all.upgrade() {
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        }
    }
}

impl Ways {
    pub fn open(&self, actor: &Actor, project: &str) -> Way {
        let (number, lost) = (self.next.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
        let open = Open { actor: actor.clone(), project: project.to_owned(), lost: lost.clone() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, open);
        Way { number, lost, all: Arc::downgrade(&self.open) }
    }

    /// Closes those whose right is lost. Where it cannot be told they stay: the machine cannot be reached anew then either.
    pub async fn close_lost(&self, rights: &dyn Rights) {
        // Many connections go by few rights.
        let asked: HashMap<[String; 3], (Actor, String)> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let right =
                |one: &Open| [one.actor.id.clone(), one.actor.credential.clone(), one.project.clone()];
            open.values().map(|one| (right(one), (one.actor.clone(), one.project.clone()))).collect()
        };
        for (actor, project) in asked.into_values() {
            match rights.may_log_in(&actor, &project).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::info!(
                        person = actor.id,
                        project,
                        "the right to an open SSH session is lost: it ends"
                    );
                    let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                    for one in open.values().filter(|one| one.goes_by(&actor, &project)) {
                        one.lost.cancel();
                    }
                }
                Err(error) => {
                    tracing::warn!(cause = %error.cause_chain(), "whether {} may still be in {project} cannot be told: {error}", actor.id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use hafen_base::{ActorKind, Error, Result};

    use super::*;

    struct Says(Option<&'static str>);

    #[async_trait]
    impl Rights for Says {
        async fn may_log_in(&self, actor: &Actor, project: &str) -> Result<bool> {
            let still = self.0.ok_or_else(|| Error::unavailable("nobody says"))?;
            Ok(format!("{} {project}", actor.id) == still)
        }
    }

    #[tokio::test]
    async fn those_that_are_lost_close_and_no_others() {
        let ways = Ways::default();
        let actor = |id: &str| Actor { kind: ActorKind::Person, id: id.into(), ..Actor::platform() };
        let open = [("u-1", "a"), ("u-1", "a"), ("u-1", "b"), ("u-2", "a")]
            .map(|(id, project)| ways.open(&actor(id), project));
        let lost = |open: &[Way]| open.iter().map(|way| way.lost().is_cancelled()).collect::<Vec<_>>();
        ways.close_lost(&Says(None)).await;
        assert_eq!(lost(&open), [false; 4], "who cannot be asked about stays");
        ways.close_lost(&Says(Some("u-1 a"))).await;
        assert_eq!(lost(&open), [false, false, true, true]);
        drop(open);
        assert!(ways.open.lock().unwrap().is_empty(), "what is over is forgotten");
    }
}
