//! What every command needs: the client, the project, how to print.

use std::path::Path;

use hafen_base::{Error, Result};
use hafen_client::{Client, Conditions};

use crate::home::Home;

pub struct Context {
    project: Option<String>,
    pub json: bool,
}

impl Context {
    pub fn new(project: Option<String>, json: bool) -> Self {
        Self { project: project.filter(|project| !project.is_empty()), json }
    }

    /// The project meant: named, or that of ./hafen.toml, or the only one.
    pub async fn project(&self, client: &Client) -> Result<String> {
        if let Some(project) = &self.project {
            return Ok(project.clone());
        }
        if let Some(project) = project_of_manifest(Path::new("hafen.toml")) {
            return name(&project).map_err(|why| usage(format!("hafen.toml: project {project:?}: {why}")));
        }
        let projects = client.project_list().await?;
        match projects.as_slice() {
            [one] => Ok(one.name.clone()),
            [] => {
                Err(usage("there is no project yet: `hafen apply` in a folder with a hafen.toml makes one"))
            }
            many => {
                let names: Vec<&str> = many.iter().map(|project| project.name.as_str()).collect();
                Err(usage(format!("which project? Say --project with one of: {}", names.join(", "))))
            }
        }
    }

    /// The project named on the command line, if any.
    pub fn named_project(&self) -> Option<&str> {
        self.project.as_deref()
    }
}

/// The `project` of a manifest, as far as it can be told without reading it whole.
fn project_of_manifest(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().map(str::trim).find(|line| line.starts_with("project"))?;
    let value = line.split_once('=')?.1.trim();
    let name: String = value.trim_start_matches('"').chars().take_while(|c| *c != '"').collect();
    Some(name).filter(|name| !name.is_empty())
}

/// Wrong usage that only shows while a command runs: exit code 2, as for what clap refuses.
pub fn usage(message: impl Into<String>) -> Error {
    Error::invalid(message).with_code(super::USAGE)
}

/// A name or id, as it may stand in a URL's path. Refused here, because `web-1/lease` would be another resource.
pub fn name(text: &str) -> Result<String, String> {
    let good = (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.bytes().any(|b| b.is_ascii_alphanumeric());
    if good { Ok(text.to_owned()) } else { Err("a name or id holds only a-z, 0-9 and '-'".to_owned()) }
}

/// As `name`; empty, as an unset variable may leave it, means none.
pub fn name_or_nothing(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { name(text) }
}

/// A client of the running platform.
pub fn client() -> Result<Client> {
    crate::reach::client(&Home::find()?)
}

/// A key that makes one command act once, even when its request is sent again.
pub fn fresh_key() -> Conditions {
    use hafen_base::Random as _;
    let mut bytes = [0_u8; 16];
    hafen_base::SystemRandom.fill(&mut bytes);
    Conditions::key(bytes.iter().fold(String::from("cli-"), |text, byte| format!("{text}{byte:02x}")))
}
