//! `secret`. A value is never an argument: every user of this machine could read it in the list of processes.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::{ProjectPut, SecretCreate, SecretEncoding, SecretInfo, SecretVersionCreate};
use hafen_client::{Client, Conditions, Secret};
use zeroize::Zeroizing;

use super::context::{Context, client, fresh_key, name, usage};
use super::names::Names;
use crate::output;

#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// List the secrets of the project: which there are, never what they hold.
    List,
    /// Show a secret, without what it holds.
    Show {
        #[arg(value_parser = name)]
        name: String,
    },
    /// List the versions of a secret.
    Versions {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Make a secret, or give it a new version: asks for the value at a terminal, else reads it from stdin (one newline at its
    /// end is left out).
    Set {
        #[arg(value_parser = name)]
        name: String,
        /// Take the value from this file, byte by byte; - is stdin.
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// Read what a secret holds; the ledger keeps who did, and why.
    Read {
        #[arg(value_parser = name)]
        name: String,
        /// Why, for those who read the ledger.
        #[arg(long)]
        reason: String,
        /// The current version unless said.
        #[arg(long = "version", value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..))]
        number: Option<i64>,
    },
    /// Rotate a secret: a new version, new processes of the apps that use it, the old value seen to fail, and destroyed.
    Rotate(super::rotate::RotateArgs),
    /// Destroy the value of an old version, for good.
    Destroy {
        #[arg(value_parser = name)]
        name: String,
        #[arg(value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
        number: i64,
    },
    /// Delete a secret: every version is destroyed, for good.
    Delete {
        #[arg(value_parser = name)]
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Delete it although apps name it: what they start or fetch next fails.
        #[arg(long)]
        force: bool,
    },
}

pub async fn run(context: &Context, command: SecretCommand) -> Result<u8> {
    let client = client()?;
    let project = context.project(&client).await?;
    match command {
        SecretCommand::List => {
            let secrets = client.secret_list(&project).await?;
            if context.json {
                output::json_list(&secrets)?;
                return Ok(0);
            }
            let rows: Vec<_> = secrets
                .into_iter()
                .map(|secret| {
                    let read = secret.last_read.map_or_else(|| "never".to_owned(), |at| at.to_string());
                    vec![secret.name, secret.current.to_string(), secret.created_at.to_string(), read]
                })
                .collect();
            output::table(&["NAME", "VERSION", "MADE", "LAST READ"], &rows);
        }
        SecretCommand::Show { name } => {
            show(context, &client, &client.secret_get(&project, &name).await?).await?;
        }
        SecretCommand::Versions { name } => {
            let secret = client.secret_get(&project, &name).await?;
            if context.json {
                output::json_list(&secret.versions)?;
            } else {
                versions(&secret, &names(&client, &secret).await);
            }
        }
        SecretCommand::Set { name, from_file } => {
            let value = value(from_file.as_deref())?;
            let (value, encoding) = encoded(&value);
            // Whether it is there decides the platform, not what was read a moment ago.
            let create = SecretCreate { name: name.clone(), value: value.clone(), encoding };
            let mut made = client.secret_create(&project, &create, &fresh_key()).await;
            // A project may have secrets before it has anything else: its first plan names those that are missing.
            if made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                client.project_put(&project, &ProjectPut::default()).await?;
                made = client.secret_create(&project, &create, &fresh_key()).await;
            }
            let secret = match made {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    let body = SecretVersionCreate { value, encoding };
                    client.secret_version_create(&project, &name, &body, &fresh_key()).await?
                }
                other => other?,
            };
            if context.json {
                output::json(&secret)?;
            } else {
                output::line(&format!("{name} is at version {}.", secret.current));
            }
        }
        SecretCommand::Read { name, reason, number } => {
            let read = client.secret_read(&project, &name, number, &reason).await?;
            if context.json {
                output::json(&read)?;
            } else {
                output::raw(&read.bytes()?);
                if std::io::stdout().is_terminal() {
                    output::line("");
                }
            }
        }
        SecretCommand::Rotate(args) => super::rotate::run(context, &client, &project, args).await?,
        SecretCommand::Destroy { name, number } => {
            let secret =
                client.secret_version_destroy(&project, &name, number, &Conditions::default()).await?;
            if context.json {
                output::json(&secret)?;
            } else {
                output::line(&format!("Version {number} of {name} is destroyed."));
            }
        }
        SecretCommand::Delete { name, yes, force } => {
            if !force {
                unnamed(&client, &project, &name).await?;
            }
            if !yes && !confirmed(&name)? {
                output::note("Nothing was changed.");
                return Ok(1);
            }
            client.secret_delete(&project, &name, &Conditions::default()).await?;
            if context.json {
                output::json(&serde_json::json!({ "name": name, "status": "deleted" }))?;
            } else {
                output::line(&format!("{name} is deleted."));
            }
        }
    }
    Ok(0)
}

/// No app names it. The platform itself does not ask: an app may be there before its secret is, too.
async fn unnamed(client: &Client, project: &str, secret: &str) -> Result<()> {
    let apps = match client.app_list(project).await {
        // Who may not see apps deletes without that help.
        Err(error) if error.kind() == ErrorKind::Forbidden => return Ok(()),
        apps => apps?,
    };
    let by: Vec<_> =
        apps.iter().filter(|app| app.spec.secrets().contains(secret)).map(|app| app.name.as_str()).collect();
    if by.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "the secret {secret:?} is named by {}: without it, what starts, builds or fetches next fails. Take it out of the manifest \
         and `hafen apply`, or say --force",
        by.join(", ")
    )))
}

async fn names(client: &Client, secret: &SecretInfo) -> Names {
    let of_versions =
        secret.versions.iter().flat_map(|it| [it.created_by.as_str(), it.destroyed_by.as_str()]);
    Names::of(client, None, of_versions.chain([secret.created_by.as_str()])).await
}

async fn show(context: &Context, client: &Client, secret: &SecretInfo) -> Result<()> {
    if context.json {
        return output::json(secret);
    }
    let names = names(client, secret).await;
    output::line(&format!("{} is at version {}", secret.name, secret.current));
    output::line(&format!("made       {} by {}", secret.created_at, names.name(&secret.created_by)));
    let read = secret.last_read.map_or_else(|| "never".to_owned(), |at| at.to_string());
    output::line(&format!("last read  {read}"));
    versions(secret, &names);
    Ok(())
}

fn versions(secret: &SecretInfo, names: &Names) {
    let rows: Vec<_> = secret
        .versions
        .iter()
        .map(|version| {
            let read = version.last_read.map_or_else(|| "never".to_owned(), |at| at.to_string());
            let gone = version
                .destroyed_at
                .map_or_else(String::new, |at| format!("{at} by {}", names.name(&version.destroyed_by)));
            vec![
                version.version.to_string(),
                version.state.clone(),
                version.created_at.to_string(),
                names.name(&version.created_by),
                read,
                gone,
            ]
        })
        .collect();
    output::table(&["VERSION", "STATE", "MADE", "BY", "LAST READ", "DESTROYED"], &rows);
}

/// More than the platform takes, so that it says so.
const MOST: u64 = 128 << 10;

pub fn value(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    match file {
        Some(path) if path != Path::new("-") => {
            let unreadable =
                |error: std::io::Error| usage(format!("{} cannot be read: {error}", path.display()));
            std::fs::File::open(path)
                .map_err(unreadable)?
                .take(MOST)
                .read_to_end(&mut bytes)
                .map_err(unreadable)?;
        }
        Some(_) => read_stdin(&mut bytes)?,
        None if std::io::stdin().is_terminal() => {
            bytes = prompt("The value (it is not shown): ")?;
            if bytes.is_empty() {
                return Err(usage("nothing was typed; nothing was changed"));
            }
            if *prompt("Once more: ")? != *bytes {
                return Err(usage("the two differ; nothing was changed"));
            }
        }
        None => {
            read_stdin(&mut bytes)?;
            // `echo` ends its line, and nobody means that.
            if bytes.ends_with(b"\n") {
                bytes.pop();
            }
        }
    }
    if bytes.is_empty() {
        return Err(usage("there is no value: give it on stdin, or with --from-file"));
    }
    Ok(bytes)
}

fn read_stdin(bytes: &mut Vec<u8>) -> Result<()> {
    let read = std::io::stdin().take(MOST).read_to_end(bytes);
    read.map(drop).map_err(|error| usage(format!("stdin cannot be read: {error}")))
}

/// A terminal that shows not what is typed, put back when dropped.
struct Unseen(rustix::termios::Termios);

impl Unseen {
    fn enter() -> Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).map_err(Error::internal)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        unseen.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&stdin, OptionalActions::Flush, &unseen).map_err(Error::internal)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // Nothing better can be done about a terminal that went away.
        let _gone =
            rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Flush, &self.0);
    }
}

fn prompt(text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let _unheard = write!(std::io::stderr(), "{text}");
    let _unseen = Unseen::enter()?;
    let mut line = Zeroizing::new(String::new());
    std::io::BufRead::read_line(&mut std::io::stdin().lock().take(MOST), &mut line)
        .map_err(|error| usage(format!("no value could be read: {error}")))?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).as_bytes().to_vec()))
}

pub fn encoded(bytes: &[u8]) -> (Secret<String>, SecretEncoding) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => (Secret::new(text.to_owned()), SecretEncoding::Text),
        _ => (Secret::new(STANDARD.encode(bytes)), SecretEncoding::Base64),
    }
}

fn confirmed(name: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(usage("nobody is there to ask; say --yes to go on without asking"));
    }
    let _unheard = write!(std::io::stderr(), "Every version of {name} is destroyed. Only \"yes\" goes on: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Error::internal)?;
    Ok(answer.trim() == "yes")
}
