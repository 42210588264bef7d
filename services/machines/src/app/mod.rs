//! Permission → rule → store → wake, one file per resource. Nothing here touches an engine, but for what only reads
//! (serial log, streams).

mod access;
mod change;
pub mod image;
mod lease;
pub mod machine;
pub mod network;
pub mod operation;
pub mod project;
pub mod publication;
pub mod snapshot;
mod wait;

pub use access::Connection;

use hafen_base::{Error, OperationId, Result};
use hafen_db::Tx;
use hafen_work::NewEvent;
use serde_json::Value;

use crate::Machines;

impl Machines {
    pub(crate) async fn event(
        &self,
        tx: &mut Tx,
        project: &str,
        kind: &'static str,
        object: String,
        message: String,
        data: Value,
    ) -> Result<()> {
        let event = NewEvent { project: project.to_owned(), kind, object, message, data };
        self.0.events.append(tx, event).await.map(|_| ())
    }

    pub(crate) fn new_operation(&self) -> OperationId {
        OperationId::generate(self.0.now(), &*self.0.random)
    }

    /// The project, or a clear 404.
    pub(crate) async fn project_must_exist(&self, name: &str) -> Result<()> {
        match crate::store::project::find(self.0.db.reader(), name).await? {
            Some(_) => Ok(()),
            None => Err(no_project(name)),
        }
    }
}

pub(crate) fn no_project(name: &str) -> Error {
    Error::not_found(format!("project {name:?}"))
}
