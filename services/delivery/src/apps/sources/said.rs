//! What git says, and what that means for who has to mend it.

use hafen_base::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use super::credential::Credential;
use super::hidden::Hidden;
use super::proxy::Proxy;

/// What is heard of git, on each of its outputs; a server can make it say anything.
const SAID: u64 = 64 << 10;
/// What is told of git's complaints.
pub(super) const COMPLAINT: usize = 500;

/// The first that is said; the rest is let go of.
pub(super) async fn heard(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut said = Vec::new();
    let Some(mut from) = from else { return said };
    // A pipe that breaks is at its end; how the process ended says why.
    let _end = (&mut from).take(SAID).read_to_end(&mut said).await;
    let _rest = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    said
}

/// What was heard, as it may be told.
pub(super) fn text(said: &[u8], most: usize, hidden: &Hidden) -> String {
    let whole = u64::try_from(said.len()).is_ok_and(|length| length < SAID);
    let said: String = hidden.text(said, whole).chars().take(most).collect();
    said.trim().to_owned()
}

/// How a fetch was made that came to nothing.
pub(super) struct Tried<'a> {
    pub url: &'a str,
    pub credential: Option<&'a Credential>,
    pub proxy: &'a Proxy,
    pub hidden: &'a Hidden,
}

impl Tried<'_> {
    /// Why it cannot be fetched, with what to do where that is known.
    pub fn unfetched(&self, complaint: &[u8]) -> Error {
        let url = self.url;
        let raw = Zeroizing::new(String::from_utf8_lossy(complaint).into_owned());
        // Nobody is asked: git says that it cannot, and for whom.
        if raw.contains("terminal prompts disabled") || raw.contains("could not read Username") {
            return self.asked(asked_by(&raw).unwrap_or(url));
        }
        if let Some(Credential { secret, .. }) = self.credential {
            if raw.contains("Authentication failed") {
                return Error::invalid(format!(
                    "{url} refused the token, the secret {secret:?}: it has ended, is not for this repository, or has another \
                     `username`; set a good one with `hafen secret set {secret}`, then deploy again"
                ));
            }
            if raw.contains("returned error: 403") {
                return Error::invalid(format!(
                    "{url} does not let the token read it, the secret {secret:?}: give it the right to read this repository, or \
                     set another with `hafen secret set {secret}`, then deploy again"
                ));
            }
        }
        let advice = if raw.contains("certificate") {
            ". Its certificate must be valid, and of an authority that this host knows or that `hafen serve --git-roots` names"
                .to_owned()
        } else if raw.contains("not supported or disabled in libcurl") {
            ". It leads elsewhere: only https is followed".to_owned()
        } else if self.credential.is_some() && raw.contains("HTTP 30") {
            ". It leads elsewhere: name the address that it leads to in the app's source".to_owned()
        } else if let (true, Some(Credential { secret, .. })) = (raw.contains("not found"), self.credential) {
            format!(". It is not there, or the token, the secret {secret:?}, may not read it")
        } else if self.proxy.is_set() && raw.contains("407") {
            ". The proxy asks for a user and a password: `https_proxy` in the environment of `hafen serve` may have them, as \
             http://USER:PASSWORD@HOST:PORT"
                .to_owned()
        } else if self.proxy.is_set() {
            ". It is asked through the proxy that `https_proxy` in the environment of `hafen serve` names, unless `no_proxy` has \
             its host"
                .to_owned()
        } else {
            String::new()
        };
        let said = text(complaint, COMPLAINT, self.hidden);
        Error::unavailable(format!("{url} cannot be fetched: {said}{advice}"))
    }

    /// Somebody asks for a password, and has got none.
    fn asked(&self, who: &str) -> Error {
        let (url, told) = (self.url, self.hidden.text(who.as_bytes(), true));
        if self.proxy.asks(who) {
            return Error::unavailable(format!(
                "{url} cannot be fetched: the proxy {told} asks for another user or password than `https_proxy` in the \
                 environment of `hafen serve` has"
            ));
        }
        match self.credential {
            Some(credential) if !credential.is_for(who) => Error::invalid(format!(
                "{url} leads to {told}, which asks for a password: the token is sent to the host of `git` alone; name the \
                 address it leads to in the app's source"
            )),
            _ => Error::invalid(format!(
                "{url} asks for a password, so it is private or not there: name a token for it in the app, source = {{ git = \
                 \"…\", token = {{ secret = \"NAME\" }} }}, or have what is to be deployed pushed to a repository of this platform"
            )),
        }
    }
}

/// Who asked for a user or a password: `… for 'https://host': terminal prompts disabled`.
fn asked_by(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("could not read ")?;
    let (_, rest) = rest.split_once(" for '")?;
    rest.split_once('\'').map(|(who, _)| who)
}
