//! Decides about a push, when git asks with all its objects in quarantine.

use std::sync::Arc;

use async_trait::async_trait;
use hafen_base::{Actor, PushId, Result};
use hafen_client::wire::Repository;
use hafen_db::store_error;
use hafen_git::{Gate, InspectionLimits, Proposed, Verdict, secrets};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Delivery;
use crate::model::{Judged, Pusher, judge, not_forward, short};
use crate::store;
use crate::store::push::{OPEN, PushRow};

/// The gate of one push.
pub(crate) struct PushGate {
    pub delivery: Delivery,
    pub repository: Repository,
    pub actor: Actor,
    pub pusher: Pusher,
    /// Held from the verdict until it was told what became of it: of two pushes at once each is told by itself.
    turn: Mutex<Option<OwnedMutexGuard<()>>>,
}

/// References whose rules are told when they are broken.
const MOST_TOLD: usize = 10;

fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let tenths = bytes.saturating_mul(10) / unit;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

impl PushGate {
    pub fn new(delivery: Delivery, repository: Repository, actor: Actor, pusher: Pusher) -> Arc<Self> {
        Arc::new(Self { delivery, repository, actor, pusher, turn: Mutex::new(None) })
    }

    /// What the rules of the branches say.
    async fn rules(&self, push: &Proposed) -> Result<Vec<String>> {
        let mut told = Vec::new();
        for update in &push.updates {
            let one = &self.repository;
            match judge(update, &one.protected, &one.default_branch, &self.pusher) {
                Judged::May => {}
                Judged::IfForward if push.is_forward(update).await? => {}
                Judged::IfForward => told.push(not_forward(update)),
                Judged::MayNot(why) => told.push(why),
            }
            if told.len() >= MOST_TOLD {
                break;
            }
        }
        Ok(told)
    }

    /// What the new objects say; the second list is of secrets that are meant to be there.
    async fn objects(&self, push: &Proposed) -> Result<(Vec<String>, Vec<String>)> {
        let one = &self.repository;
        let limit = u64::try_from(one.size_limit).unwrap_or(u64::MAX);
        let there = u64::try_from(one.size).unwrap_or(0);
        let added = push.added();
        if there.saturating_add(added) > limit {
            return Ok((
                vec![format!(
                    "the repository would have {}, and its limit is {}: push less, or have a maintainer raise it \
                     (hafen repository update {} --size-limit MIB)",
                    size(there.saturating_add(added)),
                    size(limit),
                    one.name
                )],
                Vec::new(),
            ));
        }
        let limits = InspectionLimits {
            object: u64::try_from(one.object_limit).unwrap_or(u64::MAX),
            ..InspectionLimits::default()
        };
        let seen = push.inspect(&limits).await?;
        if let Some((path, bytes)) = &seen.too_large {
            return Ok((
                vec![format!(
                    "{path} has {}, and the limit for one file is {}: keep it somewhere else, and take it out of the commits",
                    size(*bytes),
                    size(limits.object)
                )],
                Vec::new(),
            ));
        }
        let place = |(path, finding): &(String, secrets::Finding)| {
            format!("{path}:{}: {}", finding.line, finding.what)
        };
        let allowed = seen.allowed.iter().map(place).collect();
        if seen.secrets.is_empty() {
            return Ok((Vec::new(), allowed));
        }
        let mut told = vec!["it holds secrets, which everybody could read who can fetch:".to_owned()];
        told.extend(seen.secrets.iter().map(|one| format!("  {}", place(one))));
        told.push("Take them out of the commits that you push: git commit --amend for the last one, git rebase -i for".into());
        told.push(
            "those before. A secret that left your computer before is known: end it where it was made."
                .into(),
        );
        told.push(format!(
            "One that is meant to be there (of a test, say) has {} on its line or on the line before.",
            secrets::ALLOW
        ));
        Ok((told, allowed))
    }

    async fn judged(&self, push: &Proposed) -> Result<(Vec<String>, Vec<String>)> {
        let told = self.rules(push).await?;
        if told.is_empty() { self.objects(push).await } else { Ok((told, Vec::new())) }
    }

    /// Written down before git acts, so that what it does is told even when this process dies now.
    async fn open(&self, push: &Proposed, notes: Vec<String>) -> Result<()> {
        let delivery = &self.delivery;
        let now = delivery.0.now();
        let row = PushRow {
            id: PushId::generate(now, &*delivery.0.random).to_string(),
            repository: self.repository.id.clone(),
            actor: self.actor.clone(),
            updates: push.updates.clone(),
            notes,
            state: OPEN.into(),
        };
        let mut tx = delivery.0.db.write().await?;
        store::push::insert(&mut tx, &row, now).await?;
        tx.commit().await.map_err(store_error)
    }

    /// An attempt that was refused is known to those who look after the project.
    async fn refused(&self, push: &Proposed, told: &[String]) -> Result<()> {
        let names: Vec<&str> = push.updates.iter().take(10).map(|one| short(&one.reference)).collect();
        let message = format!(
            "a push of {} to {} ({}) was refused: {}",
            self.actor.name,
            self.repository.name,
            names.join(", "),
            told.first().map_or("", String::as_str)
        );
        let data = serde_json::json!({ "updates": push.updates.iter().take(100).collect::<Vec<_>>(), "reasons": told });
        let object = format!("repository/{}", self.repository.name);
        let mut tx = self.delivery.0.db.write().await?;
        let project = &self.repository.project;
        self.delivery.event(&mut tx, project, "repository.push_refused", object, message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.delivery.0.events.ring();
        Ok(())
    }
}

#[async_trait]
impl Gate for PushGate {
    async fn decide(&self, push: &Proposed) -> Result<Verdict> {
        let (told, allowed) = self.judged(push).await?;
        if !told.is_empty() {
            self.actor.clone().acts(self.refused(push, &told)).await?;
            let mut lines = vec![format!("Hafen refuses this push to {}:", self.repository.name)];
            lines.extend(told);
            return Ok(Verdict::Refuse(lines));
        }
        let turn = self.delivery.0.turn(&self.repository.id).lock_owned().await;
        *self.turn.lock().await = Some(turn);
        self.open(push, allowed).await?;
        Ok(Verdict::Accept)
    }
}

impl PushGate {
    /// Tells what became of the push, once git has ended.
    pub async fn tell(&self) {
        // Held on to: nobody else moves a reference before this is told.
        let turn = self.turn.lock().await.take();
        if turn.is_none() {
            return;
        }
        if let Err(error) = self.delivery.tell_in_turn(&self.repository.id).await {
            tracing::warn!(cause = %error.cause_chain(), "what was pushed is told later: {error}");
        }
        drop(turn);
        self.delivery.0.wakes.repository.wake(self.repository.id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (512 << 20, "512.0 MiB"),
            (10 << 30, "10.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
