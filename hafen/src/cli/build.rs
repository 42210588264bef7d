//! Builds of apps.

use clap::Subcommand;
use hafen_base::{Error, Result};
use hafen_client::wire::Build;

use super::app::print;
use super::ask::part;
use super::context::{Context, client, name};
use crate::output;

#[derive(Debug, Subcommand)]
pub enum BuildCommand {
    /// List builds of an app, newest first.
    List {
        #[arg(value_parser = name)]
        app: String,
    },
    /// Show what a build printed; of one that runs, until it is over.
    Log {
        #[arg(value_parser = name)]
        app: String,
        /// As b3; the newest unless said.
        #[arg(value_parser = name)]
        build: Option<String>,
    },
    /// Show who made the artefact of a build, of what: a signed SLSA provenance, as JSON.
    Provenance {
        #[arg(value_parser = name)]
        app: String,
        #[arg(value_parser = name)]
        build: String,
    },
    /// Show what the source of a build is made of by its lock files: a CycloneDX document, as JSON.
    Sbom {
        #[arg(value_parser = name)]
        app: String,
        #[arg(value_parser = name)]
        build: String,
    },
}

pub async fn run(context: &Context, command: BuildCommand) -> Result<()> {
    let client = client()?;
    let project = context.project(&client).await?;
    let path = |app: &str, build: &str, what: &str| {
        format!("/api/v1/projects/{project}/apps/{}/builds/{}/{what}", part(app), part(build))
    };
    match command {
        BuildCommand::List { app } => builds(context, &client.build_list(&project, &app).await?),
        BuildCommand::Log { app, build } => {
            let build = if let Some(build) = build {
                build
            } else {
                let all = client.build_list(&project, &app).await?;
                let newest = all.first().map(|build| build.id.clone());
                newest.ok_or_else(|| Error::not_found(format!("build of app {app:?} yet")))?
            };
            print(client.build_log_follow(&project, &app, &build).await?, false).await;
            Ok(())
        }
        BuildCommand::Provenance { app, build } => {
            output::json(&client.get::<serde_json::Value>(&path(&app, &build, "provenance")).await?)
        }
        BuildCommand::Sbom { app, build } => {
            output::json(&client.get::<serde_json::Value>(&path(&app, &build, "sbom")).await?)
        }
    }
}

fn builds(context: &Context, all: &[Build]) -> Result<()> {
    if context.json {
        return output::json_list(all);
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|build| {
            vec![
                build.id.clone(),
                build.created_at.to_string(),
                build.state.clone(),
                build.commit.chars().take(10).collect(),
                build.artifact.as_deref().unwrap_or("-").chars().take(12).collect(),
                build.reason.clone(),
            ]
        })
        .collect();
    output::table(&["BUILD", "AT", "STATE", "COMMIT", "ARTEFACT", "REASON"], &rows);
    Ok(())
}
