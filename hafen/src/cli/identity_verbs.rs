//! The nouns and verbs of identity, as they are typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ask::key_value;

/// The tenant meant: another than one's own only for owners of the platform.
#[derive(Debug, Args)]
pub struct Of {
    /// Another organisation, by name or id: for owners of the platform.
    #[arg(long, global = true)]
    pub organisation: Option<String>,
}

/// One noun with its verbs.
#[derive(Debug, Args)]
pub struct Noun<T: Subcommand> {
    #[command(flatten)]
    pub of: Of,
    #[command(subcommand)]
    pub verb: T,
}

#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Organisations: tenants that see nothing of one another.
    #[command(subcommand)]
    Organisation(OrganisationVerb),
    /// Teams: they own projects and service accounts.
    Team(Noun<TeamVerb>),
    /// People.
    Person(Noun<PersonVerb>),
    /// Invitations: how people come in.
    Invite(Noun<InviteVerb>),
    /// Who holds which role where.
    Member(Noun<MemberVerb>),
    /// Service accounts: robots that a team owns.
    ServiceAccount(Noun<ServiceAccountVerb>),
    /// Tokens of people and service accounts.
    #[command(subcommand)]
    Token(TokenVerb),
    /// Sessions: where somebody is signed in.
    #[command(subcommand)]
    Session(SessionVerb),
    /// Which team owns which project.
    ProjectOwner(Noun<ProjectOwnerVerb>),
    /// Roles of the organisation, beside those built in.
    Role(Noun<RoleVerb>),
    /// Workload identities: jobs of an issuer, such as a GitLab, that are somebody here without a stored secret.
    Workload(Noun<WorkloadVerb>),
    /// External OpenID providers that people sign in through.
    IdentityProvider(Noun<IdentityProviderVerb>),
}

/// A role, and where it is held: at the organisation unless said.
#[derive(Debug, Args)]
pub struct RoleAt {
    /// owner, maintainer, operator, developer, auditor, viewer, or a role of the organisation.
    #[arg(long)]
    pub role: String,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct At {
    /// At this team, by name or id, and so on every project of it.
    #[arg(long = "at-team", value_name = "TEAM", conflicts_with = "project_name")]
    pub team: Option<String>,
    /// At this project.
    #[arg(long = "at-project", value_name = "PROJECT")]
    pub project_name: Option<String>,
}

/// What a token is limited to.
#[derive(Debug, Args)]
pub struct Limits {
    /// Limit it to this permission, as machine.read; may be repeated.
    #[arg(long = "permission")]
    pub permissions: Vec<String>,
    /// Limit it to this project; may be repeated.
    #[arg(long = "only-project", value_name = "PROJECT")]
    pub projects: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum OrganisationVerb {
    /// List those one may see.
    List,
    Show {
        organisation: String,
    },
    /// Found one: for owners of the platform.
    Create {
        name: String,
        #[arg(long)]
        title: Option<String>,
    },
    /// Change its title, or how its people sign in.
    Update {
        organisation: String,
        #[arg(long)]
        title: Option<String>,
        /// Whether a password alone is not enough.
        #[arg(long, value_name = "required|optional")]
        second_factor: Option<SecondFactor>,
        /// Hours until a session ends however busy it is.
        #[arg(long)]
        session_hours: Option<i64>,
        /// Minutes until an idle session ends.
        #[arg(long)]
        idle_minutes: Option<i64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SecondFactor {
    Required,
    Optional,
}

#[derive(Debug, Subcommand)]
pub enum TeamVerb {
    List,
    Show {
        team: String,
    },
    Create {
        name: String,
        #[arg(long)]
        title: Option<String>,
    },
    /// Delete a team that owns nothing any more.
    Delete {
        team: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum PersonVerb {
    List,
    /// Show a person, by id or login.
    Show {
        person: String,
    },
    /// Stop their sessions and tokens at once.
    Suspend {
        person: String,
    },
    Activate {
        person: String,
    },
    /// Take away how they sign in, and invite them to set it up anew; they keep their roles.
    Reset {
        person: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum InviteVerb {
    List,
    /// Invite somebody; prints the secret to hand over, once.
    Create {
        #[command(flatten)]
        role: RoleAt,
        /// What they will sign in with; theirs to choose unless said.
        #[arg(long)]
        login: Option<String>,
        /// Hours it is good for, 1 to 720; 72 unless said.
        #[arg(long)]
        hours: Option<i64>,
    },
    Withdraw {
        invitation: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum MemberVerb {
    List {
        /// Only what this person (id or login) or service account (id or name) holds.
        #[arg(long)]
        subject: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Give a role to a person (id or login) or service account (id or name), in place of an earlier one there.
    Add {
        subject: String,
        #[command(flatten)]
        role: RoleAt,
    },
    /// Take a role, by the id that `list` shows.
    Remove { membership: String },
}

#[derive(Debug, Subcommand)]
pub enum ServiceAccountVerb {
    List,
    Show {
        account: String,
    },
    Create {
        name: String,
        /// The team that owns it.
        #[arg(long)]
        team: String,
        #[arg(long)]
        description: Option<String>,
    },
    /// Stop its tokens at once.
    Suspend {
        account: String,
    },
    Activate {
        account: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    List {
        /// Of this person (id or login) or service account (id or name); one's own unless said.
        #[arg(long)]
        subject: Option<String>,
    },
    Show {
        token: String,
    },
    /// Make one; prints its secret, once.
    Create {
        name: String,
        /// For this service account; for oneself unless said.
        #[arg(long)]
        service_account: Option<String>,
        #[command(flatten)]
        limits: Limits,
        /// Days it is good for, at most 366; 90 unless said.
        #[arg(long)]
        days: Option<i64>,
    },
    /// Put a new one in its place; prints its secret, once. Done when the old one was seen to fail: see `show`.
    Rotate {
        token: String,
        /// Minutes for which the old one still opens; 0 unless said.
        #[arg(long)]
        overlap_minutes: Option<i64>,
    },
    Revoke {
        token: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum SessionVerb {
    List {
        /// Of this person, by id or login; one's own unless said.
        #[arg(long)]
        subject: Option<String>,
    },
    Revoke {
        #[arg(required_unless_present = "others")]
        session: Option<String>,
        /// All of one's own but the one that asks.
        #[arg(long, conflicts_with = "session")]
        others: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum ProjectOwnerVerb {
    List,
    /// Give a project to a team.
    Set {
        project_name: String,
        team: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum RoleVerb {
    List,
    /// Make or change one.
    Set {
        role: String,
        /// A permission, as machine.read; may be repeated.
        #[arg(long = "permission", required = true)]
        permissions: Vec<String>,
        #[arg(long)]
        title: Option<String>,
    },
    /// Delete one that nobody holds.
    Delete {
        role: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum WorkloadVerb {
    List,
    Show {
        workload: String,
    },
    /// Trust jobs of an issuer whose claims meet every condition.
    Create(Box<WorkloadCreate>),
    /// Trust it no longer; what its jobs hold ends at once.
    Delete {
        workload: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum IdentityProviderVerb {
    List,
    Create {
        name: String,
        #[arg(long)]
        issuer: String,
        #[arg(long)]
        client_id: String,
        /// File that holds the client's secret; - reads it from stdin.
        #[arg(long)]
        client_secret_file: PathBuf,
    },
    /// Nobody signs in through it any more.
    Delete {
        provider: String,
    },
}

#[derive(Debug, Args)]
pub struct WorkloadCreate {
    pub name: String,
    /// `iss` of its tokens, as `https://gitlab.example.org`; its keys are fetched from there.
    #[arg(long)]
    pub issuer: String,
    /// `aud` of its tokens: this platform.
    #[arg(long)]
    pub audience: String,
    /// A condition, as ref=main; a value that ends in * is a beginning. May be repeated.
    #[arg(long = "claim", required = true, value_name = "NAME=VALUE", value_parser = key_value)]
    pub claims: Vec<(String, String)>,
    /// File of the issuer's keys (JWKS), where the platform cannot fetch them.
    #[arg(long)]
    pub jwks: Option<PathBuf>,
    #[command(flatten)]
    pub role: RoleAt,
    #[command(flatten)]
    pub limits: Limits,
}
