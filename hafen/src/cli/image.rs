//! `image`.

use std::time::Duration;

use clap::Subcommand;
use hafen_base::{Error, Result};
use hafen_client::Client;
use hafen_client::wire::{Image, ImageCreate, ImageGc, ImageSource, OperationStatus};
use hafen_manifest::format_size;

use super::context::{Context, client, fresh_key};
use super::show::wait_operation;
use crate::output;

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build a Debian image from packages.
    Build {
        name: String,
        #[arg(long, default_value = "trixie")]
        release: String,
        /// Packages beside the base system.
        #[arg(long = "package")]
        packages: Vec<String>,
    },
    /// List images.
    List,
    /// Show an image with its lock.
    Show { name: String },
    /// Build it again from its lock and compare.
    Verify { name: String },
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
        ImageCommand::Build { name, release, packages } => {
            let project = context.project(&client).await?;
            let source = ImageSource::Debian { release, packages, files: std::collections::BTreeMap::new() };
            let body = ImageCreate { name: name.clone(), source, lock: None };
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
            follow(context, &client, &operation.id.to_string()).await?;
            if !context.json {
                output::line(&format!("image {name} is what its lock says, bit for bit"));
            }
        }
    }
    Ok(())
}

/// Prints progress until the operation ended; an error when it failed.
async fn follow(context: &Context, client: &Client, id: &str) -> Result<()> {
    let mut last = String::new();
    loop {
        let operation = match wait_operation(client, id, Duration::from_secs(1)).await {
            Err(error) if error.kind() == hafen_base::ErrorKind::Timeout => client.operation_get(id).await?,
            other => other?,
        };
        if !operation.progress.is_empty() && operation.progress != last && !context.json {
            eprintln!("{}", operation.progress);
            last.clone_from(&operation.progress);
        }
        match operation.status {
            OperationStatus::Running => {}
            OperationStatus::Succeeded => return Ok(()),
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
    output::line(&format!("{} is {} {}", image.name, image.state, image.reason));
    output::line(&format!("digest {}", image.digest));
    output::line(&image.lock);
    Ok(())
}
