//! The platform as browsers know it: where its own pages are, and the cookie in which they hold a session.
//!
//! A browser sends a cookie along whoever wrote the page that asks, so a session in a cookie counts only where the browser says
//! that the page is ours: by Fetch Metadata (`Sec-Fetch-Site`), or where it has none by `Origin`. Scripts can set neither.

use http::{HeaderMap, Method, header};

/// The cookie of a session.
pub const SESSION: &str = "session";
/// The cookie that tells a device which its owner signed in from before.
pub const DEVICE: &str = "device";

/// Where the platform is, as browsers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    origin: String,
}

impl Site {
    /// `origin` as `https://hafen.example.org` (RFC 6454, section 6.2).
    pub fn new(origin: impl Into<String>) -> Self {
        Self { origin: origin.into() }
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    fn scheme(&self) -> &str {
        self.origin.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The full name of a cookie. With the prefix no other host of the domain can set it (RFC 6265bis, section 4.1.3.2). By the
    /// public scheme alone: nothing in a request may choose the weaker name.
    pub fn cookie_name(&self, what: &str) -> String {
        let prefix = if self.is_secure() { "__Host-" } else { "" };
        format!("{prefix}hafen_{what}")
    }

    pub fn is_secure(&self) -> bool {
        self.scheme() == "https"
    }

    /// A cookie of ours. Two of one name are none: one of them was planted, nobody knows which.
    pub fn cookie<'a>(&self, headers: &'a HeaderMap, what: &str) -> Option<&'a str> {
        let name = self.cookie_name(what);
        let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut found = all.flat_map(|value| value.split(';')).filter_map(|pair| {
            let (found, value) = pair.trim().split_once('=')?;
            (found == name && !value.is_empty()).then_some(value)
        });
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }

    /// The `Set-Cookie` of a value that scripts cannot read. Sent along from other sites only when a person follows a link. Without
    /// `age`, in seconds, it goes with the browser's session.
    pub fn set_cookie(&self, what: &str, value: &str, age: Option<u32>) -> String {
        let secure = if self.is_secure() { "; Secure" } else { "" };
        let age = age.map(|age| format!("; Max-Age={age}")).unwrap_or_default();
        format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}", self.cookie_name(what))
    }

    /// The session that a browser shows, where the page that asks is ours.
    pub fn session<'a>(&self, method: &Method, headers: &'a HeaderMap) -> Option<&'a str> {
        if self.is_trusted(method, headers) { self.cookie(headers, SESSION) } else { None }
    }

    /// Whether a cookie may open something.
    fn is_trusted(&self, method: &Method, headers: &HeaderMap) -> bool {
        let from = text(headers, header::ORIGIN.as_str());
        // A page of anybody may open one, and is not kept from reading it: browsers only say where it is from.
        if headers.contains_key(header::UPGRADE) {
            return from.is_some_and(|from| self.is_origin(from, headers));
        }
        match text(headers, "sec-fetch-site") {
            Some("same-origin") => true,
            // Typed, or from a bookmark. What changes something never comes so.
            Some("none") => matches!(*method, Method::GET | Method::HEAD),
            Some(_) => false,
            None => from.is_some_and(|from| self.is_origin(from, headers)),
        }
    }

    /// Whether what is no page of others asks: for requests that bring no cookie, or prove themselves otherwise.
    pub fn is_own(&self, headers: &HeaderMap) -> bool {
        match (text(headers, "sec-fetch-site"), text(headers, header::ORIGIN.as_str())) {
            (Some(site), _) => matches!(site, "same-origin" | "none"),
            (None, Some(from)) => self.is_origin(from, headers),
            // No browser: it sends no cookies of others.
            (None, None) => true,
        }
    }

    /// The public address, or where this very request went.
    fn is_origin(&self, from: &str, headers: &HeaderMap) -> bool {
        let here = text(headers, header::HOST.as_str());
        from == self.origin
            || here.is_some_and(|host| {
                from.strip_prefix(self.scheme()).and_then(|rest| rest.strip_prefix("://")) == Some(host)
            })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn a_cookie_counts_only_from_pages_of_the_platform() {
        let site = Site::new("https://hafen.example.org");
        let ours = "https://hafen.example.org";
        let upgrade = ("upgrade", "websocket");
        for (method, lines, opens) in [
            ("GET", &[("sec-fetch-site", "same-origin")][..], true),
            ("DELETE", &[("sec-fetch-site", "same-origin")], true),
            // A form of ours under `Referrer-Policy: no-referrer`.
            ("POST", &[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            ("GET", &[("sec-fetch-site", "none")], true),
            ("HEAD", &[("sec-fetch-site", "none")], true),
            ("POST", &[("sec-fetch-site", "none")], false),
            ("POST", &[("sec-fetch-site", "none"), ("origin", ours)], false),
            // A neighbour of the same domain is another.
            ("GET", &[("sec-fetch-site", "same-site")], false),
            ("GET", &[("sec-fetch-site", "cross-site")], false),
            ("POST", &[("sec-fetch-site", "cross-site"), ("origin", ours)], false),
            ("GET", &[("sec-fetch-site", "ü")], false),
            ("POST", &[("origin", ours)], true),
            ("POST", &[("origin", "https://10.0.0.1:4750")], true),
            ("POST", &[("origin", "http://10.0.0.1:4750")], false),
            ("POST", &[("origin", "https://hafen.example.org.evil.example")], false),
            ("POST", &[("origin", "https://hafen.example.org:444")], false),
            ("POST", &[("origin", "null")], false),
            ("POST", &[("origin", "")], false),
            ("POST", &[], false),
            ("GET", &[], false),
            ("GET", &[upgrade, ("origin", ours)], true),
            ("GET", &[upgrade, ("origin", ours), ("sec-fetch-site", "same-origin")], true),
            ("GET", &[upgrade, ("origin", "https://evil.example")], false),
            ("GET", &[upgrade, ("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], false),
            ("GET", &[upgrade, ("sec-fetch-site", "same-origin")], false),
            ("GET", &[upgrade, ("sec-fetch-site", "none")], false),
            ("GET", &[upgrade], false),
        ] {
            let mut lines = lines.to_vec();
            lines.extend([("host", "10.0.0.1:4750"), ("cookie", "a=b; __Host-hafen_session=secret")]);
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let shown = headers(&lines);
            assert_eq!(site.session(&method, &shown), opens.then_some("secret"), "{method} {lines:?}");
        }
    }

    #[test]
    fn the_scheme_of_the_public_address_names_the_cookie() {
        let cookies = headers(&[("cookie", "hafen_session=planted; __Host-hafen_session=ours")]);
        assert_eq!(Site::new("https://hafen.example.org").cookie(&cookies, SESSION), Some("ours"));
        assert_eq!(Site::new("http://localhost:4750").cookie(&cookies, SESSION), Some("planted"));
        let site = Site::new("http://localhost:4750");
        for (lines, found) in [
            (&[("cookie", "hafen_session=one; hafen_session=two")][..], None),
            (&[("cookie", "hafen_session=one"), ("cookie", "hafen_session=two")], None),
            (&[("cookie", "hafen_session=one; hafen_session=one")], Some("one")),
            (&[("cookie", "hafen_session=")], None),
            (&[("cookie", "hafen_session")], None),
            (&[("cookie", "xhafen_session=one;hafen_session=two")], Some("two")),
            (&[], None),
        ] {
            assert_eq!(site.cookie(&headers(lines), SESSION), found, "{lines:?}");
        }
        assert_eq!(
            site.set_cookie(DEVICE, "x", Some(9)),
            "hafen_device=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=9"
        );
        assert_eq!(
            Site::new("https://hafen.example.org").set_cookie(SESSION, "x", None),
            "__Host-hafen_session=x; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
    }
}
