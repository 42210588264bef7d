//! All networks of one home.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::config::check_id;
use crate::folder::{self, ALIVE, CONFIG, Lock, START};
use crate::holder::RUNS_ALREADY;
use crate::network::Network;
use crate::wire::{Reply, Request};
use crate::{Config, Error, Result, start};

/// The networks below one folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Networks {
    root: Arc<PathBuf>,
    program: Arc<Vec<OsString>>,
    ensured: Arc<Notify>,
}

impl Networks {
    /// `holder_command` is run with a network's folder as its last argument and has to call
    /// [`crate::holder::run`] before it starts any thread.
    pub fn new(root: &Path, holder_command: Vec<OsString>) -> Self {
        // Holders run in another directory. Only an empty path or no current one cannot be made absolute.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf());
        Self { root: Arc::new(root), program: Arc::new(holder_command), ensured: Arc::default() }
    }

    /// Makes the network so, whatever was before: a holder that runs is adopted and changed in
    /// place, a dead one is replaced (then [`Network::generation`] is another one and every tap
    /// has to be made anew). Safe to call at any time, from several processes at once.
    pub async fn ensure(&self, config: &Config) -> Result<Network> {
        config.check()?;
        let folder = self.root.join(&config.id);
        folder::make_private(&folder)?;
        let mut lock = lock(folder.join(START)).await?;
        // Whoever held it before may have deleted the network, and the file with it.
        while !lock.is_at(&folder.join(START)) {
            folder::make_private(&folder)?;
            lock = self::lock(folder.join(START)).await?;
        }
        let network = loop {
            if let Some(network) = adopt(&config.id, &folder).await? {
                break network;
            }
            folder::write_json(&folder.join(CONFIG), config)?;
            match start::start(&config.id, &folder, &self.program).await {
                Ok(()) => self.ensured.notify_waiters(),
                // One was on its way that a control plane started before it died; it is adopted.
                Err(Error::Holder { what, .. }) if what == RUNS_ALREADY => {}
                Err(error) => return Err(error),
            }
        };
        let (_, running) = network.hello().await?;
        if running == *config {
            return Ok(network);
        }
        let same_addresses = Config { egress: config.egress.clone(), ..running.clone() } == *config;
        if !same_addresses {
            let message = format!(
                "network {} runs with {}/{}, gateway {} and domain {}; machines hold addresses of it: \
                 delete the network before making it with others",
                config.id, running.subnet, running.prefix, running.gateway, running.domain
            );
            return Err(Error::Invalid { message });
        }
        network.ask(&Request::Configure { config: config.clone() }).await?;
        Ok(network)
    }

    /// Returns when a holder was started here.
    pub(crate) async fn ensured(&self) {
        self.ensured.notified().await;
    }

    /// A network whose holder runs. [`Error::NotFound`] if there is no such network,
    /// [`Error::Holder`] if there is one without a living holder: ensure it again.
    pub async fn get(&self, id: &str) -> Result<Network> {
        check_id("network id", id)?;
        let folder = self.root.join(id);
        if folder::read_json::<Config>(&folder.join(CONFIG))?.is_none() {
            return Err(Error::NotFound { what: format!("network {id}") });
        }
        Network::open(id, &folder).await
    }

    /// What is on disk, in order of ids, whether or not a holder runs.
    pub fn list(&self) -> Result<Vec<Config>> {
        let entries = match std::fs::read_dir(&*self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &*self.root, error)),
        };
        let mut configs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("list", &*self.root, error))?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                configs.extend(folder::read_json::<Config>(&entry.path().join(CONFIG))?);
            }
        }
        configs.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(configs)
    }

    /// Ends the holder and everything it holds, and forgets the network. One that does not exist
    /// is fine.
    pub async fn delete(&self, id: &str) -> Result<()> {
        check_id("network id", id)?;
        let folder = self.root.join(id);
        if !folder.exists() {
            return Ok(());
        }
        let lock = lock(folder.join(START)).await?;
        if Lock::attempt(&folder.join(ALIVE))?.is_none() {
            if let Ok(network) = Network::open(id, &folder).await {
                let _: Result<Reply> = network.ask(&Request::Stop).await;
            }
            let gone = async {
                while Lock::attempt(&folder.join(ALIVE))?.is_none() {
                    sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            };
            timeout(Duration::from_secs(10), gone).await.map_err(|_| {
                Error::holder(
                    id,
                    format!("does not end; kill the process named in {}/holder.json", folder.display()),
                )
            })??;
        }
        // Whoever waits for the lock sees that its file is gone, and makes the folder anew.
        std::fs::remove_dir_all(&folder).map_err(|error| Error::io("remove", &folder, error))?;
        drop(lock);
        Ok(())
    }
}

/// The network, if a holder runs. One that is only just starting, because whoever started it died,
/// or is about to end, is waited for.
async fn adopt(id: &str, folder: &Path) -> Result<Option<Network>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if Lock::attempt(&folder.join(ALIVE))?.is_some() {
            return Ok(None);
        }
        match Network::open(id, folder).await {
            Ok(network) => return Ok(Some(network)),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Waits for a lock on a thread that may block.
async fn lock(path: PathBuf) -> Result<Lock> {
    let waited = tokio::task::spawn_blocking(move || Lock::wait(&path)).await;
    waited.map_err(|error| Error::io("lock", "a network", error))?
}
