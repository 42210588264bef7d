//! Where everything lives: `HAFEN_HOME` with state, token and sockets; `HAFEN_CACHE` with what can be made again.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hafen_base::{Error, Random, Result};
use hafen_client::{Client, SocketTransport, Token};
use serde::{Deserialize, Serialize};

/// The folder of one platform.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

/// How the running platform is reached; written by `serve`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Endpoint {
    pub url: String,
    /// As browsers reach it; empty in what an older version wrote.
    #[serde(default)]
    pub public_url: String,
    pub pid: u32,
    pub version: String,
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn from_env(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

pub fn user_folder(xdg: &str, below_home: &str) -> Result<PathBuf> {
    if let Some(folder) = from_env(xdg).filter(|folder| folder.is_absolute()) {
        return Ok(folder.join("hafen"));
    }
    let home =
        from_env("HOME").ok_or_else(|| Error::invalid(format!("neither {xdg} nor HOME is set: set HOME")))?;
    Ok(home.join(below_home).join("hafen"))
}

/// Where images, templates and packages are cached, for all homes of this user.
pub fn cache_folder() -> Result<PathBuf> {
    match from_env("HAFEN_CACHE") {
        Some(folder) => Ok(folder),
        None if is_root() => Ok("/var/cache/hafen".into()),
        None => user_folder("XDG_CACHE_HOME", ".cache"),
    }
}

pub fn file_error(path: &Path, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::PermissionDenied => ": run as the user who owns it, or set HAFEN_HOME",
        _ => "",
    };
    Error::unavailable(format!("{} cannot be used: {error}{hint}", path.display())).with_cause(error)
}

impl Home {
    /// `HAFEN_HOME`, else `/var/lib/hafen` for root, else `~/.local/share/hafen`.
    ///
    /// # Errors
    /// Invalid when no home can be told.
    pub fn find() -> Result<Self> {
        let folder = match from_env("HAFEN_HOME") {
            Some(folder) => std::path::absolute(&folder).map_err(|error| file_error(&folder, error))?,
            None if is_root() => "/var/lib/hafen".into(),
            None => user_folder("XDG_DATA_HOME", ".local/share")?,
        };
        Ok(Self(folder))
    }

    pub fn path(&self, part: &str) -> PathBuf {
        self.0.join(part)
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Makes the folder. Others may pass through it (virtual machines run as other users), not list it.
    pub fn create(&self) -> Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o711);
        let made = builder.create(&self.0);
        // The mode above is cut by the umask.
        let open = std::fs::Permissions::from_mode(0o711);
        made.and_then(|()| std::fs::set_permissions(&self.0, open))
            .map_err(|error| file_error(&self.0, error))
    }

    /// Keeps a second `serve` out while the file is held.
    pub fn lock(&self) -> Result<std::fs::File> {
        let path = self.path("lock");
        let file =
            std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| file_error(&path, error))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::conflict(format!(
                "another `hafen serve` runs on {}; stop it, or set HAFEN_HOME to another folder",
                self.0.display()
            ))
        })?;
        Ok(file)
    }

    /// Reads a small private file, or makes it (mode 0600) with `fresh`.
    fn private(&self, name: &str, fresh: impl FnOnce() -> String) -> Result<String> {
        let path = self.path(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = fresh();
                self.write(name, &text)?;
                Ok(text)
            }
            Err(error) => Err(file_error(&path, error)),
        }
    }

    /// Writes a private file whole or not at all.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        let new = self.path(&format!("{name}.new"));
        let write = || -> std::io::Result<()> {
            let mut file =
                std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|error| file_error(&path, error))
    }

    /// The bearer token, made at the first start.
    pub fn token(&self, random: &dyn Random) -> Result<Token> {
        let text = self.private("token", || {
            let mut bytes = [0_u8; 32];
            random.fill(&mut bytes);
            let hex = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
            format!("hafen_{hex}\n")
        })?;
        Ok(Token::new(&text))
    }

    pub fn endpoint_write(&self, endpoint: &Endpoint) -> Result<()> {
        let text = serde_json::to_string_pretty(endpoint).map_err(Error::internal)?;
        self.write("api.json", &text)
    }

    /// The platform's socket: who may use it needs no token.
    pub fn socket(&self) -> PathBuf {
        self.path("api.sock")
    }

    /// Removes the socket that an earlier life left behind.
    pub fn socket_remove(&self) -> Result<()> {
        self.forget("api.sock")
    }

    /// Removes a file; one that is not there is fine.
    pub fn forget(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file_error(&path, error)),
            _ => Ok(()),
        }
    }

    /// Listens at the platform's socket, for its owner only. None where the path is too long for a socket: then the token
    /// is the way in. Only while the lock of this home is held.
    pub fn listen(&self) -> Result<Option<tokio::net::UnixListener>> {
        let path = self.socket();
        if std::os::unix::net::SocketAddr::from_pathname(&path).is_err() {
            tracing::warn!("{} is too long a path for a socket: commands use the token", path.display());
            return Ok(None);
        }
        let listener = tokio::net::UnixListener::bind(&path).map_err(|error| file_error(&path, error))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(|error| file_error(&path, error))?;
        Ok(Some(listener))
    }

    /// A client by the socket in this home, where there is one that this user may use.
    pub fn local_client(&self) -> Result<Option<Client>> {
        let socket = self.socket();
        if !Self::owns(&socket) {
            return Ok(None);
        }
        // Otherwise a platform that does not run would be told of as a socket without anybody.
        self.endpoint()?;
        let transport = std::sync::Arc::new(SocketTransport::new(socket));
        Ok(Some(Client::new(transport, Token::new(""))))
    }

    /// Whether there is such a file, of this user; root may use any.
    fn owns(path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path)
            .is_ok_and(|found| is_root() || found.uid() == rustix::process::geteuid().as_raw())
    }

    pub fn endpoint(&self) -> Result<Endpoint> {
        let path = self.path("api.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                Error::invalid(format!("{} is not what serve writes: {error}", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::unavailable(format!(
                "no Hafen runs on {}: start it with `hafen serve`, set HAFEN_HOME, or name one elsewhere: `hafen login --url URL`",
                self.0.display()
            ))),
            Err(error) => Err(file_error(&path, error)),
        }
    }
}
