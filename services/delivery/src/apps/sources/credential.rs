//! What opens a private source: a secret of the project, for the origin of its URL alone.
//!
//! Git asks a helper for it, which stands in its arguments under that origin (`gitcredentials(7)`): for any other, as one that
//! the source leads on to, there is none. The value is in the environment of that git and of what it starts, and nowhere else:
//! no argument and no file has it, and it is taken out of what git says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hafen_base::{Actor, Error, ErrorKind, Result, https_origin};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::super::around::{SourceOf, Vault};
use super::hidden::Hidden;

/// More is no token, and no header of HTTP.
const MOST: usize = 4096;
/// Whose the token is, where nobody says: servers that look at the token alone take any name.
const USERNAME: &str = "git";
/// What answers git. The shell's own `printf` says it, which is no process with arguments of its own.
const HELPER: &str = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \"$HAFEN_SOURCE_USERNAME\" \"$HAFEN_SOURCE_TOKEN\"; }; f";

/// Opens one origin.
pub(super) struct Credential {
    /// `https://host[:port]`
    origin: String,
    username: String,
    value: Zeroizing<String>,
    /// Its name.
    pub secret: String,
}

impl Credential {
    /// That of a source, if it has one. The reading stands in the ledger.
    ///
    /// # Errors
    /// Conflict when the secret is not there, or cannot be a token; as the vault.
    pub async fn read(vault: &dyn Vault, of: SourceOf<'_>) -> Result<Option<Self>> {
        let (Some(url), Some(token)) = (&of.source.git, &of.source.token) else { return Ok(None) };
        let secret = &token.secret;
        // It was checked as it came in; an older one may be anything.
        let origin = https_origin(url).ok_or_else(|| {
            Error::invalid(format!("{url}: no host that a token can be sent to: write https://HOST/PATH"))
        })?;
        let reason = format!("fetch of the source of app {} from {origin}", of.app);
        // Whoever asked for the fetch does not read it: the platform does, and keeps it.
        let read = Actor::platform().acts(vault.read(of.project, secret, None, &reason)).await;
        let value = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::conflict(format!(
                "the source of {} names what the project does not have: there is no secret {secret:?}, the token for {url}: \
                 `hafen secret set {secret}`",
                of.app
            )),
            _ => error,
        })?;
        let unusable = |why: &str| {
            Error::conflict(format!(
                "the secret {secret:?} cannot be the token for {url}: {why}: set it anew with `hafen secret set {secret}`"
            ))
        };
        let text = std::str::from_utf8(&value).map_err(|_| unusable("it is no text"))?;
        // As most editors leave it.
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.len() > MOST {
            return Err(unusable(&format!("it has no characters, or more than {MOST} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(unusable("it has line breaks or other control characters within"));
        }
        Ok(Some(Self {
            origin,
            username: of.source.username.clone().unwrap_or_else(|| USERNAME.into()),
            value: Zeroizing::new(text.to_owned()),
            secret: secret.clone(),
        }))
    }

    /// Gives it to one git.
    pub fn give(&self, git: &mut Command) {
        git.arg("-c")
            .arg(format!("credential.{}.helper={HELPER}", self.origin))
            .env("HAFEN_SOURCE_USERNAME", &self.username)
            .env("HAFEN_SOURCE_TOKEN", self.value.as_str());
    }

    /// As it may stand in what is said of it: by itself, in a URL, in a header.
    pub fn hide(&self, hidden: &mut Hidden) {
        hidden.add(&self.value);
        let pair = Zeroizing::new(format!("{}:{}", self.username, self.value.as_str()));
        hidden.add(&Zeroizing::new(STANDARD_NO_PAD.encode(pair.as_bytes())));
    }

    pub fn is_for(&self, url: &str) -> bool {
        https_origin(url).as_ref() == Some(&self.origin)
    }
}
