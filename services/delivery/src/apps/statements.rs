//! What is said of a build when it is done: who made the artefact of what, and what is in it.
//!
//! # Why it is built so
//!
//! The bytes of an artefact are shared by whoever builds the same; what is said of a build names its project's repository and
//! is nobody else's. So statements lie below their project and app, and below the moment at which the app was made: an app that
//! is made anew under a name shows nothing of the one before, also when a crash kept its files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hafen_base::{Error, ErrorKind, Result};
use serde_json::Value;

use super::Apps;
use super::model::AppRow;

const FOLDER: &str = "statements";

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statement {
    /// A SLSA v1 provenance, signed.
    Provenance,
    /// A CycloneDX document.
    Components,
}

impl Statement {
    const fn ending(self) -> &'static str {
        match self {
            Self::Provenance => "provenance.json",
            Self::Components => "sbom.json",
        }
    }
}

/// The statements of one app's builds.
pub(crate) struct Statements(PathBuf);

impl Apps {
    pub(crate) fn statements(&self, app: &AppRow) -> Statements {
        Statements(place(&self.0.folder, app))
    }

    /// Those of apps that are no more go.
    pub(crate) async fn statements_kept(&self, apps: &[AppRow]) -> Result<()> {
        let folder = self.0.folder.clone();
        let keep: BTreeSet<PathBuf> = apps.iter().map(|app| place(&folder, app)).collect();
        tokio::task::spawn_blocking(move || collect(&folder.join(FOLDER), &keep))
            .await
            .map_err(Error::internal)?
    }
}

/// Names of projects and apps are checked where they come in: they are names of folders.
fn place(folder: &Path, app: &AppRow) -> PathBuf {
    folder.join(FOLDER).join(&app.project).join(&app.name).join(app.created_at.micros().to_string())
}

impl Statements {
    fn path(&self, build: i64, what: Statement) -> PathBuf {
        self.0.join(format!("b{build}.{}", what.ending()))
    }

    /// Whole or not at all; replaces what an earlier attempt of the same build said.
    ///
    /// # Errors
    /// No space; unavailable.
    pub fn put(&self, build: i64, what: Statement, value: &Value) -> Result<()> {
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&self.0)?;
            let mut file = tempfile::Builder::new().prefix("new-").tempfile_in(&self.0)?;
            serde_json::to_writer_pretty(std::io::BufWriter::new(file.as_file_mut()), value)?;
            file.as_file().sync_all()?;
            file.persist(self.path(build, what)).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(disk)
    }

    /// # Errors
    /// Not found; unavailable.
    pub async fn read(&self, build: i64, what: Statement) -> Result<Vec<u8>> {
        tokio::fs::read(self.path(build, what)).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::not_found("such statement"),
            _ => disk(error),
        })
    }
}

fn disk(error: std::io::Error) -> Error {
    let kind = if error.kind() == std::io::ErrorKind::StorageFull {
        ErrorKind::NoSpace
    } else {
        ErrorKind::Unavailable
    };
    Error::new(kind, "what is said of a build cannot be written or read; the platform's log says why")
        .with_cause(error)
}

/// Removes the folders of apps that are not to be kept, and what is empty then.
fn collect(folder: &Path, keep: &BTreeSet<PathBuf>) -> Result<()> {
    for project in children(folder)? {
        for app in children(&project)? {
            for one in children(&app)? {
                if !keep.contains(&one) {
                    std::fs::remove_dir_all(&one).map_err(disk)?;
                }
            }
            // Not while there is something in it.
            let _used = std::fs::remove_dir(&app);
        }
        let _used = std::fs::remove_dir(&project);
    }
    Ok(())
}

fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(disk)?,
    };
    let names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
    Ok(names.into_iter().map(|name| folder.join(name)).filter(|path| path.is_dir()).collect())
}

#[cfg(test)]
mod tests {
    use hafen_base::Timestamp;
    use serde_json::json;

    use super::*;

    fn app(project: &str, name: &str, created: i64) -> AppRow {
        let spec = json!({ "source": { "repository": "shop" }, "on": "web", "run": "./shop" });
        AppRow {
            project: project.into(),
            name: name.into(),
            spec: serde_json::from_value(spec).unwrap(),
            generation: 1,
            observed: 0,
            destroying: false,
            reason: String::new(),
            live: None,
            deployments: 0,
            releases: 0,
            builds: 0,
            balance: 0,
            told: 0,
            preview: None,
            again: None,
            project_since: 0,
            created_at: Timestamp::from_micros(created),
            updated_at: Timestamp::from_micros(created),
        }
    }

    #[tokio::test]
    async fn each_app_has_its_own_for_as_long_as_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let of = |app: &AppRow| Statements(place(folder.path(), app));
        let (shop, again, other) = (app("hello", "shop", 1), app("hello", "shop", 2), app("else", "shop", 1));
        for (app, value) in [(&shop, "first"), (&other, "other")] {
            of(app).put(1, Statement::Provenance, &json!("attempt")).unwrap();
            of(app).put(1, Statement::Provenance, &json!(value)).unwrap();
        }
        let read = async |app: &AppRow, build: i64, what: Statement| {
            of(app).read(build, what).await.map(|text| String::from_utf8(text).unwrap())
        };
        assert_eq!(read(&shop, 1, Statement::Provenance).await.unwrap(), "\"first\"");
        assert_eq!(read(&other, 1, Statement::Provenance).await.unwrap(), "\"other\"");
        for (app, build, what) in [
            (&shop, 2, Statement::Provenance),
            (&shop, 1, Statement::Components),
            (&again, 1, Statement::Provenance),
        ] {
            assert_eq!(read(app, build, what).await.unwrap_err().kind(), ErrorKind::NotFound);
        }
        let root = folder.path().join(FOLDER);
        let keep = |apps: &[&AppRow]| apps.iter().map(|app| place(folder.path(), app)).collect();
        collect(&root, &keep(&[&again, &other])).unwrap();
        assert!(!root.join("hello").exists() && root.join("else/shop/1").exists());
        collect(&root, &keep(&[])).unwrap();
        assert_eq!(children(&root).unwrap(), Vec::<PathBuf>::new());
        collect(&folder.path().join("nowhere"), &keep(&[])).unwrap();
    }
}
