//! `secret rotate`: new version → redeploy → old proven dead. It is done when the old value was seen to fail, not before.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use hafen_base::{Clock as _, Error, Result, SystemClock};
use hafen_client::wire::{App, AppEnv, SecretInfo, SecretVersionCreate};
use hafen_client::{Client, Conditions};
use tokio::io::AsyncWriteExt as _;

use super::context::{Context, fresh_key, name, usage};
use super::secret::{encoded, value};
use crate::output;

/// For what was ended at its service to be ended everywhere there.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct RotateArgs {
    #[arg(value_parser = name)]
    name: String,
    /// Take the new value from this file, byte by byte; - is stdin. As for `set`, it is asked for or read from stdin unless
    /// said.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    from_file: Option<PathBuf>,
    /// Go on with a rotation that was not done: the current version is the new one.
    #[arg(long)]
    resume: bool,
    /// Command that ends the old value at its service, run once nothing uses it any more.
    #[arg(long, value_name = "COMMAND")]
    revoke: Option<String>,
    /// Command that reads a value from stdin and succeeds when it opens: it has to with the new one, and to fail with the old.
    #[arg(long, value_name = "COMMAND")]
    proof: String,
}

pub async fn run(context: &Context, client: &Client, project: &str, args: RotateArgs) -> Result<()> {
    let before = client.secret_get(project, &args.name).await?;
    let now = if args.resume {
        before
    } else {
        let (value, encoding) = encoded(&value(args.from_file.as_deref())?);
        let body = SecretVersionCreate { value, encoding };
        client.secret_version_create(project, &args.name, &body, &fresh_key()).await?
    };
    let old = old_version(&now)?;
    output::note(&format!("{} is at version {}; version {old} is to end", args.name, now.current));
    for app in users(client, project, &args.name).await? {
        redeployed(client, project, &app, &now).await?;
    }
    if let Some(revoke) = &args.revoke {
        output::note("the old value is ended at its service");
        if !shell(revoke, b"").await? {
            return Err(unfinished(&args.name, "the command of --revoke failed"));
        }
    }
    prove(client, project, &args, &now, old).await?;
    let ended = client.secret_version_destroy(project, &args.name, old, &Conditions::default()).await?;
    if context.json {
        output::json(&ended)?;
    } else {
        output::line(&format!(
            "{} is rotated: version {} opens, version {old} was seen to fail and is destroyed.",
            args.name, ended.current
        ));
    }
    Ok(())
}

fn unfinished(name: &str, why: &str) -> Error {
    Error::conflict(format!(
        "the rotation of {name} is not done: {why}. Nothing is lost: mend it, and go on with `hafen secret rotate {name} \
         --resume --proof …`"
    ))
}

/// The newest below the current one that is still there.
fn old_version(secret: &SecretInfo) -> Result<i64> {
    let old = secret.versions.iter().filter(|version| version.version < secret.current);
    let old = old.filter(|version| version.destroyed_at.is_none()).map(|version| version.version).max();
    old.ok_or_else(|| usage(format!("{} has no old version: there is nothing to rotate", secret.name)))
}

/// Apps that run and name the secret.
async fn users(client: &Client, project: &str, secret: &str) -> Result<Vec<App>> {
    let names = |env: &AppEnv| matches!(env, AppEnv::Secret(reference) if reference.secret == secret);
    let apps = client.app_list(project).await?;
    Ok(apps.into_iter().filter(|app| app.release.is_some() && app.spec.env.values().any(names)).collect())
}

/// New processes of an app, which read the new version; none is made when those that serve have it.
async fn redeployed(client: &Client, project: &str, app: &App, secret: &SecretInfo) -> Result<()> {
    let made = secret.versions.iter().find(|version| version.version == secret.current);
    let since = made.map(|version| version.created_at);
    let all = client.deployment_list(project, &app.name).await?;
    if all.iter().any(|one| one.state == "succeeded" && Some(one.created_at) > since) {
        return Ok(());
    }
    let mut now = client.app_restart(project, &app.name, &fresh_key()).await?;
    output::note(&format!("{} of {}: its processes are made anew", now.id, app.name));
    while matches!(now.state.as_str(), "queued" | "building" | "migrating" | "rolling") {
        SystemClock.sleep(Duration::from_millis(200)).await;
        now = client.deployment_get(project, &app.name, &now.id).await?;
    }
    if now.state != "succeeded" {
        let why = format!("{} of app {} {}: {}", now.id, app.name, now.state.replace('_', " "), now.reason);
        return Err(unfinished(&secret.name, &why));
    }
    Ok(())
}

/// The new value opens, and the old one does not any more.
async fn prove(
    client: &Client,
    project: &str,
    args: &RotateArgs,
    secret: &SecretInfo,
    old: i64,
) -> Result<()> {
    let name = &args.name;
    let reason = format!("rotation of {name}: proof that version {} opens", secret.current);
    let new_value = client.secret_read(project, name, Some(secret.current), &reason).await?.bytes()?;
    if !shell(&args.proof, &new_value).await? {
        return Err(unfinished(name, "the new value does not open, by the command of --proof"));
    }
    let reason = format!("rotation of {name}: proof that version {old} is dead");
    let old_value = client.secret_read(project, name, Some(old), &reason).await?.bytes()?;
    let until = SystemClock.now().plus(PATIENCE);
    while shell(&args.proof, &old_value).await? {
        // One that nothing ends is not waited for.
        if args.revoke.is_none() || SystemClock.now() >= until {
            return Err(unfinished(
                name,
                "the old value still opens: end it at its service, or say how with --revoke",
            ));
        }
        SystemClock.sleep(LOOK).await;
    }
    Ok(())
}

/// Whether a command succeeds that reads this.
async fn shell(command: &str, input: &[u8]) -> Result<bool> {
    let failed = |error: std::io::Error| Error::unavailable(format!("sh -c {command:?}: {error}"));
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended, or reads nothing, says what it thinks by its status.
        let _unread = stdin.write_all(input).await;
    }
    child.wait().await.map(|status| status.success()).map_err(failed)
}
