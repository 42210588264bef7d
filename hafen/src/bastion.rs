//! The bastion, inside `hafen serve` or as a process of its own (`hafen bastion`).
//!
//! As its own process it shares the home (or the database and the key) with the platform, and reaches machines through the
//! platform's API: it can be stopped, changed and watched apart, and it goes on while the platform starts anew.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::Args;
use hafen_access::{Access, AccessConfig, AccessGate, Rights};
use hafen_base::{Actor, ActorKind, Clock as _, Error, ErrorKind, Result, SystemClock, SystemRandom};
use hafen_bastion::ssh_key::{Certificate, PrivateKey, PublicKey};
use hafen_bastion::{Bastion, BastionConfig, Git, Limits};
use hafen_client::Client;
use hafen_seal::MasterKey;
use hafen_sshca::{SshCa, sealed_key};
use hafen_work::Health;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::home::Home;

#[derive(Debug, Args)]
pub struct BastionArgs {
    /// Address to listen at.
    #[arg(long, default_value = "127.0.0.1:4722", env = "HAFEN_BASTION")]
    listen: SocketAddr,
    /// As `--bastion-post-quantum-only` of `hafen serve`.
    #[arg(long, env = "HAFEN_BASTION_POST_QUANTUM_ONLY")]
    post_quantum_only: bool,
    /// PostgreSQL as `postgres://user@host/database`, as of `hafen serve`.
    #[arg(long, env = "HAFEN_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// File of the key that seals other keys, as of `hafen serve`.
    #[arg(long, env = "HAFEN_KEY_FILE")]
    key_file: Option<PathBuf>,
}

/// The name in the bastion's host certificate.
pub const NAME: &str = "bastion.hafen";

/// The key that seals others, and those of SSH that it seals.
pub struct Keys {
    pub master: MasterKey,
    pub ca: Arc<SshCa>,
    bastion: PrivateKey,
}

impl Keys {
    /// Opens the sealed keys of a home, or makes them.
    ///
    /// # Errors
    /// As the vault's.
    pub fn open(key_file: Option<&Path>, home: &Home) -> Result<Self> {
        let master = MasterKey::find(key_file, &home.path("key"), &SystemRandom)?;
        let folder = home.path("ca");
        let ca = Arc::new(SshCa::open(&folder, &master, &SystemRandom)?);
        let bastion = sealed_key(&folder, "bastion_host_key", &master, &SystemRandom)?;
        Ok(Self { master, ca, bastion })
    }
}

/// A bastion that listens already.
pub struct Listening {
    listener: TcpListener,
    pub address: SocketAddr,
    post_quantum_only: bool,
}

/// Listens; tells the service where, if nobody else did.
pub async fn listen(
    address: SocketAddr,
    access: &Access,
    tell: bool,
    post_quantum_only: bool,
) -> Result<Listening> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Error::unavailable(format!("the bastion cannot listen at {address}: {error}")))?;
    let address = listener.local_addr().map_err(Error::internal)?;
    if tell {
        access.set_bastion_address(address.to_string());
    }
    Ok(Listening { listener, address, post_quantum_only })
}

impl Listening {
    /// Serves until `stop` turns true. A bastion that does not come up leaves the rest of the platform as it is.
    /// `git` serves repositories, where there are any.
    pub async fn carry(
        self,
        access: &Access,
        keys: &Keys,
        name: &str,
        git: Option<Arc<dyn Git>>,
        stop: watch::Receiver<bool>,
    ) {
        if let Err(error) = self.serve(access, keys, name, git, stop).await {
            tracing::error!(cause = %error.cause_chain(), "the bastion ended: {error}");
        }
    }

    async fn serve(
        self,
        access: &Access,
        keys: &Keys,
        name: &str,
        git: Option<Arc<dyn Git>>,
        stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let public = keys.bastion.public_key().to_openssh().map_err(Error::internal)?;
        let certificate = keys.ca.sign_host(&public, &[NAME.into()], SystemClock.now(), &SystemRandom)?;
        let authority = PublicKey::from_openssh(&keys.ca.user_public()?).map_err(Error::internal)?;
        let config = BastionConfig {
            host_key: keys.bastion.clone(),
            host_certificate: Some(Certificate::from_openssh(&certificate).map_err(Error::internal)?),
            authorities: vec![authority.key_data().clone()],
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            git,
            post_quantum_only: self.post_quantum_only,
        };
        let gate = AccessGate::open(access.clone(), name).await?;
        Bastion::serve(self.listener, config, Arc::new(gate), stop).await
    }
}

/// Who may log in where, as the platform says.
struct AskedRights(Client);

#[async_trait]
impl Rights for AskedRights {
    async fn may_log_in(&self, actor: &Actor, project: &str) -> Result<bool> {
        if actor.kind == ActorKind::LocalOperator {
            return Ok(true);
        }
        let ask = async |who: &str| {
            let query = format!(
                "who={who}&action=machine.ssh&place=project/{project}&organisation={}",
                actor.organisation
            );
            match self.0.policy_explain(&query).await {
                Ok(answer) => Ok(Some(answer)),
                // Gone, or another tenant's.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        // What a revoked credential began ends with it; one that ran out ends nothing.
        if let Some(("session" | "token", id)) = actor.credential.split_once('/')
            && ask(id).await?.is_some_and(|answer| answer.who.standing == "revoked")
        {
            return Ok(false);
        }
        Ok(ask(&actor.id).await?.is_some_and(|answer| answer.allowed))
    }
}

/// `hafen bastion`
pub async fn run(args: BastionArgs) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let home = Home::find()?;
    let keys = Keys::open(args.key_file.as_deref(), &home)?;
    let access = Access::open(AccessConfig {
        location: crate::services::location(args.database.as_deref(), &home),
        platform: crate::reach::client(&home)?,
        rights: Arc::new(AskedRights(crate::reach::client(&home)?)),
        ca: Arc::clone(&keys.ca),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        health: Health::default(),
        bastion_address: None,
        // Both are the platform's, which may be set otherwise.
        watch: None,
        keep_sessions: Duration::MAX,
    })
    .await?;
    let bastion = listen(args.listen, &access, false, args.post_quantum_only).await?;
    println!("The bastion listens at {}", bastion.address);
    let (stop, stopped) = watch::channel(false);
    let background = tokio::spawn(async move {
        let name = format!("bastion {}", bastion.address);
        tokio::join!(
            bastion.carry(&access, &keys, &name, None, stopped.clone()),
            access.run(stopped.clone())
        );
    });
    crate::serve::told_to_stop().await?;
    stop.send_replace(true);
    background.await.map_err(Error::internal)
}
