//! Which platform a command speaks to, and as whom.
//!
//! What is said outright wins: `--url` (`HAFEN_URL`) and `HAFEN_TOKEN`. Else the platform of this home, by its socket or by the
//! token of its first start; else the one that the last `hafen login` signed in at. A token is sent only where it belongs.

use std::io::Read as _;
use std::sync::{Arc, OnceLock};

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::{Client, HttpTransport, Token};

use crate::home::Home;
use crate::sign_in::{SignIn, SignedIn};

/// Said on the command line, once per process.
static SAID: OnceLock<String> = OnceLock::new();

/// From now on commands speak to the platform at this URL.
pub fn say_url(url: Option<String>) {
    if let Some(url) = url.filter(|url| !url.is_empty()) {
        // The second of two is not said by anybody.
        let _first = SAID.set(url.trim_end_matches('/').to_owned());
    }
}

pub fn said_url() -> Option<String> {
    SAID.get().cloned()
}

/// How a platform is reached.
pub enum Way {
    /// The socket of this home.
    Local(Client),
    Token {
        url: String,
        token: Token,
    },
    SignedIn(SignIn),
    /// Nothing here says who this user is there.
    Nobody {
        url: String,
    },
}

/// # Errors
/// Unavailable when no platform is named and none runs here.
pub fn way(home: &Home) -> Result<Way> {
    let token = std::env::var("HAFEN_TOKEN").ok().filter(|token| !token.is_empty());
    if let Some(token) = token {
        let url = match SAID.get() {
            Some(url) => url.clone(),
            None => home.endpoint()?.url,
        };
        return Ok(Way::Token { url, token: Token::new(&token) });
    }
    let Some(url) = SAID.get() else {
        if let Some(client) = home.local_client()? {
            return Ok(Way::Local(client));
        }
        return match (home.endpoint(), SignIn::current()) {
            (Ok(endpoint), _) => at(home, endpoint.url),
            (Err(_), Some(sign_in)) => Ok(Way::SignedIn(sign_in)),
            (Err(error), None) => Err(error),
        };
    };
    at(home, url.clone())
}

fn at(home: &Home, url: String) -> Result<Way> {
    let sign_in = SignIn::at(&url).ok().filter(SignIn::exists);
    if let Some(sign_in) = sign_in {
        return Ok(Way::SignedIn(sign_in));
    }
    // The token of this home is for this home's platform, and nobody else may see it.
    if home.endpoint().is_ok_and(|endpoint| endpoint.url == url) {
        if let Some(token) = first_token(home)? {
            return Ok(Way::Token { url, token });
        }
        // It is this home's platform, by whatever name.
        if let Some(client) = home.local_client()? {
            return Ok(Way::Local(client));
        }
    }
    Ok(Way::Nobody { url })
}

/// The token of the first start; it is gone once the platform has an owner.
fn first_token(home: &Home) -> Result<Option<Token>> {
    let path = home.path("token");
    let file = match std::fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| crate::home::file_error(&path, error))?,
    };
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).map_err(|error| crate::home::file_error(&path, error))?;
    Ok(Some(Token::new(&text)))
}

/// A page of the console of the platform meant, as people open it.
pub fn page(home: &Home, path: &str) -> Option<String> {
    let url = match way(home).ok()? {
        Way::Local(_) => home.endpoint().ok()?.public_url,
        Way::SignedIn(sign_in) => sign_in.url,
        Way::Token { url, .. } | Way::Nobody { url } => match home.endpoint() {
            Ok(endpoint) if endpoint.url == url => endpoint.public_url,
            _ => url,
        },
    };
    let url = url.trim_end_matches('/');
    (!url.is_empty()).then(|| format!("{url}{path}"))
}

/// Where an invitation is accepted in a browser, for a note that itself holds no secret. That stands behind the `#`, which browsers keep
/// to themselves, so that it is in no log of requests.
pub fn invitation_page(home: &Home) -> Option<String> {
    page(home, "/invitation#SECRET")
}

/// A client of the platform meant.
pub fn client(home: &Home) -> Result<Client> {
    match way(home)? {
        Way::Local(client) => Ok(client),
        Way::Token { url, token } => Ok(Client::new(Arc::new(HttpTransport::new(&url)?), token)),
        Way::SignedIn(sign_in) => Ok(Client::new(Arc::new(SignedIn::new(sign_in)?), Token::new(""))),
        Way::Nobody { url } => Err(Error::new(
            ErrorKind::Unauthenticated,
            format!(
                "nobody is signed in at {url}: run `hafen login`, or set HAFEN_TOKEN; on the platform's host run as the \
                 user who owns it"
            ),
        )),
    }
}
