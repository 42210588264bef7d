//! What was pushed, told once: what is on the disk against what was told.

use std::collections::BTreeMap;

use hafen_base::{Actor, ErrorKind, PushId, Result};
use hafen_db::store_error;
use hafen_git::RefUpdate;
use serde_json::json;

use crate::model::{changes, short};
use crate::pushed::Push;
use crate::store::push::{DONE, OPEN, PushRow};
use crate::store::repository::RepositoryRow;
use crate::{Delivery, store};

/// Updates that stand in an event; the others are counted.
const MOST_SHOWN: usize = 100;

impl Delivery {
    /// As `tell_in_turn`, when nobody is in the middle of a push.
    pub(crate) async fn tell(&self, repository: &str) -> Result<()> {
        let _turn = self.0.turn(repository).lock_owned().await;
        self.tell_in_turn(repository).await
    }

    /// Tells what moved in a repository since it was last told. The turn at it is the caller's.
    ///
    /// # Errors
    /// Any: nothing is lost, it is told at the next call.
    pub(crate) async fn tell_in_turn(&self, repository: &str) -> Result<()> {
        let Some(row) = store::repository::get(self.0.db.reader(), repository).await? else { return Ok(()) };
        self.write_down(&row).await?;
        self.pass_on(&row).await
    }

    /// Events, references and pushes, in one transaction.
    async fn write_down(&self, row: &RepositoryRow) -> Result<()> {
        let id = &row.repository.id;
        let folder = hafen_git::Repository::new(id)?;
        self.0.git.ensure(&folder, &row.repository.default_branch).await?;
        let now: Vec<(String, String)> =
            self.0.git.references(&folder).await?.into_iter().map(|one| (one.name, one.target)).collect();
        let told = store::repository::references(self.0.db.reader(), id).await?;
        let moved = changes(&told, &now);
        let open: Vec<PushRow> = store::push::list(self.0.db.reader(), id).await?;
        let open: Vec<PushRow> = open.into_iter().filter(|push| push.state == OPEN).collect();
        if moved.is_empty() && open.is_empty() {
            return Ok(());
        }
        let size = i64::try_from(self.0.git.size(&folder).await?).unwrap_or(i64::MAX);
        let pushed_at = (!moved.is_empty()).then(|| self.0.now());
        let mut tx = self.0.db.write().await?;
        for push in &open {
            store::push::delete(&mut tx, &push.id).await?;
        }
        for update in &moved {
            store::repository::set_reference(&mut tx, id, &update.reference, update.new.as_deref()).await?;
        }
        for push in attribute(moved, open, || PushId::generate(self.0.now(), &*self.0.random).to_string(), id)
        {
            store::push::insert(&mut tx, &push, self.0.now()).await?;
            let one = &row.repository;
            let (message, data) = described(&push, &one.name);
            let object = format!("repository/{}", one.name);
            let event = self.event(&mut tx, &one.project, "repository.pushed", object, message, data);
            push.actor.clone().acts(event).await?;
        }
        store::repository::set_seen(&mut tx, id, size, pushed_at).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        Ok(())
    }

    /// Tells whoever listens, in order; what they have taken is forgotten.
    async fn pass_on(&self, row: &RepositoryRow) -> Result<()> {
        let told = async || -> Result<Vec<PushRow>> {
            let pushes = store::push::list(self.0.db.reader(), &row.repository.id).await?;
            Ok(pushes.into_iter().filter(|push| push.state == DONE).collect())
        };
        if told().await?.is_empty() {
            return Ok(());
        }
        // By the name of its project there may be another one by now, whose apps are not concerned.
        let is_of_it = match self.project_since(&row.repository.project).await {
            Ok(since) => since == row.project_since,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        // Read only now: another process may have told them meanwhile.
        let pushes = told().await?;
        for push in pushes {
            let told = Push {
                id: push.id.clone(),
                project: row.repository.project.clone(),
                repository: row.repository.name.clone(),
                updates: push.updates,
                actor: push.actor.clone(),
            };
            if is_of_it {
                push.actor.acts(self.0.pushed().pushed(&told)).await?;
            }
            let mut tx = self.0.db.write().await?;
            store::push::delete(&mut tx, &push.id).await?;
            tx.commit().await.map_err(store_error)?;
        }
        Ok(())
    }
}

/// Whose each update was: of the last push that wanted the reference where it is now. What nobody wanted (somebody with the
/// disk at hand moved it) is the platform's.
fn attribute(
    moved: Vec<RefUpdate>,
    open: Vec<PushRow>,
    fresh: impl Fn() -> String,
    repository: &str,
) -> Vec<PushRow> {
    let mut pushes: BTreeMap<String, PushRow> =
        open.into_iter().map(|push| (push.id.clone(), push)).collect();
    let mut done: BTreeMap<String, Vec<RefUpdate>> = BTreeMap::new();
    let mut others = Vec::new();
    for update in moved {
        let wanted = |push: &&PushRow| {
            push.updates.iter().any(|one| one.reference == update.reference && one.new == update.new)
        };
        match pushes.values().rev().find(wanted).map(|push| push.id.clone()) {
            Some(id) => done.entry(id).or_default().push(update),
            None => others.push(update),
        }
    }
    let mut list: Vec<PushRow> = done
        .into_iter()
        .filter_map(|(id, updates)| {
            let push = pushes.remove(&id)?;
            Some(PushRow { updates, state: DONE.into(), ..push })
        })
        .collect();
    if !others.is_empty() {
        list.push(PushRow {
            id: fresh(),
            repository: repository.to_owned(),
            actor: Actor::platform(),
            updates: others,
            notes: Vec::new(),
            state: DONE.into(),
        });
    }
    list
}

fn described(push: &PushRow, repository: &str) -> (String, serde_json::Value) {
    let names: Vec<String> = push
        .updates
        .iter()
        .take(5)
        .map(|one| match &one.new {
            Some(new) => format!("{} ({})", short(&one.reference), new.get(..12).unwrap_or(new)),
            None => format!("{} (deleted)", short(&one.reference)),
        })
        .collect();
    let more = push.updates.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!("{} pushed to {repository}: {}{more}", push.actor.name, names.join(", "));
    let shown: Vec<&RefUpdate> = push.updates.iter().take(MOST_SHOWN).collect();
    let data = json!({ "push": push.id, "updates": shown, "updates_total": push.updates.len(),
                       "allowed_secrets": push.notes });
    (message, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(reference: &str, new: Option<&str>) -> RefUpdate {
        RefUpdate { reference: reference.into(), old: None, new: new.map(str::to_owned) }
    }

    fn push(id: &str, updates: Vec<RefUpdate>) -> PushRow {
        let actor = Actor { id: format!("u-{id}"), ..Actor::platform() };
        PushRow {
            id: id.into(),
            repository: "r".into(),
            actor,
            updates,
            notes: Vec::new(),
            state: OPEN.into(),
        }
    }

    #[test]
    fn each_update_is_somebodys_once() {
        let open = || {
            vec![
                push("1", vec![update("a", Some("1")), update("b", Some("1"))]),
                push("2", vec![update("a", Some("2")), update("c", None)]),
                push("3", vec![update("z", Some("9"))]),
            ]
        };
        let told = |moved: Vec<RefUpdate>| -> Vec<(String, Vec<String>)> {
            attribute(moved, open(), || "new".into(), "r")
                .into_iter()
                .map(|push| (push.id, push.updates.into_iter().map(|one| one.reference).collect()))
                .collect()
        };
        let names = |list: &[(&str, &[&str])]| -> Vec<(String, Vec<String>)> {
            list.iter()
                .map(|(id, names)| ((*id).to_owned(), names.iter().map(|name| (*name).to_owned()).collect()))
                .collect()
        };
        // The second overwrote what the first did to `a`; the third came to nothing.
        let moved = vec![update("a", Some("2")), update("b", Some("1")), update("c", None)];
        assert_eq!(told(moved), names(&[("1", &["b"]), ("2", &["a", "c"])]));
        assert_eq!(told(vec![update("x", Some("7"))]), names(&[("new", &["x"])]));
        assert_eq!(told(Vec::new()), names(&[]));
    }
}
