//! Operations.

use std::time::Duration;

use hafen_base::{Error, ErrorKind, Page, PageLimit, Permitted, Result};
use hafen_client::wire::{Operation, OperationStatus};

use crate::Machines;
use crate::store;

fn no_operation(id: &str) -> Error {
    Error::not_found(format!("operation {id:?}"))
}

impl Machines {
    fn with_progress(&self, mut operation: Operation) -> Operation {
        if operation.status == OperationStatus::Running
            && let Some((text, percent)) = self.0.progress_of(operation.id)
        {
            operation.progress = text;
            operation.percent = percent;
        }
        operation
    }

    /// One that may not be seen is not there.
    pub async fn operation_view(&self, permitted: &Permitted, id: &str) -> Result<Operation> {
        let found = store::operation::get(self.0.db.reader(), id).await?;
        let found = found.filter(|operation| permitted.had(&operation.project, operation.created_at));
        found.map(|operation| self.with_progress(operation)).ok_or_else(|| no_operation(id))
    }

    /// Newest first.
    pub async fn operation_list(
        &self,
        permitted: &Permitted,
        before: &str,
        limit: PageLimit,
    ) -> Result<Page<Operation>> {
        let most = i64::from(limit.get()) + 1;
        let rows = store::operation::list(self.0.db.reader(), permitted, before, most).await?;
        let rows = rows.into_iter().map(|operation| self.with_progress(operation)).collect();
        Ok(limit.page(rows, |operation: &Operation| operation.id.to_string()))
    }

    pub async fn operation_wait(
        &self,
        permitted: &Permitted,
        id: &str,
        timeout: Duration,
    ) -> Result<Operation> {
        let mut bell = self.0.events.subscribe();
        let deadline = self.0.clock.sleep(timeout);
        tokio::pin!(deadline);
        loop {
            bell.mark_unchanged();
            let operation = self.operation_view(permitted, id).await?;
            if operation.status != OperationStatus::Running {
                return Ok(operation);
            }
            tokio::select! {
                _ = bell.changed() => {}
                () = &mut deadline => {
                    let message = format!("operation {id} still runs after {} s; wait again", timeout.as_secs());
                    return Err(Error::new(ErrorKind::Timeout, message));
                }
            }
        }
    }

    pub async fn operation_cancel(&self, permitted: &Permitted, id: &str) -> Result<Operation> {
        let operation = self.operation_view(permitted, id).await?;
        if operation.status != OperationStatus::Running {
            return Ok(operation);
        }
        if !operation.may_cancel {
            return Err(Error::conflict(format!(
                "a {} cannot be cancelled halfway; ask for the opposite instead (stop, delete)",
                operation.kind
            )));
        }
        self.0.ask_cancel(operation.id);
        Ok(operation)
    }
}
