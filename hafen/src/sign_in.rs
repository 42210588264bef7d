//! Sign-ins of this user at platforms elsewhere: tokens in the user's own configuration, refreshed as they run out.
//!
//! A refresh token is good once, and one that comes a second time ends the session, because one of the two was stolen. So
//! commands that run at once take turns: whoever holds the lock reads first whether another has refreshed meanwhile.

use std::fmt::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hafen_base::{Clock as _, Error, ErrorKind, Result, SystemClock, Timestamp};
use hafen_client::oauth::{PublicClient, SIGN_IN_OVER, Tokens};
use hafen_client::{ByteStream, HttpTransport, Token, Transport, TransportBody};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use crate::home::user_folder;

/// The client that every platform knows.
pub const CLIENT: &str = "hafen-cli";
/// Refreshed when less than this is left.
const EARLY: Duration = Duration::from_secs(60);

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Stored {
    url: String,
    access_token: String,
    refresh_token: String,
    expires_at: Timestamp,
}

/// The sign-in at one platform.
#[derive(Clone)]
pub struct SignIn {
    folder: PathBuf,
    pub url: String,
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("{} cannot be used: {error}", path.display())).with_cause(error)
}

fn over(url: &str) -> Error {
    let text = format!("nobody is signed in at {url} any more: run `hafen login`");
    Error::new(ErrorKind::Unauthenticated, text).with_code(SIGN_IN_OVER)
}

/// `https://host[:port]`; http only where nobody could listen in between.
pub fn check_url(text: &str) -> Result<String> {
    let text = text.trim_end_matches('/');
    let uri: Option<Uri> = text.parse().ok();
    let uri = uri.filter(|uri| uri.authority().is_some_and(|authority| !authority.as_str().contains('@')));
    let Some(uri) = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) else {
        return Err(super::cli::usage(format!("{text:?} is not a URL as https://hafen.example.org")));
    };
    let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
    let loopback =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if uri.scheme_str() == Some("http") && !loopback {
        return Err(super::cli::usage(format!(
            "{text} is not https: whoever is on the way would read the sign-in"
        )));
    }
    Ok(text.to_owned())
}

fn folder() -> Result<PathBuf> {
    Ok(user_folder("XDG_CONFIG_HOME", ".config")?.join("sign-in"))
}

impl SignIn {
    /// Where a sign-in at this platform is or would be kept.
    pub fn at(url: &str) -> Result<Self> {
        Ok(Self { folder: folder()?, url: url.trim_end_matches('/').to_owned() })
    }

    /// The one of the last `hafen login`, for commands that name no platform.
    pub fn current() -> Option<Self> {
        let folder = folder().ok()?;
        let url = std::fs::read_to_string(folder.join("current")).ok()?;
        Some(Self { folder, url: url.trim().to_owned() }).filter(Self::exists)
    }

    pub fn exists(&self) -> bool {
        self.read().is_ok()
    }

    /// One file for each platform; no two share one, whatever their addresses hold.
    fn path(&self, end: &str) -> PathBuf {
        let mut name = String::new();
        for byte in self.url.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') {
                name.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _written = write!(name, "_{byte:02x}");
            }
        }
        self.folder.join(format!("{name}.{end}"))
    }

    fn read(&self) -> Result<Stored> {
        let path = self.path("json");
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => over(&self.url),
            _ => unusable(&path, error),
        })?;
        let stored: Stored = serde_json::from_str(&text)
            .map_err(|_| Error::invalid(format!("{} is damaged: run `hafen login`", path.display())))?;
        if stored.url == self.url { Ok(stored) } else { Err(over(&self.url)) }
    }

    fn write(&self, tokens: &Tokens, before: Option<&Stored>) -> Result<Stored> {
        let refresh = match (&tokens.refresh_token, before) {
            (Some(token), _) => token.expose().to_owned(),
            (None, Some(before)) => before.refresh_token.clone(),
            (None, None) => return Err(Error::unavailable("the platform gave no refresh token")),
        };
        let stored = Stored {
            url: self.url.clone(),
            access_token: tokens.access_token.expose().to_owned(),
            refresh_token: refresh,
            expires_at: SystemClock.now().plus(Duration::from_secs(tokens.expires_in.min(86_400))),
        };
        let text = serde_json::to_vec_pretty(&stored).map_err(Error::internal)?;
        let path = self.path("json");
        hafen_seal::write_private(&path, &text).map_err(|error| unusable(&path, error))?;
        Ok(stored)
    }

    fn create(&self) -> Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|error| unusable(&self.folder, error))
    }

    /// Keeps what a sign-in gave, and makes it the current one.
    pub async fn keep(&self, tokens: &Tokens) -> Result<()> {
        self.create()?;
        let _turn = self.turn().await?;
        self.write(tokens, None)?;
        let current = self.folder.join("current");
        let text = format!("{}\n", self.url);
        hafen_seal::write_private(&current, text.as_bytes()).map_err(|error| unusable(&current, error))
    }

    /// Removes it here, and gives the refresh token, which ends the session at the platform.
    pub async fn forget(&self) -> Result<Token> {
        let _turn = self.turn().await?;
        let stored = self.read()?;
        let mut gone = vec![self.path("json")];
        let current = self.folder.join("current");
        if std::fs::read_to_string(&current).is_ok_and(|url| url.trim() == self.url) {
            gone.push(current);
        }
        for path in gone {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(unusable(&path, error));
                }
                _ => {}
            }
        }
        Ok(Token::new(&stored.refresh_token))
    }

    /// Held by one command at a time, until it is dropped.
    async fn turn(&self) -> Result<std::fs::File> {
        let path = self.path("lock");
        let lock = move || {
            let mut options = std::fs::OpenOptions::new();
            let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
            let file = file.map_err(|error| unusable(&path, error))?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
                .map_err(|error| unusable(&path, error.into()))?;
            Ok(file)
        };
        tokio::task::spawn_blocking(lock).await.map_err(Error::internal)?
    }

    pub fn client(&self) -> Result<PublicClient> {
        Ok(PublicClient::new(Arc::new(HttpTransport::new(&self.url)?), CLIENT))
    }

    /// An access token that lasts; not the one that was just refused.
    async fn access(&self, refused: Option<&Token>) -> Result<Token> {
        let good = |stored: &Stored| {
            stored.expires_at.since(SystemClock.now()) > EARLY
                && refused.is_none_or(|token| token.expose() != stored.access_token)
        };
        let stored = self.read()?;
        if good(&stored) {
            return Ok(Token::new(&stored.access_token));
        }
        let _turn = self.turn().await?;
        let stored = self.read()?;
        if good(&stored) {
            return Ok(Token::new(&stored.access_token));
        }
        match self.client()?.refresh(&Token::new(&stored.refresh_token)).await {
            Ok(tokens) => Ok(Token::new(&self.write(&tokens, Some(&stored))?.access_token)),
            Err(error) if error.code() == SIGN_IN_OVER => Err(over(&self.url)),
            Err(error) => Err(error),
        }
    }
}

/// Carries requests as who is signed in.
pub struct SignedIn {
    sign_in: SignIn,
    inner: HttpTransport,
}

impl SignedIn {
    pub fn new(sign_in: SignIn) -> Result<Self> {
        let inner = HttpTransport::new(&sign_in.url)?;
        Ok(Self { sign_in, inner })
    }

    async fn send_with(
        &self,
        mut request: Request<Full<Bytes>>,
        token: &Token,
    ) -> Result<Response<TransportBody>> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| Error::invalid("the stored token holds characters that no header may carry"))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        self.inner.send(request).await
    }
}

#[async_trait]
impl Transport for SignedIn {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<TransportBody>> {
        let token = self.sign_in.access(None).await?;
        let answer = self.send_with(request.clone(), &token).await?;
        // Ended before its time, or by a clock that differs: nothing was done yet, so it may be asked once more.
        if answer.status() != StatusCode::UNAUTHORIZED
            || !answer.headers().contains_key(header::WWW_AUTHENTICATE)
        {
            return Ok(answer);
        }
        let token = self.sign_in.access(Some(&token)).await?;
        self.send_with(request, &token).await
    }

    async fn stream(&self, path: &str, _token: &Token) -> Result<ByteStream> {
        let token = self.sign_in.access(None).await?;
        self.inner.stream(path, &token).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_travels_where_nobody_listens() {
        for good in [
            "https://hafen.example.org",
            "https://hafen.example.org:8443/",
            "http://127.0.0.1:4750",
            "http://[::1]:1",
            "http://localhost:1",
        ] {
            assert_eq!(check_url(good).unwrap(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "hafen.example.org",
            "http://hafen.example.org",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "https://me:secret@host",
            "https:///x",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_platform_has_a_file_of_its_own() {
        let path = |url: &str| SignIn { folder: "/f".into(), url: url.into() }.path("json");
        assert_eq!(path("https://a.b:1"), Path::new("/f/https_3a_2f_2fa.b_3a1.json"));
        assert_ne!(path("https://a_3a1"), path("https://a:1"));
    }
}
