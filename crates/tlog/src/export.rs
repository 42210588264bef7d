//! Verifying an export offline, with the log's public key alone: signature, every tile, every entry, every other file.
//!
//! One bundle of entries and one tile of each level are in memory at a time, so a log of any size can be checked.

use std::collections::BTreeSet;

use crate::{
    Checkpoint, Hash, Manifest, Note, Tile, VerifierKey, WIDTH, bundle_read, empty_root, leaf_hash,
    node_hash, root_of_leaves,
};

/// Where the files of an export are.
pub trait Files {
    /// All paths, relative to the export, with `/` between.
    fn paths(&self) -> Vec<String>;

    /// The content of one; none when it is missing.
    ///
    /// # Errors
    /// In words, when it cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String>;
}

/// What is known of entries beyond the tree: for personal payloads, which lie outside of it.
pub trait Commitments {
    /// Checks the file of personal payloads that belongs to this bundle of entries. `Err` says what does not fit.
    ///
    /// # Errors
    /// In words.
    fn check(&self, first: u64, entries: &[&[u8]], personal: &[u8]) -> Result<(), String>;
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub path: String,
    /// The entry, where it can be told.
    pub entry: Option<u64>,
    pub what: String,
}

/// What was checked and held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub checkpoint: Checkpoint,
    pub files: u64,
    /// Whether a signed manifest covers every file; a mere copy of tiles has none.
    pub manifest: bool,
    /// Bundles whose personal payloads are in the export.
    pub personal: u64,
}

struct Check<'a> {
    files: &'a dyn Files,
    present: BTreeSet<String>,
    faults: Vec<Fault>,
    used: BTreeSet<String>,
}

/// A damaged export can be wrong in a million places; the first tell enough.
const MOST_FAULTS: usize = 100;

impl Check<'_> {
    fn fault(&mut self, path: &str, entry: Option<u64>, what: impl Into<String>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { path: path.to_owned(), entry, what: what.into() });
        }
    }

    fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        self.used.insert(path.to_owned());
        match self.files.read(path) {
            Ok(Some(bytes)) => Some(bytes),
            Ok(None) => {
                self.fault(path, None, "it is missing");
                None
            }
            Err(why) => {
                self.fault(path, None, why);
                None
            }
        }
    }

    /// The checkpoint, when its signature holds.
    fn checkpoint(&mut self, key: &VerifierKey) -> Option<Checkpoint> {
        const PATH: &str = "checkpoint";
        let bytes = self.read(PATH)?;
        let checked = Note::parse(&bytes).and_then(|note| note.verify(&[key]).map(|_| note.text.clone()));
        let text = match checked {
            Ok(text) => text,
            Err(error) => {
                self.fault(PATH, None, error.to_string());
                return None;
            }
        };
        match text.parse::<Checkpoint>() {
            Ok(checkpoint) if checkpoint.origin == key.name() => Some(checkpoint),
            Ok(checkpoint) => {
                let what = format!("it is of the log {:?}, the key of {:?}", checkpoint.origin, key.name());
                self.fault(PATH, None, what);
                None
            }
            Err(error) => {
                self.fault(PATH, None, error.to_string());
                None
            }
        }
    }

    /// The leaf hashes of one bundle.
    fn bundle(&mut self, index: u64, width: u64, commitments: Option<&dyn Commitments>) -> (Vec<Hash>, u64) {
        let tile = Tile { level: None, index, width };
        let path = tile.to_string();
        let Some(bytes) = self.read(&path) else { return (Vec::new(), 0) };
        let entries = match bundle_read(&bytes, width) {
            Ok(entries) => entries,
            Err(error) => {
                self.fault(&path, None, error.to_string());
                return (Vec::new(), 0);
            }
        };
        let personal = path.replacen("tile/entries/", "personal/", 1);
        let mut with = 0;
        if self.present.contains(&personal)
            && let Some(bytes) = self.read(&personal)
        {
            with = 1;
            if let Some(commitments) = commitments
                && let Err(what) = commitments.check(index * WIDTH, &entries, &bytes)
            {
                self.fault(&personal, None, what);
            }
        }
        (entries.iter().map(|entry| leaf_hash(entry)).collect(), with)
    }

    /// Compares computed hashes with the tile that should hold them.
    fn tile(&mut self, tile: Tile, computed: &[Hash]) {
        let path = tile.to_string();
        let Some(bytes) = self.read(&path) else { return };
        match tile.hashes(&bytes) {
            Err(error) => self.fault(&path, None, error.to_string()),
            Ok(stored) => {
                let first = tile.index * WIDTH;
                for (at, _) in stored.iter().zip(computed).enumerate().filter(|(_, (a, b))| a != b) {
                    let entry = first + at as u64;
                    let (entry, what) = match tile.level {
                        Some(0) => {
                            (Some(entry), format!("its hash of entry {entry} is not that of the entry"))
                        }
                        _ => (None, format!("its hash {at} is not that of the tile below")),
                    };
                    self.fault(&path, entry, what);
                }
            }
        }
    }

    /// Every file against the signed manifest.
    fn manifest(&mut self, key: &VerifierKey) -> bool {
        const PATH: &str = "manifest";
        if !self.present.contains(PATH) {
            return false;
        }
        let Some(bytes) = self.read(PATH) else { return true };
        let checked = Note::parse(&bytes).and_then(|note| note.verify(&[key]).map(|_| note.text.clone()));
        let manifest = match checked.map(|text| text.parse::<Manifest>()) {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(error)) => {
                self.fault(PATH, None, error.to_string());
                return true;
            }
            Err(error) => {
                self.fault(PATH, None, error.to_string());
                return true;
            }
        };
        for path in manifest.paths().map(ToOwned::to_owned).collect::<Vec<_>>() {
            let Some(bytes) = self.read(&path) else { continue };
            if manifest.fits(&path, &bytes) == Some(false) {
                self.fault(
                    &path,
                    None,
                    "it is not the file that was exported (its hash differs from the manifest's)",
                );
            }
        }
        true
    }
}

/// Checks everything.
///
/// # Errors
/// All that is wrong (the first hundred), each with its file.
pub fn verify_export(
    files: &dyn Files,
    key: &VerifierKey,
    commitments: Option<&dyn Commitments>,
) -> Result<Verified, Vec<Fault>> {
    let present: BTreeSet<String> = files.paths().into_iter().collect();
    let mut check = Check { files, present, faults: Vec::new(), used: BTreeSet::new() };
    let checkpoint = check.checkpoint(key);
    let mut personal = 0;
    if let Some(checkpoint) = &checkpoint {
        let (found, with) = tree(&mut check, checkpoint.size, commitments);
        personal = with;
        if found != checkpoint.root && check.faults.is_empty() {
            let what = "entries and tiles agree with one another, but not with the root that was signed";
            check.fault("checkpoint", None, what);
        }
    }
    let manifest = check.manifest(key);
    check_key(&mut check, key);
    // A file that nothing vouches for has no place in an export.
    let strays: Vec<String> = check.present.difference(&check.used).cloned().collect();
    for path in strays {
        check.fault(&path, None, "it does not belong to this export");
    }
    match checkpoint {
        Some(checkpoint) if check.faults.is_empty() => {
            let files = check.used.len() as u64;
            Ok(Verified { checkpoint, files, manifest, personal })
        }
        _ => Err(check.faults),
    }
}

/// The key that lies in the export is a convenience; it must be the one given.
fn check_key(check: &mut Check<'_>, key: &VerifierKey) {
    if check.present.contains("key")
        && let Some(bytes) = check.read("key")
        && bytes != format!("{key}\n").into_bytes()
    {
        check.fault("key", None, "it is not the key that you gave");
    }
}

/// Rebuilds the tree from the entries; gives its root and how many bundles had personal payloads.
fn tree(check: &mut Check<'_>, size: u64, commitments: Option<&dyn Commitments>) -> (Hash, u64) {
    let mut rows: Vec<Row> = Vec::new();
    let mut personal = 0;
    for index in 0..size.div_ceil(WIDTH) {
        let width = (size - index * WIDTH).min(WIDTH);
        let (mut hashes, with) = check.bundle(index, width, commitments);
        personal += with;
        if hashes.is_empty() {
            // Reported already. What follows is still compared, from what the tile says of it.
            let tile = Tile { level: Some(0), index, width };
            hashes = check.read(&tile.to_string()).and_then(|b| tile.hashes(&b).ok()).unwrap_or_default();
        }
        for hash in hashes {
            push(check, &mut rows, hash);
        }
    }
    let mut root: Option<Hash> = None;
    for (level, row) in (0_u8..).zip(&rows) {
        if row.waiting.is_empty() {
            continue;
        }
        let width = row.waiting.len() as u64;
        check.tile(Tile { level: Some(level), index: row.tiles, width }, &row.waiting);
        // Complete subtrees, right to left, each left of all that came before.
        let mut end = row.waiting.len();
        while end > 0 {
            let size = 1_usize << end.trailing_zeros();
            let part = row.waiting.get(end - size..end).map_or_else(empty_root, root_of_leaves);
            root = Some(root.map_or(part, |right| node_hash(&part, &right)));
            end -= size;
        }
    }
    (root.unwrap_or_else(empty_root), personal)
}

/// One level of tiles while the tree is rebuilt: the hashes of the tile that is not full yet, and how many were.
#[derive(Default)]
struct Row {
    waiting: Vec<Hash>,
    tiles: u64,
}

fn push(check: &mut Check<'_>, rows: &mut Vec<Row>, hash: Hash) {
    let mut hash = hash;
    for level in 0_u8.. {
        if rows.len() <= usize::from(level) {
            rows.push(Row::default());
        }
        let Some(row) = rows.get_mut(usize::from(level)) else { return };
        row.waiting.push(hash);
        if (row.waiting.len() as u64) < WIDTH {
            return;
        }
        let full = std::mem::take(&mut row.waiting);
        let tile = Tile { level: Some(level), index: row.tiles, width: WIDTH };
        row.tiles += 1;
        check.tile(tile, &full);
        hash = root_of_leaves(&full);
    }
}
