//! Redirect URIs: compared letter by letter, but for the port of a loopback address (RFC 8252, section 7.3).

use url::{Host, Url};

/// What may be registered: https, or http on a loopback address; no fragment, no user, no wildcard.
pub fn may_be_registered(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let place =
        url.scheme() == "https" && url.host().is_some() || url.scheme() == "http" && is_loopback(&url);
    place
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && text.len() <= 2000
        && !text.contains('*')
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // `localhost` is what a resolver says it is: RFC 8252, section 8.3.
        Some(Host::Domain(_)) | None => false,
    }
}

/// Whether `presented` is one of the registered.
pub fn is_registered(registered: &[String], presented: &str) -> bool {
    registered.iter().any(|one| one == presented || same_but_port(one, presented))
}

fn same_but_port(registered: &str, presented: &str) -> bool {
    let (Ok(registered), Ok(mut url)) = (Url::parse(registered), Url::parse(presented)) else { return false };
    if registered.scheme() != "http"
        || !is_loopback(&registered)
        || !is_loopback(&url)
        || presented.contains(['@', '#'])
    {
        return false;
    }
    // What the parser made of it must be what was sent: no dots, no backslashes that it mended.
    if url.as_str() != presented {
        return false;
    }
    url.set_port(registered.port()).is_ok() && url == registered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_redirects() {
        let registered = [
            "https://app.example/cb".to_owned(),
            "http://127.0.0.1/callback".to_owned(),
            "http://[::1]/callback".to_owned(),
        ];
        for good in [
            "https://app.example/cb",
            "http://127.0.0.1:53123/callback",
            "http://127.0.0.1/callback",
            "http://[::1]:4000/callback",
        ] {
            assert!(is_registered(&registered, good), "{good}");
        }
        for bad in [
            "",
            "https://app.example/cb/",
            "https://app.example/cb?x=1",
            "https://app.example/CB",
            "https://app.example:444/cb",
            "http://app.example/cb",
            "https://app.example.evil/cb",
            "https://app.example/cb#x",
            "https://app.example/../cb",
            "http://127.0.0.1:1/callback/..",
            "http://127.0.0.1:1/callback?x",
            "http://127.0.0.2:1/callback",
            "http://localhost:1/callback",
            "http://127.0.0.1:1@evil.example/callback",
            "http://evil@127.0.0.1:1/callback",
            "http://127.0.0.1:1\\callback",
            "http://[::1]:99999/callback",
            "https://127.0.0.1:1/callback",
            "javascript:alert(1)",
            "http://127.1:1/callback",
        ] {
            assert!(!is_registered(&registered, bad), "{bad}");
        }
        for bad in [
            "http://app.example/cb",
            "https://a/#f",
            "https://u@a/",
            "javascript:x",
            "https://*.example/",
            "x",
            "http://localhost/cb",
        ] {
            assert!(!may_be_registered(bad), "{bad}");
        }
        assert!(registered.iter().all(|one| may_be_registered(one)));
    }
}
