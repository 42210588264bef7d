//! `witness`: remembers what logs signed and cosigns only what continues it. To run where the platform is not.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use hafen_base::{Error, Result, SystemClock, SystemRandom};
use hafen_ledger::witness::{Witness, WitnessServerConfig};
use hafen_tlog::VerifierKey;

use crate::output;

#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// Address to listen at; port 0 picks a free one. It speaks plain HTTP: what it says is signed, and nothing is secret.
    #[arg(long, default_value = "127.0.0.1:4760")]
    listen: SocketAddr,
    /// Folder for its key and what it saw.
    #[arg(long)]
    folder: PathBuf,
    /// Its name, as witness.example.
    #[arg(long)]
    name: String,
    /// Key of a log to witness, as `hafen ledger key` prints it; may be repeated.
    #[arg(long = "log", value_parser = log_key, required = true)]
    logs: Vec<VerifierKey>,
}

fn log_key(text: &str) -> Result<VerifierKey, String> {
    let key: VerifierKey = text.parse().map_err(|error| format!("{error}"))?;
    if key.is_witness() { Err("this is the key of a witness, not of a log".into()) } else { Ok(key) }
}

pub async fn run(args: WitnessArgs) -> Result<()> {
    let config = WitnessServerConfig {
        folder: args.folder,
        name: args.name,
        logs: args.logs,
        clock: Arc::new(SystemClock),
    };
    let witness = Witness::open(config, &SystemRandom)?;
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(|error| Error::unavailable(format!("cannot listen at {}: {error}", args.listen)))?;
    let address = listener.local_addr().map_err(Error::internal)?;
    output::line(&format!("{}@http://{address}", witness.key()));
    axum::serve(listener, witness.router())
        .with_graceful_shutdown(async {
            // Whatever it means that there are no signals to be had, it is no reason to end.
            if crate::serve::told_to_stop().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await
        .map_err(Error::internal)
}
