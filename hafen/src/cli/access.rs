//! Ways into a machine: `ssh`, `dial`, `cp`, `console`.
//!
//! `ssh` and `cp` run the stock OpenSSH client with a key and a certificate that live for minutes in a private folder; the
//! connection itself goes through `hafen dial`, so that no port of a machine appears on the host.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use hafen_base::{Error, Result};
use hafen_client::wire::{MachineState, SshCertificateCreate};
use hafen_client::{ByteStream, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::context::{Context, client, name, usage};
use crate::output;

#[derive(Debug, Args)]
pub struct SshArgs {
    /// Machine, as web-1 or web-1.PROJECT.
    #[arg(value_parser = name)]
    name: String,
    /// Connect to nothing: write key, certificate and configuration for stock ssh, scp, rsync and Ansible into this folder.
    /// They last an hour.
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    write_config: Option<PathBuf>,
    /// Command to run instead of a shell.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DialArgs {
    /// Machine, as web-1, web-1.PROJECT or web-1.PROJECT.internal.
    #[arg(value_parser = name)]
    name: String,
    #[arg(default_value_t = 22, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

#[derive(Debug, Args)]
pub struct ConsoleArgs {
    #[arg(value_parser = name)]
    name: String,
}

#[derive(Debug, Args)]
pub struct CpArgs {
    /// File, or `NAME:/path`.
    source: String,
    /// File, or `NAME:/path`.
    target: String,
}

/// `web-1`, `web-1.hello`, `web-1.hello.internal` or `web-1.hello.hafen`: machine and project, if named.
fn split_name(name: &str) -> (&str, Option<&str>) {
    let name = name.trim_end_matches('.');
    let name = name.strip_suffix(".internal").or_else(|| name.strip_suffix(".hafen")).unwrap_or(name);
    match name.split_once('.') {
        Some((machine, project)) => (machine, Some(project)),
        None => (name, None),
    }
}

pub async fn resolve(context: &Context, client: &Client, name: &str) -> Result<(String, String)> {
    let (machine, project) = split_name(name);
    let project = match project {
        Some(project) => project.to_owned(),
        None => context.project(client).await?,
    };
    Ok((project, machine.to_owned()))
}

pub async fn dial(context: &Context, args: DialArgs) -> Result<()> {
    let client = client()?;
    let (project, machine) = resolve(context, &client, &args.name).await?;
    let stream = client.machine_dial(&project, &machine, args.port).await?;
    carry(stream, |_| false).await
}

pub async fn console(context: &Context, args: ConsoleArgs) -> Result<()> {
    let client = client()?;
    let (project, machine) = resolve(context, &client, &args.name).await?;
    let stream = client.machine_console(&project, &machine).await?;
    output::note(&format!("Connected to the serial console of {machine}; Ctrl-] leaves."));
    let _raw = RawTerminal::enter()?;
    carry(stream, |bytes| bytes.contains(&0x1d)).await?;
    output::note("\r");
    Ok(())
}

/// Copies stdin and stdout until the machine's side ends, or `leave` says so of what was typed.
async fn carry(mut stream: ByteStream, leave: impl Fn(&[u8]) -> bool) -> Result<()> {
    let sender = stream.sender.clone();
    drop(stream.sender);
    let typed = async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0_u8; 32 << 10];
        while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
            let Some(bytes) = buffer.get(..count) else { break };
            if leave(bytes) {
                return true;
            }
            if sender.send(Bytes::copy_from_slice(bytes)).await.is_err() {
                break;
            }
        }
        // Our side is at its end; what the machine still says is heard.
        drop(sender);
        false
    };
    let heard = async {
        let mut stdout = tokio::io::stdout();
        while let Some(bytes) = stream.receiver.recv().await {
            if stdout.write_all(&bytes).await.is_err() || stdout.flush().await.is_err() {
                break;
            }
        }
    };
    tokio::pin!(typed, heard);
    tokio::select! {
        () = &mut heard => {}
        left = &mut typed => {
            if !left {
                heard.await;
            }
        }
    }
    Ok(())
}

/// The terminal in raw mode, put back when dropped.
struct RawTerminal(Option<rustix::termios::Termios>);

impl RawTerminal {
    fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let Ok(before) = rustix::termios::tcgetattr(&stdin) else { return Ok(Self(None)) };
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, &raw)
            .map_err(Error::internal)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let stdin = std::io::stdin();
            // Nothing better can be done about a terminal that went away.
            let _gone = rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, before);
        }
    }
}

/// A private folder with key, certificate and known hosts for one session.
struct Session {
    folder: tempfile::TempDir,
    user: String,
}

async fn session(client: &Client, project: &str) -> Result<Session> {
    let folder = tempfile::Builder::new().prefix("hafen-ssh-").tempdir().map_err(Error::internal)?;
    let user = credentials(client, project, folder.path(), 300).await?;
    Ok(Session { folder, user })
}

/// Makes key, certificate and known hosts in a folder, which is closed to others. Gives the user to log in as.
async fn credentials(client: &Client, project: &str, folder: &Path, ttl: i64) -> Result<String> {
    let broken = |error: std::io::Error| {
        Error::unavailable(format!("{} cannot be used: {error}", folder.display())).with_cause(error)
    };
    std::fs::create_dir_all(folder).map_err(broken)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(broken)?;
    let key = folder.join("id");
    for old in [key.clone(), folder.join("id.pub")] {
        match std::fs::remove_file(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(broken(error)),
            _ => {}
        }
    }
    new_key(&key).await?;
    let public_key = std::fs::read_to_string(folder.join("id.pub")).map_err(broken)?;
    let certificate = client.ssh_certificate(project, &SshCertificateCreate { public_key, ttl }).await?;
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).map_err(broken);
    write("id-cert.pub", &format!("{}\n", certificate.certificate.trim()))?;
    write("known_hosts", &format!("@cert-authority *.{project}.internal {}\n", certificate.host_ca.trim()))?;
    Ok(certificate.user)
}

/// Makes a key pair: `path` and `path.pub`.
pub async fn new_key(path: &Path) -> Result<()> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "hafen", "-f"])
        .arg(path)
        .status()
        .await
        .map_err(|error| {
            Error::unavailable(format!("ssh-keygen does not run ({error}): apt-get install openssh-client"))
        })?;
    if made.success() { Ok(()) } else { Err(Error::unavailable("ssh-keygen made no key")) }
}

/// A configuration for the stock client, for as long as the certificate lasts.
async fn write_config(client: &Client, project: &str, machine: &str, folder: &Path) -> Result<()> {
    let folder = std::path::absolute(folder).map_err(Error::internal)?;
    let user = credentials(client, project, &folder, 3600).await?;
    let options = options(&folder, &user)?;
    let mut text = format!("Host *.{project}.internal\n");
    for (key, value) in options.iter().filter_map(|option| option.strip_prefix("-o")?.split_once('=')) {
        // Writing into a String does not fail.
        let _ = writeln!(text, "    {key} {value}");
    }
    let path = folder.join("config");
    std::fs::write(&path, text)
        .map_err(|error| Error::unavailable(format!("{} cannot be written: {error}", path.display())))?;
    output::line(&format!("For an hour: ssh -F {} {machine}.{project}.internal", path.display()));
    Ok(())
}

/// Options for the stock client. Everything of the caller's own configuration is left out.
fn options(folder: &Path, user: &str) -> Result<Vec<String>> {
    let path = |name: &str| folder.join(name).display().to_string();
    let program = std::env::current_exe().map_err(Error::internal)?;
    let quoted = quote(&program);
    Ok([
        "-F".to_owned(),
        "none".to_owned(),
        format!("-oUser={user}"),
        format!("-oIdentityFile={}", path("id")),
        format!("-oCertificateFile={}", path("id-cert.pub")),
        "-oIdentitiesOnly=yes".to_owned(),
        "-oIdentityAgent=none".to_owned(),
        "-oForwardAgent=no".to_owned(),
        "-oStrictHostKeyChecking=yes".to_owned(),
        format!("-oUserKnownHostsFile={}", path("known_hosts")),
        "-oGlobalKnownHostsFile=/dev/null".to_owned(),
        format!("-oProxyCommand={quoted} dial %h %p"),
        "-oLogLevel=ERROR".to_owned(),
    ]
    .to_vec())
}

pub fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''").replace('%', "%%"))
}

pub async fn ssh(context: &Context, args: SshArgs) -> Result<u8> {
    let client = client()?;
    let (project, machine) = resolve(context, &client, &args.name).await?;
    reachable(&client, &project, &machine).await?;
    if let Some(folder) = &args.write_config {
        return write_config(&client, &project, &machine, folder).await.map(|()| 0);
    }
    let session = session(&client, &project).await?;
    let mut command = Command::new("ssh");
    command.args(options(session.folder.path(), &session.user)?).arg(format!("{machine}.{project}.internal"));
    if !args.command.is_empty() {
        command.arg("--").args(&args.command);
    }
    run(&mut command).await
}

/// `NAME:path`, as scp tells it from a local file: no slash before the colon.
fn remote(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(name, _)| !name.is_empty() && !name.contains('/'))
}

/// Says what keeps OpenSSH from getting through, before it says so in its own words.
async fn reachable(client: &Client, project: &str, machine: &str) -> Result<()> {
    let there = client.machine_get(project, machine).await?;
    if there.state != MachineState::Started {
        return Err(Error::conflict(format!(
            "machine {machine:?} is {}: nothing answers until it is started (hafen machine start {machine} -p {project})",
            there.state.as_str()
        )));
    }
    if client.status().await?.engine == "sim" {
        return Err(Error::conflict(format!(
            "machine {machine:?} is simulated: there is no SSH server in it; real ones need hafen serve --engine qemu"
        )));
    }
    Ok(())
}

pub async fn copy(context: &Context, args: CpArgs) -> Result<u8> {
    let sides: Vec<_> = [&args.source, &args.target].into_iter().filter_map(|one| remote(one)).collect();
    if let [(one, _), (other, _)] = sides.as_slice()
        && split_name(one).1 != split_name(other).1
    {
        return Err(usage("copy between projects in two steps, by way of a local file"));
    }
    let Some((name, _)) = sides.first() else {
        return Err(usage("neither side names a machine: write NAME:/path"));
    };
    let client = client()?;
    let (project, machine) = resolve(context, &client, name).await?;
    reachable(&client, &project, &machine).await?;
    let session = session(&client, &project).await?;
    let place = |text: &str| match remote(text) {
        Some((name, path)) => format!("{}.{project}.internal:{path}", split_name(name).0),
        None => text.to_owned(),
    };
    let mut command = Command::new("scp");
    // -3: from one machine to another it goes through here, as the two may not reach each other.
    command
        .args(["-r", "-3"])
        .args(options(session.folder.path(), &session.user)?)
        .arg("--")
        .arg(place(&args.source))
        .arg(place(&args.target));
    run(&mut command).await
}

async fn run(command: &mut Command) -> Result<u8> {
    let status = command.status().await.map_err(|error| {
        Error::unavailable(format!(
            "the OpenSSH client does not run ({error}): apt-get install openssh-client"
        ))
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_machines() {
        for (name, expected) in [
            ("web-1", ("web-1", None)),
            ("web-1.hello", ("web-1", Some("hello"))),
            ("web-1.hello.internal", ("web-1", Some("hello"))),
            ("web-1.hello.hafen.", ("web-1", Some("hello"))),
        ] {
            assert_eq!(split_name(name), expected, "{name}");
        }
        assert_eq!(remote("web-1:/a:b"), Some(("web-1", "/a:b")));
        for local in ["./a:b", "/tmp/a:b", "file", ":x"] {
            assert_eq!(remote(local), None, "{local}");
        }
        assert_eq!(quote(Path::new("/a b/50%")), "'/a b/50%%'");
    }
}
