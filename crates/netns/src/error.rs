//! What can go wrong, in words that say what, where, and what to do next.

use std::path::Path;

use serde::{Deserialize, Serialize};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Also what a holder answers over its control socket, hence the serialisable form.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Error {
    /// The caller asked for something that cannot be.
    #[error("{message}")]
    Invalid { message: String },
    /// This host lacks something.
    #[error("{what}; {fix}")]
    Missing { what: String, fix: String },
    /// No such network, publication or machine.
    #[error("{what} does not exist")]
    NotFound { what: String },
    /// A host address of a publication is in use.
    #[error("cannot publish on {address}: it is taken by {by}; free it or publish on another port")]
    PortTaken { address: String, by: String },
    /// A limit of this crate, so that one network cannot eat the host.
    #[error("{message}")]
    TooMany { message: String },
    /// A machine did not let itself be reached.
    #[error("cannot reach {address} in network {network}: {why}")]
    Unreachable { network: String, address: String, why: String },
    /// The process that holds the network did not start, died, or spoke nonsense.
    #[error("the holder of network {network} {what}")]
    Holder { network: String, what: String },
    /// A program of the host failed.
    #[error("{program} failed: {output}")]
    Program { program: String, output: String },
    #[error("cannot {action} {path}: {error}")]
    Io { action: String, path: String, error: String },
}

impl Error {
    pub(crate) fn io(action: &str, path: impl AsRef<Path>, error: impl std::fmt::Display) -> Self {
        let (path, error) = (path.as_ref().display().to_string(), error.to_string());
        Self::Io { action: action.into(), path, error }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    pub(crate) fn holder(network: &str, what: impl Into<String>) -> Self {
        Self::Holder { network: network.into(), what: what.into() }
    }
}
