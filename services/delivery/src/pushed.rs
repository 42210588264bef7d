//! The seam between what comes in (repositories, hooks) and what is made of it (builds, deployments): what comes in knows
//! nothing of applications, and tells whoever listens.

use async_trait::async_trait;
use hafen_base::{Actor, Result};
use serde::{Deserialize, Serialize};

/// A reference that is another now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefUpdate {
    /// As `refs/heads/main`.
    pub reference: String,
    /// Commit (or tag object) of before, in hexadecimal; none for a new reference.
    pub old: Option<String>,
    /// Of now; none for one that is gone.
    pub new: Option<String>,
}

/// What was pushed, in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Stays the same when the push is told again: act once by it.
    pub id: String,
    pub project: String,
    /// Name of the repository.
    pub repository: String,
    pub updates: Vec<RefUpdate>,
    /// Who pushed.
    pub actor: Actor,
}

/// Somebody outside (a GitLab, a Jenkins) says that something is to be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// Stays the same when it is told again: act once by it.
    pub id: String,
    pub project: String,
    /// Name of the application.
    pub app: String,
    /// Branch or tag; none for the application's own branch.
    pub reference: Option<String>,
    /// In hexadecimal, where it was told.
    pub commit: Option<String>,
    /// The hook that told it.
    pub actor: Actor,
}

/// Hears of what came in. It is told after it is on the disk, again until it took it, and in the order of one repository's
/// pushes: what was heard before is recognised by its id.
#[async_trait]
pub trait Pushed: Send + Sync + 'static {
    /// # Errors
    /// Any: it is told again later.
    async fn pushed(&self, push: &Push) -> Result<()>;

    /// # Errors
    /// Any: it is told again later.
    async fn requested(&self, request: &Requested) -> Result<()>;
}

/// Hears nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unheard;

#[async_trait]
impl Pushed for Unheard {
    async fn pushed(&self, push: &Push) -> Result<()> {
        tracing::debug!(push = push.id, "nobody builds what was pushed");
        Ok(())
    }

    async fn requested(&self, request: &Requested) -> Result<()> {
        tracing::debug!(request = request.id, "nobody deploys what was asked for");
        Ok(())
    }
}
