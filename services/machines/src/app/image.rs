//! Images.

use hafen_base::{Error, ImageId, Page, PageLimit, Result, check_label};
use hafen_client::wire::{Image, ImageCreate, ImageGcReport, Operation};
use hafen_db::{Tx, store_error};
use hafen_work::{Begun, Once, OnceTx};
use serde_json::Value;

use super::no_project;
use crate::Machines;
use crate::model::{Problems, check_image};
use crate::store;
use crate::store::image::ImageRow;

fn no_image(project: &str, name: &str) -> Error {
    Error::not_found(format!("image {name:?} in project {project:?}"))
}

impl Machines {
    /// Creates an image, or gives the one of that name a new source; nothing changes when source and lock are the same and
    /// it did not fail. True when it is new.
    pub async fn image_create(
        &self,
        project: &str,
        body: ImageCreate,
        repeat: Option<&Once>,
    ) -> Result<(Image, bool)> {
        let mut problems = Problems::default();
        if let Err(message) = check_label("image", &body.name) {
            problems.add("/name", message);
        }
        check_image(&mut problems, &body.source);
        if body.lock.as_ref().is_some_and(|lock| lock.len() > 1 << 20) {
            problems.add("/lock", "a lock has at most 1 MiB");
        }
        problems.finish()?;
        let lock = body.lock.as_deref().filter(|lock| !lock.is_empty());
        let begun = OnceTx::begin::<(Image, bool)>(&self.0.db, repeat).await?;
        let mut once = match begun {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(once) => once,
        };
        let (image, new) = self.image_want(&mut once.tx, project, &body, lock).await?;
        once.finish(&(&image, new), &*self.0.clock).await?;
        self.0.events.ring();
        self.0.wakes.image.wake(image.id.to_string());
        Ok((image, new))
    }

    async fn image_want(
        &self,
        tx: &mut Tx,
        project: &str,
        body: &ImageCreate,
        lock: Option<&str>,
    ) -> Result<(Image, bool)> {
        {
            store::project::find(&mut **tx, project).await?.ok_or_else(|| no_project(project))?;
            let found = store::image::find(&mut **tx, project, &body.name).await?;
            if let Some(row) = &found {
                if row.absent {
                    return Err(Error::conflict(format!(
                        "image {:?} is being removed; wait a moment",
                        body.name
                    )));
                }
                // The lock that the last build gave is the same wish as no lock at all.
                let same_lock = lock
                    .is_none_or(|lock| row.lock_wanted.as_deref() == Some(lock) || row.image.lock == lock);
                if row.image.source == body.source && same_lock && row.image.state != "failed" {
                    return Ok((row.image.clone(), false));
                }
            }
            let operation = self.new_operation();
            let now = self.0.now();
            let resources = [format!("image/{}", body.name)];
            store::operation::insert(tx, operation, project, "image.build", &resources, true, now).await?;
            if let Some(row) = &found {
                store::image::set_source(tx, row.image.id, &body.source, lock, operation).await?;
            } else {
                let image = Image {
                    id: ImageId::generate(now, &*self.0.random),
                    project: project.to_owned(),
                    name: body.name.clone(),
                    source: body.source.clone(),
                    state: "building".into(),
                    reason: String::new(),
                    digest: String::new(),
                    lock: String::new(),
                    size: 0,
                    operation: Some(operation),
                    created_at: now,
                    generation: 1,
                    observed_generation: 0,
                };
                store::image::insert(tx, &image, lock).await?;
            }
            let message = format!("image {} is to be built", body.name);
            self.event(tx, project, "image.building", format!("image/{}", body.name), message, Value::Null)
                .await?;
            let row = store::image::find(&mut **tx, project, &body.name)
                .await?
                .ok_or_else(|| no_image(project, &body.name))?;
            Ok((row.image, found.is_none()))
        }
    }

    pub async fn image_view(&self, project: &str, name: &str) -> Result<Image> {
        self.project_must_exist(project).await?;
        let row = store::image::find(self.0.db.reader(), project, name).await?;
        row.map(|row| row.image).ok_or_else(|| no_image(project, name))
    }

    pub async fn image_list(&self, project: &str, after: &str, limit: PageLimit) -> Result<Page<Image>> {
        self.project_must_exist(project).await?;
        let rows = store::image::list(self.0.db.reader(), project, after, i64::from(limit.get()) + 1).await?;
        Ok(limit.page(rows.into_iter().map(|row| row.image).collect(), |image| image.name.clone()))
    }

    pub async fn image_delete(
        &self,
        project: &str,
        name: &str,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<Image> {
        let mut tx = self.0.db.write().await?;
        let mut row = self.image_of(&mut tx, project, name).await?;
        check(row.image.generation)?;
        let machines = store::image::machine_count(&mut tx, project, &row.image.name).await?;
        if machines > 0 {
            return Err(Error::conflict(format!(
                "{machines} machines are made of image {name:?}: delete them first"
            )));
        }
        if !row.absent {
            store::image::want_absent(&mut tx, row.image.id).await?;
            row = self.image_of(&mut tx, project, name).await?;
        }
        tx.commit().await.map_err(store_error)?;
        if let Some(operation) = row.image.operation {
            self.0.ask_cancel(operation);
        }
        self.0.wakes.image.wake(row.image.id.to_string());
        Ok(row.image)
    }

    async fn image_of(&self, tx: &mut Tx, project: &str, name: &str) -> Result<ImageRow> {
        store::image::find(&mut **tx, project, name).await?.ok_or_else(|| no_image(project, name))
    }

    /// Starts a rebuild that is compared with what is there.
    pub async fn image_verify(&self, project: &str, name: &str, repeat: Option<&Once>) -> Result<Operation> {
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(operation) => return Ok(operation),
            Begun::New(once) => once,
        };
        let row = self.image_of(&mut once.tx, project, name).await?;
        if row.image.digest.is_empty() {
            let state = &row.image.state;
            return Err(Error::conflict(format!(
                "image {name:?} is {state}: there is nothing to verify yet"
            )));
        }
        let id = self.new_operation();
        let resources = [format!("image/{}", row.image.name), row.image.digest.clone()];
        store::operation::insert(&mut once.tx, id, project, "image.verify", &resources, true, self.0.now())
            .await?;
        let operation = store::operation::get(&mut *once.tx, &id.to_string()).await?;
        let operation = operation.ok_or_else(|| Error::not_found("operation"))?;
        once.finish(&operation, &*self.0.clock).await?;
        self.0.wakes.image.wake(operation.id.to_string());
        Ok(operation)
    }

    pub async fn image_gc(&self, dry_run: bool) -> Result<ImageGcReport> {
        let keep = store::image::digests(self.0.db.reader()).await?;
        let (removed, freed) = self.0.engine.image_gc(&keep, dry_run).await?;
        Ok(ImageGcReport { removed, freed, dry_run })
    }
}
