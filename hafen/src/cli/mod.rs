//! The command line: one file per noun. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 changes pending.

mod access;
mod app;
mod ask;
mod build;
mod context;
mod doctor;
mod edge;
mod events;
mod identity;
mod identity_verbs;
mod image;
mod ledger;
mod login;
mod machine;
mod names;
mod owner;
mod plan;
mod plan_text;
mod policy;
mod repository;
mod rotate;
mod secret;
mod show;
mod sign_in;
mod witness;

use clap::{CommandFactory as _, Parser, Subcommand};
use hafen_base::{Error, Result};

use crate::output;
use crate::serve::ServeArgs;
use context::Context;
pub use context::usage;

/// Code of errors that mean wrong usage: exit code 2.
pub const USAGE: &str = "usage";

/// DevOps as an API: machines, clusters and applications from one manifest, on your own hardware.
#[derive(Debug, Parser)]
#[command(name = "hafen", version, max_term_width = 100)]
pub struct Cli {
    /// Project; else the one of ./hafen.toml, else the only one there is.
    #[arg(long, short = 'p', global = true, env = "HAFEN_PROJECT", value_parser = context::name_or_nothing)]
    project: Option<String>,
    /// The platform to speak to, as `https://hafen.example.org`; else the one that runs here, else the one of the last login.
    #[arg(long, global = true, env = "HAFEN_URL", value_name = "URL")]
    url: Option<String>,
    /// Print JSON of a stable shape.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the platform.
    Serve(Box<ServeArgs>),
    /// Run the SSH bastion as a process of its own.
    Bastion(crate::bastion::BastionArgs),
    /// Sign in at a platform elsewhere, get short-lived SSH certificates and set up stock ssh: then `ssh web-1.PROJECT.hafen`,
    /// scp, rsync, git and Ansible work.
    Login(login::LoginArgs),
    /// Sign out at a platform elsewhere.
    Logout,
    /// Prove the second factor again, for what is dangerous; holds for five minutes.
    StepUp {
        /// A code of the authenticator app or a recovery code; asked for unless said.
        #[arg(long)]
        code: Option<String>,
    },
    /// Show who the platform takes this user for.
    Whoami,
    /// Print the link by which a new platform gets its first owner: to be opened in a browser.
    Invitation,
    /// Invite an owner of the platform from its own host: the way back for who lost every way in.
    InviteOwner(owner::InviteOwnerArgs),
    /// SSH access: sessions, revocation, alerts.
    #[command(subcommand)]
    Access(login::AccessCommand),
    #[command(flatten)]
    Identity(identity_verbs::IdentityCommand),
    /// Show what an apply would change.
    Plan(plan::PlanArgs),
    /// Bring reality to the manifest, or apply a saved plan.
    Apply(plan::ApplyArgs),
    /// Destroy everything of the project.
    Destroy(plan::DestroyArgs),
    /// Show where reality left what was applied.
    Drift,
    /// Show the running platform.
    Status,
    /// Machines.
    #[command(subcommand)]
    Machine(machine::MachineCommand),
    /// Images.
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Networks.
    #[command(subcommand)]
    Network(show::NetworkCommand),
    /// Git repositories: who pushes what.
    #[command(subcommand)]
    Repository(repository::RepositoryCommand),
    /// Hooks: GitLab, GitHub, Forgejo or Jenkins say when to deploy.
    #[command(subcommand)]
    Hook(repository::HookCommand),
    /// Secrets: set them, never see them.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Apps: what runs on the machines.
    #[command(subcommand)]
    App(app::AppCommand),
    /// Take what was pushed into service, and wait until it serves.
    Deploy(app::DeployArgs),
    /// Go back to a release, without a build.
    Rollback(app::RollbackArgs),
    /// Builds of apps.
    #[command(subcommand)]
    Build(build::BuildCommand),
    /// Operations.
    #[command(subcommand)]
    Operation(show::OperationCommand),
    /// Hosts, and what they lead to.
    #[command(subcommand)]
    Route(edge::RouteCommand),
    /// Certificates of hosts.
    #[command(subcommand)]
    Certificate(edge::CertificateCommand),
    /// What happened, in order.
    Events(events::EventsArgs),
    /// Who may do what, and which rule says so.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Who did what, provably.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Witness the ledgers of others: to run where their platform is not.
    Witness(witness::WitnessArgs),
    /// Open a shell on a machine, or run a command on it.
    Ssh(access::SshArgs),
    /// Connect stdin and stdout to a port of a machine: for `ProxyCommand hafen dial %h %p`.
    Dial(access::DialArgs),
    /// The serial console of a machine; Ctrl-] leaves.
    Console(access::ConsoleArgs),
    /// Copy files from and to machines (`NAME:/path`).
    Cp(access::CpArgs),
    /// What this host can do, what is missing, and what mends it.
    Doctor,
    /// Carries one network; started by the platform.
    #[command(name = HOLDER, hide = true)]
    NetnsHolder { folder: std::path::PathBuf },
    /// Print the JSON Schema of the manifest.
    Schema,
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the man page of hafen, or write one for every command into a folder.
    Man {
        /// Folder for all pages, as hafen-machine-list.1.
        folder: Option<std::path::PathBuf>,
    },
}

/// The hidden verb that carries a network.
pub const HOLDER: &str = "netns-holder";

impl Cli {
    /// The folder of the network to carry, when that is what this process is for.
    pub fn holder(&self) -> Option<&std::path::Path> {
        match &self.command {
            Command::NetnsHolder { folder } => Some(folder),
            _ => None,
        }
    }
}

pub async fn run(cli: Cli) -> Result<u8> {
    crate::reach::say_url(cli.url);
    let context = Context::new(cli.project, cli.json);
    match cli.command {
        Command::Serve(args) => crate::serve::run(*args).await.map(|()| 0),
        Command::Bastion(args) => crate::bastion::run(args).await.map(|()| 0),
        Command::Login(args) => login::login(&context, args).await.map(|()| 0),
        Command::Logout => sign_in::logout(&context).await.map(|()| 0),
        Command::StepUp { code } => sign_in::step_up(&context, code).await.map(|()| 0),
        Command::Whoami => sign_in::whoami(&context).await.map(|()| 0),
        Command::Invitation => owner::invitation(&context).map(|()| 0),
        Command::InviteOwner(args) => owner::run(&context, args).await.map(|()| 0),
        Command::Access(command) => login::access(&context, command).await.map(|()| 0),
        Command::Identity(command) => identity::run(&context, command).await.map(|()| 0),
        Command::Plan(args) => plan::plan(&context, args).await,
        Command::Apply(args) => plan::apply(&context, args).await,
        Command::Destroy(args) => plan::destroy(&context, args).await,
        Command::Drift => plan::drift(&context).await,
        Command::Status => show::status(&context).await.map(|()| 0),
        Command::Machine(command) => machine::run(&context, command).await.map(|()| 0),
        Command::Image(command) => image::run(&context, command).await.map(|()| 0),
        Command::Network(command) => show::network(&context, command).await.map(|()| 0),
        Command::Repository(command) => repository::run(&context, command).await.map(|()| 0),
        Command::Hook(command) => repository::hook(&context, command).await.map(|()| 0),
        Command::Secret(command) => secret::run(&context, command).await,
        Command::App(command) => app::run(&context, command).await,
        Command::Deploy(args) => app::deploy(&context, args).await,
        Command::Rollback(args) => app::rollback(&context, args).await,
        Command::Build(command) => build::run(&context, command).await.map(|()| 0),
        Command::Operation(command) => show::operation(&context, command).await,
        Command::Route(command) => edge::route(&context, command).await.map(|()| 0),
        Command::Certificate(command) => edge::certificate(&context, command).await.map(|()| 0),
        Command::Events(args) => events::run(&context, args).await.map(|()| 0),
        Command::Policy(command) => policy::run(&context, command).await.map(|()| 0),
        Command::Ledger(command) => ledger::run(&context, command).await,
        Command::Witness(args) => witness::run(args).await.map(|()| 0),
        Command::Ssh(args) => access::ssh(&context, args).await,
        Command::Dial(args) => access::dial(&context, args).await.map(|()| 0),
        Command::Console(args) => access::console(&context, args).await.map(|()| 0),
        Command::Cp(args) => access::copy(&context, args).await,
        Command::Doctor => doctor::run(&context).await,
        Command::NetnsHolder { .. } => Err(Error::invalid("a network is carried by a process of its own")),
        Command::Schema => output::json(&hafen_manifest::schema()).map(|()| 0),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hafen", &mut script);
            output::raw(&script);
            Ok(0)
        }
        Command::Man { folder: None } => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Error::internal)?;
            output::raw(&page);
            Ok(0)
        }
        Command::Man { folder: Some(folder) } => {
            std::fs::create_dir_all(&folder)
                .and_then(|()| clap_mangen::generate_to(Cli::command(), &folder))
                .map_err(|error| Error::unavailable(format!("{}: {error}", folder.display())))?;
            Ok(0)
        }
    }
}

/// Percent-encodes what may stand in no query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |done, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b'*' | b':' => {
            format!("{done}{}", char::from(byte))
        }
        _ => format!("{done}%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
