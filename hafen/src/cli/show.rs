//! `status`, `network`, `operation`.

use std::time::Duration;

use clap::Subcommand;
use hafen_base::{Error, ErrorKind, Result};
use hafen_client::Client;
use hafen_client::wire::{Egress, Operation, OperationStatus};

use super::context::{Context, client, name};
use crate::output;

pub async fn status(context: &Context) -> Result<()> {
    let status = client()?.status().await?;
    if context.json {
        return output::json(&status);
    }
    output::line(&format!("Hafen {} at {} is {}", status.version, status.url, status.status));
    output::line(&format!("engine {}: {}", status.engine, status.engine_detail));
    let rows: Vec<_> = status
        .services
        .iter()
        .map(|part| vec![part.name.clone(), part.status.clone(), part.detail.clone()])
        .collect();
    output::table(&["SERVICE", "STATUS", "DETAIL"], &rows);
    Ok(())
}

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// List networks.
    List,
    /// Show a network.
    Show {
        #[arg(value_parser = name)]
        name: String,
    },
}

fn egress(egress: &Egress) -> String {
    match egress {
        Egress::None => "none".into(),
        Egress::Logged => "logged".into(),
        Egress::Allow(entries) => format!("allow {}", entries.join(" ")),
    }
}

pub async fn network(context: &Context, command: NetworkCommand) -> Result<()> {
    let client = client()?;
    let project = context.project(&client).await?;
    let networks = match command {
        NetworkCommand::List => client.network_list(&project).await?,
        NetworkCommand::Show { name } => {
            let network = client.network_get(&project, &name).await?;
            if context.json {
                return output::json(&network);
            }
            vec![network]
        }
    };
    if context.json {
        return output::json_list(&networks);
    }
    let rows: Vec<_> =
        networks.into_iter().map(|n| vec![n.name, n.subnet, egress(&n.egress), n.state, n.reason]).collect();
    output::table(&["NAME", "SUBNET", "EGRESS", "STATE", "REASON"], &rows);
    Ok(())
}

#[derive(Debug, Subcommand)]
pub enum OperationCommand {
    /// List operations, newest first.
    List,
    /// Show an operation, or an apply.
    Show {
        #[arg(value_parser = name)]
        id: String,
    },
    /// Wait until an operation, or an apply, ended; fails when it failed.
    Wait {
        #[arg(value_parser = name)]
        id: String,
        /// Seconds.
        #[arg(long, default_value_t = 600)]
        timeout: u64,
    },
    /// Ask an operation, or an apply, to end.
    Cancel {
        #[arg(value_parser = name)]
        id: String,
    },
}

pub async fn operation(context: &Context, command: OperationCommand) -> Result<u8> {
    let client = client()?;
    let (asked, id) = match &command {
        OperationCommand::List => {
            let operations = client.operation_list().await?;
            if context.json {
                output::json_list(&operations)?;
            } else {
                print_operations(&operations);
            }
            return Ok(0);
        }
        OperationCommand::Show { id } => (client.operation_get(id).await, id),
        OperationCommand::Wait { id, timeout } => {
            (wait_operation(&client, id, Duration::from_secs(*timeout)).await, id)
        }
        OperationCommand::Cancel { id } => (client.operation_cancel(id).await, id),
    };
    let operation = match asked {
        // An apply is an operation of the stacks service.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match apply(context, &client, &command, id).await {
                Err(other) if other.kind() == ErrorKind::NotFound || other.code() == super::USAGE => {
                    Err(error)
                }
                other => other,
            };
        }
        other => other?,
    };
    if context.json {
        output::json(&operation)?;
    } else {
        print_operations(std::slice::from_ref(&operation));
        print_whole(&operation.error);
    }
    let ended_badly = matches!(operation.status, OperationStatus::Failed | OperationStatus::Cancelled);
    Ok(u8::from(ended_badly && matches!(command, OperationCommand::Wait { .. })))
}

/// The same for an apply.
async fn apply(context: &Context, client: &Client, command: &OperationCommand, id: &str) -> Result<u8> {
    let project = context.project(client).await?;
    let apply = match command {
        OperationCommand::Cancel { .. } => client.apply_cancel(&project, id).await?,
        OperationCommand::Wait { timeout, .. } => {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(*timeout);
            loop {
                let apply = client.apply_get(&project, id).await?;
                if apply.status != "running" {
                    break apply;
                }
                if tokio::time::Instant::now() >= deadline {
                    let message = format!("apply {id} still runs after {timeout} s; wait again");
                    return Err(Error::new(ErrorKind::Timeout, message));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        _ => client.apply_get(&project, id).await?,
    };
    if context.json {
        output::json(&apply)?;
    } else if matches!(command, OperationCommand::Cancel { .. }) {
        output::line(&format!("apply {} was asked to end after the steps under way", apply.id));
    } else {
        output::line(
            format!(
                "apply {} of {} {} {}",
                apply.id,
                apply.project,
                apply.status,
                output::brief(&apply.error)
            )
            .trim_end(),
        );
        let rows: Vec<_> = apply
            .steps
            .iter()
            .map(|step| {
                vec![step.address.clone(), step.action.clone(), step.status.clone(), step.message.clone()]
            })
            .collect();
        output::table(&["RESOURCE", "ACTION", "STATUS", "NOTE"], &rows);
        for step in apply.steps.iter().filter(|step| step.status == "failed") {
            print_whole(&step.message);
        }
    }
    let ended_badly = matches!(apply.status.as_str(), "failed" | "cancelled");
    Ok(u8::from(ended_badly && matches!(command, OperationCommand::Wait { .. })))
}

/// What a table has cut.
fn print_whole(text: &str) {
    if output::brief(text) != text.trim_end() {
        output::line(&format!("\n{}", text.trim_end()));
    }
}

fn print_operations(operations: &[Operation]) {
    let rows: Vec<_> = operations
        .iter()
        .map(|o| {
            let note = if o.error.is_empty() { o.progress.clone() } else { o.error.clone() };
            vec![o.id.to_string(), o.kind.clone(), o.resources.join(" "), o.status.as_str().to_owned(), note]
        })
        .collect();
    output::table(&["ID", "KIND", "OBJECTS", "STATUS", "NOTE"], &rows);
}

/// Waits in calls of at most a minute each.
pub async fn wait_operation(client: &Client, id: &str, timeout: Duration) -> Result<Operation> {
    let mut left = timeout;
    loop {
        let step = left.min(Duration::from_secs(60));
        match client.operation_wait(id, step).await {
            Err(error) if error.kind() == ErrorKind::Timeout && left > step => left -= step,
            other => return other,
        }
    }
}
