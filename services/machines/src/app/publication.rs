//! Published ports.

use hafen_base::{Error, Page, PageLimit, PublicationId, Result, check_label};
use hafen_client::wire::{Publication, PublicationPut};
use hafen_db::store_error;
use serde_json::Value;

use super::no_project;
use crate::Machines;
use crate::model::{Problems, parse_host};
use crate::store;

fn no_publication(project: &str, name: &str) -> Error {
    Error::not_found(format!("publication {name:?} in project {project:?}"))
}

impl Machines {
    /// Publishes, or changes what is published under this name; true when it is new.
    pub async fn publication_put(
        &self,
        project: &str,
        name: &str,
        body: &PublicationPut,
    ) -> Result<(Publication, bool)> {
        let mut problems = Problems::default();
        for (pointer, what, value) in [("/name", "publication", name), ("/group", "group", &body.group)] {
            if let Err(message) = check_label(what, value) {
                problems.add(pointer, message);
            }
        }
        if body.port == 0 {
            problems.add("/port", "a port is between 1 and 65535");
        }
        problems.finish()?;
        let host = parse_host(&body.host)?.to_string();
        let mut tx = self.0.db.write().await?;
        store::project::find(&mut *tx, project).await?.ok_or_else(|| no_project(project))?;
        let found = store::publication::find(&mut *tx, project, name).await?;
        let new = found.is_none();
        match &found {
            Some(row) if row.absent => {
                return Err(Error::conflict(format!("publication {name:?} is being removed; wait a moment")));
            }
            Some(row) if row.publication.host != host => {
                return Err(Error::conflict(format!(
                    "publication {name:?} is at {}: delete it to publish at another address",
                    row.publication.host
                )));
            }
            Some(row) => {
                if row.publication.group != body.group || row.publication.port != body.port {
                    store::publication::set_wanted(&mut tx, row.publication.id, &body.group, body.port)
                        .await?;
                }
            }
            None => {
                let publication = Publication {
                    id: PublicationId::generate(self.0.now(), &*self.0.random),
                    project: project.to_owned(),
                    name: name.to_owned(),
                    host: host.clone(),
                    group: body.group.clone(),
                    port: body.port,
                    state: "creating".into(),
                    reason: String::new(),
                    backends: Vec::new(),
                    generation: 1,
                };
                if !store::publication::insert(&mut tx, &publication).await? {
                    return Err(Error::conflict(format!(
                        "{host} is published already, by this or another project"
                    )));
                }
                let message = format!("{host} is to lead to port {} of {}", body.port, body.group);
                self.event(
                    &mut tx,
                    project,
                    "publication.created",
                    format!("publication/{name}"),
                    message,
                    Value::Null,
                )
                .await?;
            }
        }
        let row = store::publication::find(&mut *tx, project, name)
            .await?
            .ok_or_else(|| no_publication(project, name))?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        self.0.wakes.publication.wake(row.publication.id.to_string());
        Ok((row.publication, new))
    }

    pub async fn publication_view(&self, project: &str, name: &str) -> Result<Publication> {
        let row = store::publication::find(self.0.db.reader(), project, name).await?;
        row.map(|row| row.publication).ok_or_else(|| no_publication(project, name))
    }

    pub async fn publication_list(
        &self,
        project: &str,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Publication>> {
        self.project_must_exist(project).await?;
        let rows =
            store::publication::list(self.0.db.reader(), project, after, i64::from(limit.get()) + 1).await?;
        Ok(limit.page(rows.into_iter().map(|row| row.publication).collect(), |publication| {
            publication.name.clone()
        }))
    }

    pub async fn publication_delete(&self, project: &str, name: &str) -> Result<Publication> {
        let mut tx = self.0.db.write().await?;
        let row = store::publication::find(&mut *tx, project, name)
            .await?
            .ok_or_else(|| no_publication(project, name))?;
        store::publication::want_absent(&mut tx, row.publication.id).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.wakes.publication.wake(row.publication.id.to_string());
        Ok(Publication { state: "destroying".into(), ..row.publication })
    }
}
