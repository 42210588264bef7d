//! Targets and hosts of requests: what is one, and nothing beside.

use http::Method;

/// Takes a target apart into the host that an absolute one names, and path with query.
pub fn split<'a>(target: &'a str, method: &Method) -> Result<(Option<&'a str>, &'a str), &'static str> {
    let good = target.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && !matches!(byte, b'#' | b'\\'));
    if !good {
        return Err("the target holds what no URL does");
    }
    if target == "*" && method == Method::OPTIONS {
        return Ok((None, target));
    }
    let (named, path) = if target.starts_with('/') {
        (None, target)
    } else {
        let rest = strip_scheme(target).ok_or("the target is neither a path nor a URL")?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(at).unwrap_or((rest, ""));
        (Some(authority), if path.is_empty() { "/" } else { path })
    };
    if !path.starts_with('/') {
        return Err("the target has no path");
    }
    check_path(path.split('?').next().unwrap_or(path))?;
    Ok((named, path))
}

fn strip_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| target.get(scheme.len()..)).flatten()
    })
}

/// A path that climbs means one thing here and another behind. Browsers resolve it before they ask.
fn check_path(path: &str) -> Result<(), &'static str> {
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = (rest.next(), rest.next());
            let (Some(high), Some(low)) = digits else { return Err("the path breaks off in an escape") };
            if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
                return Err("the path holds a broken escape");
            }
            if high == b'0' && low == b'0' {
                return Err("the path holds NUL");
            }
        }
    }
    let climbs = path.split('/').any(|segment| {
        let plain = segment.len() <= 6 && segment.to_ascii_lowercase().replace("%2e", ".") == "..";
        plain || segment.split(';').next() == Some("..")
    });
    if climbs { Err("the path climbs (..): resolve it before you ask") } else { Ok(()) }
}

/// The name of a host, without its port, in lower case; none when it is no name and no address.
pub fn host(authority: &str) -> Option<String> {
    let (name, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (authority.get(..address.len() + 2)?, port.strip_prefix(':').or(port.is_empty().then_some("0")))
    } else {
        match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, Some("0")),
        }
    };
    let port = port?;
    if port.is_empty() || port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let good = name.starts_with('[')
        || ((1..=253).contains(&name.len())
            && name.bytes().all(plain)
            && !name.starts_with('.')
            && !name.contains(".."));
    good.then(|| name.to_ascii_lowercase())
}

/// The path with escapes of plain characters undone, so that routes are found by what it means.
pub fn meaning(path: &str) -> std::borrow::Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at_checked(at).unwrap_or((rest, ""));
        text.push_str(before);
        let code = escape.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.filter(|code| code.is_ascii_alphanumeric() || b"-._~".contains(code)) {
            Some(code) => text.push(char::from(code)),
            None => text.push_str(escape.get(..3).unwrap_or(escape)),
        }
        rest = escape.get(3..).unwrap_or_default();
    }
    text.push_str(rest);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let get = |target| split(target, &Method::GET);
        assert_eq!(get("/a?b=/../c"), Ok((None, "/a?b=/../c")));
        assert_eq!(get("http://a.example:80/x"), Ok((Some("a.example:80"), "/x")));
        assert_eq!(get("HTTPS://a.example"), Ok((Some("a.example"), "/")));
        assert_eq!(split("*", &Method::OPTIONS), Ok((None, "*")));
        for bad in [
            "*",
            "",
            "a",
            "/a b",
            "/a#b",
            "/ä",
            "/a\\b",
            "/../x",
            "/a/..",
            "/%2e%2E/x",
            "/.%2e",
            "/a/..;x/b",
            "/%0",
            "/%zz",
            "/%00",
            "ftp://x/",
            "http://x?y",
            "//\u{7f}",
        ] {
            assert!(get(bad).is_err(), "{bad}");
        }
        assert!(get("/a/...").is_ok() && get("//a").is_ok() && get("/.well-known/x").is_ok());
    }

    #[test]
    fn hosts() {
        for (text, name) in [
            ("Shop.Example.ORG", "shop.example.org"),
            ("shop.example.org:443", "shop.example.org"),
            ("shop.example.org.", "shop.example.org"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(host(text).as_deref(), Some(name), "{text}");
        }
        for bad in [
            "", ":80", "a:", "a:x", "a:123456", "a b", "a/b", "a@b", ".a", "a..b", "[x]", "[::1", "[::1]x",
            "a\"b", "ä",
        ] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }

    #[test]
    fn meanings() {
        assert_eq!(meaning("/%61pi/x"), "/api/x");
        assert_eq!(meaning("/a%2Fb%20c%7E"), "/a%2Fb%20c~");
    }
}
