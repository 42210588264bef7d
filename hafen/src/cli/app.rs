//! `app`, `deploy`, `rollback`, `build`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hafen_base::{Clock as _, Error, Result, SystemClock};
use hafen_client::wire::{App, AppExec, AppRollback, AppScale, AppSpec, Deployment, DeploymentCreate};
use hafen_client::{Client, Conditions, TransportBody};
use http_body_util::BodyExt as _;

use super::ask::{json_file, part};
use super::context::{Context, client, fresh_key, name, usage};
use super::names::Names;
use crate::output;

#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// List apps.
    List,
    /// Show an app with its processes.
    Show {
        #[arg(value_parser = name)]
        app: String,
    },
    /// Make an app, or change what is wanted of it, from a JSON file as the API takes it. A manifest does the same.
    Set {
        #[arg(value_parser = name)]
        app: String,
        /// JSON; - for standard input.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Show what the processes of an app say.
    Logs(LogsArgs),
    /// Run a command where a process is: with its files, its walls and its secrets.
    Exec {
        #[arg(value_parser = name)]
        app: String,
        /// As web-1-d7-0; one that serves unless said.
        #[arg(long, value_parser = name)]
        process: Option<String>,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Change the number of processes.
    Scale {
        #[arg(value_parser = name)]
        app: String,
        #[arg(value_parser = clap::value_parser!(i64).range(0..=1000))]
        replicas: i64,
        /// Do not wait until they serve.
        #[arg(long)]
        no_wait: bool,
    },
    /// Take new processes of the same release into service, with the secrets as they are now.
    Restart {
        #[arg(value_parser = name)]
        app: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// List what was deployed, newest first.
    History {
        #[arg(value_parser = name)]
        app: String,
    },
    /// List releases, newest first.
    Releases {
        #[arg(value_parser = name)]
        app: String,
    },
    /// End a deployment that is under way; what served before serves on.
    Cancel {
        #[arg(value_parser = name)]
        app: String,
        /// As d7; the one under way unless said.
        #[arg(value_parser = name)]
        deployment: Option<String>,
    },
    /// Delete an app: its processes, files and secrets leave the machines.
    Delete {
        #[arg(value_parser = name)]
        app: String,
        /// Do not wait until it is gone.
        #[arg(long)]
        no_wait: bool,
    },
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    #[arg(value_parser = name)]
    app: String,
    /// Lines of each machine.
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: u32,
    /// As web-1-d7-0; all of them unless said.
    #[arg(long, value_parser = name)]
    process: Option<String>,
    /// Go on with what is said from now.
    #[arg(long, short)]
    follow: bool,
}

#[derive(Debug, Args)]
pub struct Wait {
    /// Do not wait until it is over.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The app; the only one there is unless said.
    #[arg(value_parser = name)]
    app: Option<String>,
    /// A branch or tag; the app's branch unless said.
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// A whole commit.
    #[arg(long, conflicts_with = "reference")]
    commit: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The app; the only one there is unless said.
    #[arg(value_parser = name)]
    app: Option<String>,
    /// Number of a kept release; the one that served before unless said.
    #[arg(long)]
    release: Option<i64>,
    #[command(flatten)]
    wait: Wait,
}

pub async fn run(context: &Context, command: AppCommand) -> Result<u8> {
    let client = client()?;
    let project = context.project(&client).await?;
    match command {
        AppCommand::List => list(context, &client, &project).await?,
        AppCommand::Show { app } => show(context, &client.app_get(&project, &app).await?)?,
        AppCommand::Set { app, from } => {
            let spec: AppSpec = serde_json::from_value(json_file(&from)?)
                .map_err(|error| usage(format!("{}: {error}", from.display())))?;
            show(context, &client.app_put(&project, &app, &spec, &Conditions::default()).await?)?;
        }
        AppCommand::Logs(args) => {
            let process = args.process.map(|one| format!("&process={}", part(&one))).unwrap_or_default();
            let query = format!("lines={}&follow={}{process}", args.lines, args.follow);
            print(client.app_logs(&project, &args.app, &query).await?, false).await;
        }
        AppCommand::Exec { app, process, command } => {
            let body = AppExec { command: command.join(" "), process };
            let ended = client.app_exec(&project, &app, &body).await?;
            if context.json {
                output::json(&ended)?;
            } else {
                output::raw(ended.output.as_bytes());
                if !ended.errors.is_empty() {
                    output::note(ended.errors.trim_end());
                }
            }
            return Ok(ended.status.and_then(|status| u8::try_from(status).ok()).unwrap_or(1));
        }
        AppCommand::Scale { app, replicas, no_wait } => {
            let scaled = client.app_scale(&project, &app, &AppScale { replicas }, &fresh_key()).await?;
            let scaled = if no_wait { scaled } else { settled(&client, &project, &scaled).await? };
            show(context, &scaled)?;
        }
        AppCommand::Restart { app, wait } => {
            let deployment = client.app_restart(&project, &app, &fresh_key()).await?;
            return followed(context, &client, &project, deployment, &wait).await;
        }
        AppCommand::History { app } => history(context, &client, &project, &app).await?,
        AppCommand::Releases { app } => releases(context, &client, &project, &app).await?,
        AppCommand::Cancel { app, deployment } => {
            let deployment = match deployment {
                Some(deployment) => deployment,
                None => client.app_get(&project, &app).await?.deployment.ok_or_else(|| {
                    Error::conflict(format!("app {app:?} was never deployed: there is nothing to cancel"))
                })?,
            };
            let ended = client.deployment_cancel(&project, &app, &deployment, &fresh_key()).await?;
            tell(context, &ended)?;
        }
        AppCommand::Delete { app, no_wait } => {
            let going = client.app_delete(&project, &app, &Conditions::default()).await?;
            if !no_wait {
                gone(&client, &project, &app).await?;
            }
            if context.json {
                output::json(&going)?;
            } else {
                output::line(&format!("app {app} {}", if no_wait { "is being deleted" } else { "is gone" }));
            }
        }
    }
    Ok(0)
}

async fn list(context: &Context, client: &Client, project: &str) -> Result<()> {
    let apps = client.app_list(project).await?;
    if context.json {
        return output::json_list(&apps);
    }
    let rows: Vec<Vec<String>> = apps
        .iter()
        .map(|app| {
            vec![
                app.name.clone(),
                app.state.clone(),
                app.release.map_or("-".into(), |release| release.to_string()),
                serving(app),
                app.spec.on.clone(),
                app.reason.clone(),
            ]
        })
        .collect();
    output::table(&["NAME", "STATE", "RELEASE", "PROCESSES", "ON", "REASON"], &rows);
    Ok(())
}

/// As `3/4`.
fn serving(app: &App) -> String {
    let healthy = app.processes.iter().filter(|process| process.state == "healthy").count();
    format!("{healthy}/{}", app.spec.replicas)
}

fn show(context: &Context, app: &App) -> Result<()> {
    if context.json {
        return output::json(app);
    }
    let source = match (&app.spec.source.repository, &app.spec.source.git) {
        (Some(repository), _) => format!("{repository}, branch {}", app.spec.source.branch),
        (None, git) => format!("{}, branch {}", git.as_deref().unwrap_or("-"), app.spec.source.branch),
    };
    let token = app.spec.source.token.as_ref().map(|token| format!("secret {}", token.secret));
    let run = app
        .spec
        .run
        .clone()
        .or_else(|| app.spec.static_files.as_ref().map(|folder| format!("static {folder}")));
    let facts = [
        ("name", app.name.clone()),
        ("state", app.state.clone()),
        ("reason", app.reason.clone()),
        ("release", app.release.map_or("-".into(), |release| release.to_string())),
        ("deployment", app.deployment.clone().unwrap_or_else(|| "-".into())),
        ("source", source),
        ("token", token.unwrap_or_default()),
        ("run", run.unwrap_or_default()),
        ("on", app.spec.on.clone()),
        ("processes", serving(app)),
        ("strategy", app.spec.strategy.as_str().into()),
    ];
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        output::line(&format!("{name:<11} {value}"));
    }
    if !app.processes.is_empty() {
        output::line("");
        let rows: Vec<Vec<String>> = app
            .processes
            .iter()
            .map(|one| {
                let cells = [
                    one.id.clone(),
                    one.state.clone(),
                    one.release.to_string(),
                    one.port.to_string(),
                    one.restarts.to_string(),
                    one.reason.clone(),
                ];
                cells.to_vec()
            })
            .collect();
        output::table(&["PROCESS", "STATE", "RELEASE", "PORT", "RESTARTS", "REASON"], &rows);
    }
    Ok(())
}

async fn history(context: &Context, client: &Client, project: &str, app: &str) -> Result<()> {
    let all = client.deployment_list(project, app).await?;
    if context.json {
        return output::json_list(&all);
    }
    let names = Names::of(client, Some(project), all.iter().map(|one| one.created_by.as_str())).await;
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let commit = one.commit.as_deref().unwrap_or("-");
            vec![
                one.id.clone(),
                one.created_at.to_string(),
                one.kind.clone(),
                one.state.replace('_', " "),
                one.release.map_or("-".into(), |release| release.to_string()),
                commit.chars().take(10).collect(),
                names.name(&one.created_by),
                one.reason.clone(),
            ]
        })
        .collect();
    output::table(&["DEPLOYMENT", "AT", "KIND", "STATE", "RELEASE", "COMMIT", "BY", "REASON"], &rows);
    Ok(())
}

async fn releases(context: &Context, client: &Client, project: &str, app: &str) -> Result<()> {
    let all = client.release_list(project, app).await?;
    if context.json {
        return output::json_list(&all);
    }
    let names = Names::of(client, Some(project), all.iter().map(|one| one.created_by.as_str())).await;
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            vec![
                one.number.to_string(),
                one.created_at.to_string(),
                one.commit.chars().take(10).collect(),
                one.artifact.chars().take(12).collect(),
                if one.kept { "kept".into() } else { "not kept".into() },
                names.name(&one.created_by),
            ]
        })
        .collect();
    output::table(&["RELEASE", "AT", "COMMIT", "ARTEFACT", "KEPT", "BY"], &rows);
    Ok(())
}

/// The app that was named, or the only one.
async fn one(client: &Client, project: &str, named: Option<String>) -> Result<String> {
    if let Some(app) = named {
        return Ok(app);
    }
    let apps = client.app_list(project).await?;
    match apps.as_slice() {
        [one] => Ok(one.name.clone()),
        [] => Err(usage(format!(
            "project {project:?} has no app: write [app.NAME] into its hafen.toml, then hafen apply"
        ))),
        many => {
            let names: Vec<&str> = many.iter().map(|app| app.name.as_str()).collect();
            Err(usage(format!("which app? Say one of: {}", names.join(", "))))
        }
    }
}

pub async fn deploy(context: &Context, args: DeployArgs) -> Result<u8> {
    let client = client()?;
    let project = context.project(&client).await?;
    let app = one(&client, &project, args.app).await?;
    let body = DeploymentCreate { git_ref: args.reference, commit: args.commit, release: None };
    let deployment = client.deployment_create(&project, &app, &body, &fresh_key()).await?;
    followed(context, &client, &project, deployment, &args.wait).await
}

pub async fn rollback(context: &Context, args: RollbackArgs) -> Result<u8> {
    let client = client()?;
    let project = context.project(&client).await?;
    let app = one(&client, &project, args.app).await?;
    let body = AppRollback { release: args.release };
    let deployment = client.app_rollback(&project, &app, &body, &fresh_key()).await?;
    followed(context, &client, &project, deployment, &args.wait).await
}

/// Waits for the end of a deployment; shows what its build prints and how far it is.
async fn followed(
    context: &Context,
    client: &Client,
    project: &str,
    begun: Deployment,
    wait: &Wait,
) -> Result<u8> {
    let app = begun.app.clone();
    let mut now = begun;
    if !wait.no_wait {
        let (mut state, mut logged) = (String::new(), false);
        while matches!(now.state.as_str(), "queued" | "building" | "migrating" | "rolling") {
            if now.state != state {
                state.clone_from(&now.state);
                output::note(&format!("{} of {app}: {state}", now.id));
            }
            if let (false, Some(build)) = (logged, &now.build) {
                logged = true;
                print(client.build_log_follow(project, &app, build).await?, true).await;
            }
            SystemClock.sleep(Duration::from_millis(200)).await;
            now = client.deployment_get(project, &app, &now.id).await?;
        }
    }
    tell(context, &now)?;
    if !context.json && matches!(now.state.as_str(), "failed" | "rolled_back") {
        match client.deployment_log(project, &app, &now.id).await {
            Ok(log) if log.is_empty() => {}
            Ok(log) => output::line(&format!("last lines of its log:\n{}", log.trim_end())),
            Err(error) => output::note(&format!("its log is not to be had: {error}")),
        }
    }
    Ok(u8::from(matches!(now.state.as_str(), "failed" | "rolled_back" | "cancelled" | "superseded")))
}

fn tell(context: &Context, deployment: &Deployment) -> Result<()> {
    if context.json {
        return output::json(deployment);
    }
    let release = deployment.release.map(|release| format!(", release {release}")).unwrap_or_default();
    output::line(&format!(
        "{} of {} {}{release}",
        deployment.id,
        deployment.app,
        deployment.state.replace('_', " ")
    ));
    if !deployment.reason.is_empty() {
        output::line(&deployment.reason);
    }
    Ok(())
}

/// Waits until reality is as wanted, or cannot be.
async fn settled(client: &Client, project: &str, wanted: &App) -> Result<App> {
    loop {
        let app = client.app_get(project, &wanted.name).await?;
        if app.observed_generation >= wanted.generation || app.state == "failed" {
            return Ok(app);
        }
        SystemClock.sleep(Duration::from_millis(200)).await;
    }
}

async fn gone(client: &Client, project: &str, app: &str) -> Result<()> {
    loop {
        match client.app_get(project, app).await {
            Err(error) if error.kind() == hafen_base::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => SystemClock.sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Prints what comes, as it comes.
pub(super) async fn print(mut body: TransportBody, aside: bool) {
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(bytes) = frame.into_data() else { continue };
        if aside {
            use std::io::Write as _;
            let _unheard = std::io::stderr().write_all(&bytes);
        } else {
            output::raw(&bytes);
        }
    }
}
