//! Whom a URL asks, read in one way everywhere: by the manifest that names it and by the service that sends a token there.

/// `https://host[:port]` of a URL; none when its host is no plain name or address. What git and curl could read in another way
/// than this, or as a pattern of hosts, is none.
#[must_use]
pub fn https_origin(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let plain = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                && !host.starts_with(['-', '.'])
        }
    };
    let host = host.to_ascii_lowercase();
    match port {
        _ if !plain => None,
        None => Some(format!("https://{host}")),
        Some(port) => {
            let number = port.parse::<std::num::NonZeroU16>().ok()?;
            // No sign, no zeros before it: those are read in more than one way.
            (number.to_string() == port).then(|| {
                if number.get() == 443 {
                    format!("https://{host}")
                } else {
                    format!("https://{host}:{number}")
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for (url, wanted) in [
            ("https://git.example.org/a/b.git", Some("https://git.example.org")),
            ("https://Git.Example.org", Some("https://git.example.org")),
            ("https://git.example.org:8443/a", Some("https://git.example.org:8443")),
            ("https://git.example.org:443/a", Some("https://git.example.org")),
            ("https://[::1]:8443/a", Some("https://[::1]:8443")),
            ("https://[::1]/a", Some("https://[::1]")),
            ("https://git_1.local?x", Some("https://git_1.local")),
            ("http://git.example.org/a", None),
            ("https:///a", None),
            ("https://*.example.org/a", None),
            ("https://user@git.example.org/a", None),
            ("https://good.org\\@evil.org/a", None),
            ("https://git.example.org:/a", None),
            ("https://git.example.org:0/a", None),
            ("https://git.example.org:+80/a", None),
            ("https://git.example.org:080/a", None),
            ("https://git.example.org:70000/a", None),
            ("https://-git/a", None),
            ("https://[git]/a", None),
            ("https://a=b/c", None),
        ] {
            assert_eq!(https_origin(url).as_deref(), wanted, "{url}");
        }
    }
}
