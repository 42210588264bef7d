//! Images: built (cancellable, with progress), verified, forgotten. A key is the id of an image, or of a verification.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hafen_base::{Error, ErrorKind, OperationId, Result};
use hafen_client::wire::OperationStatus;
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};
use serde_json::Value;

use crate::Machines;
use crate::engine::{BuiltImage, ImageRequest, Progress};
use crate::store;
use crate::store::image::ImageRow;

pub struct Images(pub Machines, Mutex<HashMap<String, u32>>);

impl Images {
    pub fn new(machines: Machines) -> Self {
        Self(machines, Mutex::default())
    }
}

/// A build is tried this often when something outside (a mirror) does not answer.
const TRIES: u32 = 5;

#[async_trait]
impl Reconciler for Images {
    fn name(&self) -> &'static str {
        "machines/images"
    }

    /// Builds are heavy; two at a time leave room for what runs.
    fn parallel(&self) -> usize {
        2
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let db = self.0.0.db.reader();
        let rows = store::image::list_everywhere(db).await?;
        let mut keys: Vec<String> = rows
            .into_iter()
            .filter(|row| row.absent || row.image.observed_generation < row.image.generation)
            .map(|row| row.image.id.to_string())
            .collect();
        keys.extend(store::operation::running(db, "image.verify").await?);
        Ok(keys)
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        if let Ok(operation) = key.parse::<OperationId>() {
            return self.verify(operation).await;
        }
        let parts = &self.0.0;
        let Some(row) = store::image::get(parts.db.reader(), key).await? else { return Ok(Next::Done) };
        if row.absent {
            return self.forget(&row).await;
        }
        if row.image.observed_generation >= row.image.generation {
            return Ok(Next::Done);
        }
        let request = ImageRequest { source: row.image.source.clone(), lock: row.lock_wanted.clone() };
        let building = parts.engine.image_ensure(&request, self.progress(row.image.operation));
        match self.cancellable(row.image.operation, building).await {
            Ok(Some(built)) => self.built(&row, &built).await,
            Ok(None) => self.failed(&row, OperationStatus::Cancelled, "the build was cancelled").await,
            Err(error) if error.kind() == ErrorKind::Unavailable && self.may_try_again(key) => {
                if let Some(operation) = row.image.operation {
                    parts.set_progress(operation, format!("{error}; trying again"), None);
                }
                Err(error)
            }
            Err(error) => {
                tracing::warn!(image = row.image.name, cause = %error.cause_chain(), "an image build failed: {error}");
                self.failed(&row, OperationStatus::Failed, error.message()).await
            }
        }
    }
}

impl Images {
    fn may_try_again(&self, key: &str) -> bool {
        let mut tries = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tries.entry(key.to_owned()).or_insert(0);
        *count += 1;
        if *count >= TRIES {
            tries.remove(key);
            return false;
        }
        true
    }

    fn progress(&self, operation: Option<OperationId>) -> Progress {
        let parts = Arc::clone(&self.0.0);
        Arc::new(move |text, percent| {
            if let Some(operation) = operation {
                parts.set_progress(operation, text, percent);
            }
        })
    }

    /// Runs to the end; none when the operation's cancellation was asked for before.
    async fn cancellable<T>(
        &self,
        operation: Option<OperationId>,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<Option<T>> {
        let Some(operation) = operation else { return work.await.map(Some) };
        tokio::select! {
            done = work => done.map(Some),
            () = self.0.0.cancel_asked(operation) => Ok(None),
        }
    }

    async fn built(&self, row: &ImageRow, built: &BuiltImage) -> Result<Next> {
        let parts = &self.0.0;
        let image = &row.image;
        self.1.lock().unwrap_or_else(PoisonError::into_inner).remove(&image.id.to_string());
        let mut tx = parts.db.write().await?;
        store::image::set_ready(&mut tx, image.id, image.generation, built).await?;
        if let Some(operation) = image.operation {
            store::operation::finish(&mut tx, operation, OperationStatus::Succeeded, "", parts.now()).await?;
        }
        let message = format!("image {} is {}", image.name, built.digest);
        let data = serde_json::json!({ "digest": built.digest, "size": built.size });
        self.0
            .event(&mut tx, &image.project, "image.ready", format!("image/{}", image.name), message, data)
            .await?;
        tx.commit().await.map_err(store_error)?;
        self.tell(row).await
    }

    async fn failed(&self, row: &ImageRow, status: OperationStatus, reason: &str) -> Result<Next> {
        let parts = &self.0.0;
        let image = &row.image;
        let mut tx = parts.db.write().await?;
        store::image::set_failed(&mut tx, image.id, image.generation, reason).await?;
        if let Some(operation) = image.operation {
            store::operation::finish(&mut tx, operation, status, reason, parts.now()).await?;
        }
        let message = format!("image {} failed: {reason}", image.name);
        self.0
            .event(
                &mut tx,
                &image.project,
                "image.failed",
                format!("image/{}", image.name),
                message,
                Value::Null,
            )
            .await?;
        tx.commit().await.map_err(store_error)?;
        self.tell(row).await
    }

    async fn forget(&self, row: &ImageRow) -> Result<Next> {
        let parts = &self.0.0;
        let image = &row.image;
        let mut tx = parts.db.write().await?;
        store::image::delete(&mut tx, image.id).await?;
        if let Some(operation) = image.operation {
            store::operation::finish(
                &mut tx,
                operation,
                OperationStatus::Cancelled,
                "the image was removed",
                parts.now(),
            )
            .await?;
        }
        let message = format!("image {} removed; its bits go with the next `image gc`", image.name);
        self.0
            .event(
                &mut tx,
                &image.project,
                "image.destroyed",
                format!("image/{}", image.name),
                message,
                Value::Null,
            )
            .await?;
        tx.commit().await.map_err(store_error)?;
        self.tell(row).await
    }

    /// Rings, and wakes the machines that may have waited.
    async fn tell(&self, row: &ImageRow) -> Result<Next> {
        let parts = &self.0.0;
        if let Some(operation) = row.image.operation {
            parts.forget_progress(operation);
        }
        parts.events.ring();
        for machine in store::machine::ids_unsettled(parts.db.reader(), &row.image.project).await? {
            parts.wakes.machine.wake(machine);
        }
        Ok(Next::Done)
    }

    async fn verify(&self, id: OperationId) -> Result<Next> {
        let parts = &self.0.0;
        let Some(operation) = store::operation::get(parts.db.reader(), &id.to_string()).await? else {
            return Ok(Next::Done);
        };
        if operation.status != OperationStatus::Running {
            return Ok(Next::Done);
        }
        let digest = operation.resources.get(1).cloned().unwrap_or_default();
        let verifying = parts.engine.image_verify(&digest, self.progress(Some(id)));
        let outcome = self.cancellable(Some(id), verifying).await;
        let (status, reason) = match outcome {
            Ok(Some(())) => (OperationStatus::Succeeded, String::new()),
            Ok(None) => (OperationStatus::Cancelled, "cancelled".to_owned()),
            Err(error) => (OperationStatus::Failed, Error::message(&error).to_owned()),
        };
        let mut tx = parts.db.write().await?;
        store::operation::finish(&mut tx, id, status, &reason, parts.now()).await?;
        let object = operation.resources.first().cloned().unwrap_or_default();
        let message = format!("verification of {object} {} {reason}", status.as_str()).trim().to_owned();
        self.0.event(&mut tx, &operation.project, "image.verified", object, message, Value::Null).await?;
        tx.commit().await.map_err(store_error)?;
        parts.forget_progress(id);
        parts.events.ring();
        Ok(Next::Done)
    }
}
