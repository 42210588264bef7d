//! `make bench`: the figures Hafen is held to, measured on the release binary as a user has it.
//!
//! Each part starts `hafen serve` in a fresh home on a real disk (never a tmpfs: an answered request must be on disk, and
//! that is most of its price), drives it through the command line and over HTTP, and measures a peer beside it in the same
//! run: SQLite's own commits, nginx with a static file, a plain QEMU. Prints a table, writes `bench/results/PART.json`, and
//! ends with 1 when a figure misses its limit.

mod bastion;
mod boot;
mod delivery;
mod edge;
mod git;
mod identity;
mod large;
mod ledger;
mod peer;
mod platform;
mod report;
mod requests;
mod scale;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use hafen_base::{Error, Result};

use crate::report::{Host, Part};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Plans and applies of a thousand machines, memory; beside SQLite's own commits.
    Scale,
    /// `GET machine` with 200 requests in flight; beside nginx with a static file.
    Requests,
    /// Ten thousand machines: apply, list, memory, a reader who does not read.
    Large,
    /// From create to the SSH banner; beside a plain QEMU.
    Boot,
    /// Sign-ins and the check of a token; beside the password hash alone.
    Identity,
    /// Durable appends of the ledger, beside SQLite's own commits; verification of a million entries.
    Ledger,
    /// Throughput and connection set-up of the SSH bastion; beside OpenSSH's sshd as the jump host.
    Bastion,
    /// Pushes and clones over HTTP; beside plain git with a folder of this disk.
    Git,
    /// Requests through the edge over TLS, handshakes, ten thousand routes; beside nginx and Caddy.
    Edge,
    /// From a push to the new version serving, a rollback, more processes: on real machines.
    Delivery,
}

/// Measure Hafen.
#[derive(Debug, Parser)]
#[command(name = "hafen-bench")]
struct Args {
    /// Parts to measure; all unless given.
    parts: Vec<What>,
    /// The binary to measure.
    #[arg(long, default_value = "target/release/hafen")]
    hafen: PathBuf,
    /// Where homes are made and removed: on a real disk.
    #[arg(long, default_value = "target/bench")]
    scratch: PathBuf,
    /// Where results are written.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
    /// How often each figure is taken.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
}

/// What every part is given.
struct Context {
    hafen: PathBuf,
    scratch: PathBuf,
    runs: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench: a figure misses its limit");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<bool> {
    let there = |path: &PathBuf, error: std::io::Error| {
        Error::unavailable(format!("{} cannot be used: {error}", path.display()))
    };
    std::fs::create_dir_all(&args.scratch).map_err(|error| there(&args.scratch, error))?;
    std::fs::create_dir_all(&args.results).map_err(|error| there(&args.results, error))?;
    let context = Context {
        hafen: args.hafen.canonicalize().map_err(|error| there(&args.hafen, error))?,
        scratch: args.scratch.canonicalize().map_err(|error| there(&args.scratch, error))?,
        runs: args.runs,
    };
    let host = Host::look(&context.scratch)?;
    host.print();
    let all = [
        What::Scale,
        What::Requests,
        What::Large,
        What::Boot,
        What::Identity,
        What::Ledger,
        What::Bastion,
        What::Git,
        What::Edge,
        What::Delivery,
    ];
    let parts = if args.parts.is_empty() { all.to_vec() } else { args.parts };
    let mut good = true;
    for what in parts {
        let part: Part = match what {
            What::Scale => scale::measure(&context).await?,
            What::Requests => requests::measure(&context).await?,
            What::Large => large::measure(&context).await?,
            What::Boot => boot::measure(&context).await?,
            What::Identity => identity::measure(&context).await?,
            What::Ledger => ledger::measure(&context).await?,
            What::Bastion => bastion::measure(&context).await?,
            What::Git => git::measure(&context).await?,
            What::Edge => edge::measure(&context).await?,
            What::Delivery => delivery::measure(&context).await?,
        };
        part.print();
        part.write(&host, &args.results)?;
        good &= part.passes();
    }
    Ok(good)
}
