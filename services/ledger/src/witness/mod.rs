//! Witnesses (C2SP `tlog-witness`): somebody else who remembers the last checkpoint of a log and cosigns only its
//! continuation. Both sides are here: the server that `hafen witness` runs, and this ledger as the client of some.

mod client;
mod server;

use hafen_base::{Error, Result};
use hafen_tlog::VerifierKey;

pub use client::Submit;
pub use server::{Witness, WitnessServerConfig};

/// A witness that this ledger asks.
#[derive(Debug, Clone)]
pub struct WitnessConfig {
    /// Its submission prefix, as `http://127.0.0.1:4760`.
    pub url: String,
    pub key: VerifierKey,
}

impl std::str::FromStr for WitnessConfig {
    type Err = Error;

    /// `KEY@URL`, as `witness.example+12345678+BA…@http://192.0.2.1:4760`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::invalid(format!("{text:?} is not KEY@URL: {why}"));
        let (key, url) = text.split_once('@').ok_or_else(|| bad("the @ is missing".into()))?;
        let key: VerifierKey = key.parse().map_err(|error| bad(format!("{error}")))?;
        if !key.is_witness() {
            return Err(bad("this is the key of a log, not of a witness".into()));
        }
        if !url.starts_with("http://") {
            return Err(bad("the URL begins with http://".into()));
        }
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key })
    }
}
