//! `image`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use hafen_base::{Error, ErrorKind, Result};
use hafen_client::Client;
use hafen_client::wire::{Image, ImageCreate, ImageGc, ImageSource, Operation, OperationStatus, ProjectPut};
use hafen_manifest::format_size;

use super::context::{Context, client, fresh_key, name};
use super::show::wait_operation;
use crate::output;

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build an image of the manifest, or one of just these packages.
    Build {
        #[arg(value_parser = name)]
        name: String,
        /// The manifest that describes it.
        #[arg(long, short, default_value = "hafen.toml", conflicts_with_all = ["release", "packages"])]
        file: PathBuf,
        /// Debian release, for an image that no manifest describes.
        #[arg(long, value_parser = ["bookworm", "trixie"])]
        release: Option<String>,
        /// Package beside the base system, for an image that no manifest describes; may be repeated.
        #[arg(long = "package")]
        packages: Vec<String>,
    },
    /// List images.
    List,
    /// Show an image with its lock.
    Show {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Build it again from its lock and compare.
    Verify {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Free what no image and no machine uses.
    Gc {
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
}

pub async fn run(context: &Context, command: ImageCommand) -> Result<()> {
    let client = client()?;
    match command {
        ImageCommand::Gc { dry_run } => {
            let report = client.image_gc(&ImageGc { dry_run }).await?;
            if context.json {
                return output::json(&report);
            }
            let freed = format_size(u64::try_from(report.freed).unwrap_or(0));
            let verb = if dry_run { "would go" } else { "went" };
            output::line(&format!("{} images {verb}, {freed}", report.removed.len()));
            for digest in report.removed {
                output::line(&format!("  {digest}"));
            }
        }
        ImageCommand::Build { name, file, release, packages } => {
            let (project, body) = if release.is_none() && packages.is_empty() {
                of_manifest(&file, &name)?
            } else {
                let release = release.unwrap_or_else(|| "trixie".to_owned());
                let source = ImageSource::Debian { release, packages, files: BTreeMap::new() };
                let project = context.project(&client).await?;
                (project, ImageCreate { name: name.clone(), source, lock: None })
            };
            // A project may have images before it has anything else.
            if client.project_get(&project).await.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                client.project_put(&project, &ProjectPut::default()).await?;
            }
            let image = client.image_create(&project, &body, &fresh_key()).await?;
            if let Some(operation) = image.operation {
                follow(context, &client, &operation.to_string()).await?;
            }
            show(context, &client.image_get(&project, &name).await?)?;
        }
        ImageCommand::List => {
            let project = context.project(&client).await?;
            let images = client.image_list(&project).await?;
            if context.json {
                return output::json_list(&images);
            }
            let rows: Vec<_> = images
                .into_iter()
                .map(|image| {
                    let short: String = image.digest.chars().take(19).collect();
                    let size =
                        if image.size > 0 { format!("{} MiB", image.size >> 20) } else { String::new() };
                    vec![image.name, image.state, short, size, image.reason]
                })
                .collect();
            output::table(&["NAME", "STATE", "DIGEST", "SIZE", "REASON"], &rows);
        }
        ImageCommand::Show { name } => {
            let project = context.project(&client).await?;
            show(context, &client.image_get(&project, &name).await?)?;
        }
        ImageCommand::Verify { name } => {
            let project = context.project(&client).await?;
            let operation = client.image_verify(&project, &name, &fresh_key()).await?;
            let operation = follow(context, &client, &operation.id.to_string()).await?;
            if context.json {
                output::json(&operation)?;
            } else {
                output::line(&format!("image {name} is what its lock says, bit for bit"));
            }
        }
    }
    Ok(())
}

/// The image as the manifest describes it.
fn of_manifest(file: &Path, name: &str) -> Result<(String, ImageCreate)> {
    let (source, project) = super::plan::load(file)?;
    let wanted = hafen_stacks::read_manifest(&source)?;
    let names: Vec<&str> = wanted.images.iter().map(|image| image.name.as_str()).collect();
    let body = wanted.images.iter().find(|image| image.name == name).cloned().ok_or_else(|| {
        Error::invalid(format!(
            "{} describes no image {name:?} (it has: {}); name its packages with --package to build one without a manifest",
            file.display(),
            names.join(", ")
        ))
    })?;
    Ok((project, body))
}

/// Prints progress until the operation ended; an error when it failed.
async fn follow(context: &Context, client: &Client, id: &str) -> Result<Operation> {
    let mut last = String::new();
    loop {
        let operation = match wait_operation(client, id, Duration::from_secs(1)).await {
            Err(error) if error.kind() == ErrorKind::Timeout => client.operation_get(id).await?,
            other => other?,
        };
        if !operation.progress.is_empty() && operation.progress != last && !context.json {
            output::note(&output::brief(&operation.progress));
            last.clone_from(&operation.progress);
        }
        match operation.status {
            OperationStatus::Running => {}
            OperationStatus::Succeeded => return Ok(operation),
            OperationStatus::Failed | OperationStatus::Cancelled => {
                return Err(Error::conflict(format!(
                    "{} {}: {}",
                    operation.kind,
                    operation.status.as_str(),
                    operation.error
                )));
            }
        }
    }
}

fn show(context: &Context, image: &Image) -> Result<()> {
    if context.json {
        return output::json(image);
    }
    output::line(format!("{} is {} {}", image.name, image.state, image.reason).trim_end());
    output::line(&format!("digest {}", image.digest));
    output::line(image.lock.trim_end());
    Ok(())
}
