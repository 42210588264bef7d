//! Git repositories and hooks.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hafen_base::{Error, Result};
use hafen_client::wire::{ProtectedBranch, PushRole, RepositoryPut};
use hafen_client::{Client, Conditions};
use http::Method;
use serde_json::json;

use super::ask::{Ask, Show, part};
use super::context::{Context, client, name, usage};
use crate::home::Home;
use crate::output;
use crate::reach::{self, Way};

#[derive(Debug, Subcommand)]
pub enum RepositoryCommand {
    /// List repositories.
    List,
    /// Show a repository, and how git reaches it.
    Show {
        #[arg(value_parser = name)]
        repository: String,
    },
    /// Make a repository; its default branch is protected: developers push, nobody rewrites.
    Create(CreateArgs),
    /// Delete a repository with all that was pushed to it.
    Delete {
        #[arg(value_parser = name)]
        repository: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Say who pushes to a branch, or to all that fit a pattern.
    Protect(ProtectArgs),
    /// Let whoever pushes to the repository push to these branches, too.
    Unprotect {
        #[arg(value_parser = name)]
        repository: String,
        /// As it was protected.
        pattern: String,
    },
    /// Change a repository: default branch, limits.
    Update(UpdateArgs),
    /// List the newest commits of a branch, tag or commit.
    Commits {
        #[arg(value_parser = name)]
        repository: String,
        /// The default branch unless given.
        reference: Option<String>,
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// List branches and tags.
    References {
        #[arg(value_parser = name)]
        repository: String,
    },
    /// SSH keys that open one repository, as user `git` at the bastion.
    #[command(subcommand)]
    DeployKey(DeployKeyCommand),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    #[arg(value_parser = name)]
    repository: String,
    #[arg(long, default_value = "")]
    description: String,
    #[arg(long, default_value = "main")]
    default_branch: String,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Debug, Args)]
pub struct Limits {
    /// MiB the repository may have on the disk.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(i64).range(1..=1_048_576))]
    size_limit: Option<i64>,
    /// MiB one file may have.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(i64).range(1..=1_048_576))]
    object_limit: Option<i64>,
}

impl Limits {
    fn bytes(mebibytes: Option<i64>) -> Option<i64> {
        mebibytes.map(|count| count << 20)
    }
}

/// Who pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Nobody,
    Owner,
    Maintainer,
    Operator,
    Developer,
}

impl Role {
    const fn wire(self) -> PushRole {
        match self {
            Self::Nobody => PushRole::Nobody,
            Self::Owner => PushRole::Owner,
            Self::Maintainer => PushRole::Maintainer,
            Self::Operator => PushRole::Operator,
            Self::Developer => PushRole::Developer,
        }
    }
}

#[derive(Debug, Args)]
pub struct ProtectArgs {
    #[arg(value_parser = name)]
    repository: String,
    /// A branch, or with `*` several, as release/*.
    pattern: String,
    /// The least role that pushes.
    #[arg(long, value_enum, default_value = "developer")]
    push: Role,
    /// They may rewrite what it holds.
    #[arg(long)]
    force: bool,
    /// They may delete it.
    #[arg(long)]
    delete: bool,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    #[arg(value_parser = name)]
    repository: String,
    #[arg(long)]
    description: Option<String>,
    #[arg(long)]
    default_branch: Option<String>,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Debug, Subcommand)]
pub enum DeployKeyCommand {
    /// List the keys of a repository.
    List {
        #[arg(value_parser = name)]
        repository: String,
    },
    /// Let a key in: to fetch, or with --write to push as a developer would.
    Add {
        #[arg(value_parser = name)]
        repository: String,
        /// What it is called.
        #[arg(value_parser = name)]
        key: String,
        /// The public key, as `id_ed25519.pub`; - for stdin.
        file: PathBuf,
        #[arg(long)]
        write: bool,
    },
    /// Let a key in no more.
    Remove {
        #[arg(value_parser = name)]
        repository: String,
        #[arg(value_parser = name)]
        key: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum HookCommand {
    /// List hooks.
    List,
    /// Show a hook.
    Show {
        #[arg(value_parser = name)]
        hook: String,
    },
    /// Make a hook: another system says when an application is to be deployed. The secret is shown once, on stdout.
    Create(HookCreateArgs),
    /// End a hook.
    Delete {
        #[arg(value_parser = name)]
        hook: String,
    },
    /// List what a hook was called with, newest first: what it acted on, and the last calls that asked for nothing.
    Deliveries {
        #[arg(value_parser = name)]
        hook: String,
    },
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Gitlab,
    Github,
    Forgejo,
    Jenkins,
}

#[derive(Debug, Args)]
pub struct HookCreateArgs {
    #[arg(value_parser = name)]
    hook: String,
    #[arg(long, value_enum)]
    kind: Kind,
    /// The application to deploy.
    #[arg(long, value_parser = name)]
    app: String,
    /// Only of this branch.
    #[arg(long)]
    branch: Option<String>,
    /// GitLab: when a pipeline was a success, not at the push.
    #[arg(long)]
    pipeline: bool,
    /// Jenkins: only builds of this job.
    #[arg(long)]
    job: Option<String>,
}

fn path(project: &str, repository: &str) -> String {
    format!("/projects/{project}/repositories/{}", part(repository))
}

pub async fn run(context: &Context, command: RepositoryCommand) -> Result<()> {
    let client = client()?;
    let project = context.project(&client).await?;
    let ask = match command {
        RepositoryCommand::List => Ask::new(
            Method::GET,
            &format!("/projects/{project}/repositories"),
            Show::List(&["name", "default_branch", "size", "pushed_at", "description"]),
        ),
        RepositoryCommand::Show { repository } => return show(context, &client, &project, &repository).await,
        RepositoryCommand::Create(args) => {
            let body = json!({
                "name": args.repository, "description": args.description, "default_branch": args.default_branch,
                "size_limit": Limits::bytes(args.limits.size_limit),
                "object_limit": Limits::bytes(args.limits.object_limit),
            });
            Ask::new(Method::POST, &format!("/projects/{project}/repositories"), Show::One).body(body)
        }
        RepositoryCommand::Delete { repository, yes } => {
            if !yes {
                return Err(usage(format!(
                    "this deletes repository {repository:?} with all that was pushed to it: say --yes if that is meant"
                )));
            }
            Ask::new(Method::DELETE, &path(&project, &repository), Show::Done("deleted"))
        }
        RepositoryCommand::Protect(args) => {
            let rule = ProtectedBranch {
                pattern: args.pattern,
                push: args.push.wire(),
                force: args.force,
                delete: args.delete,
            };
            return change(context, &client, &project, &args.repository, |body| {
                // A rule of this pattern is replaced where it stands; a new one counts before all others.
                match body.protected.iter_mut().find(|one| one.pattern == rule.pattern) {
                    Some(old) => *old = rule.clone(),
                    None => body.protected.insert(0, rule.clone()),
                }
                Ok(())
            })
            .await;
        }
        RepositoryCommand::Unprotect { repository, pattern } => {
            return change(context, &client, &project, &repository, |body| {
                let before = body.protected.len();
                body.protected.retain(|one| one.pattern != pattern);
                if body.protected.len() == before {
                    return Err(Error::not_found(format!(
                        "rule for {pattern:?}: `hafen repository show {repository}` lists those there are"
                    )));
                }
                Ok(())
            })
            .await;
        }
        RepositoryCommand::Update(args) => {
            return change(context, &client, &project, &args.repository, |body| {
                if let Some(branch) = &args.default_branch {
                    body.default_branch.clone_from(branch);
                }
                if let Some(text) = &args.description {
                    body.description.clone_from(text);
                }
                body.size_limit = Limits::bytes(args.limits.size_limit).unwrap_or(body.size_limit);
                body.object_limit = Limits::bytes(args.limits.object_limit).unwrap_or(body.object_limit);
                Ok(())
            })
            .await;
        }
        RepositoryCommand::Commits { repository, reference, limit } => {
            return commits(context, &client, &project, (&repository, reference.as_deref()), limit).await;
        }
        RepositoryCommand::References { repository } => Ask::new(
            Method::GET,
            &format!("{}/references", path(&project, &repository)),
            Show::List(&["name", "target"]),
        ),
        RepositoryCommand::DeployKey(command) => deploy_key(&project, command)?,
    };
    ask.run(context, &client).await
}

fn deploy_key(project: &str, command: DeployKeyCommand) -> Result<Ask> {
    Ok(match command {
        DeployKeyCommand::List { repository } => Ask::new(
            Method::GET,
            &format!("{}/deploy-keys", path(project, &repository)),
            Show::List(&["name", "access", "fingerprint", "created_by", "used_at"]),
        ),
        DeployKeyCommand::Add { repository, key, file, write } => {
            let public_key = super::ask::secret(&file)?;
            let access = if write { "write" } else { "read" };
            let body = json!({ "name": key, "public_key": public_key, "access": access });
            Ask::new(Method::POST, &format!("{}/deploy-keys", path(project, &repository)), Show::One)
                .body(body)
        }
        DeployKeyCommand::Remove { repository, key } => {
            let path = format!("{}/deploy-keys/{}", path(project, &repository), part(&key));
            Ask::new(Method::DELETE, &path, Show::Done("removed"))
        }
    })
}

/// Changes what is, if nobody changes it at the same time.
async fn change(
    context: &Context,
    client: &Client,
    project: &str,
    repository: &str,
    change: impl Fn(&mut RepositoryPut) -> Result<()>,
) -> Result<()> {
    let before = client.repository_get(project, repository).await?;
    let mut body = RepositoryPut {
        description: before.description,
        default_branch: before.default_branch,
        protected: before.protected,
        size_limit: before.size_limit,
        object_limit: before.object_limit,
    };
    change(&mut body)?;
    let with = Conditions { if_match: Some(format!("\"g{}\"", before.generation)), ..Conditions::default() };
    let after = client.repository_put(project, repository, &body, &with).await?;
    if context.json {
        return output::json(&after);
    }
    print(&after);
    Ok(())
}

fn print(one: &hafen_client::wire::Repository) {
    output::line(&format!("{} in project {}", one.name, one.project));
    if !one.description.is_empty() {
        output::line(&format!("  {}", one.description));
    }
    output::line(&format!("  default branch {}", one.default_branch));
    output::line(&format!(
        "  {} MiB of {} MiB, {} MiB a file",
        one.size >> 20,
        one.size_limit >> 20,
        one.object_limit >> 20
    ));
    for rule in &one.protected {
        let who = rule.push.role().unwrap_or("nobody");
        let more = [(rule.force, ", rewriting"), (rule.delete, ", deleting")];
        let more: String = more.iter().filter(|(may, _)| *may).map(|(_, text)| *text).collect();
        output::line(&format!("  protected {}: pushed by {who}{more}", rule.pattern));
    }
}

async fn show(context: &Context, client: &Client, project: &str, repository: &str) -> Result<()> {
    let found = client.repository_get(project, repository).await?;
    if context.json {
        return output::json(&found);
    }
    print(&found);
    let url = match reach::way(&Home::find()?)? {
        Way::Local(_) => client.status().await?.url,
        Way::Token { url, .. } | Way::Nobody { url } => url,
        Way::SignedIn(sign_in) => sign_in.url,
    };
    output::line(&format!("  git clone {url}{}", found.path));
    output::line(&format!("  git clone ssh://git.hafen/{project}/{}.git   (after hafen login)", found.name));
    Ok(())
}

async fn commits(
    context: &Context,
    client: &Client,
    project: &str,
    (repository, reference): (&str, Option<&str>),
    limit: u32,
) -> Result<()> {
    let reference = reference.map(part);
    let list = client.commit_list(project, repository, reference.as_deref(), limit).await?;
    if context.json {
        return output::json_list(&list.items);
    }
    let plain = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let rows: Vec<_> = list
        .items
        .iter()
        .map(|one| {
            let short = one.id.get(..12).unwrap_or(&one.id).to_owned();
            vec![short, one.committed_at.to_string(), plain(&one.author), plain(&one.subject)]
        })
        .collect();
    output::table(&["COMMIT", "AT", "AUTHOR", "SUBJECT"], &rows);
    Ok(())
}

pub async fn hook(context: &Context, command: HookCommand) -> Result<()> {
    let client = client()?;
    let project = context.project(&client).await?;
    let all = format!("/projects/{project}/hooks");
    let one = |hook: &str| format!("{all}/{}", part(hook));
    let ask = match command {
        HookCommand::List => Ask::new(
            Method::GET,
            &all,
            Show::List(&["name", "kind", "app", "branch", "path", "created_by", "called_at"]),
        ),
        HookCommand::Show { hook } => Ask::new(Method::GET, &one(&hook), Show::One),
        HookCommand::Create(args) => {
            let kind = match args.kind {
                Kind::Gitlab => "gitlab",
                Kind::Github => "github",
                Kind::Forgejo => "forgejo",
                Kind::Jenkins => "jenkins",
            };
            let body = json!({ "name": args.hook, "kind": kind, "app": args.app, "branch": args.branch,
                               "pipeline": args.pipeline, "job": args.job });
            Ask::new(Method::POST, &all, Show::Secret("secret")).body(body)
        }
        HookCommand::Delete { hook } => Ask::new(Method::DELETE, &one(&hook), Show::Done("ended")),
        HookCommand::Deliveries { hook } => Ask::new(
            Method::GET,
            &format!("{}/deliveries", one(&hook)),
            Show::List(&["at", "outcome", "detail", "id"]),
        ),
    };
    ask.run(context, &client).await
}
