//! An export: one shard as a tar of tiles, entries, checkpoint and key, made while it is sent.
//!
//! One tile is in memory at a time. The manifest comes last, as it needs the hash of all else.

use bytes::Bytes;
use futures::Stream;
use hafen_base::{Error, Result};
use hafen_tlog::{Commitments, Manifest, Note, TAR_END, Tile, WIDTH, tar_header, tar_padding};
use serde::{Deserialize, Serialize};

use crate::Ledger;
use crate::model::{Personal, Record, personal_fits};
use crate::store::entry;
use crate::store::shard::ShardRow;

/// A line of a personal file.
#[derive(Serialize, Deserialize)]
struct Line {
    position: u64,
    #[serde(flatten)]
    personal: Personal,
}

/// Checks personal files against the records.
pub struct PersonalCheck;

impl Commitments for PersonalCheck {
    fn check(&self, first: u64, entries: &[&[u8]], personal: &[u8]) -> std::result::Result<(), String> {
        let text = std::str::from_utf8(personal).map_err(|_| "it is not UTF-8")?;
        for line in text.lines() {
            let line: Line =
                serde_json::from_str(line).map_err(|_| "a line of it is not what an export writes")?;
            let at = line.position.checked_sub(first).and_then(|at| usize::try_from(at).ok());
            let entry =
                at.and_then(|at| entries.get(at)).ok_or("a line of it is about another file's entry")?;
            let record: Record = serde_json::from_slice(entry)
                .map_err(|_| format!("entry {} is not a record", line.position))?;
            if !personal_fits(&record, &line.personal) {
                return Err(format!("what it says of entry {} is not what was committed to", line.position));
            }
        }
        Ok(())
    }
}

/// What comes next in the archive.
enum Step {
    Checkpoint,
    Key,
    Tile(Tile),
    Personal(Tile),
    Manifest,
    End,
}

/// An archive on its way.
struct Archive {
    ledger: Ledger,
    shard: ShardRow,
    note: Note,
    tiles: Box<dyn Iterator<Item = Tile> + Send>,
    personal: bool,
    manifest: Manifest,
    next: Option<Step>,
}

impl Ledger {
    /// The archive of what the last checkpoint covers. With `personal` it holds what is known of persons, too.
    pub(crate) async fn export(
        &self,
        shard: ShardRow,
        personal: bool,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + 'static> {
        if shard.state == "expired" {
            return Err(Error::not_found(format!("shard {} any more: its time is over", shard.name)));
        }
        let (checkpoint, note) = self.checkpoint_note(&shard).await?;
        let archive = Archive {
            ledger: self.clone(),
            shard,
            note,
            tiles: Box::new(Tile::all(checkpoint.size)),
            personal,
            manifest: Manifest::default(),
            next: Some(Step::Checkpoint),
        };
        Ok(futures::stream::try_unfold(archive, |mut archive| async move {
            let Some(step) = archive.next.take() else { return Ok(None) };
            let bytes = archive.step(step).await?;
            Ok(Some((bytes, archive)))
        }))
    }
}

impl Archive {
    async fn step(&mut self, step: Step) -> Result<Bytes> {
        match step {
            Step::Checkpoint => {
                self.next = Some(Step::Key);
                self.file("checkpoint", self.note.to_string().as_bytes())
            }
            Step::Key => {
                self.next = Some(self.tiles.next().map_or(Step::Manifest, Step::Tile));
                let key = self.ledger.0.keys.verifier(&self.shard.name)?;
                self.file("key", format!("{key}\n").as_bytes())
            }
            Step::Tile(tile) => {
                let with = self.personal && tile.level.is_none();
                self.next = Some(if with { Step::Personal(tile) } else { self.after() });
                let content = self.ledger.tile(self.shard.id, tile).await?;
                self.file(&tile.to_string(), &content)
            }
            Step::Personal(tile) => {
                self.next = Some(self.after());
                let rows =
                    entry::personal(self.ledger.0.db.reader(), self.shard.id, tile.index * WIDTH, tile.width)
                        .await?;
                let mut text = String::new();
                for (position, personal) in rows {
                    let line = Line { position: crate::store::unsigned(position), personal };
                    text.push_str(&serde_json::to_string(&line).map_err(Error::internal)?);
                    text.push('\n');
                }
                let path = tile.to_string().replacen("tile/entries/", "personal/", 1);
                self.file(&path, text.as_bytes())
            }
            Step::Manifest => {
                self.next = Some(Step::End);
                let signer = self.ledger.0.keys.signer(&self.shard.name)?;
                let note = signer.sign(&self.manifest.to_string()).map_err(Error::internal)?;
                self.file("manifest", note.to_string().as_bytes())
            }
            Step::End => Ok(Bytes::from_static(&TAR_END)),
        }
    }

    fn after(&mut self) -> Step {
        self.tiles.next().map_or(Step::Manifest, Step::Tile)
    }

    fn file(&mut self, path: &str, content: &[u8]) -> Result<Bytes> {
        self.manifest.add(path, content);
        let size = content.len() as u64;
        let mut bytes = tar_header(path, size).map_err(Error::internal)?.to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + tar_padding(size), 0);
        Ok(Bytes::from(bytes))
    }
}
