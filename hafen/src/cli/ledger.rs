//! `ledger`: what happened, by whom, and the proof of it. `verify` and `prove --check` need no platform.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hafen_base::{Error, Result};
use hafen_client::Client;
use hafen_client::wire::{LedgerEntry, LedgerErase, LedgerShard, LedgerShardCreate, List};
use hafen_ledger::{ExportFiles, PersonalCheck};
use hafen_tlog::{Fault, ProofFile, VerifierKey, verify_export};
use http_body_util::BodyExt as _;
use serde_json::json;

use super::context::{Context, client, usage};
use super::encoded;
use crate::output;

#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// What happened, newest first.
    List(ListArgs),
    /// Show one entry, as 2026/17.
    Show {
        #[arg(value_parser = place)]
        entry: Place,
    },
    /// Write the inclusion proof of an entry (C2SP tlog-proof), or check such a file.
    Prove {
        /// As 2026/17; with --check the file.
        entry: String,
        /// Where to write it; standard output unless given.
        #[arg(long, short)]
        out: Option<PathBuf>,
        /// Check a proof file with this key, offline.
        #[arg(long, requires = "key")]
        check: bool,
        /// The key of the log, as `hafen ledger key` prints it, or a file that holds it.
        #[arg(long)]
        key: Option<String>,
    },
    /// Check an export (a folder or a tar), offline with the public key alone; without a path the running platform's.
    Verify {
        path: Option<PathBuf>,
        /// The key of the log, as `hafen ledger key` prints it, or a file that holds it. The one that lies in the export proves
        /// only that the export fits itself.
        #[arg(long)]
        key: Option<String>,
    },
    /// Write a shard with all that proves it into a tar file.
    Export {
        path: PathBuf,
        /// The present one unless given.
        #[arg(long, value_parser = super::context::name)]
        shard: Option<String>,
        /// With what is known of persons.
        #[arg(long)]
        personal: bool,
    },
    /// Print the public key of a shard: keep it where the platform cannot reach it.
    Key {
        /// The present one unless given.
        #[arg(long, value_parser = super::context::name)]
        shard: Option<String>,
    },
    /// List the shards: one for each year.
    Shards,
    /// Make a person unreadable; the log verifies as before.
    Erase {
        /// The id, as entries show it.
        person: String,
        /// Why; kept. Name nobody in it.
        #[arg(long)]
        reason: String,
    },
    /// Begin another shard, after a database was restored that is older than the last checkpoint.
    Begin {
        /// Why; kept.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only what this person or account did: id or name.
    #[arg(long)]
    actor: Option<String>,
    /// Only what was done to this object, as machine/web-1.
    #[arg(long)]
    object: Option<String>,
    /// Only of this kind; with * at its end of all that begin so.
    #[arg(long)]
    kind: Option<String>,
    /// Only at this time (RFC 3339) or after it.
    #[arg(long)]
    from: Option<String>,
    /// Only before this time (RFC 3339).
    #[arg(long)]
    until: Option<String>,
    /// Oldest first.
    #[arg(long)]
    oldest: bool,
    /// At most so many; 0 for all.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// An entry's shard and position.
#[derive(Debug, Clone)]
pub struct Place(String, i64);

fn place(text: &str) -> Result<Place, String> {
    let parts = text.split_once('/').and_then(|(shard, position)| Some((shard, position.parse().ok()?)));
    match parts {
        Some((shard, position)) if position >= 0 => Ok(Place(super::context::name(shard)?, position)),
        _ => Err("an entry is written as SHARD/POSITION, like 2026/17".to_owned()),
    }
}

pub async fn run(context: &Context, command: LedgerCommand) -> Result<u8> {
    match command {
        LedgerCommand::List(args) => list(context, args).await?,
        LedgerCommand::Show { entry: Place(shard, position) } => {
            let entry = client()?.ledger_get(&shard, position).await?;
            show(context, &entry)?;
        }
        LedgerCommand::Prove { entry, check: true, key, .. } => {
            return check(context, Path::new(&entry), key);
        }
        LedgerCommand::Prove { entry, out, .. } => {
            let Place(shard, position) = place(&entry).map_err(usage)?;
            let proof = client()?.ledger_proof(&shard, position).await?;
            match out {
                None => output::raw(proof.as_bytes()),
                Some(path) => std::fs::write(&path, proof).map_err(|error| unwritable(&path, &error))?,
            }
        }
        LedgerCommand::Verify { path: Some(path), key } => return verify(context, &path, key),
        LedgerCommand::Verify { path: None, key } => {
            let client = client()?;
            let folder = tempfile::tempdir().map_err(Error::internal)?;
            let path = folder.path().join("export.tar");
            download(&client, "", &path).await?;
            let key = match key {
                Some(key) => key,
                None => shard(&client, None).await?.key,
            };
            return verify(context, &path, Some(key));
        }
        LedgerCommand::Export { path, shard, personal } => {
            let mut query = format!("personal={personal}");
            if let Some(shard) = shard {
                query = format!("{query}&shard={shard}");
            }
            let bytes = download(&client()?, &query, &path).await?;
            if context.json {
                output::json(&json!({ "path": path, "bytes": bytes }))?;
            } else {
                output::line(&format!(
                    "{}: {bytes} bytes; check it with: hafen ledger verify",
                    path.display()
                ));
            }
        }
        LedgerCommand::Key { shard: name } => {
            let shard = shard(&client()?, name.as_deref()).await?;
            if context.json {
                output::json(&json!({ "shard": shard.name, "origin": shard.origin, "key": shard.key }))?;
            } else {
                output::line(&shard.key);
            }
        }
        LedgerCommand::Shards => shards(context, &client()?.ledger_shards().await?.items)?,
        LedgerCommand::Erase { person, reason } => {
            let erased = client()?.ledger_erase(&LedgerErase { person, reason }).await?;
            if context.json {
                output::json(&erased)?;
            } else {
                output::line(&format!("the personal part of {} entries is gone for good", erased.entries));
            }
        }
        LedgerCommand::Begin { reason } => {
            let shard = client()?.ledger_shard_create(&LedgerShardCreate { reason }).await?;
            shards(context, &[shard])?;
        }
    }
    Ok(0)
}

async fn list(context: &Context, args: ListArgs) -> Result<()> {
    let client = client()?;
    let mut query = format!("order={}", if args.oldest { "oldest" } else { "newest" });
    let project = context.named_project().map(ToOwned::to_owned);
    for (name, value) in [
        ("actor", args.actor),
        ("object", args.object),
        ("kind", args.kind),
        ("from", args.from),
        ("until", args.until),
        ("project", project),
    ] {
        if let Some(value) = value {
            query = format!("{query}&{name}={}", encoded(&value));
        }
    }
    let most = if args.limit == 0 { usize::MAX } else { args.limit };
    let (mut items, mut page): (Vec<LedgerEntry>, String) = (Vec::new(), String::new());
    while items.len() < most {
        let limit = (most - items.len()).min(1000);
        let list: List<LedgerEntry> = client.ledger_list(&format!("{query}&limit={limit}{page}")).await?;
        items.extend(list.items);
        let Some(next) = list.next_page else { break };
        page = format!("&page={next}");
    }
    if context.json {
        return output::json_list(&items);
    }
    let rows: Vec<_> = items
        .into_iter()
        .map(|entry| {
            let who = who(&entry);
            let message = entry.what.map(|what| what.message).unwrap_or_default();
            vec![
                format!("{}/{}", entry.shard, entry.position),
                entry.at.to_string().chars().take(19).collect(),
                who,
                entry.kind,
                entry.outcome,
                entry.object,
                message,
            ]
        })
        .collect();
    output::table(&["ENTRY", "AT", "WHO", "KIND", "OUTCOME", "OBJECT", "MESSAGE"], &rows);
    Ok(())
}

fn who(entry: &LedgerEntry) -> String {
    match &entry.who {
        Some(who) if !who.name.is_empty() => who.name.clone(),
        Some(who) => who.id.clone(),
        None if entry.actor.is_empty() => entry.actor_kind.clone(),
        None => "(erased)".to_owned(),
    }
}

fn show(context: &Context, entry: &LedgerEntry) -> Result<()> {
    if context.json {
        return output::json(entry);
    }
    output::line(&format!("{}/{} {} {}", entry.shard, entry.position, entry.kind, entry.outcome));
    output::line(&format!("at       {} (happened {})", entry.at, entry.happened));
    output::line(&format!("who      {} ({}) {}", who(entry), entry.actor_kind, entry.actor));
    output::line(&format!("object   {} in {}", entry.object, entry.project));
    if let Some(what) = &entry.what {
        output::line(&format!("message  {}", what.message));
        if !what.reason.is_empty() {
            output::line(&format!("reason   {}", what.reason));
        }
    }
    output::line(&format!("record   {}", entry.record));
    Ok(())
}

fn shards(context: &Context, shards: &[LedgerShard]) -> Result<()> {
    if context.json {
        return output::json_list(shards);
    }
    let rows: Vec<_> = shards
        .iter()
        .map(|shard| {
            vec![
                shard.name.clone(),
                shard.state.clone(),
                shard.size.to_string(),
                shard.signed.to_string(),
                shard.witnesses.join(", "),
                shard.expires_at.to_string().chars().take(10).collect(),
                shard.origin.clone(),
            ]
        })
        .collect();
    output::table(&["SHARD", "STATE", "ENTRIES", "SIGNED", "WITNESSES", "EXPIRES", "ORIGIN"], &rows);
    Ok(())
}

async fn shard(client: &Client, name: Option<&str>) -> Result<LedgerShard> {
    let shards = client.ledger_shards().await?.items;
    let found = shards.into_iter().rev().find(|shard| name.is_none_or(|name| name == shard.name));
    found.ok_or_else(|| Error::not_found("such shard; see them with: hafen ledger shards"))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::unavailable(format!("{} cannot be written: {error}", path.display()))
}

/// Writes an export as it comes; whole or not at all.
async fn download(client: &Client, query: &str, path: &Path) -> Result<u64> {
    let mut body = client.follow(&format!("/api/v1/ledger/export?{query}")).await?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| unwritable(path, &error))?;
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::unavailable("the export broke off").with_cause(error))?;
        if let Some(data) = frame.data_ref() {
            file.write_all(data).map_err(|error| unwritable(path, &error))?;
            bytes += data.len() as u64;
        }
    }
    file.persist(path).map_err(|error| unwritable(path, &error.error))?;
    Ok(bytes)
}

/// A key, or the file it stands in.
fn read_key(text: &str) -> Result<VerifierKey> {
    let read = if Path::new(text).exists() {
        std::fs::read_to_string(text).map_err(|error| usage(format!("{text} cannot be read: {error}")))?
    } else {
        text.to_owned()
    };
    read.trim().parse().map_err(|error| usage(format!("--key: {error}; `hafen ledger key` prints it")))
}

fn verify(context: &Context, path: &Path, key: Option<String>) -> Result<u8> {
    let files = match ExportFiles::open(path) {
        Ok(files) => files,
        Err(error) if error.kind() == hafen_base::ErrorKind::Invalid => {
            let fault =
                Fault { path: path.display().to_string(), entry: None, what: error.message().to_owned() };
            return faults(context, &[fault]);
        }
        Err(error) => return Err(error),
    };
    let given = key.is_some();
    let key = if let Some(key) = key {
        read_key(&key)?
    } else {
        use hafen_tlog::Files as _;
        let text = files.read("key").ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
        let key = text.and_then(|text| text.trim().parse().ok());
        key.ok_or_else(|| usage("the export holds no readable key; give the log's with --key"))?
    };
    let verified = match verify_export(&files, &key, Some(&PersonalCheck)) {
        Ok(verified) => verified,
        Err(found) => return faults(context, &found),
    };
    if context.json {
        output::json(&json!({
            "verified": true, "origin": verified.checkpoint.origin, "entries": verified.checkpoint.size,
            "root": verified.checkpoint.root.to_string(), "files": verified.files, "manifest": verified.manifest,
            "key_given": given, "faults": [],
        }))?;
        return Ok(0);
    }
    let checkpoint = verified.checkpoint;
    output::line(&format!(
        "{}: {} entries are what was signed, in {} files; root {}",
        checkpoint.origin, checkpoint.size, verified.files, checkpoint.root
    ));
    if !verified.manifest {
        output::note(
            "note: no manifest: entries, tiles and the signature were checked, cosignatures of witnesses were not",
        );
    }
    if !given {
        output::note("note: checked with the key that lies in the export; give the one you kept with --key");
    }
    Ok(0)
}

fn faults(context: &Context, faults: &[Fault]) -> Result<u8> {
    if context.json {
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| json!({ "path": fault.path, "entry": fault.entry, "what": fault.what }))
            .collect();
        output::json(&json!({ "verified": false, "faults": faults }))?;
        return Ok(1);
    }
    for fault in faults {
        output::note(&format!("{}: {}", fault.path, fault.what));
    }
    output::note(&format!("error: this is not what was signed ({} faults)", faults.len()));
    Ok(1)
}

fn check(context: &Context, path: &Path, key: Option<String>) -> Result<u8> {
    let key = read_key(&key.unwrap_or_default())?;
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::unavailable(format!("{} cannot be read: {error}", path.display())))?;
    let proof: ProofFile =
        text.parse().map_err(|why| Error::invalid(format!("{}: {why}", path.display())))?;
    match proof.verify(&key) {
        Ok(checkpoint) => {
            let record = String::from_utf8_lossy(&proof.record).into_owned();
            if context.json {
                output::json(&json!({ "verified": true, "origin": checkpoint.origin, "index": proof.index,
                    "size": checkpoint.size, "record": record }))?;
            } else {
                output::line(&format!("{}: entry {} of {}", checkpoint.origin, proof.index, checkpoint.size));
                output::line(&record);
            }
            Ok(0)
        }
        Err(why) => Err(Error::invalid(format!("{}: {why}", path.display()))),
    }
}
