//! `policy`: who may do what, and which rule says so.

use clap::Subcommand;
use hafen_base::Result;
use hafen_client::wire::PolicyAnswer;

use super::context::{Context, client, usage};
use super::encoded;
use crate::output;

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Whether somebody may do something, and which rule decides.
    Explain {
        /// A person's login or id, a service account, a token or session by id, or `me`.
        who: String,
        /// As machine.read; see `hafen policy actions`.
        action: String,
        /// A project, or `organisation`.
        place: String,
        /// Of another organisation; for owners of the platform.
        #[arg(long)]
        organisation: Option<String>,
    },
    /// List every action there is.
    Actions,
    /// Print the policy.
    Show,
}

pub async fn run(context: &Context, command: PolicyCommand) -> Result<()> {
    let client = client()?;
    match command {
        PolicyCommand::Explain { who, action, place, organisation } => {
            let place = match place.as_str() {
                "organisation" => place,
                named => {
                    let name = named.strip_prefix("project/").unwrap_or(named);
                    hafen_base::check_label("project", name).map_err(usage)?;
                    format!("project/{name}")
                }
            };
            let mut query = format!("who={}&action={}&place={place}", encoded(&who), encoded(&action));
            if let Some(organisation) = organisation {
                query = format!("{query}&organisation={}", encoded(&organisation));
            }
            let answer = client.policy_explain(&query).await?;
            if context.json {
                return output::json(&answer);
            }
            print(&answer);
        }
        PolicyCommand::Actions => {
            let list = client.policy_actions().await?;
            if context.json {
                return output::json_list(&list.items);
            }
            let rows: Vec<_> = list
                .items
                .into_iter()
                .map(|one| {
                    let again = if one.dangerous { " (asks for the second factor again)" } else { "" };
                    vec![one.name, one.group, format!("{}{again}", one.tells)]
                })
                .collect();
            output::table(&["ACTION", "GROUP", "MAY"], &rows);
        }
        PolicyCommand::Show => {
            let policy = client.policy().await?;
            if context.json {
                return output::json(&policy);
            }
            output::raw(policy.text.as_bytes());
            for rule in policy.rules.iter().filter(|rule| rule.id.starts_with("role-")) {
                output::line(&format!("\n// {}: {}", rule.id, rule.tells));
            }
        }
    }
    Ok(())
}

fn print(answer: &PolicyAnswer) {
    let word = if answer.allowed { output::paint("32", "allowed") } else { output::paint("31", "refused") };
    let who = &answer.who;
    output::line(&format!("{word}: {} in {}", answer.action.name, answer.place));
    output::line(&format!("who    {} ({} {})", who.name, who.kind, who.id));
    if !who.credential.is_empty() {
        output::line(&format!("by     {}", who.credential));
    }
    if who.standing != "active" {
        output::line(&format!("but    {}: nothing is permitted", who.standing));
    } else if answer.rules.is_empty() {
        output::line("rule   none permits it");
    }
    for rule in &answer.rules {
        output::line(&format!("rule   {}: {}", rule.id, rule.tells));
    }
    for role in &answer.roles {
        let beside = if role.counts { "" } else { ", which does not count there" };
        output::line(&format!("role   {} at {}{beside}", role.role, role.scope));
    }
    for (name, limit) in [("scopes", &answer.scopes), ("projects", &answer.projects)] {
        if let Some(limit) = limit {
            output::line(&format!("limit  {name}: {}", limit.join(", ")));
        }
    }
    if answer.step_up {
        output::line("note   asks for the second factor again");
    }
}
