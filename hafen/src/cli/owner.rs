//! The first owner of a platform (`hafen invitation`), and the way back for who lost every way in (`hafen invite-owner`).
//!
//! That way is on the host, by what only its owner has: the platform's socket; or, where that is switched off, the key and the database.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use hafen_base::{Actor, ActorKind, Error, Result, SystemClock, SystemRandom};
use hafen_client::wire::{InvitationCreate, InvitationCreated};
use hafen_identity::{Cost, Identity, IdentityConfig, Network};
use hafen_seal::MasterKey;
use hafen_work::Health;
use serde::Serialize;

use super::context::Context;
use crate::home::Home;
use crate::output;

#[derive(Debug, Args)]
pub struct InviteOwnerArgs {
    /// PostgreSQL as `postgres://user@host/database`, as of `hafen serve`; only where its socket is switched off.
    #[arg(long, env = "HAFEN_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// File of the key that seals other keys, as of `hafen serve`; only where its socket is switched off.
    #[arg(long, env = "HAFEN_KEY_FILE")]
    key_file: Option<PathBuf>,
}

/// The link by which a platform without an owner gets one.
#[derive(Debug, Serialize)]
struct FirstInvitation {
    url: String,
    token: String,
}

/// `hafen invitation`
pub fn invitation(context: &Context) -> Result<()> {
    let home = Home::find()?;
    let path = home.path("invitation");
    let token = match std::fs::read_to_string(&path) {
        Ok(token) => token.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Whether there is none because it was accepted, or because no platform ran here ever.
            home.endpoint()?;
            return Err(Error::conflict(
                "this platform has an owner: people come by `hafen invite create`, and who lost every way in comes back by \
                 `hafen invite-owner`",
            ));
        }
        Err(error) => return Err(crate::home::file_error(&path, error)),
    };
    let public = home.endpoint()?.public_url;
    let url = format!("{}/invitation#{token}", public.trim_end_matches('/'));
    if context.json {
        return output::json(&FirstInvitation { url, token });
    }
    output::note(
        "Whoever opens this in a browser first becomes the owner of this platform; it is good once, for 72 hours.",
    );
    output::line(&url);
    Ok(())
}

pub async fn run(context: &Context, args: InviteOwnerArgs) -> Result<()> {
    let home = Home::find()?;
    let made = match home.local_client()? {
        Some(client) => {
            let scope = client.whoami().await?.organisation.to_string();
            let body = InvitationCreate { scope, role: "owner".into(), login: None, hours: None };
            client.invitation_create(&body).await?
        }
        None => by_key(&home, args).await?,
    };
    if context.json {
        return output::json(&made);
    }
    output::note(&format!("Good once, until {}, for whoever has it.", made.invitation.expires_at));
    let page = home.endpoint().map(|endpoint| endpoint.public_url).unwrap_or_default();
    output::note(&format!(
        "It is accepted in a browser, at {}/invitation#SECRET",
        page.trim_end_matches('/')
    ));
    output::line(&made.token);
    Ok(())
}

/// Whoever can read the key and the database of a platform can do everything to it anyway; this way it is written down.
async fn by_key(home: &Home, args: InviteOwnerArgs) -> Result<InvitationCreated> {
    let key = home.path("key");
    if args.key_file.is_none() && std::env::var_os("CREDENTIALS_DIRECTORY").is_none() && !key.exists() {
        return Err(Error::invalid(format!(
            "there is no key {}: run this on the platform's host as the user who owns it, with the HAFEN_HOME and \
             --key-file of `hafen serve`",
            key.display()
        )));
    }
    let database = home.path("identity.db");
    if args.database.is_none() && !database.exists() {
        return Err(Error::invalid(format!(
            "there is no {}: say --database as for `hafen serve`, or set HAFEN_HOME",
            database.display()
        )));
    }
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let identity = Identity::open(IdentityConfig {
        location: crate::services::location(args.database.as_deref(), home),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        health: Health::default(),
        key: MasterKey::find(args.key_file.as_deref(), &key, &SystemRandom)?,
        public_url: "http://localhost".into(),
        cost: Cost::STANDARD,
        local_operator: None,
        fetch: Arc::new(Network::new()?),
        machines: None,
        loopback_issuers: false,
    })
    .await?;
    identity.check_key().await?;
    let uid = rustix::process::geteuid().as_raw();
    let actor = Actor {
        kind: ActorKind::LocalOperator,
        id: format!("uid-{uid}"),
        name: format!("user {uid} of this host, with the platform's key"),
        organisation: identity.default_organisation().to_string(),
        credential: "key".into(),
        ..Actor::platform()
    };
    actor.acts(identity.owner_invitation()).await
}
