//! `machine`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use hafen_base::{Error, ErrorKind, Result};
use hafen_client::Client;
use hafen_client::wire::{Machine, MachineCreate, MachineResize, MachineSpec, SnapshotCreate};
use hafen_manifest::{format_size, parse_size};

use super::context::{Context, client, fresh_key, name, usage};
use super::show::wait_operation;
use crate::output;

#[derive(Debug, Subcommand)]
pub enum MachineCommand {
    /// List machines.
    List {
        /// Only machines of this cluster.
        #[arg(long)]
        group: Option<String>,
        /// Only machines with this metadata, as KEY=VALUE; may be repeated.
        #[arg(long)]
        metadata: Vec<String>,
    },
    /// Show a machine.
    Show {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Create a machine.
    Create(CreateArgs),
    /// Start a machine.
    Start(NamedArgs),
    /// Stop a machine.
    Stop(NamedArgs),
    /// Stop and start a machine.
    Restart(NamedArgs),
    /// Make a machine anew from its image.
    Rebuild(NamedArgs),
    /// Change cpus, memory or disk; the machine is stopped for it.
    #[command(group(clap::ArgGroup::new("size").required(true).multiple(true).args(["cpus", "memory", "disk"])))]
    Resize {
        #[arg(value_parser = name)]
        name: String,
        #[arg(long)]
        cpus: Option<i64>,
        /// As "1 GiB".
        #[arg(long, value_parser = size)]
        memory: Option<i64>,
        /// As "8 GiB"; a disk only grows.
        #[arg(long, value_parser = size)]
        disk: Option<i64>,
        /// Do not wait until it is done.
        #[arg(long)]
        no_wait: bool,
    },
    /// Destroy a machine with its disk and snapshots.
    Delete(NamedArgs),
    /// Wait for `started`, `stopped`, `destroyed`, `healthy` or `settled`.
    Wait {
        #[arg(value_parser = name)]
        name: String,
        #[arg(long = "for", default_value = "settled",
            value_parser = ["started", "stopped", "destroyed", "healthy", "settled"])]
        wanted: String,
        /// Seconds.
        #[arg(long, default_value_t = 120)]
        timeout: u64,
    },
    /// Snapshots of a machine's disk.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
}

#[derive(Debug, Args)]
pub struct NamedArgs {
    #[arg(value_parser = name)]
    name: String,
    /// Do not wait until it is done.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct CreateArgs {
    #[arg(value_parser = name)]
    name: String,
    #[arg(long, value_parser = name)]
    image: String,
    #[arg(long, value_parser = name)]
    network: String,
    /// The cluster it belongs to.
    #[arg(long, value_parser = name)]
    group: Option<String>,
    #[arg(long, default_value_t = 1)]
    cpus: i64,
    #[arg(long, value_parser = size, default_value = "512 MiB")]
    memory: i64,
    #[arg(long, value_parser = size, default_value = "4 GiB")]
    disk: i64,
    /// Boot instead of resuming from a template.
    #[arg(long)]
    cold: bool,
    /// KEY=VALUE; may be repeated.
    #[arg(long)]
    metadata: Vec<String>,
    /// Make it, but leave it stopped.
    #[arg(long)]
    skip_launch: bool,
    /// Send it no traffic of published ports yet.
    #[arg(long)]
    skip_registration: bool,
    /// Do not wait until it is started.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Keep the state of the disk.
    Create {
        #[arg(value_parser = name)]
        machine: String,
        #[arg(value_parser = name)]
        name: String,
    },
    /// List snapshots.
    List {
        #[arg(value_parser = name)]
        machine: String,
    },
    /// Put the disk of a stopped machine back.
    Restore {
        #[arg(value_parser = name)]
        machine: String,
        #[arg(value_parser = name)]
        name: String,
    },
}

fn size(text: &str) -> Result<i64, String> {
    parse_size(text).and_then(|bytes| i64::try_from(bytes).map_err(|_| "too large".to_owned()))
}

fn pairs(all: &[String]) -> Result<BTreeMap<String, String>> {
    all.iter()
        .map(|pair| {
            pair.split_once('=')
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| usage(format!("--metadata {pair:?} is not KEY=VALUE")))
        })
        .collect()
}

pub async fn run(context: &Context, command: MachineCommand) -> Result<()> {
    if let MachineCommand::List { metadata, .. } | MachineCommand::Create(CreateArgs { metadata, .. }) =
        &command
    {
        // Told before anything is asked for.
        pairs(metadata)?;
    }
    let client = client()?;
    let project = context.project(&client).await?;
    match command {
        MachineCommand::List { group, metadata } => {
            let group = group.map(|group| format!("group={}", encode(&group)));
            let metadata = pairs(&metadata)?
                .into_iter()
                .map(|(key, value)| format!("metadata.{}={}", encode(&key), encode(&value)));
            let query: Vec<String> = group.into_iter().chain(metadata).collect();
            let path = format!("/api/v1/projects/{project}/machines?{}", query.join("&"));
            let machines: Vec<Machine> = client.list_all(path.trim_end_matches('?')).await?;
            if context.json {
                return output::json_list(&machines);
            }
            list(&machines);
            Ok(())
        }
        MachineCommand::Show { name } => show(context, &client.machine_get(&project, &name).await?),
        MachineCommand::Create(args) => create(context, &client, &project, args).await,
        MachineCommand::Start(args) => action(context, &client, &project, "start", args, "started").await,
        MachineCommand::Stop(args) => action(context, &client, &project, "stop", args, "stopped").await,
        MachineCommand::Restart(args) => action(context, &client, &project, "restart", args, "started").await,
        MachineCommand::Rebuild(args) => action(context, &client, &project, "rebuild", args, "started").await,
        MachineCommand::Resize { name, cpus, memory, disk, no_wait } => {
            let body = MachineResize { cpus, memory, disk };
            let machine = client.machine_resize(&project, &name, &body, &fresh_key()).await?;
            if no_wait {
                return show(context, &machine);
            }
            show(context, &wait(&client, &project, &name, "settled", Duration::from_secs(600)).await?)
        }
        MachineCommand::Delete(args) => {
            let mut machine = client.machine_delete(&project, &args.name, &fresh_key()).await?;
            if !args.no_wait {
                machine =
                    match wait(&client, &project, &args.name, "destroyed", Duration::from_secs(300)).await {
                        Ok(machine) => machine,
                        // Gone before the wait began.
                        Err(error) if error.kind() == ErrorKind::NotFound => machine,
                        Err(error) => return Err(error),
                    };
            }
            if context.json {
                return output::json(&machine);
            }
            output::line(&format!(
                "machine {} {}",
                args.name,
                if args.no_wait { "is being destroyed" } else { "is destroyed" }
            ));
            Ok(())
        }
        MachineCommand::Wait { name, wanted, timeout } => {
            show(context, &wait(&client, &project, &name, &wanted, Duration::from_secs(timeout)).await?)
        }
        MachineCommand::Snapshot(command) => snapshot(context, &client, &project, command).await,
    }
}

fn encode(value: &str) -> String {
    value.bytes().fold(String::new(), |text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            format!("{text}{}", char::from(byte))
        } else {
            format!("{text}%{byte:02X}")
        }
    })
}

fn list(machines: &[Machine]) {
    let rows: Vec<_> = machines
        .iter()
        .map(|m| {
            let health = if m.healthy { "healthy" } else { "" };
            vec![
                m.name.clone(),
                m.state.as_str().to_owned(),
                health.to_owned(),
                m.address.clone().unwrap_or_default(),
                m.spec.image.clone(),
                m.reason.clone(),
            ]
        })
        .collect();
    output::table(&["NAME", "STATE", "HEALTH", "ADDRESS", "IMAGE", "REASON"], &rows);
}

fn show(context: &Context, machine: &Machine) -> Result<()> {
    if context.json {
        return output::json(machine);
    }
    let bytes = |value: i64| format_size(u64::try_from(value).unwrap_or(0));
    let healthy = if machine.healthy { ", healthy" } else { "" };
    let cordoned = if machine.cordoned { ", cordoned" } else { "" };
    let state = machine.state.as_str();
    output::line(format!("{} is {state}{healthy}{cordoned} {}", machine.name, machine.reason).trim_end());
    let spec = &machine.spec;
    let rows = [
        ("id", machine.id.to_string()),
        ("instance", machine.instance_id.to_string()),
        ("image", format!("{} {}", spec.image, machine.image_digest.as_deref().unwrap_or(""))),
        ("size", format!("{} cpus, {} memory, {} disk", spec.cpus, bytes(spec.memory), bytes(spec.disk))),
        ("network", format!("{} {}", spec.network, machine.address.as_deref().unwrap_or(""))),
        ("ssh key", machine.ssh_host_key.clone().unwrap_or_default()),
        ("boot id", machine.boot_id.clone().unwrap_or_default()),
        ("restarts", machine.restarts.to_string()),
    ];
    for (name, value) in rows {
        output::line(&format!("  {name:<9} {value}"));
    }
    Ok(())
}

/// Waits in calls of at most a minute each.
pub async fn wait(
    client: &Client,
    project: &str,
    name: &str,
    wanted: &str,
    timeout: Duration,
) -> Result<Machine> {
    let mut left = timeout;
    loop {
        let step = left.min(Duration::from_secs(60));
        match client.machine_wait(project, name, wanted, step).await {
            Err(error) if error.kind() == ErrorKind::Timeout && left > step => left -= step,
            other => return other,
        }
    }
}

async fn action(
    context: &Context,
    client: &Client,
    project: &str,
    action: &str,
    args: NamedArgs,
    until: &str,
) -> Result<()> {
    let mut machine = client.machine_action(project, &args.name, action, &fresh_key()).await?;
    if !args.no_wait {
        machine = wait(client, project, &args.name, until, Duration::from_secs(600)).await?;
    }
    show(context, &machine)
}

async fn create(context: &Context, client: &Client, project: &str, args: CreateArgs) -> Result<()> {
    let body = MachineCreate {
        name: args.name.clone(),
        spec: MachineSpec {
            image: args.image,
            cpus: args.cpus,
            memory: args.memory,
            disk: args.disk,
            network: args.network,
            address: None,
            user_data: None,
            start: if args.cold { "cold".into() } else { "warm".into() },
        },
        group: args.group,
        metadata: pairs(&args.metadata)?,
        health: None,
        skip_launch: args.skip_launch,
        skip_registration: args.skip_registration,
        lease_ttl: None,
    };
    let created = client.machine_create(project, &body, &fresh_key()).await?;
    if args.no_wait {
        return show(context, &created.machine);
    }
    let until = if args.skip_launch { "stopped" } else { "started" };
    show(context, &wait(client, project, &args.name, until, Duration::from_secs(900)).await?)
}

async fn snapshot(context: &Context, client: &Client, project: &str, command: SnapshotCommand) -> Result<()> {
    let operation = match command {
        SnapshotCommand::List { machine } => {
            let snapshots = client.snapshot_list(project, &machine).await?;
            if context.json {
                return output::json_list(&snapshots);
            }
            let rows: Vec<_> = snapshots
                .into_iter()
                .map(|s| vec![s.name, s.state, s.created_at.to_string(), s.reason])
                .collect();
            output::table(&["NAME", "STATE", "CREATED", "REASON"], &rows);
            return Ok(());
        }
        SnapshotCommand::Create { machine, name } => {
            client.snapshot_create(project, &machine, &SnapshotCreate { name }, &fresh_key()).await?
        }
        SnapshotCommand::Restore { machine, name } => {
            client.snapshot_restore(project, &machine, &name, &fresh_key()).await?
        }
    };
    let operation = wait_operation(client, &operation.id.to_string(), Duration::from_secs(600)).await?;
    if context.json {
        return output::json(&operation);
    }
    if operation.error.is_empty() {
        output::line(&format!("{} {}", operation.kind, operation.status.as_str()));
        Ok(())
    } else {
        Err(Error::conflict(operation.error))
    }
}
