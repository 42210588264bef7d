//! The ledger: durable appends beside SQLite's own commits, and the verification of a million entries.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hafen_base::{Actor, ActorKind, Error, Result, SystemClock, SystemRandom};
use hafen_db::{Db, Location};
use hafen_http::{Call, CallLog as _, CallOutcome};
use hafen_ledger::{Ledger, LedgerConfig};
use hafen_seal::MasterKey;
use hafen_tlog::{
    Checkpoint, Hash, Manifest, Signer, TAR_END, Tile, WIDTH, bundle_push, leaf_hash, root_of_leaves,
    tar_header, tar_padding,
};
use hafen_work::{EventLog, Health, NewEvent};
use tokio::sync::watch;

use crate::Context;
use crate::peer::sqlite_commits;
use crate::platform::{broken, megabytes};
use crate::report::{Figure, Part, proc_bytes};

/// Calls of one run, each opened and completed: two commits.
const CALLS: u32 = 4_000;
/// In flight at a time.
const AT_ONCE: u32 = 64;
/// Events that wait to be written down.
const EVENTS: u32 = 50_000;
/// Entries of the export that is verified.
const ENTRIES: u64 = 1_000_000;

pub async fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("ledger");
    let (mut calls, mut alone, mut events, mut commits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..context.runs {
        // In turns, so that a noisy moment of the host falls on both.
        let bare = sqlite_commits(context, CALLS)?;
        commits.push(f64::from(CALLS) / bare.as_secs_f64());
        let home = tempfile::tempdir_in(&context.scratch).map_err(broken("a folder cannot be made"))?;
        let house = House::open(home.path()).await?;
        calls.push(house.calls(CALLS, AT_ONCE).await?);
        alone.push(house.calls(CALLS / 8, 1).await?);
        events.push(house.events().await?);
        house.close().await;
    }
    let export =
        tempfile::NamedTempFile::new_in(&context.scratch).map_err(broken("a file cannot be made"))?;
    let key = write_export(export.as_file(), ENTRIES)?;
    let size = export.as_file().metadata().map_err(broken("the export"))?.len();
    part.fact("export_bytes", size.to_string());
    part.fact("calls_at_once", AT_ONCE.to_string());
    let (mut verify, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..context.runs {
        let (took, most) = verified(context, export.path(), &key).await?;
        verify.push(took);
        memory.push(megabytes(most));
    }
    let figures = [
        Figure::new("sqlite_commits", "sqlite3: bare commits, the same settings and disk", "/s", &commits),
        Figure::new("calls", "calls opened and completed, 64 at once: two durable writes each", "/s", &calls),
        Figure::new("calls_alone", "calls opened and completed, one at a time", "/s", &alone),
        Figure::new("events", "events of a service followed, written down and signed", "/s", &events),
        Figure::seconds("verify_million", "hafen ledger verify: an export of 1,000,000 entries", &verify),
        Figure::new("verify_memory", "hafen ledger verify: most memory", "MB", &memory),
    ];
    for figure in figures {
        part.figures.push(figure?);
    }
    part.ratio("calls_to_sqlite", "calls beside bare commits", "calls", "sqlite_commits")?;
    part.ratio("events_to_sqlite", "entries from events beside bare commits", "events", "sqlite_commits")?;
    Ok(part)
}

struct House {
    db: Db,
    feed: EventLog,
    ledger: Ledger,
    apart: std::path::PathBuf,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl House {
    async fn open(folder: &Path) -> Result<Self> {
        let location = Location::Sqlite(folder.to_owned());
        let migrations = [hafen_work::MIGRATION, hafen_work::ACTOR_MIGRATION];
        let db = Db::open(&location, "bench", &migrations).await?;
        let feed = EventLog::new("bench", db.clone(), Arc::new(SystemClock));
        let ledger = Ledger::open(LedgerConfig {
            location,
            folder: folder.join("keys"),
            key: MasterKey::generate(&SystemRandom),
            apart: folder.join("apart"),
            origin: "bench.example/ledger".into(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            health: Health::default(),
            feeds: vec![Arc::new(feed.clone())],
            witnesses: Vec::new(),
            keep_years: 3,
        })
        .await?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.run(stopped).await }
        });
        Ok(Self { db, feed, ledger, apart: folder.join("apart"), stop, task })
    }

    async fn close(self) {
        self.stop.send_replace(true);
        // It may have failed, which its figures showed.
        let _ended = self.task.await;
    }

    /// Calls a second.
    async fn calls(&self, count: u32, at_once: u32) -> Result<f64> {
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..at_once {
            let ledger = self.ledger.clone();
            tasks.spawn(async move {
                for n in 0..count / at_once {
                    let id = format!("r-{at_once}-{task}-{n}");
                    let call = Call {
                        id: id.clone(),
                        actor: Actor {
                            kind: ActorKind::Person,
                            id: format!("u-{task}"),
                            name: "Ada Lovelace".into(),
                            address: Some("192.0.2.7".into()),
                            ..Actor::platform()
                        },
                        method: "POST".into(),
                        path: format!("/api/v1/projects/bench/machines/web-{n}"),
                    };
                    ledger.opened(&call).await?;
                    ledger.completed(&id, CallOutcome::Answered(201)).await?;
                }
                Ok::<(), Error>(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(Error::internal)??;
        }
        Ok(f64::from(count / at_once * at_once) / began.elapsed().as_secs_f64())
    }

    /// Entries a second, from events that wait to a checkpoint that covers them.
    async fn events(&self) -> Result<f64> {
        let event = |n: u32| NewEvent {
            project: "bench".into(),
            kind: "machine.started",
            object: format!("machine/web-{n}"),
            message: format!("machine web-{n} started"),
            data: serde_json::json!({ "boot": n }),
        };
        let before = self.signed()?;
        let mut tx = self.db.write().await?;
        self.feed.append_many(&mut tx, (0..EVENTS).map(event).collect()).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        let began = Instant::now();
        self.feed.ring();
        while self.signed()? < before + u64::from(EVENTS) {
            if began.elapsed() > Duration::from_secs(120) {
                return Err(Error::unavailable("the events were never signed"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(f64::from(EVENTS) / began.elapsed().as_secs_f64())
    }

    /// Entries that the last checkpoint covers, as anybody sees it.
    fn signed(&self) -> Result<u64> {
        let mut most = 0;
        for entry in std::fs::read_dir(&self.apart).map_err(broken("the place apart"))? {
            let path = entry.map_err(broken("the place apart"))?.path();
            if path.extension().is_some_and(|end| end == "checkpoint") {
                let text = std::fs::read_to_string(&path).map_err(broken("a checkpoint"))?;
                most = most.max(text.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(0));
            }
        }
        Ok(most)
    }
}

/// Writes an export of `count` entries as the platform would; gives the key. Not measured.
fn write_export(file: &std::fs::File, count: u64) -> Result<String> {
    let signer = Signer::new("bench.example/ledger/2026", &[7; 32]).map_err(Error::internal)?;
    let mut out = std::io::BufWriter::new(file);
    let mut manifest = Manifest::default();
    let mut put = |path: &str, content: &[u8]| -> Result<()> {
        manifest.add(path, content);
        let size = content.len() as u64;
        let header = tar_header(path, size).map_err(Error::internal)?;
        out.write_all(&header).and_then(|()| out.write_all(content)).map_err(broken("the export"))?;
        out.write_all(&vec![0; tar_padding(size)]).map_err(broken("the export"))
    };
    let record = |n: u64| {
        let hex = |n: u64| format!("{n:064x}");
        format!(
            "{{\"v\":1,\"shard\":\"2026\",\"at\":\"2026-11-24T12:00:00.000000Z\",\"happened\":\"2026-11-24T12:00:00.000000Z\",\
             \"service\":\"bench\",\"seq\":{n},\"kind\":\"machine.started\",\"outcome\":\"done\",\"project\":\"bench\",\
             \"object\":\"machine/web-{n}\",\"organisation\":\"\",\"actor_kind\":\"person\",\"actor\":\"p-{:032x}\",\
             \"credential\":\"c-{:032x}\",\"address\":\"a-{:032x}\",\"request\":\"r-{n}\",\"who\":\"{}\",\"what\":\"{}\"}}",
            n,
            n,
            n,
            hex(n),
            hex(n + 1)
        )
    };
    let mut leaves: Vec<Hash> = Vec::new();
    let mut content = Vec::new();
    for tile in Tile::all(count) {
        content.clear();
        let range = tile.index * WIDTH..tile.index * WIDTH + tile.width;
        match tile.level {
            None => {
                for n in range {
                    let line = record(n);
                    leaves.push(leaf_hash(line.as_bytes()));
                    bundle_push(&mut content, line.as_bytes()).map_err(Error::internal)?;
                }
            }
            Some(level) => {
                let span = 1_usize << (8 * level);
                for n in range {
                    let start = usize::try_from(n).map_err(Error::internal)? * span;
                    content.extend(root_of_leaves(leaves.get(start..start + span).unwrap_or_default()).0);
                }
            }
        }
        put(&tile.to_string(), &content)?;
    }
    let key = signer.verifier().to_string();
    let origin = signer.verifier().name().to_owned();
    let checkpoint = Checkpoint { origin, size: count, root: root_of_leaves(&leaves) };
    let note = signer.sign(&checkpoint.to_string()).map_err(Error::internal)?;
    put("checkpoint", note.to_string().as_bytes())?;
    put("key", format!("{key}\n").as_bytes())?;
    let note = signer.sign(&manifest.to_string()).map_err(Error::internal)?;
    let text = note.to_string();
    let size = text.len() as u64;
    let header = tar_header("manifest", size).map_err(Error::internal)?;
    for bytes in [&header[..], text.as_bytes(), &vec![0; tar_padding(size)], &TAR_END] {
        out.write_all(bytes).map_err(broken("the export"))?;
    }
    out.flush().map_err(broken("the export"))?;
    Ok(key)
}

/// Runs the verifier; gives its time and the most memory it had.
async fn verified(context: &Context, export: &Path, key: &str) -> Result<(Duration, u64)> {
    let began = Instant::now();
    let mut child = std::process::Command::new(&context.hafen)
        .args(["ledger", "verify", "--key", key])
        .arg(export)
        .stdout(Stdio::null())
        .spawn()
        .map_err(broken("hafen"))?;
    let (status, mut most) = (format!("/proc/{}/status", child.id()), 0);
    loop {
        if let Some(ended) = child.try_wait().map_err(broken("hafen"))? {
            return if ended.success() {
                Ok((began.elapsed(), most))
            } else {
                Err(Error::unavailable("hafen ledger verify failed"))
            };
        }
        most = most.max(proc_bytes(&status, "VmHWM").unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
