//! `login`: certificates for minutes, and a configuration by which stock OpenSSH uses them; `access`: who is in, and out.
//!
//! The configuration renews by itself: before each connection ssh runs `hafen login --if-needed` (`Match exec`), which does
//! nothing while the certificates last. So scripts and Ansible work without anybody signing in again, as long as the
//! platform knows them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use hafen_base::{Clock as _, Error, ErrorKind, Result, SystemClock, Timestamp};
use hafen_client::Client;
use hafen_client::wire::{
    AccessGrant, AccessGrantCreate, IntegrityAccept, MachineIntegrity, MachineState, RevocationCreate,
};
use serde::{Deserialize, Serialize};

use super::context::{Context, client, name, usage};
use crate::bastion::NAME;
use crate::output;
use crate::sign_in::SignIn;

#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Stay, and renew the certificates until interrupted.
    #[arg(long, conflicts_with = "if_needed")]
    renew: bool,
    /// Do nothing while the certificates last: for `Match exec`.
    #[arg(long)]
    if_needed: bool,
    /// Seconds the certificates are valid, at most 3600.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(i64).range(60..=3600))]
    ttl: i64,
    /// Folder of key, certificates and configuration; ~/.ssh/hafen unless said, which ~/.ssh/config then includes.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Sessions through the bastion, newest first.
    Sessions,
    /// What was refused, who came from where or with what for the first time, and what changed on machines.
    Alerts,
    /// Check the ways into a machine, or into all of the project, now: sshd, keys, sudo, setuid files.
    Check(CheckArgs),
    /// Accept what changed on a machine: from now on it is compared with how it is.
    Accept(AcceptArgs),
    /// Revoke certificates; sessions that began with them end within seconds.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Machine, as web-1 or web-1.PROJECT; all started ones of the project unless given.
    #[arg(value_parser = name)]
    machine: Option<String>,
}

#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// Machine, as web-1 or web-1.PROJECT.
    #[arg(value_parser = name)]
    machine: String,
    /// For those who read it later.
    #[arg(long)]
    reason: String,
    /// The report that you looked at, as `check` shows it; the last one unless given.
    #[arg(long)]
    report: Option<String>,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// One certificate.
    #[arg(long, conflicts_with_all = ["person", "everything"])]
    serial: Option<String>,
    /// All certificates of a person, by id.
    #[arg(long, conflicts_with = "everything")]
    person: Option<String>,
    /// All certificates there are.
    #[arg(long)]
    everything: bool,
    /// For those who read it later.
    #[arg(long)]
    reason: String,
}

/// By this name stock git reaches repositories over SSH; no machine has a name of one part.
const GIT: &str = "git.hafen";

/// Renewed when less than this is left, or a third of the time.
const EARLY: Duration = Duration::from_secs(60);

/// Beside the certificates: until when they are good.
#[derive(Serialize, Deserialize)]
struct Until {
    valid_before: Timestamp,
}

struct Folder(PathBuf);

impl Folder {
    fn find(named: Option<PathBuf>) -> Result<(Self, Option<PathBuf>)> {
        if let Some(folder) = named {
            return Ok((Self(std::path::absolute(&folder).map_err(Error::internal)?), None));
        }
        let home = std::env::var_os("HOME")
            .filter(|home| !home.is_empty())
            .ok_or_else(|| usage("HOME is not set: say --folder"))?;
        let ssh = PathBuf::from(home).join(".ssh");
        Ok((Self(ssh.join("hafen")), Some(ssh.join("config"))))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        hafen_seal::write_private(&path, text.as_bytes()).map_err(|error| unusable(&path, error))
    }

    /// Whether the certificates last.
    fn is_fresh(&self) -> bool {
        let read = std::fs::read_to_string(self.path("until.json")).ok();
        let until: Option<Until> = read.and_then(|text| serde_json::from_str(&text).ok());
        until.is_some_and(|until| until.valid_before.since(SystemClock.now()) > EARLY)
    }

    /// The public key; made with its private one if it is not there.
    async fn public_key(&self) -> Result<String> {
        std::fs::create_dir_all(&self.0).map_err(|error| unusable(&self.0, error))?;
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&self.0, closed).map_err(|error| unusable(&self.0, error))?;
        let key = self.path("id");
        if !key.exists() {
            super::access::new_key(&key).await?;
        }
        let public = self.path("id.pub");
        std::fs::read_to_string(&public).map_err(|error| unusable(&public, error))
    }

    async fn renew(&self, client: &Client, url: Option<&str>, ttl: i64) -> Result<AccessGrant> {
        let public_key = self.public_key().await?;
        let grant = client.access_grant_create(&AccessGrantCreate { public_key, ttl }).await?;
        let address = grant.bastion_address.as_deref().ok_or_else(|| {
            Error::conflict("no bastion runs: start the platform with `hafen serve --bastion ADDRESS`")
        })?;
        self.write("bastion-cert.pub", &format!("{}\n", grant.bastion.certificate.trim()))?;
        self.write("machine-cert.pub", &format!("{}\n", grant.machine.certificate.trim()))?;
        self.write("known_hosts", &format!("@cert-authority {NAME},*.hafen {}\n", grant.host_ca.trim()))?;
        self.write("config", &self.config(address, url, &grant)?)?;
        let until =
            serde_json::to_string(&Until { valid_before: grant.valid_before }).map_err(Error::internal)?;
        self.write("until.json", &until)?;
        Ok(grant)
    }

    fn config(&self, address: &str, url: Option<&str>, grant: &AccessGrant) -> Result<String> {
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| Error::internal(format!("{address:?} is no address of a bastion")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let program = std::env::current_exe().map_err(Error::internal)?;
        let folder = self.0.display();
        let renew = format!(
            "{} login --if-needed{} --folder {}",
            super::access::quote(&program),
            // Whoever calls ssh need not say it.
            url.map(|url| format!(" --url {}", super::access::quote(Path::new(url)))).unwrap_or_default(),
            super::access::quote(&self.0)
        );
        let (user, login) = (&grant.bastion.user, &grant.machine.user);
        Ok(format!(
            "# Written by `hafen login`; it writes it anew.\n\
             Match originalhost *.hafen,!{NAME} exec \"{renew}\"\n\
             Host {NAME}\n  HostName {host}\n  Port {port}\n  User {user}\n  HostKeyAlias {NAME}\n  \
             CertificateFile \"{folder}/bastion-cert.pub\"\n  ProxyJump none\n\
             Host {GIT}\n  HostName {host}\n  Port {port}\n  User {user}\n  HostKeyAlias {NAME}\n  \
             CertificateFile \"{folder}/bastion-cert.pub\"\n  ProxyJump none\n\
             Host *.hafen !{NAME} !{GIT}\n  User {login}\n  ProxyJump {NAME}\n  \
             CertificateFile \"{folder}/machine-cert.pub\"\n\
             Host *.hafen\n  IdentityFile \"{folder}/id\"\n  IdentitiesOnly yes\n  IdentityAgent none\n  ForwardAgent no\n  \
             StrictHostKeyChecking yes\n  UserKnownHostsFile \"{folder}/known_hosts\"\n  GlobalKnownHostsFile /dev/null\n"
        ))
    }
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("{} cannot be used: {error}", path.display())).with_cause(error)
}

/// Puts `Include hafen/config` first: a `Host` of the user's own that came before it would win.
fn include(config: &Path) -> Result<()> {
    const LINE: &str = "Include hafen/config";
    let old = match std::fs::read_to_string(config) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| unusable(config, error))?,
    };
    if old.lines().any(|line| line.trim() == LINE) {
        return Ok(());
    }
    hafen_seal::write_private(config, format!("{LINE}\n\n{old}").as_bytes())
        .map_err(|error| unusable(config, error))
}

pub async fn login(context: &Context, args: LoginArgs) -> Result<()> {
    let (folder, config) = Folder::find(args.folder)?;
    if args.if_needed && folder.is_fresh() {
        return Ok(());
    }
    // A configuration of ssh asks for certificates in the middle of a connection: nobody is there to open a browser.
    let signed_in = if args.if_needed { None } else { super::sign_in::ensure().await? };
    let client = client()?;
    let url = match (&signed_in, crate::reach::said_url()) {
        (Some((sign_in, _)), _) => Some(sign_in.url.clone()),
        (None, said) => said,
    };
    loop {
        let grant = match folder.renew(&client, url.as_deref(), args.ttl).await {
            Ok(grant) => grant,
            // Signing in was done; that SSH is not for this person, or runs nowhere, does not undo it.
            Err(error) if is_anew(signed_in.as_ref()) && is_without_ssh(&error) => {
                output::note(&format!("No SSH certificates: {error}"));
                return done(context, url.as_deref(), None);
            }
            Err(error) => return Err(error),
        };
        if let Some(config) = &config {
            include(config)?;
        }
        if args.if_needed {
            return Ok(());
        }
        if context.json && !args.renew {
            return done(context, url.as_deref(), Some(&grant));
        }
        output::line(&format!("Certificates until {}.", grant.valid_before));
        if !args.renew {
            match config {
                Some(_) => {
                    output::line(
                        "Now: ssh NAME.PROJECT.hafen, and scp, sftp, rsync, Ansible alike; git clone ssh://git.hafen/PROJECT/REPOSITORY.git",
                    );
                }
                None => output::line(&format!(
                    "Now: ssh -F {} NAME.PROJECT.hafen",
                    folder.path("config").display()
                )),
            }
            return Ok(());
        }
        let left = grant.valid_before.since(SystemClock.now());
        SystemClock.sleep(left.saturating_sub(EARLY.max(left / 3))).await;
    }
}

fn is_anew(signed_in: Option<&(SignIn, bool)>) -> bool {
    signed_in.is_some_and(|(_, anew)| *anew)
}

fn is_without_ssh(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Conflict)
}

fn done(context: &Context, url: Option<&str>, grant: Option<&AccessGrant>) -> Result<()> {
    if !context.json {
        return Ok(());
    }
    output::json(
        &serde_json::json!({ "url": url, "certificates_until": grant.map(|grant| grant.valid_before) }),
    )
}

pub async fn access(context: &Context, command: AccessCommand) -> Result<()> {
    let client = client()?;
    match command {
        AccessCommand::Sessions => {
            let items = client.access_session_list().await?;
            if context.json {
                return output::json(&serde_json::json!({ "items": items }));
            }
            for one in &items {
                let state = match one.ended_at {
                    None => "open".to_owned(),
                    Some(at) => format!("{} at {at}", one.end_reason),
                };
                output::line(&format!(
                    "{}  {}  {} from {}  {} bytes in, {} out  {state}  certificate {}",
                    one.opened_at, one.host, one.name, one.address, one.sent, one.received, one.serial
                ));
            }
            Ok(())
        }
        AccessCommand::Alerts => {
            let mut items = Vec::new();
            let mut after = 0;
            loop {
                let page = client.access_event_list(after, 1000).await?.items;
                let Some(last) = page.last() else { break };
                after = last.seq;
                items.extend(page.into_iter().filter(|event| event.kind.starts_with("alert.")));
            }
            if context.json {
                return output::json(&serde_json::json!({ "items": items }));
            }
            for one in &items {
                output::line(&format!("{}  {}  {}", one.at, one.kind, one.message));
            }
            Ok(())
        }
        AccessCommand::Check(args) => check(context, &client, args).await,
        AccessCommand::Accept(args) => accept(context, &client, args).await,
        AccessCommand::Revoke(args) => {
            let body = RevocationCreate {
                serial: args.serial,
                person: args.person,
                everything: args.everything,
                reason: args.reason,
            };
            let done = client.access_revoke(&body).await?;
            if context.json {
                return output::json(&serde_json::to_value(&done).map_err(Error::internal)?);
            }
            output::line(&format!("{} certificates are good no more.", done.certificates));
            Ok(())
        }
    }
}

/// A check looks through the whole disk of a machine, which may be slow.
const CHECK_PATIENCE: Duration = Duration::from_secs(200);

async fn check(context: &Context, client: &Client, args: CheckArgs) -> Result<()> {
    let wanted = if let Some(machine) = &args.machine {
        vec![super::access::resolve(context, client, machine).await?]
    } else {
        let project = context.project(client).await?;
        let machines = client.machine_list(&project).await?.into_iter();
        let started = machines.filter(|machine| machine.state == MachineState::Started);
        started.map(|machine| (project.clone(), machine.name)).collect()
    };
    let mut asked = Vec::new();
    for (project, machine) in wanted {
        asked.push(client.integrity_check(&project, &machine).await?);
    }
    let until = SystemClock.now().plus(CHECK_PATIENCE);
    let mut items = Vec::new();
    for before in asked {
        items.push(loop {
            let now = client.integrity_get(&before.project, &before.machine).await?;
            if now.tried_at != before.tried_at {
                break now;
            }
            if SystemClock.now() >= until {
                return Err(Error::unavailable(format!(
                    "machine {:?} is not checked after {} s: see `hafen access check` later",
                    before.machine,
                    CHECK_PATIENCE.as_secs()
                )));
            }
            SystemClock.sleep(Duration::from_millis(250)).await;
        });
    }
    let bad = items.iter().filter(|one| !one.findings.is_empty() || !one.error.is_empty()).count();
    if context.json {
        output::json(&serde_json::json!({ "items": items }))?;
    } else {
        for one in &items {
            show(one);
        }
    }
    if bad > 0 {
        return Err(Error::conflict(format!(
            "{bad} of {} machines are not as they were or cannot be checked",
            items.len()
        )));
    }
    Ok(())
}

fn show(one: &MachineIntegrity) {
    let report = one.report.as_deref().unwrap_or("none yet");
    output::line(&format!("{}.{}  {}  report {report}", one.machine, one.project, one.state));
    for finding in &one.findings {
        output::line(&format!("  {}  {}", finding.kind, finding.message));
    }
    if !one.error.is_empty() {
        output::line(&format!("  not checked: {}", one.error));
    }
}

async fn accept(context: &Context, client: &Client, args: AcceptArgs) -> Result<()> {
    let (project, machine) = super::access::resolve(context, client, &args.machine).await?;
    let before = client.integrity_get(&project, &machine).await?;
    let report = args.report.or(before.report.clone());
    let report = report.ok_or_else(|| {
        Error::conflict(format!("machine {machine:?} was not checked yet: hafen access check {machine}"))
    })?;
    let body = IntegrityAccept { report, reason: args.reason };
    let after = client.integrity_accept(&project, &machine, &body).await?;
    if context.json {
        return output::json(&serde_json::to_value(&after).map_err(Error::internal)?);
    }
    for finding in &before.findings {
        output::line(&format!("  {}  {}", finding.kind, finding.message));
    }
    output::line(&format!("{} findings of {machine} accepted.", before.findings.len()));
    Ok(())
}
