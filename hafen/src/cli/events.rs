//! `events`: what happened; with `--follow` it goes on, through restarts of the platform.

use std::time::Duration;

use clap::Args;
use hafen_base::{ErrorKind, Result};
use hafen_client::Client;
use hafen_client::wire::{Event, List};
use http_body_util::BodyExt as _;

use super::context::{Context, client};
use crate::output;

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only events after this position.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    after: i64,
    /// Go on with what happens from now.
    #[arg(long, short)]
    follow: bool,
}

fn print(context: &Context, event: &Event) -> Result<()> {
    if context.json {
        output::line(&serde_json::to_string(event).map_err(hafen_base::Error::internal)?);
    } else {
        let message = output::brief(&event.message);
        output::line(&format!("{:>6}  {}  {:<24} {message}", event.seq, event.at, event.kind));
    }
    Ok(())
}

pub async fn run(context: &Context, args: EventsArgs) -> Result<()> {
    let client = client()?;
    let mut position = args.after;
    let project = context.named_project().map(|name| format!("&project={name}")).unwrap_or_default();
    let mut all = Vec::new();
    loop {
        let path = format!("/api/v1/events?after={position}&limit=1000{project}");
        let list: List<Event> = client.get(&path).await?;
        let Some(last) = list.items.last() else { break };
        position = last.seq;
        if context.json && !args.follow {
            all.extend(list.items);
        } else {
            for event in &list.items {
                print(context, event)?;
            }
        }
    }
    if !args.follow {
        return if context.json { output::json_list(&all) } else { Ok(()) };
    }
    loop {
        match follow(context, &client, &mut position, &project).await {
            Err(error) if error.kind() != ErrorKind::Unavailable => return Err(error),
            // Cut off, or the platform restarts: read on from where we were.
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

async fn follow(context: &Context, client: &Client, position: &mut i64, project: &str) -> Result<()> {
    let mut body = client.follow(&format!("/api/v1/events?after={position}{project}")).await?;
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Ok(()) };
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let message: Vec<u8> = buffer.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&message);
            for line in text.lines() {
                if let Some(event) =
                    line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Event>(data).ok())
                {
                    *position = event.seq;
                    print(context, &event)?;
                }
            }
        }
    }
    Ok(())
}
