//! The way to other hosts that the platform's own environment names, for fetches of sources alone.

use std::ffi::OsString;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::hidden::Hidden;

/// As git and curl look at them: a name in small letters goes first.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"];

/// It may hold a password, so it does not print.
#[derive(Default)]
pub(super) struct Proxy(Vec<(&'static str, OsString)>);

impl Proxy {
    /// As `hafen serve` was started.
    pub fn of_environment() -> Self {
        Self::of(std::env::var_os)
    }

    pub fn of(value: impl Fn(&'static str) -> Option<OsString>) -> Self {
        let all = VARIABLES.into_iter().filter_map(|name| Some((name, value(name)?)));
        Self(all.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// Shows one git the way.
    pub fn give(&self, git: &mut Command) {
        for (name, value) in &self.0 {
            git.env(name, value);
        }
    }

    /// Whatever of it may be a password: who it lets in, in any form.
    pub fn hide(&self, hidden: &mut Hidden) {
        for url in self.urls() {
            let rest = url.split_once("://").map_or(&*url, |(_, rest)| rest);
            let Some((user, _host)) = rest.rsplit_once('@') else { continue };
            hidden.add(user);
            let decoded = Zeroizing::new(decoded(user));
            hidden.add(&decoded);
            hidden.add(&Zeroizing::new(STANDARD_NO_PAD.encode(decoded.as_bytes())));
            for pair in [user, decoded.as_str()] {
                if let Some((_, password)) = pair.split_once(':') {
                    hidden.add(password);
                }
            }
        }
    }

    fn urls(&self) -> impl Iterator<Item = String> {
        let urls = self.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case("https_proxy"));
        urls.map(|(_, value)| value.to_string_lossy().into_owned())
    }

    pub fn is_set(&self) -> bool {
        self.urls().next().is_some()
    }

    /// Whether it is the one who asks for a password, as git tells it: `http://user@host:port`.
    pub fn asks(&self, who: &str) -> bool {
        self.urls().any(|url| host(&url) == host(who))
    }
}

/// Host and port, without who it lets in.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host).trim_end_matches('/')
}

/// Without the `%XX` of a URL.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        if let Some(byte) = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_a_proxy_is_hidden_in_every_form() {
        for (url, said, wanted) in [
            (
                "http://ci:pass%21word@proxy:3128",
                "a ci:pass%21word b ci:pass!word c pass!word",
                "a *** b *** c ***",
            ),
            ("ci:pass/w@rd@proxy:3128", "http://ci:pass/w@rd@proxy", "http://***@proxy"),
            ("http://only-a-token@proxy", "x only-a-token", "x ***"),
            ("http://ci:word@proxy", "Basic Y2k6d29yZA==", "Basic ***=="),
            ("http://proxy:3128", "proxy:3128 does not answer", "proxy:3128 does not answer"),
        ] {
            let proxy = Proxy::of(|name| (name == "HTTPS_PROXY").then(|| url.into()));
            let mut hidden = Hidden::default();
            proxy.hide(&mut hidden);
            assert_eq!(hidden.text(said.as_bytes(), true), wanted, "{url}");
            assert!(proxy.is_set() && !proxy.asks("https://git.example.org"));
            assert_eq!(proxy.asks("http://ci@proxy:3128"), url.ends_with(":3128"));
        }
        assert!(!Proxy::of(|name| (name == "no_proxy").then(|| "a@b".into())).is_set());
        assert!(!Proxy::of(|_| Some(OsString::new())).is_set());
    }
}
