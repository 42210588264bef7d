//! The health of everything that works in the background, for `/health` and `status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hafen_client::wire::ServiceHealth;

/// Shared by all runners of a process.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, ServiceHealth>>>);

impl Health {
    pub fn ok(&self, name: &str) {
        self.set(name, "ok", String::new());
    }

    /// `detail` says why, and when it tries again.
    pub fn paused(&self, name: &str, detail: String) {
        self.set(name, "paused", detail);
    }

    fn set(&self, name: &str, status: &str, detail: String) {
        let entry = ServiceHealth { name: name.to_owned(), status: status.to_owned(), detail };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), entry);
    }

    /// All parts, by name.
    pub fn all(&self) -> Vec<ServiceHealth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether every part is ok.
    pub fn is_ok(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().all(|part| part.status == "ok")
    }
}
